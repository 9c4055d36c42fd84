"""The tools a conversation gets where the embedding program brings none of its own.

The one module of the core that knows the house of tools; it is imported only when an LLM is
to be asked. See ``coda_voice.protocols.ToolHouse``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from coda_tools import Tool, ToolRegistry
from coda_tools.builtin.arithmetic import calculate
from coda_tools.builtin.clock import clock_tools
from coda_tools.builtin.memory import MEMORY_TOOLS, memory_tools
from coda_tools.builtin.status import status_tools
from coda_tools.builtin.timers import Timers
from coda_tools.builtin.units import convert_units
from coda_tools.coda_manager import add_coda_tools

from coda_voice.config.mcp import McpServer
from coda_voice.protocols import ToolManager, ToolServerChange, ToolsWanted

if TYPE_CHECKING:
    from coda_tools.mcp_servers import McpServers

CONNECT_PATIENCE = 5.0
"""Seconds for which the first conversation waits for MCP servers; slower ones join later."""


class TimedTools(ToolRegistry):
    """A conversation's tools, with timers that end with it; ``shared`` ones beside them."""

    def __init__(self, wanted: ToolsWanted, shared: ToolRegistry | None = None) -> None:
        self.timers = Timers(wanted.announce)
        super().__init__(
            [calculate, convert_units, *clock_tools(), *status_tools(), *self.timers.tools()],
            shared=shared,
        )
        if callable(getattr(wanted.memory, "store_fact", None)):
            for tool in memory_tools(wanted.memory):  # type: ignore[arg-type]
                self.add(tool)

    def close(self) -> None:
        """Stop the timers."""
        self.timers.close()


class HouseTools:
    """The built-in tools, ``more`` of the program's own, of a Coda tool manager, of MCP servers."""

    def __init__(self, *more: Tool) -> None:
        self._more = list(more)
        self._codas = ToolRegistry()
        self._listed: object | None = None
        self._listing = asyncio.Lock()
        self._served = ToolRegistry()
        self._servers: McpServers | None = None

    async def prepare(self, manager: object | None) -> None:
        """List the manager's tools, once for each manager. Raises IntegrationError."""
        async with self._listing:  # who comes meanwhile waits for the tools, too
            if manager is self._listed:
                return
            codas = ToolRegistry()
            if isinstance(manager, ToolManager):
                await add_coda_tools(codas, manager)
            self._codas, self._listed = codas, manager

    async def connect(
        self, servers: Mapping[str, McpServer], report: Callable[[ToolServerChange], None]
    ) -> None:
        """Start what has not started of ``servers``; one that fails costs only its own tools."""
        if self._servers is None:
            # The SDK takes a second to load: only for who has such servers.
            from coda_tools.mcp_servers import McpServers

            ours = TimedTools(ToolsWanted("", None, lambda announcement: None))
            taken = [tool.spec.name for tool in [*ours.tools(), *self._more, *self._codas.tools()]]
            self._servers = McpServers(
                servers, self._served, taken=[*taken, *MEMORY_TOOLS], report=report
            )
        await self._servers.connect(CONNECT_PATIENCE)

    def tools_for(self, wanted: ToolsWanted) -> TimedTools:
        """Make a conversation's tools; one of ours yields to one of Coda's of the same name.

        Tools of MCP servers join while the conversation goes on, and leave with their house.
        """
        tools = TimedTools(wanted, self._served)
        for tool in [*self._more, *self._codas.tools()]:
            tools.remove(tool.spec.name)
            tools.add(tool)
        return tools

    async def close(self) -> None:
        """Close the MCP servers."""
        servers, self._servers = self._servers, None
        if servers is not None:
            await servers.close()
