"""Wakes tasks of an event loop from other threads, many with one call."""

from __future__ import annotations

import asyncio
from contextlib import suppress


class Bell:
    """Sets events of one event loop from any thread.

    ``call_soon_threadsafe`` writes to a pipe and lets go of the interpreter: once for each of
    sixteen conversations, the engine waited for the busy event loop sixteen times a tick. What is
    rung before the loop has looked costs nothing more.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._rung: dict[asyncio.Event, None] = {}
        self._called = False

    def ring(self, event: asyncio.Event) -> None:
        """Have ``event`` set in the loop's thread; nothing happens if the loop has closed."""
        self._rung[event] = None
        if self._called or self.loop.is_closed():
            return
        self._called = True
        with suppress(RuntimeError):  # it closed between the question and the call
            self.loop.call_soon_threadsafe(self._answer)

    def _answer(self) -> None:
        # First: whoever rings from now on calls again, if only to find all done.
        self._called = False
        while self._rung:
            self._rung.popitem()[0].set()


class Bells:
    """The bell of the event loop that is running; conversations of one manager share it."""

    def __init__(self) -> None:
        self._bell: Bell | None = None

    def here(self) -> Bell:
        """Give the running loop's. Raises RuntimeError outside of one."""
        loop = asyncio.get_running_loop()
        if self._bell is None or self._bell.loop is not loop:
            self._bell = Bell(loop)
        return self._bell
