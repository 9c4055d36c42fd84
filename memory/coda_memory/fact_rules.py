"""The rules by which facts are read from sentences in the first person (``fact_finder``).

A rule takes what a sentence says at one place (``x``); of two that want the same words, the one
further up has them. Whether a sentence is to be believed at all is not asked here (``doubt``).
"""

# ruff: noqa: E501 - a rule is easier to read on one line

from __future__ import annotations

import re
from dataclasses import dataclass

from coda_memory.fact_parts import (
    AGE,
    AGE_OF_ANOTHER,
    AS_A,
    BORN_WHEN,
    BORN_WHERE,
    DO_NOT,
    END,
    FAITH,
    HABIT,
    HABITS,
    HEALTH,
    I_AM,
    ILLNESS,
    JOB,
    KIND_OF_HOME,
    MOMENTARY,
    NAME,
    NO_DATE,
    NO_FOOD,
    NO_HOME,
    NO_LOOK,
    NO_MORE,
    NO_NICKNAME,
    NO_TOWN,
    OWN,
    PASSING,
    PET,
    RELATIVE,
    SKILL,
    SOME_THING,
    THING,
    THINGS,
    WE_ARE,
)
from coda_memory.record import Kind
from coda_voice.calendar_names import MONTHS_HEARD


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


def _rule(pattern: str, text: str, subject: str, importance: float, kind: Kind = "fact") -> Rule:
    return Rule(re.compile(pattern, re.IGNORECASE), text, subject, kind, importance)


def _likes(verb: str, says: str, importance: float = 0.7) -> Rule:
    pattern = (
        I_AM
        + rf"(?:{verb})\s+(?!to (?:think|believe|say|imagine|pretend|admit|ask|tell|bother|interrupt|disappoint|break)\b)"
        + THINGS
    )
    return _rule(pattern, f"The user {says} {{x}}", "likes {key}", importance, "preference")


