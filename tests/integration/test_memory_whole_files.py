"""A commit whose file a full disk has cut off is taken back."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import lancedb
import pyarrow as pa
import pytest
from coda_memory import MemoryStore, tidying
from coda_memory.embedding import HASHED_WORDS
from coda_memory.errors import MemoryStoreError
from coda_memory.tables import INFO, Tables
from coda_memory.upkeep import KEEP_VERSIONS
from coda_memory.whole_files import back_to_now, committed_whole, files_of
from lancedb.table import LanceTable

A_LITTLE = pa.table({"id": ["a", "b", "c"], "text": ["chess", "tea", "milk"]})


def cut(folder: Path, known: set[Path], part: str = "data") -> None:
    """What a full disk does to files that were just written."""
    new = {path for path in files_of(folder) - known if part in path.parts}
    assert new
    for path in new:
        os.truncate(path, path.stat().st_size // 2)


class FullDisk:
    """A LanceDB connection on a disk that has no room for the end of a new table's file."""

    def __init__(self, db: lancedb.DBConnection, folder: Path) -> None:
        self._db, self._folder = db, folder

    def create_table(self, name: str, *arguments: Any, **rest: Any) -> LanceTable:
        folder = self._folder / f"{name}.lance"
        known = files_of(folder)
        table = self._db.create_table(name, *arguments, **rest)
        cut(folder, known)
        return table

    def __getattr__(self, name: str) -> Any:
        return getattr(self._db, name)


def texts(tables: Tables) -> set[str]:
    tables.forget_handle("memories")
    table = tables.open("memories")
    return set() if table is None else {row["text"] for row in table.search().to_list()}


def test_a_commit_with_half_a_file_is_no_commit(tmp_path: Path):
    table = lancedb.connect(tmp_path).create_table("memories", [{"id": "a", "text": "chess"}])
    folder = tmp_path / "memories.lance"

    def cut_off() -> None:
        known = files_of(folder)
        table.add([{"id": "b", "text": "tea"}])
        cut(folder, known)

    with pytest.raises(OSError, match="No space left"):
        committed_whole(folder, cut_off, back_to_now(table))
    assert [row["id"] for row in table.search().to_list()] == ["a"]
    add = [{"id": "c", "text": "milk"}]
    committed_whole(folder, lambda: table.add(add), back_to_now(table))
    assert {row["id"] for row in table.search().to_list()} == {"a", "c"}


@pytest.mark.parametrize("part", ["data", "_versions"])
def test_with_no_room_even_to_undo_it_the_commit_is_removed(tmp_path, monkeypatch, part):
    db = lancedb.connect(tmp_path)
    table = db.create_table("memories", [{"id": "a", "text": "chess"}])
    folder = tmp_path / "memories.lance"

    def cut_off() -> None:
        known = files_of(folder)
        table.add([{"id": "b", "text": "tea"}])
        cut(folder, known, part)

    def no_room(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no room for a version")

    with monkeypatch.context() as full:
        full.setattr(LanceTable, "restore", no_room)
        with pytest.raises(OSError, match="No space left"):
            committed_whole(folder, cut_off, back_to_now(table))
    table = db.open_table("memories")
    assert [row["id"] for row in table.search().to_list()] == ["a"]
    table.add([{"id": "c", "text": "milk"}])
    assert {row["id"] for row in table.search().to_list()} == {"a", "c"}


def test_what_a_failed_write_has_committed_is_taken_back(tmp_path):
    table = lancedb.connect(tmp_path).create_table("memories", [{"id": "a", "text": "chess"}])

    def half() -> None:
        table.add([{"id": "b", "text": "tea"}])
        raise OSError("and the next step failed")

    with pytest.raises(OSError, match="the next step failed"):
        committed_whole(tmp_path / "memories.lance", half, back_to_now(table))
    assert [row["id"] for row in table.search().to_list()] == ["a"]


def test_a_first_write_cut_short_leaves_files_but_no_damaged_table(tmp_path):
    """A full disk, or a killed process, before the first version was written."""
    for name in ("memories", INFO):
        (tmp_path / f"{name}.lance" / "data").mkdir(parents=True)
        (tmp_path / f"{name}.lance" / "data" / "left.lance").write_bytes(b"half")
    tables = Tables(str(tmp_path))
    assert tables.info() == {} and texts(tables) == set()
    tables.write_info(format="1", model="one")
    tables.create("memories", A_LITTLE)
    assert tables.info()["model"] == "one" and texts(tables) == {"chess", "tea", "milk"}


def test_who_reads_a_commit_that_is_being_taken_back_waits_for_that(tmp_path):
    with MemoryStore(tmp_path, HASHED_WORDS) as store, ThreadPoolExecutor(1) as another:
        store.user("ada").remember("I like chess.")
        name = store.tables.name_of(store.user("ada")._owner)
        table, folder = store.tables.open(name), store.tables.folder_of(name)
        assert table is not None and folder is not None
        known, lock, waits = files_of(folder), store.tables.lock, threading.Event()

        def told() -> AbstractContextManager[None]:
            waits.set()
            return lock()

        with lock():
            undo = back_to_now(table)
            table.add(table.search().to_arrow())
            cut(folder, known)
            store.tables.lock = told  # type: ignore[method-assign]
            read = another.submit(store.user("ada").list)
            assert waits.wait(60)
            undo.back()
        assert [memory.kind for memory in read.result()] == ["turn", "preference"]


KILLED = """
import os, sys
import pyarrow as pa
from coda_memory import whole_files
from coda_memory.tables import INFO, Tables
from tests.integration.test_memory_whole_files import FullDisk

folder, write = sys.argv[1:]
whole_files._take_back = lambda *_: os._exit(9)
tables = Tables(folder)
tables._db = FullDisk(tables._db, tables.local)
if write == "first":
    tables.create("memories", pa.table({"id": ["d"], "text": ["cake"]}))
elif write == "rewrite":
    tables.rewrite("memories", lambda rows: rows.slice(0, 2))
else:
    tables.write_info(purge="somebody")
"""


@pytest.mark.parametrize("write", ["first", "rewrite", "info"])
def test_what_a_killed_process_could_not_take_back_the_next_one_does(tmp_path, write):
    tables = Tables(str(tmp_path))
    tables.write_info(format="1", model="one")
    if write != "first":
        tables.create("memories", A_LITTLE)
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path), write], cwd=Path(__file__).parents[2],
        check=False,
    )  # fmt: skip
    assert done.returncode == 9
    tables = Tables(str(tmp_path))
    known = set() if write == "first" else {"chess", "tea", "milk"}
    assert texts(tables) == known and tables.info() == {"format": "1", "model": "one"}
    if write == "first":
        tables.create("memories", A_LITTLE)
    else:
        tables.rewrite("memories", lambda rows: rows.slice(0, 2))
        tables.write_info(model="two")
    assert texts(Tables(str(tmp_path))) and not list(tmp_path.glob("*.writing"))


