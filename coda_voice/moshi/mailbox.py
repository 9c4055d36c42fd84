"""Bounded queues between threads that count what they lose."""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Mailbox(Generic[T]):
    """A queue of at most ``capacity`` items, safe between threads, that never blocks.

    ``put`` refuses when full, ``put_dropping`` loses the oldest item instead; ``dropped``
    counts those.
    """

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"a mailbox holds at least one item, not {capacity}")
        self.capacity = capacity
        self.dropped = 0
        self._items: deque[T] = deque(maxlen=capacity)
        self._lock = threading.Lock()

    def put(self, item: T) -> bool:
        """Add an item; False if there is no room."""
        with self._lock:
            if len(self._items) == self.capacity:
                return False
            self._items.append(item)
            return True

    def put_dropping(self, item: T) -> bool:
        """Add an item, losing the oldest if there is no room; False if one was lost."""
        with self._lock:
            full = len(self._items) == self.capacity
            self.dropped += full
            self._items.append(item)
            return not full

    def get(self) -> T | None:
        """Take the oldest item, or None."""
        with self._lock:
            return self._items.popleft() if self._items else None

    def peek(self) -> T | None:
        """Look at the oldest item without taking it."""
        with self._lock:
            return self._items[0] if self._items else None

    def take_all(self) -> list[T]:
        """Take everything."""
        with self._lock:
            items = list(self._items)
            self._items.clear()
            return items

    def clear(self) -> int:
        """Throw everything away; gives how many items that were."""
        return len(self.take_all())

    @property
    def full(self) -> bool:
        """Whether the next ``put`` would be refused."""
        return len(self._items) == self.capacity

    def __len__(self) -> int:
        return len(self._items)
