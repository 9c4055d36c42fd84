"""A conversation in mode hybrid, frame by frame, whose transcript is an input of the test.

The sound is recorded speech and goes through the real input chain, engine and voice. What
the user says in it is given as text and reaches the conversation the way a transcriber's
words do: half a second behind the voice, the rest as soon as the speech is over, and finally
all of it when the voice detector has ended the turn.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from coda_voice import VoiceManager
from coda_voice.attendants import UserText
from coda_voice.audio.features import level_dbfs
from coda_voice.audio.ingest import Ingest
from coda_voice.conversation import Conversation
from coda_voice.events import Event, SpeechEnded, SpeechStarted
from coda_voice.heard import Heard
from coda_voice.moshi.frames import FRAME_SAMPLES, FRAME_SECONDS, Pcm, Word
from coda_voice.moshi.transcript import EndOfSpeech
from coda_voice.turns import UserSpeech

STT_DELAY_FRAMES = 6
Kind = TypeVar("Kind", bound=Event)
Pace = Callable[[], Awaitable[None]]


class HybridTalk:
    """One conversation; every call feeds frames and waits for what the engine makes of them."""

    def __init__(self, manager: VoiceManager, conversation: Conversation) -> None:
        self.manager = manager
        self.conversation = conversation
        self.events: deque[Event] = deque(maxlen=100_000)
        self.heard: list[Heard] = []
        self.pace: Pace | None = None
        self._ingest = Ingest()
        self._frame = 0
        self._coming: list[tuple[int, str]] = []
        self._end = EndOfSpeech()
        self._words: list[Word] = []
        manager.events.listen(self._note)

    @classmethod
    async def begin(cls, manager: VoiceManager, **start: Any) -> HybridTalk:
        """Begin a conversation whose own transcriber is off."""
        name = await manager.start_conversation(**start)
        conversation = manager.conversation(name)
        conversation.transcribe(False)
        return cls(manager, conversation)

    def _note(self, event: Event) -> None:
        if event.conversation_id == self.conversation.id:
            self.events.append(event)

    def of(self, kind: type[Kind]) -> list[Kind]:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def agent(self) -> Pcm:
        return np.concatenate([heard.frame.pcm for heard in self.heard])

    async def say(self, pcm: Pcm, text: str = "") -> float:
        """Say ``pcm``, whose words are ``text``; gives when it began, in seconds."""
        began = self._frame
        frames = np.pad(pcm, (0, -len(pcm) % FRAME_SAMPLES)).reshape(-1, FRAME_SAMPLES)
        loud = [number for number, frame in enumerate(frames) if level_dbfs(frame) > -45.0]
        words = text.split()
        for number, word in enumerate(words):
            at = loud[0] + (loud[-1] - loud[0]) * (number + 1) / len(words)
            self._coming.append((began + round(at) + STT_DELAY_FRAMES, word))
        for frame in frames:
            await self.frame(frame)
        return began * FRAME_SECONDS

    async def silence(self, frames: int) -> None:
        for _ in range(frames):
            await self.frame(np.zeros(FRAME_SAMPLES, dtype=np.float32))

    async def until(self, done: Callable[[], bool], at_most: int = 400) -> None:
        """Be silent until ``done``; fails when that takes longer than ``at_most`` frames."""
        for _ in range(at_most):
            if done():
                return
            await self.silence(1)
        kinds = [event.type for event in self.events]
        raise AssertionError(f"it did not happen in {at_most} frames; what did: {kinds[-40:]}")

    async def frame(self, pcm: Pcm) -> None:
        """80 ms of both sides."""
        self._frame += 1
        (frame,) = self._ingest.push(pcm)
        speech = [UserSpeech(event.kind, event.time) for event in frame.events]
        async with self.conversation.exclusively():
            assert self.conversation.offer(frame.pcm, speech, None, frame.speech)
            while self.conversation.in_flight:
                await self.conversation.output_ready()
                for heard in self.conversation.take():
                    self.heard.append(heard)
                    self._transcribe(heard, frame.speech)
        if self.pace is not None:
            await self.pace()

    def _transcribe(self, heard: Heard, voiced: bool) -> None:
        """Give the words that are due, all of them as soon as the speech is over."""
        mine = [e for e in heard.events if getattr(e, "speaker", "") == "user"]
        if any(isinstance(event, SpeechStarted) for event in mine):
            self._words = []
        ended = [event for event in mine if isinstance(event, SpeechEnded)]
        flushed = self._end.push(voiced, None) or bool(ended)
        known = self._frame + (STT_DELAY_FRAMES if flushed else 0)
        due = [word for at, word in self._coming if at <= known]
        if not due and not ended:
            return
        self._coming = self._coming[len(due) :]
        now = heard.frame.time
        self._words += [Word(word, now - 0.5, now - 0.3) for word in due]
        self.conversation.user_text(
            UserText(
                " ".join(word.text for word in self._words),
                bool(ended),
                self.conversation.generation,
                self.conversation.seconds,
                tuple(self._words),
                end=ended[0].time if ended else None,
            )
        )


def texts(events: Sequence[Any]) -> list[str]:
    return [event.text for event in events]
