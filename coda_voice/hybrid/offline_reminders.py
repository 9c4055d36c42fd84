"""Read what is to be reminded of, and when: "call anna on friday at nine", "in an hour to go".

The time may stand before what is to be done or behind it, and only in words that are all
understood: half of a time ("on the first of march at nine") would be another one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime

from coda_voice.calendar_names import MONTHS_HEARD, WEEKDAYS_HEARD
from coda_voice.hybrid.second_person import second_person
from coda_voice.hybrid.spoken_times import clock_time, duration_seconds

Arguments = Mapping[str, object]

REMINDER = (
    r"^(?P<before>.*)\bremind (?:me|us)(?: again)?(?P<rest> .+)$|"
    r"\b(?:set|create|make|add|give me|need|want)(?: me)? (?:an?|another)(?: new)? reminder"
    r"(?P<noted>.*)$|"
    r"\b(?P<wake>wake me)(?: up)?(?P<woken> .+)$|"
    r"(?:^|\b(?:set|create|make|need|want|put)(?: me)? (?:up )?)(?:(?:an?|my|the|another) )?"
    r"(?P<alarm>alarm)(?P<rung> .+)$"
)
NO_TEXT = "it is time"
"""Said to who did not say what of."""

_LINK = r"(?:to|that|about|of)"
_LINK_HEARD = r"(?:to|too|two|that|about|of)"
_WEEKDAY, _MONTH = "|".join(WEEKDAYS_HEARD), "|".join(MONTHS_HEARD)
_PART = "morning|afternoon|evening|night"
_DAY = (
    rf"(?:(?:(?:on|this|coming) )*(?P<day>{_WEEKDAY}|today|tomorrow)"
    rf"(?: (?P<part>{_PART}))?|"
    r"this (?P<this>morning|afternoon|evening)|(?P<tonight>tonight))"
)
_DAY_FIRST = re.compile(rf"(?:at )?{_DAY}(?: (?P<time>at .+))?")
_DAY_LAST = re.compile(rf"(?P<time>at .+) {_DAY}")
_WITHOUT_TIME = {"morning": "09:00", "afternoon": "15:00", "evening": "19:00", "night": "21:00"}
"""When it is, where nothing but the part of the day is said; the hour is said back."""
_LENGTH = re.compile(r"in (.+)|(.+) from now")
_BELONGS_TO_WHAT = re.compile(r".*\b(?:for|of|by|until|about|the|my|next|last|every|each)")
"""Before a time, what it belongs to: "the dinner for tomorrow" is not cooked tomorrow."""
_NOT_READ = re.compile(
    r"\b(?:every|each|daily|twice|next (?:week|month|year)|weekends?|weekdays?)\b|"
    rf"\b(?:of|in|on|until) (?:{_MONTH})\b|\b(?:next|on) (?:{_WEEKDAY})$|"
    rf"\b(?:{_MONTH}) (?:the )?(?:twenty |thirty )?(?:first|second|third|[a-z]+th)\b|"
    r"\bin (?:\w+ ){1,3}(?:hour|day|week|month|year)s?$"
)
"""Times that are not understood: what is left of one would be another."""


def reminder(match: re.Match[str]) -> Arguments | None:
    """Give the arguments of ``set_reminder``; None where a word of the time is not understood."""
    now = datetime.now().astimezone()
    groups = match.groupdict()
    if groups["wake"] or groups["alarm"]:
        rest = (groups["woken"] or groups["rung"]).strip()
        when = _when(re.sub(r"^(?:for|to) ", "at ", rest), now, early=True)
        return {"text": "wake up", **when} if when else None
    rest = (groups["rest"] or groups["noted"] or "").strip()
    before = re.sub(r"^(?:and|then) ", "", (groups["before"] or "").strip())
    found = _split(f"{before} {rest}" if _when(before, now) else rest, now)
    if found is None or _NOT_READ.search(found[0]):
        return None
    what, when = found
    return {"text": second_person(what) or NO_TEXT, **when}


def _split(said: str, now: datetime) -> tuple[str, Arguments] | None:
    """Find what is to be done and when it is, whichever is said first."""
    words = said.split()
    if re.match(rf"{_LINK}\b", said):
        for at in range(2, len(words)):
            what = " ".join(words[1:at])
            when = _when(" ".join(words[at:]), now)
            if when and not _BELONGS_TO_WHAT.fullmatch(what):
                return None if _of_several(what, now) else (what, when)
        return None
    words = re.sub(r"^for ", "at ", said).split()
    for at in range(len(words) - 1, 0, -1):  # the longest: "at ten to eight" begins as "at ten"
        linked = re.fullmatch(_LINK_HEARD, words[at])
        if linked and (when := _when(" ".join(words[:at]), now)):
            return " ".join(words[at + 1 :]), when
    whole = _when(" ".join(words), now)
    return ("", whole) if whole else None


def _of_several(what: str, now: datetime) -> bool:
    """Whether another time is in it: of "call anna at nine and ben at ten" one would be lost."""
    first, *rest = re.split(r"\band\b", what, maxsplit=1)
    words = first.split()
    return bool(rest) and any(_when(" ".join(words[at:]), now) for at in range(len(words)))


def _when(said: str, now: datetime, *, early: bool = False) -> Arguments | None:
    """Read "in an hour", "at half past six" or "on friday at nine".

    "At five" is in the afternoon of another day, except for who wants to be up ``early``.
    """
    length = _LENGTH.fullmatch(said)
    if length and (seconds := duration_seconds(length[1] or length[2])):
        return {"in_seconds": seconds}
    found = _DAY_FIRST.fullmatch(said) or _DAY_LAST.fullmatch(said)
    if found is None:
        at_time = clock_time(said[3:], now) if said.startswith("at ") else None
        return {"at_time": at_time} if at_time else None
    part = found["part"] or found["this"] or ("night" if found["tonight"] else "")
    day = found["day"] or "today"
    if found["time"]:
        before = now if day == "today" else now.replace(hour=0 if early else 5, minute=59)
        in_the_part = {"": "", "night": " at night"}.get(part, f" in the {part}")
        at_time = clock_time(found["time"][3:] + in_the_part, before)
    else:
        at_time = _WITHOUT_TIME.get(part) or (None if day == "today" else "09:00")
    return {"at_time": at_time, "day": day} if at_time else None


def rings_at(said: str) -> Arguments | None:
    """Read when what is to be cancelled rings: "seven tomorrow", "tomorrow morning's".

    None where that is no time. Who does not say which half of the day he means may mean either.
    """
    said = re.sub(rf"\b({_WEEKDAY}|today|tomorrow|tonight|{_PART})'s\b", r"\1 at", said)
    said = re.sub(r"^at | at$", "", said)
    if not said:
        return None
    if only := re.fullmatch(rf"(?:in the )?({_PART})", said):
        return {"at_time": only[1]}
    found = _DAY_FIRST.fullmatch(said) or _DAY_LAST.fullmatch(f"at {said}")
    time, part, day = said, "", ""
    if found:
        time = (found["time"] or "").removeprefix("at ")
        part = found["part"] or found["this"] or ("night" if found["tonight"] else "")
        day = found["day"] or "today"
    if not time:
        part = "evening" if found and found["tonight"] else part
        return {"day": day, "at_time": part} if part else {"day": day}
    in_the_part = {"": "", "night": " at night"}.get(part, f" in the {part}")
    # At midnight and at noon the next seven o'clock are the two that there are.
    halves = (datetime(2000, 1, 1, hour) for hour in (0, 12))
    times = {clock_time(time + in_the_part, half) for half in halves}
    at_time = " or ".join(sorted(filter(None, times)))
    if not at_time:
        return None
    return {"at_time": at_time, "day": day} if day else {"at_time": at_time}
