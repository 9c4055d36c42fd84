"""One client's conversation, whatever its protocol: audio in, outputs out, and what it may ask.

A session outlives its socket: a client that comes back in time takes it up again. It knows
no protocol and no socket; codecs translate, and ``Sessions`` opens and ends it. All methods
run in the event loop's thread; nothing here waits for a slow reader.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field

import numpy as np

from coda_voice.analytics import Mean
from coda_voice.audio.ingest import AudioSettings
from coda_voice.audio.resample import Resampler, check_rate
from coda_voice.config.model import Mode
from coda_voice.conversation import Conversation
from coda_voice.errors import ConversationError, ProtocolError, VoiceTimeoutError
from coda_voice.events import ConversationEnded, Event, ModeChanged, SettingWithoutEffect
from coda_voice.heard import Heard
from coda_voice.manager import VoiceManager
from coda_voice.moshi.frames import FRAME_SECONDS, SAMPLE_RATE, Pcm, Sampling
from coda_voice.server import personalities
from coda_voice.server.access import Caller
from coda_voice.server.hearing import Chunk, Hearing
from coda_voice.server.outputs import (
    AgentAudio,
    Confirmed,
    Dropped,
    Ended,
    Failed,
    Happened,
    Lost,
    Outbox,
    Output,
    Ready,
    Told,
)
from coda_voice.server.recording import Recorder

ECHO_FRAMES = 12
"""The agent's frames that may wait to be matched with their echo: about a second."""
LOWEST_RATE, HIGHEST_RATE = 8_000, 48_000


@dataclass(frozen=True, slots=True)
class Wish:
    """What a client wants its conversation to be like; None: as configured."""

    sample_rate: int = SAMPLE_RATE
    mode: Mode | None = None
    prompt: str | None = None
    voice: str | None = None
    seed: int | None = None
    sampling: Callable[[Sampling], Sampling] | None = None
    """Changes the configured sampling."""
    record: str | None = None
    """How the user agreed to being recorded; None: not recorded."""
    wait: bool = False
    """Wait in line when every slot is taken."""
    transcribe: bool = False
    """Write down what the user says also where nothing else asks for it, as in moshi_only."""


def checked_rate(rate: int) -> int:
    """Give the rate back. Raises ProtocolError for one that a client cannot have."""
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise ProtocolError(
            f"sample_rate is {rate}; give {LOWEST_RATE} to {HIGHEST_RATE} Hz.", "bad_sample_rate"
        )
    return check_rate(rate)


