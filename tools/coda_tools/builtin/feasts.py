"""Find the next day that has a name: a weekday, a feast, a date without a year."""

from __future__ import annotations

import re
from calendar import isleap
from collections.abc import Callable
from datetime import date, timedelta

from coda_voice.calendar_names import MONTHS_HEARD, WEEKDAYS_HEARD
from coda_voice.errors import ValidationError


def easter(year: int) -> date:
    """Give Easter Sunday of the Gregorian calendar, by the method of Meeus, Jones and Butcher."""
    golden, (century, rest) = year % 19, divmod(year, 100)
    shift = (century - (century + 8) // 25 + 1) // 3
    moon = (19 * golden + century - century // 4 - shift + 15) % 30
    weekday = (32 + 2 * (century % 4) + 2 * (rest // 4) - moon - rest % 4) % 7
    late = (golden + 11 * moon + 22 * weekday) // 451
    month, day = divmod(moon + weekday - 7 * late + 114, 31)
    return date(year, month, day + 1)


def _thanksgiving(year: int) -> date:
    """The fourth Thursday of November, as in the USA."""
    first = date(year, 11, 1)
    return first + timedelta(days=(3 - first.weekday()) % 7 + 21)


def _fixed(month: int, day: int) -> Callable[[int], date]:
    return lambda year: date(year, month, day)


_FEASTS: dict[str, Callable[[int], date]] = {
    "new year": _fixed(1, 1),
    "valentine": _fixed(2, 14),
    "easter": easter,
    "easter sunday": easter,
    "easter monday": lambda year: easter(year) + timedelta(days=1),
    "good friday": lambda year: easter(year) - timedelta(days=2),
    "halloween": _fixed(10, 31),
    "thanksgiving": _thanksgiving,
    "christmas eve": _fixed(12, 24),
    "christmas": _fixed(12, 25),
    "xmas": _fixed(12, 25),
    "boxing day": _fixed(12, 26),
    "new year eve": _fixed(12, 31),
}


def next_day(said: str, today: date) -> date:
    """Give the day that is meant: today or after it, unless ``said`` has a year.

    Raises ValidationError for a day that is not known.
    """
    plain = re.sub(r"[,.]", " ", said.lower().replace("’", "'"))
    name = re.sub(r"^(?:the|next|this) |'s\b", "", " ".join(plain.split()))
    if name in WEEKDAYS_HEARD:
        return today + timedelta(days=(WEEKDAYS_HEARD.index(name) - today.weekday() - 1) % 7 + 1)
    feast = _FEASTS.get(name) or _FEASTS.get(name.removesuffix(" day"))
    try:
        if feast is not None:
            return next(day for y in (0, 1) if (day := feast(today.year + y)) >= today)
        if iso := re.fullmatch(r"(\d{4})-(\d{1,2})-(\d{1,2})", name):
            return date(int(iso[1]), int(iso[2]), int(iso[3]))
        return _dated(name, today)
    except ValueError as error:
        raise ValidationError(f"There is no such day as {said}.") from error


def _dated(name: str, today: date) -> date:
    """Read "25 december", "december 25th 2026" or "25th of december"."""
    month = next((m for m in MONTHS_HEARD if re.search(rf"\b{m}\b", name)), None)
    numbers = [int(n) for n in re.findall(r"\b(\d{1,4})(?:st|nd|rd|th)?\b", name)]
    if month is None or not 1 <= len(numbers) <= 2 or numbers[0] > 31:
        raise ValueError(name)
    number = MONTHS_HEARD.index(month) + 1
    if len(numbers) == 2:
        return date(numbers[1], number, numbers[0])
    for year in range(today.year, today.year + 9):  # 29 February may be so far away
        if (number, numbers[0]) == (2, 29) and not isleap(year):
            continue
        if (day := date(year, number, numbers[0])) >= today:
            return day
    raise ValueError(name)
