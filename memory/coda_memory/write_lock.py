"""One process at a time writes to a store that is a folder."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from coda_memory.errors import store_error
from coda_voice.errors import VoiceTimeoutError

LOCK_TIMEOUT = 20.0


class WriteLock:
    """The lock of the store in a folder. A thread that holds it may take it again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = FileLock(folder / ".lock", timeout=LOCK_TIMEOUT)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keep others from writing. Raises VoiceTimeoutError after 20 s."""
        try:
            self._lock.acquire()
        except Timeout:
            raise VoiceTimeoutError(
                f"another process has been writing to {self._folder} for {LOCK_TIMEOUT:g} s; "
                "try again when it is done.",
                "memory_busy",
            ) from None
        except OSError as error:
            raise store_error(error, str(self._folder), "locking the memory store") from error
        try:
            yield
        finally:
            self._lock.release()

    @contextlib.contextmanager
    def held_if_free(self) -> Iterator[bool]:
        """Keep others from writing, if none is at it; gives whether none is. Raises OSError."""
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            self._lock.release()
