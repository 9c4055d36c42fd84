"""One MCP server, held open over stdio or HTTP; opened again when it has died.

Protocol and transports are the official SDK's (mcp 2).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Mapping

import anyio
import httpx2
from mcp import Client, MCPError, StdioServerParameters
from mcp.client.session import IncomingMessage
from mcp.client.streamable_http import streamable_http_client
from mcp.client.subscriptions import ListenNotSupportedError
from mcp_types import (
    CONNECTION_CLOSED,
    REQUEST_TIMEOUT,
    CallToolResult,
    TextContent,
    ToolListChangedNotification,
)
from mcp_types import Tool as McpTool

from coda_voice.config.mcp import McpServer
from coda_voice.errors import IntegrationError

logger = logging.getLogger(__name__)

UNREACHABLE = (
    OSError,
    MCPError,
    httpx2.HTTPError,
    RuntimeError,
    anyio.BrokenResourceError,
    anyio.ClosedResourceError,
)
"""What the SDK raises when a server does not start, does not answer, or is gone."""
MAX_PAGES = 20
"""Of a list of tools."""
CLOSE_SECONDS = 5.0
LISTEN_AGAIN_SECONDS = 30.0
"""After the stream of a server's changes was lost."""


class ServerBusy(IntegrationError):
    """A server that is at work, or slow: it gave no answer, and was not closed."""


def _nothing() -> None:
    """Do nothing."""


class McpConnection:
    """One server's client, held open by a task of its own.

    The SDK's scopes must be left by the task that entered them, so entering, staying and
    leaving happen in ``_hold``; calls may come from anywhere. ``on_state`` is told an empty
    text when the server answers, and the reason when it has gone; ``on_tools`` is called when
    its tools have changed, or may have.
    """

    def __init__(
        self,
        name: str,
        server: McpServer,
        on_state: Callable[[str], None] = lambda reason: None,
        on_tools: Callable[[], None] = _nothing,
    ) -> None:
        self.name = name
        self.server = server
        self._on_state = on_state
        self._on_tools = on_tools
        self._client: Client | None = None
        self._holder: asyncio.Task[None] | None = None
        self._leave = asyncio.Event()
        self._lock = asyncio.Lock()
        self._calls = 0
        """Under way."""

    @property
    def is_open(self) -> bool:
        """Whether the server runs, as far as is known."""
        return self._client is not None and self._holder is not None and not self._holder.done()

    @contextlib.asynccontextmanager
    async def _transport(self) -> AsyncIterator[Client]:
        server = self.server
        if server.command is not None:
            parameters = StdioServerParameters(
                command=server.command, args=server.args, env=server.env, cwd=server.cwd
            )
            async with Client(parameters, message_handler=self._told) as client:
                yield client
            return
        timeout = httpx2.Timeout(server.connect_timeout, read=max(server.timeout, 30.0))
        async with httpx2.AsyncClient(headers=server.headers, timeout=timeout) as http:
            transport = streamable_http_client(server.url or "", http_client=http)
            async with Client(transport, message_handler=self._told) as client:
                yield client

    async def _hold(self, opened: asyncio.Future[Client], leave: asyncio.Event) -> None:
        async with self._transport() as client:
            if not opened.done():
                opened.set_result(client)
            listening = asyncio.create_task(self._listen(client), name=f"mcp {self.name} listens")
            listening.add_done_callback(_tell_of)
            try:
                await leave.wait()
            finally:
                listening.cancel()
                await asyncio.wait({listening})

    async def _told(self, message: IncomingMessage) -> None:
        """Take what the server tells unasked; what is listened for comes here, too."""
        if isinstance(message, ToolListChangedNotification):
            self._on_tools()

    async def _listen(self, client: Client) -> None:
        """Ask to be told of changes; servers of before 2026 tell of them unasked."""
        can_be = False
        while True:
            try:
                async with client.listen(tools_list_changed=True) as changes:
                    can_be = True
                    self._on_tools()  # they may have changed before it was listened to
                    async for _change in changes:  # ``_told`` has it as well
                        pass
            except ListenNotSupportedError:
                return
            except (*UNREACHABLE, ValueError) as error:
                refused = isinstance(error, MCPError) and error.code != CONNECTION_CLOSED
                if refused and not can_be:
                    return
                if self.server.command is not None:
                    self._on_tools()  # a process that ends its stream has most likely died
            await asyncio.sleep(LISTEN_AGAIN_SECONDS)
            self._on_tools()  # it was away for a while: what it would have told is asked for

    async def client(self) -> Client:
        """Give the open client, opening it if need be. Raises IntegrationError."""
        async with self._lock:
            if self._client is not None and self.is_open:
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

    async def tools(self, *, again: bool = False) -> list[McpTool]:
        """List the server's tools, in ``connect_timeout``; IntegrationError if it cannot.

        again: they have been listed before; ServerBusy, and nothing is closed, where the server
        takes too long. It may be busy with a call.
        """
        client = await self.client()
        try:
            async with asyncio.timeout(self.server.connect_timeout):
                return await _listed(client)
        except (*UNREACHABLE, ValueError) as error:
            late = isinstance(error, TimeoutError)
            reason = _brief(error)
            if late:
                reason = f"no answer within {self.server.connect_timeout:g} s"
            failed = f"The tools of the MCP server {self.name!r} cannot be listed: {reason}"
            if self._calls or (again and late):
                raise ServerBusy(failed, server=self.name) from error
            # What does not tell its tools is of no use; the next attempt begins with another.
            if self._client is client:
                await self.drop()
            raise IntegrationError(failed, server=self.name) from error

    async def call(self, tool: str, arguments: Mapping[str, object]) -> str:
        """Call a tool and give its text. Raises IntegrationError if it says it failed."""
        client = await self.client()
        self._calls += 1
        try:
            result = await client.call_tool(
                tool, dict(arguments), read_timeout_seconds=self.server.timeout
            )
        except UNREACHABLE as error:
            late = isinstance(error, MCPError) and error.code == REQUEST_TIMEOUT
            if (late and self._calls > 1) or (
                isinstance(error, MCPError) and await self._alive(client)
            ):
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
        finally:
            self._calls -= 1
        text = _text(result)
        if result.is_error:
            raise IntegrationError(text or f"{tool} failed without a reason", server=self.name)
        return text

    async def _alive(self, client: Client) -> bool:
        """Whether the server still answers, told by what costs it least."""
        try:
            async with asyncio.timeout(1.0):
                await client.list_tools(cache_mode="refresh")
        except UNREACHABLE:
            return False
        except ValueError:
            return True  # an answer, if not one that can be read
        return True


async def _listed(client: Client) -> list[McpTool]:
    tools: list[McpTool] = []
    cursor: str | None = None
    for _page in range(MAX_PAGES):
        listed = await client.list_tools(cursor=cursor, cache_mode="refresh")
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


def _brief(error: BaseException) -> str:
    """Give it in one line: what checks a message against its schema writes a page."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def _tell_of(listening: asyncio.Task[None]) -> None:
    if not listening.cancelled() and (fault := listening.exception()):
        logger.warning("%s no more: %r", listening.get_name(), fault, exc_info=fault)


def _look_at(holder: asyncio.Task[None]) -> None:
    """Look at what ended the task, so that asyncio does not report it as lost."""
    if not holder.cancelled():
        holder.exception()
