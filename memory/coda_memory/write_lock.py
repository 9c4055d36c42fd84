"""One process at a time writes to a store that is a folder, or to a user's file in it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from coda_memory.errors import store_error
from coda_voice.errors import VoiceTimeoutError

LOCK_TIMEOUT = 20.0


@contextlib.contextmanager
def holding(lock: FileLock, busy: str, doing: str) -> Iterator[None]:
    """Hold a lock. Raises VoiceTimeoutError with ``busy``, MemoryStoreError for where it lies."""
    try:
        lock.acquire()
    except Timeout:
        raise VoiceTimeoutError(
            f"another process {busy} for {lock.timeout:g} s; try again when it is done.",
            "memory_busy",
        ) from None
    except OSError as error:
        raise store_error(error, str(Path(lock.lock_file).parent), doing) from error
    try:
        yield
    finally:
        lock.release()


class WriteLock:
    """The lock of the store in a folder. A thread that holds it may take it again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = FileLock(folder / ".lock", timeout=LOCK_TIMEOUT)

    def held(self) -> contextlib.AbstractContextManager[None]:
        """Keep others from writing. Raises VoiceTimeoutError after 20 s."""
        busy = f"has been writing to {self._folder}"
        return holding(self._lock, busy, "locking the memory store")

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
