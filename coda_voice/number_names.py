"""The English names of numbers, as words that were heard have them."""

from __future__ import annotations

SMALL = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen"),
    *("eighteen", "nineteen"),
)
TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
VALUES = {
    **{name: number for number, name in enumerate(SMALL)},
    **{name: 10 * number for number, name in enumerate(TENS, 2)},
}
"""What stands for itself; "forty one" is a ten and one of the small."""
_ORDINALS = (
    *("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth"),
    *("tenth", "eleventh", "twelfth", *(f"{name}th" for name in SMALL[13:])),
)

_ones, _tens = "|".join(SMALL[1:10]), "|".join(TENS)
UP_TO_TWELVE = "|".join(SMALL[1:13])
"""For patterns in which something is counted: more of it is said in figures."""
CARDINAL = rf"(?:(?:{_tens})(?:[ -](?:{_ones}))?|{'|'.join(SMALL[:9:-1])}|{_ones})"
"""A pattern of one to ninety-nine; the longer words first, for "six" begins "sixteen"."""
ORDINAL = (
    rf"(?:(?:(?:{_tens})[ -])?(?:{'|'.join(_ORDINALS[:9])})|{'|'.join(_ORDINALS[9:])}|"
    rf"(?:{'|'.join(name[:-1] for name in TENS)})ieth)"
)
"""A pattern of first to ninety-ninth."""
