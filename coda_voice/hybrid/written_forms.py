"""Rewrite shorter notations of numbers into those that ``spoken_numbers`` reads.

``5pm`` and ``10-15 km`` say more than their digits do: what a number is of, or that a dash
means "to", has to be seen before the digits become words.
"""

from __future__ import annotations

import re

from coda_voice.calendar_names import MONTHS
from coda_voice.hybrid.spoken_numbers import (
    CURRENCY,
    NUMBER,
    UNIT,
    UNITS,
    number_words,
    ordinal_words,
    year_words,
)
from coda_voice.hybrid.written_addresses import spelled_addresses
from coda_voice.hybrid.written_shorthand import in_full

_MONEY = {"EUR": "€", "USD": "$", "GBP": "£", "JPY": "¥", "INR": "₹"}
_DOLLARS = {"US": "US", "CA": "Canadian", "C": "Canadian", "AU": "Australian",
            "A": "Australian", "NZ": "New Zealand"}  # fmt: skip
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


def _dotted(match: re.Match[str]) -> str:
    """``1.234.567`` is a number as in German, ``3.11.2`` a version, ``10.0.0.1`` an address."""
    groups = match[0].split(".")
    if all(len(group) == 3 for group in groups[1:]) and any(int(group) > 255 for group in groups):
        return "".join(groups)
    return " point ".join(groups)


def _per(match: re.Match[str]) -> str:
    name = UNITS.get(match[1], match[1])
    return f" per {name.removesuffix('s')}"


_FEET = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")


def _slashed_date(match: re.Match[str]) -> str:
    """A date where the day can be no month; else the three numbers, in their order."""
    first, second, year = int(match[1]), int(match[2]), match[3]
    month, day = sorted((first, second))
    if day <= 12 and first != second:
        return f"{first} {second} {year}"
    return f"{year}-{month:02}-{day:02}"


_SHORT_MONTHS = {month[:3]: month for month in MONTHS if month != "May"} | {"Sept": "September"}
_SHORT_MONTH = "|".join(sorted(_SHORT_MONTHS, key=len, reverse=True))
_SIGNS = {"≤": "is at most", "≥": "is at least", "<=": "is at most", ">=": "is at least",
          "≠": "is not", "!=": "is not", "<": "is less than", ">": "is more than"}  # fmt: skip
_VERSIONED = (
    r"(?:[Vv]ersion|[Rr]elease|[Pp]ython|iOS|iPadOS|macOS|Ubuntu|Debian|Java|Node|Go|Rust|Ruby|PHP|"
    r"CUDA|PyTorch)"
)

