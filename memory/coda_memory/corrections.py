"""Who puts himself right: "I live in Bern - sorry, Berlin", or the same in two turns.

What was corrected is read as if it had been said rightly at once ("I live in Berlin"), so that a
correction is a fact only where the rules would read one.
"""

from __future__ import annotations

import re

from coda_memory.coordination import in_full
from coda_memory.doubt import LONGEST_TURN, asks, sentences, unsure
from coda_memory.fact_finder import Found, found_in
from coda_memory.recount import counted_anew

_CLEAR = r"(?:sorry|i mean|i meant|i meant to say|i said|or rather)"
_BARE = (
    r"(?:no|wait|make that|actually(?! (?:an?|the|near|quite|pretty|close|by|with|on|for|since|"
    r"right|still|also|too|very)\b))"
)
"""Only in the same breath: later, "no, coffee" answers a question."""
_BEFORE = r"(?:(?:oh|uh|um|no|wait|well|sorry)[\s,]+)*"
_NO_NAME = (
    r"(?!(?:about|again|all|and|as|because|both|bye|can|coda|could|dad|darling|dear|did|do|does|doubt|everyone|for|go|"
    r"guys|have|he|hello|hey|hi|hold|honey|how|i|i'm|idea|if|is|it|just|kidding|later|let|like|longer|love|mate|matter|"
    r"maybe|mom|more|mum|never|no|not|nothing|ok|okay|one|please|problem|really|say|she|sir|so|sorry|stop|sure|tell|"
    r"thank|thanks|that|that's|they|this|to|too|us|very|wait|was|way|we|well|were|what|when|where|who|why|will|worries|"
    r"would|yeah|yep|yes|you|you're|your)\b)"
)
_INSTEAD = (
    r"[\s,]+(?:(?:it's|it is|in|at|as|from|not [\w'-]+(?: but)?)\s+)?"
    + _NO_NAME
    + r"(?P<instead>[\w'-]+(?:\s+[\w'-]+){0,2}?)(?:\s+not [\w'-]+)?[\s.!]*$"
)
_LATER = re.compile(rf"^\W*{_BEFORE}{_CLEAR}{_INSTEAD}", re.IGNORECASE)
_AT_ONCE = re.compile(rf"[\s,;-]+(?P<mark>{_BEFORE}(?:{_CLEAR}|{_BARE})){_INSTEAD}", re.IGNORECASE)
_ARTICLE = re.compile(r"(?:an?|the)\s+", re.IGNORECASE)
_REST = re.compile(r"(?: years old)?$", re.IGNORECASE)
"""What may stand between a thing and its correction: "forty years old sorry forty one"."""


def as_meant(turn: str) -> list[str]:
    """Split a turn into its sentences, each in full and as it was put right in the same turn."""
    meant: list[str] = []
    for sentence in map(in_full, sentences(turn)):
        found = _LATER.match(sentence)
        last = _last(meant[-1]) if meant and found else None
        right = _instead(meant[-1], last, found["instead"]) if last and found else None
        if right:
            meant[-1] = right
        else:
            meant.append(_at_once(sentence))
    return meant


def put_right(turn: str, before: str) -> str:
    """Give what a turn makes of the turn ``before``: "sorry Berlin" after "I live in Bern".

    Gives ``turn`` itself if it corrects nothing. Of what there may be many things, such as likings,
    it cannot be said later which of them was wrong.
    """
    found = _LATER.match(turn[:LONGEST_TURN].replace("’", "'"))
    if found is None:
        return turn
    for said in reversed(as_meant(before)):
        there = [] if asks(said) or unsure(said) else found_in(said)
        for last in reversed(there):
            if last.single or counted_anew(said[last.start : last.end], found["instead"]):
                begins = max((one.end for one in there if one.end <= last.start), default=0)
                # Nothing else of that turn is said again.
                right = _instead(said[: last.end], last, found["instead"])
                return right[begins:] if right else turn
    return turn


def _at_once(sentence: str) -> str:
    for mark in _AT_ONCE.finditer(sentence):
        said, clear = sentence[: mark.start()], re.search(_CLEAR, mark["mark"], re.IGNORECASE)
        last = _last(said)
        if last is None or _REST.fullmatch(said, last.end) is None:
            continue
        counted = counted_anew(said[last.start : last.end], mark["instead"])
        if clear or last.single or counted:
            return _instead(said, last, mark["instead"]) or sentence
    return sentence


def _last(sentence: str) -> Found | None:
    found = found_in(sentence)
    return found[-1] if found else None


def _instead(said: str, last: Found, instead: str) -> str | None:
    """Give ``said`` with another thing in place of the last; None where that tells nothing."""
    thing = said[last.start : last.end]
    counted = counted_anew(thing, instead)
    if counted is None and not _ARTICLE.match(thing):
        instead = _ARTICLE.sub("", instead, count=1)
    rest = "" if instead.endswith(" years old") else said[last.end :]
    right = said[: last.start] + (counted or instead) + rest
    return right if _last(right) else None
