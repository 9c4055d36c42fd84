"""Hybrid search over one user's table: meaning and words, then how fresh and how important.

Two rankings, by vector (cosine) and by words (BM25), are fused by reciprocal rank (Cormack,
Clarke and Büttcher 2009; with k = 10 instead of their 60, and words counting half: better on
either half of the questions in tests/integration/test_memory_data). The fused score is weighted
by recency, importance, the time the question names, and by whether something newer is known on
the subject.

People say the same again and again: who has asked "what do I like" thirty times must still be
told. The same words count as one in each ranking and come once, and where they fill it, the
rest is asked for what is no turn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

import numpy as np
import pyarrow as pa
from lancedb.query import MatchQuery
from lancedb.table import LanceTable

from coda_memory.embedding import Vectors
from coda_memory.reading import Opened, Reader
from coda_memory.record import Memory
from coda_memory.rows import Row, Rows, as_memory, rows_found
from coda_memory.sql import listed
from coda_memory.timespan import timespan

Ranking = Literal["hybrid", "vector", "words"]
CANDIDATES = 24
"""Rows taken from each ranking before they are fused."""
NO_TURN = "kind != 'turn'"
REFINED = 1.5
"""So many times as many of the index's nearest are compared again, by their whole vectors."""
CROWDED = 8
"""So many of them with words that others have, too, and the rest of the store is asked again."""
RRF_K = 10
WORDS_SHARE = 0.5
"""What a rank by words counts beside one by vector."""
HALF_LIFE_DAYS = 90.0
RECENCY_SHARE = 0.05
"""How much of the score age can take away: old memories are still memories."""
IMPORTANCE_SHARE = 0.1
IN_TIME = 3.0
"""Factor for a memory from the time that the question names."""
SUPERSEDED = 0.55
"""Factor for what a newer fact has replaced: it is history, not the answer."""
LEAD = 1.01
"""A memory ranks at least this much before the one it supersedes."""
LONGEST_CHAIN = 4
"""Of facts that each superseded the one before; longer ones are not followed."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A memory found: ``relevance`` is its cosine to the query, ``score`` ranks it."""

    memory: Memory
    relevance: float
    recency: float
    score: float
    vector_rank: int | None = None
    word_rank: int | None = None


def search(
    table: LanceTable,
    query: str,
    embed: Callable[[], Vectors],
    limit: int,
    now: datetime,
    reader: Reader,
    *,
    where: str | None = None,
    ranking: Ranking = "hybrid",
    probes: Callable[[int], int | None] = lambda rows: None,
) -> list[Hit]:
    """Search one table; best first.

    embed: gives the query's vector, float32 [dimension], length 1; the search by words goes on
    beside it. where: a condition on columns (never user text). probes: how many partitions of
    the vector index to look into, by the rows of the table; None where there is no index.
    Raises what LanceDB raises.
    """
    wanted = max(CANDIDATES, limit)
    size = reader.ask(table, _size) if ranking != "words" else None
    told = _by_words(reader, table, query, wanted, where) if ranking != "vector" else None
    vector = embed()
    partitions = None if size is None else probes(size.result())

    def ranked(where: str | None, told: Future[pa.Table] | None) -> tuple[Rows, Rows]:
        near = (
            None if size is None else _by_vector(reader, table, vector, wanted, where, partitions)
        )
        by_words = _rows_of(told)  # while the vectors are still being compared
        return _nearest(_rows_of(near), vector)[:wanted], by_words

    by_vector, by_words = ranked(where, told)
    if max(_repeats(by_vector), _repeats(by_words)) >= CROWDED:
        rest = f"{NO_TURN} AND ({where})" if where else NO_TURN
        more = ranked(rest, told and _by_words(reader, table, query, wanted, rest))
        by_vector = _merged(by_vector, more[0], key=_distance)
        by_words = _merged(by_words, more[1], key=lambda row: -float(row["_score"]))
    rows: dict[str, Row] = {}
    fused: dict[str, float] = {}
    ranks: list[dict[str, int]] = []
    for found, share in ((by_vector, 1.0), (by_words, WORDS_SHARE)):
        ranks.append(_ranks(found))
        for row in found:
            key = str(row["id"])
            rows.setdefault(key, row)
            fused[key] = fused.get(key, 0.0) + share / (RRF_K + ranks[-1][key])
    span = timespan(query, now)
    hits = []
    for key, row in rows.items():
        memory = as_memory(row)
        recency = recency_of(memory, now)
        weight = (1 - RECENCY_SHARE) + RECENCY_SHARE * recency
        weight *= (1 - IMPORTANCE_SHARE / 2) + IMPORTANCE_SHARE * memory.importance
        if span is not None and span.holds(memory.created_at):
            weight *= IN_TIME
        if not memory.valid:
            weight *= SUPERSEDED
        hits.append(
            Hit(
                memory,
                _relevance(row, vector),
                recency,
                fused[key] * weight,
                ranks[0].get(key),
                ranks[1].get(key),
            )
        )
    hits = _newest_first(reader, table, _with_history_back(hits), vector, now, where)
    hits.sort(key=lambda hit: (-hit.score, -hit.memory.created_at.timestamp(), hit.memory.id))
    best: dict[tuple[object, ...], Hit] = {}
    for hit in hits:
        best.setdefault(_words_of(vars(hit.memory)), hit)
    return list(best.values())[:limit]


