"""Say what time and day it is, here and elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo

from coda_tools.builtin.feasts import next_day
from coda_tools.builtin.places import find_place
from coda_tools.function_tool import tool
from coda_tools.registry import Tool
from coda_voice.errors import ValidationError

Now = Callable[[], datetime]
"""Gives the time with its zone; tests and replays bring their own."""


class LocalZone(tzinfo):
    """The zone of this machine, whatever the season: a fixed offset is off after a change."""

    def utcoffset(self, moment: datetime | None, /) -> timedelta | None:
        return moment.replace(tzinfo=None).astimezone().utcoffset() if moment else None

    def dst(self, moment: datetime | None, /) -> timedelta | None:
        return None

    def tzname(self, moment: datetime | None, /) -> str | None:
        return moment.replace(tzinfo=None).astimezone().tzname() if moment else None

    def fromutc(self, moment: datetime, /) -> datetime:
        return moment.replace(tzinfo=UTC).astimezone().replace(tzinfo=self)


def local_now() -> datetime:
    """Give the time of this machine, with its zone."""
    return datetime.now(LocalZone())


def later(moment: datetime, seconds: float) -> datetime:
    """Give the time of ``moment``'s clock after so many seconds, also over a change of season."""
    return (moment.astimezone(UTC) + timedelta(seconds=seconds)).astimezone(moment.tzinfo)


def seconds_between(start: datetime, end: datetime) -> float:
    """Give how long it takes from one to the other, also over a change of season."""
    return (end.astimezone(UTC) - start.astimezone(UTC)).total_seconds()


_PARTS_OF_DAY = ((4, "at night"), (12, "in the morning"), (18, "in the afternoon"))
"""The hour before which each ends, until the evening."""


def clock_time(moment: datetime) -> str:
    """Write a time of day as one says it: ``3:42 in the afternoon``, ``noon``.

    Aloud, "P M" is two letters that are easily lost, and the hour with them.
    """
    if (moment.hour, moment.minute) in ((0, 0), (12, 0)):
        return "noon" if moment.hour else "midnight"
    part = next((part for end, part in _PARTS_OF_DAY if moment.hour < end), "in the evening")
    return f"{moment.hour % 12 or 12}:{moment.minute:02d} {part}"


def clock_tools(now: Now = local_now) -> list[Tool]:
    """Make the tools ``get_time`` and ``get_date``."""

    @tool(timeout=2)
    async def get_time(place: str = "") -> str:
        """Tell the current time of day, here or in another city.

        place: a city, state or country, for example Tokyo; empty for here
        """
        if not place.strip():
            return f"It is {clock_time(now())}."
        found = find_place(place)
        moment = now().astimezone(found.zone)
        called = f", {found.called}" if found.called else ""
        return f"In {found.name} it is {clock_time(moment)} on {moment:%A}{called}."

    @tool(timeout=2)
    async def get_date(days_from_today: int = 0) -> str:
        """Tell today's date and weekday, or that of another day.

        days_from_today: 0 for today, 1 for tomorrow, -1 for yesterday
        """
        if abs(days_from_today) > 100_000:
            raise ValidationError("That is too far away; within a hundred thousand days, please.")
        day = now() + timedelta(days=days_from_today)
        name = {0: "Today", 1: "Tomorrow", -1: "Yesterday"}.get(days_from_today, "That day")
        verb = "was" if days_from_today < 0 else "will be" if days_from_today > 1 else "is"
        return f"{name} {verb} {day:%A}, {day.day} {day:%B} {day.year}."

    @tool(timeout=2)
    async def days_until(day: str) -> str:
        """Count the days until a weekday, a feast or a date.

        day: for example friday, christmas, easter, 25 December or 2026-12-25
        """
        today = now().date()
        found = next_day(day, today)
        count = (found - today).days
        date = f"{found:%A}, {found.day} {found:%B} {found.year}"
        if count == 0:
            return f"That is today, {date}."
        if count < 0:
            return f"That was {-count} day{'s' if count != -1 else ''} ago, on {date}."
        return f"{count} day{'s' if count != 1 else ''}, until {date}."

    return [get_time, get_date, days_until]
