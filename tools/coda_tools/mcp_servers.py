"""Bring the tools of MCP servers into a registry, over stdio or HTTP.

The configuration is the one MCP programs share::

    {"weather": {"command": "weather-server", "args": ["--metric"], "env": {"KEY": "…"}},
     "home": {"url": "http://localhost:8123/mcp", "headers": {"Authorization": "…"}}}

A server that cannot be reached is named in ``failures`` and costs only its own tools. One
that dies is started again at once, and where that fails by the next call of a tool of it; one
that did not start, by a later ``connect``.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Collection, Mapping
from functools import partial
from types import TracebackType
from typing import Self

from mcp_types import Tool as McpTool
from pydantic import ValidationError as PydanticValidationError

from coda_tools.mcp_connection import McpConnection
from coda_tools.registry import ToolRegistry
from coda_tools.remote_tool import RemoteTool
from coda_voice.config.mcp import McpServer
from coda_voice.errors import ConfigurationError, IntegrationError, ValidationError
from coda_voice.protocols import ToolServerChange, ToolSpec

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
        """Why a server, or (``server.tool``) one of its tools, cannot be used."""
        self._registry = registry
        self._taken = frozenset(taken)
        self._report = report
        self._connections: list[McpConnection] = []
        self._added: dict[str, list[str]] = {}
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
            connection = McpConnection(str(name), checked, partial(self._heard_of, str(name)))
            self._connections.append(connection)

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
            task = asyncio.create_task(self._open(connection), name=f"mcp {name} opens")
            self._opening[name] = task
            if tried is None:
                first.add(task)
        if first:
            await asyncio.wait(first, timeout=wait)

    async def _open(self, connection: McpConnection) -> None:
        name = connection.name
        try:
            tools = await connection.tools()
        except IntegrationError as error:
            self._changed(name, error.message)
        else:
            self._added[name] = []
            for tool in tools:
                self._add(connection, tool)
            self._changed(name, "")
        finally:
            self._opening.pop(name, None)

    def _heard_of(self, name: str, reason: str) -> None:
        """Take what a connection says of its server; start one that has died again, once."""
        self._changed(name, reason)
        if reason and name in self._added and name not in self._opening:
            connection = next(c for c in self._connections if c.name == name)
            self._opening[name] = asyncio.create_task(self._reopen(connection))

    async def _reopen(self, connection: McpConnection) -> None:
        try:
            await connection.client()
        except IntegrationError as error:
            self._changed(connection.name, error.message)
        finally:
            self._opening.pop(connection.name, None)

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
            self.failures[f"{connection.name}.{tool.name}"] = error.message
            return
        self._added[connection.name].append(spec.name)

    async def close(self) -> None:
        """Take the tools away and close the servers."""
        opening = list(self._opening.values())
        for task in opening:
            task.cancel()
        if opening:
            await asyncio.wait(opening)
        for names in self._added.values():
            for name in names:
                self._registry.remove(name)
        self._added.clear()
        self._tried.clear()
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
