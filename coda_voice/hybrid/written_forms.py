"""Rewrite shorter notations of numbers into those that ``spoken_numbers`` reads.

``5pm`` and ``10-15 km`` say more than their digits do: what a number is of, or that a dash
means "to", has to be seen before the digits become words.
"""

from __future__ import annotations

import re

from coda_voice.hybrid.spoken_numbers import NUMBER, UNIT, ordinal_words, year_words

_MONEY = {"EUR": "€", "USD": "$", "GBP": "£"}
_SCALES = {"k": "thousand", "K": "thousand", "M": "million", "m": "million", "B": "billion",
           "bn": "billion"}  # fmt: skip
_GLYPHS = {"½": "1/2", "⅓": "1/3", "⅔": "2/3", "¼": "1/4", "¾": "3/4", "⅛": "1/8"}
_NAMES = {"2": "half", "4": "quarter"}
_YEAR = r"1[1-9]\d\d|20\d\d"
_ALONE = r"(?<![\w.,/:-])"
_DASH = r"\s?[-–]\s?"


def _fraction(match: re.Match[str]) -> str:
    over, under = match["over"], match["under"]
    if over >= under:  # a division
        return match[0]
    name = _NAMES.get(under) or ordinal_words(int(under))
    whole = f"{match['whole']} and " if match["whole"] else ""
    return f"{whole}{'one' if over == '1' else over} {name}{'' if over == '1' else 's'}"


def _decade(match: re.Match[str]) -> str:
    """``1990s`` and ``the '90s``: the nineties, and no seconds."""
    words = year_words(int(match["year"]))
    return match["before"] + (f"{words[:-1]}ies" if words.endswith("y") else f"{words}s")


def _slashed_date(match: re.Match[str]) -> str:
    """A date where the day can be no month; else the three numbers, in their order."""
    first, second, year = int(match[1]), int(match[2]), match[3]
    month, day = sorted((first, second))
    if day <= 12 and first != second:
        return f"{first} {second} {year}"
    return f"{year}-{month:02}-{day:02}"


_RULES = (
    (re.compile("|".join(_GLYPHS)), lambda m: f" {_GLYPHS[m[0]]}"),
    (
        re.compile(
            rf"{_ALONE}(?:(?P<whole>\d+) +)?(?P<over>[1-7])/(?P<under>[2-5]|8)(?![\w/.,]\d|\d)"
        ),
        _fraction,
    ),
    (re.compile(rf"{_ALONE}24/7\b"), lambda m: "24 7"),
    (re.compile(rf"{_ALONE}(\d{{1,2}})/(\d{{1,2}})/(20\d\d|19\d\d)\b"), _slashed_date),
    (
        re.compile(rf"{_ALONE}(1[0-2]|0?[1-9])\s?([ap])\.?m\b(\.(?=\s+[a-z]))?", re.IGNORECASE),
        lambda m: f"{m[1]}:00 {m[2]}m",
    ),
    (
        re.compile(
            r"(?P<before>\b(?:the|early|mid|late|his|her|their|my)[ -])['’]?(?P<year>[2-9]0)s\b"
        ),
        _decade,
    ),
    (re.compile(r"(?P<before>)\b(?P<year>1[1-9]\d0|20\d0)s\b"), _decade),
    (
        re.compile(rf"{_ALONE}({_YEAR})[-–]({_YEAR})(?![\w-])(?!\s?(?:{UNIT})(?![\w°]))"),
        lambda m: f"{year_words(int(m[1]))} to {year_words(int(m[2]))}",
    ),
    (
        re.compile(rf"([$€£])({NUMBER})\s?(k|K|M|m|B|bn)\b"),
        lambda m: f"{m[1]}{m[2]} {_SCALES[m[3]]}",
    ),
    (
        re.compile(rf"([$€£])({NUMBER}){_DASH}[$€£]?({NUMBER})(?!\d)"),
        lambda m: f"{m[1]}{m[2]} to {m[1]}{m[3]}",
    ),
    (
        re.compile(rf"(?<![\w.,$€£])({NUMBER})\s?(?:([€£])(?!\s?\d)|(EUR|USD|GBP)\b)"),
        lambda m: f"{m[2] or _MONEY[m[3]]}{m[1]}",
    ),
    (re.compile(rf"(\d:\d\d){_DASH}(?=\d{{1,2}}:\d\d)"), lambda m: f"{m[1]} to "),
    (
        re.compile(
            rf"{_ALONE}({NUMBER}(?:\s?(?:{UNIT}))?)[-–](?=(?:{NUMBER})\s?(?:{UNIT})(?![\w°]))"
        ),
        lambda m: f"{m[1]} to ",
    ),
    (re.compile(r"(?<=\d)-(?=\d+\s*=)"), lambda m: " - "),
    (re.compile(r"(?<=[\w)])\s?\^\s?(?=[\d(-])"), lambda m: " to the power of "),
    (
        re.compile(rf"{_ALONE}\d+(?:\.\d+){{2,}}(?![\w,])"),
        lambda m: m[0].replace(".", " point "),
    ),
)


def written_out(text: str) -> str:
    """Give ``text`` with such notations in the longer form."""
    for pattern, form in _RULES:
        text = pattern.sub(form, text)
    return text
