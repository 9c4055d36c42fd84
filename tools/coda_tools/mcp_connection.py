"""One MCP server, held open over stdio or HTTP; opened again when it has died.

Protocol and transports are the official SDK's (mcp 2).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping

import anyio
import httpx2
from mcp import Client, MCPError, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult, TextContent
from mcp_types import Tool as McpTool

from coda_voice.config.mcp import McpServer
from coda_voice.errors import IntegrationError

UNREACHABLE = (OSError, MCPError, httpx2.HTTPError, anyio.BrokenResourceError, RuntimeError)
"""What the SDK raises when a server does not start, does not answer, or is gone."""
MAX_PAGES = 20
"""Of a list of tools."""
CLOSE_SECONDS = 5.0


class McpConnection:
    """One server's client, held open by a task of its own.

    The SDK's scopes must be left by the task that entered them, so entering, staying and
    leaving happen in ``_hold``; calls may come from anywhere. ``on_state`` is told an empty
    text when the server answers, and the reason when it has gone.
    """

    def __init__(
        self, name: str, server: McpServer, on_state: Callable[[str], None] = lambda reason: None
    ) -> None:
        self.name = name
        self.server = server
        self._on_state = on_state
        self._client: Client | None = None
        self._holder: asyncio.Task[None] | None = None
        self._leave = asyncio.Event()
        self._lock = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def _transport(self) -> AsyncIterator[Client]:
        server = self.server
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

    async def _hold(self, opened: asyncio.Future[Client], leave: asyncio.Event) -> None:
        async with self._transport() as client:
            if not opened.done():
                opened.set_result(client)
            await leave.wait()

    async def client(self) -> Client:
        """Give the open client, opening it if need be. Raises IntegrationError."""
        async with self._lock:
            if self._client is not None and self._holder and not self._holder.done():
                return self._client
            opened: asyncio.Future[Client] = asyncio.get_running_loop().create_future()
            leave = asyncio.Event()
            holder = asyncio.create_task(self._hold(opened, leave), name=f"mcp {self.name}")
            holder.add_done_callback(_look_at)
            either: set[asyncio.Task[None] | asyncio.Future[Client]] = {holder, opened}
            try:
                await asyncio.wait(
                    either,
                    timeout=self.server.connect_timeout,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if opened.done():
                    self._holder, self._leave, self._client = holder, leave, opened.result()
                    self._on_state("")
                    return self._client
                opened.cancel()
                raise await self._cannot_be_used(holder)
            finally:
                if self._holder is not holder:  # the caller may have been cancelled, too
                    holder.cancel()

    async def _cannot_be_used(self, holder: asyncio.Task[None]) -> IntegrationError:
        reason = f"no answer within {self.server.connect_timeout:g} s"
        if holder.done() and (raised := holder.exception()) is not None:
            reason = _innermost(raised)
        holder.cancel()
        await asyncio.wait({holder})
        where = self.server.command or self.server.url
        return IntegrationError(
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
        await asyncio.wait({holder}, timeout=CLOSE_SECONDS)
        if not holder.done():
            holder.cancel()
            await asyncio.wait({holder})

    async def tools(self) -> list[McpTool]:
        """List the server's tools, in ``connect_timeout``; IntegrationError if it cannot."""
        client = await self.client()
        try:
            async with asyncio.timeout(self.server.connect_timeout):
                return await _listed(client)
        except (*UNREACHABLE, TimeoutError) as error:
            # What has not told its tools is of no use; the next attempt begins with another.
            await self.drop()
            reason = str(error) or f"no answer within {self.server.connect_timeout:g} s"
            raise IntegrationError(
                f"The tools of the MCP server {self.name!r} cannot be listed: {reason}",
                server=self.name,
            ) from error

    async def call(self, tool: str, arguments: Mapping[str, object]) -> str:
        """Call a tool and give its text. Raises IntegrationError if it says it failed."""
        client = await self.client()
        try:
            result = await client.call_tool(
                tool, dict(arguments), read_timeout_seconds=self.server.timeout
            )
        except UNREACHABLE as error:
            if isinstance(error, MCPError) and await self._alive(client):
                raise IntegrationError(
                    f"The MCP server {self.name!r} failed: {error}", server=self.name
                ) from error
            gone = (
                f"The MCP server {self.name!r} is gone ({error or type(error).__name__}); it is "
                "started again."
            )
            if self._client is client:  # else another call has seen it before, and it is back
                await self.drop()
                self._on_state(gone)
            raise IntegrationError(gone, server=self.name) from error
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


async def _listed(client: Client) -> list[McpTool]:
    tools: list[McpTool] = []
    cursor: str | None = None
    for _page in range(MAX_PAGES):
        listed = await client.list_tools(cursor=cursor)
        tools += listed.tools
        cursor = listed.next_cursor
        if cursor is None:
            break
    return tools


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


def _look_at(holder: asyncio.Task[None]) -> None:
    """Look at what ended the task, so that asyncio does not report it as lost."""
    if not holder.cancelled():
        holder.exception()
