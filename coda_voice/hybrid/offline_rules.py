"""What the offline brain understands: patterns, the tool each asks for, and its arguments.

Patterns see lower-case words without punctuation. The first that fits, and whose tool is
there, wins.
"""

from __future__ import annotations

from collections.abc import Sequence

from coda_voice.calendar_names import MONTHS_HEARD, WEEKDAYS_HEARD
from coda_voice.hybrid.offline_arguments import (
    Rule,
    day_name,
    days_away,
    fact,
    fixed,
    place,
    query,
    rule,
    units,
)
from coda_voice.hybrid.offline_sums import expression
from coda_voice.hybrid.offline_timers import TIMER_RULES

_ASKING = r"(?:what(?:'s| is|s)|how much is|calculate|compute|work out|tell me|^and)"
_HOW_MUCH = r"how (?:far|long|tall|high|wide|deep|heavy|hot|cold|warm|fast|big|much) (?:is|are)"
_UNIT_NAME = r"[a-z]+(?: per [a-z]+)?"
_UNIT = (
    r"(?:(?:(?:kilo|centi|milli)?(?:met(?:er|re)s?|grams?|lit(?:er|re)s?)|kilos?|miles?|yards?|"
    r"f(?:ee|oo)t|inch(?:es)?|pounds?|ounces?|stones?|tons?|tonnes?|gallons?|pints?|quarts?|cups?|"
    r"tablespoons?|teaspoons?|acres?|hectares?|knots?|celsius|centigrade|fahrenheit|seconds?|"
    r"minutes?|hours?|days?|weeks?|months?|years?|decades?|degrees?|centur(?:y|ies)|(?:kilo|mega|giga|"
    r"tera)?bytes?)(?: per (?:hour|second|minute|day))?)"
)
"""What is measured in, where nothing else says that a conversion is asked for."""


