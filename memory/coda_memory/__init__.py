"""Long-term memory: what users said, found again by meaning and by words.

Usable without a voice: ``MemoryStore`` is the way in, ``coda-voice memory`` its command.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING

from coda_memory import rest_client

if TYPE_CHECKING:
    from coda_memory.errors import MemoryModelError, MemoryStoreError
    from coda_memory.record import Memory
    from coda_memory.search import Hit
    from coda_memory.store import MemoryStore
    from coda_memory.user import UserMemories

# LanceDB reads this once, as it is loaded. Its warnings ("partition 0 is empty, skipping") are
# about its own index and nothing that whoever sees them could change.
os.environ.setdefault("LANCEDB_LOG", "error")
# Arrow keeps memory of its own otherwise, which grows with every search that is answered.
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
rest_client.leave_for_later()

__all__ = [
    "Hit",
    "Memory",
    "MemoryModelError",
    "MemoryStore",
    "MemoryStoreError",
    "UserMemories",
]

_HOMES = {
    "Hit": "search",
    "Memory": "record",
    "MemoryModelError": "errors",
    "MemoryStore": "store",
    "MemoryStoreError": "errors",
    "UserMemories": "user",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'coda_memory' has no attribute {name!r}")
    return getattr(importlib.import_module(f"coda_memory.{_HOMES[name]}"), name)
