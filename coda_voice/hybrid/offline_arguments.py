"""Read the arguments of a tool call from the words that a rule of the offline brain found.

None wherever something is not what the rule took it for: then another rule may fit.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from num2words import num2words  # type: ignore[import-untyped]

from coda_voice.hybrid.heard_numbers import parse_number
from coda_voice.hybrid.second_person import second_person
from coda_voice.hybrid.spoken_times import duration_seconds

Arguments = Mapping[str, object]


def timer(match: re.Match[str]) -> Arguments | None:
    groups = match.groupdict()
    seconds = duration_seconds(groups["length"].strip())
    label = (groups.get("label") or groups.get("named") or "").strip()
    if _SECOND_TIMER.search(match.string):
        return None
    return {"seconds": seconds, "label": label} if seconds else None


_SECOND_TIMER = re.compile(r"\band (?:also )?(?:another|a second|one for|a timer)\b")
"""Of "five minutes and another one for ten" one would be lost."""


def days_away(match: re.Match[str]) -> Arguments | None:
    """Read "it three days" as far from today: the number is what stands before the unit."""
    words = match["count"].split()
    each = 7 if match["unit"] == "week" else 1
    for start in range(len(words)):
        said = ["1"] if words[start:] in (["a"], ["one"]) else words[start:]
        number = parse_number(said)
        if number and number[1] == len(said) and number[0].is_integer():
            return {"days_from_today": int(number[0]) * each * (-1 if match["ago"] else 1)}
    return None


def day_name(match: re.Match[str]) -> Arguments | None:
    """Give a day as ``days_until`` reads it: "the first of march" is "1 march"."""
    words = match["feast"]
    if words:
        return {"day": words}
    number = _DAYS.get(match["ordinal"].replace("-", " "))
    return {"day": f"{number} {match['month']}"} if number else None


_DAYS = {str(num2words(n, to="ordinal")).replace("-", " "): n for n in range(1, 32)}
_WHICH_OF_THEM = {"first", "second", "third", "last", "next", "other", "new", "old", "latest"}


def cancelled(match: re.Match[str]) -> Arguments | None:
    """All of a kind, where none is named: who stops a timer keeps his reminders.

    None for "the second timer", which is no name and no 30 second timer.
    """
    kind = "timer" if match["kind"] == "timer" else "reminder"
    label = match["label"] or second_person(match["what"] or "")
    if label in _WHICH_OF_THEM:
        return None
    if match["label"] and (seconds := duration_seconds(label)):
        label = _length(round(seconds))
    return {"kind": kind, "label": label} if label else {"kind": kind}


def _length(seconds: int) -> str:
    """Name a timer by its length, as the timer itself does: "1 hour 30 minute"."""
    parts: list[str] = []
    for unit, each in (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1)):
        count, seconds = divmod(seconds, each)
        parts += [f"{count} {unit}"] * (count > 0)
    return " ".join([", ".join(parts[:-1]), parts[-1]]).strip()


def units(match: re.Match[str]) -> Arguments | None:
    said = re.sub(
        r"^(?:an?|one)$", "1", match["value"].removesuffix(" of a").removesuffix(" of an")
    )
    words = re.sub(r"^(?:minus|negative) |^-(?=\d)", "", said).split()
    below_zero = " ".join(words) != said
    number = parse_number(words)
    if number is None or number[1] != len(words):
        return None
    value = -number[0] if below_zero else number[0]
    return {"value": value, "from_unit": match["source"], "to_unit": match["target"]}


def fact(match: re.Match[str]) -> Arguments:
    return {"fact": f"The user said: {match['fact']}."}
