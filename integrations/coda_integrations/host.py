"""What an edge needs of the server it is mounted on, and a simple server for one machine."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

from fastapi import WebSocket

from coda_integrations.line import ConversationLine, Line
from coda_voice.conversation import Conversation
from coda_voice.errors import ValidationError, VoiceProcessingError
from coda_voice.events import SettingWithoutEffect
from coda_voice.hybrid.answer import MAX_CALLS
from coda_voice.hybrid.llm import LlmClient
from coda_voice.hybrid.offline_brain import OfflineBrain
from coda_voice.manager import VoiceManager
from coda_voice.moshi.prompt import Prompt
from coda_voice.moshi.spelling import Speller
from coda_voice.protocols import ToolBox
from coda_voice.scripted_voice import ScriptedVoice
from coda_voice.server.limits import AddressLimits
from coda_voice.server.proxies import counted_as
from coda_voice.server.refusal_log import RefusalLog, refused

PROMPT_WORDS = 60
"""Longer instructions go to the LLM only: the speech model's prompt is a sentence or two."""


@dataclass(frozen=True, slots=True)
class Thinkers:
    """Who thinks for an edge: LLMs in the order in which they are asked, and their tools."""

    llms: Sequence[LlmClient]
    toolbox: ToolBox | None = None
    max_calls: int = MAX_CALLS
    """Of one message of an LLM so many tool calls are run."""

    async def close(self) -> None:
        """Close the LLMs' connections."""
        for llm in self.llms:
            await llm.close()


class EdgeHost(Protocol):
    """The server's side of an edge."""

    @property
    def thinkers(self) -> Thinkers:
        """Who answers what the voice cannot."""

    async def admit(self, socket: WebSocket, subprotocols: tuple[str, ...]) -> Guest | None:
        """Check origin, token and address; None where the caller was refused (and told so)."""

    def trusted(self, user_id: str) -> Guest:
        """Let somebody in whom the edge itself has checked."""

    def asked_by(self, edge: str, address: str) -> AbstractContextManager[None]:
        """Say who asks in the current task, for ``refused``: an edge without a gate in front."""

    def connection(self, address: str) -> AbstractContextManager[float | None]:
        """Count a connection while the context lasts: an edge without a gate in front.

        Gives None, or for one too many of its address the seconds to wait.
        """

    def line(self, guest: Guest) -> AbstractAsyncContextManager[Line]:
        """Hold a conversation for as long as the context lasts.

        Raises SlotsFullError and other VoiceProcessingError, which it has noted as ``refused``.
        """

    @property
    def silent_call_seconds(self) -> float:
        """A telephone call that sends no sound at all for so long is over."""


@dataclass(frozen=True, slots=True)
class Guest:
    """Somebody who was let in; ``subprotocol`` is what to accept the WebSocket with.

    ``user_id``: whose memories the conversation has; ``caller``: what the host knows of them.
    """

    user_id: str | None = None
    subprotocol: str | None = None
    caller: object = None


class LocalHost:
    """Serves edges from one manager, to anybody who can connect; ``close`` at the end."""

    def __init__(
        self,
        manager: VoiceManager,
        thinkers: Thinkers | None = None,
        *,
        silent_call_seconds: float | None = None,
    ) -> None:
        self.thinkers = thinkers or Thinkers([OfflineBrain()])
        self.silent_call_seconds = (
            manager.config.server.silent_call_seconds
            if silent_call_seconds is None
            else silent_call_seconds
        )
        self._manager = manager
        self._refusals = RefusalLog()
        server = manager.config.server
        self._addresses = AddressLimits(server.connections_per_address, server.connects_per_second)
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="coda-edge")

    async def admit(self, socket: WebSocket, subprotocols: tuple[str, ...]) -> Guest | None:
        """Let everybody in."""
        offered = socket.scope.get("subprotocols", [])
        return Guest(subprotocol=next((s for s in subprotocols if s in offered), None))

    def trusted(self, user_id: str) -> Guest:
        """See ``EdgeHost.trusted``."""
        return Guest(user_id)

    def asked_by(self, edge: str, address: str) -> AbstractContextManager[None]:
        """See ``EdgeHost.asked_by``."""
        return self._refusals.asked_by(edge, address)

    def connection(self, address: str) -> AbstractContextManager[float | None]:
        """See ``EdgeHost.connection``; by the limits of the manager's ``config.server``."""
        return self._addresses.connection(counted_as(address))

    @asynccontextmanager
    async def line(self, guest: Guest) -> AsyncIterator[Line]:
        """Hold a conversation of the manager's. See ``EdgeHost.line``."""
        try:
            conversation_id = await self._manager.start_conversation(user_id=guest.user_id)
        except VoiceProcessingError as error:
            refused(error.error_code)
            raise
        conversation = self._manager.conversation(conversation_id)
        line = ConversationLine(conversation, self._pool)
        try:
            yield line
        finally:
            if conversation.ended is None:
                await self._manager.end_conversation(conversation_id, line.end_reason)

    def close(self) -> None:
        """Let the threads go, and write what has only been counted of the refusals."""
        self._refusals.close()
        self._pool.shutdown(wait=False, cancel_futures=True)


def voice_of(conversation: Conversation) -> ScriptedVoice:
    """Give the conversation's own scripted voice; one is added where it has none."""
    for attendant in conversation.attendants:
        if isinstance(attendant, ScriptedVoice):
            return attendant
    models = conversation.slot.models
    voice = ScriptedVoice(models.capabilities, Speller(models.tokenizer))
    conversation.attendants.add(voice)
    return voice


def instruct(conversation: Conversation, text: str, setting: str) -> None:
    """Tell the speech model who it is; where it cannot be told, an event names ``setting``."""
    words = text.split()
    if not words:
        return
    try:
        if len(words) > PROMPT_WORDS:
            raise ValidationError(
                f"The speech model takes prompts of at most {PROMPT_WORDS} words; these "
                f"{len(words)} go to the LLM only."
            )
        conversation.slot.prime(Prompt(text=text))
    except VoiceProcessingError as error:
        conversation.publish(
            SettingWithoutEffect(
                conversation_id=conversation.id,
                time=conversation.seconds,
                setting=setting,
                reason=error.message,
            )
        )
