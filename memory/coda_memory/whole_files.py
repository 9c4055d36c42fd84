"""Whether the files that a commit has written are whole.

On a full disk Lance may cut a data file off and commit it all the same (seen with LanceDB 0.40,
whose last, short write goes unnoticed): what was acknowledged could then not be read any more,
nor could the rest of its table.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

from lancedb.table import LanceTable

_END = b"LANC"
"""The last bytes of every Lance file."""


def committed_whole(
    data: Path | None, write: Callable[[], object], undo: Callable[[], object]
) -> None:
    """Do ``write`` on the table whose files are in ``data`` (None: not on this machine).

    If a file was cut off, does ``undo``, and raises OSError (no space left).
    """
    if data is None:
        write()
        return
    before = _files(data)
    write()
    if all(_is_whole(path) for path in _files(data) - before):
        return
    undo()
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def back_to_now(table: LanceTable) -> Callable[[], None]:
    """Give what makes the present version of ``table`` the newest again."""
    version = table.version

    def restore() -> None:
        table.checkout_latest()
        table.restore(version)

    return restore


def _files(data: Path) -> set[Path]:
    return set(data.iterdir()) if data.is_dir() else set()


def _is_whole(path: Path) -> bool:
    if path.suffix != ".lance":
        return True
    with path.open("rb") as file:
        file.seek(-min(len(_END), path.stat().st_size), os.SEEK_END)
        return file.read() == _END