def _with_history_back(hits: Sequence[Hit]) -> list[Hit]:
    """Weigh as superseded a turn of which the fact nearest to the query is, though others hold.

    Who said "I am 78 and I live in Bilbao" and has moved is still 78: asked where, it is history.
    """
    nearest: dict[str, tuple[float, bool]] = {}
    for hit in hits:
        turn = hit.memory.source_id
        if turn and hit.memory.kind != "turn":
            fact = (hit.relevance, not hit.memory.valid)
            nearest[turn] = max(nearest.get(turn, fact), fact)
    outdated = {turn for turn, (_, ended) in nearest.items() if ended}
    return [
        replace(hit, score=hit.score * SUPERSEDED)
        if hit.memory.valid and hit.memory.id in outdated
        else hit
        for hit in hits
    ]


def _words_of(row: Mapping[str, object]) -> tuple[object, ...]:
    """What makes two turns the same: who said which words. All else is only like itself."""
    if row["kind"] != "turn":
        return (row["id"],)
    return row["speaker"], str(row["text"]).casefold().rstrip(".?! ")


def _repeats(rows: Rows) -> int:
    """How many have the words of another one."""
    return len(rows) - len({_words_of(row) for row in rows})


def _ranks(rows: Rows) -> dict[str, int]:
    """The rank of each by its id, from 1; the same words have the same."""
    ranks: dict[tuple[object, ...], int] = {}
    return {str(row["id"]): ranks.setdefault(_words_of(row), len(ranks) + 1) for row in rows}


def _merged(rows: Rows, more: Rows, key: Callable[[Row], float]) -> Rows:
    """Both lists as one ranking, each row once."""
    return sorted({str(row["id"]): row for row in (*rows, *more)}.values(), key=key)


def _newest_first(
    reader: Reader,
    table: LanceTable,
    hits: list[Hit],
    vector: Vectors,
    now: datetime,
    where: str | None,
) -> list[Hit]:
    """Put before each superseded memory what superseded it, found by the query or not.

    What ``where`` leaves out stays out.
    """
    found = {hit.memory.id: hit for hit in hits}
    for _ in range(LONGEST_CHAIN):
        missing = {
            hit.memory.superseded_by
            for hit in found.values()
            if hit.memory.superseded_by is not None and hit.memory.superseded_by not in found
        }
        if not missing:
            break
        rows = _by_ids(reader, table, missing, where).result()
        for row in rows_found(rows):
            memory = as_memory(row)
            found[memory.id] = Hit(memory, _relevance(row, vector), recency_of(memory, now), 0.0)
        if not rows.num_rows:
            break
    for hit in sorted(found.values(), key=lambda hit: hit.memory.created_at):
        newer = found.get(hit.memory.superseded_by or "")
        if newer is not None and found[hit.memory.id].score * LEAD > found[newer.memory.id].score:
            lead = found[hit.memory.id].score / SUPERSEDED * LEAD
            found[newer.memory.id] = replace(found[newer.memory.id], score=lead)
    return list(found.values())


def recency_of(memory: Memory, now: datetime) -> float:
    """1 for now, 0.5 after 90 days, towards 0."""
    days = max(0.0, (now - memory.created_at).total_seconds() / 86_400)
    return math.pow(0.5, days / HALF_LIFE_DAYS)


def _rows_of(asked: Future[pa.Table] | None) -> Rows:
    """What was found; nothing where nothing was asked."""
    return [] if asked is None else rows_found(asked.result())


def _distance(row: Row) -> float:
    return float(row["_distance"])


def _nearest(rows: Rows, vector: Vectors) -> Rows:
    """The nearest first by their whole vectors; an index knows four bits of each number.

    LanceDB's own refining reads the vectors by themselves, before it reads the rows.
    """
    if rows and "vector" in rows[0]:
        for row in rows:
            row["_distance"] = 1.0 - _cosine(row, vector)
        rows.sort(key=_distance)
    return rows


def _relevance(row: Row, vector: Vectors) -> float:
    """The cosine of a row to the query, by the search's own account where it has one."""
    if (distance := row.get("_distance")) is not None:
        return 1.0 - float(distance)
    return _cosine(row, vector)


def _cosine(row: Row, vector: Vectors) -> float:
    """Of two vectors of length 1."""
    return float(np.dot(row["vector"], vector))


async def _size(opened: Opened) -> int:
    return int(await opened.table.count_rows())


def _by_vector(
    reader: Reader,
    table: LanceTable,
    vector: Vectors,
    limit: int,
    where: str | None,
    probes: int | None,
) -> Future[pa.Table]:
    async def run(opened: Opened) -> pa.Table:
        query = opened.table.query().nearest_to(vector).column("vector").distance_type("cosine")
        # The vectors cost a millisecond; where there is no index, the distances are right.
        found = [*opened.columns, "_distance"]
        if probes is None:
            query = query.limit(limit).select(found)
        else:
            query = query.limit(round(limit * REFINED)).nprobes(probes).select([*found, "vector"])
        if where:
            query = query.where(where)
        return await query.to_arrow()

    return reader.ask(table, run)


def _by_words(
    reader: Reader, table: LanceTable, text: str, limit: int, where: str | None
) -> Future[pa.Table] | None:
    if not any(character.isalnum() for character in text):
        return None

    async def run(opened: Opened) -> pa.Table:
        query = opened.table.query().nearest_to_text(MatchQuery(text, "text")).limit(limit)
        query = query.select([*opened.columns, "vector", "_score"])
        if where:
            query = query.where(where)
        return await query.to_arrow()

    return reader.ask(table, run)


def _by_ids(
    reader: Reader, table: LanceTable, ids: set[str], where: str | None
) -> Future[pa.Table]:
    condition = f"id IN ({listed(ids)})"
    if where:
        condition += f" AND {where}"

    async def run(opened: Opened) -> pa.Table:
        query = (
            opened.table.query()
            .where(condition)
            .limit(len(ids))
            .select([*opened.columns, "vector"])
        )
        return await query.to_arrow()

    return reader.ask(table, run)
