"""The tools a conversation gets where the embedding program brings none of its own.

The one module of the core that knows the house of tools; it is imported only when an LLM is
to be asked. See ``coda_voice.protocols.ToolHouse``.
"""

from __future__ import annotations

from coda_tools import Tool, ToolRegistry
from coda_tools.builtin.arithmetic import calculate
from coda_tools.builtin.clock import clock_tools
from coda_tools.builtin.memory import memory_tools
from coda_tools.builtin.status import status_tools
from coda_tools.builtin.timers import Timers
from coda_tools.builtin.units import convert_units
from coda_tools.coda_manager import add_coda_tools

from coda_voice.protocols import ToolManager, ToolsWanted


class TimedTools(ToolRegistry):
    """A conversation's tools, with timers that end with it."""

    def __init__(self, wanted: ToolsWanted) -> None:
        self.timers = Timers(wanted.announce)
        super().__init__(
            [calculate, convert_units, *clock_tools(), *status_tools(), *self.timers.tools()]
        )
        if callable(getattr(wanted.memory, "store_fact", None)):
            for tool in memory_tools(wanted.memory):  # type: ignore[arg-type]
                self.add(tool)

    def close(self) -> None:
        """Stop the timers."""
        self.timers.close()


class HouseTools:
    """The built-in tools, ``more`` of the program's own, and those of a Coda tool manager."""

    def __init__(self, *more: Tool) -> None:
        self._more = list(more)
        self._shared = ToolRegistry()
        self._listed: object | None = None

    async def prepare(self, manager: object | None) -> None:
        """List the manager's tools, once for each manager. Raises IntegrationError."""
        if manager is self._listed:
            return
        self._shared = ToolRegistry()
        self._listed = manager
        if isinstance(manager, ToolManager):
            await add_coda_tools(self._shared, manager)

    def tools_for(self, wanted: ToolsWanted) -> TimedTools:
        """Make a conversation's tools; one of ours yields to one of Coda's of the same name."""
        tools = TimedTools(wanted)
        for tool in [*self._more, *self._shared.tools()]:
            tools.remove(tool.spec.name)
            tools.add(tool)
        return tools

    async def close(self) -> None:
        """Nothing is open between conversations."""
