"""Keeps tables fast and small: by the number of writes, in the writer's thread.

LanceDB makes a version and a file per write and never tidies up by itself; 500 single writes
make a search 25 times slower. After 20 writes to a table it is compacted, its indices take in
the new rows, and versions older than two seconds go. A vector index is built where scanning
starts to cost more than it, and built anew when it has fallen into too many segments: LanceDB adds
one at each compaction and never merges them, nor the files they cover. A table that has grown too
large loses its least useful memories.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

import numpy as np
import pyarrow as pa
from lancedb.index import BTree, IvfFlat, IvfRq
from lancedb.table import LanceTable
from numpy.typing import NDArray

from coda_memory.errors import LANCE_ERRORS, store_error
from coda_memory.record import RECORD, utc_now
from coda_memory.rows import with_records
from coda_memory.search import HALF_LIFE_DAYS
from coda_memory.tables import Tables
from coda_memory.tidying import optimize
from coda_voice.errors import VoiceProcessingError

log = logging.getLogger("coda_memory")

WRITES_BEFORE_OPTIMIZE = 20
KEEP_VERSIONS = timedelta(seconds=2)
"""Long enough for a search that began on an older version, in any process; every version kept
slows down all searches, which look for the newest: a minute's worth made them 1.5 times slower."""
ID_INDEX_ROWS = 10_000
VECTOR_INDEX_ROWS = 10_000
"""Of one user. Below, comparing with every vector is cheap (some 1.2 µs each), and exact."""
BITS = 4
PACKED = 8
"""Numbers of a vector that an index of bits takes together."""
PARTITION_ROWS = 2_000
MOST_PROBES = 100
"""Partitions looked into: all there are of up to 200,000 memories."""
SEGMENTS = 6
"""Of a vector index, before it is built anew; each adds 0.2 ms to every search."""
ROWS_PER_MORE_SEGMENT = 50_000
"""Building takes longer in a large table, so there may be more of them."""
FORGET_SHARE = 0.05
"""Of a full table, so that it is not rewritten at each write from then on."""


class Upkeep:
    """Counts the writes to each table, and does what they make necessary."""

    def __init__(
        self, tables: Tables, max_memories: int, now: Callable[[], datetime] = utc_now
    ) -> None:
        self._tables = tables
        self._max_memories = max_memories
        self._now = now
        self._writes: dict[str, int] = {}
        self.evicted = 0

    def started(self, name: str) -> None:
        """A table was made."""
        self._writes[name] = 1

    def changed(self, name: str) -> None:
        """A table was written to."""
        if name not in self._writes:
            self._writes[name] = self._writes_so_far(name)
        self._writes[name] += 1

    def rewritten(self, name: str) -> None:
        """A table was written anew, and has lost its indices but that of words."""
        self._writes[name] = WRITES_BEFORE_OPTIMIZE

    def due(self) -> list[str]:
        """Tables written to often enough."""
        return [name for name, n in self._writes.items() if n >= WRITES_BEFORE_OPTIMIZE]

    def failed(self, name: str, error: VoiceProcessingError) -> None:
        """Upkeep did not work: say so, and try again after as many writes."""
        self._writes[name] = 0
        log.warning("upkeep of the memory store put off: %s", error.message)

    def run(self, name: str) -> None:
        """Tidy one table up. Under the store's lock."""
        table = self._tables.open(name)
        self._writes[name] = 0
        if table is None:
            return
        try:
            if RECORD not in table.schema.names:
                self._tables.rewrite(name, with_records)
                self.rewritten(name)
                return
            rows = table.count_rows()
            if rows > self._max_memories:
                self._evict(name)
                table = self._tables.open(name)
                if table is None:
                    return
                rows = table.count_rows()
            else:
                optimize(table, self._tables.folder_of(name), KEEP_VERSIONS)
            self._index(table, rows)
            self._tables.outdated(name)
        except LANCE_ERRORS as error:
            self._tables.forget_handle(name)
            raise store_error(error, self._tables.uri, "upkeep") from error

    def _index(self, table: LanceTable, rows: int) -> None:
        segments = _segments(table)
        if rows >= ID_INDEX_ROWS and "id" not in segments:
            self._tables.commit(table, lambda: table.create_index("id", config=BTree()))
        if rows >= VECTOR_INDEX_ROWS:
            most = SEGMENTS + rows // ROWS_PER_MORE_SEGMENT
            if not 1 <= segments.get("vector", 0) <= most:
                # The old one serves searches until the new one is there.
                index = _vector_index(table)
                self._tables.commit(
                    table, lambda: table.create_index("vector", config=index, replace=True)
                )

    def _evict(self, name: str) -> None:
        """Forget the least useful: outdated first, then by importance and age."""
        keep = max(1, self._max_memories - int(self._max_memories * FORGET_SHARE))

        def choose(rows: pa.Table) -> pa.Table:
            best = np.argsort(-usefulness(rows, self._now()), kind="stable")[:keep]
            self.evicted += rows.num_rows - len(best)
            return rows.take(pa.array(np.sort(best)))

        self._tables.rewrite(name, choose)

    def _writes_so_far(self, name: str) -> int:
        """Judge by a table's files how often it was written to, before this process."""
        table = self._tables.open(name)
        if table is None:
            return 0
        try:
            if table.count_rows() >= VECTOR_INDEX_ROWS and "vector" not in _segments(table):
                return WRITES_BEFORE_OPTIMIZE
            return int(table.stats()["fragment_stats"]["num_fragments"])
        except LANCE_ERRORS as error:
            raise store_error(error, self._tables.uri, "upkeep") from error


