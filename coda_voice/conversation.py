"""One conversation: a leased slot, and what its frames meant.

``Conversation`` puts the user's frames into the slot, takes the agent's frames out, and
makes events, figures and log lines of them; it is what the manager and the protocol edges
share. How audio gets here and where it goes is theirs (``exchange.py``). All methods run
in the event loop's thread; the engine's thread only ever calls ``wake``.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from coda_voice.analytics import milliseconds
from coda_voice.attendants import Attendant, Attendants, UserText
from coda_voice.audio.quality import Quality
from coda_voice.errors import ConversationError
from coda_voice.events import (
    BargeIn,
    ConversationEnded,
    ConversationFailed,
    ConversationStarted,
    Event,
    FramesDropped,
    SpeechEnded,
    SpeechStarted,
    TurnLatency,
)
from coda_voice.heard import FrameReader, Heard, Surroundings
from coda_voice.models import ConversationState, ProcessingMode
from coda_voice.moshi.engine import Engine
from coda_voice.moshi.frames import FRAME_SECONDS, FrameOut, Pcm, Sampling
from coda_voice.moshi.prompt import Prompt
from coda_voice.moshi.slot import Slot, SlotState
from coda_voice.occupancy import Occupancy
from coda_voice.turns import Turn, TurnTracker, UserSpeech
from coda_voice.user_texts import UserTexts, events_of

NOTES_SECONDS = 0.2
"""So long an LLM waits for what its turn brings to mind; Moshi never does."""
LETTING_GO_SECONDS = 10.0
"""What an attendant is still at after that is told of no more."""
WORDS_LATE_FRAMES = 8
"""The agent's last word may become known so long after its sound has ended."""


