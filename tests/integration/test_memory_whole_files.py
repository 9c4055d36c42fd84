"""A commit whose file a full disk has cut off is taken back."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import lancedb
import pyarrow as pa
import pytest
from coda_memory import tables as tables_module
from coda_memory.errors import MemoryStoreError
from coda_memory.tables import Tables
from coda_memory.upkeep import KEEP_VERSIONS
from coda_memory.whole_files import back_to_now, committed_whole
from lancedb.table import LanceTable

A_LITTLE = pa.table({"id": ["a", "b", "c"], "text": ["chess", "tea", "milk"]})


def cut(data: Path, known: set[Path]) -> None:
    """What a full disk does to a file that was just written."""
    (new,) = {path for path in data.iterdir() if path.suffix == ".lance"} - known
    os.truncate(new, new.stat().st_size // 2)


class FullDisk:
    """A LanceDB connection on a disk that has no room for the end of a new table's file."""

    def __init__(self, db: lancedb.DBConnection, folder: Path) -> None:
        self._db, self._folder = db, folder

    def create_table(self, name: str, *arguments: Any, **rest: Any) -> LanceTable:
        data = self._folder / f"{name}.lance" / "data"
        known = set(data.iterdir()) if data.is_dir() else set()
        table = self._db.create_table(name, *arguments, **rest)
        cut(data, known)
        return table

    def __getattr__(self, name: str) -> Any:
        return getattr(self._db, name)


def texts(tables: Tables) -> set[str]:
    tables.forget_handle("memories")
    table = tables.open("memories")
    return set() if table is None else {row["text"] for row in table.search().to_list()}


def test_a_commit_with_half_a_file_is_no_commit(tmp_path: Path):
    table = lancedb.connect(tmp_path).create_table("memories", [{"id": "a", "text": "chess"}])
    data = tmp_path / "memories.lance" / "data"

    def cut_off() -> None:
        known = set(data.iterdir())
        table.add([{"id": "b", "text": "tea"}])
        cut(data, known)

    with pytest.raises(OSError, match="No space left"):
        committed_whole(data, cut_off, back_to_now(table))
    assert [row["id"] for row in table.search().to_list()] == ["a"]
    add = [{"id": "c", "text": "milk"}]
    committed_whole(data, lambda: table.add(add), back_to_now(table))
    assert {row["id"] for row in table.search().to_list()} == {"a", "c"}


def test_a_first_write_that_is_cut_off_leaves_no_table(tmp_path, monkeypatch):
    tables = Tables(str(tmp_path))
    with monkeypatch.context() as full:
        full.setattr(tables, "_db", FullDisk(tables._db, tmp_path))
        with pytest.raises(MemoryStoreError, match="space"):
            tables.create("memories", A_LITTLE)
    assert texts(tables) == set()
    tables.create("memories", A_LITTLE)
    assert texts(tables) == {"chess", "tea", "milk"}


def test_a_rewrite_that_is_cut_off_loses_nothing(tmp_path, monkeypatch):
    tables = Tables(str(tmp_path))
    tables.create("memories", A_LITTLE)
    with monkeypatch.context() as full:
        full.setattr(tables, "_db", FullDisk(tables._db, tmp_path))
        with pytest.raises(MemoryStoreError, match="space"):
            tables.rewrite("memories", lambda rows: rows.slice(0, 2))
    assert texts(tables) == {"chess", "tea", "milk"}
    tables.rewrite("memories", lambda rows: rows.slice(0, 2))
    assert texts(tables) == {"chess", "tea"}


def test_upkeep_drops_no_version_for_a_file_that_is_cut_off(tmp_path, monkeypatch):
    tables = Tables(str(tmp_path))
    table = tables.create("memories", A_LITTLE)
    for number in range(3):
        table.add(pa.table({"id": [f"d{number}"], "text": [f"cake {number}"]}))
    before, data = texts(tables), tables.data_of("memories")
    assert data is not None
    clean = tables_module._clean

    def merge_on_a_full_disk(table: LanceTable, *arguments: Any) -> None:
        known = set(data.iterdir())
        clean(table, *arguments)
        cut(data, known)

    with monkeypatch.context() as full:
        full.setattr(tables_module, "_clean", merge_on_a_full_disk)
        with pytest.raises(OSError, match="No space left"):
            tables_module.optimize(table, data, KEEP_VERSIONS)
    assert texts(tables) == before
    tables_module.optimize(table, data, KEEP_VERSIONS)
    assert texts(tables) == before
