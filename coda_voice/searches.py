"""When a memory is searched while the user speaks, and how long that may take.

One search at a time: while one runs, the newest words wait for it, and older ones are left to
them. What takes too long is left aside.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from coda_voice.attendants import UserText
from coda_voice.recollection import Recalled, VoiceMemory

NEW_WORDS = 2
"""Of the user before there is another search in the same turn."""
MOST_SEARCHES = 5
PACE_SECONDS = 2.0
"""So many searches in this time on the conversation's clock, those of whole turns apart."""


@dataclass(frozen=True, slots=True, eq=False)
class Moment:
    """What the user is saying when something comes to mind; ``began``: when we learnt of it.

    ``noted``: what comes to mind is in the notes for an LLM, or comes too late.
    """

    said: str
    final: bool
    generation: int
    began: float = field(default_factory=time.perf_counter)
    noted: asyncio.Event = field(default_factory=asyncio.Event)


class TooSlow(Exception):
    """A search was left aside; says why."""


class Searches:
    """The searches of one conversation; ``seconds``: how long one may take, or wait for another.

    ``failed`` is told what went wrong in a search that had been left aside.
    """

    __slots__ = ("_failed", "_running", "_times", "newest", "seconds")

    def __init__(self, seconds: float, failed: Callable[[BaseException], None]) -> None:
        self.newest: Moment | None = None
        """What is being searched for, or was last in this turn, or waits for that."""
        self.seconds = seconds
        self._failed = failed
        self._times: deque[float] = deque(maxlen=MOST_SEARCHES)
        self._running: asyncio.Task[Recalled] | None = None

    def wanted(self, text: str, said: UserText) -> bool:
        """Whether ``text`` has enough new words, and there were not too many searches already."""
        searched = "" if self.newest is None else self.newest.said
        if said.final:
            return text != searched
        if len(text.split()) - len(searched.split()) < NEW_WORDS:
            return False
        often = len(self._times) == MOST_SEARCHES
        if often and said.time - self._times[0] < PACE_SECONDS:
            return False
        self._times.append(said.time)
        return True

    async def search(self, memory: VoiceMemory, moment: Moment) -> Recalled | None:
        """Give what comes to mind; None if newer words have come meanwhile.

        ``moment`` must be ``newest``. Raises TooSlow, and what the memory raises.
        """
        while (before := self._running) is not None and not before.done():
            left = moment.began + self.seconds - time.perf_counter()
            await asyncio.wait([before], timeout=max(0.0, left))
            if self.newest is not moment:
                return None
            if not before.done():
                raise self._left_aside(moment, "the search before this one is still going on")
        search = self._running = asyncio.create_task(memory.recall(moment.said))
        done, _ = await asyncio.wait([search], timeout=self.seconds)
        if not done:
            search.add_done_callback(self._came_too_late)
            raise self._left_aside(moment, f"it took more than {self.seconds * 1e3:.0f} ms")
        return search.result()

    def _left_aside(self, moment: Moment, reason: str) -> TooSlow:
        if self.newest is moment:
            self.newest = None  # the same words may be searched for again
        return TooSlow(reason)

    def _came_too_late(self, search: asyncio.Task[Recalled]) -> None:
        if not search.cancelled() and (error := search.exception()) is not None:
            self._failed(error)
