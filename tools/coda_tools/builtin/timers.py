"""Timers and reminders that speak up later.

A timer belongs to one conversation. When it has run down, an Announcement is handed over;
who speaks it, and when, is not decided here.
"""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from coda_tools.builtin.clock import Now, clock_time, later, local_now, seconds_between
from coda_tools.builtin.feasts import next_day
from coda_tools.function_tool import tool
from coda_tools.registry import Tool
from coda_voice.errors import ValidationError
from coda_voice.protocols import Announcement, Scheduling

Kind = Literal["timer", "reminder"]

MAX_TIMERS = 32
MAX_SECONDS = 7 * 24 * 3_600.0


@dataclass(frozen=True)
class _Running:
    number: int
    label: str
    kind: Kind
    due: float
    """On the event loop's clock, seconds."""
    handle: asyncio.TimerHandle


def duration_text(seconds: float) -> str:
    """Write a stretch of time as one says it: ``1 hour and 5 minutes``."""
    left = max(1, round(seconds))
    parts: list[str] = []
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1)):
        count, left = divmod(left, length)
        if count:
            parts.append(f"{count} {unit}{'s' if count != 1 else ''}")
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else parts[0]


def _without_plural(text: str) -> str:
    """Write "10 minutes" as it stands before a noun: a 10 minute timer."""
    return re.sub(r"\b(second|minute|hour|day)s\b", r"\1", text, flags=re.IGNORECASE)


class Timers:
    """The running timers of one conversation, at most 32; ``close`` stops them all.

    ``announce`` is called on the event loop and must not block.
    """

    def __init__(self, announce: Callable[[Announcement], None], now: Now = local_now) -> None:
        self._announce = announce
        self._now = now
        self._running: dict[int, _Running] = {}
        self._numbers = itertools.count(1)

    def start(
        self,
        seconds: float,
        label: str,
        announcement: str,
        scheduling: Scheduling = "when_idle",
        kind: Kind = "reminder",
    ) -> int:
        """Start a timer and give its number. Raises ValidationError if it cannot be."""
        _refuse_length(seconds)
        if len(self._running) >= MAX_TIMERS:
            raise ValidationError(f"{MAX_TIMERS} timers are running; cancel one first.")
        number = next(self._numbers)
        loop = asyncio.get_running_loop()

        def ring() -> None:
            del self._running[number]
            self._announce(Announcement(announcement, scheduling, "timer"))

        handle = loop.call_later(seconds, ring)
        self._running[number] = _Running(number, label, kind, loop.time() + seconds, handle)
        return number

    def cancel(self, label: str = "", kind: Kind | None = None) -> list[str]:
        """Stop those of ``kind`` whose label holds ``label`` (all, if empty); give their labels."""
        # Whole words: who stops the tea timer keeps that of the steak; and a whole length: "30
        # minutes" is not "1 hour 30 minutes".
        name = re.escape(_without_plural(label.strip()))
        begin = "^" if name[:1].isdigit() else r"(?<!\w)"
        wanted = re.compile(rf"{begin}{name}(?!\w)", re.IGNORECASE)
        chosen = [
            timer
            for timer in self._running.values()
            if (not label.strip() or wanted.search(_without_plural(timer.label)))
            and kind in (None, timer.kind)
        ]
        for timer in chosen:
            timer.handle.cancel()
            del self._running[timer.number]
        return [timer.label for timer in chosen]

    def close(self) -> None:
        """Stop everything in silence."""
        self.cancel()

    def left(self) -> list[tuple[str, float]]:
        """List label and seconds left of each timer, the next to ring first."""
        clock = asyncio.get_running_loop().time()
        timers = sorted(self._running.values(), key=lambda timer: timer.due)
        return [(timer.label, max(0.0, timer.due - clock)) for timer in timers]

    def tools(self) -> list[Tool]:
        """Make the tools ``set_timer``, ``set_reminder``, ``list_timers``, ``cancel_timer``."""

        @tool(cancellable=False, timeout=2)
        async def set_timer(seconds: float, label: str = "") -> str:
            """Start a timer that speaks up when the time is over.

            seconds: length in seconds, so 300 for five minutes
            label: what it is for, for example pasta; may be empty
            """
            _refuse_length(seconds)
            name = re.sub(r"\s+timer$", "", label.strip(), flags=re.IGNORECASE)
            name = name or _without_plural(duration_text(seconds)).replace(" and ", " ")
            self.start(
                seconds, f"{name} timer", f"Your {name} timer is done.", "interrupt", "timer"
            )
            return f"A timer for {duration_text(seconds)} is running."

        @tool(cancellable=False, timeout=2)
        async def set_reminder(
            text: str, in_seconds: float = 0, at_time: str = "", day: str = ""
        ) -> str:
            """Remind the user of something while you talk. Give in_seconds, or at_time.

            text: what to remind of, for example call Anna
            in_seconds: from now
            at_time: time of day, 24 hours, for example 17:30
            day: for example tomorrow or friday; empty for the next time it is at_time
            """
            if bool(in_seconds) == bool(at_time or day):
                raise ValidationError("Give either in_seconds or at_time, and not both.")
            now = self._now()
            seconds = in_seconds or seconds_between(now, _moment(at_time, day.strip(), now))
            self.start(seconds, text, f"You asked me to remind you: {text}.")
            due = later(now, seconds)
            # Who hangs up will not hear it: over night that is likely, and honest to say.
            lasting = "" if due.date() == now.date() else ", if we are still talking then"
            return f"I will remind you {_when(due, now)}{lasting}: {text}."

        @tool(timeout=2)
        async def list_timers() -> str:
            """Tell which timers and reminders are running, and how long they still take."""
            running = [f"{label}: {duration_text(seconds)} left" for label, seconds in self.left()]
            return "; ".join(running) + "." if running else "No timer is running."

        @tool(cancellable=False, timeout=2)
        async def cancel_timer(label: str = "", kind: Kind | None = None) -> str:
            """Stop timers or reminders.

            label: a word of its name; empty for all
            kind: only timers, or only reminders and alarms; leave it out for both
            """
            stopped = self.cancel(label, kind)
            return f"Stopped: {', '.join(stopped)}." if stopped else "No such timer is running."

        return [set_timer, set_reminder, list_timers, cancel_timer]


