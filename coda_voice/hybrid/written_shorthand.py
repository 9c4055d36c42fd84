"""Write in full what is written short and said long: "Mon-Fri", "and/or", "9am-5pm", "5'10"."""

from __future__ import annotations

import re

from coda_voice.calendar_names import WEEKDAYS
from coda_voice.hybrid.spoken_numbers import UNIT, year_words

_DAYS = {day[:length]: day for day in WEEKDAYS for length in (3, 4, 5)} | {"Thur": "Thursday"}
_DAY = "|".join(sorted(_DAYS, key=len, reverse=True))
_AM = r"[AaPp]\.?[Mm]\.?"
_CLOCK = r"\d{1,2}(?::\d\d)?"
_NO_NOUN = (
    r"(?:thousand|million|billion|trillion|for|to|in|on|and|or|is|was|per|an?|off|more|less|each|"
    r"if|at|from|when)\b"
)


def _either(match: re.Match[str]) -> str:
    joined = " " if "or" in (match[1], match[2]) or match[1] == "and" else " or "
    return f"{match[1]}{joined}{match[2]}"


_RULES = (
    (
        re.compile(rf"\b({_DAY})\.?\s?[-–]\s?({_DAY})\b"),
        lambda m: f"{_DAYS[m[1]]} to {_DAYS[m[2]]}",
    ),
    (
        re.compile(rf"(?<![\w.,/:-])({_CLOCK}(?:\s?{_AM})?)\s?[-–]\s?(?={_CLOCK}\s?{_AM}(?!\w))"),
        lambda m: f"{m[1]} to ",
    ),
    (re.compile(r"\b([Ww])/o\b"), lambda m: f"{m[1]}ithout"),
    (re.compile(r"\b([Ww])/\s?(?=[a-z])"), lambda m: f"{m[1]}ith "),
    (re.compile(r"\b[Nn]/[Aa]\b"), lambda m: "not available"),
    (re.compile(r"(?<![\w/.:@-])([a-z]{2,})/([a-z]{2,})(?![\w/.])"), _either),
    (re.compile(r"(?<![\w.])(\d)['’′]\s?(\d{1,2})[\"”″]"), lambda m: f"{m[1]} feet {m[2]}"),
    (re.compile(r"(?<=\d ft )1 in\b"), lambda m: "1 inch"),
    (re.compile(r"(?<=\d ft )(\d{1,2}) in\b"), lambda m: f"{m[1]} inches"),
    (re.compile(r"(?<=\d)\s?°\s(?=[CF]\b)"), lambda m: "°"),
    (
        re.compile(rf"(?<![\w.,])(\d+),(\d{{1,2}})(?=\s?(?:{UNIT})(?![\w°]))"),
        lambda m: f"{m[1]}.{m[2]}",
    ),
    (
        re.compile(r"\b(1\d{3}|20\d\d)(?= (?:AD|BC|CE|BCE)\b)"),
        lambda m: year_words(int(m[1])),
    ),
    (re.compile(r"(?<=\b[Tt]he )1[5-9](?!00)\d\d(?= [a-z])"), lambda m: year_words(int(m[0]))),
    (re.compile(rf"\b([Aa]) \$(\d+)(?= (?!{_NO_NOUN})[a-z])"), lambda m: f"{m[1]} {m[2]}-dollar"),
    (
        re.compile(r"\b(UTC|GMT)\s?([+−-])\s?(?=\d)"),
        lambda m: f"{m[1]} {'plus' if m[2] == '+' else 'minus'} ",
    ),
    (re.compile(r"(?<=[\w)²³]) \+ (?=[\w(√])"), lambda m: " plus "),
    (re.compile(r"(?<![\w)\]+.])\+(?=\d)"), lambda m: "plus "),
    (re.compile(r"(?<=[\w)²³]) ?= ?(?=[A-Za-z(√])"), lambda m: " equals "),
    (re.compile(r"(?<=\d)x(?= (?:[a-z]+er|as|more|less)\b)"), lambda m: " times"),
    (re.compile(r"\bapprox\.(?= )"), lambda m: "approximately"),
    (re.compile(r"\ba\.k\.a\."), lambda m: "also known as"),
    (re.compile(r"\bMt\. (?=[A-Z])"), lambda m: "Mount "),
)


def in_full(text: str) -> str:
    """Give ``text`` with such forms in full."""
    for pattern, form in _RULES:
        text = pattern.sub(form, text)
    return text
