"""Read numbers from words, as a transcript has them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from coda_voice.number_names import VALUES as _SMALL

_SCALES = {
    "hundred": 100,
    "thousand": 1_000,
    "million": 1_000_000,
    "billion": 10**9,
    "trillion": 10**12,
}
_OVER = {"a": 1, "one": 1, "two": 2, "three": 3}
_UNDER = {"half": 2, "halve": 2, "third": 3, "quarter": 4}


def parse_number(words: Sequence[str]) -> tuple[float, int] | None:
    """Read a number from the beginning of ``words``: its value and how many words it took.

    Takes digits ("3.5"), words ("two hundred and five"), "a" and "an" before a scale, and
    fractions ("half a", "three quarters", "two and a half"). None if there is no number.
    """
    if fraction := _fraction(words):
        return fraction
    whole = _whole(words)
    if whole is None or words[whole[1] : whole[1] + 1] != ["and"]:
        return whole
    rest = words[whole[1] + 1 :]
    part = _fraction(rest) if rest and rest[0] != "half" else None
    return (whole[0] + part[0], whole[1] + 1 + part[1]) if part else whole


def _fraction(words: Sequence[str]) -> tuple[float, int] | None:
    """Read "half a", "a quarter" or "two thirds"; a third alone may be the third of a row."""
    if words[:1] == ["half"]:
        return 0.5, 1 + (words[1:2] in (["a"], ["an"]))
    over = _OVER.get(words[0]) if words else None
    under = _UNDER.get(words[1].removesuffix("s")) if over and len(words) > 1 else None
    return (over / under, 2) if over and under else None


def _whole(words: Sequence[str]) -> tuple[float, int] | None:
    total = current = 0.0
    used = 0
    seen = False
    ceiling = 100.0
    while used < len(words):
        word = words[used].lower().strip(",.?!").replace(",", "")
        if re.fullmatch(r"\d+(\.\d+)?", word) and not seen:
            current, seen, ceiling = float(word), True, 0.0
        elif "-" in word and all(part in _SMALL for part in word.split("-")) and ceiling > 10:
            current += sum(_SMALL[part] for part in word.split("-"))
            seen, ceiling = True, 0.0
        elif word in _SMALL and (not seen or ceiling > _SMALL[word]):
            value = _SMALL[word]
            current += value
            seen, ceiling = True, 10.0 if value >= 20 else 0.0
        elif word in _SCALES and seen:
            scale = _SCALES[word]
            if scale == 100:
                current, ceiling = current * scale, 100.0
            elif not current:  # five thousand million
                total *= scale
            else:
                total, current, ceiling = total + current * scale, 0.0, 100.0
        elif (
            word in ("a", "an")
            and not seen
            and used + 1 < len(words)
            and words[used + 1] in _SCALES
        ):
            current, seen, ceiling = 1.0, True, 0.0
        elif word == "and" and seen and ceiling == 100.0 and _follows(words, used + 1):
            pass
        elif word == "point" and _follows(words, used + 1):
            digits = ""
            used += 1
            while used < len(words) and _SMALL.get(words[used].lower(), 99) < 10:
                digits += str(_SMALL[words[used].lower()])
                used += 1
            exact = total + current + float(f"0.{digits or '0'}")
            scale = _SCALES.get(words[used].lower(), 0) if used < len(words) else 0
            return (round(exact * scale, 6), used + 1) if scale >= 1_000 else (exact, used)
        else:
            break
        used += 1
    return (total + current, used) if seen else None


def _follows(words: Sequence[str], at: int) -> bool:
    return at < len(words) and words[at].lower().split("-")[0] in _SMALL
