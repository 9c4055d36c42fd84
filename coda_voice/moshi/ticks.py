"""A tick: the frames that are there go through the models together, and out to their slots."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from coda_voice.moshi.batch import SlotBatch, StepResult
from coda_voice.moshi.figures import TickFigures
from coda_voice.moshi.frames import FRAME_SECONDS, FrameOut, Pcm, StageTimes
from coda_voice.moshi.pacing import Pacer
from coda_voice.moshi.rebuild import Rebuilder
from coda_voice.moshi.slot import FrameIn, Slot


@dataclass(frozen=True, slots=True)
class Stepping:
    """A slot that steps in this tick, and its frame."""

    slot: Slot
    frame: FrameIn


def take_frames(slots: Sequence[Slot | None]) -> list[Stepping]:
    """Take a frame of every slot that can step."""
    stepping = []
    for slot in slots:
        frame = slot.inbox.get() if slot is not None and slot.ready else None
        if slot is not None and frame is not None:
            stepping.append(Stepping(slot, frame))
    return stepping


class Ticker:
    """Steps slots and delivers what comes of it. Only the engine's thread calls it."""

    def __init__(
        self, batch: SlotBatch, rebuilder: Rebuilder, pacer: Pacer, figures: TickFigures
    ) -> None:
        self._batch = batch
        self._rebuilder = rebuilder
        self._pacer = pacer
        self._figures = figures

    def tick(self, stepping: Sequence[Stepping], leased: Callable[[Slot], bool]) -> None:
        """Step these slots; ``leased`` tells who is still there to take the outcome."""
        if not stepping:
            return
        started = time.perf_counter()
        frames: list[Pcm | None] = [None] * self._batch.slots
        for step in stepping:
            frames[step.slot.row] = step.frame.pcm
        result = self._batch.step(frames)
        for step in stepping:
            if leased(step.slot):
                self._deliver(step, result, started)
        self._rebuilder.after_step([step.slot for step in stepping])
        took = time.perf_counter() - started
        self._figures.tick(took)
        self._pacer.ticked(took)

    def _deliver(self, step: Stepping, result: StepResult, started: float) -> None:
        slot, row = step.slot, step.slot.row
        number = slot.counters.frames_out
        token = result.tokens[row]
        times = StageTimes(
            queued=started - step.frame.arrived,
            encode=result.encode_seconds,
            model=result.model_seconds,
            decode=result.decode_seconds,
        )
        late = slot.realtime and times.total > FRAME_SECONDS
        slot.counters.late += late
        self._figures.frame(late)
        slot.context_used += 1
        renewed, slot.renewed = slot.renewed, None
        slot.deliver(
            FrameOut(
                frame=number,
                pcm=result.pcm[row],
                text_token=token,
                words=slot.monologue.push(number, token),
                forced=result.forced[row],
                muted=self._batch.muted(row),
                generation=slot.generation,
                arrived=step.frame.arrived,
                times=times,
                renewed=renewed,
                voiced=step.frame.voiced,
            )
        )
