"""What the user said, turn by turn: the transcriber's words without those that nobody spoke.

Two kinds of words are dropped, and counted. Recognisers invent text in silence: a word
where the voice detector heard nothing is none. And a microphone beside a loudspeaker hears
the agent: a word is the agent's echo when the agent said it at that moment and the line is
known to echo, or nothing is known of the line yet. Whatever the user says that the agent
did not, stays, also while the agent speaks.

Pure: values of frames in, text out. Times are seconds on the conversation's frame clock.
"""

from __future__ import annotations

import difflib
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from coda_voice.moshi.frames import FRAME_SECONDS, FrameOut, Word

PAUSE_LIKELY = 0.6
"""Of a pause head: the user stays silent. With the next, the thresholds of Kyutai's Unmute."""
PAUSE_UNLIKELY = 0.4
"""Below this the user is judged to speak again."""
AGREED_FRAMES, QUIET_FRAMES = 2, 3
"""Frames without voice that end a stretch of speech, where the pause head agrees and not."""
MAX_TURN_WORDS = 2_048
"""Of one turn the last ones are kept: a user who never pauses must not fill the memory."""

_PAUSE_HEAD = 0
"""Half a second ahead: no word is on its way that a flush could cut in two."""
_VOICE_BEFORE, _VOICE_AFTER = 5, 3
"""Frames around a word in which a voice vouches for it: its times are true to 0.4 s."""
_MEMORY_FRAMES = 128
_ECHO_EARLIEST, _ECHO_LATEST = -0.5, 1.2
"""Seconds from the agent's word to its echo's: text runs ahead of sound, and a word's time
is true to about 0.4 s."""
_JUDGED_WORDS = 16
_ENOUGH_WORDS = 4
_ECHO_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class Utterance:
    """What the user has said in one turn, so far or (``final``) in all.

    ``partial`` is the beginning of a word that is still being written.
    """

    words: tuple[Word, ...]
    partial: str = ""
    final: bool = False
    generation: int = 0

    @property
    def text(self) -> str:
        """The words, and what there is of the next one."""
        return " ".join([*(word.text for word in self.words), *filter(None, [self.partial])])


class EndOfSpeech:
    """Tells when a stretch of the user's speech is over, once for each.

    After voice, ``QUIET_FRAMES`` without it end the stretch, or ``AGREED_FRAMES`` that the
    pause head takes for the end too. Without a voice detector the head alone decides.
    """

    def __init__(self) -> None:
        self._speaking = False
        self._quiet = 0

    def push(self, voiced: bool | None, pause: Sequence[float] | None) -> bool:
        """Take the next frame's signs; True in the frame in which the speech is over."""
        likely = pause[_PAUSE_HEAD] if pause else None
        if voiced is None:
            if likely is None:
                return False
            voiced = likely < (PAUSE_LIKELY if self._speaking else PAUSE_UNLIKELY)
        if voiced:
            self._speaking, self._quiet = True, 0
            return False
        self._quiet += 1
        agreed = likely is not None and likely >= PAUSE_LIKELY
        over = self._speaking and self._quiet >= (AGREED_FRAMES if agreed else QUIET_FRAMES)
        self._speaking = self._speaking and not over
        return over


