"""What a sentence says is not always so: questions, wishes, conditions, plans, others' words."""

# ruff: noqa: E501 - a rule is easier to read on one line

from __future__ import annotations

import re

_UNSURE = re.compile(
    r"\b((?:if|whether|unless|in case)(?: only| ever| you \w+(?: that)?)? (?:i|we|my|our)|(?:i|we) (?:hope|wish|might|may|would)|"
    r"(?:maybe|perhaps) (?:i|we|my)|(?:i|we)'d (?!got\b|been\b|had\b)|(?:do|would|could) you(?=\b.*\b(?:i|we|my|our)\b)|imagine|"
    r"let's (?:say|pretend|play)|pretend|suppose|what if|i (?:dreamed|dreamt)|in (?:my|the|a|this) (?:\w+ )?(?:dream|game|book|story|song|film|movie|play|novel)|"
    r"(?:he|she|they|it|song|book|\w+) (?:claims?|claimed|believes?|believed|goes|asked|writes|wrote)(?: (?:me|us|him|her))?(?: if| that)? (?:i|my)|"
    r"(?:he|she|they|it) (?:\w+ )?(?:says|said|told) (?:to )?\w+ (?:that )?(?:i|my)|"
    r"(?:\w+n't|not|never|nobody|no one) (?:\w+ )?(?:think|say|says|said|tell|told|believe|mean|true|sure|certain|know|"
    r"claim)(?: \w+)?(?: that| if| whether)? (?:i|my)|doubt (?:that )?(?:i|my)|"
    r"(?:\w+n't|not) want (?:\w+ )?to (?:say|tell|claim|think|believe|know)(?: \w+)?(?: that)? (?:i|my)|"
    r"(?:false|wrong|untrue|a lie) (?:that )?(?:i|my)|not that (?:i|my)|hypothetically|theoretically|in theory|"
    r"(?:was|were|been|got) told (?:that )?(?:i|my)|(?:i|we) (?:read|heard|thought|assumed|lied|pretended) (?:that )?(?:i|my)|"
    r"(?:i|we) (?:suspect|suppose|think) (?:that )?(?:i have|i've)|(?<=\w)[\s,]+no (?:it|that|i|we)(?:'m| is| am| do|n't|'s)* ?(?:isn't|not|don't)$|"
    r"kidding|joking|a joke|haha|lol|"
    r"(?!i\b)\w+ (?:says|said|thinks|thought|told me) (?:that )?i|"
    r"(?:(?!i\b)\w+ (?:says|said|thinks|thought|told me)|(?:you|they|people) (?:say|think)) (?:that )?my)\b",
    re.IGNORECASE,
)
_TAG = re.compile(
    r"[\s,](?:right|correct|isn't it|or not|(?:don't|do|am|aren't|haven't|have|didn't|did) (?:i|we))\W*$",
    re.IGNORECASE,
)
"""How a question ends."""
LEAD_IN = (
    r"^\W*(?:(?:and|but|so|well|oh|hey|hi|coda|ok|okay|please|just|now|then|also|(?:can|could|would|will) you|"
    r"you (?:can|should|may))[\s,]+)*"
)
"""What stands before a request or a question, and changes nothing of it."""
_DICTATED = re.compile(
    LEAD_IN + r"(?:say|repeat|sing|translate|spell|type|"
    r"send|text|email|message|write(?! down\b)|tell (?!me\b|you\b)\w+)\b.*\b(?:i|i'm|i've|we|my)\b",
    re.IGNORECASE,
)
"""What is to be said or written, to somebody or in another language."""
_AS_A_CHILD = re.compile(
    r"\b(?:when|while|before|after|until) (?:i|we) (?:was|were)\b|\bas an? (?:child|kid|boy|girl|teenager)\b|"
    r"\bin my (?:childhood|youth)\b",
    re.IGNORECASE,
)
_ASKS = re.compile(
    LEAD_IN + r"(?:tell me\s+)?"
    r"(?:do|does|did|am|is|are|was|were|have|has|had|should|would|could|can|will|may|must|shall|who|whom|whose|what|which|"
    r"when|where|why|how|(?:do|does|did|is|are|was|have|has|should|would|could|can|wo)n't (?:i|you|we|they|my))\b",
    re.IGNORECASE,
)
"""How a question begins: a recogniser writes no question mark."""
_DISMISSED = re.compile(
    LEAD_IN + r"(?:(?:forget|erase|delete|(?:don't|do not|no need to) remember) "
    r"(?:(?:about|on|that|the fact|everything|anything|all|what|of) )*(?:my|i|i'm|i've|we|our|me|what|where|who|how|everything|all you)\b|"
    r"forget about (?!it\b|that\b|this\b))",
    re.IGNORECASE,
)
"""What is to be forgotten, or not remembered, is not told to be kept."""
_PLANNED = re.compile(
    r"\b(?:moving|relocating)\b.*\b(?:next|soon|tomorrow|later|in (?:a few|\w+) "
    r"(?:days?|weeks?|months?|years?)|this (?:summer|autumn|fall|winter|spring|year|month|week))\b|\b(?:quit|stop)\b.*\b(?:tomorrow|next (?:week|month|year))\b",
    re.IGNORECASE,
)
_TAKEN_BACK = re.compile(
    r"\W*(?:(?:no|oh|well|haha|sorry|i'm|i am|i was|just|only|but)[\s,]+)*(?:kidding|joking|"
    r"(?:that's|that was|it's|it was|that is|this is)(?: all)? (?:not true|a joke|a lie|nonsense|wrong|false)|"
    r"(?:that|it) (?:isn't|wasn't) true|not really|forget (?:that|what i (?:just )?said))\W*",
    re.IGNORECASE,
)
"""Alone in its sentence: "I live on the moon. Just kidding."."""
_GOES_ON = r"(?:no |but |actually |really |in fact )*(?:i|i'm|i've|we|my|our)\b"
_KIDDING = (
    r"(?:(?:i'm|i am|i was|we were) )?(?:(?:just|only|obviously|totally) )*"
    r"(?:kidding|joking|pulling your leg|(?:messing with|teasing) you)"
)
_NOT_MEANT = re.compile(
    r"\W*(?!no (?:kidding|joking)\b)(?:(?:no|oh|ok|okay|well|wait|hey|um|uh|ha|haha|hahaha|lol|sorry|nah|but|actually|gotcha)[\s,.!]+)*"
    rf"(?:{_KIDDING}|(?:that|it)(?: was|'s) (?:(?:just|only|all|obviously) )*(?:a joke|a lie|a fib|made up)|"
    r"i (?:just )?(?:made (?:that|it|this) (?:all )?up|lied(?: to you)?)|i was lying|i take (?:that|it) back|scratch that|"
    r"i didn't mean (?:that|it)|i'm not serious|i (?:wasn't|was not) serious)"
    r"(?:,? (?:haha|ha|lol|of course|coda|sorry|obviously|mate|don't worry|there|with you|you))*"
    rf"(?: about (?P<about>[^.!?]+))?(?:[\s,.!]*$|(?<!joke)(?<!lie)[\s,.!]+(?={_GOES_ON}))",
    re.IGNORECASE,
)
"""Of the turn before: only what can be no answer to the agent, as "that's not true" could."""
FEW_WORDS = 3
"""A turn that says no more may stand between what was said and what takes it back: "haha"."""
_SHORT = re.compile(r"\bI (?:used|used to)\b", re.IGNORECASE)

