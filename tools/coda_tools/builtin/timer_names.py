"""How timers and reminders are told from each other: by name, by length, by when they ring."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from coda_tools.builtin.clock import clock_time
from coda_tools.builtin.feasts import next_day
from coda_voice.errors import ValidationError

Kind = Literal["timer", "reminder"]

MOST_NAMED = 5
"""So many are named aloud; the rest is counted."""
_PARTS_OF_DAY = ("morning", "afternoon", "evening", "night")
_TONIGHT = "tonight"
_TIME = re.compile(
    r"(?P<hour>\d{1,2})(?:[:.](?P<minute>\d{2}))?(?::00)? ?(?:(?P<half>[ap])\.? ?m\.?)?",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Running:
    """One that has not rung yet; ``length`` is as it stands before a noun, "10 minute"."""

    number: int
    label: str
    kind: Kind
    length: str
    due: float
    """On the event loop's clock, seconds."""
    handle: asyncio.TimerHandle


@dataclass(frozen=True)
class Wanted:
    """Which are meant; whatever is empty leaves it open.

    at_time: "7:00", "7 pm", several ("7:00 or 19:00") where either may be meant, or "morning".
    day: "today", "tonight", "tomorrow", a weekday or a date; a part of the day behind it.
    """

    label: str = ""
    kind: Kind | None = None
    at_time: str = ""
    day: str = ""


def duration_text(seconds: float) -> str:
    """Write a stretch of time as one says it: ``1 hour and 5 minutes``."""
    left = max(1, round(seconds))
    parts: list[str] = []
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1)):
        count, left = divmod(left, length)
        if count:
            parts.append(f"{count} {unit}{'s' if count != 1 else ''}")
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else parts[0]


def length_name(seconds: float) -> str:
    """Write a stretch of time as it stands before a noun: a ``10 minute`` timer."""
    return _without_plural(duration_text(seconds)).replace(" and ", " ")


def _without_plural(text: str) -> str:
    return re.sub(r"\b(second|minute|hour|day)s\b", r"\1", text, flags=re.IGNORECASE)


def to_the_minute(due: datetime) -> datetime:
    """Give the nearest minute: what is said of when one rings is what it is known by."""
    return (due + timedelta(seconds=30)).replace(second=0, microsecond=0)


def due_text(due: datetime, now: datetime) -> str:
    """Say a time of day, and which day's where that is not today's; midnight is its evening's."""
    days = (_evening(due).date() - now.date()).days
    day = "" if days == 0 else "tomorrow " if days == 1 else f"on {_evening(due):%A} "
    return f"{day}at {clock_time(due)}"


def _evening(due: datetime) -> datetime:
    return due - timedelta(minutes=1) if clock_time(due) == "midnight" else due


Times = Sequence[tuple[Running, datetime]]
"""Timers and reminders, each with when it rings."""


def chosen(wanted: Wanted, running: Times, now: datetime) -> Times:
    """Give those of ``running`` that are meant; whose very name is said is not taken for another.

    Raises ValidationError for a time or a day that is none.
    """
    found = [
        (timer, due)
        for timer, due in running
        if wanted.kind in (None, timer.kind)
        and _is_called(timer, wanted.label)
        and (not wanted.day or _is_on(due, wanted.day, now))
        and (not wanted.at_time or _rings_at(due, wanted.at_time, now))
    ]
    exact = [(timer, due) for timer, due in found if _name(timer.label) == _name(wanted.label)]
    return exact or found


def _name(label: str) -> str:
    """Give a label for comparison: "Tea timer" and "tea" are one name."""
    return _without_plural(label).strip().lower().removesuffix(" timer")


def _is_called(timer: Running, label: str) -> bool:
    # Whole words: who stops the tea timer keeps that of the steak; and a whole length: "30
    # minutes" is not "1 hour 30 minutes". The ten minute timer may be that for the pasta.
    plain = _without_plural(label.strip())
    name = re.escape(plain)
    begin = "^" if name[:1].isdigit() else r"(?<!\w)"
    called = re.search(rf"{begin}{name}(?!\w)", _without_plural(timer.label), re.IGNORECASE)
    return not plain or called is not None or plain.lower() == timer.length


def _is_on(due: datetime, day: str, now: datetime) -> bool:
    # Midnight may be taken for the end of one day or the beginning of the next.
    days = {due.date(), _evening(due).date()}
    name = day.strip().lower()
    if name == _TONIGHT:
        return _is_tonight(due, now)
    name, part = _without_part(name)
    if part and not _is_in(due, part):
        return False
    ahead = {"today": 0, "this": 0, "tomorrow": 1}.get(name)
    if ahead is not None:
        return now.date() + timedelta(days=ahead) in days
    if name == f"{now:%A}".lower():  # a reminder for it may be today's or next week's
        return any(day.weekday() == now.weekday() for day in days)
    return next_day(name, now.date()) in days


def _without_part(day: str) -> tuple[str, str]:
    """Split "tomorrow morning"."""
    name, _, part = day.rpartition(" ")
    return (name, part) if name and part in _PARTS_OF_DAY else (day, "")


def _is_in(due: datetime, part: str) -> bool:
    # What rings at nine in the evening rings at night for some.
    said = ("evening", "night", "midnight") if part == "night" else (part,)
    return clock_time(due).endswith(said) or (part == "afternoon" and clock_time(due) == "noon")


def _is_tonight(due: datetime, now: datetime) -> bool:
    """Whether that is this evening or in the night after it; until four, in this night."""
    evening = now if now.hour >= 4 else now - timedelta(days=1)
    begins = evening.replace(hour=18, minute=0, second=0, microsecond=0)
    return begins <= due < begins + timedelta(hours=10)


def _rings_at(due: datetime, at_time: str, now: datetime) -> bool:
    wanted = at_time.strip().lower()
    if wanted == _TONIGHT:
        return _is_tonight(due, now)
    if wanted in _PARTS_OF_DAY:
        return _is_in(due, wanted)
    times = [clock_shows(time, due) for time in re.split(r",|\bor\b", at_time)]
    return any((due.hour, due.minute) == (time.hour, time.minute) for time in times)


def clock_shows(at_time: str, now: datetime) -> datetime:
    """Give the moment of today at which the clock shows ``at_time``. Raises ValidationError."""
    said = at_time.strip().lower()
    found = _TIME.fullmatch({"noon": "12:00", "midnight": "0:00"}.get(said, said))
    try:
        if found is None:
            raise ValueError
        hour, half = int(found["hour"]), found["half"]
        if half:
            if not 1 <= hour <= 12:
                raise ValueError
            hour = hour % 12 + (12 if half == "p" else 0)
        return now.replace(hour=hour, minute=int(found["minute"] or 0), second=0, microsecond=0)
    except ValueError as error:
        raise ValidationError(f"{at_time!r} is no time of day; write 17:30.") from error


def named(running: Times, now: datetime) -> list[str]:
    """Name timers by what they are called; reminders, and timers of one name, by when they ring."""
    labels = [timer.label for timer, _ in running]
    return [
        f"{timer.label} {due_text(due, now)}"
        if timer.kind == "reminder" or labels.count(timer.label) > 1
        else timer.label
        for timer, due in running
    ]


def listed(running: Times, now: datetime, between: str = ", ") -> str:
    """Name those of ``running``, five at most, and count the rest."""
    return few(named(running, now), between)


def few(names: Sequence[str], between: str = ", ") -> str:
    """Give five of ``names`` at most, and how many more there are."""
    more = [f"{len(names) - MOST_NAMED} more"] if len(names) > MOST_NAMED else []
    return between.join([*names[:MOST_NAMED], *more])