class UserTranscript:
    """Collects one conversation's user words by turn.

    ``push`` every frame; ``begin_turn`` and ``end_turn`` where the conversation sees the
    user's turns begin and end. A word belongs to the turn in which it became known, except
    that words of an ended turn which come late join it. ``silence_dropped`` and
    ``echo_dropped`` count words that nobody, and that the agent, spoke.
    """

    def __init__(self) -> None:
        self.silence_dropped = 0
        self.echo_dropped = 0
        self._generation = 0
        self._ended: float | None = None
        self._not_before = 0.0
        self._now = 0.0
        self._words: deque[Word] = deque(maxlen=MAX_TURN_WORDS)
        self._partial = ""
        self._voice: deque[tuple[int, bool]] = deque(maxlen=_MEMORY_FRAMES)
        self._agent: deque[Word] = deque(maxlen=64)
        self._unjudged: deque[Word] = deque(maxlen=64)
        self._echoing: deque[bool] = deque(maxlen=_JUDGED_WORDS)

    # -- frames --------------------------------------------------------------------------

    def push(self, frame: FrameOut) -> Utterance | None:
        """Take the next frame; gives the turn so far if that changed anything in it."""
        self._now = frame.time + FRAME_SECONDS
        if frame.voiced is not None:
            self._voice.append((frame.frame, frame.voiced))
        before = (len(self._words), self._partial)
        dropped = self.echo_dropped
        if not frame.muted:
            self._agent_said(frame.words)
        self._judge_line()
        self._take(frame.user_words)
        self._partial = frame.user_partial if self._voiced_lately() else ""
        changed = before != (len(self._words), self._partial) or dropped != self.echo_dropped
        return self._utterance() if changed else None

    def add(self, words: Iterable[Word]) -> Utterance | None:
        """Take words that came otherwise: of ``Slot.flush_transcript``, or typed by the user.

        Gives the turn so far if that changed anything in it.
        """
        before = len(self._words)
        self._take(words)
        return self._utterance() if len(self._words) != before else None

    # -- turns ---------------------------------------------------------------------------

    def begin_turn(self, generation: int, not_before: float = 0.0) -> None:
        """Begin a turn: what was said before is forgotten.

        ``not_before``: words that began earlier (seconds) are of the last turn, whenever they
        become known.
        """
        self._generation = generation
        self._not_before = not_before
        self._ended = None
        self._words.clear()
        self._partial = ""

    def go_on_as(self, generation: int) -> None:
        """Have the words so far, and what follows, be those of another turn."""
        self._generation = generation

    def end_turn(self) -> Utterance | None:
        """Give the turn as it was in the end; None if no word of it was understood.

        Words that come for it later make ``push`` give it again, still final.
        """
        self._ended = self._now
        return self._utterance() if self._words or self._partial else None

    @property
    def utterance(self) -> Utterance:
        """The turn so far."""
        return self._utterance()

    def _utterance(self) -> Utterance:
        final = self._ended is not None
        return Utterance(tuple(self._words), self._partial, final, self._generation)

    # -- what nobody spoke ---------------------------------------------------------------

    def _take(self, words: Iterable[Word]) -> None:
        for word in words:
            if word.start < self._not_before:
                continue
            if not self._voiced(word):
                self.silence_dropped += 1
            elif self._take_echo(word):
                self.echo_dropped += 1
            else:
                self._words.append(word)

    def _voiced(self, word: Word) -> bool:
        """Whether the voice detector heard anything where the word is; True if it is off."""
        first = round(word.start / FRAME_SECONDS) - _VOICE_BEFORE
        last = round(word.end / FRAME_SECONDS) + _VOICE_AFTER
        heard = [voiced for number, voiced in self._voice if first <= number <= last]
        return any(heard) or not heard

    def _voiced_lately(self) -> bool:
        return not self._voice or any(
            voiced for _, voiced in list(self._voice)[-2 * _VOICE_BEFORE :]
        )

    # -- echo ----------------------------------------------------------------------------

    def _agent_said(self, words: Sequence[Word]) -> None:
        """Note the agent's words; its echo may have been understood before them."""
        for word in words:
            self._agent.append(word)
            self._unjudged.append(word)
            echo = next((heard for heard in self._words if _is_echo(heard, word)), None)
            if echo is not None and self._may_echo:
                self._words.remove(echo)
                self._agent.pop()
                self.echo_dropped += 1

    def _take_echo(self, word: Word) -> bool:
        """Whether the agent said it just then; each word of the agent comes back once."""
        if not self._may_echo:
            return False
        said = next((said for said in self._agent if _is_echo(word, said)), None)
        if said is not None:
            self._agent.remove(said)
        return said is not None

    def _judge_line(self) -> None:
        """Learn whether the agent's voice comes back: was there voice where it spoke?"""
        while self._unjudged and self._now > self._unjudged[0].end + _ECHO_LATEST:
            said = self._unjudged.popleft()
            first, last = said.start / FRAME_SECONDS, (said.end + 0.5) / FRAME_SECONDS
            heard = [voiced for number, voiced in self._voice if first <= number <= last]
            if heard:
                self._echoing.append(any(heard))

    @property
    def _may_echo(self) -> bool:
        judged = len(self._echoing)
        return judged < _ENOUGH_WORDS or sum(self._echoing) >= _ECHO_SHARE * judged


def _is_echo(heard: Word, said: Word) -> bool:
    lag = heard.start - said.start
    return _ECHO_EARLIEST <= lag <= _ECHO_LATEST and _alike(_plain(heard.text), _plain(said.text))


def _plain(text: str) -> str:
    return "".join(letter for letter in text.lower() if letter.isalnum())


def _alike(one: str, other: str) -> bool:
    """Whether two words are the same, or so nearly that one was misheard."""
    if one == other:
        return bool(one)
    if min(len(one), len(other)) < 4:
        return False
    return difflib.SequenceMatcher(None, one, other, autojunk=False).ratio() >= 0.75
