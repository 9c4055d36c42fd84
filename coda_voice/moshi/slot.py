"""A conversation's handle on the slot it leases. Any thread may use it; nothing waits."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

import numpy as np
import torch

from coda_voice.errors import AudioProcessingError, ConversationError, ValidationError
from coda_voice.moshi.batch import SlotSnapshot
from coda_voice.moshi.frames import (
    FRAME_SAMPLES,
    FrameOut,
    OtherSound,
    Pcm,
    Renewal,
    Sampling,
    Word,
)
from coda_voice.moshi.mailbox import Mailbox
from coda_voice.moshi.monologue import Monologue
from coda_voice.moshi.prompt import Prompt
from coda_voice.moshi.user_words import UserWords

if TYPE_CHECKING:
    from coda_voice.moshi.checkpoint import SpeechModels
    from coda_voice.moshi.engine import Engine

logger = logging.getLogger(__name__)

_MAX_FORCED = 4_096
"""Tokens that may wait to be said: over five minutes of them."""
_KNOWN_TURNS = 64
"""Turns of which is known when they began."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A conversation as it was between two frames; another slot can go on from it."""

    slot: SlotSnapshot
    prompt: Prompt
    prompt_frames: int
    context_used: int


class SlotState(Enum):
    """Where a lease stands."""

    JOINING = "joining"  # its prompt is being prefilled; frames may be pushed already
    RUNNING = "running"
    ENDED = "ended"
    FAILED = "failed"


@dataclass(slots=True)
class SlotCounters:
    """What happened to a conversation's frames so far."""

    frames_in: int = 0
    frames_out: int = 0
    dropped_in: int = 0
    dropped_out: int = 0
    late: int = 0
    renewals: int = 0
    dropped_references: int = 0


@dataclass(frozen=True, slots=True)
class FrameIn:
    """A frame of the user on its way, and whether there is voice in it.

    ``arrived``: when its sound reached this machine; ``pushed``: when the engine got it.
    """

    pcm: Pcm
    arrived: float
    voiced: bool | None
    pushed: float


