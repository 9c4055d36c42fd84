"""Whether the files that a commit has written are whole.

On a full disk Lance may cut a file off and commit it all the same (seen with LanceDB 0.40,
whose last, short write goes unnoticed): what was acknowledged could then not be read any more,
nor could the rest of its table.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

from lancedb.table import LanceTable

from coda_memory.errors import LANCE_ERRORS

_ENDS = {".lance": b"LANC", ".arrow": b"ARROW1"}
"""The last bytes of every file of data or of an index, and of one of deletions."""


def committed_whole(
    folder: Path | None, write: Callable[[], object], undo: Callable[[], object]
) -> None:
    """Do ``write`` on the table that is in ``folder`` (None: not on this machine).

    If a file was cut off, does ``undo``, and raises OSError (no space left).
    """
    if folder is None:
        write()
        return
    before, failed = files_of(folder), None
    try:
        write()
    except LANCE_ERRORS as error:  # perhaps it was the first to read what was cut off
        failed = error
    cut_off = [path for path in files_of(folder) - before if not _is_whole(path)]
    if cut_off:
        for path in cut_off:
            path.unlink(missing_ok=True)  # of no use to anybody, and undoing needs a little room
        undo()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from failed
    if failed is not None:
        raise failed


def back_to_now(table: LanceTable) -> Callable[[], None]:
    """Give what makes the present version of ``table`` the newest again."""
    version = table.version

    def restore() -> None:
        table.checkout_latest()
        table.restore(version)

    return restore


def files_of(folder: Path) -> set[Path]:
    """Every file of data, indices and deletions of the table in ``folder``."""
    return {path for path in folder.rglob("*") if path.suffix in _ENDS}


def _is_whole(path: Path) -> bool:
    end = _ENDS[path.suffix]
    with path.open("rb") as file:
        file.seek(-min(len(end), path.stat().st_size), os.SEEK_END)
        return file.read() == end
