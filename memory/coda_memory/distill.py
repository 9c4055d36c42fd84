"""Facts about the user, read from the user's own words by rules: what works without an LLM.

Only sentences in the first person count; questions, wishes and conditions do not, and nobody
else's words ever get here. Each fact has a subject, such as ``home`` or ``likes chess``: a
newer fact on the same subject supersedes the older.
"""

from __future__ import annotations

import re
from dataclasses import replace

from coda_memory.corrections import as_meant
from coda_memory.doubt import LEAD_IN, asks, takes_back, unsure
from coda_memory.fact_finder import facts_in
from coda_memory.fact_rules import Fact
from coda_memory.supersede import denies_another

_REMEMBER = re.compile(
    LEAD_IN + r"remember (?:that )?(?=(?:my|i|we|our)\b)",
    re.IGNORECASE,
)
ASKED = 0.9
"""Importance of what the user asked to have remembered."""
_THIRD_PERSON = re.compile(r"the user(?:'s| (?P<verb>\w+)) (?P<rest>.+)", re.IGNORECASE)
_IRREGULAR = {
    "is": "am", "was": "was", "has": "have", "does": "do", "no": "no", "cannot": "cannot",
    "can": "can",
}  # fmt: skip
_VERB_ENDING = re.compile(r"(?<=ch)es$|(?<=sh)es$|(?<=o)es$|s$")


def distill(turn: str) -> list[Fact]:
    """Facts in one turn of the user, in the order they were said; usually none or one."""
    facts: dict[str, Fact] = {}
    for sentence in as_meant(turn):
        if takes_back(sentence):
            facts.clear()
        asked = _REMEMBER.match(sentence)
        told_of = sentence[asked.end() :] if asked else sentence
        if sentence.endswith("?") or unsure(told_of) or (asks(sentence) and not asked):
            continue
        # "Remember that I like tea" says that the user likes tea, and that it matters.
        told = facts_in(told_of) if asked else []
        told = [replace(one, importance=max(one.importance, ASKED)) for one in told]
        for fact in told or facts_in(sentence):
            held = facts.get(fact.subject)
            if held is not None and denies_another(fact.text, held.text):
                continue
            facts.pop(fact.subject, None)  # "in Paris. Sorry, in Rome"
            facts[fact.subject] = fact
    return list(facts.values())


def fact_as_ruled(text: str) -> Fact | None:
    """Give the fact that the rules would have made of what ``text`` tells; None if they cannot.

    text: a fact in the third person ("The user lives in Paris."), whoever distilled it.
    """
    if not (told := _THIRD_PERSON.match(text.strip().rstrip("."))):
        return None
    verb, rest = told["verb"], told["rest"]
    if verb is None:
        said = f"my {rest}"
    elif verb in _IRREGULAR:
        said = f"i {_IRREGULAR[verb]} {rest}"
    else:
        said = f"i {_VERB_ENDING.sub('', verb)} {rest}"
    found = facts_in(said)
    return found[0] if len(found) == 1 else None
