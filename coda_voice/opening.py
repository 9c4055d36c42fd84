"""Open in a thread what must be closed again, also where nobody waits for it any more."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def opened(make: Callable[[], T], close: Callable[[T], None]) -> T:
    """Give what ``make`` opens in a thread.

    A thread cannot be cancelled: where this is, what ``make`` still gives is closed, at the
    latest when it gives it.
    """
    lock = threading.Lock()
    made: list[T] = []
    given_up = threading.Event()

    def work() -> T:
        result = make()
        with lock:
            made.append(result)
            unwanted = given_up.is_set()
        if unwanted:
            close(result)
        return result

    try:
        return await asyncio.to_thread(work)
    except asyncio.CancelledError:
        with lock:
            given_up.set()
            ready = list(made)
        for result in ready:
            await asyncio.to_thread(close, result)
        raise
