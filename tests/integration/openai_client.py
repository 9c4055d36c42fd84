"""A connection of the openai package, whose events are kept, for tests of Realtime and Live."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

from coda_voice.attendants import UserText
from coda_voice.conversation import Conversation
from coda_voice.manager import VoiceManager


class Connection(Protocol):
    async def recv(self) -> Any: ...


C = TypeVar("C", bound=Connection)


class Client(Generic[C]):
    """The connection, everything it has received, and the manager on the other side."""

    def __init__(self, connection: C, manager: VoiceManager) -> None:
        self.connection = connection
        self.manager = manager
        self.events: list[dict[str, Any]] = []
        self._read = 0

    async def until(self, kind: str, wanted: Callable[[dict[str, Any]], bool] = lambda e: True):
        """Give the next event of a type; those before it are kept in ``events``."""
        async with asyncio.timeout(90):  # it runs on busy machines, too
            while True:
                while self._read < len(self.events):
                    event = self.events[self._read]
                    self._read += 1
                    if event["type"] == kind and wanted(event):
                        return event
                self.events.append((await self.connection.recv()).to_dict())

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["type"] == kind]

    @property
    def conversation(self) -> Conversation:
        return self.manager.conversation(self.manager.get_active_conversations()[0])

    def understood(self, text: str) -> None:
        """The user's words, by the way the transcriber's come."""
        conversation = self.conversation
        conversation.user_text(UserText(text, True, conversation.generation, conversation.seconds))