@dataclass(eq=False)
class Session:
    """A conversation in the hands of a client.

    ``token`` lets the client come back; ``outbox`` holds what it has not read; ``lost`` is told
    what it could not be sent, or what of it could not be heard.
    """

    conversation: Conversation
    manager: VoiceManager
    caller: Caller
    pool: Executor
    wish: Wish = field(default_factory=Wish)
    lost: Lost = lambda where, frames: None

    def __post_init__(self) -> None:
        self.token = secrets.token_urlsafe(24)
        self.outbox = Outbox(lost=self.lost)
        self._told = Told()
        self._missed = False
        self._dropped_before = 0
        self.frames_out = 0
        self.compute = Mean()
        """Seconds the models took for a frame."""
        self.resumed = 0
        self.sample_rate = checked_rate(self.wish.sample_rate)
        self.began = self.last_audio = time.monotonic()
        self.detached_since: float | None = self.began
        self.muted = False
        self.too_slow = False
        """Its protocol has an outbox of its own, whose reader has been slow for too long."""
        self.ended: str | None = None
        self.mode: str = self.manager.mode
        self.recorder: Recorder | None = None
        self._on_taken: Callable[[], None] | None = None
        self._was_attached = False
        self.hearing = Hearing(
            self.conversation, self.manager.config, self.pool, self._offered, self._unheard
        )
        self._resampler = Resampler(SAMPLE_RATE, self.sample_rate)
        self._spoken: deque[Pcm] = deque(maxlen=ECHO_FRAMES)
        self.steering = asyncio.Lock()
        """Held while something is changed that is looked at first."""
        self._listening = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    # ---- life -------------------------------------------------------------------------

    @property
    def left(self) -> bool:
        """Whether its client was there and is gone; it may come back."""
        return self._was_attached and self.detached_since is not None

    async def begin(self) -> None:
        """Take the conversation up; from now on it can be heard and spoken to."""
        if self.caller.may("events"):  # of the whole server
            for setting, reason in self.manager.config.settings_without_effect():
                self.happened(
                    SettingWithoutEffect(conversation_id="", setting=setting, reason=reason)
                )
        if self.wish.transcribe:
            self.conversation.transcribe()
        self._task = asyncio.create_task(self._listen(), name=f"session {self.conversation.id}")
        await self._listening.wait()

    def ready(self, *, resumed: bool = False, resume_seconds: float = 0.0) -> Ready:
        """Describe the conversation as it is now; ``resumed``: first of all, to who comes back."""
        waiting = self.outbox.audio if resumed else 0  # else it goes out before this
        return Ready(
            conversation_id=self.conversation.id,
            resume_token=self.token,
            resumed=resumed,
            resume_seconds=resume_seconds,
            sample_rate=self.sample_rate,
            frames=round(self.conversation.seconds / FRAME_SECONDS),
            mode=self.mode,
            checkpoint=self.manager.config.moshi.checkpoint,
            muted=self.muted,
            recorded=self.recorder is not None,
            personality=personalities.played(self.conversation),
            missed=resumed and self._missed,
            under_way=waiting + self.conversation.in_flight + self.hearing.waiting,
        )

    def attach(self, on_taken: Callable[[], None], after: int | None = None) -> None:
        """Become the connection of this session; a former one is told by its ``on_taken``.

        ``after``: the last event that the client was told, by its id; what was sent after that
        and may have been lost with its socket is sent again. None: what is waiting follows.
        """
        former, self._on_taken = self._on_taken, on_taken
        if former is not None:
            former()
        if self._was_attached:
            self.resumed += 1
            self.outbox.begin_anew()
            self._missed = self._replay(after)
        self._dropped_before = self.outbox.dropped_messages
        self._was_attached = True
        self.detached_since = None
        self.outbox.behind_since = None
        self.last_audio = time.monotonic()

    def _replay(self, after: int | None) -> bool:
        """Have the outbox begin where the client is; whether it cannot."""
        if after is None:
            return self.outbox.dropped_messages > self._dropped_before
        events, gone = self._told.after(after)
        return not self.outbox.replay(events, after) or gone

    async def detach(self, on_taken: Callable[[], None]) -> None:
        """Lose the connection that attached with ``on_taken``; another may come."""
        if self._on_taken is not on_taken:
            return
        self._on_taken = None
        self.detached_since = time.monotonic()
        if self.ended is None:
            await self.hearing.finish()

    async def end(self, reason: str, failure: Failed | None = None) -> None:
        """End the conversation, and say why; wait until nothing of it goes on."""
        if self.ended is None:
            self.ended = reason
            if failure is not None:
                if self.outbox.behind_since is not None:
                    # Too late for it, and the reason would come later.
                    self.lost("output", self.outbox.drop_audio())
                self.outbox.put(failure)
        if self.conversation.ended is None:
            await self.manager.end_conversation(self.conversation.id, reason)
        await self.over()
        recorder, self.recorder = self.recorder, None
        if recorder is not None:
            await asyncio.to_thread(recorder.close)

    async def over(self) -> None:
        """Wait until the conversation has ended and its last outputs are in the outbox."""
        if self._task is not None:
            await asyncio.wait([self._task])

    # ---- in ---------------------------------------------------------------------------

    def set_rate(self, sample_rate: int) -> None:
        """Choose the rate of the audio both ways. Raises ProtocolError once there was audio."""
        if checked_rate(sample_rate) == self.sample_rate:
            return
        if self.hearing.begun:
            raise ProtocolError(
                "sample_rate cannot change once audio was sent; open another connection.",
                "too_late",
            )
        self.sample_rate = sample_rate
        self._resampler = Resampler(SAMPLE_RATE, sample_rate)

    async def hear(self, chunk: Chunk, arrived: float | None = None) -> None:
        """Take audio at the session's rate; ``arrived`` by ``time.perf_counter``.

        What the engine has no room for waits, two seconds at most; then the oldest is
        dropped and told. Raises ProtocolError (fatal) for a flood.
        """
        if self.ended is not None or not len(chunk):
            return
        arrived = time.perf_counter() if arrived is None else arrived
        self.last_audio = time.monotonic()
        if self.muted:
            chunk = bytes(len(chunk)) if isinstance(chunk, bytes) else np.zeros_like(chunk)
        await self.hearing.hear(chunk, self.sample_rate, arrived, self._reference)

    def listen(self, settings: AudioSettings) -> None:
        """Detect voice by a client's settings, not the server's, from the next chunk on."""
        self.hearing.listen(settings)

    def _offered(self, pcm: Pcm) -> None:
        if self.recorder is not None:
            self.recorder.user(pcm)

    def _unheard(self, frames: int) -> None:
        self.conversation.never_offered += frames
        self.lost("input", frames)
        self.outbox.put(Dropped("input", frames))

    def _reference(self) -> Pcm | None:
        if not self._spoken:
            return None
        reference = np.concatenate(self._spoken)
        self._spoken.clear()
        return reference

    def mute(self, muted: bool) -> None:
        """Let the agent hear silence, whatever is sent."""
        self.muted = muted
        self.outbox.put(Confirmed("mute", muted))

    def interrupt(self) -> None:
        """Silence the agent now, and drop what was still to be said."""
        self.conversation.interrupt()

    def type_text(self, text: str) -> None:
        """Take a turn of the user that was typed. Raises ValidationError for an empty one."""
        self.manager.send_text(self.conversation.id, text)

    # ---- out --------------------------------------------------------------------------

    async def outputs(self) -> AsyncIterator[Output]:
        """Give the outputs in order until ``Ended``, the last one."""
        while True:
            output = await self.outbox.get()
            yield output
            if isinstance(output, Ended):
                return

    def happened(self, event: Event) -> None:
        """Pass an event of the conversation on."""
        happened = Happened(event)
        self._told.add(happened)
        self.outbox.put(happened)
        if self.recorder is not None:
            self.recorder.event(event)
        if isinstance(event, ModeChanged):
            self.mode = event.mode
            self.outbox.put(Confirmed("mode", event.mode))
        elif isinstance(event, ConversationEnded) and self.ended is None:
            self.ended = event.reason

    async def _listen(self) -> None:
        talk = self.conversation
        try:
            async with talk.exclusively():
                talk.live = True
                self._listening.set()
                while not (talk.at_limit and not talk.in_flight):
                    await talk.output_ready()
                    for heard in talk.take():
                        self._say(heard)
                    self.hearing.feed()
            await self.manager.end_conversation(talk.id, "max_conversation_length")
        except (ConversationError, VoiceTimeoutError) as error:
            if talk.ended is None:
                self.outbox.put(Failed(error.error_code, error.message, fatal=True))
                await self.manager.end_conversation(talk.id, "failed")
            await talk.over()  # its last events come before the output that ends it
        except Exception:  # a fault of ours ends this conversation only, and frees its slot
            self.ended = self.ended or "failed"
            raise
        finally:
            self._listening.set()
            self.ended = self.ended or talk.ended or "cancelled"
            self.outbox.put(Ended(self.ended, round(talk.seconds / FRAME_SECONDS)))

    def _say(self, heard: Heard) -> None:
        self.frames_out += 1
        self.compute.add(heard.frame.times.compute)
        if self.recorder is not None:
            self.recorder.agent(heard.frame.frame, heard.frame.pcm)
        if self.manager.config.audio.echo_cancellation:
            self._spoken.append(heard.frame.pcm)
        self.outbox.put(AgentAudio(self._resampler.process(heard.frame.pcm), heard))
