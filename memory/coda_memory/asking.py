"""Which subject a question is about, where its words say so: "what is my job", "where do I live".

Only the subjects that ``distill`` gives facts, and only in English. Most questions ask for none
of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_NOT_TO_EAT = (
    r"\b(?:can|may|should|could|must|am) i (?:not |never |be able to |allowed to )*"
    r"(?:eat|drink|cook)\b|"
    r"\bi (?:can't|cannot|can not|shouldn't|should not|must not|mustn't|don't) (?:eat|drink)\b"
)
_ASKED = [
    (re.compile(pattern, re.IGNORECASE), subject)
    for pattern, subject in (
        (r"\bmy name\b(?! of)|\b(?:am i|i am|i'm) called\b|\bwho am i\b", "name"),
        (
            r"\bwhere (?:(?:do|did|am) )?(?:i|we) (?:live|living|based)\b|\bmy (?:home|address)\b|"
            r"\b(?:which|what) (?:town|city|country|village|suburb)\b.*\b(?:i|we|our|my)\b",
            "home",
        ),
        (r"\bfor a living\b|\bmy (?:job|profession|occupation|work)\b|\bwhat do i work\b", "job"),
        (r"\bwhere (?:do )?i work\b|\bmy (?:employer|workplace|company)\b", "workplace"),
        (r"\bhow old (?:am i|i am)\b|\bmy age\b", "age"),
        (r"\bmy birthday\b|(?<!where )\bwas i born\b", "birthday"),
        (r"(?<!where )\bwas i born\b", "born when"),
        (r"\bwhere (?:was i|i was) born\b|\bmy birthplace\b", "born where"),
        (r"\b(?:did i|i) (?:grow|grew) up\b", "grew up"),
        (r"\b(?:left|right)[- ]handed\b|\b(?:which|what) hand\b", "handed"),
        (r"\bmy pronouns\b", "pronouns"),
        (r"\b(?:afraid|scared|frightened) of\b|\bmy fears?\b", "afraid"),
        (
            r"\bmy (?:religion|faith)\b|"
            r"\bam i (?:religious|catholic|muslim|jewish|hindu|an? (?:\w+ )?christian)\b",
            "faith",
        ),
        (r"\bwhere (?:am i|i am|i'm) from\b", "origin"),
        (r"\ballerg|" + _NOT_TO_EAT, "allergic"),
        (r"\b(?:vegetarian|vegan|diet)\b|\bdo i eat meat\b|" + _NOT_TO_EAT, "diet"),
        (_NOT_TO_EAT, "consumes"),
        (r"\b(?:diet|coeliac|celiac|diabetic|lactose|pregnant)\b", "health"),
        (r"\b(?:married|single|divorced)\b", "family status"),
        (r"^(?!.*\bwhere\b).*\bmy car\b|\bdo i drive\b", "car"),
        # Nothing behind it: "what food do i like" and "do i like" something are of one thing.
        (
            r"(?:^|\b(?:know|tell me|remember|say) )what "
            r"(?:(?:else )?(?:do )?|(?:is it|things|are the things|it is) (?:that )?(?:do )?)"
            r"(?:i|we) (?:really )?(?:like|love|enjoy)(?: (?:best|most))?\W*$",
            "likes",
        ),
    )
]
_CALLED = re.compile(
    r"\bmy ([a-z]+)(?:'s name| called)|(?:is|are) my ([a-z]+) called|name of my ([a-z]+)",
    re.IGNORECASE,
)
_HOW_OLD = re.compile(r"\bhow old (?:is|are) my ([a-z]+)", re.IGNORECASE)
_FAVOURITE = re.compile(r"\bfavou?rite ([a-z]+)", re.IGNORECASE)


def asked_subjects(question: str) -> set[str]:
    """Give the subjects of facts that a question asks for; of some only the first word."""
    found = {subject for pattern, subject in _ASKED if pattern.search(question)}
    for match in _CALLED.finditer(question):
        what = next(group for group in match.groups() if group)
        found.add(f"name of {what.casefold()}")
    found |= {f"age of {match[1].casefold()}" for match in _HOW_OLD.finditer(question)}
    found |= {f"favourite {match[1].casefold()}" for match in _FAVOURITE.finditer(question)}
    return found


def answers(subjects: Iterable[str], asked: set[str]) -> bool:
    """Tell whether one of ``subjects`` is among those asked for; "my name" is not my dog's."""
    return any(
        subject == wanted
        or (subject.startswith(f"{wanted} ") and not subject.startswith(f"{wanted} of "))
        for subject in subjects
        for wanted in asked
    )
