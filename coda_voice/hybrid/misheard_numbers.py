"""Numbers that a recogniser writes as words of the same sound: "for minutes", "ate times to".

Such a word is a number only where nothing else can stand, and that is known only to those who
read what is around it: a sum, a length of time, an hour.
"""

from __future__ import annotations

from collections.abc import Sequence

from coda_voice.hybrid.heard_numbers import parse_number
from coda_voice.number_names import TENS

_MEANT = {
    "won": "one",
    "to": "two",
    "too": "two",
    "free": "three",
    "tree": "three",
    "for": "four",
    "fore": "four",
    "ate": "eight",
}


def number_meant(words: Sequence[str]) -> tuple[float, int] | None:
    """Read a number as ``parse_number`` does, also where its ones sound like another word.

    "For", "too hundred" and "twenty ate" are four, two hundred and twenty-eight.
    """
    meant = [
        _MEANT.get(word, word) if at == 0 or (at == 1 and words[0] in TENS) else word
        for at, word in enumerate(words)
    ]
    return parse_number(meant)
