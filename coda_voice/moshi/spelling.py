"""Words as the pieces of a checkpoint's tokenizer, also those it cannot write as they stand."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Protocol

_BETWEEN = re.compile(r"(?<=\w)[-\u2010\u2011](?=\w)")
"""A hyphen inside a word."""


class Tokenizer(Protocol):
    """What is needed of a SentencePiece tokenizer."""

    def encode(self, text: str) -> list[int]:
        """Give the pieces of ``text``."""

    def unk_id(self) -> int:
        """Give the piece that stands for what there is no piece for."""


class Speller:
    """Cuts a text into words and a word into pieces, as the vocabulary allows."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._unknown = tokenizer.unk_id()
        self._hyphens = self._unknown not in tokenizer.encode("-")

    def words(self, text: str) -> list[str]:
        """Give the words of ``text``, each to be forced by itself.

        Where the vocabulary has no hyphen, "twenty-three" is two words: as one it would be
        "twentythree", in pieces that stand for no number.
        """
        words = text.split()
        if self._hyphens:
            return words
        return [part for word in words for part in _BETWEEN.split(word)]

    def pieces(self, word: str) -> Sequence[int]:
        """Give a word's pieces; none for what has no sound.

        A small vocabulary may lack capitals, accents or punctuation: these are given up, one
        after the other, until the word can be written.
        """
        for attempt in _attempts(word):
            pieces = self._tokenizer.encode(attempt)
            if pieces and self._unknown not in pieces:
                return pieces
        known = [p for p in self._tokenizer.encode(_letters(word)) if p != self._unknown]
        return known if any(c.isalnum() for c in word) else ()


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
