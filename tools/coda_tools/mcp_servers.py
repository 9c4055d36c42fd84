"""Bring the tools of MCP servers into a registry, over stdio or HTTP.

The configuration is the one MCP programs share::

    {"weather": {"command": "weather-server", "args": ["--metric"], "env": {"KEY": "…"}},
     "home": {"url": "http://localhost:8123/mcp", "headers": {"Authorization": "…"}}}

A server that cannot be reached is named in ``failures`` and costs only its own tools. One
that dies is started again at once, and where that fails by the next call of a tool of it; one
that did not start, by a later ``connect``. Its tools are listed again then, and when it says
that they have changed.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Collection, Coroutine, Mapping
from functools import partial
from types import TracebackType
from typing import Self

from mcp_types import Tool as McpTool
from pydantic import ValidationError as PydanticValidationError

from coda_tools.mcp_again import AskAgain
from coda_tools.mcp_connection import McpConnection, ServerBusy
from coda_tools.registry import ToolRegistry
from coda_tools.remote_tool import RemoteTool
from coda_voice.config.mcp import McpServer
from coda_voice.errors import ConfigurationError, IntegrationError, ValidationError
from coda_voice.protocols import ToolServerChange, ToolSpec

logger = logging.getLogger(__name__)

RETRY_SECONDS = 30.0
"""A server that did not start is left alone for so long."""


def _nobody(change: ToolServerChange) -> None:
    """Tell nobody."""


class McpServers:
    """All servers of a configuration, as an async context; their tools join ``registry``.

    Two tools of one name are told apart by their server's name before it (``home_status``);
    names in ``taken`` count as tools that are there. ``report`` is told what becomes of each
    server. Raises ConfigurationError for a configuration of the wrong shape.
    """

    def __init__(
        self,
        config: Mapping[str, object],
        registry: ToolRegistry,
        *,
        taken: Collection[str] = (),
        report: Callable[[ToolServerChange], None] = _nobody,
    ) -> None:
        self.failures: dict[str, str] = {}
        """Why a server cannot be used."""
        self.tool_failures: dict[str, dict[str, str]] = {}
        """Why a tool cannot be used, by its server."""
        self._registry = registry
        self._taken = frozenset(taken)
        self._report = report
        self._connections: list[McpConnection] = []
        self._added: dict[str, list[str]] = {}
        self._listed: dict[str, list[McpTool]] = {}
        self._stale: set[str] = set()
        """Whose tools have changed since they were last asked for."""
        self._again = AskAgain(self._list_again)
        self._tried: dict[str, float] = {}
        self._opening: dict[str, asyncio.Task[None]] = {}
        servers = config.get("mcpServers", config)
        if not isinstance(servers, Mapping):
            raise ConfigurationError("mcpServers must be a mapping of names to servers.")
        for name, server in servers.items():
            try:
                checked = McpServer.model_validate(server)
            except PydanticValidationError as error:
                fault = error.errors()[0]
                where = ".".join([str(name), *(str(part) for part in fault["loc"])])
                raise ConfigurationError(f"mcpServers.{where}: {fault['msg']}") from error
            heard = partial(self._heard_of, str(name)), partial(self._tools_changed, str(name))
            self._connections.append(McpConnection(str(name), checked, *heard))

    def tools_of(self, server: str) -> tuple[str, ...]:
        """Name the tools that ``server`` brought; none while it has not started."""
        return tuple(self._added.get(server, ()))

    @property
    def names(self) -> tuple[str, ...]:
        """Name the servers."""
        return tuple(connection.name for connection in self._connections)

    async def connect(self, wait: float | None = None) -> None:
        """Start the servers that have not been tried (or not for half a minute).

        Waits at most ``wait`` seconds, for those that are tried for the first time; the tools
        of slower ones join the registry when they are there.
        """
        now = asyncio.get_running_loop().time()
        first: set[asyncio.Task[None]] = set()
        for connection in self._connections:
            name = connection.name
            tried = self._tried.get(name)
            if name in self._added or name in self._opening:
                continue
            if tried is not None and now - tried < RETRY_SECONDS:
                continue
            self._tried[name] = now
            self._run(name, self._open(connection), "opens")
            if tried is None:
                first.add(self._opening[name])
        if first:
            await asyncio.wait(first, timeout=wait)

    async def _open(self, connection: McpConnection) -> None:
        """Start a server and list its tools."""
        try:
            self._take(connection, await connection.tools())
            self._changed(connection.name, "")
        except IntegrationError as error:
            self._changed(connection.name, error.message)

    async def _list(self, connection: McpConnection) -> None:
        """List the tools of a server that has told them before, starting it if it has died."""
        name = connection.name
        while True:
            self._stale.discard(name)
            was_open = connection.is_open
            try:
                tools = await connection.tools(again=True)
            except ServerBusy as error:  # what it had stays, and it is asked once more
                if not self._again.once_more(name):
                    logger.warning("%s; it keeps the tools that it had", error.message)
                return
            except IntegrationError as error:
                self._changed(name, error.message)
                if was_open:
                    continue  # with another: what did not start is left to the next call
                return
            self._again.answered(name)
            if self._take(connection, tools) or name in self.failures:
                self._changed(name, "")
            return

    def _run(self, name: str, work: Coroutine[None, None, None], what: str) -> None:
        """Do one thing at a time with a server."""
        task = asyncio.create_task(work, name=f"mcp {name} {what}")
        self._opening[name] = task
        task.add_done_callback(partial(self._done, name))

    def _done(self, name: str, task: asyncio.Task[None]) -> None:
        if self._opening.get(name) is task:
            del self._opening[name]
        if task.cancelled():
            return
        if fault := task.exception():
            logger.error("MCP server %s: %r", name, fault, exc_info=fault)
            self._changed(name, f"The tools of the MCP server {name!r} cannot be used: {fault!r}")
        elif name in self._stale:
            self._tools_changed(name)

    def _take(self, connection: McpConnection, tools: list[McpTool]) -> bool:
        """Offer ``tools`` in place of what the server had; False if they are the same."""
        name = connection.name
        if self._listed.get(name) == tools:
            return False
        for old in self._added.get(name, ()):
            self._registry.remove(old)
        self.tool_failures.pop(name, None)
        self._added[name], self._listed[name] = [], tools
        for tool in tools:
            self._add(connection, tool)
        return True

    def _heard_of(self, name: str, reason: str) -> None:
        """Take what a connection says of its server; start one that has died again, once.

        One that is back may have other tools: it is ready when they have been listed.
        """
        if reason:
            self._changed(name, reason)
        # What lists its tools already has started it itself.
        if name in self._added and (reason or name not in self._opening):
            self._again.at_once(name)

    def _tools_changed(self, name: str) -> None:
        self._stale.add(name)
        if name in self._added and name not in self._opening:
            self._again.soon(name)

    def _list_again(self, name: str) -> None:
        if name in self._opening:
            self._stale.add(name)
            return
        self._again.begun(name)
        connection = next(c for c in self._connections if c.name == name)
        self._run(name, self._list(connection), "lists its tools")

    def _changed(self, name: str, reason: str) -> None:
        """Note and tell how a server is: ``reason`` says why it cannot be used; empty: it can."""
        if reason:
            self.failures[name] = reason
            started = name in self._added
            self._report(
                ToolServerChange(name, "gone" if started else "failed", self.tools_of(name), reason)
            )
        elif name in self._added:  # else its tools are not known yet
            self.failures.pop(name, None)
            self._report(ToolServerChange(name, "ready", self.tools_of(name)))

    def _add(self, connection: McpConnection, tool: McpTool) -> None:
        name = re.sub(r"[^A-Za-z0-9_-]", "_", tool.name)
        if name in self._registry or name in self._taken:
            name = f"{connection.name}_{name}"
        hints = tool.annotations
        server = connection.server
        spec = ToolSpec(
            name=name[:64],
            description=tool.description or tool.title or tool.name,
            parameters=tool.input_schema,
            # Without a word from the server a call may have changed something: let it finish.
            cancellable=bool(hints and hints.read_only_hint),
            dangerous=server.dangerous or bool(hints and hints.destructive_hint),
            timeout=server.timeout,
        )

        async def send(arguments: Mapping[str, object]) -> str:
            return await connection.call(tool.name, arguments)

        try:
            self._registry.add(RemoteTool(spec, send))
        except ValidationError as error:
            faults = self.tool_failures.setdefault(connection.name, {})
            faults[tool.name] = error.message
            return
        self._added[connection.name].append(spec.name)

    async def close(self) -> None:
        """Take the tools away and close the servers."""
        self._again.close()
        opening = list(self._opening.values())
        for task in opening:
            task.cancel()
        for names in self._added.values():
            for name in names:
                self._registry.remove(name)
        self._added.clear()
        self._listed.clear()
        self._stale.clear()
        self._tried.clear()
        if opening:
            await asyncio.wait(opening)
        await asyncio.gather(*(connection.drop() for connection in self._connections))

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()
