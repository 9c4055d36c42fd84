"""A newer fact on the same subject supersedes the older; both stay."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from coda_memory.record import Memory


def subjects_of(memories: Iterable[Memory]) -> set[str]:
    """Subjects on which ``memories`` say something."""
    return {m.subject for m in memories if m.subject is not None and m.kind != "turn"}


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
        if memory.subject is not None and memory.kind != "turn" and memory.valid:
            facts[memory.subject].append(memory)
    for same in facts.values():
        same.sort(key=lambda m: (m.created_at, m.id))
        for older, newer in pairwise(same):
            changed[older.id] = _ended(older, newer)
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


def _said_last(fact: Memory, among: Mapping[str, Memory]) -> Memory:
    """Give the newest of the facts that say the same as ``fact``, each in place of the one before.

    If it holds, so does what ``fact`` says.
    """
    seen = {fact.id}
    while fact.superseded_by is not None and fact.superseded_by not in seen:
        newer = among.get(fact.superseded_by)
        if newer is None or _plain(newer.text) != _plain(fact.text):
            break
        fact = newer
        seen.add(fact.id)
    return fact


def _plain(text: str) -> str:
    return " ".join(text.casefold().split()).rstrip(".!")


def _ended(older: Memory, newer: Memory) -> Memory:
    return older.model_copy(update={"superseded_at": newer.created_at, "superseded_by": newer.id})