_RULES = (
    (re.compile(r"(?<=[^\W\d_])[₀-₉]+"), lambda m: f" {m[0].translate(_FEET)} "),
    (
        re.compile(r"\b(\d{4}-\d\d-\d\d)T(\d\d:\d\d)(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?"),
        lambda m: f"{m[1]} at {m[2]}",
    ),
    (
        re.compile(rf"\b({_SHORT_MONTH})\.?(?= \d{{1,2}}(?:st|nd|rd|th)?\b)"),
        lambda m: _SHORT_MONTHS[m[1]],
    ),
    (
        re.compile(rf"(?<=\d )({_SHORT_MONTH})\b\.?(?= \d{{4}}\b)"),
        lambda m: _SHORT_MONTHS[m[1]],
    ),
    (re.compile(r"(?<=\d)[\u00a0\u202f\u2009](?=\d{3}\b)"), lambda m: ""),
    (re.compile(r"(?<![\d.,])\d{1,3}(?: 000)+\b"), lambda m: m[0].replace(" ", "")),
    (re.compile(r"(?<![\w.,])\.(?=\d)"), lambda m: "0."),
    (
        re.compile(rf"({NUMBER})[eE]([+-]?\d{{1,3}})\b"),
        lambda m: f"{m[1]} times 10 to the power of {m[2].lstrip('+').replace('-', 'minus ')}",
    ),
    (
        re.compile(rf"\b({_VERSIONED} )(\d+)\.([1-9]\d)(?![\d.]*\d)"),
        lambda m: f"{m[1]}{m[2]} point {number_words(m[3])}",
    ),
    (
        re.compile(
            rf"(?<![\w.,:])({NUMBER})/(5|10|100)(?=\.?$| (?:stars?|points?)\b|"
            r"(?<=\d\.\d/5)|(?<=\d\.\d/10))"
        ),
        lambda m: f"{m[1]} out of {m[2]}",
    ),
    (re.compile(r"(?<!\d/)(?<![\w.,])(\d{1,2})/\1\b(?!/)"), lambda m: f"{m[1]} {m[1]}"),
    (
        re.compile(r"(\b(?:ratio|scale|odds)(?: \w+){0,2} )(\d{1,4}):(\d{1,6})\b"),
        lambda m: f"{m[1]}{m[2]} to {m[3]}",
    ),
    (
        re.compile(r"(?<![\w.,:])(\d{1,4}):(\d|[1-9]\d{2,})(?![\w:]|[.,]\d)"),
        lambda m: f"{m[1]} to {m[2]}",
    ),
    (re.compile(r"(?<![\w.,:])(16:9|21:9)(?![\w:])"), lambda m: m[0].replace(":", " to ")),
    (re.compile(r"(?<![\w.,:])0?0:00(?![:\d])(?!\s?[AaPp])"), lambda m: "midnight"),
    (
        re.compile(rf"(?<![\w.])[-−]({CURRENCY})(?=\d)|({CURRENCY})[-−](?=\d)"),
        lambda m: f"minus {m[1] or m[2]}",
    ),
    (
        re.compile(rf"\b(US|CA|C|AU|A|NZ)\$({NUMBER})( (?:thousand|million|billion))?"),
        lambda m: f"{m[2]}{m[3] or ''} {_DOLLARS[m[1]]} dollar{'' if m[2] == '1' else 's'}",
    ),
    (re.compile(r"(?<![\w.,])(\d+),(\d\d)\s?€"), lambda m: f"€{m[1]}.{m[2]}"),
    (
        re.compile(rf"(?<![\w.,])({NUMBER})\s?¢"),
        lambda m: f"{m[1]} cent{'' if m[1] == '1' else 's'}",
    ),
    (re.compile(r"\bCHF\s?(?=\d)"), lambda m: "Swiss francs "),
    (re.compile(r"(?<=\d)\s?CHF\b"), lambda m: " Swiss francs"),
    (re.compile(r"(?<![\w&])#(?=\d)|\b[Nn]o\.\s?(?=\d)"), lambda m: "number "),
    (re.compile(r"±\s?(?=\d)"), lambda m: "plus or minus "),
    (re.compile(r"√\s?(?=[\w(])"), lambda m: "the square root of "),
    (re.compile("π"), lambda m: "pi"),
    (re.compile("∞"), lambda m: "infinity"),
    (re.compile(r"(?<=[\w)]) (<=|>=|!=|[≤≥≠<>]) (?=[\w(-])"), lambda m: f" {_SIGNS[m[1]]} "),
    (
        re.compile(r"(?:^|(?<= ))(?<!the )(?<!ly )(?<!mid )(?<!late )['’]([2-9]0)s\b"),
        lambda m: f"the {m[1]}s",
    ),
    (re.compile(r"\((1[5-9]\d\d|20\d\d)\)"), lambda m: f"({year_words(int(m[1]))})"),
    (
        re.compile(
            r"(?<=[a-zA-Z²³\d€$£])(?<!per)/(month|day|week|year|hour|hr|minute|night|person|kg|l|m²|km|m³)\b"
        ),
        _per,
    ),
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
        re.compile(rf"{_ALONE}(\d{{1,2}})\.(\d{{1,2}})\.(20\d\d|19\d\d)\b"),
        lambda m: f"{m[3]}-{int(m[2]):02}-{int(m[1]):02}" if int(m[2]) <= 12 else m[0],
    ),
    (
        re.compile(
            rf"{_ALONE}(1[0-2]|0?[1-9])\s?([ap])\.?m\b(\.(?=\s+(?-i:[a-z])|\s?[–-]))?",
            re.IGNORECASE,
        ),
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
        re.compile(rf"({CURRENCY})({NUMBER})\s?(k|K|M|m|B|bn)\b"),
        lambda m: f"{m[1]}{m[2]} {_SCALES[m[3]]}",
    ),
    (
        re.compile(rf"({CURRENCY})({NUMBER}){_DASH}{CURRENCY}?({NUMBER})(?!\d)"),
        lambda m: f"{m[1]}{m[2]} to {m[1]}{m[3]}",
    ),
    (
        re.compile(rf"(?<![\w.,$€£¥₹])({NUMBER})\s?(?:([€£¥₹])(?!\s?\d)|(EUR|USD|GBP|JPY|INR)\b)"),
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
        re.compile(r"(?:(?<=\bv)|(?<![\w.,/:-]))\d+(?:\.\d+){2,}(?!\w|,\d)"),
        _dotted,
    ),
)


def written_out(text: str) -> str:
    """Give ``text`` with such notations in the longer form."""
    text = in_full(spelled_addresses(text))
    for pattern, form in _RULES:
        text = pattern.sub(form, text)
    return text
