"""From a configuration to the LLM's place in a conversation: clients, limits, tools."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from coda_voice.config import VoiceConfig
from coda_voice.config.model import Voicing
from coda_voice.conversation import Conversation
from coda_voice.errors import ConfigurationError, LlmError
from coda_voice.events import Event, ToolServerChanged
from coda_voice.hybrid.answer import ReasonerSettings
from coda_voice.hybrid.attendant import HybridAttendant, HybridSettings, Mode
from coda_voice.hybrid.clients import client_for
from coda_voice.hybrid.llm import LlmClient
from coda_voice.hybrid.offline_brain import OfflineBrain
from coda_voice.hybrid.reasoner import Reasoner
from coda_voice.hybrid.resources import Resources
from coda_voice.hybrid.route_budget import RouteBudget
from coda_voice.hybrid.router import Router
from coda_voice.protocols import (
    ConversationTools,
    ToolHouse,
    ToolServerChange,
    ToolsWanted,
)
from coda_voice.scripted_voice import ScriptedVoice

CHECK_SECONDS = 3.0


class HybridSetup:
    """What the conversations of a manager share of an LLM; nothing is opened before it is used.

    ``tools``: where a conversation's tools come from; None for none. ``publish`` is told
    what becomes of servers of tools.
    """

    def __init__(
        self, config: VoiceConfig, tools: ToolHouse | None, publish: Callable[[Event], None]
    ) -> None:
        self._config = config
        self._tools = tools if config.integration.tools_enabled else None
        self._publish = publish
        self.tool_servers: dict[str, str] = {}
        """How each MCP server is, in words."""
        self._clients: dict[str, LlmClient] = {}
        self._resources = Resources(config.hybrid.at_once)

    @property
    def client(self) -> LlmClient:
        """The LLM's client, made when it is first asked for. Raises ConfigurationError."""
        return self._client_of(self._config.external_llm.model)

    @property
    def deep_client(self) -> LlmClient | None:
        """The client of the larger model, if there is one. Raises ConfigurationError."""
        llm = self._config.external_llm
        if llm.deep_model is None or llm.provider == "offline":
            return None
        return self._client_of(llm.deep_model)

    async def llm_trouble(self) -> str | None:
        """Say why the LLM could not be asked now, and who answers then; None where it could."""
        llm = self._config.external_llm
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                for client in filter(None, (self.client, self.deep_client)):
                    await client.check()
        except TimeoutError:
            trouble = f"{llm.provider} did not answer within {CHECK_SECONDS:g} s."
        except LlmError as error:
            trouble = error.message
        else:
            return None
        rest = "answers what it can" if llm.fallback_enabled else "is switched off, too"
        return f"{trouble} Until then the offline brain {rest}."

    def _client_of(self, model: str) -> LlmClient:
        llm = self._config.external_llm
        name = "offline" if llm.provider == "offline" else f"{llm.provider}/{model}"
        if name not in self._clients:
            self._clients[name] = client_for(
                name,
                llm.endpoint,
                context_window=llm.context_window,
                temperature=llm.temperature,
            )
        return self._clients[name]

    def attendant(
        self,
        conversation: Conversation,
        voice: ScriptedVoice,
        mode: Mode,
        voicing: Voicing,
        memory: object | None,
    ) -> HybridAttendant:
        """Make the attendant of one conversation. Raises ConfigurationError."""
        config = self._config
        box: ConversationTools | None = None
        if self._tools is not None:
            box = self._tools.tools_for(
                ToolsWanted(conversation.id, conversation.user_id, voice.announce, memory)
            )
        client, deep, llm = self.client, self.deep_client, config.external_llm
        limits = ReasonerSettings(
            first_timeout=llm.first_timeout,
            stall_timeout=llm.stall_timeout,
            turn_timeout=llm.turn_timeout,
            max_words=config.hybrid.max_words,
            max_calls=config.hybrid.tool_calls,
            filler_after=config.hybrid.filler_after,
        )
        fallback = OfflineBrain() if llm.fallback_enabled else None

        def make_reasoner(publish: Callable[[Event], None]) -> Reasoner:
            return Reasoner(
                client,
                publish,
                conversation.id,
                tools=box,
                fallback=None if client.offline else fallback,
                deep=deep,
                settings=limits,
            )

        return HybridAttendant(
            voice,
            make_reasoner,
            Router(
                every_turn=mode == "hybrid",
                preference=config.hybrid.prefer,
                budget=RouteBudget(config.hybrid.turns_per_minute, config.hybrid.slow_after),
                resources=self._resources,
            ),
            HybridSettings(
                mode=mode,
                # Half a turn means nothing to the offline brain, and it takes no time anyway.
                parallel=llm.parallel_processing and not client.offline,
                presume=llm.parallel_processing,
                llm_only=voicing == "llm_only",
            ),
            close_tools=box.close if box is not None else lambda: None,
        )

    async def prepare(self, tool_manager: object | None) -> None:
        """Have the tools that are not ours listed, so that a conversation can begin at once."""
        if self._tools is None:
            return
        await self._tools.prepare(tool_manager)
        await self.connect()

    async def connect(self) -> None:
        """Start the MCP servers that have not started; waits for them a few seconds at most."""
        servers = self._config.integration.mcp_servers
        if servers and self._tools is not None:
            for name in servers:
                self.tool_servers.setdefault(name, "starting")
            await self._tools.connect(servers, self._server_changed)

    def _server_changed(self, change: ToolServerChange) -> None:
        told = change.reason or ", ".join(change.tools)
        self.tool_servers[change.server] = f"{change.state}: {told}"
        self._publish(
            ToolServerChanged(
                conversation_id="",
                server=change.server,
                state=change.state,
                tools=change.tools,
                reason=change.reason,
            )
        )

    async def close(self) -> None:
        """Close the LLM's connections and the tools that conversations share."""
        clients, self._clients = list(self._clients.values()), {}
        for client in clients:
            await client.close()
        if self._tools is not None:
            await self._tools.close()


def as_mode(mode: str) -> Mode:
    """Check the name of a mode. Raises ConfigurationError."""
    for known in ("moshi_only", "hybrid", "adaptive"):
        if mode == known:
            return known
    raise ConfigurationError(
        f"mode {mode!r} is none of moshi_only, hybrid, adaptive.", "unknown_mode", mode=mode
    )


def as_voicing(voice: str) -> Voicing:
    """Check a value of ``hybrid.voice``. Raises ConfigurationError."""
    for known in ("moshi_and_llm", "llm_only"):
        if voice == known:
            return known
    raise ConfigurationError(
        f"hybrid.voice {voice!r} is neither moshi_and_llm nor llm_only.",
        "unknown_voice",
        voice=voice,
    )
