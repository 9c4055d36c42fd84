"""The engine: ONE thread that owns the device and steps all conversations together.

Everything else posts to mailboxes. Between two frames the thread reads them: who joined,
who left, what shall be said, which prompt is exchanged. A tick steps every slot that has a
frame; it waits for late real-time sessions only as long as the 80 ms allow.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TypeVar

import torch

from coda_voice.errors import ConversationError, SlotsFullError, VoiceInitializationError
from coda_voice.moshi.batch import SlotBatch
from coda_voice.moshi.checkpoint import SpeechModels
from coda_voice.moshi.commands import Commands
from coda_voice.moshi.figures import EngineStats, TickFigures
from coda_voice.moshi.frames import Renewal, Sampling, Word
from coda_voice.moshi.helper import Helper, default_threads, wants_helper
from coda_voice.moshi.monologue import Monologue
from coda_voice.moshi.pacing import Pacer
from coda_voice.moshi.prompt import Prompt, checked_prompt
from coda_voice.moshi.rebuild import Rebuilder
from coda_voice.moshi.sampling import checked_sampling
from coda_voice.moshi.slot import Slot, SlotState, Snapshot
from coda_voice.moshi.ticks import Ticker, take_frames
from coda_voice.moshi.user_words import TranscriptFormat, UserWords

logger = logging.getLogger(__name__)
T = TypeVar("T")
SWITCH_SECONDS = 1e-4
"""So long another thread may keep the interpreter while the engine waits for it.

Torch lets go of the interpreter in each of some thousand operations a frame. With Python's own
5 ms, a server's event loop that is busy makes every one of them wait: with sixteen conversations
on two cores the models took a tenth longer, and what the server added half a frame at the median.
"""


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How the engine is set up.

    ``slots`` conversations at most. ``threads``: torch's, None chooses, and takes a helper where
    ``wants_helper`` says so. ``inbox_frames`` and ``outbox_frames`` bound each slot's mailboxes:
    where the machine does not keep up, the inbox is also the delay a caller ends up with, so it is
    short. ``keep_seconds``: how much of its past a renewed session lives through again, None a
    quarter of the context. ``prompt_cache_mb`` bounds the prefilled prompts kept.
    """

    slots: int = 4
    threads: int | None = None
    inbox_frames: int = 12
    outbox_frames: int = 50
    keep_seconds: float | None = None
    prompt_cache_mb: int = 512
    default_sampling: Sampling | None = None


