"""What the offline brain understands of timers, reminders and alarms.

Before the rules for what is set stand those for what is cancelled: "cancel the timer for ten
minutes".
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from coda_voice.hybrid.offline_arguments import Arguments, Rule, fixed, rule
from coda_voice.hybrid.offline_cancelling import CANCELS, cancelled
from coda_voice.hybrid.offline_reminders import REMINDER, reminder
from coda_voice.hybrid.spoken_times import duration_seconds

_NAME_WORD = (
    r"(?!(?:an?|the|my|set|start|make|begin|give|need|want|put|on|me|new|another|quick|i|use|can|you|"
    r"have|with|for|up|us)\b)[a-z]+"
)
"""A word of what a timer is called: "green tea" of "start a green tea timer"."""
_DURATION = (
    r"((?:[\w.-]+ ){1,6}?(?:seconds?|minutes?|hours?|days?)"
    r"(?: and (?:a half|[\w.-]+ (?:seconds?|minutes?)))?)"
)
_PART_OF = r"(?:an? |one |two |three )?(?:half|thirds?|quarters?)"
"""Of an hour, say: then what stands before "of" is no name of a timer."""
_IS_THERE = r"(?:is there|do i have|have i (?:got|set)|did (?:i|you) set) (?:an?|any|the|my)"
_SECOND_TIMER = re.compile(r"\band (?:also )?(?:another|a second|one for|a timer)\b")
"""Of "five minutes and another one for ten" one would be lost."""


def timer(match: re.Match[str]) -> Arguments | None:
    groups = match.groupdict()
    seconds = duration_seconds(groups["length"].strip())
    label = (groups.get("label") or groups.get("named") or "").strip()
    if _SECOND_TIMER.search(match.string):
        return None
    return {"seconds": seconds, "label": label} if seconds else None


TIMER_RULES: Sequence[Rule] = (
    rule("cancel_timer", CANCELS, cancelled),
    rule(
        "set_timer",
        rf"\btimer (?:for|called|named) (?!{_PART_OF}\b)(?:the |my )?(?P<label>[a-z ]+?) "
        rf"(?:for|of) (?P<length>{_DURATION})$",
        timer,
    ),
    rule(
        "set_timer",
        rf"\b(?:(?P<named>{_NAME_WORD}(?: {_NAME_WORD})?) )?timer\b.*?"
        rf"\b(?:for|of|to) (?P<length>{_DURATION})"
        r"(?: (?:for|called|named) (?:the |my )?(?P<label>[a-z ]+))?$",
        timer,
    ),
    rule(
        "set_timer",
        r"^(?:(?:set|start|make|begin|give|need|want|put on)(?: me)? )?(?:an? |the |my )?"
        rf"timer (?!for\b|to\b)(?P<length>{_DURATION})$",
        timer,
    ),
    rule(
        "set_timer",
        r"(?:\b(?:set|start|make|begin|give|need|want|put on)(?: me)? an?|^(?:an? )?(?!the\b)) ?"
        r"(?P<length>[\w. -]+?)(?: (?P<named>(?!min|sec|hour|day)[a-z]+(?: [a-z]+)?))?? timer"
        r"(?: for (?:the |my )?(?P<label>[a-z ]+)| please|)$",
        timer,
    ),
    rule("set_reminder", REMINDER, reminder),
    rule(
        "list_timers",
        r"^(?!.*\b(?:timer|how (?:long|much))).*\b(?:reminders?|alarms?)\b.*\b(?:running|have)\b|"
        r"^(?:list|show|tell)(?: me)? (?:all )?(?:my |the )?(?:reminders|alarms)$|"
        r"^(?:what are|do i have|are there|have i got)(?: my| the| any)? "
        r"(?:reminders?|alarms?)(?: set| running)?$|"
        rf"^{_IS_THERE} (?:\w+ ){{0,4}}?(?:reminders?|alarms?)\b|"
        r"^(?:what|which) (?:reminders|alarms) are (?:set|there)$|"
        r"^(?:when|what time) (?:is|does|will|did (?:i|you) set) (?:the|my) "
        r"(?:\w+ ){0,4}?(?:reminder|alarm)(?: ring| go off| set| for| due| be)*$",
        fixed(kind="reminder"),
    ),
    rule(
        "list_timers",
        r"\b(?:timers?|reminders?|alarms?)\b.*\b(?:left|running|have)\b|"
        r"\bhow (?:long|much (?:time|longer))\b.*\btimer\b|\bwhich timers\b|"
        r"^(?:list|show|tell)(?: me)? (?:all )?(?:my |the )?(?:timers|reminders|alarms)$|"
        r"^(?:what are|do i have|are there|have i got)(?: my| the| any)? "
        r"(?:timers?|reminders?|alarms?)(?: set| running)?$|"
        rf"^{_IS_THERE} (?:\w+ ){{0,4}}?timers?\b",
        fixed(),
    ),
)
