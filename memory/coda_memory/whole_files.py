"""Whether the files that a commit has written are whole.

On a full disk Lance may cut a file off and commit it all the same (seen with LanceDB 0.40,
whose last, short write goes unnoticed): what was acknowledged could then not be read any more,
nor could the rest of its table.

What a process that is killed at such a moment cannot take back, the next one does: while a table
is being written, ``<table>.writing`` names the version before.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from lancedb.db import DBConnection
from lancedb.table import LanceTable

from coda_memory.errors import LANCE_ERRORS

log = logging.getLogger("coda_memory")

_VERSION = ".manifest"
_ENDS = {".lance": b"LANC", ".arrow": b"ARROW1", _VERSION: b"LANC"}
"""The last bytes of every file of data or of an index, of one of deletions, and of a version."""
_WRITING = ".writing"


class Before(NamedTuple):
    """What a table was before it was written to."""

    version: int
    """0: there was none."""
    back: Callable[[], object]
    """Makes it the newest again."""


def committed_whole(folder: Path | None, write: Callable[[], object], before: Before) -> None:
    """Do ``write`` on the table that is in ``folder`` (None: not on this machine).

    If a file was cut off, or ``write`` raised when some of it was committed, goes back to
    ``before``; where there is no room even for that, the versions written since are removed, and
    whoever has the table open must open it afresh. Raises OSError (no space left) for a file that
    was cut off, else what ``write`` raised.
    """
    if folder is None:
        write()
        return
    marker = folder.with_suffix(_WRITING)
    known, failed = files_of(folder), None
    _mark(marker, before.version)
    try:
        write()
    except LANCE_ERRORS as error:  # perhaps it was the first to read what was cut off
        failed = error
    new = files_of(folder) - known
    cut_off = [path for path in new if not _is_whole(path)]
    for path in cut_off:
        path.unlink(missing_ok=True)  # of no use to anybody, and undoing needs a little room
    if cut_off or (failed is not None and any(path.suffix == _VERSION for path in new)):
        _take_back(folder, known, before.back)
    marker.unlink()
    if cut_off:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from failed
    if failed is not None:
        raise failed


def _mark(marker: Path, version: int) -> None:
    try:
        marker.write_text(str(version))
    except OSError:
        marker.unlink(missing_ok=True)
        raise


def left_half_written(folder: Path) -> bool:
    """Whether the table in ``folder`` is being written to, or whoever did so was killed."""
    return folder.with_suffix(_WRITING).exists()


def take_back_what_was_left(db: DBConnection, folder: Path) -> None:
    """Go back to what a table was before a writer was killed in the midst of it.

    Nobody may be writing to it. What is lost was not acknowledged yet. Raises what LanceDB raises.
    """
    marker, name = folder.with_suffix(_WRITING), folder.stem
    if not marker.exists():  # by now it is done
        return
    version = marker.read_text()
    if version == "0":
        remove_table(db, folder)
    elif version:  # else it was killed before it had begun
        for path in files_of(folder):
            if path.suffix == _VERSION and not _is_whole(path):
                path.unlink()
        db.open_table(name).restore(int(version))
    marker.unlink(missing_ok=True)


def remove_table(db: DBConnection, folder: Path) -> None:
    """Remove a table, or what there is of it, and that it was being written to."""
    db.drop_table(folder.stem, ignore_missing=True)
    folder.with_suffix(_WRITING).unlink(missing_ok=True)


def _take_back(folder: Path, known: set[Path], undo: Callable[[], object]) -> None:
    try:
        undo()
    except LANCE_ERRORS as error:
        log.warning("versions written on a full disk are removed: %s", error)
        for path in files_of(folder) - known:
            if path.suffix == _VERSION:
                path.unlink(missing_ok=True)


def holds_a_version(folder: Path) -> bool:
    """Whether anything was ever committed to the table in ``folder``."""
    return any(folder.glob(f"_versions/*{_VERSION}"))


def back_to_now(table: LanceTable) -> Before:
    """Give the present version of ``table``."""
    version = table.version

    def restore() -> None:
        try:
            table.restore(version)
        finally:  # without room it would stay at that version, and take no writes
            table.checkout_latest()

    return Before(version, restore)


def files_of(folder: Path) -> set[Path]:
    """Every file of data, indices and deletions of the table in ``folder``."""
    return {path for path in folder.rglob("*") if path.suffix in _ENDS}


def _is_whole(path: Path) -> bool:
    end = _ENDS[path.suffix]
    with path.open("rb") as file:
        file.seek(-min(len(end), path.stat().st_size), os.SEEK_END)
        return file.read() == end
