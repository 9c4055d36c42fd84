"""Bring the tools of MCP servers into a registry, over stdio or HTTP.

The configuration is the one MCP programs share::

    {"weather": {"command": "weather-server", "args": ["--metric"], "env": {"KEY": "…"}},
     "home": {"url": "http://localhost:8123/mcp", "headers": {"Authorization": "…"}}}

A server that cannot be reached is named in ``failures``; the others serve. One that dies
is started again at the next call. Protocol and transports are the official SDK's (mcp 2).
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import Self

import anyio
import httpx2
from mcp import Client, MCPError, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult, TextContent
from mcp_types import Tool as McpTool
from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic import ValidationError as PydanticValidationError

from coda_tools.registry import ToolRegistry
from coda_tools.remote_tool import RemoteTool
from coda_voice.errors import ConfigurationError, IntegrationError, ValidationError
from coda_voice.protocols import ToolSpec

UNREACHABLE = (OSError, MCPError, httpx2.HTTPError, anyio.BrokenResourceError, RuntimeError)
"""What the SDK raises when a server does not start, does not answer, or is gone."""


class McpServer(BaseModel):
    """One server: a command to run, or the address of one that runs."""

    model_config = ConfigDict(extra="forbid")

    command: str | None = None
    args: list[str] = Field(default_factory=list)
    env: dict[str, str] | None = None
    cwd: str | None = None
    url: str | None = None
    headers: dict[str, str] | None = None
    timeout: float = Field(default=10.0, gt=0)
    """Seconds a call may take."""
    connect_timeout: float = Field(default=20.0, gt=0)
    dangerous: bool = False
    """Ask the user aloud before each call, whatever the server says of its tools."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.command is None) == (self.url is None):
            raise ValueError("a server has either a command or a url")
        return self


class _Connection:
    """One server's client, held open by a task of its own.

    The SDK's scopes must be left by the task that entered them, so entering, staying and
    leaving happen in ``_hold``; calls may come from anywhere.
    """

    def __init__(self, name: str, server: McpServer) -> None:
        self.name = name
        self._server = server
        self._client: Client | None = None
        self._holder: asyncio.Task[None] | None = None
        self._leave = asyncio.Event()
        self._lock = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def _transport(self) -> AsyncIterator[Client]:
        server = self._server
        if server.command is not None:
            parameters = StdioServerParameters(
                command=server.command, args=server.args, env=server.env, cwd=server.cwd
            )
            async with Client(parameters) as client:
                yield client
            return
        timeout = httpx2.Timeout(server.connect_timeout, read=max(server.timeout, 30.0))
        async with httpx2.AsyncClient(headers=server.headers, timeout=timeout) as http:
            transport = streamable_http_client(server.url or "", http_client=http)
            async with Client(transport) as client:
                yield client

    async def _hold(self, opened: asyncio.Future[Client]) -> None:
        async with self._transport() as client:
            if not opened.done():
                opened.set_result(client)
            await self._leave.wait()

    async def client(self) -> Client:
        """Give the open client, opening it if need be. Raises IntegrationError."""
        async with self._lock:
            if self._client is not None and self._holder and not self._holder.done():
                return self._client
            self._leave.clear()
            opened: asyncio.Future[Client] = asyncio.get_running_loop().create_future()
            holder = asyncio.create_task(self._hold(opened), name=f"mcp {self.name}")
            either: set[asyncio.Task[None] | asyncio.Future[Client]] = {holder, opened}
            await asyncio.wait(
                either,
                timeout=self._server.connect_timeout,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if opened.done():
                self._holder, self._client = holder, opened.result()
                return self._client
            opened.cancel()
            reason = f"no answer within {self._server.connect_timeout:g} s"
            if holder.done() and (raised := holder.exception()) is not None:
                reason = _innermost(raised)
            holder.cancel()
            await asyncio.wait({holder})
            where = self._server.command or self._server.url
            raise IntegrationError(
                f"The MCP server {self.name!r} ({where}) cannot be used: {reason}. Check that it "
                "runs by itself.",
                server=self.name,
            )

    async def drop(self) -> None:
        """Close the client; the next call opens another."""
        holder, self._holder, self._client = self._holder, None, None
        if holder is None:
            return
        self._leave.set()
        await asyncio.wait({holder}, timeout=5.0)
        if not holder.done():
            holder.cancel()
            await asyncio.wait({holder})
        if not holder.cancelled():
            holder.exception()  # looked at, so that asyncio does not report it as lost

    async def call(self, tool: str, arguments: Mapping[str, object]) -> str:
        """Call a tool and give its text. Raises IntegrationError if it says it failed."""
        client = await self.client()
        try:
            result = await client.call_tool(
                tool, dict(arguments), read_timeout_seconds=self._server.timeout
            )
        except MCPError as error:
            if self._holder is not None and not await self._alive(client):
                await self.drop()
            raise IntegrationError(
                f"The MCP server {self.name!r} failed: {error}", server=self.name
            ) from error
        except UNREACHABLE as error:
            await self.drop()
            raise IntegrationError(
                f"The MCP server {self.name!r} is gone ({error or type(error).__name__}); the "
                "next call starts it again.",
                server=self.name,
            ) from error
        text = _text(result)
        if result.is_error:
            raise IntegrationError(text or f"{tool} failed without a reason", server=self.name)
        return text

    async def _alive(self, client: Client) -> bool:
        """Whether the server still answers, told by what costs it least."""
        try:
            async with asyncio.timeout(1.0):
                await client.list_tools(cache_mode="refresh")
        except (*UNREACHABLE, TimeoutError):
            return False
        return True


class McpServers:
    """All servers of a configuration, as an async context; their tools join ``registry``.

    Two tools of one name are told apart by their server's name before it (``home_status``).
    Raises ConfigurationError for a configuration of the wrong shape.
    """

    def __init__(self, config: Mapping[str, object], registry: ToolRegistry) -> None:
        self.failures: dict[str, str] = {}
        self._registry = registry
        self._connections: list[tuple[_Connection, McpServer]] = []
        self._added: list[str] = []
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
            self._connections.append((_Connection(str(name), checked), checked))

    async def __aenter__(self) -> Self:
        await asyncio.gather(*(self._open(c, server) for c, server in self._connections))
        return self

    async def _open(self, connection: _Connection, server: McpServer) -> None:
        try:
            client = await connection.client()
            tools: list[McpTool] = []
            cursor: str | None = None
            for _page in range(20):
                listed = await client.list_tools(cursor=cursor)
                tools += listed.tools
                cursor = listed.next_cursor
                if cursor is None:
                    break
        except IntegrationError as error:
            self.failures[connection.name] = error.message
            return
        except UNREACHABLE as error:
            self.failures[connection.name] = f"its tools cannot be listed: {error}"
            return
        for tool in tools:
            self._add(connection, server, tool)

    def _add(self, connection: _Connection, server: McpServer, tool: McpTool) -> None:
        name = re.sub(r"[^A-Za-z0-9_-]", "_", tool.name)
        if name in self._registry:
            name = f"{connection.name}_{name}"
        hints = tool.annotations
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
        self._added.append(spec.name)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for name in self._added:
            self._registry.remove(name)
        await asyncio.gather(*(connection.drop() for connection, _ in self._connections))


def _text(result: CallToolResult) -> str:
    texts = [block.text for block in result.content if isinstance(block, TextContent)]
    others = len(result.content) - len(texts)
    if others:
        texts.append(f"({others} part(s) that are no text were left out)")
    return "\n".join(texts)


def _innermost(error: BaseException) -> str:
    """Give the reason inside the groups that task groups wrap around it."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error) or type(error).__name__