class Conversation:
    """A slot with an id: frames in, ``Heard`` frames out, events on the way.

    ``limit_frames`` is its longest length on the frame clock; None for no limit.
    """

    def __init__(
        self,
        conversation_id: str,
        surroundings: Surroundings,
        *,
        user_id: str | None = None,
        limit_frames: int | None = None,
    ) -> None:
        self.id = conversation_id
        self.user_id = user_id
        self.limit_frames = limit_frames
        self.started_at = self.last_activity = datetime.now(UTC)
        self.attendants = Attendants(self)
        self.mode: ProcessingMode = "moshi_only"
        """Who answers."""
        self.notes: dict[str, str] = {}
        """What an LLM should know of the user and the talk: a text of each attendant, by name."""
        self.quality: Quality | None = None
        """Of the user's audio in the last stream or utterance."""
        self.ended: str | None = None
        """Why it ended; None while it is open."""
        self._over = asyncio.Event()
        """Set when its end has been told, and nothing more is."""
        self._to = surroundings
        self._reader = FrameReader(conversation_id, surroundings)
        self._occupancy = Occupancy(conversation_id, surroundings.bells)
        self._texts = UserTexts()
        self._transcribes = False
        self._slot: Slot | None = None
        self._offered = 0
        self._announced = 0
        self._next_frame = 0
        self._voiced = False
        self._dropped_in = self._dropped_out = 0
        self.never_offered = 0
        """Frames of the user's that a server had to give up before this could take them."""
        self._said: deque[tuple[int, Turn]] = deque(maxlen=16)
        """The agent's stretches of speech whose last words may still come, until which frame."""

    # ---- life -------------------------------------------------------------------------

    def open(
        self,
        engine: Engine,
        sampling: Sampling,
        prompt: Prompt | None,
        attendants: Sequence[Attendant] = (),
    ) -> None:
        """Lease a slot, announce the conversation, let attendants begin. Raises SlotsFullError."""
        self._slot = engine.lease(
            realtime=False, sampling=sampling, prompt=prompt, on_output=self._occupancy.wake
        )
        try:
            self._reader.know(engine.models.capabilities)
            self._to.analytics.conversations += 1
            self.publish(
                ConversationStarted(
                    conversation_id=self.id,
                    user_id=self.user_id,
                    mode=self.mode,
                    checkpoint=engine.models.name,
                )
            )
            for attendant in attendants:
                self.attendants.add(attendant)
        except BaseException:  # a listener's error, say: whoever asked gets no id to end it by
            self._slot.release()
            raise

    def close(self, reason: str = "ended") -> None:
        """Give the slot back. A stream that is running ends with a clear error.

        ``aclose`` must follow.
        """
        if self.ended is not None:
            return
        self.ended = reason
        for event in self.tracker.finish():
            self._note(event)
        while self._said:
            self._agent_said(self._said.popleft()[1])
        self.attendants.closed()
        if self._slot is not None:
            self._slot.release()
        self._occupancy.nudge()

    async def aclose(self) -> None:
        """Wait until the attendants of a closed conversation have let go; then tell its end.

        What they tell until then (a tool that was stopped, words that were stored) comes before.
        For one that does not let go the end is not put off longer than ``LETTING_GO_SECONDS``.
        """
        closing = asyncio.ensure_future(self.attendants.aclose())
        try:
            await asyncio.wait({closing}, timeout=LETTING_GO_SECONDS)
        finally:
            self.publish(
                ConversationEnded(
                    conversation_id=self.id,
                    time=self.seconds,
                    reason=self.ended or "ended",
                    frames=self._next_frame,
                    frames_dropped=self.dropped_frames + self.never_offered,
                )
            )
            self._over.set()
        await closing

    async def over(self) -> None:
        """Wait until the end has been told."""
        await self._over.wait()

    @property
    def slot(self) -> Slot:
        """The leased slot. Raises ConversationError once the conversation has ended."""
        if self.ended is not None:
            raise ConversationError(
                f"Conversation {self.id!r} has ended ({self.ended}); start a new one.",
                "conversation_ended",
                conversation_id=self.id,
            )
        if self._slot is None:
            raise ConversationError(f"Conversation {self.id!r} has not been opened.")
        return self._slot

    @property
    def tracker(self) -> TurnTracker:
        """Who speaks, and the turns so far."""
        return self._reader.tracker

    @property
    def generation(self) -> int:
        """Number of the user turn under way; 0 before the first."""
        return 0 if self._slot is None else self._slot.generation

    def publish(self, event: Event) -> None:
        """Tell everybody who listens; what comes after the end was told is told to nobody."""
        if not self._over.is_set():
            self._to.events.publish(event)

    # ---- frames -----------------------------------------------------------------------

    @property
    def seconds(self) -> float:
        """The conversation's frame clock."""
        return self._next_frame * FRAME_SECONDS

    @property
    def offered_seconds(self) -> float:
        """Where on the frame clock the next frame offered will stand."""
        return (self._offered - self._dropped_in) * FRAME_SECONDS

    @property
    def in_flight(self) -> int:
        """Frames offered whose answer has not been taken."""
        if self._slot is not None:
            self._count_drops(self._slot)
        return max(0, self._offered - self._dropped_in - self._next_frame)

    @property
    def dropped_frames(self) -> int:
        """Frames lost because a side did not keep up."""
        return self._dropped_in + self._dropped_out

    @property
    def at_limit(self) -> bool:
        """Whether the conversation has reached its longest length."""
        return (
            self.limit_frames is not None and self._offered - self._dropped_in >= self.limit_frames
        )

    def offer(
        self,
        pcm: Pcm,
        speech: Sequence[UserSpeech] = (),
        arrived: float | None = None,
        voiced: bool | None = None,
    ) -> bool:
        """Put one frame of the user into the slot; False if it would not take it now.

        ``speech``: what the voice detector learnt with this frame, times on the frame
        clock; ``voiced``: whether a voice is in this very frame (None: as between the
        starts and ends); ``arrived``: when its audio came (``time.perf_counter``).
        """
        slot = self.slot
        for change in speech:
            self._voiced = change.kind == "start"
        if self._announced == self._offered:  # not so when it was refused before
            self._announced += 1
            self.attendants.offered(self._voiced if voiced is None else voiced)
        if not slot.push(pcm, arrived, voiced=voiced) and not slot.realtime:
            return False
        self._reader.mark(self._offered - self._dropped_in, speech)
        self._offered += 1
        self.last_activity = datetime.now(UTC)
        return True

    def take(self) -> list[Heard]:
        """Take everything the engine has ready, in order, without waiting."""
        slot = self.slot
        heard = [self._hear(frame) for frame in slot.take()]
        self._count_drops(slot)
        if not heard and slot.state in (SlotState.ENDED, SlotState.FAILED):
            raise ConversationError(
                f"Conversation {self.id!r} cannot go on: {slot.error or 'its slot is gone'}.",
                "engine_stopped",
                conversation_id=self.id,
            )
        return heard

    def _hear(self, frame: FrameOut) -> Heard:
        self._next_frame = max(self._next_frame, frame.frame + 1)
        heard = self._reader.hear(frame)
        for event in heard.events:
            self._note(event)
        if self._transcribes:
            for text in self._texts.frame(heard.frame, heard.events):
                said = self._texts.of_its_own(text, self._next_turn)
                if said is not None:
                    self.user_text(said)
        while self._said and self._said[0][0] <= frame.frame:
            self._agent_said(self._said.popleft()[1])
        self.attendants.heard(heard)
        return heard

    def _note(self, event: Event) -> None:
        self.publish(event)
        if isinstance(event, TurnLatency):
            self._to.analytics.turn_latencies.append(event.seconds)
        elif isinstance(event, BargeIn):
            self._to.analytics.barge_ins += 1
        elif isinstance(event, SpeechStarted) and event.speaker == "user":
            self._begin_turn()
        elif isinstance(event, SpeechEnded) and event.speaker == "agent":
            self._to.analytics.messages += 1
            last = next((t for t in reversed(self.tracker.turns) if t.speaker == "agent"), None)
            if last is not None:
                self._said.append((self._next_frame + WORDS_LATE_FRAMES, last))

    def _begin_turn(self) -> None:
        if self.ended is None:
            self._texts.begin_turn(self._next_turn())

    def _next_turn(self) -> int:
        generation = self.slot.next_generation()
        self.attendants.turn_began(generation)
        return generation

    def _agent_said(self, turn: Turn) -> None:
        if turn.text:
            self.attendants.agent_said(turn.text, self.generation)

    # ---- words ------------------------------------------------------------------------

    def transcribe(self, on: bool = True) -> None:
        """Have what the user says written down from the next frame on, or no more.

        Where the engine has no transcriber nothing happens: ``slot.can_transcribe``.
        """
        self._transcribes = on and self.slot.can_transcribe
        self.slot.transcribe(on)

    def user_text(self, said: UserText) -> None:
        """Take in what is known of the user's words: the transcriber's way in, and typing's."""
        for event in events_of(self.id, said):
            self.publish(event)
        if said.words:
            self.tracker.user_said(word.text for word in said.words)
        self.attendants.user_text(said)

    def type_text(self, text: str) -> None:
        """Take ``text`` as a whole turn of the user that was typed instead of spoken.

        What he was saying meanwhile ends as a turn before it; if he speaks on, after it.
        """
        spoken = self._texts.cut(self.seconds)
        if spoken is not None:
            self.user_text(spoken)
        if self.ended is None:
            self._texts.typed(self._next_turn(), self.seconds)
        self.user_text(
            UserText(text, True, self.generation, self.seconds, end=self.seconds, typed=True)
        )

    async def notes_on(self, said: str) -> str:
        """Give what an LLM should know that answers ``said``; what comes too late is left out."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(NOTES_SECONDS):
                await self.attendants.recollect(said)
        return "\n".join(note for note in self.notes.values() if note)

    def interrupt(self) -> None:
        """Drop what is still to be said, as when the user begins to speak: a new turn begins."""
        self._begin_turn()
        self.attendants.interrupted()

    # ---- figures ----------------------------------------------------------------------

    def _count_drops(self, slot: Slot) -> None:
        counters = slot.counters
        lost_in = counters.dropped_in - self._dropped_in
        lost_out = counters.dropped_out - self._dropped_out
        self._dropped_in, self._dropped_out = counters.dropped_in, counters.dropped_out
        self._to.analytics.frames_dropped += lost_in + lost_out
        if lost_in:
            self.publish(
                FramesDropped(
                    conversation_id=self.id, time=self.seconds, where="inbox", count=lost_in
                )
            )
        if lost_out:
            self.publish(
                FramesDropped(
                    conversation_id=self.id, time=self.seconds, where="outbox", count=lost_out
                )
            )

    def judged(self, quality: Quality | None) -> None:
        """Note how good the audio of one stream or utterance was; None is not counted."""
        self.quality = quality
        if quality is not None:
            self._to.analytics.quality.add(quality.score)

    def failed(self, code: str, message: str) -> None:
        """Report that a call on this conversation failed; the conversation stays open."""
        self._to.analytics.failed_calls += 1
        self.publish(
            ConversationFailed(
                conversation_id=self.id, time=self.seconds, code=code, message=message
            )
        )

    @property
    def live(self) -> bool:
        """Whether audio comes as it is spoken: then it is dropped rather than held up."""
        return self.slot.realtime

    @live.setter
    def live(self, live: bool) -> None:
        self.slot.realtime = live

    # ---- waiting ----------------------------------------------------------------------

    async def output_ready(self) -> None:
        """Wait until the engine gave something, or ``nudge`` was called, since the last wait.

        Raises VoiceTimeoutError when frames are due and the engine stays silent.
        """
        await self._occupancy.output_ready(lambda: self.in_flight)

    def nudge(self) -> None:
        """End the current wait from the event loop's own thread."""
        self._occupancy.nudge()

    @asynccontextmanager
    async def exclusively(self) -> AsyncIterator[None]:
        """Work on the conversation alone: one stream or utterance at a time.

        Frames that an earlier, cancelled call left behind are heard first, so that this
        one begins with its own. Raises ConversationError if another call goes on.
        """
        _ = self.slot
        async with self._occupancy.exclusively():
            self.take()
            while self.in_flight:
                await self.output_ready()
                self.take()
            yield

    # ---- looking ----------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether a stream or an utterance is being processed."""
        return self._occupancy.busy

    def state(self) -> ConversationState:
        """Give its state at this moment."""
        return ConversationState(
            conversation_id=self.id,
            user_id=self.user_id,
            is_active=self.ended is None,
            is_speaking=self.tracker.agent_speaking,
            is_listening=self.busy,
            user_speaking=self.tracker.user_speaking,
            started_at=self.started_at,
            last_activity=self.last_activity,
            total_duration_ms=(datetime.now(UTC) - self.started_at).total_seconds() * 1000.0,
            message_count=self.tracker.agent_turns,
            total_audio_duration_ms=self.seconds * 1000.0,
            average_latency_ms=milliseconds(self._reader.latencies.arrival_to_agent.value),
            current_mode=self.mode,
            llm_active=self.mode != "moshi_only",
            dropped_frames=self.dropped_frames,
        )
