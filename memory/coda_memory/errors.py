"""What can go wrong with the store; all of it is an ``IntegrationError`` or below it.

    IntegrationError
    ├── MemoryStoreError       the store cannot be read or written; ``error_code`` says why:
    │                          memory_disk_full, memory_cannot_write, memory_corrupt,
    │                          memory_store, memory_closed, memory_busy, memory_conflict
    └── MemoryModelError       the store holds vectors of another embedding model

A voice conversation goes on without memory when it meets one of these.
"""

from __future__ import annotations

from coda_voice.errors import IntegrationError

LANCE_ERRORS = (OSError, RuntimeError, ValueError)
"""What LanceDB raises: its Rust errors arrive as one of these three."""


class MemoryStoreError(IntegrationError):
    """The store cannot be read or written."""

    default_code = "memory_store"


class MemoryModelError(IntegrationError):
    """The store holds vectors of another embedding model; they are never mixed."""

    default_code = "memory_model"


def store_closed() -> MemoryStoreError:
    """Say that nothing more can be asked of a store."""
    return MemoryStoreError("the memory store is closed; open it again.", "memory_closed")


_CAUSES = (
    ("memory_disk_full", ("no space left", "file too large", "quota exceeded", "os error 28"),
     "the disk is full. Free some space, or forget what is not needed"),
    ("memory_cannot_write", ("permission denied", "read-only file system", "os error 13",
                             "os error 30"),
     "the folder cannot be written to. Change its permissions, or name another store"),
    ("memory_conflict", ("already exists", "incompatible transaction", "commit conflict"),
     "another server wrote at the same moment. Try again"),
)  # fmt: skip


def store_error(error: Exception, where: str, doing: str) -> MemoryStoreError:
    """Say what an error of LanceDB or of the file system means, and what to do about it."""
    text = str(error).lower()
    for code, marks, advice in _CAUSES:
        if any(mark in text for mark in marks):
            return MemoryStoreError(f"{doing} in {where} failed: {advice}.", code, store=where)
    return MemoryStoreError(
        f"{doing} in {where} failed; a file of it is damaged or missing "
        f"({_first_line(error)}). Import the last export into a new store, or forget this user.",
        "memory_corrupt",
        store=where,
    )


def _first_line(error: Exception) -> str:
    line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return line[:200]
