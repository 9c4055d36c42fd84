"""Who speaks when: turns, latency and barge-in, read off the frames after the fact.

Moshi knows no turns: it listens and speaks all the time. ``TurnTracker`` derives them for
history, analytics and protocols, purely from what each 80 ms frame carried: the user's
voice activity, and the agent's level together with its monologue. It holds no clock of its
own, so the same frames always give the same events. Times are seconds on the
conversation's frame clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from coda_voice.events import (
    BargeIn,
    Event,
    Speaker,
    SpeechEnded,
    SpeechStarted,
    TurnLatency,
    WordSpoken,
)
from coda_voice.moshi.frames import FRAME_SECONDS, Word

AGENT_LEVEL_DBFS = -45.0
"""A frame above this is sound. Mimi decodes silence to about −80 dBFS, speech to −40…−10."""
AGENT_ONSET_FRAMES = 2
"""Loud frames in a row that begin the agent's speech when the monologue has a word."""
AGENT_WORDLESS_FRAMES = 4
"""The same without a word: a laugh or a hum counts, a single click does not."""
WORD_MEMORY_FRAMES = 12
"""For so long a monologue token vouches for sound that follows it: text runs ahead of audio."""
AGENT_PAUSE_SECONDS = 0.5
"""Silence that ends the agent's speech; shorter gaps are between words."""
BARGE_IN_SECONDS = 0.32
"""The user must speak over the agent this long (4 frames); less is a backchannel."""
ANSWER_WITHIN_SECONDS = 10.0
"""Agent speech that begins later than this after the user's is no answer to it."""
WORDS_KEPT = 2048
"""Of one turn, the last ones: an agent that never pauses must not fill the memory."""


@dataclass(frozen=True, slots=True)
class UserSpeech:
    """The user's voice begins (``start``) or has ended (``end``) at ``time``, known only now."""

    kind: Literal["start", "end"]
    time: float


@dataclass(slots=True)
class Turn:
    """A stretch of one speaker's speech; ``end`` is None while it lasts."""

    speaker: Speaker
    start: float
    end: float | None = None
    words: deque[str] = field(default_factory=lambda: deque(maxlen=WORDS_KEPT))

    @property
    def text(self) -> str:
        """Its words; empty for the user where nothing is transcribed."""
        return " ".join(self.words)


