"""Where the adapted characters of users are kept: a folder of small files, or object storage.

In a folder each user has one file, named by a hash of the user id, written whole and moved into
place: a process that dies leaves the old one. On object storage each has one LanceDB table of one
row. Both raise MemoryStoreError for what cannot be read or written.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from filelock import FileLock

from coda_memory.errors import store_error
from coda_memory.write_lock import holding

if TYPE_CHECKING:
    from coda_memory.tables import Tables

FOLDER = "personality"
"""Beside the memories."""
LOCK_TIMEOUT = 5.0


class StatePlace(Protocol):
    """Keeps one text for each user, by the key of the user's ``Owner``."""

    def name(self, key: str) -> str:
        """Name a user's text in an error."""

    def locked(self, key: str) -> contextlib.AbstractContextManager[None]:
        """Keep others from changing a user's text. Raises VoiceTimeoutError."""

    def read(self, key: str) -> str | None:
        """Give a user's text; None where there is none."""

    def write(self, key: str, text: str) -> None:
        """Replace a user's text; nothing of the one before it is left."""

    def remove(self, key: str) -> None:
        """Leave nothing of a user."""


class StateFiles:
    """One file per user in ``folder``; several processes may write."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def name(self, key: str) -> str:
        """Give the file's path."""
        return str(self._path(key))

    def locked(self, key: str) -> contextlib.AbstractContextManager[None]:
        """Two processes may adapt the same user: one after the other."""
        path = self._lock_path(key)
        lock = FileLock(path, timeout=LOCK_TIMEOUT)
        return holding(lock, f"has held {path}", "locking a personality")

    def read(self, key: str) -> str | None:
        """Read the file."""
        try:
            return self._path(key).read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise store_error(error, self.name(key), "reading a personality") from error

    def write(self, key: str, text: str) -> None:
        """Write beside the file, then move into its place."""
        try:
            handle, name = tempfile.mkstemp(dir=self.folder, prefix=f".{key}.", suffix=".tmp")
            new = Path(name)
            try:
                with os.fdopen(handle, "w", encoding="utf-8") as file:
                    file.write(text)
                new.replace(self._path(key))
            finally:
                new.unlink(missing_ok=True)
            self._remove_left_over(key)
        except OSError as error:
            raise store_error(error, self.name(key), "keeping a personality") from error

    def remove(self, key: str) -> None:
        """Remove the file, and what killed writers left. Where there is no folder, nothing."""
        if not self.folder.is_dir():
            return
        try:
            with self.locked(key):
                self._path(key).unlink(missing_ok=True)
                self._remove_left_over(key)
                # While it is ours: who waits for it sees that it has gone, and makes another.
                self._lock_path(key).unlink(missing_ok=True)
        except OSError as error:
            raise store_error(error, self.name(key), "forgetting a personality") from error

    def _remove_left_over(self, key: str) -> None:
        """Files half written are nobody's: we hold the lock."""
        for left in self.folder.glob(f".{key}.*.tmp"):
            left.unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.json"

    def _lock_path(self, key: str) -> Path:
        return self.folder / f"{key}.lock"


class StateTables:
    """One table of one row per user, on object storage beside the memories.

    There is no lock: of two servers that change one user in the same moment the later one's
    change stays.
    """

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def name(self, key: str) -> str:
        """Give the table's name and place."""
        return f"{_table(key)} in {self._tables.uri}"

    def locked(self, key: str) -> contextlib.AbstractContextManager[None]:
        """Nothing to hold."""
        return contextlib.nullcontext()

    def read(self, key: str) -> str | None:
        """Read the row."""
        rows = self._tables.rows_of(_table(key))
        return None if rows is None or not rows.num_rows else str(rows["text"][0])

    def write(self, key: str, text: str) -> None:
        """Replace the row and drop the version before it."""
        import pyarrow as pa

        row = pa.table({"text": pa.array([text], pa.string())})
        self._tables.again_on_conflict(lambda: self._tables.replace(_table(key), row))

    def remove(self, key: str) -> None:
        """Drop the table."""
        self._tables.drop(_table(key))


def place_of(store: str, storage_options: Mapping[str, str] | None = None) -> StatePlace:
    """Give where the characters of a memory store's users are kept: ``store`` is a folder or URI.

    Raises MemoryStoreError for a URI that cannot be reached.
    """
    if "://" in store:
        # LanceDB takes a second to load, and files need none of it.
        from coda_memory.tables import Tables

        return StateTables(Tables(store, storage_options))
    return StateFiles(Path(store) / FOLDER)


def _table(key: str) -> str:
    return f"p{key}"
