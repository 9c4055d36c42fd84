"""When an MCP server is asked again for its tools: one appointment a server, the earliest.

A server may say that its tools have changed whenever it is asked for them; it is asked less and
less often then, and as before when it has been quiet.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

SETTLE_SECONDS = 0.2
"""So long after a server says that its tools have changed they are listed: it may say so again."""
RARELY_SECONDS = 30.0
"""One that says so time and again, or is too busy to answer, is asked after so long."""


class AskAgain:
    """Calls ``ask`` with the name of a server when it is to be asked."""

    def __init__(self, ask: Callable[[str], None]) -> None:
        self._ask = ask
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._pauses: dict[str, tuple[float, float]] = {}
        """When each was asked, and how long after that it is asked again."""
        self._busy: set[str] = set()

    def soon(self, name: str) -> None:
        """Ask ``name`` in a moment; later, if it has been asked of late."""
        self._at(name, self._pause(name))

    def at_once(self, name: str) -> None:
        """Ask ``name`` when the event loop comes to it."""
        self._at(name, 0.0)

    def once_more(self, name: str) -> bool:
        """Ask ``name``, which was too busy to answer, later; False if this was later already."""
        if name in self._busy:
            self._busy.discard(name)
            return False
        self._busy.add(name)
        self._at(name, RARELY_SECONDS)
        return True

    def begun(self, name: str) -> None:
        """Note that ``name`` is being asked, so that the next time is later."""
        now = asyncio.get_running_loop().time()
        self._pauses[name] = now, min(2 * self._pause(name), RARELY_SECONDS)

    def answered(self, name: str) -> None:
        """Note that ``name`` is not too busy."""
        self._busy.discard(name)

    def close(self) -> None:
        """Ask nobody any more."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._pauses.clear()
        self._busy.clear()

    def _pause(self, name: str) -> float:
        asked, pause = self._pauses.get(name, (0.0, SETTLE_SECONDS))
        quiet = asyncio.get_running_loop().time() - asked > 2 * RARELY_SECONDS
        return SETTLE_SECONDS if quiet else pause

    def _at(self, name: str, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        timer = self._timers.get(name)
        if timer is not None:
            if timer.when() <= loop.time() + seconds:
                return
            timer.cancel()
        self._timers[name] = loop.call_later(seconds, partial(self._now, name))

    def _now(self, name: str) -> None:
        del self._timers[name]
        self._ask(name)
