"""A server of this machine, for as long as one program talks to it.

Run as a module it is that server: it ends when its standard input does, so that none is left over
when the program that started it is killed.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from coda_voice.errors import VoiceInitializationError

ANNOUNCEMENT = b"Talk to it at "
STOP_SECONDS = 20.0
CHUNK_BYTES = 65_536
KEPT_BYTES = 4_000
"""Of what the server complained about last."""


@asynccontextmanager
async def local_server(config: Path | None = None) -> AsyncIterator[str]:
    """Serve in a process of its own on a free port of this machine; gives the address.

    A process: the models' thread and a screen in one interpreter would wait for each other.
    Raises VoiceInitializationError with what the server said when it does not start, or ends
    before it is told to.
    """
    chosen = ["--config", str(config)] if config is not None else []
    command = [sys.executable, "-m", "coda_voice.cli.local_server", *chosen]
    pipe = asyncio.subprocess.PIPE
    server = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe)
    assert server.stdout is not None and server.stderr is not None  # both are pipes
    said = bytearray()
    # Both are read to the end, or a server that has much to say would stand still.
    draining = [asyncio.create_task(_drain(server.stderr, said))]
    try:
        address = await _announced(server.stdout)
        if address is None:
            await asyncio.gather(*draining)
            raise VoiceInitializationError(
                f"The server of this machine did not start: {_last_words(said)}"
            )
        draining.append(asyncio.create_task(_drain(server.stdout, bytearray())))
        yield address
        if server.returncode is not None:
            raise VoiceInitializationError(
                f"The server of this machine ended by itself: {_last_words(said)}"
            )
    finally:
        if server.returncode is None:
            server.terminate()
            try:
                await asyncio.wait_for(server.wait(), STOP_SECONDS)
            except TimeoutError:
                server.kill()
                await server.wait()
        for task in draining:
            task.cancel()


async def _announced(stdout: asyncio.StreamReader) -> str | None:
    async for line in stdout:
        if line.startswith(ANNOUNCEMENT):
            return line.removeprefix(ANNOUNCEMENT).split()[0].decode()
    return None


async def _drain(stream: asyncio.StreamReader, last: bytearray) -> None:
    while chunk := await stream.read(CHUNK_BYTES):
        last += chunk
        del last[:-KEPT_BYTES]


def _last_words(said: bytearray) -> str:
    return said.decode(errors="replace").strip() or "it said nothing"


def _end_with_stdin() -> None:
    while sys.stdin.buffer.read(CHUNK_BYTES):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    """Serve on this machine alone until told to end, or until nobody is there to tell."""
    from coda_voice.cli.main import main as coda_voice

    threading.Thread(target=_end_with_stdin, daemon=True).start()
    coda_voice(["serve", "--host", "127.0.0.1", "--port", "0", *sys.argv[1:]])


if __name__ == "__main__":
    main()