class Slot:
    """One conversation in the engine's batch.

    ``realtime`` slots are paced by their audio and lose their oldest frames rather than
    fall behind; the others (files) are stepped as fast as the machine allows and lose
    nothing: ``push`` refuses instead, and nothing is stepped while the outbox is full.
    """

    def __init__(
        self,
        engine: Engine,
        row: int,
        *,
        realtime: bool,
        sampling: Sampling,
        prompt: Prompt,
        monologue: Monologue,
        user_words: UserWords,
        inbox_frames: int,
        outbox_frames: int,
        on_output: Callable[[], None] | None,
    ) -> None:
        self.row = row
        self.realtime = realtime
        self.sampling = sampling
        self.prompt = prompt
        self.generation = 0
        self.counters = SlotCounters()
        self.error: str | None = None
        self.policy_error: str | None = None
        self.state = SlotState.JOINING
        # Below: the engine's side of the lease.
        self.inbox: Mailbox[FrameIn] = Mailbox(inbox_frames)
        self.outbox: Mailbox[FrameOut] = Mailbox(outbox_frames)
        self.monologue = monologue
        self.user_words = user_words
        self.flushed_words: tuple[Word, ...] = ()
        self.finished = False
        self.last_arrival = 0.0
        self.context_used = 0
        self.prompt_frames = 0
        self.renewed: Renewal | None = None
        self._engine = engine
        self._on_output = on_output
        self._forced: deque[int] = deque(maxlen=_MAX_FORCED)
        self._steer: Callable[[int], int] | None = None
        self._voice_over: Callable[[], OtherSound | None] | None = None
        self._began: deque[int] = deque([0], maxlen=_KNOWN_TURNS)
        self._lock = threading.Lock()

    # -- audio -----------------------------------------------------------------------------

    def push(self, pcm: Pcm, arrived: float | None = None, *, voiced: bool | None = None) -> bool:
        """Give the next 80 ms of the user's audio: float32 [1920], 24 kHz.

        ``arrived`` (``time.perf_counter``) is when it reached this machine: latencies count
        from there. ``voiced``: whether a voice detector hears speech in it (None: there is
        no detector); the transcriber needs it to know when a turn is over. False means that
        a frame was lost (realtime) or refused (files: try again after the next output).
        Raises AudioProcessingError for a frame of another shape or with values that are no
        numbers, ConversationError when the lease is over.
        """
        if pcm.shape != (FRAME_SAMPLES,) or pcm.dtype != np.float32:
            raise AudioProcessingError(
                f"a frame is float32 [{FRAME_SAMPLES}], not {pcm.dtype} {list(pcm.shape)}; "
                "coda_voice.audio.ingest makes such frames of any audio"
            )
        if not np.isfinite(pcm).all():
            raise AudioProcessingError("the frame has samples that are NaN or infinite")
        if self.state in (SlotState.ENDED, SlotState.FAILED) or self.finished:
            raise ConversationError(self.error or "the conversation takes no more audio")
        now = time.perf_counter()
        frame = FrameIn(pcm, now if arrived is None else arrived, voiced, now)
        if self.realtime:
            kept = self.inbox.put_dropping(frame)
            self.counters.dropped_in = self.inbox.dropped
        else:
            kept = self.inbox.put(frame)
            if not kept:
                return False
        self.counters.frames_in += 1
        self.last_arrival = frame.arrived
        self._engine.wake()
        return kept

    def take(self) -> list[FrameOut]:
        """Everything the engine has made since the last call, in order."""
        frames = self.outbox.take_all()
        if frames and not self.realtime:
            self._engine.wake()  # there is room again
        return frames

    def finish(self) -> None:
        """Say that no more audio comes; what was pushed is still stepped."""
        self.finished = True
        self._engine.wake()

    @property
    def drained(self) -> bool:
        """Whether every frame that was pushed has come out, or none ever will."""
        if self.state in (SlotState.ENDED, SlotState.FAILED):
            return True
        counters = self.counters
        return (
            self.finished
            and not self.inbox
            and counters.frames_out >= counters.frames_in - counters.dropped_in
        )

    def release(self) -> None:
        """Give the slot back. The second time it does nothing."""
        self._engine.release(self)

    # -- what is heard ---------------------------------------------------------------------

    @property
    def can_transcribe(self) -> bool:
        """Whether the engine has a transcriber."""
        return self._engine.can_transcribe

    def transcribe(self, on: bool) -> None:
        """Have what the user says written down from the next frame on, or no more.

        Without it a slot costs nothing for the transcriber, unless the model reads along with
        it (``SpeechModels.transcript_embedding``). No effect where there is none.
        """
        self._engine.transcribe(self, on)

    def flush_transcript(self) -> Future[tuple[Word, ...]]:
        """Have the transcriber write now what it would write half a second later.

        For whoever knows that the user's turn is over: push-to-talk released, the end of a
        file. Where frames come with ``voiced`` it happens by itself, and the words come with
        the frame. Gives the words that were still on their way; they do not come again with
        a frame. Empty where nothing is transcribed.
        """
        return self._engine.flush_transcript(self)

    # -- what is said ----------------------------------------------------------------------

    def next_generation(self) -> int:
        """Begin a new user turn: whatever is forced or referenced for older ones dies."""
        with self._lock:
            self.generation += 1
            self._forced.clear()
            generation = self.generation
            self._began.append(self.counters.frames_out)
        self._engine.drop_references(self)
        return generation

    def began_at(self, generation: int) -> int:
        """Give the frame that came out next when a generation began.

        Of an old one, forgotten meanwhile, the oldest that is known.
        """
        with self._lock:
            return self._began[max(0, len(self._began) - 1 - (self.generation - generation))]

    def force(self, tokens: Sequence[int], generation: int | None = None) -> bool:
        """Have these text tokens said, one a frame, from the next frame on.

        False, and nothing done, if ``generation`` is not the current one. Raises
        ConversationError when more tokens wait than could be said in minutes.
        """
        with self._lock:
            if generation is not None and generation != self.generation:
                return False
            if len(self._forced) + len(tokens) > _MAX_FORCED:
                raise ConversationError(
                    f"{len(self._forced)} forced tokens wait already; at most {_MAX_FORCED}"
                )
            self._forced.extend(tokens)
            return True

    def steer(self, steer: Callable[[int], int] | None) -> None:
        """Let a policy see each sampled text token and say what is spoken instead.

        It is called in the engine's thread, once a frame, and must not block. One that
        raises is not asked again; the conversation goes on without it.
        """
        self._steer = steer

    def choose(self, sampled: int) -> int:
        """What the slot says in this frame (the engine's thread asks)."""
        with self._lock:
            if self._forced:
                return self._forced.popleft()
        steer = self._steer
        if steer is None:
            return sampled
        try:
            return steer(sampled)
        except Exception as error:
            logger.exception("a steering policy failed and is dropped")
            self._steer = None
            self.policy_error = f"{type(error).__name__}: {error}"
            return sampled

    def voice_over(self, sound: Callable[[], OtherSound | None] | None) -> None:
        """Let another voice be heard in Moshi's place, in the frames for which it gives a sound.

        It is called in the engine's thread, once a frame and after the steering policy; it
        must not block. One that raises is not asked again, and Moshi is heard.
        """
        self._voice_over = sound

    def other_sound(self) -> OtherSound | None:
        """What is heard in this frame in Moshi's place (the engine's thread asks)."""
        sound = self._voice_over
        if sound is None:
            return None
        try:
            return sound()
        except Exception as error:
            logger.exception("another voice failed and is dropped")
            self._voice_over = None
            self.policy_error = f"{type(error).__name__}: {error}"
            return None

    def reference(self, vectors: torch.Tensor, generation: int | None = None) -> None:
        """Add vectors [T, dim] to the model's input, one a frame (frame sum).

        Raises ValidationError for vectors of another shape.
        """
        dim = self._engine.models.lm.dim
        if vectors.dim() != 2 or vectors.shape[1] != dim:
            raise ValidationError(
                f"reference vectors are [frames, {dim}] for this checkpoint, not "
                f"{list(vectors.shape)}; SpeechModels.reference_vectors makes them of tokens"
            )
        given = self.generation if generation is None else generation
        self._engine.add_references(self, vectors, given)

    def mute(self, muted: bool) -> None:
        """Zero the agent's audio from the next frame on; the model goes on."""
        self._engine.mute(self, muted)

    @property
    def models(self) -> SpeechModels:
        """The checkpoint the conversation is held with."""
        return self._engine.models

    # -- state -----------------------------------------------------------------------------

    def prime(self, prompt: Prompt) -> Future[Renewal]:
        """Exchange the prompt of the running conversation.

        The slot is rebuilt beside the running one, with the new prompt and the last frames
        it lived, and swapped between two frames. The future tells what it remembers then.
        """
        return self._engine.prime(self, prompt)

    def snapshot(self) -> Future[Snapshot]:
        """Clone everything that makes the conversation go on where it is."""
        return self._engine.snapshot(self)

    def restore(self, snapshot: Snapshot) -> Future[None]:
        """Go on where a snapshot was taken."""
        return self._engine.restore(self, snapshot)

    # -- the engine's side -----------------------------------------------------------------

    def deliver(self, frame: FrameOut) -> None:
        """Put a frame out, of which ``notify`` is to tell the consumer (the engine's thread)."""
        self.counters.frames_out += 1
        self.outbox.put_dropping(frame)
        self.counters.dropped_out = self.outbox.dropped

    def notify(self) -> None:
        """Tell the consumer that something changed."""
        if self._on_output is None:
            return
        try:
            self._on_output()
        except Exception as error:
            logger.exception("the consumer of a conversation failed")
            self.error = f"the consumer is gone: {type(error).__name__}: {error}"
            self.state = SlotState.FAILED

    @property
    def ready(self) -> bool:
        """Whether the slot can step: it has a frame, and room for what comes of it."""
        return (
            self.state is SlotState.RUNNING
            and len(self.inbox) > 0
            and (self.realtime or not self.outbox.full)
        )
