"""Which of what one turn told answers a question: the turn, or some of the facts read from it.

"My wife is called Eve and my dog is called Rex" says two things of which mostly one is asked
for, and "we parked on level three and I have a dog" one that no fact tells.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from coda_memory.asking import answers, asked_subjects
from coda_memory.search import Hit

AS_NEAR = 0.05
"""A fact whose cosine is behind the nearest one's by no more answers as well as that."""
_COMMON_WORDS = (
    "a an the i me my mine you your it its is are was were be been do does did have has had "
    "of in on at to for from by with what which who whom whose when where why how and or but "
    "not no that this there as if so then than too very can could should would will may might "
    "must about any more most we our us they them their he his she her user s t m like "
)
_COMMON = frozenset(_COMMON_WORDS.split())


def stems(text: str) -> set[str]:
    """Give the words of ``text`` that say what it is about, without their endings."""
    return {
        re.sub(r"(?:ing|ed|es|s|e)$", "", word)
        for word in re.findall(r"[^\W_]+", text.casefold())
        if word not in _COMMON and len(word) > 1
    }


def says_more(question: str, turn: str, facts: Iterable[str]) -> bool:
    """Whether ``turn`` has words of the question that none of its facts has."""
    told = {word for fact in facts for word in stems(fact)}
    return bool((stems(question) & stems(turn)) - told)


def telling(question: str, hits: Sequence[Hit], *, whole: bool = True) -> list[Hit]:
    """Choose among ``hits``, which all come from one turn, those that answer; never none.

    whole: whether all that the turn says still holds. Otherwise its facts are told in its place.
    """
    if len(hits) == 1:
        return [*hits]
    turns = [hit for hit in hits if hit.memory.kind == "turn"]
    facts = [hit for hit in hits if hit.memory.kind != "turn"]
    wanted = asked_subjects(question)
    on_subject = [hit for hit in facts if answers([hit.memory.subject or ""], wanted)]
    if on_subject or not facts:
        return on_subject or [*hits]
    texts = [hit.memory.text for hit in facts]
    if turns and whole and says_more(question, turns[0].memory.text, texts):
        return turns
    nearest = max(hit.relevance for hit in facts)
    return [hit for hit in facts if hit.relevance >= nearest - AS_NEAR]
