"""For tests with MCP servers: the servers, and who waits for what is told of them."""

import asyncio
import contextlib
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from coda_tools import ToolRegistry

SERVER = str(Path(__file__).parent / "data" / "mcp_server.py")
STDIO = {"command": sys.executable, "args": [SERVER], "timeout": 10.0, "connect_timeout": 30.0}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.asynccontextmanager
async def http_server(*script: str, port: int | None = None) -> AsyncIterator[str]:
    port = port or free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable, *(script or (SERVER,)), str(port), stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(60):
            while True:
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.close()
                    await writer.wait_closed()
                    break
                await asyncio.sleep(0.05)
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        process.kill()  # it would wait for the streams that its clients hold open
        await process.wait()


def offered(registry: ToolRegistry) -> set[str]:
    return {spec.name for spec in registry.specs()}


class Told(list):
    """What was told of servers, and a way to wait until there is so much of it."""

    def __init__(self):
        self._more = asyncio.Event()

    def append(self, change):
        super().append(change)
        self._more.set()

    async def until(self, count):
        async with asyncio.timeout(30):
            while len(self) < count:
                self._more.clear()
                await self._more.wait()

    async def until_ready_with(self, tool):
        count = 1
        while True:
            await self.until(count)
            if any(each.state == "ready" and tool in each.tools for each in self):
                return
            count = len(self) + 1
