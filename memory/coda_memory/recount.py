"""Who corrects a number or a date says no more than that: "two dogs - sorry, three"."""

from __future__ import annotations

import re

from coda_memory.fact_finder import one_thing
from coda_voice.calendar_names import MONTHS_HEARD
from coda_voice.number_names import CARDINAL, ORDINAL

_NUMBER = rf"(?:{CARDINAL}|\d{{1,3}})"
_ORDINAL = rf"(?:{ORDINAL}|\d{{1,2}}(?:st|nd|rd|th))"
_KINDS = tuple(
    re.compile(rf"\b{words}\b", re.IGNORECASE)
    for words in (_NUMBER, _ORDINAL, f"(?:{'|'.join(MONTHS_HEARD)})")
)
_COUNTED = re.compile(rf"(?P<count>an?|{_NUMBER}) (?P<rest>(?:.+ )?)(?P<noun>\w+)", re.IGNORECASE)

_IRREGULAR = {"child": "children", "man": "men", "woman": "women", "person": "people"}
_SINGULAR = {many: one for one, many in _IRREGULAR.items()}


def counted_anew(thing: str, instead: str) -> str | None:
    """Give ``thing`` with another number, ordinal or month, or as many of another thing.

    "two dogs" and "three" are "three dogs", "the third of May" and "June" "the third of June",
    "two dogs" and "three cats" "three cats". None for all else.
    """
    # "Thirty four" are not thirty of anything.
    counted = None if _KINDS[0].fullmatch(thing) else _COUNTED.fullmatch(thing)
    bare = re.sub(r"^the ", "", instead, flags=re.IGNORECASE)
    if counted and _KINDS[0].fullmatch(bare):
        return f"{bare} {counted['rest']}{_noun(counted['noun'], bare)}"
    for kind in _KINDS:
        found = list(kind.finditer(thing))
        if kind.fullmatch(bare) and len(found) == 1 and found[0][0] != thing:
            return thing[: found[0].start()] + bare + thing[found[0].end() :]
    if counted and re.match(rf"{_NUMBER} ", instead, re.IGNORECASE):
        return instead
    return None


def _noun(noun: str, count: str) -> str:
    """Give the one or the many of a noun."""
    if count.casefold() in ("one", "1"):
        return _SINGULAR.get(noun.casefold()) or one_thing(noun)
    if noun.endswith("s") or noun.casefold() in _SINGULAR:
        return noun
    return _IRREGULAR.get(noun.casefold()) or f"{noun}s"
