"""A newer fact on the same subject supersedes the older; both stay."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise

from coda_memory.record import Memory


def subjects_of(memories: Iterable[Memory]) -> set[str]:
    """Subjects on which ``memories`` say something."""
    return {m.subject for m in memories if m.subject is not None and m.kind != "turn"}


def superseded(known: Sequence[Memory], new: Sequence[Memory]) -> dict[str, Memory]:
    """Give what changes, by id: memories of either list that something newer replaces.

    ``known`` holds the valid facts on the subjects of ``new``, and the turns they came from.
    A turn is superseded with the last of its facts.
    """
    changed: dict[str, Memory] = {}
    facts: dict[str, list[Memory]] = defaultdict(list)
    for memory in {m.id: m for m in (*known, *new)}.values():
        if memory.subject is not None and memory.kind != "turn" and memory.valid:
            facts[memory.subject].append(memory)
    for same in facts.values():
        same.sort(key=lambda m: (m.created_at, m.id))
        for older, newer in pairwise(same):
            changed[older.id] = _ended(older, newer)
    by_source: dict[str, list[Memory]] = defaultdict(list)
    turns = {}
    for memory in (*known, *new):
        if memory.kind == "turn":
            turns[memory.id] = memory
        elif memory.source_id is not None:
            by_source[memory.source_id].append(changed.get(memory.id, memory))
    for turn in turns.values():
        own = by_source.get(turn.id, [])
        if turn.valid and own and not any(fact.valid for fact in own):
            changed[turn.id] = turn.model_copy(
                update={
                    "superseded_at": max(f.superseded_at for f in own if f.superseded_at),
                    "superseded_by": own[-1].superseded_by,
                }
            )
    return changed


def _ended(older: Memory, newer: Memory) -> Memory:
    return older.model_copy(update={"superseded_at": newer.created_at, "superseded_by": newer.id})
