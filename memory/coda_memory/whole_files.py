"""Whether the files that a commit has written are whole.

On a full disk Lance may cut a file off and commit it all the same (seen with LanceDB 0.40,
whose last, short write goes unnoticed): what was acknowledged could then not be read any more,
nor could the rest of its table.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable
from pathlib import Path

from lancedb.table import LanceTable

from coda_memory.errors import LANCE_ERRORS

log = logging.getLogger("coda_memory")

_VERSION = ".manifest"
_ENDS = {".lance": b"LANC", ".arrow": b"ARROW1", _VERSION: b"LANC"}
"""The last bytes of every file of data or of an index, of one of deletions, and of a version."""


def committed_whole(
    folder: Path | None, write: Callable[[], object], undo: Callable[[], object]
) -> None:
    """Do ``write`` on the table that is in ``folder`` (None: not on this machine).

    If a file was cut off, or ``write`` raised when some of it was committed, does ``undo``; where
    there is no room even for that, the versions written since are removed, and whoever has the
    table open must open it afresh. Raises OSError (no
    space left) for a file that was cut off, else what ``write`` raised.
    """
    if folder is None:
        write()
        return
    before, failed = files_of(folder), None
    try:
        write()
    except LANCE_ERRORS as error:  # perhaps it was the first to read what was cut off
        failed = error
    new = files_of(folder) - before
    cut_off = [path for path in new if not _is_whole(path)]
    for path in cut_off:
        path.unlink(missing_ok=True)  # of no use to anybody, and undoing needs a little room
    if cut_off or (failed is not None and any(path.suffix == _VERSION for path in new)):
        _take_back(folder, before, undo)
    if cut_off:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from failed
    if failed is not None:
        raise failed


def _take_back(folder: Path, before: set[Path], undo: Callable[[], object]) -> None:
    try:
        undo()
    except LANCE_ERRORS as error:
        log.warning("versions written on a full disk are removed: %s", error)
        for path in files_of(folder) - before:
            if path.suffix == _VERSION:
                path.unlink(missing_ok=True)


def holds_a_version(folder: Path) -> bool:
    """Whether anything was ever committed to the table in ``folder``."""
    return any(folder.glob(f"_versions/*{_VERSION}"))


def back_to_now(table: LanceTable) -> Callable[[], None]:
    """Give what makes the present version of ``table`` the newest again."""
    version = table.version

    def restore() -> None:
        try:
            table.restore(version)
        finally:  # without room it would stay at that version, and take no writes
            table.checkout_latest()

    return restore


def files_of(folder: Path) -> set[Path]:
    """Every file of data, indices and deletions of the table in ``folder``."""
    return {path for path in folder.rglob("*") if path.suffix in _ENDS}


def _is_whole(path: Path) -> bool:
    end = _ENDS[path.suffix]
    with path.open("rb") as file:
        file.seek(-min(len(end), path.stat().st_size), os.SEEK_END)
        return file.read() == end
