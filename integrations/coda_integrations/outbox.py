"""Text messages on their way to one socket: in order, bounded, dropped sound counted."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator

MAX_WAITING = 1_024
"""Messages; a client so far behind does not read."""
SOUND_WAITING = 256
"""Of these, messages of sound: 20 s. The oldest are dropped beyond."""


class OutboxFull(Exception):
    """The client does not read; its connection must be closed."""


class Outbox:
    """A bounded queue of messages; the writer iterates over it."""

    def __init__(self) -> None:
        self._messages: deque[tuple[str | bytes, bool]] = deque(maxlen=MAX_WAITING)
        self._ready = asyncio.Event()
        self._closed = False
        self._sounds = 0
        self.dropped = 0
        """Messages of sound that the client was too slow for."""

    def put(self, message: str | bytes, *, sound: bool = False) -> None:
        """Append a message. Raises OutboxFull where even without sound there is no room."""
        if sound and self._sounds >= SOUND_WAITING:
            self._drop_oldest_sound()
        if len(self._messages) == MAX_WAITING:
            raise OutboxFull
        self._messages.append((message, sound))
        self._sounds += sound
        self._ready.set()

    def _drop_oldest_sound(self) -> None:
        for place, (_, sound) in enumerate(self._messages):
            if sound:
                del self._messages[place]
                self._sounds -= 1
                self.dropped += 1
                return

    def drop_sound(self) -> None:
        """Take back the sound that has not been sent."""
        kept = [m for m in self._messages if not m[1]]
        self._messages.clear()
        self._messages.extend(kept)
        self._sounds = 0

    def close(self) -> None:
        """End the iteration after what is waiting."""
        self._closed = True
        self._ready.set()

    async def __aiter__(self) -> AsyncIterator[str | bytes]:
        while True:
            self._ready.clear()
            while self._messages:
                message, sound = self._messages.popleft()
                self._sounds -= sound
                yield message
            if self._closed:
                return
            await self._ready.wait()
