"""Timers and reminders that speak up later.

A timer belongs to one conversation. When it has run down, an Announcement is handed over;
who speaks it, and when, is not decided here.
"""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import Callable
from datetime import datetime, timedelta

from coda_tools.builtin.clock import Now, clock_time, later, local_now, seconds_between
from coda_tools.builtin.feasts import next_day
from coda_tools.builtin.timer_names import (
    Kind,
    Running,
    Times,
    Wanted,
    chosen,
    clock_shows,
    due_text,
    duration_text,
    few,
    length_name,
    listed,
    to_the_minute,
)
from coda_tools.function_tool import tool
from coda_tools.registry import Tool
from coda_voice.errors import ValidationError
from coda_voice.protocols import Announcement, Scheduling

MAX_TIMERS = 32
MAX_SECONDS = 7 * 24 * 3_600.0


class Timers:
    """The running timers of one conversation, at most 32; ``close`` stops them all.

    ``announce`` is called on the event loop and must not block.
    """

    def __init__(self, announce: Callable[[Announcement], None], now: Now = local_now) -> None:
        self._announce = announce
        self._now = now
        self._running: dict[int, Running] = {}
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
        self._running[number] = Running(
            number, label, kind, length_name(seconds), loop.time() + seconds, handle
        )
        return number

    def cancel(self, label: str = "", kind: Kind | None = None) -> list[str]:
        """Stop those of ``kind`` whose label holds ``label`` (all, if empty); give their labels."""
        meant = self._meant(Wanted(label, kind))
        self._stop(meant)
        return [timer.label for timer, _ in meant]

    def _meant(self, wanted: Wanted) -> Times:
        return chosen(wanted, self._with_times(), self._now())

    def _stop(self, timers: Times) -> None:
        for timer, _ in timers:
            timer.handle.cancel()
            del self._running[timer.number]

    def _with_times(self) -> Times:
        """Give those that run with when they ring, to the minute, the next to ring first."""
        clock, now = asyncio.get_running_loop().time(), self._now()
        running = sorted(self._running.values(), key=lambda timer: timer.due)
        return [(timer, to_the_minute(later(now, timer.due - clock))) for timer in running]

    def close(self) -> None:
        """Stop everything in silence."""
        self.cancel()

    def left(self) -> list[tuple[str, float]]:
        """List label and seconds left of each timer, the next to ring first."""
        clock = asyncio.get_running_loop().time()
        return [(timer.label, max(0.0, timer.due - clock)) for timer, _ in self._with_times()]

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
            name = name or length_name(seconds)
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
            due = to_the_minute(later(now, seconds))
            # Who hangs up will not hear it: over night that is likely, and honest to say.
            lasting = "" if due.date() == now.date() else ", if we are still talking then"
            return f"I will remind you {due_text(due, now)}{lasting}: {text}."

        @tool(timeout=2)
        async def list_timers(kind: Kind | None = None) -> str:
            """Tell which timers are running, and how long they take; which reminders are set.

            kind: only timers, or only reminders and alarms; leave it out for both
            """
            clock, now = asyncio.get_running_loop().time(), self._now()
            found = self._meant(Wanted(kind=kind))
            if not found:
                return f"No {_NONE[kind or 'timer']}."
            told = [
                f"{timer.label}: {duration_text(timer.due - clock)} left"
                if timer.kind == "timer"
                else f"{timer.label} {due_text(due, now)}"
                for timer, due in found
            ]
            return f"{few(told, '; ')}."

        @tool(cancellable=False, timeout=2)
        async def cancel_timer(
            label: str = "",
            kind: Kind | None = None,
            at_time: str = "",
            day: str = "",
            every: bool = False,
        ) -> str:
            """Stop a timer or a reminder, or several.

            label: a word of its name, or its length; empty if the user names none
            kind: only timers, or only reminders and alarms; leave it out for both
            at_time: when it rings, 24 hours, for example 17:30; 7:00 or 19:00 if it may be either
            day: when it rings, for example tomorrow or friday
            every: all that fit are meant ("all my timers"), and not one of them
            """
            now, there = self._now(), self._with_times()
            meant = self._meant(Wanted(label, kind, at_time.strip(), day.strip()))
            if not meant:
                return f"No such {_NONE[kind or 'timer']}." + (
                    f" There is: {listed(there, now)}." if there else ""
                )
            if not every and len({(timer.label, due) for timer, due in meant}) > 1:
                # The wrong one stopped is worse than a question.
                return f"Nothing is stopped yet; which one: {listed(meant, now, ' or ')}?"
            self._stop(meant)
            if at_time or day:
                return f"Stopped: {listed(meant, now)}."
            return f"Stopped: {few([timer.label for timer, _ in meant])}."

        return [set_timer, set_reminder, list_timers, cancel_timer]


_NONE = {"timer": "timer is running", "reminder": "reminder or alarm is set"}


def _refuse_length(seconds: float) -> None:
    if not 0 < seconds <= MAX_SECONDS:
        raise ValidationError("A timer runs for more than nothing and at most seven days.")


def _moment(at_time: str, day: str, now: datetime) -> datetime:
    """Give when it is ``at_time`` (nine in the morning, if empty) on ``day``, or next."""
    moment = clock_shows(at_time or "9:00", now)
    if not day:
        return moment if moment > now else moment + timedelta(days=1)
    ahead = {"today": 0, "tomorrow": 1, f"{now:%A}".lower(): 0 if moment > now else 7}
    days = ahead.get(day.lower())
    moment += timedelta((next_day(day, now.date()) - now.date()).days if days is None else days)
    if moment <= now:
        raise ValidationError(f"That is past: it is {clock_time(now)} on {now:%A} now.")
    return moment
