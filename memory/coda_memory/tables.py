"""The LanceDB side: one table per user, and one small table of what the store is.

    <store>/coda_memory_info.lance     key, value: format, model, dimension, unfinished purges
    <store>/u<hash of user>_<hash of model>.lance
    <store>/p<hash of user>.lance      on object storage: what the user made of the characters

The model's hash is in a table's name: vectors of two models cannot meet in one table. Every
method that writes must be called under ``lock()``, which other processes respect as well; on
object storage LanceDB's own atomic commits take its place.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import lancedb
import pyarrow as pa
from lancedb.table import LanceTable

from coda_memory.errors import LANCE_ERRORS, MemoryModelError, MemoryStoreError, store_error
from coda_memory.owner import Owner
from coda_memory.reading import Reader
from coda_memory.tidying import NOW, clean, follow, index_words, merge
from coda_memory.whole_files import (
    Before,
    back_to_now,
    committed_whole,
    holds_a_version,
    left_half_written,
    remove_table,
    take_back_what_was_left,
)
from coda_memory.write_lock import WriteLock

T = TypeVar("T")
FORMAT = "2"
"""Format 1, whose tables hold no memory whole (``record.RECORD``), is read and becomes 2."""
READABLE = ("1", FORMAT)
INFO = "coda_memory_info"
OPEN_TABLES = 64
"""Tables kept open at once: each holds file descriptors and the head of its indices."""
OUTDATED = 16
"""So many files of replaced indices, before LanceDB's caches are emptied."""
INFO_ATTEMPTS = 5
CONFLICTS = 5
"""So often a write gives way to those of other servers."""
_OF_A_USER = re.compile(r"u[0-9a-f]{32}_[0-9a-f]{8}")
_INFO_SCHEMA = pa.schema([pa.field("key", pa.string()), pa.field("value", pa.string())])


