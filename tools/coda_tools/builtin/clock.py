"""Say what time and day it is, here and elsewhere."""

from __future__ import annotations

import zoneinfo
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from difflib import get_close_matches
from functools import lru_cache

from coda_tools.function_tool import tool
from coda_tools.registry import Tool
from coda_voice.errors import ValidationError

Now = Callable[[], datetime]
"""Gives the time with its zone; tests and replays bring their own."""

OTHER_NAMES = {
    "new delhi": "Asia/Kolkata",
    "mumbai": "Asia/Kolkata",
    "bangalore": "Asia/Kolkata",
    "beijing": "Asia/Shanghai",
    "san francisco": "America/Los_Angeles",
    "california": "America/Los_Angeles",
    "seattle": "America/Los_Angeles",
    "boston": "America/New_York",
    "washington": "America/New_York",
    "miami": "America/New_York",
    "montreal": "America/Toronto",
    "rio de janeiro": "America/Sao_Paulo",
    "milan": "Europe/Rome",
    "munich": "Europe/Berlin",
    "hamburg": "Europe/Berlin",
    "barcelona": "Europe/Madrid",
    "geneva": "Europe/Zurich",
    "edinburgh": "Europe/London",
    "england": "Europe/London",
    "germany": "Europe/Berlin",
    "france": "Europe/Paris",
    "italy": "Europe/Rome",
    "spain": "Europe/Madrid",
    "india": "Asia/Kolkata",
    "china": "Asia/Shanghai",
    "japan": "Asia/Tokyo",
    "korea": "Asia/Seoul",
}
"""Places people name that the time zone database does not."""


@lru_cache(maxsize=1)
def _places() -> dict[str, str]:
    zones = sorted(zoneinfo.available_timezones(), key=lambda zone: zone.count("/"), reverse=True)
    by_city = {zone.rpartition("/")[2].replace("_", " ").lower(): zone for zone in zones}
    return {**by_city, **OTHER_NAMES}


def zone_of(place: str) -> tzinfo:
    """Give the time zone of a city, country or zone name ("Europe/Rome").

    Raises ValidationError, naming near ones, for a place that is not known.
    """
    if place in zoneinfo.available_timezones():
        return zoneinfo.ZoneInfo(place)
    name = place.split(",")[0].strip().lower()
    found = _places().get(name)
    if found is None:
        near = get_close_matches(name, _places(), 3)
        raise ValidationError(
            f"No time zone is known for {place!r}"
            + (f"; did you mean {' or '.join(n.title() for n in near)}?" if near else ".")
        )
    return zoneinfo.ZoneInfo(found)


def local_now() -> datetime:
    """Give the time of this machine, with its zone."""
    return datetime.now(UTC).astimezone()


_PARTS_OF_DAY = ((4, "at night"), (12, "in the morning"), (18, "in the afternoon"))
"""The hour before which each ends, until the evening."""


def clock_time(moment: datetime) -> str:
    """Write a time of day as one says it: ``3:42 in the afternoon``.

    Aloud, "P M" is two letters that are easily lost, and the hour with them.
    """
    part = next((part for end, part in _PARTS_OF_DAY if moment.hour < end), "in the evening")
    return f"{moment.hour % 12 or 12}:{moment.minute:02d} {part}"


def clock_tools(now: Now = local_now) -> list[Tool]:
    """Make the tools ``get_time`` and ``get_date``."""

    @tool(timeout=2)
    async def get_time(place: str = "") -> str:
        """Tell the current time of day, here or in another city.

        place: a city or country, for example Tokyo; empty for here
        """
        if not place:
            return f"It is {clock_time(now())}."
        moment = now().astimezone(zone_of(place))
        return f"In {place.title()} it is {clock_time(moment)} on {moment:%A}."

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

    return [get_time, get_date]
