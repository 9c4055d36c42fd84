"""The engine in figures: how long its ticks take, how many frames came too late."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

_TICKS_KEPT = 4_096


@dataclass(frozen=True, slots=True)
class EngineStats:
    """The engine in figures; milliseconds, over the last few thousand ticks."""

    slots: int
    leased: int
    ticks: int
    tick_p50_ms: float
    tick_p99_ms: float
    tick_max_ms: float
    frames: int
    late_frames: int
    prompt_cache_hits: int
    prompt_cache_misses: int


class TickFigures:
    """Counts ticks and frames; written by the engine's thread, read by anybody."""

    def __init__(self) -> None:
        self.ticks = 0
        self.frames = 0
        self.late = 0
        self._seconds: deque[float] = deque(maxlen=_TICKS_KEPT)

    def tick(self, seconds: float) -> None:
        """Note a tick."""
        self._seconds.append(seconds)
        self.ticks += 1

    def frame(self, late: bool) -> None:
        """Note a frame that was delivered."""
        self.frames += 1
        self.late += late

    def stats(self, slots: int, leased: int, cache_hits: int, cache_misses: int) -> EngineStats:
        """Give all figures at this moment."""
        ticks = sorted(self._seconds)

        def at(share: float) -> float:
            return 1e3 * ticks[min(len(ticks) - 1, int(share * len(ticks)))] if ticks else 0.0

        return EngineStats(
            slots=slots,
            leased=leased,
            ticks=self.ticks,
            tick_p50_ms=at(0.5),
            tick_p99_ms=at(0.99),
            tick_max_ms=at(1.0),
            frames=self.frames,
            late_frames=self.late,
            prompt_cache_hits=cache_hits,
            prompt_cache_misses=cache_misses,
        )