def _refuse_length(seconds: float) -> None:
    if not 0 < seconds <= MAX_SECONDS:
        raise ValidationError("A timer runs for more than nothing and at most seven days.")


def _when(due: datetime, now: datetime) -> str:
    """Say a time of day, and which day's where that is not today's; midnight is its evening's."""
    evening = due - timedelta(minutes=1) if clock_time(due) == "midnight" else due
    days = (evening.date() - now.date()).days
    day = "" if days == 0 else "tomorrow " if days == 1 else f"on {evening:%A} "
    return f"{day}at {clock_time(due)}"


def _moment(at_time: str, day: str, now: datetime) -> datetime:
    """Give when it is ``at_time`` (nine in the morning, if empty) on ``day``, or next."""
    moment = _clock_shows(at_time or "9:00", now)
    if not day:
        return moment if moment > now else moment + timedelta(days=1)
    ahead = {"today": 0, "tomorrow": 1, f"{now:%A}".lower(): 0 if moment > now else 7}
    days = ahead.get(day.lower())
    moment += timedelta((next_day(day, now.date()) - now.date()).days if days is None else days)
    if moment <= now:
        raise ValidationError(f"That is past: it is {clock_time(now)} on {now:%A} now.")
    return moment


def _clock_shows(at_time: str, now: datetime) -> datetime:
    """Give the moment of today at which the clock shows ``at_time``."""
    hour, _, minute = at_time.strip().partition(":")
    try:
        return now.replace(hour=int(hour), minute=int(minute or 0), second=0, microsecond=0)
    except ValueError as error:
        raise ValidationError(f"{at_time!r} is no time of day; write 17:30.") from error
