"""Who is working on a conversation: one call at a time, and its wait for the engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from coda_voice.bell import Bell, Bells
from coda_voice.errors import ConversationError, VoiceTimeoutError

ENGINE_SILENT_SECONDS = 30.0
"""A frame that takes longer than this will not come: the engine is stuck or gone."""
TAKEOVER_SECONDS = 1.0
"""How long a new call waits for one that is just being cancelled to let go."""


class Occupancy:
    """Lets one call work on a conversation, and wakes it when there is output.

    ``wake`` may be called from any thread, the rest from the event loop's.
    """

    def __init__(self, conversation_id: str, bells: Bells) -> None:
        self._id = conversation_id
        self._bells = bells
        self._busy = asyncio.Lock()
        self._output: asyncio.Event | None = None
        self._bell: Bell | None = None

    @property
    def busy(self) -> bool:
        """Whether a call is working on the conversation."""
        return self._busy.locked()

    def wake(self) -> None:
        """Tell the event loop that there is output. Called in the engine's thread."""
        bell, output = self._bell, self._output
        if bell is not None and output is not None:
            bell.ring(output)

    def nudge(self) -> None:
        """End the current wait from the event loop's own thread."""
        if self._output is not None:
            self._output.set()

    async def output_ready(self, due: Callable[[], int]) -> None:
        """Wait until ``wake`` or ``nudge`` was called since the last wait.

        ``due`` tells how many frames are due: with any, a silent engine raises
        VoiceTimeoutError.
        """
        if self._output is None:
            raise ConversationError(f"Conversation {self._id!r} is not being worked on.")
        try:
            async with asyncio.timeout(ENGINE_SILENT_SECONDS if due() else None):
                await self._output.wait()
        except TimeoutError as error:
            raise VoiceTimeoutError(
                f"The engine has answered nothing for {ENGINE_SILENT_SECONDS:.0f} s; "
                "look at health_check() and restart the manager.",
                conversation_id=self._id,
            ) from error
        self._output.clear()

    @asynccontextmanager
    async def exclusively(self) -> AsyncIterator[None]:
        """Work on the conversation alone. Raises ConversationError if another call goes on."""
        try:
            async with asyncio.timeout(TAKEOVER_SECONDS):
                await self._busy.acquire()
        except TimeoutError as error:
            raise ConversationError(
                f"Conversation {self._id!r} is being streamed already; end that stream first.",
                "conversation_busy",
                conversation_id=self._id,
            ) from error
        try:
            self._bell, self._output = self._bells.here(), asyncio.Event()
            yield
        finally:
            self._bell = self._output = None
            self._busy.release()