def test_a_memory_cut_off_in_a_process_that_is_killed_then_leaves_the_others(tmp_path):
    """The handle that another process had open finds its way back, too."""
    with MemoryStore(tmp_path, HASHED_WORDS) as store:
        ada = store.user("ada")
        ada.remember("I like chess.")
        name = store.tables.name_of(ada._owner)
        table, folder = store.tables.open(name), store.tables.folder_of(name)
        assert table is not None and folder is not None
        version = table.version
        known = files_of(folder)
        table.add(table.search().to_arrow())
        cut(folder, known)
        folder.with_suffix(".writing").write_text(str(version))
        assert [memory.kind for memory in ada.list()] == ["turn", "preference"]
        ada.remember("I like tea.")
        assert {"I like chess.", "I like tea."} <= {memory.text for memory in ada.list()}


def test_no_moment_of_a_full_disk_loses_or_invents_a_memory(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "tests.integration.memory_full_disk", str(tmp_path), "1"],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    outcomes = json.loads(done.stdout)
    assert outcomes.pop("missing") == outcomes.pop("too_many") == 0
    assert outcomes.pop("written: memory_disk_full") > 10 and outcomes.pop("at last") == 12
    assert set(outcomes) <= {"written", "searched", "forgotten", "forgotten: memory_disk_full"}, (
        outcomes
    )


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


@pytest.mark.parametrize("call", [1, 2])
@pytest.mark.parametrize("part", ["data", "_indices"])
def test_upkeep_drops_no_version_for_a_file_that_is_cut_off(tmp_path, monkeypatch, call, part):
    tables = Tables(str(tmp_path))
    table = tables.create("memories", A_LITTLE)
    folder = tables.folder_of("memories")
    assert folder is not None
    for number in range(3):
        table.add(pa.table({"id": [f"d{number}"], "text": [f"cake {number}"]}))
    before, clean, calls = texts(tables), tidying.clean, 0

    def merge_on_a_full_disk(table: LanceTable, *arguments: Any) -> None:
        nonlocal calls
        calls += 1
        known = files_of(folder)
        clean(table, *arguments)
        if calls == call and any(part in path.parts for path in files_of(folder) - known):
            cut(folder, known, part)

    with monkeypatch.context() as full:
        full.setattr(tidying, "clean", merge_on_a_full_disk)
        try:
            tidying.optimize(table, folder, KEEP_VERSIONS)
        except OSError as error:
            assert error.errno == errno.ENOSPC
        else:
            assert call == 2  # the first always has something to write
    assert texts(tables) == before
    tidying.optimize(table, folder, KEEP_VERSIONS)
    assert texts(tables) == before
    found = table.search("cake", query_type="fts").to_list()
    assert {row["text"] for row in found} == {f"cake {number}" for number in range(3)}


def test_what_the_store_says_of_itself_survives_a_full_disk(tmp_path, monkeypatch):
    tables = Tables(str(tmp_path))
    with monkeypatch.context() as full:
        full.setattr(tables, "_db", FullDisk(tables._db, tmp_path))
        with pytest.raises(MemoryStoreError, match="space"):
            tables.write_info(format="1", model="one")
    assert tables.info() == {}
    tables.write_info(format="1", model="one")
    with monkeypatch.context() as full:
        full.setattr(tables, "_db", FullDisk(tables._db, tmp_path))
        with pytest.raises(MemoryStoreError, match="space"):
            tables.write_info(purge="somebody")
    assert tables.info() == {"format": "1", "model": "one"}
