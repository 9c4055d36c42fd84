"""When a question is about: "yesterday", "last week", "two months ago", "in March", "on Monday".

Only words of time in English are known. A question without one is about any time.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from coda_voice.calendar_names import MONTHS_HEARD, WEEKDAYS_HEARD
from coda_voice.number_names import VALUES

_NUMBERS = {"a": 1, "an": 1, "a couple of": 2, "a few": 3, **VALUES}
_UNITS = {"day": 1.0, "week": 7.0, "month": 30.4, "year": 365.25}
_AGO = re.compile(
    r"\b(\d{1,3}|" + "|".join(sorted(_NUMBERS, key=len, reverse=True)) + r")\s+"
    r"(day|week|month|year)s?\s+ago\b"
)
_LAST = re.compile(r"\b(last|this|past)\s+(week|month|year|weekend|night)\b")
_WEEKDAY = re.compile(r"\b(?:on|last|this)\s+(" + "|".join(WEEKDAYS_HEARD) + r")\b")
_MONTH = re.compile(r"\b(?:in|last|this|back in)\s+(" + "|".join(MONTHS_HEARD) + r")\b")


@dataclass(frozen=True, slots=True)
class Timespan:
    """From ``start`` to before ``end``."""

    start: datetime
    end: datetime

    def holds(self, moment: datetime) -> bool:
        """Whether ``moment`` lies in it."""
        return self.start <= moment < self.end


def timespan(question: str, now: datetime) -> Timespan | None:
    """Give the time a question names, in the zone of ``now``; None when it names none."""
    text = question.casefold()
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    if "day before yesterday" in text:
        return _days(today, 2, 1)
    if "yesterday" in text or "last night" in text:
        return _days(today, 1, 0)
    if re.search(r"\b(today|this (morning|afternoon|evening)|earlier on)\b", text):
        return _days(today, 0, -1)
    if found := _AGO.search(text):
        number = _NUMBERS[found[1]] if found[1] in _NUMBERS else int(found[1])
        days = number * _UNITS[found[2]]
        slack = max(0.0 if found[2] == "day" else 3.0, _UNITS[found[2]] * 0.5)
        middle = today - timedelta(days=days)
        return Timespan(
            middle - timedelta(days=slack), middle + timedelta(days=max(1.0, slack + 0.5))
        )
    if found := _WEEKDAY.search(text):
        back = (today.weekday() - WEEKDAYS_HEARD.index(found[1])) % 7 or 7
        return _days(today, back, back - 1)
    if found := _MONTH.search(text):
        month = MONTHS_HEARD.index(found[1]) + 1
        year = now.year - (month > now.month)
        start = today.replace(year=year, month=month, day=1)
        return Timespan(start, _month_after(start))
    if found := _LAST.search(text):
        return _last(found[1], found[2], today)
    return None


def _days(today: datetime, first: int, end: int) -> Timespan:
    return Timespan(today - timedelta(days=first), today - timedelta(days=end))


def _last(which: str, unit: str, today: datetime) -> Timespan:
    monday = today - timedelta(days=today.weekday())
    week = timedelta(days=7)
    if unit == "weekend":
        saturday = monday + timedelta(days=5)
        if saturday >= today or which == "last":
            saturday -= week
        return Timespan(saturday, saturday + timedelta(days=2))
    if unit == "week":
        return (
            Timespan(monday, monday + week) if which == "this" else Timespan(monday - week, monday)
        )
    if unit == "month":
        start = today.replace(day=1)
        if which != "this":
            start = (start - timedelta(days=1)).replace(day=1)
        return Timespan(start, _month_after(start))
    year = today.year - (which != "this")
    return Timespan(
        today.replace(year=year, month=1, day=1), today.replace(year=year + 1, month=1, day=1)
    )


def _month_after(start: datetime) -> datetime:
    return (start + timedelta(days=32)).replace(day=1)
