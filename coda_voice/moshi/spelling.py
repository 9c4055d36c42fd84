"""Words as the pieces of a checkpoint's tokenizer, also those it cannot write as they stand."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from typing import Protocol


class Tokenizer(Protocol):
    """What is needed of a SentencePiece tokenizer."""

    def encode(self, text: str) -> list[int]:
        """Give the pieces of ``text``."""

    def unk_id(self) -> int:
        """Give the piece that stands for what there is no piece for."""


def speller(tokenizer: Tokenizer) -> Callable[[str], Sequence[int]]:
    """Make the function that gives a word's pieces; none for what has no sound.

    A small vocabulary may lack capitals, accents or punctuation: these are given up, one
    after the other, until the word can be written.
    """
    unknown = tokenizer.unk_id()

    def spell(word: str) -> Sequence[int]:
        for attempt in _attempts(word):
            pieces = tokenizer.encode(attempt)
            if pieces and unknown not in pieces:
                return pieces
        known = [piece for piece in tokenizer.encode(_letters(word)) if piece != unknown]
        return known if any(c.isalnum() for c in word) else ()

    return spell


def _attempts(word: str) -> list[str]:
    plain = unicodedata.normalize("NFKD", word).encode("ascii", "ignore").decode()
    forms = [word, word.lower(), plain, plain.lower(), _trimmed(plain.lower()), _letters(word)]
    return [form for form in dict.fromkeys(forms) if any(c.isalnum() for c in form)]


def _trimmed(word: str) -> str:
    """Keep the full stop and the question mark, which change how a word sounds."""
    core = word.strip(',;:!"()[]*')
    return core.removesuffix("!") + "." if word.endswith("!") and core else core


def _letters(word: str) -> str:
    plain = unicodedata.normalize("NFKD", word).encode("ascii", "ignore").decode().lower()
    return "".join(c for c in plain if c.isalnum() or c == "'")