_SENTENCES = re.compile(
    r"(?<=[.!?])\s+|[\s,;]+(?=(?:but (?:(?:now|today|these days|nowadays|actually|in fact)[\s,]+)?|"
    r"(?:and )?(?:now|these days|nowadays) |and today )(?:i|i'm|i've|we|we're|my)\b)|"
    r"[\s,;]+and\s+(?=(?:please )?remember that (?:i|i'm|i've|we|our|my)\b)|"
    rf"(?<=\w)[\s,;]+(?={_KIDDING}[\s,;]+{_GOES_ON})|"
    rf"(?:(?<= just kidding)|(?<= only kidding)|(?<= just joking)|(?<= only joking))[\s,;]+(?={_GOES_ON})",
    re.IGNORECASE,
)
"""A recogniser writes no full stop; a "but" or "now" before "I" does as well."""


_BETWEEN = re.compile(r"[\s,;]{3,}")
LONGEST_TURN = 2_000
"""Characters of a turn that are read: who types more tells no fact of himself but a story."""


def sentences(turn: str) -> list[str]:
    """Split a turn into its sentences; what stands against the rest is one of its own.

    "I used to live in Paris but now I live in Berlin" are two.
    """
    turn = _BETWEEN.sub(", ", turn[:LONGEST_TURN].replace("’", "'").strip())
    return _SENTENCES.split(turn)


def asks(sentence: str) -> bool:
    """Tell whether a sentence is a question."""
    return sentence.endswith("?") or any(how.search(sentence) for how in (_ASKS, _TAG))


def request_to_forget(sentence: str) -> bool:
    """Tell whether a sentence asks to forget, or not to remember, something that it names."""
    return _DISMISSED.match(sentence) is not None


def takes_back(sentence: str) -> bool:
    """Tell whether a sentence takes back what was said before it in the same turn."""
    return _TAKEN_BACK.fullmatch(sentence) is not None


def not_meant(turn: str, before: str) -> str | None:
    """Tell whether a turn takes the turn ``before`` back; gives what it says besides, else None.

    "just kidding" does, and "just kidding I live in Bern"; "I was joking about the moon" does
    where the moon was spoken of.
    """
    turn = turn[:LONGEST_TURN].replace("’", "'").strip()
    found = _NOT_MEANT.match(turn)
    if found is None:
        return None
    about = set(re.findall(r"\w{4,}", (found["about"] or "").casefold()))
    if found["about"] and about.isdisjoint(re.findall(r"\w+", before.casefold())):
        return None
    return turn[found.end() :]


def unsure(sentence: str) -> bool:
    """Tell whether a sentence wishes, supposes, plans, takes back, or tells of the past or of others' words."""
    looks = (_UNSURE, _DICTATED, _AS_A_CHILD, _SHORT, _PLANNED, _DISMISSED)
    return any(look.search(sentence) for look in looks)
