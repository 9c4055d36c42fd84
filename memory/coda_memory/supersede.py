"""A newer fact on the same subject supersedes the older; both stay, until the newer is taken back.

But who lives in Berlin, and says that he no longer lives in Paris, lives in Berlin: what is denied
must be what was said.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from coda_memory.record import Memory

_DENIES = re.compile(
    r"the user(?: no longer (?:lives (?:in|near|at|on(?: the)?)|works (?:at|for|in|as an?)|"
    r"drives(?: an?)?)| is not(?: an?)?|'s name is not|"
    r"'s (?:favou?rite [\w ]+? is not|[\w '-]+? is not called)) (?P<what>.+)",
    re.IGNORECASE,
)
_NO_NAMES = "a all an any anybody anyone anywhere at his her my our that the their"
_WITHOUT_WORK = tuple(
    f"The user {is_so}" for is_so in ("lost or left", "is retired", "is unemployed")
)
_SOME = frozenset(_NO_NAMES.split())
"""How what is no name begins: "the bank" may well be the one that was said by name."""


def subjects_of(memories: Iterable[Memory]) -> set[str]:
    """Subjects on which ``memories`` say something."""
    return {subject for memory in memories for subject in _subjects(memory)}


def _subjects(memory: Memory) -> list[str]:
    """Give the subject of a fact; who sold "the car" drives it no more, whatever it was.

    Who has no job works nowhere, and who eats meat again is no vegetarian.
    """
    if memory.subject is None or memory.kind == "turn":
        return []
    if memory.subject == "has car" and not memory.text.startswith("The user has "):
        return [memory.subject, "car"]
    if memory.subject == "consumes meat" and memory.text.startswith("The user does eat "):
        return [memory.subject, "diet"]
    if memory.subject == "job" and memory.text.startswith(_WITHOUT_WORK):
        return [memory.subject, "workplace"]
    return [memory.subject]


_ENDED_BY = {"workplace": "job", "diet": "consumes meat"}


def may_end(subjects: set[str]) -> set[str]:
    """Give the subjects of stored facts that facts on ``subjects`` may end.

    Who works at Bosch has not lost his job any more, which was told of the job.
    """
    return subjects | {ended for subject, ended in _ENDED_BY.items() if subject in subjects}


def superseded(known: Sequence[Memory], new: Sequence[Memory]) -> dict[str, Memory]:
    """Give what changes, by id: memories of either list that something newer replaces.

    ``known`` holds the facts on the subjects of ``new``, with their history, the turns they came
    from, and the same of all other facts from these turns. A turn is superseded with the last of
    its facts; a fact that is only said again takes the place of the older one and ends no turn.
    """
    changed: dict[str, Memory] = {}
    given = {m.id: m for m in (*known, *new)}
    facts: dict[str, list[Memory]] = defaultdict(list)
    for memory in given.values():
        for subject in _subjects(memory) if memory.valid else ():
            facts[subject].append(memory)
    for same in facts.values():
        holds, *later = sorted(same, key=lambda m: (m.created_at, m.id))
        for newer in later:
            if denies_another(newer.text, holds.text):
                changed[newer.id] = _ended(newer, holds, newer.created_at)
            else:
                changed[holds.id] = _ended(holds, newer, newer.created_at)
                holds = newer
    after = {**given, **changed}
    by_source: dict[str, list[Memory]] = defaultdict(list)
    for memory in after.values():
        if memory.kind != "turn" and memory.source_id is not None:
            by_source[memory.source_id].append(_said_last(memory, after))
    for turn in given.values():
        own = by_source.get(turn.id, [])
        if turn.kind == "turn" and turn.valid and own and not any(fact.valid for fact in own):
            last = max(own, key=lambda fact: fact.superseded_at or fact.created_at)
            changed[turn.id] = turn.model_copy(
                update={
                    "superseded_at": last.superseded_at,
                    "superseded_by": last.superseded_by,
                }
            )
    return changed


def taken_back(turn: str, known: Mapping[str, Memory], at: datetime) -> dict[str, Memory]:
    """Give what changes, by id, where the user takes back a turn (given by its id) as not meant.

    What was read from it ends, with nothing newer in its place, and what this had superseded holds
    again, or is superseded by what came after. ``known`` holds the turn, and what ``superseded``
    is given.
    """
    gone = {m.id: m for m in known.values() if turn in (m.id, m.source_id)}
    changed = {
        m.id: m.model_copy(update={"superseded_at": m.superseded_at or at, "superseded_by": None})
        for m in gone.values()
    }
    for memory in known.values():
        if memory.id in gone or memory.superseded_by not in gone:
            continue
        last = memory
        for _ in gone:  # an imported file may have facts that end each other
            last = gone.get(last.superseded_by or "", last)
        changed[memory.id] = memory.model_copy(
            update={"superseded_at": last.superseded_at, "superseded_by": last.superseded_by}
        )
    after = {**known, **changed}
    for fact in after.values():
        source = after.get(fact.source_id or "")
        # A turn that ended with this fact, or with one that says the same, ended with others too.
        if source is None or source.superseded_by is None or not _said_last(fact, after).valid:
            continue
        changed[source.id] = source.model_copy(
            update={"superseded_at": None, "superseded_by": None}
        )
    return changed


def denies_another(newer: str, older: str) -> bool:
    """Tell whether ``newer`` denies something by name that ``older`` does not say.

    Both on one subject: "The user no longer lives in Paris." and "The user lives in Berlin."
    """
    denied = _DENIES.match(newer)
    if denied is None or _DENIES.match(older):
        return False
    words = re.findall(r"\w+", denied["what"].casefold())
    said = re.findall(r"\w+", older.casefold())
    return words[0] not in _SOME and set(words).isdisjoint(said) if words else False


def _said_last(fact: Memory, among: Mapping[str, Memory]) -> Memory:
    """Give the newest of the facts that say the same as ``fact``, each in place of the one before.

    If it holds, so does what ``fact`` says.
    """
    seen = {fact.id}
    while fact.superseded_by is not None and fact.superseded_by not in seen:
        newer = among.get(fact.superseded_by)
        if newer is None or plain(newer.text) != plain(fact.text):
            break
        fact = newer
        seen.add(fact.id)
    return fact


def plain(text: str) -> str:
    """``text`` without what makes no difference: two facts of the same plain text say the same."""
    return " ".join(text.casefold().split()).rstrip(".!")


def _ended(memory: Memory, by: Memory, at: datetime) -> Memory:
    return memory.model_copy(update={"superseded_at": at, "superseded_by": by.id})
