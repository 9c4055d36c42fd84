"""What a write changes of what is stored: facts end, or hold again, and the turns with them."""

from __future__ import annotations

from collections.abc import Sequence

from lancedb.table import LanceTable

from coda_memory.record import COLUMNS, Memory
from coda_memory.rows import as_memory
from coda_memory.sql import listed
from coda_memory.supersede import may_end, subjects_of, superseded, taken_back


def changed_by(table: LanceTable, new: Sequence[Memory], takes_back: str = "") -> dict[str, Memory]:
    """Give what changes, by id, of what ``table`` holds and of ``new``, which is to be written.

    takes_back: the id of a turn that ``new`` takes back ("just kidding").
    """
    sources = {m.source_id for m in new if m.source_id} - {m.id for m in new}
    untold = _of_turns(table, {takes_back}) if takes_back else {}
    subjects = may_end(subjects_of([*new, *untold.values()]))
    known = {**untold, **(_on_subjects(table, subjects, sources) if subjects else {})}
    gone = taken_back(takes_back, known, new[0].created_at) if untold and new else {}
    known.update(gone)
    return {**gone, **superseded(list(known.values()), new)}


def _on_subjects(table: LanceTable, subjects: set[str], turns_of_new: set[str]) -> _Found:
    """Facts on ``subjects``, the turns they came from and ``turns_of_new``.

    With them all other facts from these turns, and their history.
    """
    found = _where(table, f"kind != 'turn' AND subject IN ({listed(subjects)})")
    if not found:
        return found
    sources = {fact.source_id for fact in found.values() if fact.source_id} | turns_of_new
    if sources:
        found |= _of_turns(table, sources)
    if others := subjects_of(found.values()) - subjects:
        found |= _where(table, f"kind != 'turn' AND subject IN ({listed(others)})")
    return found


def _of_turns(table: LanceTable, turns: set[str]) -> _Found:
    """Turns, and what was read from them."""
    return _where(table, f"id IN ({listed(turns)}) OR source_id IN ({listed(turns)})")


def _where(table: LanceTable, condition: str) -> _Found:
    rows = table.search().where(condition).select(COLUMNS).to_arrow().to_pylist()
    return {row["id"]: as_memory(row) for row in rows}


_Found = dict[str, Memory]
