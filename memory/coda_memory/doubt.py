"""What a sentence says is not always so: questions, wishes, conditions, plans, others' words."""

# ruff: noqa: E501 - a rule is easier to read on one line

from __future__ import annotations

import re

_UNSURE = re.compile(
    r"\b((?:if|whether|unless|in case)(?: only| ever| you \w+(?: that)?)? (?:i|we|my|our)|(?:i|we) (?:hope|wish|might|may|would)|"
    r"(?:maybe|perhaps) (?:i|we|my)|(?:i|we)'d (?!got\b|been\b|had\b)|do you|would you|could you|imagine|"
    r"let's (?:say|pretend|play)|pretend|suppose|what if|i (?:dreamed|dreamt)|in (?:my|the|a|this) (?:dream|game|book|story|song|film|movie|play)|"
    r"(?:he|she|they|it|song|book|\w+) (?:claims?|claimed|believes?|believed|goes|asked|writes|wrote)(?: (?:me|us|him|her))?(?: if| that)? (?:i|my)|"
    r"(?:he|she|they|it) (?:\w+ )?(?:says|said|told) (?:to )?\w+ (?:that )?(?:i|my)|"
    r"(?:\w+n't|not|never|nobody|no one) (?:\w+ )?(?:think|say|says|said|tell|told|believe|mean|true|sure|certain|know|"
    r"claim)(?: \w+)?(?: that| if| whether)? (?:i|my)|doubt (?:that )?(?:i|my)|"
    r"(?:\w+n't|not) want (?:\w+ )?to (?:say|tell|claim|think|believe|know)(?: \w+)?(?: that)? (?:i|my)|"
    r"(?:false|wrong|untrue|a lie) (?:that )?(?:i|my)|"
    r"(?:he|she|they|\w+) (?:says|said|thinks|thought|told me) (?:that )?i|"
    r"(?:(?!i\b)\w+ (?:says|said|thinks|thought|told me)|(?:you|they|people) (?:say|think)) (?:that )?my)\b",
    re.IGNORECASE,
)
_TAG = re.compile(
    r"[\s,](?:right|correct|isn't it|or not|(?:don't|do|am|aren't|haven't|have|didn't|did) (?:i|we))\W*$",
    re.IGNORECASE,
)
"""How a question ends."""
_DICTATED = re.compile(
    r"^\W*(?:(?:and|now|then|please|coda|hey|ok|okay|can you|could you|just)[\s,]+)*(?:say|repeat|sing|translate|spell|type|"
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
    r"^\W*(?:(?:and|but|so|well|oh|hey|hi|coda|ok|okay|please|then|tell me)\s+)*"
    r"(?:do|does|did|am|is|are|was|were|have|has|had|should|would|could|can|will|may|must|shall|who|whom|whose|what|which|"
    r"when|where|why|how|(?:do|does|did|is|are|was|have|has|should|would|could|can|wo)n't (?:i|you|we|they|my))\b",
    re.IGNORECASE,
)
"""How a question begins: a recogniser writes no question mark."""
_DISMISSED = re.compile(
    r"^\W*(?:(?:and|but|so|well|oh|hey|hi|coda|ok|okay|please|just|now|then|you can|you should|you may)[\s,]+)*"
    r"(?:forget|(?:don't|do not|no need to) remember) (?:that )?(?:my|i|i'm|we|our)\b",
    re.IGNORECASE,
)
"""What is to be forgotten, or not remembered, is not told to be kept."""
_PLANNED = re.compile(
    r"\b(?:moving|relocating)\b.*\b(?:next|soon|tomorrow|later|in (?:an?|one|two|three|four|five|six|a few|\w+) "
    r"(?:days?|weeks?|months?|years?)|this (?:summer|autumn|fall|winter|spring|year|month|week))\b",
    re.IGNORECASE,
)
_SHORT = re.compile(r"\bI (?:used|used to)\b", re.IGNORECASE)

_SENTENCES = re.compile(
    r"(?<=[.!?])\s+|[\s,;]+(?=(?:but (?:(?:now|today|these days|nowadays|actually|in fact)[\s,]+)?|"
    r"(?:and )?(?:now|these days|nowadays) |and today )(?:i|i'm|i've|we|we're|my)\b)",
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


def unsure(sentence: str) -> bool:
    """Tell whether a sentence wishes, supposes, plans, takes back, or tells of the past or of others' words."""
    looks = (_UNSURE, _DICTATED, _AS_A_CHILD, _SHORT, _PLANNED, _DISMISSED)
    return any(look.search(sentence) for look in looks)
