"""Messages on their way to one socket: in order, bounded; sound that is too old is dropped."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from coda_voice.heard import Heard
from coda_voice.server.outputs import AUDIO_FRAMES

MAX_WAITING = 1_024
"""Messages; a client so far behind does not read."""


class OutboxFull(Exception):
    """The client does not read; its connection must be closed."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A message; ``frame`` is the agent's whose sound it is, if it is sound.

    ``behind_sound``: it tells of the sound before it, and is nothing without that.
    """

    message: str
    frame: Heard | None
    behind_sound: bool = False


class Outbox:
    """A bounded queue of messages; the writer iterates over it.

    Two seconds of sound wait at most; beyond that the oldest is dropped, so that who reads
    slowly hears the present. ``behind_since`` is the time (by ``clock``) since when sound has
    been lost without the reader ever having caught up; None while it keeps up.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._waiting: deque[Waiting] = deque(maxlen=MAX_WAITING)
        self._ready = asyncio.Event()
        self._closed = False
        self._sounds = 0
        self._clock = clock
        self.behind_since: float | None = None

    def put(self, message: str, frame: Heard | None = None, *, behind_sound: bool = False) -> int:
        """Append a message; gives how many messages of sound were dropped for it.

        ``frame``: what it is the sound of; ``behind_sound``: it goes where the sound before it
        goes. Raises OutboxFull where even without sound there is no room.
        """
        dropped = 0
        if frame is not None and self._sounds >= AUDIO_FRAMES:
            self._drop_oldest_sound()
            dropped = 1
            if self.behind_since is None:
                self.behind_since = self._clock()
        if len(self._waiting) == MAX_WAITING:
            raise OutboxFull
        self._waiting.append(Waiting(message, frame, behind_sound))
        self._sounds += frame is not None
        self._ready.set()
        return dropped

    def put_back(self, waiting: Waiting) -> None:
        """Put first what was taken and could not be sent."""
        if len(self._waiting) < MAX_WAITING:
            self._waiting.appendleft(waiting)
            self._sounds += waiting.frame is not None

    @property
    def behind_seconds(self) -> float:
        """For how long the reader has been losing sound."""
        return 0.0 if self.behind_since is None else self._clock() - self.behind_since

    def _drop_oldest_sound(self) -> None:
        for place, waiting in enumerate(self._waiting):
            if waiting.frame is not None:
                del self._waiting[place]
                self._sounds -= 1
                self._drop_marks(place)
                return

    def _drop_marks(self, place: int) -> None:
        """Drop what tells of the sound that stood at ``place``: all up to the next sound."""
        while place < len(self._waiting) and self._waiting[place].frame is None:
            if self._waiting[place].behind_sound:
                del self._waiting[place]
            else:
                place += 1

    def drop_sound(self) -> int:
        """Take back the sound that has not been sent; gives how many messages of it."""
        sounds = self._sounds
        while self._sounds:
            self._drop_oldest_sound()
        return sounds

    def __len__(self) -> int:
        return len(self._waiting)

    def close(self) -> None:
        """End the iteration after what is waiting."""
        self._closed = True
        self._ready.set()

    async def __aiter__(self) -> AsyncIterator[Waiting]:
        while True:
            self._ready.clear()
            while self._waiting:
                waiting = self._waiting.popleft()
                self._sounds -= waiting.frame is not None
                yield waiting
            self.behind_since = None
            if self._closed:
                return
            await self._ready.wait()
