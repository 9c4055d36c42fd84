"""One conversation: a leased slot, and what its frames meant.

``Conversation`` puts the user's frames into the slot, takes the agent's frames out, and
makes events, figures and log lines of them; it is what the manager and the protocol edges
share. How audio gets here and where it goes is theirs (``exchange.py``). All methods run
in the event loop's thread; the engine's thread only ever calls ``wake``.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from coda_voice.analytics import Analytics, Latencies, milliseconds
from coda_voice.audio.quality import Quality
from coda_voice.errors import ConversationError, VoiceTimeoutError
from coda_voice.events import (
    BargeIn,
    ConversationEnded,
    ConversationFailed,
    ConversationStarted,
    Event,
    EventBus,
    FramesDropped,
    SessionRenewed,
    SpeechEnded,
    SpeechStarted,
    TurnLatency,
)
from coda_voice.logs import Logs
from coda_voice.models import ConversationState
from coda_voice.moshi.engine import Engine
from coda_voice.moshi.frames import FRAME_SECONDS, FrameOut, Pcm, Sampling
from coda_voice.moshi.prompt import Prompt
from coda_voice.moshi.slot import Slot, SlotState
from coda_voice.turns import TurnTracker, UserSpeech, level_dbfs

ENGINE_SILENT_SECONDS = 30.0
"""A frame that takes longer than this will not come: the engine is stuck or gone."""
TAKEOVER_SECONDS = 1.0
"""How long a new call waits for one that is just being cancelled to let go."""


@dataclass(frozen=True, slots=True)
class Heard:
    """A frame of the agent and what became known with it."""

    frame: FrameOut
    level: float
    """dBFS."""
    events: tuple[Event, ...]
    user_speaking: bool
    agent_speaking: bool

    @property
    def text(self) -> str:
        """The words completed in this frame."""
        return " ".join(word.text for word in self.frame.words)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a conversation reports to: shared by all of a manager's conversations."""

    events: EventBus
    analytics: Analytics
    logs: Logs


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
        self.tracker = TurnTracker(conversation_id)
        self.latencies = Latencies()
        self.quality: Quality | None = None
        """Of the user's audio in the last stream or utterance."""
        self.ended: str | None = None
        """Why it ended; None while it is open."""
        self._to = surroundings
        self._slot: Slot | None = None
        self._silent_tokens: frozenset[int] = frozenset()
        self._offered = 0
        self._next_frame = 0
        self._marks: deque[tuple[int, UserSpeech]] = deque(maxlen=1024)
        self._dropped_in = self._dropped_out = self._renewals = 0
        self._busy = asyncio.Lock()
        self._output: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    # ---- life -------------------------------------------------------------------------

    def open(self, engine: Engine, sampling: Sampling, prompt: Prompt | None) -> None:
        """Lease a slot and announce the conversation. Raises SlotsFullError."""
        self._slot = engine.lease(
            realtime=False, sampling=sampling, prompt=prompt, on_output=self.wake
        )
        known = engine.models.capabilities
        self._silent_tokens = frozenset((known.pad_token, known.epad_token))
        self._to.analytics.conversations += 1
        self._publish(
            ConversationStarted(
                conversation_id=self.id, user_id=self.user_id, checkpoint=engine.models.name
            )
        )

    def close(self, reason: str = "ended") -> None:
        """Give the slot back. A stream that is running ends with a clear error."""
        if self.ended is not None:
            return
        self.ended = reason
        for event in self.tracker.finish():
            self._note(event)
        if self._slot is not None:
            self._slot.release()
        self._publish(
            ConversationEnded(
                conversation_id=self.id,
                time=self.seconds,
                reason=reason,
                frames=self._next_frame,
                frames_dropped=self.dropped_frames,
            )
        )
        if self._output is not None:
            self._output.set()

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
        self, pcm: Pcm, speech: Sequence[UserSpeech] = (), arrived: float | None = None
    ) -> bool:
        """Put one frame of the user into the slot; False if it would not take it now.

        ``speech``: what the voice detector learnt with this frame, times on the frame
        clock; ``arrived``: when its audio came (``time.perf_counter``).
        """
        slot = self.slot
        if not slot.push(pcm, arrived) and not slot.realtime:
            return False
        number = self._offered - self._dropped_in
        self._marks.extend((number, change) for change in speech)
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
        changes: list[UserSpeech] = []
        while self._marks and self._marks[0][0] <= frame.frame:
            changes.append(self._marks.popleft()[1])
        level = level_dbfs(frame.pcm)
        events = self.tracker.observe(
            frame.time,
            user=changes,
            agent_level=level,
            word_token=(
                frame.text_token is not None
                and frame.text_token >= 0
                and frame.text_token not in self._silent_tokens
            ),
            words=frame.words,
            generation=frame.generation,
        )
        figures = self._to.analytics
        figures.frames += 1
        figures.latencies.add(frame.times)
        self.latencies.add(frame.times)
        self._to.logs.frame(self.id, frame)
        if frame.renewed is not None:
            events.append(
                SessionRenewed(
                    conversation_id=self.id,
                    time=frame.time,
                    generation=frame.generation,
                    kept_frames=frame.renewed.kept_frames,
                    prompt_frames=frame.renewed.prompt_frames,
                )
            )
        for event in events:
            self._note(event)
        return Heard(
            frame,
            level,
            tuple(events),
            self.tracker.user_speaking,
            self.tracker.agent_speaking,
        )

    def _note(self, event: Event) -> None:
        if isinstance(event, TurnLatency):
            self._to.analytics.turn_latencies.append(event.seconds)
        elif isinstance(event, BargeIn):
            self._to.analytics.barge_ins += 1
        elif isinstance(event, SpeechStarted) and event.speaker == "user" and self.ended is None:
            self.slot.next_generation()
        elif isinstance(event, SpeechEnded) and event.speaker == "agent":
            self._to.analytics.messages += 1
        self._publish(event)

    def _publish(self, event: Event) -> None:
        self._to.events.publish(event)

    def _count_drops(self, slot: Slot) -> None:
        counters = slot.counters
        lost_in = counters.dropped_in - self._dropped_in
        lost_out = counters.dropped_out - self._dropped_out
        self._dropped_in, self._dropped_out = counters.dropped_in, counters.dropped_out
        self._to.analytics.frames_dropped += lost_in + lost_out
        if lost_in:
            self._publish(
                FramesDropped(
                    conversation_id=self.id, time=self.seconds, where="inbox", count=lost_in
                )
            )
        if lost_out:
            self._publish(
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
        self._publish(
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

    def wake(self) -> None:
        """Tell the event loop that there is output. Called in the engine's thread."""
        loop, output = self._loop, self._output
        if loop is not None and output is not None and not loop.is_closed():
            # The loop may close between the question and the call: nobody waits then.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(output.set)

    async def output_ready(self) -> None:
        """Wait until ``wake`` or ``nudge`` was called since the last wait.

        Raises VoiceTimeoutError when frames are due and the engine stays silent.
        """
        if self._output is None:
            raise ConversationError(f"Conversation {self.id!r} is not being worked on.")
        try:
            async with asyncio.timeout(ENGINE_SILENT_SECONDS if self.in_flight else None):
                await self._output.wait()
        except TimeoutError as error:
            raise VoiceTimeoutError(
                f"The engine has answered nothing for {ENGINE_SILENT_SECONDS:.0f} s; "
                "look at health_check() and restart the manager.",
                conversation_id=self.id,
            ) from error
        self._output.clear()

    def nudge(self) -> None:
        """End the current wait from the event loop's own thread."""
        if self._output is not None:
            self._output.set()

    @asynccontextmanager
    async def exclusively(self) -> AsyncIterator[None]:
        """Work on the conversation alone: one stream or utterance at a time.

        Frames that an earlier, cancelled call left behind are heard first, so that this
        one begins with its own. Raises ConversationError if another call goes on.
        """
        _ = self.slot
        try:
            async with asyncio.timeout(TAKEOVER_SECONDS):
                await self._busy.acquire()
        except TimeoutError as error:
            raise ConversationError(
                f"Conversation {self.id!r} is being streamed already; end that stream first.",
                "conversation_busy",
                conversation_id=self.id,
            ) from error
        try:
            self._loop, self._output = asyncio.get_running_loop(), asyncio.Event()
            self.take()
            while self.in_flight:
                await self.output_ready()
                self.take()
            yield
        finally:
            self._loop = self._output = None
            self._busy.release()

    # ---- looking ----------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether a stream or an utterance is being processed."""
        return self._busy.locked()

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
            average_latency_ms=milliseconds(self.latencies.arrival_to_agent.value),
            dropped_frames=self.dropped_frames,
        )