class TurnTracker:
    """Turns frames into events: who began, who stopped, how fast, who interrupted whom."""

    def __init__(self, conversation_id: str, history: int = 256) -> None:
        self._id = conversation_id
        self.turns: deque[Turn] = deque(maxlen=history)
        self.agent_turns = 0
        """Finished stretches of the agent's speech."""
        self._user: Turn | None = None
        self._agent: Turn | None = None
        self._last_user: Turn | None = None
        self._last_agent: Turn | None = None
        self._pending_words: deque[str] = deque(maxlen=64)
        self._loud_since: float | None = None
        self._loud_frames = 0
        self._quiet_since: float | None = None
        self._frames_since_word = WORD_MEMORY_FRAMES + 1
        self._user_ended: float | None = None
        self._overlap_since: float | None = None
        self._overlap_silent: float | None = None
        self._now = 0.0
        self._generation = 0

    @property
    def user_speaking(self) -> bool:
        """The user's voice is active."""
        return self._user is not None

    @property
    def agent_speaking(self) -> bool:
        """The agent is speaking, or in a pause too short to call it the end."""
        return self._agent is not None

    @property
    def user_last_spoke(self) -> float | None:
        """End of the user's last speech in seconds; None before the first."""
        if self._user is not None:
            return self._now
        return self._last_user.end if self._last_user else None

    @property
    def agent_last_spoke(self) -> float | None:
        """End of the agent's last sound in seconds; None before its first word."""
        if self._agent is not None:
            return self._quiet_since if self._quiet_since is not None else self._now
        return self._last_agent.end if self._last_agent else None

    def observe(
        self,
        time: float,
        *,
        user: Sequence[UserSpeech] = (),
        agent_level: float,
        word_token: bool = False,
        words: Iterable[Word] = (),
        generation: int = 0,
    ) -> list[Event]:
        """Take in one frame that starts at ``time``; what became known with it.

        ``agent_level`` is the frame's level in dBFS, ``word_token`` whether the monologue
        sampled a piece of a word in it, ``words`` those completed in it.
        """
        self._now = time + FRAME_SECONDS
        self._generation = generation
        events: list[Event] = []
        for change in user:
            events += self.user_changed(change)
        self._frames_since_word = 0 if word_token else self._frames_since_word + 1
        events += self._agent_frame(time, agent_level > AGENT_LEVEL_DBFS)
        for word in words:
            events.append(self._word(word))
        return events

    def user_changed(self, change: UserSpeech) -> list[Event]:
        """Take in that the user began or stopped; what became known with it."""
        if change.kind == "start":
            return self._user_began(change.time)
        return self._user_stopped(change.time)

    def user_said(self, words: Iterable[str]) -> None:
        """Note all words of the user's turn that is under way or has just ended."""
        turn = self._user or self._last_user
        if turn is not None:
            turn.words.clear()
            turn.words.extend(words)

    def finish(self) -> list[Event]:
        """No more frames: what was still open ends now."""
        events: list[Event] = []
        if self._agent is not None:
            events += self._agent_stopped(self._quiet_since or self._now)
        if self._user is not None:
            events += self._user_stopped(self._now)
        return events

    def _user_began(self, time: float) -> list[Event]:
        if self._user is not None:
            return []
        self._user = Turn("user", time)
        self.turns.append(self._user)
        self._user_ended = None
        agent_sounding = self._agent is not None and (
            self._quiet_since is None or self._quiet_since > time
        )
        if agent_sounding and self._agent is not None and self._agent.start < time:
            self._overlap_since, self._overlap_silent = time, None
        return [self._event(SpeechStarted, time, speaker="user")]

    def _user_stopped(self, time: float) -> list[Event]:
        if self._user is None:
            return []
        time = max(time, self._user.start)
        self._user.end = time
        events = [self._event(SpeechEnded, time, speaker="user", duration=time - self._user.start)]
        self._last_user, self._user = self._user, None
        if self._overlap_since is not None:
            events += self._barge_in(self._overlap_since, until=time)
        answer = self._agent or self._last_agent
        if answer is not None and answer.start >= time:
            # The voice detector waits for silence: a quick answer began before we knew.
            events += self._latency(answer.start, since=time)
        else:
            self._user_ended = time
        return events

    def _barge_in(self, since: float, until: float) -> list[Event]:
        """Judge an overlap when the user has stopped: only then is its length known."""
        silent = self._overlap_silent if self._overlap_silent is not None else self._quiet_since
        self._overlap_since = self._overlap_silent = None
        if until - since < BARGE_IN_SECONDS:
            return []
        silent_after = None if silent is None else max(0.0, silent - since)
        return [self._event(BargeIn, since, silent_after=silent_after)]

    def _agent_frame(self, time: float, loud: bool) -> list[Event]:
        if loud:
            self._quiet_since = None
            if self._loud_since is None:
                self._loud_since = time
            self._loud_frames += 1
            has_word = self._frames_since_word <= WORD_MEMORY_FRAMES
            needed = AGENT_ONSET_FRAMES if has_word else AGENT_WORDLESS_FRAMES
            if self._agent is None and self._loud_frames >= needed:
                return self._agent_began(self._loud_since)
            return []
        self._loud_since, self._loud_frames = None, 0
        if self._agent is None:
            return []
        if self._quiet_since is None:
            self._quiet_since = time
        # Half a frame of tolerance: sums of 0.08 are not exact.
        if self._now - self._quiet_since >= AGENT_PAUSE_SECONDS - FRAME_SECONDS / 2:
            return self._agent_stopped(self._quiet_since)
        return []

    def _agent_began(self, time: float) -> list[Event]:
        self._agent = Turn("agent", time)
        self._agent.words.extend(self._pending_words)
        self._pending_words.clear()
        self.turns.append(self._agent)
        events = [self._event(SpeechStarted, time, speaker="agent")]
        if self._user_ended is not None and self._user is None:
            events += self._latency(time, since=self._user_ended)
        return events

    def _agent_stopped(self, time: float) -> list[Event]:
        if self._agent is None:
            return []
        self._agent.end = time
        duration = time - self._agent.start
        self._last_agent, self._agent, self._quiet_since = self._agent, None, None
        self.agent_turns += 1
        if self._overlap_since is not None and self._overlap_silent is None:
            self._overlap_silent = time
        return [self._event(SpeechEnded, time, speaker="agent", duration=duration)]

    def _latency(self, agent_start: float, since: float) -> list[Event]:
        self._user_ended = None
        seconds = agent_start - since
        if not 0 <= seconds <= ANSWER_WITHIN_SECONDS:
            return []
        return [self._event(TurnLatency, agent_start, seconds=seconds)]

    def _word(self, word: Word) -> Event:
        # A word is complete only some frames after it began, at times after the sound has
        # ended, and text may run ahead of the sound: it belongs to the turn it overlaps.
        turn = self._agent
        if turn is None and self._last_agent is not None:
            end = self._last_agent.end
            turn = self._last_agent if end is not None and word.start <= end else None
        (turn.words if turn is not None else self._pending_words).append(word.text)
        return WordSpoken(
            conversation_id=self._id,
            time=word.start,
            generation=self._generation,
            speaker="agent",
            text=word.text,
            start=word.start,
            end=word.end,
            sentence_end=word.sentence_end,
        )

    def _event(self, kind: type[Event], time: float, **fields: object) -> Event:
        return kind.model_validate(
            {
                "conversation_id": self._id,
                "time": time,
                "generation": self._generation,
                **fields,
            }
        )
