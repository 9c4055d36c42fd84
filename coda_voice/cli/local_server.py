"""A server of this machine, for as long as one program talks to it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from coda_voice.errors import VoiceInitializationError

ANNOUNCEMENT = b"Talk to it at "
STOP_SECONDS = 20.0


@asynccontextmanager
async def local_server(config: Path | None = None) -> AsyncIterator[str]:
    """Serve in a process of its own on a free port of this machine; gives the address.

    A process: the models' thread and a screen in one interpreter would wait for each other.
    Raises VoiceInitializationError with what the server said when it does not start.
    """
    chosen = ["--config", str(config)] if config is not None else []
    command = [sys.executable, "-m", "coda_voice.cli.main", "serve", "--port", "0", *chosen]
    server = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    assert server.stdout is not None and server.stderr is not None  # both are pipes
    said: list[bytes] = []
    # Both are read to the end, or a server that has much to say would stand still.
    complaints = asyncio.create_task(_collect(server.stderr, said))
    try:
        async for line in server.stdout:
            if line.startswith(ANNOUNCEMENT):
                address = line.removeprefix(ANNOUNCEMENT).split()[0].decode()
                break
        else:
            await complaints
            reason = b"".join(said).decode(errors="replace").strip() or "it said nothing"
            raise VoiceInitializationError(f"The server of this machine did not start: {reason}")
        rest = asyncio.create_task(_collect(server.stdout, []))
        try:
            yield address
        finally:
            rest.cancel()
    finally:
        if server.returncode is None:
            server.terminate()
            try:
                await asyncio.wait_for(server.wait(), STOP_SECONDS)
            except TimeoutError:
                server.kill()
                await server.wait()
        complaints.cancel()


async def _collect(stream: asyncio.StreamReader, lines: list[bytes], kept: int = 20) -> None:
    async for line in stream:
        lines.append(line)
        del lines[:-kept]
