"""Lengths and times of day as they are said: "an hour and a half", "half past six"."""

from __future__ import annotations

import re
from datetime import datetime

from coda_voice.hybrid.heard_numbers import parse_number
from coda_voice.hybrid.misheard_numbers import number_meant

_SECONDS = {"second": 1.0, "minute": 60.0, "hour": 3_600.0, "day": 86_400.0, "week": 604_800.0}
_PARTS_OF_AN_HOUR = (
    (r"(?:a )?half(?: of)?", "thirty minutes"),
    (r"three quarters of", "forty-five minutes"),
    (r"(?:a |one )?quarter(?: of)?", "fifteen minutes"),
)
_AFTER_NOON = r"\b(?:pm|p m|in the (?:afternoon|evening)|tonight|this (?:afternoon|evening))$"
_BEFORE_NOON = r"\b(?:am|a m|in the morning|this morning|tomorrow morning)$"


def duration_seconds(text: str) -> float | None:
    """Read "an hour and a half" or "two minutes and ten seconds" as seconds."""
    total = 0.0
    for part, length in _PARTS_OF_AN_HOUR:
        text = re.sub(rf"\b{part} an hour\b", length, text)
    text = re.sub(r"\b(?:an? )?(?:couple|pair) of\b", "two", text)
    words = text.replace("half a", "0.5").split()
    latest = 0.0
    at = 0
    while at < len(words):
        number = number_meant(words[at:])
        count = number[0] if number else 1.0 if words[at] in ("a", "an", "one") else None
        if words[at : at + 3] == ["and", "a", "half"]:
            total, at = total + latest / 2, at + 3
        elif words[at] == "and":
            at += 1
        elif count is None:
            return None
        else:
            at += number[1] if number else 1
            unit = words[at].rstrip("s") if at < len(words) else ""
            if words[at : at + 3] == ["and", "a", "half"]:
                count, at = count + 0.5, at + 3
                unit = words[at].rstrip("s") if at < len(words) else ""
            if unit not in _SECONDS:
                return None
            latest = _SECONDS[unit]
            total, at = total + count * latest, at + 1
    return total or None


def clock_time(text: str, now: datetime) -> str | None:
    """Read "half past six", "seven thirty" or "five pm" as "18:30"; None if it is no time.

    What does not say which half of the day it means is the next one of the two.
    """
    words = re.sub(r" o'?clock\b", "", text.strip())
    late, early = re.search(_AFTER_NOON, words), re.search(_BEFORE_NOON, words)
    words = re.sub(rf"{_AFTER_NOON}|{_BEFORE_NOON}", "", words).strip()
    words, at_night = re.subn(r" at night$", "", words)
    if words in ("noon", "midday", "midnight"):
        return "00:00" if words == "midnight" else "12:00"
    words = re.sub(r"^half (?!past\b)", "half past ", words)  # half six, in Britain
    words = re.sub(r"(?<=\w) (?:oh|o|zero) (?=\w)", " ", words)  # six oh five
    shift = 0
    if part := re.match(
        r"(?P<by>.+?)(?: minutes?)? (?P<way>past|after|to|before) (?P<hour>.+)$", words
    ):
        minutes = _minutes(part["by"])
        if minutes is None:
            return None
        shift = minutes * (1 if part["way"] in ("past", "after") else -1)
        words = part["hour"]
    hour = parse_number(words.split()) or number_meant(words.split())
    rest = words.split()[hour[1] :] if hour else []
    minute = parse_number(rest) if rest else (0.0, 0)
    if hour is None or minute is None or minute[1] != len(rest) or not hour[0].is_integer():
        return None
    of_day = int(hour[0]) * 60 + int(minute[0]) + shift
    if not 0 <= of_day < 1_440 or minute[0] >= 60:
        return None
    if hour[0] <= 12:
        of_day %= 720
        passed = of_day <= now.hour * 60 + now.minute
        sooner_after_noon = passed and of_day + 720 > now.hour * 60 + now.minute
        if at_night:  # "one at night" is past midnight
            sooner_after_noon = of_day >= 360
        if late or (not early and sooner_after_noon):
            of_day += 720
    return f"{of_day // 60:02}:{of_day % 60:02}"


def _minutes(words: str) -> int | None:
    """Read how far from the hour: "a quarter", "half", "twenty five"."""
    if words in ("half", "quarter", "a quarter"):
        return 30 if words == "half" else 15
    number = parse_number(words.split())
    whole = number is not None and number[1] == len(words.split()) and number[0].is_integer()
    return int(number[0]) if number and whole and 0 < number[0] < 60 else None
