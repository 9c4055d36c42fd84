"""What the offline brain understands: patterns, the tool each asks for, and its arguments.

Patterns see lower-case words without punctuation. The first that fits, and whose tool is
there, wins.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from coda_voice.calendar_names import MONTHS_HEARD, WEEKDAYS_HEARD
from coda_voice.hybrid.offline_arguments import (
    Arguments,
    cancelled,
    day_name,
    days_away,
    fact,
    timer,
    units,
)
from coda_voice.hybrid.offline_reminders import REMINDER, reminder
from coda_voice.hybrid.offline_sums import expression

Rule = tuple[str, re.Pattern[str], Callable[[re.Match[str]], Arguments | None]]

_ASKING = r"(?:what(?:'s| is|s)|how much is|calculate|compute|work out|tell me|^and)"
_HOW_MUCH = r"how (?:far|long|tall|high|wide|deep|heavy|hot|cold|warm|fast|big|much) (?:is|are)"
_DURATION = (
    r"((?:[\w.-]+ ){1,6}?(?:seconds?|minutes?|hours?|days?)"
    r"(?: and (?:a half|[\w.-]+ (?:seconds?|minutes?)))?)"
)
_PART_OF = r"(?:an? |one |two |three )?(?:half|thirds?|quarters?)"
"""Of an hour, say: then what stands before "of" is no name of a timer."""
_UNIT_NAME = r"[a-z]+(?: per [a-z]+)?"
_UNIT = (
    r"(?:(?:(?:kilo|centi|milli)?(?:met(?:er|re)s?|grams?|lit(?:er|re)s?)|kilos?|miles?|yards?|"
    r"f(?:ee|oo)t|inch(?:es)?|pounds?|ounces?|stones?|tons?|tonnes?|gallons?|pints?|quarts?|cups?|"
    r"tablespoons?|teaspoons?|acres?|hectares?|knots?|celsius|centigrade|fahrenheit|seconds?|"
    r"minutes?|hours?|days?|weeks?|months?|years?|decades?|centur(?:y|ies)|(?:kilo|mega|giga|"
    r"tera)?bytes?)(?: per (?:hour|second|minute|day))?)"
)
"""What is measured in, where nothing else says that a conversion is asked for."""


def _fixed(**arguments: object) -> Callable[[re.Match[str]], Arguments]:
    return lambda match: arguments


def _rule(tool: str, pattern: str, read: Callable[[re.Match[str]], Arguments | None]) -> Rule:
    return tool, re.compile(pattern), read


_OF_SOMETHING = (
    "did|do|does|will|would|was|were|should|shall|can|could|the|of|i|we|he|she|they|my|your|to|for"
)
_OTHER_DAYS = "|".join(
    (*WEEKDAYS_HEARD, "christmas|easter|next|last|birthday|in|ago|from|before|after")
)
_WHICH_DAY = r"^(?!remind me\b|set\b|wake me\b).*\b(?:day|date)\b.*?"
_SPAN = r"(?P<count>[\w -]+?) (?P<unit>day|week)s?"
_MONTH = "|".join(MONTHS_HEARD)
_PLACE = (
    r"(?: is it)?(?: now| right now)?(?: over| down| up)?(?: there)? in (?P<place>[a-z ]+?)"
    r"(?: now| right now)?"
)
_NOW = r"(?:(?:and|but|just|now|also|you (?:can|should|may)|i (?:want|would like) you to) )*"
_ALL_OF_ME = (
    r"(?:(?:everything|all|anything)(?: (?:that )?i (?:ever )?(?:said|told you))?|"
    r"(?:everything|all|anything|what) (?:that )?you (?:know|remember|learned|have stored))"
    r"(?: (?:about|of|on) (?:me|us))?"
)
RULES: Sequence[Rule] = (
    _rule("get_time", rf"\btime{_PLACE}$", lambda m: {"place": m["place"].title()}),
    _rule(
        "get_time",
        r"\b(?:what(?:'s| is|s)?|tell me|know|have|got) the time(?: now| right now| is)?$|"
        r"\b(?:time|hour) is it\b|^how late is it(?: now)?$|^(?:the )?(?:current )?time$|"
        rf"\bwhat(?:'s| is)? (?:the )?time\b(?! (?:{_OF_SOMETHING})\b)(?! is (?!it\b))",
        _fixed(),
    ),
    _rule("get_date", rf"{_WHICH_DAY}\bin {_SPAN}(?P<ago>(?!))?$", days_away),
    _rule("get_date", rf"{_WHICH_DAY} {_SPAN} (?:from (?:now|today)|(?P<ago>ago))$", days_away),
    _rule("get_date", r"^what.*\bday after tomorrow\b", _fixed(days_from_today=2)),
    _rule("get_date", r"^what.*\bday before yesterday\b", _fixed(days_from_today=-2)),
    _rule(
        "get_date",
        rf"{_WHICH_DAY}\btomorrow\b|\btomorrow's date$",
        _fixed(days_from_today=1),
    ),
    _rule("get_date", rf"{_WHICH_DAY}\byesterday\b", _fixed(days_from_today=-1)),
    _rule(
        "get_date",
        rf"(?!.*\b(?:{_OTHER_DAYS})\b)(?:.*\b(?:what|which) (?:day|date)\b"
        r"(?! (?:did|do|does|will|was|were|should|shall|can)\b)(?! is (?!it\b|today\b|this\b))"
        r"|.*\b(?:today's|the) date\b|.*\bdate today\b|"
        r"(?:what|which) (?:year|month) (?:is it|are we in)$"
        r"|what(?:'s| is|s) today$)",
        _fixed(),
    ),
    _rule(
        "days_until",
        r"^how (?:many days|long)\b(?: (?:is it|are there|are left|left|to go|there are))* "
        r"(?:until|till|to|before) (?:the )?(?:"
        r"(?P<feast>(?:good |easter )?(?:mon|tues|wednes|thurs|fri|satur|sun)day|"
        r"christmas(?: day| eve)?|new year(?:'?s)?(?: day| eve)?|boxing day|easter|halloween|"
        r"valentine'?s day|thanksgiving)|"
        rf"(?P<ordinal>[a-z]+(?:[ -][a-z]+)??) (?:of )?(?P<month>{_MONTH}))$",
        day_name,
    ),
    _rule(
        "set_timer",
        rf"\btimer for (?!{_PART_OF}\b)(?:the |my )?(?P<label>[a-z ]+?) (?:for|of) "
        rf"(?P<length>{_DURATION})$",
        timer,
    ),
    _rule(
        "set_timer",
        rf"\b(?:(?!an?\b|the\b|my\b|set\b|start\b|new\b|another\b)(?P<named>[a-z]+) )?timer\b.*?"
        rf"\b(?:for|of|to) (?P<length>{_DURATION})(?: for (?:the |my )?(?P<label>[a-z ]+))?$",
        timer,
    ),
    _rule(
        "set_timer",
        r"(?:\b(?:set|start|make|begin|give|need|want|put on)(?: me)? an?|^(?:an? )?(?!the\b)) ?"
        r"(?P<length>[\w. -]+?)(?: (?P<named>(?!min|sec|hour|day)[a-z]+))?? timer"
        r"(?: for (?:the |my )?(?P<label>[a-z ]+)| please|)$",
        timer,
    ),
    _rule("set_reminder", REMINDER, reminder),
    _rule(
        "cancel_timer",
        r"\b(?:cancel|stop|delete|clear|turn off) "
        r"(?:(?:the|my|all|of|every|that|this|running)\b ?)*"
        r"(?:(?P<label>[a-z ]+?) )?(?P<kind>timer|reminder|alarm)s?(?: (?:to|for|about) "
        r"(?P<what>.+))?$",
        cancelled,
    ),
    _rule(
        "list_timers",
        r"\b(?:timers?|reminders?|alarms?)\b.*\b(?:left|running|have)\b|"
        r"\bhow (?:long|much (?:time|longer))\b.*\btimer\b|\bwhich timers\b|"
        r"^(?:list|show|tell)(?: me)? (?:all )?(?:my |the )?(?:timers|reminders|alarms)$|"
        r"^(?:what are|do i have|are there|have i got)(?: my| the| any)? "
        r"(?:timers?|reminders?|alarms?)(?: set| running)?$",
        _fixed(),
    ),
    _rule(
        "convert_units",
        rf"convert (?P<value>.+?) (?P<source>{_UNIT_NAME}) (?:to|into|in) "
        rf"(?P<target>{_UNIT_NAME})$",
        units,
    ),
    _rule(
        "convert_units",
        rf"(?:{_ASKING}|{_HOW_MUCH}) (?P<value>.+?) (?:degrees )?(?P<source>{_UNIT_NAME}) in "
        rf"(?:degrees )?(?P<target>{_UNIT_NAME})$",
        units,
    ),
    _rule(
        "convert_units",
        rf"^(?P<value>.+?) (?:degrees )?(?P<source>{_UNIT}) (?:in|into|to) "
        rf"(?:degrees )?(?P<target>{_UNIT})$",
        units,
    ),
    _rule(
        "convert_units",
        rf"how many (?:degrees )?(?P<target>{_UNIT}) (?:(?:are|is) (?:there )?(?:in )?|in )"
        rf"(?P<value>.+?) (?:degrees )?(?P<source>{_UNIT})$",
        units,
    ),
    _rule("calculate", rf"(?:{_ASKING} )?(?:what(?:'s| is| does) )?(.+)$", expression),
    _rule(
        "remember",
        r"^(?:and |also |i want you to |i'd like you to )*"
        r"(?:remember|note|keep in mind|don't forget) "
        r"(?!(?:that|this|it)(?: for me)?$)(?:that )?(?P<fact>(?!what|who|where|when|"
        r"how|if)[\w']+ .+)$",
        fact,
    ),
    _rule(
        "forget_everything",
        rf"^{_NOW}(?:forget|erase|delete|wipe) (?:{_ALL_OF_ME}|me|(?:all )?(?:of )?"
        r"(?:my|your) memor(?:y|ies)(?: of me)?)(?: now| completely| forever)?$",
        _fixed(),
    ),
    _rule(
        "forget",
        rf"^{_NOW}(?:forget|(?:don't|do not|no need to) remember) "
        r"(?P<what>(?!(?:about )?(?:it|that|this|me)\b$|it\b|the (?!fact\b)).+)$",
        lambda m: {"what": m["what"]},
    ),
    _rule(
        "recall",
        r"\b(?:do you (?:still )?(?:remember|know)|what did i (?:say|tell you)|remind me) (?:about "
        r")?(?P<query>(?:what|who|where|when|my|about|that (?:i|my)|if (?:i|my)).+)$",
        lambda m: {"query": m["query"]},
    ),
    _rule(
        "recall",
        r"\b(?P<query>(?:what|who|where|when)(?:'s| is|s| are| was| do| did)? (?:my|i) .+)$",
        lambda m: {"query": m["query"]},
    ),
    _rule(
        "get_system_status",
        r"\b(?:system|computer|machine|battery|memory|processor) (?:status|doing|usage|level|"
        r"load)\b|\bhow (?:busy|full) (?:is|are) (?:you|the)\b",
        _fixed(),
    ),
)
"""The first rule that fits and whose tool is there wins."""
