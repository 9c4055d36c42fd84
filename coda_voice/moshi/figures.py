"""The engine in figures: how long its ticks take, how many frames came too late."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

_TICKS_KEPT = 4_096


@dataclass(frozen=True, slots=True)
class EngineStats:
    """The engine in figures; milliseconds, over the last few thousand ticks.

    A tick is over when its frames are out; transcripts are flushed after it.
    """

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
    flushes: int = 0
    flush_p50_ms: float = 0.0
    flush_max_ms: float = 0.0


class TickFigures:
    """Counts ticks and frames; written by the engine's thread, read by anybody."""

    def __init__(self) -> None:
        self.ticks = 0
        self.frames = 0
        self.late = 0
        self.flushes = 0
        self._seconds: deque[float] = deque(maxlen=_TICKS_KEPT)
        self._flush_seconds: deque[float] = deque(maxlen=_TICKS_KEPT)

    def tick(self, seconds: float) -> None:
        """Note a tick."""
        self._seconds.append(seconds)
        self.ticks += 1

    def flush(self, seconds: float) -> None:
        """Note a flush of transcripts."""
        self._flush_seconds.append(seconds)
        self.flushes += 1

    def frame(self, late: bool) -> None:
        """Note a frame that was delivered."""
        self.frames += 1
        self.late += late

    def stats(self, slots: int, leased: int, cache_hits: int, cache_misses: int) -> EngineStats:
        """Give all figures at this moment."""
        ticks, flushes = sorted(self._seconds), sorted(self._flush_seconds)
        return EngineStats(
            slots=slots,
            leased=leased,
            ticks=self.ticks,
            tick_p50_ms=_ms_at(ticks, 0.5),
            tick_p99_ms=_ms_at(ticks, 0.99),
            tick_max_ms=_ms_at(ticks, 1.0),
            frames=self.frames,
            late_frames=self.late,
            prompt_cache_hits=cache_hits,
            prompt_cache_misses=cache_misses,
            flushes=self.flushes,
            flush_p50_ms=_ms_at(flushes, 0.5),
            flush_max_ms=_ms_at(flushes, 1.0),
        )


def _ms_at(ordered: list[float], share: float) -> float:
    if not ordered:
        return 0.0
    return 1e3 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]