class Tables:
    """The tables of one store: opens, makes, rewrites and drops them."""

    def __init__(self, uri: str, storage_options: Mapping[str, str] | None = None) -> None:
        self.uri = uri
        self.local = None if "://" in uri else Path(uri)
        self._options = dict(storage_options) if storage_options else None
        self._open: OrderedDict[str, LanceTable] = OrderedDict()
        self._opening = threading.Lock()
        self._outdated = 0
        self._info: LanceTable | None = None
        self._tag = ""
        self._lock: WriteLock | None = None
        try:
            if self.local is not None:
                self.local.mkdir(parents=True, exist_ok=True)
                self._lock = WriteLock(self.local)
            self._connect()
        except LANCE_ERRORS as error:
            raise store_error(error, uri, "opening the memory store") from error

    def _connect(self) -> None:
        self.session = lancedb.Session()
        """LanceDB's caches, which ``reader`` shares."""
        self._db = lancedb.connect(
            self.uri,
            # Ask for the newest version at each read: another process may have written.
            read_consistency_interval=timedelta(0),
            storage_options=self._options,
            session=self.session,
        )

    def lock(self) -> contextlib.AbstractContextManager[None]:
        """Keep other processes from writing. Raises VoiceTimeoutError after 20 s."""
        return contextlib.nullcontext() if self._lock is None else self._lock.held()

    # ---- what the store is -------------------------------------------------------------

    def info(self) -> dict[str, str]:
        """What the store says of itself; empty where nothing has been stored yet.

        Read without the lock: where another process replaces it meanwhile, read again.
        """
        for attempt in range(INFO_ATTEMPTS):
            try:
                table = self._info
                if table is None:
                    self._finish_taking_back(INFO)
                    if not self._holds(INFO):
                        return {}
                    self._info = table = self._db.open_table(INFO)
                rows = table.search().to_arrow().to_pylist()
                return {row["key"]: row["value"] for row in rows}
            except LANCE_ERRORS as error:
                self._info = None
                if attempt + 1 == INFO_ATTEMPTS:
                    raise store_error(error, self.uri, "opening the memory store") from error
        return {}

    def folder_of(self, name: str) -> Path | None:
        """Give the folder of a table's files; None where the store is remote."""
        return None if self.local is None else self.local / f"{name}.lance"

    def write_info(self, **values: str | None) -> None:
        """Set values; None removes the key."""
        self.again_on_conflict(lambda: self._write_info(values))

    def _write_info(self, values: Mapping[str, str | None]) -> None:
        with self._reading("writing to the memory store"), self._afresh_if_it_fails(INFO):
            self._finish_taking_back(INFO)
            mode = "overwrite" if self._holds(INFO) else "create"
            rows = {**self.info(), **values}
            data = pa.table(
                {
                    "key": [key for key, value in rows.items() if value is not None],
                    "value": [value for value in rows.values() if value is not None],
                },
                schema=_INFO_SCHEMA,
            )

            def write() -> None:
                self._db.create_table(INFO, data, schema=_INFO_SCHEMA, mode=mode)

            new = mode == "create"
            before = self._nothing(INFO) if new else back_to_now(self._db.open_table(INFO))
            committed_whole(self.folder_of(INFO), write, before)
            clean(self._db.open_table(INFO), NOW)

    def use_model(self, model: str) -> dict[str, str]:
        """Work with the tables of ``model``; gives ``info``.

        Raises MemoryModelError if the store is of another.
        """
        info = self.info()
        if info and info.get("format") not in READABLE:
            raise MemoryStoreError(
                f"{self.uri} was written by another version of coda-voice (format "
                f"{info.get('format')}, this one reads {' and '.join(READABLE)}).",
                "memory_format",
            )
        held = info.get("model", model)
        if held != model:
            raise MemoryModelError(
                f"{self.uri} holds vectors of the embedding model {held!r}, not {model!r}; the "
                f"two are never mixed. Open it with {held!r}, or change it once and for all: "
                f"coda-voice memory reembed --model {model}.",
                store=self.uri,
                held=held,
                asked=model,
            )
        self._tag = model_tag(model)
        return info

    # ---- tables of users ---------------------------------------------------------------

    def names(self) -> list[str]:
        """Names of all tables, in order."""
        found: list[str] = []
        token: str | None = None
        while True:
            page = self._db.list_tables(page_token=token)
            found += page.tables
            token = page.page_token
            if not token:
                return found

    def users(self) -> list[str]:
        """Names of the users' tables of the model in use."""
        with self._reading("listing the users"):
            return [n for n in self.names() if n.startswith("u") and n.endswith(f"_{self._tag}")]

    def of_user(self, key: str) -> list[str]:
        """Tables of one user (``Owner.key``), also of other models: the one in use comes last."""
        with self._reading("listing the users"):
            found = [name for name in self.names() if name.startswith(f"u{key}_")]
        return sorted(found, key=lambda name: name.endswith(f"_{self._tag}"))

    def strays(self) -> list[str]:
        """Users' tables of other models: copies that a change of the model, cut short, left."""
        with self._reading("listing the users"):
            tables = [name for name in self.names() if _OF_A_USER.fullmatch(name)]
            return [name for name in tables if not name.endswith(f"_{self._tag}")]

    def name_of(self, owner: Owner, model: str | None = None) -> str:
        """Name of a user's table."""
        return f"u{owner.key}_{model_tag(model) if model else self._tag}"

    def open(self, name: str) -> LanceTable | None:
        """Give a table, or None where there is none yet."""
        with self._reading("taking back what a killed process left half written"):
            self._finish_taking_back(name)
        with self._opening:
            table = self._open.get(name)
            if table is not None:
                self._open.move_to_end(name)
                return table
        with self._reading("opening a user's memories"):
            try:
                table = self._db.open_table(name)
            except (ValueError, FileNotFoundError) as error:
                if "not found" not in str(error).lower() or (self.local and self._holds(name)):
                    raise
                return None
        self._keep(name, table)
        return table

    def create(self, name: str, rows: pa.Table, *, replace: bool = False) -> LanceTable:
        """Make a table of ``rows``, with its index of words.

        On object storage another server may have made one since we looked: without ``replace``
        that is a ``memory_conflict``.
        """
        with self._reading("making a user's table"), self._afresh_if_it_fails(name):
            # Under the lock, what is there without being a table is what a killed writer left.
            left = self.local is not None and name in self.names()
            mode = "overwrite" if replace or left else "create"

            def make() -> None:
                index_words(self._db.create_table(name, rows, schema=rows.schema, mode=mode))

            committed_whole(self.folder_of(name), make, self._nothing(name))
            table = self._db.open_table(name)
        self._keep(name, table)
        return table

    def commit(self, table: LanceTable, write: Callable[[], object]) -> None:
        """Do ``write`` on a user's table; it counts only if its files are whole."""
        with self._afresh_if_it_fails(table.name):
            committed_whole(self.folder_of(table.name), write, back_to_now(table))

    def rewrite(self, name: str, choose: Callable[[pa.Table], pa.Table]) -> None:
        """Leave the rows that ``choose`` picks and nothing else: no older version, no other file.

        Compaction alone would keep deleted rows in any file that lost only a few of them. What
        another server adds meanwhile is kept, what it deletes is gone.
        """
        old = self.open(name)
        if old is None:
            return
        with self._reading("reading a user's memories"):
            seen = old.search().to_arrow()
        rows = choose(seen)
        if rows.num_rows == 0:
            self.drop(name)
            return
        with self._reading("removing old versions"), self._afresh_if_it_fails(name):

            def replace() -> None:
                made = self._db.create_table(name, rows, schema=rows.schema, mode="overwrite")
                if self.local is None:
                    follow(made, made.version - 1, seen)
                index_words(made)

            committed_whole(self.folder_of(name), replace, back_to_now(old))
            table = self._db.open_table(name)
            merge(table, self.folder_of(name))
            # Files of writers that were killed are nobody's: we hold the lock.
            clean(table, NOW, everything=self.local is not None)
            if self.local is not None:
                for left in (self.local / f"{name}.lance").rglob(".tmp*"):
                    left.unlink()  # a file half written; LanceDB does not know of it
        self._keep(name, table)

    def rows_of(self, name: str) -> pa.Table | None:
        """Give all rows of a table, or None where there is none."""
        table = self.open(name)
        if table is None:
            return None
        with self._reading("reading from the store"):
            return table.search().to_arrow()

    def replace(self, name: str, rows: pa.Table) -> None:
        """Have a table hold ``rows`` alone, and no older version."""
        with self._reading("writing to the store"):
            table = self._db.create_table(name, rows, schema=rows.schema, mode="overwrite")
            clean(table, NOW)
        self._keep(name, table)

    def drop(self, name: str) -> None:
        """Remove a table and all its files."""
        self.forget_handle(name)
        with self._reading("removing a user's memories"):
            folder = self.folder_of(name)
            if folder is None:
                self._db.drop_table(name, ignore_missing=True)
            else:
                remove_table(self._db, folder)

    def forget_handle(self, name: str) -> None:
        """Open the table afresh next time: another process may have rewritten it."""
        with self._opening:
            self._open.pop(name, None)
            if name == INFO:
                self._info = None

    def size_on_disk(self) -> int | None:
        """Bytes of all files of a local store; None for a remote one."""
        if self.local is None:
            return None
        total = 0
        for path in self.local.rglob("*"):
            with contextlib.suppress(FileNotFoundError):  # upkeep removes files as we look
                total += path.stat().st_size if path.is_file() else 0
        return total

    def reader(self) -> Reader:
        """Make what searches the tables."""
        return Reader(self.uri, self._options, lambda: self.session)

    def close(self) -> None:
        """Let go of all tables."""
        with self._opening:
            self._open.clear()

    def outdated(self, name: str) -> None:
        """A table's indices were replaced. Now and then, begin with empty caches.

        LanceDB keeps the indices of old versions, and open files of theirs, until its caches are
        full: 6 GB, or no descriptor left, whichever comes first. Whoever reads at this moment
        goes on with what he has.
        """
        parts = self._parts(name)
        with self._opening:
            self._outdated += parts
            if self._outdated < OUTDATED:
                return
            self._outdated = 0
            self._open.clear()
            self._info = None
            self._connect()

    def _parts(self, name: str) -> int:
        """How many parts the newest index of words has: of each a file stays open."""
        folder = self.folder_of(name)
        if folder is None:
            return 1
        parts = Counter(part.parent for part in (folder / "_indices").glob("*/part_*_invert.lance"))
        return max(parts.values(), default=1)

    def _keep(self, name: str, table: LanceTable) -> None:
        with self._opening:
            self._open[name] = table
            self._open.move_to_end(name)
            while len(self._open) > OPEN_TABLES:
                self._open.popitem(last=False)

    def _nothing(self, name: str) -> Before:
        return Before(0, lambda: self._db.drop_table(name))

    def _finish_taking_back(self, name: str) -> None:
        """Whoever writes to a table holds the lock; if nobody does, he was killed."""
        folder = self.folder_of(name)
        if self._lock is None or folder is None or not left_half_written(folder):
            return
        with self._lock.held_if_free() as alone:
            if alone:
                take_back_what_was_left(self._db, folder)
                self.forget_handle(name)

    def _holds(self, name: str) -> bool:
        """Whether there is a table, though perhaps a damaged one: no first write cut short."""
        folder = self.folder_of(name)
        return name in self.names() if folder is None else holds_a_version(folder)

    def again_on_conflict(self, write: Callable[[], T]) -> T:
        """Write, and once more where another server on the same object storage came before.

        A write that is in conflict has not happened. Under ``lock()`` there is no conflict.
        """
        for _ in range(CONFLICTS):
            try:
                return write()
            except MemoryStoreError as error:
                if error.error_code != "memory_conflict":
                    raise
        return write()

    @contextlib.contextmanager
    def _afresh_if_it_fails(self, name: str) -> Iterator[None]:
        try:
            yield
        except LANCE_ERRORS:
            self.forget_handle(name)  # it may be of a version that was removed
            raise

    @contextlib.contextmanager
    def _reading(self, doing: str) -> Iterator[None]:
        try:
            yield
        except LANCE_ERRORS as error:
            raise store_error(error, self.uri, doing) from error


def model_tag(model: str) -> str:
    """Eight hex digits that stand for an embedding model in a table's name."""
    return hashlib.blake2b(model.encode(), digest_size=4).hexdigest()


def held_model(where: str) -> str | None:
    """Name the model a store was made with; None where there is none."""
    if "://" not in where and not Path(where).is_dir():
        return None
    return Tables(where).info().get("model")