_MOVED = WE_ARE + r"(?:moved|relocated) (?:back |out |over |away )?"
_NEW_TOWN = (
    r"(?:[\w' -]+? and then to )?"
    + NO_HOME
    + NO_TOWN
    + r"(?P<x>[^.!;,?]+?)(?:(?=\s+(?:from|to|for)\b)|"
    + END
    + ")"
)
"""Who writes "i" with a small letter writes no town with a capital: there "from tea to coffee" is told by its words."""
_KIND = r"(?P<what>(?:(?!\b(?:was|were|used|but|has|had|it)\b)[\w ]){2,30}?)"
_NOT_BUT = r"(?: (?:is|are) not| isn't| aren't|'s not) "
_WAS_BUT = _NOT_BUT.replace("(?: (?:is", "(?: (?:was|were|used to be)| (?:is")
_RATHER = r",? (?:any ?more,? )?(?:(?:but |and )?(?:now )?(?:it|she|he|they)(?:'s| is| are| 're)(?: called| named)?|but(?: called)?) "
"""What stands between what is not so and what is: "my wife is not called anna she is called hannah"."""
RULES = (
    _rule(r"\bmy name(?:'s not| is not| isn't) [\w'-]+(?: [\w'-]+)? (?:it's|it is|but) " + NAME, "The user's name is {x}", "name", 0.95),
    _rule(r"\bmy name(?:'s not| is not| isn't) " + NAME, "The user's name is not {x}", "name", 0.95),
    _rule(r"\bmy (?P<what>(?:full|first|last|middle|family|maiden|real) name|surname)(?:'s| is) " + NAME,
          "The user's {what} is {x}", "my {what}", 0.9),
    _rule(r"\bi(?:'m| am) (?:called|named) " + NAME, "The user's name is {x}", "name", 0.95),
    _rule(r"\bmy name(?:'s| is) (?:actually |really |still |now )?" + NAME, "The user's name is {x}", "name", 0.95),
    _rule(r"(?:(?:^|[,;.]\s*)(?:you (?:can|may|should) )?|\band you (?:can|may|should) )(?:please )?(?:just )?call me " + NO_NICKNAME + NAME.replace(END, rf"(?:(?= from now on\b)|{END})"),
          "The user is called {x}", "name", 0.95),
    _rule(r"\bremember (?:that )?(?P<x>(?!me\b|when\b|how\b|what\b|to\b)(?:my|i|the|we|our)\b[^?]+?)(?=$|[.!?])",
          "The user asked to remember: {x}", "remember {key}", 0.9),
    _rule(r"\b(?:i|we) (?:no longer|don't|do not|dont) lives? " + KIND_OF_HOME,
          "The user no longer lives {how} {x}", "home {how} {key}", 0.7),
    _rule(WE_ARE + r"(?:live|living) (?!\w+ (?:the |our |my )?(?:kitchen|moment|past|future)\b)" + KIND_OF_HOME, "The user lives {how} {x}", "home {how} {key}", 0.7),
    _rule(r"\b(?:i|we) (?:no longer|don't|do not|dont) lives? in [\w'-]+(?: [\w'-]+){0,2}? but in " + HABIT, "The user lives in {x}", "home", 0.85),
    _rule(r"\b(?:i|we) (?:no longer|don't|do not|dont) lives? (?P<how>in|at|near|on) " + HABIT,
          "The user no longer lives {how} {x}", "home", 0.85),
    _rule(r"\bmy (?:home ?)?(?:city|town|village) is " + NO_LOOK + NO_HOME + HABIT, "The user lives in {x}", "home", 0.8),
    _rule(WE_ARE + r"(?:been )?(?:work and )?(?:live|living|settled|based)(?: and work(?:ing)?)? (?P<how>in|at|near|on) " + NO_HOME + NO_FOOD + HABIT, "The user lives {how} {x}", "home", 0.85),
    _rule(_MOVED + r"(?:to|into) (?!(?:(?!i\b)[\w-]+ ){2,6}in (?!the |an? |my |our )\w)(?P<x>(?:an?|my|our) [^.!;,?]+?)" + END, "The user lives in {x}", "home in {key}", 0.7),
    _rule(_MOVED + r"(?:from (?-i:[A-Z])[\w'-]+(?: [\w'-]+){0,2} (?=to (?-i:[A-Z])))?(?:to|into) " + _NEW_TOWN, "The user lives in {x}", "home", 0.85),
    _rule(_MOVED.replace("(?:i|we)", "(?-i:i|we)") + r"from " + NO_HOME + NO_TOWN + r"[\w'-]+(?: [\w'-]+){0,2}? to (?!(?:an?|my|our) )" + _NEW_TOWN,
          "The user lives in {x}", "home", 0.85),
    _rule(r"\bi(?:'m| am) (?:originally |really )?from " + THING, "The user is from {x}", "origin", 0.8),
    _rule(r"\bi was born in " + BORN_WHEN, "The user was born in {x}", "born when", 0.8),
    _rule(r"\bi was born in (?!the (?:wrong|right|same|middle|back|morning|evening|night|(?:\w+ )?hospital)\b)" + BORN_WHERE, "The user was born in {x}", "born where", 0.75),
    _rule(r"\bi (?:was raised|grew up|was born [^.!?;,]{2,40}? (?:and|but) (?:was raised|raised|grew up)) (?P<how>in|on|near|at) (?!the (?:wrong|right|same)\b)" + THING, "The user grew up {how} {x}", "grew up", 0.7),
    _rule(r"\bi(?:'ve| have)? (?:just )?(?:lost|quit|gave up) (?P<x>my job)\b", "The user lost or left {x}", "job", 0.8),
    _rule(I_AM + r"(?:(?:been )?(?:work|working)|(?:got|started|found|have) a (?:new )?job|started) " + AS_A + HABIT, "The user works as {x}", "job", 0.8),
    _rule(NO_MORE.format("works?", "working") + AS_A + HABIT, "The user no longer works as {x}", "job", 0.8),
    _rule(r"\bi (?:no longer|don't|do not|dont) works? (?P<how>at|for|in) " + HABIT,
          "The user no longer works {how} {x}", "workplace", 0.75),
    _rule(I_AM + r"(?:work|working|started working) with " + THING, "The user works with {x}", "works with {key}", 0.6),
    _rule(I_AM + r"(?:work|working|started working|(?:got|started|found|have) a (?:new )?job) (?P<how>at|for|in) "
          r"(?!(?:the )?(?:nights?|home|weekends?|moment|mornings?|evenings?|afternoons?|garden|kitchen|least|last|all)\b)" + HABIT,
          "The user works {how} {x}", "workplace", 0.75),
    _rule(r"\bi(?:'m| am) (?:now )?" + JOB, "The user is {a} {x}", "job", 0.8),
    _rule(r"\bi(?:'m| am) (?:not|no longer) " + JOB, "The user is not {a} {x}", "job", 0.8),
    _rule(r"\bi(?:'m| am) (?:now )?(?P<x>retired|unemployed|self-employed)\b", "The user is {x}", "job", 0.8),
    _rule(r"\bi(?:'ve| have)? (?:just )?turned " + AGE + r"(?=[.!,]|$|\s+(?:last|yesterday|today|on|this|in|and i|and my)\b)", "The user is {x} years old", "age", 0.8),
    _rule(r"\bi(?:'m| am| just turned| turned) " + AGE + r"(?: years (?:old|of age)\b| now|(?=[.!,]|$|\s+and (?:i|i'm|my|we)\b))", "The user is {x} years old", "age", 0.8),
    _rule(r"\bmy age is (?:now )?" + AGE + r"\b", "The user is {x} years old", "age", 0.8),
    _rule(rf"\bmy (?P<what>{RELATIVE})(?:'s| is) (?:now )?" + AGE_OF_ANOTHER + r"(?: years old\b| now|(?=[.!,]|$|\s+(?:and|but) (?:my|our|i|he|she)\b))",
          "The user's {what} is {x} years old", "age of {what}", 0.75),
    _rule(r"\bi was born on (?=[^.!?]*\b(?:" + "|".join(MONTHS_HEARD) + r")\b)" + THING, "The user's birthday is {x}", "birthday", 0.9),
    _rule(r"\bmy birthday(?:'s| is) (?:on )?" + NO_DATE + THING, "The user's birthday is {x}", "birthday", 0.9),
    _rule(r"\bi(?:'m| am) (?:not|no longer) (?:really |actually )?allergic to " + THINGS,
          "The user is not allergic to {x}", "allergic {key}", 0.95),
    _rule(r"\bi(?:'m| am) (?:(?:very|really|so|quite|pretty|highly|deathly|extremely|seriously|badly|severely|terribly|mildly|slightly|also|still|actually) )*allergic to " + THINGS, "The user is allergic to {x}", "allergic {key}", 0.95),
    _rule(r"\bi(?:'m| am) (?:not|no longer) (?:really |actually |that |so )*(?:afraid|scared|terrified) of " + THINGS, "The user is not afraid of {x}", "afraid {key}", 0.75),
    _rule(r"\bi(?:'m| am|'ve been| have been) (?:(?:very|really|so|quite|pretty|extremely|always|also|still|actually|a bit|a little) )*(?:afraid|scared|terrified) of " + THINGS, "The user is afraid of {x}", "afraid {key}", 0.75),
    _rule(r"\bi(?:'m| am) (?:not|no longer) (?:an? (?!christian\b))?(?:practising |practicing )?(?P<x>" + FAITH + r")" + END, "The user is not {x}", "faith", 0.8),
    _rule(r"\bi(?:'m| am) (?:now )?(?:an? (?!christian\b))?(?:practising |practicing )?(?P<x>" + FAITH + r")" + END, "The user is {x}", "faith", 0.8),
    _rule(r"\bi(?:'m| am) (?P<x>an only child)\b", "The user is {x}", "only child", 0.7),
    _rule(r"\bi (?:can't|cannot|can not) (?P<x>" + SKILL + r")" + END, "The user cannot {x}", "can {key}", 0.65),
    _rule(r"\bi can (?P<x>" + SKILL + r")" + END, "The user can {x}", "can {key}", 0.65),
    _rule(NO_MORE.format("collects?", "collecting") + HABITS, "The user does not collect {x}", "collects {key}", 0.65),
    _rule(I_AM + r"(?:collect|collecting) (?!(?:the|my|him|her|them|it|you|some|your|dust)\b)" + HABITS, "The user collects {x}", "collects {key}", 0.65),
    _rule(r"\bi(?:'m| am) (?P<x>(?:left|right)[- ]handed)\b", "The user is {x}", "handed", 0.6),
    _rule(r"\bmy pronouns are (?:now )?" + THING, "The user's pronouns are {x}", "pronouns", 0.9),
    _rule(r"\bi (?:no longer|don't|do not|dont) (?:need to |have to )?wear (?P<x>glasses|(?:contact )?lenses|contacts|(?:a )?hearing aids?)\b", "The user does not wear {x}", "wears {key}", 0.65),
    _rule(I_AM + r"(?:have to )?wear (?P<x>glasses|(?:contact )?lenses|contacts|(?:a )?hearing aids?)\b", "The user wears {x}", "wears {key}", 0.65),
    _rule(r"\bi(?:'m| am) (?:no longer|not|not a|no longer a) (?:an? )?(?P<x>vegetarian|vegan|pescatarian)\b",
          "The user is not {x}", "diet", 0.9),
    _rule(r"\bi(?:'m| am|'ve gone| went|'ve become| became|'ve been| have been) (?:now )?(?:an? )?(?P<x>vegetarian|vegan|pescatarian)\b",
          "The user is {x}", "diet", 0.9),
    _rule(r"\bi(?:'m| am) (?:not|no longer) (?:a )?(?P<x>" + HEALTH + r")\b", "The user is not {x}", "health {key}", 0.9),
    _rule(r"\bi(?:'m| am|'ve become| became) (?:now |also )?(?:a )?(?P<x>" + HEALTH + r")\b", "The user is {x}", "health {key}", 0.9),
    _rule(r"\bi(?: no longer|'m no longer| don't| do not) (?:have|suffer(?:ing)? from) (?P<x>" + ILLNESS + r")\b", "The user does not have {x}", "health {key}", 0.9),
    _rule(r"\bi(?:'ve got| have| suffer from| have got)(?: also| now)? (?P<x>" + ILLNESS + r")\b(?! (?:tests?|research|medicine|charit))", "The user has {x}", "health {key}", 0.9),
    _rule(r"\bi(?:'m| am)? (?:now )?(?:eat|eating|drink|drinking) (?P<x>(?:[\w-]+ ){0,2}?[\w-]+) again\b", "The user does eat or drink {x} again", "consumes {key}", 0.85, "preference"),
    _rule(r"\bi (?:" + DO_NOT + r") (?:eat|eating|drink|drinking) (?!(?:and|or|right|now|much|enough|too|so|well|out|like|today|tonight|alone|yet|after|before|until|in|at|on|with|while|from|for|here|there|all|more|properly)\b)" + THINGS, "The user does not eat or drink {x}", "consumes {key}", 0.85, "preference"),
    _rule(NO_MORE.format("plays?", "playing") + r"(?:the )?" + HABITS, "The user does not play {x}", "plays {key}", 0.65),
    _rule(NO_MORE.format("drives?", "driving") + r"(?=an? |the |my |our )" + THING, "The user no longer drives {x}", "car", 0.65),
    _rule(r"\bi (?:(?:don't|do not|dont)(?=.* any ?more$)|no longer) (?P<x>drives?)(?: a car)?(?: any ?more)?$", "The user no longer drives", "car", 0.65),
    _rule(r"\bi (?:don't|do not|dont) (?P<x>drives?)(?: a car)?$", "The user does not drive", "car", 0.65),
    _rule(NO_MORE.format("speaks?", "speaking") + HABITS, "The user does not speak {x}", "speaks {key}", 0.65),
    _rule(r"\bi(?:'ve)? (?:(?:quit|gave up|given up) (?!(?:last|this|in|on|at|after|before|when|for|a (?:week|month|year|while)|my (?:seat|place|turn|spot))\b)|stopped (?=\w+ing\b)(?!(?:looking|waiting|listening|talking|trying|thinking|liking|loving|enjoying)\b))" + THING, "The user gave up {x}", "habit {key}", 0.75),
    _rule(r"\bi(?:'ve| have)? (?:" + DO_NOT + r") (?:really |actually |even )?(?:like|liking|enjoy|enjoying|love|loving) " + THINGS,
          "The user does not like {x}", "likes {key}", 0.75, "preference"),
    _rule(r"\bi(?:'m| am) (?:not|no longer) (?:really |actually |very |so |that |too )*(?:an? )?(?:big |great |huge )?(?:fond of|keen on|into|fan of) " + THINGS,
          "The user does not like {x}", "likes {key}", 0.75, "preference"),
    _likes("hate|dislike|detest|can(?:'t|not) (?:stand|bear)(?! (?:up|still|straight|on|in|here|there)\\b)", "does not like"),
    _likes("like|love|enjoy|adore|am fond of|fond of|am keen on|keen on|am into|into|an? (?:(?:big|great|huge) )?fan of", "likes"),
    _rule(I_AM + r"prefer(?:red)? " + THING, "The user prefers {x}", "prefers {key}", 0.7, "preference"),
    _rule(r"\bmy favou?rite " + _KIND + _WAS_BUT + r"[\w'-]+(?: [\w'-]+){0,2}?" + _RATHER + THING,
          "The user's favourite {what} is {x}", "favourite {what}", 0.8, "preference"),
    _rule(r"\bmy favou?rite " + _KIND + _NOT_BUT + THING,
          "The user's favourite {what} is not {x}", "favourite {what}", 0.8, "preference"),
    _rule(r"\bmy (?:new |absolute |all-time )?(?:favou?rite) " + _KIND + r"(?: right now| at the moment| these days| ever| of all time)?(?: (?P<be>is|are)|'s) (?:now |probably |definitely )?" + THING,
          "The user's favourite {what} {be} {x}", "favourite {what}", 0.8, "preference"),
    _rule(r"\b(?:my|our) (?P<what>[a-z-]+(?: [a-z-]+){0,2}?)" + _NOT_BUT + r"(?:called|named) [\w'-]+(?: [\w'-]+)?" + _RATHER + NAME,
          "The user's {what} is called {x}", "name of {what}", 0.8),
    _rule(r"\b(?:my|our) (?P<what>[a-z-]+(?: [a-z-]+){0,2}?)" + _NOT_BUT + r"(?:called|named) " + NAME,
          "The user's {what} is not called {x}", "name of {what}", 0.8),
    _rule(r"\b(?:my|our) (?P<what>[a-z'-]+(?: [a-z'-]+){0,2}?)(?:'s| (?P<be>is|are)) (?:now )?(?:called|named) " + THING,
          "The user's {what} {be} called {x}", "name of {what}", 0.8),
    _rule(rf"\b(?:my|our) (?P<what>(?:{PET}|{RELATIVE})(?=s name)|[a-z-]+(?: [a-z-]+){{0,2}}?)(?:'s|s'|s)? name(?:'s| is) " + NAME,
          "The user's {what} is called {x}", "name of {what}", 0.8),
    _rule(rf"\bmy (?P<what>{RELATIVE})(?:'s|s)? birthday(?:'s| is) " + NO_DATE + THING,
          "The user's {what}'s birthday is {x}", "birthday of {what}", 0.85),
    _rule(r"\b(?:i|we) (?:don't|do not|dont|no longer) (?:have|own) (?:(?:my|our|the) (?P<x>(?:[\w-]+ ){0,2}?[\w-]+) (?:anymore|any more))",
          "The user no longer has their {x}", "has {key}", 0.65),
    _rule(r"\b(?:i|we) no longer (?:have|own) (?:my|our|the) (?P<x>(?:[\w-]+ ){0,2}?[\w-]+)" + END,
          "The user no longer has their {x}", "has {key}", 0.65),
    _rule(r"\b(?:i|we) (?:(?:don't|do not|dont|no longer) (?:have|own)|haven't got|have not got) " + MOMENTARY + r"(?P<x>(?:an?|any) (?:[\w-]+ ){0,4}?[\w-]+)" + END,
          "The user does not have {x}", "has {key}", 0.65),
    _rule(rf"\b(?:i|we)(?: have no|'ve got no| have got no| (?:don't|do not|dont) have| haven't got)(?: any)?(?: more)? (?P<x>(?:{PET}|{RELATIVE}|pet|sibling|kid|child)s?|children)" + END,
          "The user does not have any {x}", "has {key}", 0.65),
    _rule(r"\b(?:i|we)(?:'ve| have)? sold " + OWN + END, "The user sold their {x}", "has {key}", 0.65),
    _rule(r"\b(?:i|we)(?:'ve| have)? (?:gave|given) " + OWN + " away" + END, "The user gave away their {x}", "has {key}", 0.65),
    _rule(r"\b(?:i|we)(?:'ve| have)? (?:got rid of|gave away|given away) " + OWN + END,
          "The user gave away their {x}", "has {key}", 0.65),
    _rule(rf"\b(?:my|our) (?P<x>{PET}|{RELATIVE})(?: has)? (?:died|passed away)\b", "The user's {x} died", "has {key}", 0.8),
    _rule(WE_ARE + r"(?:have|got|own|adopted|bought|had got) " + MOMENTARY + SOME_THING + END, "The user has {x}", "has {key}", 0.65),
    _rule(r"\b(?:i|we)(?:'ve| have) (?:got )?" + MOMENTARY + SOME_THING + END, "The user has {x}", "has {key}", 0.65),
    _rule(I_AM + r"drive (?=an? |the )(?!an? (?:lot|bit|little|few|hour|half|good|long|fair|couple)\b|the (?:kids?|children|same|way)\b)" + THING, "The user drives {x}", "car", 0.65),
    _rule(I_AM + r"(?:play|playing) (?:the )?(?!(?:a |this |that )?(?:game|trick|joke|prank|song|video|record|part|role|along|around)\b)" + HABITS, "The user plays {x}", "plays {key}", 0.65),
    _rule(I_AM + r"(?:learn|learning|studying|study) (?:the )?(?!(?:for|with|at|in|on|hard|all|a lot|about|from|today|tonight|tomorrow)\b)" + HABITS, "The user is learning {x}", "learns {key}", 0.65),
    _rule(I_AM + r"speak (?!(?:to|with|about|for|at|in|on|up|of|as|too|very|\w+ly)\b)(?:fluent |some |a little )?" + HABITS, "The user speaks {x}", "speaks {key}", 0.65),
    _rule(r"\b(?:i|we)(?:'ve| have)?(?: just| recently| finally)? got (?P<x>married|divorced|engaged)\b", "The user is {x}", "family status", 0.8),
    _rule(r"\bi(?:'m| am) (?:not|no longer) (?P<x>married|divorced|engaged|single)\b",
          "The user is not {x}", "family status", 0.8),
    _rule(r"\bi(?:'m| am) (?:now |recently )?(?P<x>married|divorced|engaged(?! (?:in|with|on)\b)|single(?![ -](?:minded|handed)))\b",
          "The user is {x}", "family status", 0.8),
    _rule(r"\bmy (?P<what>(?:phone |mobile |house |flat )?number|email|address)(?: address)?(?:'s| is) (?P<x>(?:[^.!?]|\.(?=\w))+?)(?=$|[.!?](?!\w)| and (?:i|my)\b)",
          "The user's {what} is {x}", "my {what}", 0.85),
    _rule(r"\bmy (?P<what>shoe size|password hint|wifi name)(?:'s| is) " + THING, "The user's {what} is {x}", "my {what}", 0.75),
    _rule(rf"\bmy (?P<what>{RELATIVE})(?:'s| is) (?=(?:not )?an? (?!(?:bit|little|lot|while)\b))(?!(?:[\w-]+ ){{1,3}}(?:is|are|was|has|had)\b)" + THING,
          "The user's {what} is {x}", "trade of {what}", 0.75),
    _rule(rf"\bmy (?P<what>{RELATIVE})(?:'s| is) (?={PASSING}\b)(?!\w+ (?:is|are|was|has|had)\b)" + THING,
          "The user's {what} is {x}", "my {what} {key}", 0.75),
    _rule(rf"\bmy (?P<what>{RELATIVE})(?:'s(?= (?:an?|the|my|our|not)\b)| is) (?!(?:called|named)\b)(?!(?:[\w-]+ ){{1,3}}(?:is|are|was|has|had)\b)" + THING,
          "The user's {what} is {x}", "my {what}", 0.75),
)  # fmt: skip
