"""What Moshi itself has answered the user: where the LLM failed, that may be all he needs."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence

BEGINS_WITHIN = 16
"""Frames: Moshi begins to answer 6 to 9 frames after the user, or not at all."""
PAUSE = 8
"""Frames after a word, and it was the last one of a sentence."""
_WORDS = 256
_LOOKS = re.compile(
    r"\b(?:let me (?:check|see|look|find out|think)|i(?:'ll| will) (?:check|look)|"
    r"i(?:'m| am) not sure|i don't know|give me a (?:second|moment)|"
    r"(?:one|just a) (?:moment|second)|hold on)\b"
)


def says_it_looks(text: str) -> bool:
    """Whether Moshi only says that it has to look or think; ``text`` in small letters."""
    return _LOOKS.search(text) is not None


class MoshiAlone:
    """Listens, once a frame, to what Moshi says by itself after the user."""

    def __init__(self) -> None:
        self._words: deque[str] = deque(maxlen=_WORDS)
        self._quiet = self._since_word = 0
        self._speaking = False

    def heard(self, words: Sequence[str], *, user: bool, moshi: bool) -> None:
        """Note the words of a frame, and whose voice is in it."""
        self._quiet = 0 if user else self._quiet + 1
        if user:
            self._words.clear()
        self._words.extend(words)
        self._since_word = 0 if words else self._since_word + 1
        self._speaking = moshi

    @property
    def answered(self) -> bool | None:
        """Whether it has answered, or only said that it looks, or nothing; None: not over yet."""
        waited, enough = (self._since_word, PAUSE) if self._words else (self._quiet, BEGINS_WITHIN)
        if self._speaking or waited < enough:
            return None
        return bool(self._words) and not says_it_looks(" ".join(self._words).lower())
