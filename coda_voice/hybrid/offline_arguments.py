"""Read the arguments of a tool call from the words that a rule of the offline brain found.

None wherever something is not what the rule took it for: then another rule may fit.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from num2words import num2words  # type: ignore[import-untyped]

from coda_voice.hybrid.heard_numbers import parse_number
from coda_voice.hybrid.misheard_numbers import number_meant
from coda_voice.hybrid.spoken_times import duration_seconds

Arguments = Mapping[str, object]
Rule = tuple[str, re.Pattern[str], Callable[[re.Match[str]], Arguments | None]]
"""The tool that a pattern asks for, and what reads its arguments."""


def rule(tool: str, pattern: str, read: Callable[[re.Match[str]], Arguments | None]) -> Rule:
    """Make a rule of a pattern as it is written."""
    return tool, re.compile(pattern), read


def fixed(**arguments: object) -> Callable[[re.Match[str]], Arguments]:
    """Give the same arguments whatever was found."""
    return lambda match: arguments


def place(match: re.Match[str]) -> Arguments | None:
    """Give where a clock hangs; "in two hours" is no place."""
    return None if duration_seconds(match["place"]) else {"place": match["place"]}


def query(match: re.Match[str]) -> Arguments:
    return {"query": match["query"]}


def days_away(match: re.Match[str]) -> Arguments | None:
    """Read "it three days" as far from today: the number is what stands before the unit."""
    words = match["count"].split()
    each = 7 if match["unit"] == "week" else 1
    for start in range(len(words)):
        said = ["1"] if words[start:] in (["a"], ["one"]) else words[start:]
        number = number_meant(said)
        if number and number[1] == len(said) and number[0].is_integer():
            return {"days_from_today": int(number[0]) * each * (-1 if match["ago"] else 1)}
    return None


def day_name(match: re.Match[str]) -> Arguments | None:
    """Give a day as ``days_until`` reads it: "the first of march" is "1 march"."""
    words = match["feast"]
    if words:
        return {"day": words}
    number = _DAYS.get((match["ordinal"] or match["day"]).replace("-", " "))
    return {"day": f"{number} {match['month'] or match['in_month']}"} if number else None


_DAYS = {str(num2words(n, to="ordinal")).replace("-", " "): n for n in range(1, 32)}


def units(match: re.Match[str]) -> Arguments | None:
    said = re.sub(
        r"^(?:an?|one)$", "1", match["value"].removesuffix(" of a").removesuffix(" of an")
    )
    words = re.sub(r"^(?:minus|negative) |^-(?=\d)", "", said).split()
    below_zero = " ".join(words) != said
    # Without a question around it, "to minutes in hours" is what is left of another sentence.
    asked = match.start("value") > 0
    number = number_meant(words) if asked else parse_number(words)
    if number is None or number[1] != len(words):
        return None
    value = -number[0] if below_zero else number[0]
    source = _OTHER_DEGREES.get(match["target"], "") if match["source"] in _DEGREES else ""
    return {"value": value, "from_unit": source or match["source"], "to_unit": match["target"]}


_DEGREES = ("degree", "degrees")
_OTHER_DEGREES = {
    "fahrenheit": "celsius",
    "celsius": "fahrenheit",
    "centigrade": "fahrenheit",
}
"""What "twenty degrees in fahrenheit" are given in."""


def fact(match: re.Match[str]) -> Arguments:
    return {"fact": f"The user said: {match['fact']}."}
