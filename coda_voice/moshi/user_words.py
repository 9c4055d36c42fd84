"""One conversation's transcript tokens to words with times in the user's audio.

The transcriber writes a word ``delay`` frames after it began, so times are counted back;
for a word longer than the delay, which is written when it has ended, they are up to 0.4 s
late. How long a word lasted is not written anywhere: its end is estimated from its letters.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from coda_voice.moshi.frames import FRAME_SECONDS, Word
from coda_voice.moshi.monologue import Monologue, Pieces
from coda_voice.moshi.transcript import EndOfSpeech

LETTERS_A_SECOND = 15.0
"""Of English as it is spoken, about: 150–180 words a minute, five to six letters each."""
_SAME_TIME = 2.5 * FRAME_SECONDS
"""Two readings of the same sound differ by less."""
_MAX_AHEAD = 32


@dataclass(frozen=True, slots=True)
class TranscriptFormat:
    """How a transcriber writes: its pieces, its two silent tokens, its delay in frames."""

    pieces: Pieces
    pad: int
    epad: int
    delay: int


class UserWords:
    """Turns one conversation's transcript into words, streaming, each given once.

    ``flushed`` takes what the transcriber would write if there were silence from now on;
    what it then really writes about the same sound is not given again.
    """

    def __init__(self, form: TranscriptFormat) -> None:
        self._form = form
        self._shift = (1 - form.delay) * FRAME_SECONDS
        self._monologue = self._new_monologue()
        self._ahead: deque[Word] = deque(maxlen=_MAX_AHEAD)
        self._ahead_until = -1
        self._frame = -1
        self._end = EndOfSpeech()

    def _new_monologue(self) -> Monologue:
        # A word's pieces are written one frame after the other: a pad ends it.
        return Monologue(self._form.pieces, self._form.pad, self._form.epad, hold=1)

    def push(self, frame: int, token: int) -> tuple[Word, ...]:
        """Take the token of ``frame``; give the words that became known with it."""
        self._frame = frame
        words = self._timed(self._monologue.push(frame, token))
        if frame > self._ahead_until:
            self._ahead.clear()
        return tuple(word for word in words if not self._given(word))

    @property
    def partial(self) -> str:
        """What is written of a word that is not complete."""
        return "" if self._ahead else self._monologue.partial

    def speech_over(self, voiced: bool | None, pause: Sequence[float] | None) -> bool:
        """Whether the user has just stopped: what is still on its way may be flushed."""
        return self._end.push(voiced, pause)

    def flushed(self, tokens: Iterable[int]) -> tuple[Word, ...]:
        """Take the tokens of a flush after the last frame; give the words that are new."""
        ahead = self._monologue.copy()
        words: list[Word] = []
        frame = self._frame
        for token in tokens:
            frame += 1
            words += ahead.push(frame, token)
        words += ahead.flush()
        now = (self._frame + 1) * FRAME_SECONDS
        timed = [word for word in self._timed(words) if word.start < now]
        new = tuple(word for word in timed if not self._given(word, keep=True))
        self._ahead.extend(new)
        self._ahead_until = max(self._ahead_until, frame)
        return new

    def _given(self, word: Word, keep: bool = False) -> bool:
        """Whether a flush gave this word before: the same text, or another reading of it."""
        known = next((w for w in self._ahead if w.text == word.text), None)
        if known is None:
            known = next((w for w in self._ahead if abs(w.start - word.start) < _SAME_TIME), None)
        if known is not None and not keep:
            self._ahead.remove(known)
        return known is not None

    def _timed(self, words: Iterable[Word]) -> list[Word]:
        now = (self._frame + 1) * FRAME_SECONDS
        timed = []
        for word in words:
            start = max(0.0, word.start + self._shift)
            length = max(FRAME_SECONDS, len(word.text) / LETTERS_A_SECOND)
            timed.append(replace(word, start=start, end=max(start, min(start + length, now))))
        return timed
