"""Tell who asks for a timer from who asks about one, has one, or wants none.

"Did you set a timer for five minutes", "I don't need an alarm" and "change the timer to ten
minutes" hold all the words of a request, and acting on them would be wrong.
"""

from __future__ import annotations

import re

ACTS = frozenset({"set_timer", "set_reminder", "cancel_timer"})
"""The tools that do something which can be asked about, reported, or not wanted."""
_THING = r"(?:(?!(?:set|start|and|for|an?)\b)\w+ ){0,3}(?:timer|alarm|reminder)s?"
_POLITE = r"(?:(?:and|but|also|now|then|no|please|i|want|need|would like|i'd like|you|to|let's) )*"
_ASKS = re.compile(
    r"^(?:(?:and|but|so) )?(?:did|do(?! me\b)|does|have (?:i|you|we)|has|had|is|are|was|were|who|"
    r"when|where|why(?! don't)|(?:what|how)(?! about)|which|should|shall i)\b"
)
_REPORTS = re.compile(
    r"\b(?<!\bcan )(?<!could )(?<!\bmay )(?<!don't )(?:i|you|we|he|she)(?:'ve| have)? "
    r"(?:(?:already|just|once) )?(?:set|had|have|got|started|made|cancelled|stopped)(?: up)? "
    rf"(?:an?|the|my|another) {_THING}\b"
)
_NOT_WANTED = re.compile(
    r"(?:\b(?:not|never|no longer|forgot)|(?<!\bca)(?<!why do)n't)"
    r"(?: (?:want|need|have|ask|asked|to|for|you|me|it|any|really|actually|ever|yet))* "
    r"(?:(?:set|start|cancel|stop|delete|clear|remove|dismiss|turn off|remind|wake)|"
    rf"(?:an?|the|my|that|this|any) {_THING})\b|\bno (?:timer|alarm|reminder)s?\b"
)
_CHANGES = re.compile(
    rf"^{_POLITE}(?:change|reset|extend|move|adjust|shorten|lengthen|prolong|snooze|update|make)"
    r" (?:the|my|that|this|our|it)\b"
)
"""There is no tool for it: another one would ring as well."""


def is_request(plain: str) -> bool:
    """Whether ``plain``, which holds the words of a timer, asks for something to be done."""
    return not any(how.search(plain) for how in (_ASKS, _REPORTS, _NOT_WANTED, _CHANGES))


_FIRST_PERSON = re.compile(
    r"^(?:(?:hi|hello|hey|well|so|and|also|oh|okay|ok|by the way|actually|coda|for the record|"
    r"just so you know|you should know(?: that)?|fun fact)[, ]+)*"
    r"(?:i|i'm|i've|i'd|my|we|we're|our)\b"
)
_WE = r"\b(?:i|we) (?:(?:really|just|still|would|only|am|are|was|were|do|did) )*"
_TO_BE_TOLD = r"(?:you|to (?:know|ask|hear|learn|understand|find|see))\b"
_WANTS_AN_ANSWER = re.compile(
    r"\?|^(?:what|who|whose|where|when|which|why|how|is|are|do|does|did|can|could|will|would|"
    r"should|may|have you|tell|give|show|explain|find|look|read|write|play|call|send|translate)\b|"
    rf"{_WE}(?:want|need|like|wish|expect)(?:ed)? {_TO_BE_TOLD}|\b(?:i|we)'d like {_TO_BE_TOLD}|"
    rf"{_WE}(?:wonder|wondering|not (?:know|understand))\b|"
    r"\b(?:i'm|we're) (?:just )?(?:wondering|asking|looking for)\b|"
    r"\b(?:don't|do not|can't|cannot|didn't) (?:know|understand|remember|recall|figure)\b|"
    r"\b(?:question|help|advice|(?:can|could|will|would) you|tell me|let me know|please)\b"
)


def tells_of_oneself(text: str) -> bool:
    """Whether somebody tells of himself, and neither asks nor wants anything ("my name is Sam")."""
    said = [part.strip() for part in re.split(r"(?<=[.!?;])\s+", text.lower().replace("’", "'"))]
    return bool(_FIRST_PERSON.match(said[0])) and not any(map(_WANTS_AN_ANSWER.search, said))
