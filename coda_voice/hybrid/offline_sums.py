"""Read a sum from words, "three plus four", as an expression that ``calculate`` computes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from num2words import num2words  # type: ignore[import-untyped]

from coda_voice.hybrid.heard_numbers import parse_number
from coda_voice.hybrid.misheard_numbers import number_meant

_ORDINALS = {str(num2words(n, to="ordinal")): str(num2words(n)) for n in range(2, 21)}
_OTHER_WORDS = (
    (r"\bper cent\b", "percent"),
    (r"\bto the (?:power of )?(minus|negative) (?=\w)", r"to the power of \1 "),
    (
        rf"\bto the ({'|'.join(_ORDINALS)})\b(?: power)?",
        lambda m: f"to the power of {_ORDINALS[m[1]]}",
    ),
    (r" (?:for me|together|all together|altogether)$", ""),
    (r"^(.+ percent) off(?: of)? (.+)$", r"\2 minus \1"),
    (r"^what (?=.* is$)", ""),
    (r"^what do you get (?:if|when) you ", ""),
    (r"^(?:the )?sum of (.+) and (.+)$", r"\1 plus \2"),
    (r"^(?:the )?product of (.+) and (.+)$", r"\1 times \2"),
    (r"^(?:the )?difference between (.+) and (.+)$", r"\1 minus \2"),
    (r"^add (.+) (?:and|to) (.+)$", r"\1 plus \2"),
    (r"^subtract (.+) from (.+)$", r"\2 minus \1"),
    (r"^multiply (.+) (?:by|and|with) (.+)$", r"\1 times \2"),
    (r"^divide (.+) by (.+)$", r"\1 divided by \2"),
    (r" (?:is|equals?|makes?)$", ""),
)
"""What is said otherwise, in the words that are read below."""
_OPERATORS = (
    (r"(?:to the power of|raised to)", "**"),
    (r"(?:multiplied by|times|x)", "*"),
    (r"(?:divided by|over)", "/"),
    (r"(?:plus|and|added to)", "+"),
    (r"(?:minus|less|take away)", "-"),
    (r"percent of", "/100*"),
    (r"percent$", "/100"),
)
_OPERAND = r"-?[\d.]+(?:e[+-]?\d+)?(?: \*\*[23])?"
_SUM = re.compile(rf"{_OPERAND}(?: (?:\*\*|/100\*|[*/+-]) {_OPERAND})*")
_ROOTS = {"square root": "sqrt({})", "root": "sqrt({})", "cube root": "({})**(1/3)"}
_PARTS = {"half": "{}/2", "third": "{}/3", "quarter": "{}/4"}
_ALONE = re.compile(
    rf"(?:the |a |an |one )?(?P<what>{'|'.join(_ROOTS | _PARTS)}) of (?P<number>.+)$"
)
_WRITTEN = re.compile(r"[\d\s.+*/()^-]*\d\s*[+*/^-]\s*[\d(-][\d\s.+*/()^-]*")


def expression(match: re.Match[str]) -> Mapping[str, object] | None:
    """Turn "three plus four" into "3+4"; None if something in it is no number, or if it is
    no sum: half of one is what a mishearing leaves.
    """
    text = match[1].strip()
    if _WRITTEN.fullmatch(text):
        return {"expression": text.replace(" ", "").replace("^", "**")}
    for words, plain in _OTHER_WORDS:
        text = re.sub(words, plain, text)
    if alone := _ALONE.fullmatch(text):
        inner = alone["number"].split()
        number = parse_number(inner)
        if number is None or number[1] != len(inner):
            return None
        return {"expression": (_ROOTS | _PARTS)[alone["what"]].format(_digits(number[0]))}
    said = text.split()
    found = _sum(_parts(said))
    if found is None and "and" not in said:  # "for and to" is what is left of a sentence
        found = _sum(_parts(said, number_meant))
    return {"expression": found} if found else None


def _sum(parts: list[str] | None) -> str | None:
    if share := _share(parts or []):
        return share
    whole = parts is not None and len(parts) >= 2 and _SUM.fullmatch(" ".join(parts))
    return "".join(parts) if parts and whole else None


def _share(parts: list[str]) -> str | None:
    """Read "eighty plus fifteen percent" as everybody means it: fifteen percent of eighty more."""
    if len(parts) == 4 and parts[1] in "+-" and parts[3] == "/100":
        return f"{parts[0]}*(1{parts[1]}{parts[2]}/100)"
    return None


def _digits(value: float) -> str:
    return f"{value:.15g}"


_Reader = Callable[[Sequence[str]], tuple[float, int] | None]


def _parts(words: list[str], read: _Reader = parse_number) -> list[str] | None:
    """Numbers and operators by turns; None where a word is neither."""
    parts: list[str] = []
    at = 0
    while at < len(words):
        number_next = not parts or parts[-1] in ("**", "*", "/", "+", "-", "/100*")
        below_zero = number_next and words[at] in ("minus", "negative", "-")
        number = read(words[at + below_zero :]) if number_next else None
        if number:
            parts.append(f"{'-' * below_zero}{_digits(number[0])}")
            at += below_zero + number[1]
        elif number_next:
            return None
        elif words[at] == "of" and re.match(r"0\.\d", parts[-1]):
            parts.append("*")  # two thirds of ninety
            at += 1
        elif found := _operator(words[at:]):
            sign, used = found
            parts.append(sign)
            at += used
        else:
            return None
    return parts


def _operator(words: list[str]) -> tuple[str, int] | None:
    if words[0] in ("+", "-", "*", "/"):
        return words[0], 1
    if words[0] in ("squared", "cubed"):
        return ("**2" if words[0] == "squared" else "**3"), 1
    rest = " ".join(words)
    for pattern, sign in _OPERATORS:
        if found := re.match(rf"{pattern}\b", rest):
            return sign, len(found[0].split())
    return None
