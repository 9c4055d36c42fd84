"""What a frame of the agent meant: turns, words and figures of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace

from coda_voice.analytics import Analytics, Latencies
from coda_voice.audio.features import level_dbfs
from coda_voice.bell import Bells
from coda_voice.event_bus import EventBus
from coda_voice.events import Event, SessionRenewed
from coda_voice.logs import Logs
from coda_voice.moshi.capabilities import Capabilities
from coda_voice.moshi.frames import FRAME_SECONDS, FrameOut, Word
from coda_voice.moshi.script import SILENT_FRAMES
from coda_voice.turns import AGENT_LEVEL_DBFS, TurnTracker, UserSpeech


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
    def loud(self) -> bool:
        """Whether there is sound in it."""
        return self.level > AGENT_LEVEL_DBFS

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
    bells: Bells


class FrameReader:
    """Makes ``Heard`` of one conversation's frames; counts them, and writes its log lines."""

    def __init__(self, conversation_id: str, surroundings: Surroundings) -> None:
        self.tracker = TurnTracker(conversation_id)
        self.latencies = Latencies()
        self._id = conversation_id
        self._to = surroundings
        self._silent_tokens: frozenset[int] = frozenset()
        self._marks: deque[tuple[int, UserSpeech]] = deque(maxlen=1024)
        self._muted = (0.0, 0.0)
        """From when to when Moshi was last muted or spoken over, in seconds."""
        self._last_sound = 0.0
        """When the latest frame with sound began, in seconds."""

    def know(self, capabilities: Capabilities) -> None:
        """Learn from the checkpoint which text tokens are no words."""
        self._silent_tokens = frozenset((capabilities.pad_token, capabilities.epad_token))

    def mark(self, frame: int, changes: Iterable[UserSpeech]) -> None:
        """Note what the voice detector learnt with frame number ``frame``."""
        self._marks.extend((frame, change) for change in changes)

    def hear(self, frame: FrameOut) -> Heard:
        """Take in the next frame and say what became known with it."""
        changes: list[UserSpeech] = []
        while self._marks and self._marks[0][0] <= frame.frame:
            changes.append(self._marks.popleft()[1])
        level = level_dbfs(frame.pcm)
        if level > AGENT_LEVEL_DBFS:
            self._last_sound = frame.time
        words = (*self._audible(frame), *frame.other_words)
        if words != frame.words:
            frame = replace(frame, words=words)
        events = self.tracker.observe(
            frame.time,
            user=changes,
            agent_level=level,
            word_token=self._is_word(frame),
            words=frame.words,
            generation=frame.generation,
        )
        self._count(frame)
        if frame.renewed is not None:
            events.append(
                SessionRenewed(
                    conversation_id=self._id,
                    time=frame.time,
                    generation=frame.generation,
                    kept_frames=frame.renewed.kept_frames,
                    prompt_frames=frame.renewed.prompt_frames,
                )
            )
        return Heard(
            frame,
            level,
            tuple(events),
            self.tracker.user_speaking,
            self.tracker.agent_speaking,
        )

    def _is_word(self, frame: FrameOut) -> bool:
        if frame.other_voice:
            return bool(frame.other_words)
        token = frame.text_token
        return token is not None and token >= 0 and token not in self._silent_tokens

    def _audible(self, frame: FrameOut) -> tuple[Word, ...]:
        """Leave out words that Moshi began while it was muted, and that made no sound."""
        if frame.muted or frame.other_voice:
            since, until = self._muted
            adjoining = frame.time - until < FRAME_SECONDS / 2
            self._muted = (since if adjoining and until else frame.time, frame.time + FRAME_SECONDS)
        since, until = self._muted
        return tuple(
            word
            for word in frame.words
            if not since <= word.start < until and not self._without_sound(word, frame)
        )

    def _without_sound(self, word: Word, frame: FrameOut) -> bool:
        """Whether it was time enough for the sound of a word, and none came."""
        age = round((frame.time - word.start) / FRAME_SECONDS) + 1
        return age >= SILENT_FRAMES and self._last_sound < word.start - FRAME_SECONDS / 2

    def _count(self, frame: FrameOut) -> None:
        figures = self._to.analytics
        figures.frames += 1
        figures.latencies.add(frame.times)
        self.latencies.add(frame.times)
        self._to.logs.frame(self._id, frame)