_JUST_NOW = (
    r"(?: (?:is it|now|right now|just now|here|over here|today|exactly|currently|at the moment|"
    r"do you have|have you got))*"
)
"""Behind "what time": anything else asks for another, or for what is no time of day."""
_OTHER_DAYS = "|".join(
    (*WEEKDAYS_HEARD, "christmas|easter|next|last|birthday|in|ago|from|before|after")
)
_WHICH_DAY = (
    r"^(?!remind me\b|set\b|wake me\b).*\b(?:(?:what|which) (?:week ?)?(?:day|date)|"
    r"(?:what(?:'s| is| was|s)|tell me|know) the (?:day|date))\b.*?"
)
"""Who has a day off tomorrow does not ask for the date."""
_IS_DAY = rf"(?:{_WHICH_DAY}|^(?:what(?:'s| is| was|s)? )?)\b(?:the )?"
_TIME_AT = (
    r"(?:^(?:(?:current|local) )?|\b(?:what(?:'s| is|s)?(?: the)?|the|tell me the|know the)"
    r"(?: current| local)? )time"
    r"(?= it is| is it| now| right now| over| down| up| there| in)"
)
"""Who had a great time in Rome does not ask how late it is there."""
_SPAN = r"(?P<count>[\w -]+?) (?P<unit>day|week)s?"
_MONTH = "|".join(MONTHS_HEARD)
_PLACE = (
    r"(?: is it| it is)?(?: now| right now)?(?: over| down| up)?(?: there)? in (?P<place>[a-z ]+?)"
    r"(?: now| right now)?"
)
_NOW = r"(?:(?:and|but|just|now|also|you (?:can|should|may)|i (?:want|would like) you to) )*"
_ALL_OF_ME = (
    r"(?:(?:everything|all|anything)(?: (?:that )?i (?:ever )?(?:said|told you))?|"
    r"(?:everything|all|anything|what) (?:that )?you (?:know|remember|learned|have stored))"
    r"(?: (?:about|of|on) (?:me|us))?"
)
_WELL = r"(?:(?:and|so|but|no|now|well|actually|hey|then) )*"
_CAN_YOU_TELL = (
    r"(?:(?:(?:can|could) you )?(?:tell me|say)|(?:can you )?guess|remind me|"
    r"i(?:'m| am| was)? (?:just )?(?:wonder(?:ing)?|forg[eo]t|(?:don't|can't|do not) remember)) "
)
"""Before "what my name is": who knows it, and says so, asks for nothing."""
RULES: Sequence[Rule] = (
    rule("get_time", rf"{_TIME_AT}{_PLACE}$", place),
    rule(
        "get_time",
        r"\b(?:what(?:'s| is|s)?|tell me|know|have|got) the time(?: now| right now| is)?$|"
        r"\b(?:time|hour) (?:is it\b(?!(?: over)? (?:in|there)\b)|it is$)|"
        r"^how late is it(?: now)?$|^(?:the )?(?:current )?time$|"
        r"\bwhat(?:'s| is|s) the current time$|"
        rf"\bwhat(?:'s| is|s)? (?:the )?time{_JUST_NOW}$",
        fixed(),
    ),
    rule("get_date", rf"{_WHICH_DAY}\bin {_SPAN}(?P<ago>(?!))?$", days_away),
    rule("get_date", rf"{_WHICH_DAY} {_SPAN} (?:from (?:now|today)|(?P<ago>ago))$", days_away),
    rule("get_date", rf"{_IS_DAY}day after tomorrow$", fixed(days_from_today=2)),
    rule("get_date", rf"{_IS_DAY}day before yesterday$", fixed(days_from_today=-2)),
    rule(
        "get_date",
        rf"{_WHICH_DAY}\btomorrow\b|\btomorrow's date$",
        fixed(days_from_today=1),
    ),
    rule("get_date", rf"{_WHICH_DAY}\byesterday\b", fixed(days_from_today=-1)),
    rule(
        "get_date",
        rf"(?!.*\b(?:{_OTHER_DAYS})\b)(?:.*\b(?:what|which) (?:day|date)(?: (?:of|the|week|month|"
        r"is|it|today|this|now|right|exactly|again|currently|coda))*$|"
        r".*\b(?:today's|the) date\b(?! (?:of|for|that|when|we|my|i|you)\b)|.*\bdate today\b|"
        r"(?:what|which) (?:year|month) (?:is it|are we in)$"
        r"|what(?:'s| is|s) today$)",
        fixed(),
    ),
    rule(
        "days_until",
        r"^how (?:many days|long)\b(?: (?:is it|are there|are left|left|to go|there are))* "
        r"(?:until|till|to|before) (?:the )?(?:"
        r"(?P<feast>(?:good |easter )?(?:mon|tues|wednes|thurs|fri|satur|sun)day|"
        r"christmas(?: day| eve)?|new year(?:'?s)?(?: day| eve)?|boxing day|easter|halloween|"
        r"valentine'?s day|thanksgiving)|"
        rf"(?P<ordinal>[a-z]+(?:[ -][a-z]+)??) (?:of )?(?P<month>{_MONTH})|"
        rf"(?P<in_month>{_MONTH}) (?:the )?(?P<day>[a-z]+(?:[ -][a-z]+)?))$",
        day_name,
    ),
    *TIMER_RULES,
    rule(
        "convert_units",
        rf"convert (?P<value>.+?) (?:degrees )?(?P<source>{_UNIT_NAME}) (?:to|into|in to|in) "
        rf"(?:degrees )?(?P<target>{_UNIT_NAME})$",
        units,
    ),
    rule(
        "convert_units",
        rf"(?:{_ASKING}|{_HOW_MUCH}) (?P<value>.+?) (?:degrees )?(?P<source>{_UNIT_NAME}) in "
        rf"(?:degrees )?(?P<target>{_UNIT_NAME})$",
        units,
    ),
    rule(
        "convert_units",
        rf"^(?P<value>.+?) (?:degrees )?(?P<source>{_UNIT}) (?:in|into|to) "
        rf"(?:degrees )?(?P<target>{_UNIT})$",
        units,
    ),
    rule(
        "convert_units",
        rf"how many (?:degrees )?(?P<target>{_UNIT}) (?:(?:are|is) (?:there )?(?:in )?|in )"
        rf"(?P<value>.+?) (?:degrees )?(?P<source>{_UNIT})$",
        units,
    ),
    rule("calculate", rf"(?:{_ASKING} )?(?:what(?:'s| is| does) )?(.+)$", expression),
    rule(
        "remember",
        r"^(?:and |also |i want you to |i'd like you to )*"
        r"(?:remember|note|keep in mind|don't forget) "
        r"(?!(?:that|this|it)(?: for me)?$)(?:that )?(?P<fact>(?!what|who|where|when|"
        r"how|if)[\w']+ .+)$",
        fact,
    ),
    rule(
        "forget_everything",
        rf"^{_NOW}(?:forget|erase|delete|wipe) (?:{_ALL_OF_ME}|me|(?:all )?(?:of )?"
        r"(?:my|your) memor(?:y|ies)(?: of me)?)(?: now| completely| forever)?$",
        fixed(),
    ),
    rule(
        "forget",
        rf"^{_NOW}(?:forget|(?:don't|do not|no need to) remember) "
        r"(?P<what>(?!(?:about )?(?:it|that|this|me)\b$|it\b|the (?!fact\b)|"
        r"about (?:the|my|that) (?:\w+ )*(?:timer|alarm|reminder)s?$).+)$",
        lambda m: {"what": m["what"]},
    ),
    rule(
        "get_system_status",
        r"\b(?:system|computer|machine|battery|memory|processor) (?:status|doing|usage|level|"
        r"load)\b|\bhow (?:busy|full) (?:is|are) (?:you|the)\b",
        fixed(),
    ),
    rule(
        "recall",
        r"\b(?:do you (?:still )?(?:remember|know(?= .*\b(?:i|i'm|my|me|we|our|us)\b))|"
        r"what (?:did i (?:say|tell you)|have i (?:said|told you))|remind me) (?:about "
        r")?(?P<query>(?:what|who|where|when|my|about|that (?:i|my)|if (?:i|my)).+)$",
        query,
    ),
    rule(
        "recall",
        rf"^{_WELL}(?:{_CAN_YOU_TELL})?(?P<query>(?:what|who|where|when)"
        r"(?:'s| is|s| are| was| do| did| am(?= i (?:afraid|scared|allergic)\b)) (?:my|i) .+)$",
        query,
    ),
    rule(
        "recall", rf"^{_WELL}{_CAN_YOU_TELL}(?P<query>(?:what|who|where|when) (?:my|i) .+)$", query
    ),
    rule(
        "recall",
        r"^(?P<query>how old am i|who am i|(?:what|which)(?: \w+){0,3} am i allergic to|"
        r"how old (?:is|are) my .+|"
        r"how many (?!(?:second|minute|hour|day|week|month|year)s\b)[\w' ]+ do (?:i|we) have|"
        r"(?:what|which)(?: \w+){1,3} do i (?:like|love|hate|prefer|have|own|drive|speak|play|live "
        r"in|work (?:in|at|for|with))(?: best| most)?|"
        r"(?:am i|are we) (?:allergic|vegetarian|vegan|diabetic|married|divorced|retired|pregnant|"
        r"(?:left|right)[- ]handed|(?:afraid|scared) of|an only child|catholic|muslim|jewish)\b.*|"
        r"(?:what|which) hand do i .+|"
        r"can (?:i|we) (?:swim|drive|cook|dance|sing|ski|skate|knit|sew|play (?:the )?\w+|"
        r"ride an? \w+)|"
        r"do (?:i|we) (?:still )?(?:have (?:an?|any)|own an?|like|love|hate|eat|drink|drive|speak|"
        r"play|wear|collect|live in|work (?:in|at|for|as)) .+)$",
        query,
    ),
)
"""The first rule that fits and whose tool is there wins."""