class Engine:
    """Steps a fixed number of slots of one model. Start it before leasing."""

    def __init__(self, models: SpeechModels, options: EngineOptions | None = None) -> None:
        self.models = models
        self.options = options or EngineOptions()
        if self.options.slots < 1:
            raise VoiceInitializationError("an engine needs at least one slot")
        self._slots: list[Slot | None] = [None] * self.options.slots
        self._changed = threading.Condition()
        self._commands = Commands(self.wake)
        self._pacer = Pacer()
        self._figures = TickFigures()
        self._closing = False
        self._failure: BaseException | None = None
        self._started: Future[None] = Future()
        self._thread: threading.Thread | None = None
        self._helper = Helper(False)
        self._batch: SlotBatch
        self._rebuilder: Rebuilder
        self._ticker: Ticker

    # -- life ------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the thread and warm the model up; returns when frames may come.

        Raises whatever kept the model from starting.
        """
        if self._thread is not None:
            return
        self._thread = threading.Thread(target=self._run, name="coda-engine", daemon=True)
        self._thread.start()
        self._started.result()

    def close(self) -> None:
        """Stop after the current frame; every lease ends."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    @property
    def running(self) -> bool:
        """Whether frames are being stepped."""
        return self._thread is not None and self._thread.is_alive() and not self._closing

    def __enter__(self) -> Engine:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- leases ----------------------------------------------------------------------------

    def lease(
        self,
        *,
        realtime: bool = True,
        sampling: Sampling | None = None,
        prompt: Prompt | None = None,
        transcribe: bool = False,
        on_output: Callable[[], None] | None = None,
    ) -> Slot:
        """Lease a slot. Frames may be pushed at once; they wait for the prompt's prefill.

        ``transcribe``: have what the user says written down, if there is a transcriber.

        Raises SlotsFullError when all are leased, ConfigurationError when the checkpoint
        takes no such prompt, ValidationError for a prompt or a sampling that is none,
        ConversationError when the engine does not run.
        """
        self._check_running()
        sampling = checked_sampling(
            sampling or self.options.default_sampling or self.models.sampling
        )
        prompt = checked_prompt(prompt)
        self.check(prompt)
        known = self.models.capabilities
        with self._changed:
            row = next((i for i, slot in enumerate(self._slots) if slot is None), None)
            if row is None:
                raise SlotsFullError(
                    f"all {self.options.slots} slots are leased; try again when a conversation "
                    "has ended, or raise moshi.slots",
                    slots=self.options.slots,
                )
            slot = Slot(
                self,
                row,
                realtime=realtime,
                sampling=sampling,
                prompt=prompt,
                monologue=Monologue(self.models.tokenizer, known.pad_token, known.epad_token),
                user_words=UserWords(self._transcript_format()),
                inbox_frames=self.options.inbox_frames,
                outbox_frames=self.options.outbox_frames,
                on_output=on_output,
            )
            self._slots[row] = slot
        self._tell(slot, lambda: self._join(slot, transcribe))
        return slot

    def _transcript_format(self) -> TranscriptFormat:
        model = self.models.transcriber
        if model is None:
            known = self.models.capabilities
            return TranscriptFormat(
                self.models.tokenizer, known.pad_token, known.epad_token, delay=0
            )
        return TranscriptFormat(
            model.tokenizer, model.pad_token, model.epad_token, model.delay_frames
        )

    def check(self, prompt: Prompt) -> None:
        """Raise ConfigurationError if the checkpoint cannot take this prompt."""
        self._rebuilder.check(prompt)

    def release(self, slot: Slot) -> None:
        """End a lease; its slot is free at once, its neighbours notice nothing."""
        with self._changed:
            if slot.state is not SlotState.FAILED:
                slot.state = SlotState.ENDED
            if self._slots[slot.row] is slot:
                self._slots[slot.row] = None
            self._changed.notify()
        slot.inbox.clear()

    def wake(self) -> None:
        """Have the thread look again whether there is something to do."""
        with self._changed:
            self._changed.notify()

    def mute(self, slot: Slot, muted: bool) -> None:
        """See Slot.mute."""
        self._tell(slot, lambda: self._batch.mute(slot.row, muted))

    def add_references(self, slot: Slot, vectors: torch.Tensor, generation: int) -> None:
        """See Slot.reference."""

        def add() -> None:
            if generation == slot.generation:
                dropped = self._batch.add_references(slot.row, vectors)
                slot.counters.dropped_references += dropped

        self._tell(slot, add)

    def drop_references(self, slot: Slot) -> None:
        """Forget what was to be told by frame sum (a new turn began)."""
        self._tell(slot, lambda: self._batch.drop_references(slot.row))

    def prime(self, slot: Slot, prompt: Prompt) -> Future[Renewal]:
        """See Slot.prime."""
        prompt = checked_prompt(prompt)
        self.check(prompt)
        done: Future[Renewal] = Future()
        self._commands.post(lambda: self._rebuilder.request(slot, prompt, done))
        return done

    @property
    def can_transcribe(self) -> bool:
        """Whether there is a transcriber."""
        return self.models.transcriber is not None

    def transcribe(self, slot: Slot, on: bool) -> None:
        """See Slot.transcribe."""
        self._tell(slot, lambda: self._batch.transcribe(slot.row, on))

    def flush_transcript(self, slot: Slot) -> Future[tuple[Word, ...]]:
        """See Slot.flush_transcript."""

        def flush() -> tuple[Word, ...]:
            before, slot.flushed_words = slot.flushed_words, ()
            tokens = self._batch.flush_transcripts([slot.row])
            return before + slot.user_words.flushed(tokens.get(slot.row, ()))

        return self._ask(slot, flush)

    def snapshot(self, slot: Slot) -> Future[Snapshot]:
        """See Slot.snapshot."""
        return self._ask(
            slot,
            lambda: Snapshot(
                self._batch.snapshot(slot.row), slot.prompt, slot.prompt_frames, slot.context_used
            ),
        )

    def restore(self, slot: Slot, snapshot: Snapshot) -> Future[None]:
        """See Slot.restore."""

        def restore() -> None:
            self._rebuilder.cancel(slot)
            self._batch.restore(slot.row, snapshot.slot)
            self._batch.steer(slot.row, slot.choose)
            slot.user_words, slot.flushed_words = UserWords(self._transcript_format()), ()
            slot.sampling, slot.prompt = snapshot.slot.sampling, snapshot.prompt
            slot.prompt_frames, slot.context_used = snapshot.prompt_frames, snapshot.context_used
            slot.state = SlotState.RUNNING

        return self._ask(slot, restore)

    def stats(self) -> EngineStats:
        """The engine in figures."""
        cache = self._rebuilder.cache
        return self._figures.stats(
            slots=self.options.slots,
            leased=sum(slot is not None for slot in self._slots),
            cache_hits=cache.hits,
            cache_misses=cache.misses,
        )

    # -- commands: posted by anybody, run by the thread between two frames -------------------

    def _check_running(self) -> None:
        if self._failure is not None:
            raise ConversationError(f"the engine stopped: {self._failure}") from self._failure
        if not self.running:
            raise ConversationError("the engine is not running; call start() first")

    def _is_leased(self, slot: Slot) -> bool:
        return self._slots[slot.row] is slot

    def _tell(self, slot: Slot, act: Callable[[], None]) -> None:
        """Have something done to a slot, if it is still leased then."""

        def run() -> None:
            if self._is_leased(slot):
                act()

        self._commands.post(run)

    def _ask(self, slot: Slot, answer: Callable[[], T]) -> Future[T]:
        """Have something answered by a slot; the future fails if it has ended by then."""

        def run() -> T:
            if not self._is_leased(slot):
                raise ConversationError("the conversation has ended")
            return answer()

        return self._commands.ask(run)

    def _join(self, slot: Slot, transcribe: bool) -> None:
        self._batch.reset(slot.row, slot.sampling)
        self._batch.transcribe(slot.row, transcribe)
        self._batch.steer(slot.row, slot.choose)
        self._rebuilder.begin(slot)

    # -- the thread ------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._set_up()
        except BaseException as error:  # noqa: BLE001 - handed to whoever called start()
            self._failure = error
            self._started.set_exception(error)
            return
        self._started.set_result(None)
        try:
            while self._wait_for_work():
                with self._changed:
                    stepping = take_frames(self._slots)
                self._ticker.tick(stepping, self._is_leased)
        except BaseException as error:
            self._failure = error
            logger.exception("the engine stopped")
        finally:
            self._end_all()

    def _set_up(self) -> None:
        if self.models.device.type == "cpu":
            # Per thread: more threads than free cores make small models ten times slower.
            torch.set_num_threads(self.options.threads or default_threads(self.models))
            self._helper = Helper(self.options.threads is None and wants_helper(self.models))
        sys.setswitchinterval(min(sys.getswitchinterval(), SWITCH_SECONDS))
        context = self.models.capabilities.context_frames
        self._batch = SlotBatch(self.models, self.options.slots, context, self._helper)
        self._rebuilder = Rebuilder(
            self._batch, self.options.keep_seconds, self.options.prompt_cache_mb << 20
        )
        self._ticker = Ticker(self._batch, self._rebuilder, self._pacer, self._figures)
        self._batch.warm_up()

    def _wait_for_work(self) -> bool:
        """Sleep until a tick is due; False when the engine is to close."""
        while True:
            self._commands.run_all()
            with self._changed:
                if self._closing:
                    return False
                if self._commands:
                    continue
                now = time.perf_counter()
                pause = self._pacer.pause([s for s in self._slots if s is not None], now)
                if pause is not None and pause <= 0:
                    return True
                if not self._rebuilder.busy:
                    self._changed.wait(pause)
                    continue
            # A rebuild uses the time in which nobody is due.
            self._rebuilder.advance(time.perf_counter())

    def _end_all(self) -> None:
        self._closing = True
        reason = f"the engine stopped: {self._failure}" if self._failure else "the engine closed"
        with self._changed:
            leased = [slot for slot in self._slots if slot is not None]
            self._slots = [None] * self.options.slots
        for slot in leased:
            slot.error = reason
            slot.state = SlotState.FAILED if self._failure else SlotState.ENDED
            slot.notify()
        self._commands.close()  # answers the futures somebody may be waiting for
        self._rebuilder.cancel_all(ConversationError(reason))
        self._helper.close()
