"""When the engine steps: at once, or a little later together with those still to come.

A batch costs nearly the same for one slot as for all, so it pays to wait for sessions
whose frame is about to arrive, but never longer than the frame that waits can afford, and no
longer than it takes to have the engine idle for a third of the time: where ticks are short,
waiting would only make answers late.
"""

from __future__ import annotations

from collections.abc import Sequence

from coda_voice.moshi.frames import FRAME_SECONDS
from coda_voice.moshi.slot import Slot, SlotState

_MARGIN = 1.5
"""A tick may take this much longer than the ticks before it."""
_PATIENCE = 1 / 2
"""A frame waits at most this share of a tick."""
_STALLED = 3 * FRAME_SECONDS
"""A session that sent nothing for so long is not waited for."""


class Pacer:
    """Decides how long the next tick may wait."""

    def __init__(self) -> None:
        self._tick = 0.0

    def ticked(self, seconds: float) -> None:
        """Learn how long a tick took."""
        if not self._tick:
            self._tick = seconds
        # Quick to believe that ticks got slower, slow to believe that they got faster.
        weight = 0.3 if seconds > self._tick else 0.05
        self._tick += weight * (seconds - self._tick)

    def pause(self, slots: Sequence[Slot], now: float) -> float | None:
        """Seconds to wait before the next tick: 0 or less means now, None until woken."""
        ready = [slot for slot in slots if slot.ready]
        if not ready:
            return None
        oldest = None
        for slot in ready:
            frame = slot.inbox.peek()
            if slot.realtime and frame is not None:
                oldest = frame.arrived if oldest is None else min(oldest, frame.arrived)
        if oldest is None:
            return 0.0  # files only: as fast as the machine allows
        affordable = FRAME_SECONDS - _MARGIN * self._tick
        deadline = oldest + max(0.0, min(affordable, _PATIENCE * self._tick))
        if any(self._expected(slot, now, deadline) for slot in slots):
            return deadline - now
        return 0.0

    @staticmethod
    def _expected(slot: Slot, now: float, deadline: float) -> bool:
        """Whether a session that has no frame yet should have one before the deadline."""
        if not slot.realtime or slot.ready or slot.finished:
            return False
        if slot.state is not SlotState.RUNNING or not slot.last_arrival:
            return False
        if now - slot.last_arrival > _STALLED:
            return False
        return slot.last_arrival + FRAME_SECONDS <= deadline
