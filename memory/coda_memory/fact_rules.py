"""The rules by which facts are read from sentences in the first person (``fact_finder``).

A rule takes what a sentence says at one place (``x``); of two that want the same words, the one
further up has them. Whether a sentence is to be believed at all is not asked here (``doubt``).
"""

# ruff: noqa: E501 - a rule is easier to read on one line

from __future__ import annotations

import re
from dataclasses import dataclass

from coda_memory.record import Kind
from coda_voice.calendar_names import MONTHS_HEARD
from coda_voice.number_names import CARDINAL, UP_TO_TWELVE


@dataclass(frozen=True, slots=True)
class Fact:
    """A fact or preference: third person, ready to be told to a model."""

    text: str
    subject: str
    kind: Kind
    importance: float


@dataclass(frozen=True, slots=True)
class Rule:
    """What ``pattern`` finds as ``x`` makes ``text`` and ``subject``; its ``{key}`` is what x names."""

    pattern: re.Pattern[str]
    text: str
    subject: str
    kind: Kind
    importance: float


_I = r"(?:^|[\s,;])i(?:'m| am|'ve| have|'d)?\s+(?:(?:really|actually|also|still|just|now|do|always|absolutely|quite|recently|finally|so|currently|very|much)\s+)*"
_WE = _I.replace("i(?:'m", "(?:i|we)(?:'re| are|'m")
_END = (
    r"(?=$|[.!;,]|\s+(?:and )?(?:so|or maybe|or perhaps|not)\b|\s+(?:but|because|since|although|though|when|while|which|who|these days|now|nowadays|anymore|any more|at the moment|instead|today|yesterday|last|by the way|just|only|originally|"
    r"(?:and )?(?:i|we)|(?:and )?(?:he|she|they|it|you)(?:'s|'re| \w+)|(?:and )?(?:my|our) (?:\w+ ){1,2}(?:is|are|has|have|had|was|likes|lives|works)|(?:and )?(?:my|our) \w+'s|nice to meet|pleased to|thanks|thank you|please|"
    r"sorry|no|what(?:'s| is| are| about| do| does)|how (?:are|is|about|do)|can you|could you|do you|and you|you know)\b)"
)
"""Where a thing ends: speech comes without full stops, and one sentence runs into the next."""
_ITEM = (
    r"(?!(?:i|i'm|you|he|she|it|we|they|my|your|his|her|our|their|but|so|and|or|because|not|no|that|this|there|please|can|"
    r"could|what|how|do|is|are|who|which|when|where|then|thanks|thank|if|in|at|as|just|only|too|ok|okay|right|well|yes)\b)[\w'-]+(?: [\w'-]+){0,2}"
)
_X = r"(?P<x>[^.!;,?]+?)" + _END
_XS = rf"(?P<x>{_ITEM}(?:, {_ITEM}?)+?,? (?:and|or) (?:to )?{_ITEM}?|[^.!;,?]+?)" + _END
"""The same, or a list as it is typed: "nuts, eggs and milk"."""


def _rule(pattern: str, text: str, subject: str, importance: float, kind: Kind = "fact") -> Rule:
    return Rule(re.compile(pattern, re.IGNORECASE), text, subject, kind, importance)


def _likes(verb: str, says: str, importance: float = 0.7) -> Rule:
    pattern = _I + rf"(?:{verb})\s+(?!to (?:think|believe|say|imagine|pretend)\b)" + _XS
    return _rule(pattern, f"The user {says} {{x}}", "likes {key}", importance, "preference")


