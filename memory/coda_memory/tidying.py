"""Tidying a table up: small files merged, indices brought up to date, versions dropped."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pyarrow as pa
from lancedb.index import FTS
from lancedb.table import LanceTable

from coda_memory.sql import listed
from coda_memory.whole_files import back_to_now, committed_whole, files_of

NOW = timedelta(milliseconds=1)
"""Versions older than this are removed; for zero LanceDB would warn each time."""
MERGES = 5
"""At most so many in a row; the second has found nothing to do so far, or the third."""
ALL_VERSIONS = timedelta(days=365_000)
"""Nothing is older."""


def index_words(table: LanceTable) -> None:
    """Build the BM25 index: English stems, accents folded, stop words left out."""
    table.create_index("text", config=FTS(with_position=False), replace=True)


def optimize(table: LanceTable, folder: Path | None, keep_versions: timedelta) -> None:
    """Merge small files, take new rows into the indices, drop versions older than that.

    No version goes before the files that replace it, in ``folder``, are known to be whole.
    """
    merge(table, folder)
    clean(table, keep_versions)


def merge(table: LanceTable, folder: Path | None) -> None:
    """Merge and index until nothing is left to write, and every file is known to be whole.

    LanceDB may find more to do the second time; what drops versions must find nothing.
    """
    for _ in range(MERGES):
        before = None if folder is None else files_of(folder)
        committed_whole(folder, lambda: clean(table, ALL_VERSIONS), back_to_now(table))
        if folder is None or files_of(folder) == before:
            return


def clean(table: LanceTable, older_than: timedelta, everything: bool = False) -> None:
    """Merge and index once, and drop older versions; ``everything``: also files of nobody.

    Readers of a version removed under them fail: ours open the table afresh and read again.
    """
    table.optimize(cleanup_older_than=older_than, delete_unverified=everything)


def follow(table: LanceTable, before: int, seen: pa.Table) -> None:
    """Do to ``table`` what others did to it between reading ``seen`` and version ``before``.

    On object storage no lock holds them off while the table is being replaced.
    """
    table.checkout(before)
    latest = table.search().to_arrow()
    table.checkout_latest()
    known, there = set(seen["id"].to_pylist()), set(latest["id"].to_pylist())
    added = latest.filter(pa.array([row not in known for row in latest["id"].to_pylist()]))
    if added.num_rows:
        table.add(added)
    if gone := sorted(known - there):
        table.delete(f"id IN ({listed(gone)})")
