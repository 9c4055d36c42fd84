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
from coda_voice.moshi.transcript import AGREED_FRAMES


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
        self._last = (0.0, 0.0)
        """When the tick before began, and when it was over with all that follows it."""

    def tick(self, stepping: Sequence[Stepping], leased: Callable[[Slot], bool]) -> None:
        """Step these slots; ``leased`` tells who is still there to take the outcome."""
        if not stepping:
            return
        started = time.perf_counter()
        frames: list[Pcm | None] = [None] * self._batch.slots
        for step in stepping:
            frames[step.slot.row] = step.frame.pcm
        result = self._batch.step(frames)
        takers = [step for step in stepping if leased(step.slot)]
        over = [step.slot for step in takers if self._deliver(step, result, started)]
        for step in takers:  # when all are out: those who are woken take the interpreter
            step.slot.notify()
        self._rebuilder.after_step([step.slot for step in stepping])
        took = time.perf_counter() - started
        self._figures.tick(took)
        self._pacer.ticked(took)
        self._flush_transcripts(over)
        self._last = (started, time.perf_counter())

    def _flush_transcripts(self, slots: Sequence[Slot]) -> None:
        """Have the last words of users who have just stopped, for their next frame.

        After this tick's frames are out: nobody's sound waits for it.
        """
        if not slots:
            return
        started = time.perf_counter()
        by_row = {slot.row: slot for slot in slots}
        tokens = self._batch.flush_transcripts(list(by_row), AGREED_FRAMES)
        for row, written in tokens.items():
            by_row[row].flushed_words += by_row[row].user_words.flushed(written)
        self._figures.flush(time.perf_counter() - started)

    def _busy_since(self, pushed: float) -> float:
        """How much of the tick before a frame has waited for.

        Of that one only: a frame that waits for several is behind, and that is not its price.
        """
        began, over = self._last
        return max(0.0, over - max(pushed, began))

    def _deliver(self, step: Stepping, result: StepResult, started: float) -> bool:
        """Put a frame out; gives whether the user's speech was over with it."""
        slot, row = step.slot, step.slot.row
        number = slot.counters.frames_out
        token = result.tokens[row]
        times = StageTimes(
            queued=started - step.frame.arrived,
            encode=result.encode_seconds,
            model=result.model_seconds,
            decode=result.decode_seconds,
            transcribe=result.transcribe_seconds,
            engine_busy=self._busy_since(step.frame.pushed),
        )
        late = slot.realtime and times.total > FRAME_SECONDS
        slot.counters.late += late
        self._figures.frame(late)
        slot.context_used += 1
        renewed, slot.renewed = slot.renewed, None
        user_words, slot.flushed_words = slot.flushed_words, ()
        other = slot.other_sound()
        voiced_over = other is not None and other.pcm is not None
        written, over = result.written[row], False
        if written is not None:
            user_words += slot.user_words.push(number, written.token)
            over = slot.user_words.speech_over(step.frame.voiced, written.pause)
        slot.deliver(
            FrameOut(
                frame=number,
                pcm=other.pcm if other and other.pcm is not None else result.pcm[row],
                text_token=token,
                words=slot.monologue.push(number, token),
                forced=result.forced[row],
                muted=self._batch.muted(row),
                generation=slot.generation,
                arrived=step.frame.arrived,
                times=times,
                renewed=renewed,
                user_words=user_words,
                user_partial=slot.user_words.partial if written is not None else "",
                pause=written.pause if written is not None else None,
                voiced=step.frame.voiced,
                other_voice=voiced_over,
                other_words=other.words if other else (),
            )
        )
        return over