_NAME = (
    r"(?P<x>(?!(?:later|back|tomorrow|tonight|when|whenever|if|again|soon|now|any|anytime|maybe|please|not|an?|the|on|in|at|"
    r"before|after|as|so|too|very|spelled|spelt|pronounced|hard|difficult|long|short|unusual|important|relevant|really)\b)[\w'-]+(?: [\w'-]+){0,2}?)"
    + _END
)
_KIND_OF_HOME = (
    r"(?P<how>in|at|near|on|with) (?!(?:(?!i\b)[\w-]+ ){2,4}in (?!the |an? |my |our )\w)(?P<x>(?:(?:an?|my|our) |(?<=near )the |(?<=on )the )[^.!;,?]+?)"
    + _END
)
"""A flat, a farm, near the river: true beside the town that somebody lives in."""
_NO_HOME = (
    r"(?!(?:(?:the|an?|our|my|your|this|that|his|her) )?(?:[\w-]+ )?(?:times|world|past|moment|fear|hope|peace|kitchen|room|bedroom|bathroom|office|garden|sofa|couch|"
    r"table|next|front|back|left|right|phase|stage|team|meeting|topic|question|point|other)\b)"
)
_AGE = rf"(?P<x>\d{{1,3}}|(?!(?:{UP_TO_TWELVE})\b){CARDINAL})"
_AGE_OF_ANOTHER = rf"(?P<x>\d{{1,3}}|{CARDINAL})"
"""Who is five does not say "I'm five" but "I'm five minutes late"."""
_NO_DATE = (
    r"(?!(?:on )?(?:today|tomorrow|yesterday|soon|next|last|this|over|coming|not|a|the day|\w+day\b|"
    rf"in (?:an?|{UP_TO_TWELVE}|a few|\d+) (?:days?|weeks?|months?|hours?))\b)"
)
"""What is a birthday for a week only: "my birthday is tomorrow"."""
_NO_LOOK = (
    r"(?!(?:in|not|now|so|very|too|quite|really|pretty|a|an|the|called|named|near|far|full|big|small|old|new|nice|beautiful|"
    r"lovely|great|noisy|quiet|cold|hot|warm|boring|empty|busy|dirty|clean|safe|expensive|famous|known|\w+ing)\b)"
)
_RELATIVE = (
    r"(?:wife|husband|partner|mother|mum|mom|father|dad|sister|brother|son|daughter|boss|neighbour|best friend|doctor|"
    r"dentist|landlord|supervisor)"
)
_PASSING = (
    r"(?:\w+ing|allergic|late|early|sick|ill|away|here|home|at|in|on|not|very|so|really|too|out|off|back|busy|tired|angry|"
    r"happy|sad|well|fine|better|worse|ready|gone|pregnant|married|divorced|engaged|single|from|older|younger|taller|tall|small|"
    rf"short|blind|deaf|vegan|vegetarian|diabetic|dead|in|\d+|{CARDINAL})"
)
"""How somebody is, of which any number may be true: it replaces only itself."""
_MOMENTARY = (
    rf"(?!(?:an?|any|{UP_TO_TWELVE}|\d{{1,2}}) (?:(?!(?:with|and|who|that|which|in|at|for|from|of|called|named|to)\b)[\w'-]+ ){{0,3}}?"
    r"(?:headache|cold|flu|fever|cough|throat|ache|toothache|stomachache|backache|migraine|hangover|pain|injury|cramp|nosebleed|"
    r"meeting|appointment|interview|exam|test|lesson|lecture|class|call|date|deadline|party|flight|reservation|visitor|guest|"
    r"question|problem|issue|idea|plan|request|suggestion|favour|favor|point|guess|hunch|feeling|thought|doubt|reason|choice|complaint|train|bus|"
    r"chance|clue|look|go|try|break|rest|nap|word|thing|lot|bit|few|couple|second|minute|hour|day|week|weekend|moment|while|time|"
    r"money|energy|luck|letter|message|email|text|ticket|haircut|coffee|tea|beer|drink|sandwich|pizza|snack|dream|nightmare|surprise|"
    r"secret|joke|story)(?:e?s)?(?=$|\W*$|[.!;,]|"
    r" (?:with|about|for|to|in|at|on|of|from|that|coming|left|ago|again|already|today|tomorrow|tonight|now|right|this|next|and|or|but|"
    r"so|because|since|when|while|after|before|until|as|if|i|we|you|my|please|later|soon|anymore|any)\b))"
)
"""What somebody has for a day, or in a manner of speaking: "I have a bad cold", "a question"."""
_COUNT = rf"(?:an?|{UP_TO_TWELVE}|\d{{1,2}})"
_SOME_THING = rf"(?P<x>{_COUNT} (?!(?:years?|months?|weeks?|days?|hours?|minutes?|percent)\b)(?:[\w-]+ ){{0,4}}?[\w-]+(?:(?:,? and|,) {_COUNT} (?:[\w-]+ ){{0,4}}?[\w-]+)*)"
_OWN = r"(?:my|our|the|an?|their) (?P<x>(?:[\w-]+ ){0,4}?[\w-]+)"
_PET = r"(?:dog|puppy|cat|kitten|rabbit|hamster|guinea pig|bird|parrot|budgie|horse|pony|tortoise|turtle|goldfish)"
_JOB = (
    r"(?P<a>an?) (?P<x>(?!(?:\w+ )?(?:good|bad|great|better|terrible|awful|lousy|decent|fast|slow|careful|nervous|keen|big|night)\b)(?:[\w-]+ ){0,2}(?:teacher|nurse|doctor|engineer|student|chef|cook|lawyer|artist|pharmacist|dentist|electrician|"
    r"librarian|musician|carpenter|plumber|baker|pilot|writer|designer|developer|programmer|driver|farmer|gardener|accountant|"
    r"architect|scientist|journalist|translator|photographer|firefighter|midwife|vet|manager|pensioner))\b(?!'s\b)"
)
"""What somebody is; "a good cook" may be anybody."""
_NO_MORE = r"\bi(?:'ve)? (?:(?:don't|do not|dont|no longer|never) {}|(?:quit|gave up|given up|stopped) {}) "
_AS = r"as (?!\w+ as\b|(?:much|hard|long|little|often|well|usual|always)\b)"
_TYPE = r"(?:type (?:one|two|1|2) )?"
_ILLNESS = rf"(?:asthma|{_TYPE}diabetes|epilepsy|arthritis|cancer|dementia|high blood pressure|a heart condition|a pacemaker)"
_HEALTH = rf"(?:coeliac|celiac|{_TYPE}diabetic|lactose intolerant|pregnant)"
"""Of these, too, several may be true, beside any diet and whoever somebody lives with."""
_NOT = r"(?:don't|do not|dont|no longer|can't|cannot|won't|never|stopped)"
RULES = (
    _rule(r"\bmy name(?:'s not| is not| isn't) [\w'-]+(?: [\w'-]+)? (?:it's|it is|but) " + _NAME, "The user's name is {x}", "name", 0.95),
    _rule(r"\bmy name(?:'s not| is not| isn't) " + _NAME, "The user's name is not {x}", "name", 0.95),
    _rule(r"\bmy (?P<what>full|first|last|middle|family|maiden|real) name(?:'s| is) " + _NAME,
          "The user's {what} name is {x}", "my {what} name", 0.9),
    _rule(r"\bmy name(?:'s| is) " + _NAME, "The user's name is {x}", "name", 0.95),
    _rule(r"(?:^|[,;.]\s*)(?:please )?(?:just )?call me " + _NAME, "The user is called {x}", "name", 0.95),
    _rule(r"\bremember (?:that )?(?P<x>(?!me\b|when\b|how\b|what\b|to\b)(?:my|i|the|we|our)\b[^?]+?)(?=$|[.!?])",
          "The user asked to remember: {x}", "remember {key}", 0.9),
    _rule(r"\b(?:i|we) (?:no longer|don't|do not|dont) lives? " + _KIND_OF_HOME,
          "The user no longer lives {how} {x}", "home {how} {key}", 0.7),
    _rule(_WE + r"(?:live|living) (?!\w+ (?:the |our |my )?(?:kitchen|moment|past|future)\b)" + _KIND_OF_HOME, "The user lives {how} {x}", "home {how} {key}", 0.7),
    _rule(r"\b(?:i|we) (?:no longer|don't|do not|dont) lives? (?P<how>in|at|near|on) " + _X,
          "The user no longer lives {how} {x}", "home", 0.85),
    _rule(r"\bmy (?:home ?)?(?:city|town|village) is " + _NO_LOOK + _NO_HOME + _X, "The user lives in {x}", "home", 0.8),
    _rule(_WE + r"(?:been )?(?:live|living|settled|based) (?P<how>in|at|near|on) " + _NO_HOME + _X, "The user lives {how} {x}", "home", 0.85),
    _rule(_WE + r"(?:moved|relocated) (?:back |out |over |away )?(?:from (?-i:[A-Z])\w+ (?=to (?-i:[A-Z])))?(?:to|into) " + _NO_HOME + _X,
          "The user lives in {x}", "home", 0.85),
    _rule(r"\bi(?:'m| am) (?:originally |really )?from " + _X, "The user is from {x}", "origin", 0.8),
    _rule(r"\bi(?:'ve| have)? (?:just )?(?:lost|quit|gave up) (?P<x>my job)\b", "The user lost or left {x}", "job", 0.8),
    _rule(_I + r"(?:(?:been )?(?:work|working)|(?:got|started|found|have) a (?:new )?job|started) " + _AS + _X, "The user works as {x}", "job", 0.8),
    _rule(_NO_MORE.format("works?", "working") + _AS + _X, "The user no longer works as {x}", "job", 0.8),
    _rule(r"\bi (?:no longer|don't|do not|dont) works? (?P<how>at|for|in) " + _X,
          "The user no longer works {how} {x}", "workplace", 0.75),
    _rule(_I + r"(?:work|working|started working) with " + _X, "The user works with {x}", "works with {key}", 0.6),
    _rule(_I + r"(?:work|working|started working|(?:got|started|found|have) a (?:new )?job) (?P<how>at|for|in) "
          r"(?!(?:the )?(?:nights?|home|weekends?|moment|mornings?|evenings?|afternoons?|garden|kitchen|least|last|all)\b)" + _X,
          "The user works {how} {x}", "workplace", 0.75),
    _rule(r"\bi(?:'m| am) (?:now )?" + _JOB, "The user is {a} {x}", "job", 0.8),
    _rule(r"\bi(?:'m| am) (?:not|no longer) " + _JOB, "The user is not {a} {x}", "job", 0.8),
    _rule(r"\bi(?:'m| am) (?:now )?(?P<x>retired|unemployed|self-employed)\b", "The user is {x}", "job", 0.8),
    _rule(r"\bi(?:'m| am| just turned| turned) " + _AGE + r"(?: years old| now|(?=[.!,]|$|\s+and (?:i|i'm|my|we)\b))", "The user is {x} years old", "age", 0.8),
    _rule(rf"\bmy (?P<what>{_RELATIVE})(?:'s| is) (?:now )?" + _AGE_OF_ANOTHER + r"(?: years old| now|(?=[.!,]|$|\s+(?:and|but) (?:my|our|i|he|she)\b))",
          "The user's {what} is {x} years old", "age of {what}", 0.75),
    _rule(r"\bi was born on (?=[^.!?]*\b(?:" + "|".join(MONTHS_HEARD) + r")\b)" + _X, "The user's birthday is {x}", "birthday", 0.9),
    _rule(r"\bmy birthday(?:'s| is) (?:on )?" + _NO_DATE + _X, "The user's birthday is {x}", "birthday", 0.9),
    _rule(r"\bi(?:'m| am) (?:not|no longer) (?:really |actually )?allergic to " + _XS,
          "The user is not allergic to {x}", "allergic {key}", 0.95),
    _rule(r"\bi(?:'m| am) (?:very |badly |severely |terribly )?allergic to " + _XS, "The user is allergic to {x}", "allergic {key}", 0.95),
    _rule(r"\bi(?:'m| am) (?:no longer|not|not a|no longer a) (?:an? )?(?P<x>vegetarian|vegan|pescatarian)\b",
          "The user is not {x}", "diet", 0.9),
    _rule(r"\bi(?:'m| am|'ve gone| went|'ve become| became) (?:now )?(?:an? )?(?P<x>vegetarian|vegan|pescatarian)\b",
          "The user is {x}", "diet", 0.9),
    _rule(r"\bi(?:'m| am) (?:not|no longer) (?:a )?(?P<x>" + _HEALTH + r")\b", "The user is not {x}", "health {key}", 0.9),
    _rule(r"\bi(?:'m| am|'ve become| became) (?:now |also )?(?:a )?(?P<x>" + _HEALTH + r")\b", "The user is {x}", "health {key}", 0.9),
    _rule(r"\bi(?: no longer|'m no longer| don't| do not) (?:have|suffer(?:ing)? from) (?P<x>" + _ILLNESS + r")\b", "The user does not have {x}", "health {key}", 0.9),
    _rule(r"\bi(?:'ve got| have| suffer from| have got)(?: also| now)? (?P<x>" + _ILLNESS + r")\b(?! (?:tests?|research|medicine|charit))", "The user has {x}", "health {key}", 0.9),
    _rule(r"\bi(?:'m| am)? (?:now )?(?:eat|eating|drink|drinking) (?P<x>(?:[\w-]+ ){0,2}?[\w-]+) again\b", "The user does eat or drink {x} again", "consumes {key}", 0.85, "preference"),
    _rule(r"\bi (?:" + _NOT + r") (?:eat|eating|drink|drinking) (?!(?:right|now|much|enough|too|so|well|out|like|today|tonight|alone|yet|after|before|until|in|at|on|with|while|from|for|here|there|all|more|properly)\b)" + _XS, "The user does not eat or drink {x}", "consumes {key}", 0.85, "preference"),
    _rule(_NO_MORE.format("plays?", "playing") + r"(?:the )?" + _XS, "The user does not play {x}", "plays {key}", 0.65),
    _rule(_NO_MORE.format("drives?", "driving") + r"(?=an? |the |my |our )" + _X, "The user no longer drives {x}", "car", 0.65),
    _rule(r"\bi (?:(?:don't|do not|dont)(?=.* any ?more$)|no longer) (?P<x>drives?)(?: a car)?(?: any ?more)?$", "The user no longer drives", "car", 0.65),
    _rule(r"\bi (?:don't|do not|dont) (?P<x>drives?)(?: a car)?$", "The user does not drive", "car", 0.65),
    _rule(_NO_MORE.format("speaks?", "speaking") + _XS, "The user does not speak {x}", "speaks {key}", 0.65),
    _rule(r"\bi(?:'ve)? (?:(?:quit|gave up|given up) (?!(?:last|this|in|on|at|after|before|when|for|a (?:week|month|year|while)|my (?:seat|place|turn|spot))\b)|stopped (?=\w+ing\b)(?!(?:looking|waiting|listening|talking|trying|thinking)\b))" + _X, "The user gave up {x}", "habit {key}", 0.75),
    _rule(r"\bi (?:" + _NOT + r") (?:really |actually |even )?(?:like|liking|enjoy|love) " + _XS,
          "The user does not like {x}", "likes {key}", 0.75, "preference"),
    _likes("hate|dislike|detest|can(?:'t|not) (?:stand|bear)(?! (?:up|still|straight|on|in|here|there)\\b)", "does not like"),
    _likes("like|love|enjoy|adore|am fond of|fond of|am keen on|keen on|am into|into", "likes"),
    _rule(_I + r"prefer(?:red)? " + _X, "The user prefers {x}", "prefers {key}", 0.7, "preference"),
    _rule(r"\bmy (?:new |absolute |all-time )?(?:favou?rite) (?P<what>[\w ]{2,30}?)(?: right now| at the moment| these days| ever| of all time)?(?: (?P<be>is|are)|'s) (?:now |probably |definitely )?" + _X,
          "The user's favourite {what} {be} {x}", "favourite {what}", 0.8, "preference"),
    _rule(r"\b(?:my|our) (?P<what>[a-z'-]+(?: [a-z'-]+){0,2}?)(?:'s| (?P<be>is|are)) (?:now )?(?:called|named) " + _X,
          "The user's {what} {be} called {x}", "name of {what}", 0.8),
    _rule(r"\b(?:my|our) (?P<what>[a-z-]+(?: [a-z-]+){0,2}?)(?:'s|s')? name(?:'s| is) " + _NAME,
          "The user's {what} is called {x}", "name of {what}", 0.8),
    _rule(rf"\bmy (?P<what>{_RELATIVE})(?:'s|s)? birthday(?:'s| is) " + _NO_DATE + _X,
          "The user's {what}'s birthday is {x}", "birthday of {what}", 0.85),
    _rule(r"\b(?:i|we) (?:don't|do not|dont|no longer) (?:have|own) (?:(?:my|our|the) (?P<x>(?:[\w-]+ ){0,2}?[\w-]+) (?:anymore|any more))",
          "The user no longer has their {x}", "has {key}", 0.65),
    _rule(r"\b(?:i|we) no longer (?:have|own) (?:my|our|the) (?P<x>(?:[\w-]+ ){0,2}?[\w-]+)" + _END,
          "The user no longer has their {x}", "has {key}", 0.65),
    _rule(r"\b(?:i|we) (?:don't|do not|dont|no longer) (?:have|own) " + _MOMENTARY + r"(?P<x>(?:an?|any) (?:[\w-]+ ){0,4}?[\w-]+)" + _END,
          "The user does not have {x}", "has {key}", 0.65),
    _rule(r"\b(?:i|we)(?:'ve| have)? sold " + _OWN + _END, "The user sold their {x}", "has {key}", 0.65),
    _rule(r"\b(?:i|we)(?:'ve| have)? (?:gave|given) " + _OWN + " away" + _END, "The user gave away their {x}", "has {key}", 0.65),
    _rule(r"\b(?:i|we)(?:'ve| have)? (?:got rid of|gave away|given away) " + _OWN + _END,
          "The user gave away their {x}", "has {key}", 0.65),
    _rule(rf"\b(?:my|our) (?P<x>{_PET}|{_RELATIVE})(?: has)? (?:died|passed away)\b", "The user's {x} died", "has {key}", 0.8),
    _rule(_WE + r"(?:have|got|own|adopted|bought|had got) " + _MOMENTARY + _SOME_THING + _END, "The user has {x}", "has {key}", 0.65),
    _rule(r"\b(?:i|we)(?:'ve| have) (?:got )?" + _MOMENTARY + _SOME_THING + _END, "The user has {x}", "has {key}", 0.65),
    _rule(_I + r"drive (?=an? |the )" + _X, "The user drives {x}", "car", 0.65),
    _rule(_I + r"(?:play|playing) (?:the )?(?!(?:a |this |that )?(?:game|trick|joke|prank|song|video|record|part|role|along|around)\b)" + _XS, "The user plays {x}", "plays {key}", 0.65),
    _rule(_I + r"(?:learn|learning|studying|study) (?:the )?(?!(?:for|with|at|in|on|hard|all|a lot|about|from|today|tonight|tomorrow)\b)" + _XS, "The user is learning {x}", "learns {key}", 0.65),
    _rule(_I + r"speak (?!(?:to|with|about|for|at|in|on|up|of|as|too|very|\w+ly)\b)(?:fluent |some |a little )?" + _XS, "The user speaks {x}", "speaks {key}", 0.65),
    _rule(r"\b(?:i|we)(?:'ve| have)?(?: just| recently| finally)? got (?P<x>married|divorced|engaged)\b", "The user is {x}", "family status", 0.8),
    _rule(r"\bi(?:'m| am) (?:not|no longer) (?P<x>married|divorced|engaged|single)\b",
          "The user is not {x}", "family status", 0.8),
    _rule(r"\bi(?:'m| am) (?:now |recently )?(?P<x>married|divorced|engaged(?! (?:in|with|on)\b)|single)\b",
          "The user is {x}", "family status", 0.8),
    _rule(r"\bmy (?P<what>(?:phone |mobile |house |flat )?number|email|address)(?:'s| is) (?P<x>(?:[^.!?]|\.(?=\w))+?)(?=$|[.!?](?!\w)| and (?:i|my)\b)",
          "The user's {what} is {x}", "my {what}", 0.85),
    _rule(r"\bmy (?P<what>shoe size|password hint|wifi name)(?:'s| is) " + _X, "The user's {what} is {x}", "my {what}", 0.75),
    _rule(rf"\bmy (?P<what>{_RELATIVE})(?:'s| is) (?={_PASSING}\b)(?!\w+ (?:is|are|was|has|had)\b)" + _X,
          "The user's {what} is {x}", "my {what} {key}", 0.75),
    _rule(rf"\bmy (?P<what>{_RELATIVE})(?:'s(?= (?:an?|the|my|our|not)\b)| is) (?!(?:called|named)\b)(?!(?:[\w-]+ ){{1,3}}(?:is|are|was|has|had)\b)" + _X,
          "The user's {what} is {x}", "my {what}", 0.75),
)  # fmt: skip
