"""A server on real sockets in a thread of its own, and a client of /v1/stream, for tests."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import websockets
from numpy.typing import NDArray
from websockets.asyncio.client import ClientConnection

from coda_voice.config import VoiceConfig
from coda_voice.manager import VoiceManager
from coda_voice.server.app import Routes, create_app
from coda_voice.server.front import Front
from coda_voice.server.run import Server, listen, make_server

FRAME_BYTES = 3_840
ROOT = Path(__file__).parents[2]


async def until(true: Callable[[], bool]) -> None:
    """Wait for what comes to be by itself, at most a minute of waiting."""
    for _ in range(6_000):
        if true():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come to be")


class RunningServer:
    """Where the server is, and its inside."""

    def __init__(
        self, port: int, front: Front, server: Server, failed: list[BaseException]
    ) -> None:
        self.failed = failed
        self.port = port
        self.front = front
        self.uvicorn = server
        self._ticks = 0
        on_tick = server.on_tick

        async def counted(counter: int) -> bool:
            self._ticks += 1
            return await on_tick(counter)

        server.on_tick = counted  # type: ignore[method-assign]
        self.http = f"http://127.0.0.1:{port}"
        self.ws = f"ws://127.0.0.1:{port}"

    def ticks(self) -> int:
        """How often the server has looked whether it is to stop, so far."""
        return self._ticks

    def terminate(self) -> None:
        """Do what SIGTERM does."""
        loop = self.front.log._loop
        assert loop is not None
        loop.call_soon_threadsafe(self.uvicorn.handle_exit, signal.SIGTERM, None)


@contextmanager
def voice_server(
    manager: VoiceManager | None = None, routes: Sequence[Routes] = (), **settings: Any
) -> Iterator[RunningServer]:
    """Serve coda-tiny. ``settings`` as for VoiceConfig.load, a section or ``section__key`` each."""
    given = {
        "moshi__device": "cpu",
        "moshi__threads": 1,
        "moshi__slots": 2,
        "server__port": 0,
        "logging__level": "error",
        **settings,
    }
    app = create_app(VoiceConfig.load(env={}, **given), manager=manager, routes=routes)
    front: Front = app.state.front
    listening = listen(front.settings)
    server = make_server(app)
    failed: list[BaseException] = []

    def run() -> None:
        try:
            asyncio.run(server.serve(sockets=[listening]))
        except BaseException as error:
            failed.append(error)
            raise

    thread = threading.Thread(target=run, name="server")
    thread.start()
    waited = threading.Event()
    while not server.started:
        if not thread.is_alive():
            raise RuntimeError(f"the server did not start: {failed}")
        waited.wait(0.01)
    try:
        yield RunningServer(listening.getsockname()[1], front, server, failed)
    finally:
        server.should_exit = True
        thread.join(30)
        listening.close()
        assert not thread.is_alive(), "the server did not stop"


@contextmanager
def serving_process(*arguments: str, **env: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run `coda-voice serve` on a free port; gives the process and its ws:// address."""
    command = [sys.executable, "-m", "coda_voice.cli.main", "serve", "--port", "0"]
    process = subprocess.Popen(
        [*command, "--device", "cpu", *arguments],
        env={**os.environ, "CODA_VOICE__MOSHI__THREADS": "1", **env},
        cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None and process.stderr is not None
    try:
        line = process.stdout.readline()
        assert "://127.0.0.1:" in line, process.stderr.read()
        yield process, "ws" + line[line.index("http") :].split()[0].removeprefix("http")
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(30)
        process.stdout.close()
        process.stderr.close()


class StreamClient:
    """A client of /v1/stream that sends a frame and waits for its answer."""

    def __init__(self, url: str, **connect: Any) -> None:
        self._connecting = websockets.connect(url, max_size=None, **connect)
        self.messages: list[dict[str, Any]] = []
        self.audio = bytearray()
        self.socket: ClientConnection

    async def __aenter__(self) -> StreamClient:
        self.socket = await self._connecting
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.socket.close()

    async def receive(self) -> bytes | dict[str, Any]:
        """Give the next message; JSON ones are also kept in ``messages``."""
        async with asyncio.timeout(120):
            message = await self.socket.recv()
        if isinstance(message, bytes):
            self.audio += message
            return message
        told: dict[str, Any] = json.loads(message)
        self.messages.append(told)
        return told

    async def until(self, type: str, **fields: Any) -> dict[str, Any]:
        """Read until a message of that type with those fields."""
        while True:
            told = await self.receive()
            if isinstance(told, bytes) or told["type"] != type:
                continue
            if all(told.get(key) == value for key, value in fields.items()):
                return told

    async def ready(self) -> dict[str, Any]:
        return await self.until("status", status="ready")

    async def tell(self, type: str, **fields: Any) -> None:
        await self.socket.send(json.dumps({"type": type, **fields}))

    async def frame(self, pcm: bytes = bytes(FRAME_BYTES)) -> bytes:
        """Send audio that makes one frame; give the agent's."""
        await self.socket.send(pcm)
        while True:
            answer = await self.receive()
            if isinstance(answer, bytes):
                return answer

    async def say(self, pcm: NDArray[np.float32]) -> bytes:
        """Say 24 kHz samples frame by frame; give the agent's bytes of the same time."""
        data = (np.clip(pcm, -1, 1) * 32767).astype("<i2").tobytes()
        data += bytes(-len(data) % FRAME_BYTES)
        heard = [
            await self.frame(data[at : at + FRAME_BYTES]) for at in range(0, len(data), FRAME_BYTES)
        ]
        return b"".join(heard)

    async def closed(self) -> int:
        """Read to the end; give the close code."""
        try:
            while True:
                await self.receive()
        except websockets.ConnectionClosed:
            assert self.socket.close_code is not None
            return self.socket.close_code

    def told(self, type: str) -> list[dict[str, Any]]:
        return [message for message in self.messages if message["type"] == type]