def _segments(table: LanceTable) -> dict[str, int]:
    """Columns that have an index, with the number of its segments.

    A store of an earlier version has another index of vectors, which is replaced.
    """
    kind = type(_vector_index(table)).__name__
    return {
        column: index.num_segments or 1
        for index in table.list_indices()
        for column in index.columns
        if column != "vector" or index.index_type == kind
    }


def _vector_index(table: LanceTable) -> IvfRq | IvfFlat:
    return vector_index(table.schema.field("vector").type.list_size)


def vector_index(dimension: int) -> IvfRq | IvfFlat:
    """Build parameters: four bits for each number of a vector (RaBitQ, Gao and Long 2024).

    So all vectors of 100,000 memories are compared in the time in which an eighth of them are
    whole, and the nearest once more as they are, by the search. A question is not like
    the memories it asks for: of whole vectors in the nearest eighth of the partitions it found
    as little as half of the ten nearest.

    The size of a partition is given, not their number: LanceDB's upkeep of the index keeps to it,
    and joins partitions to its own 4,096 otherwise. A short training finds as much as LanceDB's
    own (50 rounds over 256 vectors a partition) and takes a third of the time.
    """
    index = IvfFlat if dimension % PACKED else partial(IvfRq, num_bits=BITS)
    return index(
        distance_type="cosine",
        target_partition_size=PARTITION_ROWS,
        sample_rate=64,
        max_iterations=10,
    )


def probes(rows: int) -> int | None:
    """Partitions to look into; None where there is no vector index yet."""
    return None if rows < VECTOR_INDEX_ROWS else MOST_PROBES


def usefulness(rows: pa.Table, now: datetime) -> NDArray[np.float64]:
    """How much each row is worth keeping: importance × recency, outdated ones a tenth."""
    ages = (now.timestamp() - rows["created_at"].cast(pa.int64()).to_numpy() / 1e6) / 86_400
    worth = rows["importance"].to_numpy() * (0.5 + 0.5 * 0.5 ** (ages / HALF_LIFE_DAYS))
    outdated = rows["superseded_at"].is_valid().to_numpy(zero_copy_only=False)
    result: NDArray[np.float64] = np.where(outdated, worth * 0.1, worth)
    return result
