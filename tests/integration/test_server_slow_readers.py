"""Who reads slowly, or nothing: brought to real time, counted, then closed, by every protocol."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets
from coda_integrations import connection
from websockets.asyncio.client import ClientConnection

from coda_voice.scripted_voice import ScriptedVoice
from coda_voice.server import outputs, run
from coda_voice.server import socket as server_socket
from coda_voice.server.front import Front
from tests.integration.good_company import MALLORY, good_company, guarded_server, settled
from tests.integration.voice_server import FRAME_BYTES, RunningServer, until

pytestmark = pytest.mark.timeout(900)
HOUSE = {"Authorization": "Bearer key-of-the-house-0123"}
FRESH = 10
"""Frames; all that was said while nobody read is far more."""
LONG = " ".join(["One two three four five six seven eight nine ten."] * 8)


def keys_file(folder: Path) -> str:
    """Write the key with which the figures are read."""
    keys = folder / "keys.yaml"
    keys.write_text("[{key: key-of-the-house-0123, subject: house, scopes: [admin, events, talk]}]")
    return str(keys)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("keys")
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.ExitStack() as stack,
    ):
        patch.setattr(run, "SEND_BUFFER_BYTES", 4_096)  # so that a test need not last minutes
        patch.setattr(run, "PING_SECONDS", 600.0)  # who reads nothing answers no pings either
        yield stack.enter_context(guarded_server(folder, server__keys_file=keys_file(folder)))


@dataclass(frozen=True)
class Edge:
    """A protocol: where it is, what a client says first, and what of it is sound."""

    path: str
    hello: str | None
    sound: str | None
    """Type of the messages of sound; None: all that are binary."""

    def is_sound(self, message: str | bytes) -> bool:
        if isinstance(message, bytes):
            return self.sound is None
        return bool(json.loads(message)["type"] == self.sound)


START = '{"type": "session.start", "session": {"model": "m"}}'
STREAM = Edge("/v1/stream?sample_rate=48000", None, None)
EDGES = (
    STREAM,
    Edge("/v1/live/sessions", START, "session.output_audio.delta"),
    Edge("/v1/realtime", None, "response.output_audio.delta"),
)


class Sluggard:
    """A client that talks, and reads when the test wants; little waits on its side."""

    def __init__(self, server: RunningServer, edge: Edge, ws: ClientConnection) -> None:
        self.server = server
        self.edge = edge
        self.ws = ws
        self.sent = 0
        self.read: list[str | bytes] = []

    @property
    def told(self) -> list[dict[str, Any]]:
        return [json.loads(message) for message in self.read if isinstance(message, str)]

    @property
    def sounds(self) -> int:
        return sum(self.edge.is_sound(message) for message in self.read)

    async def talk(self) -> None:
        """Have the agent speak: it answers sound, or silence, or is given a text to say."""
        if self.edge is STREAM:
            while True:
                await self.ws.send(bytes(2 * FRAME_BYTES))
                self.sent += 1
                await asyncio.sleep(0.08)
        voices = [
            attendant
            for session in self.server.front.sessions.all()
            if session.caller.subject == "mallory"
            for attendant in session.conversation.attendants
            if isinstance(attendant, ScriptedVoice)
        ]
        loop = self.server.front.log._loop
        assert loop is not None
        while True:
            for voice in voices:
                if voice.idle:
                    loop.call_soon_threadsafe(voice.say, LONG)
            await asyncio.sleep(0.5)

    @property
    def pending(self) -> bool:
        """Whether more waits on the server for this client."""
        (session,) = self.server.front.sessions.all()
        return len(session.outbox) > FRESH

    async def next(self) -> str | bytes:
        async with asyncio.timeout(120):
            message = await self.ws.recv()
        self.read.append(message)
        return message

    async def to_the_end(self) -> int | None:
        with contextlib.suppress(websockets.ConnectionClosed):
            while True:
                await self.next()
        return self.ws.close_code


@contextlib.asynccontextmanager
async def sluggard(server: RunningServer, edge: Edge) -> AsyncIterator[Sluggard]:
    """Connect and begin to talk."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    sock.connect(("127.0.0.1", server.port))
    async with websockets.connect(
        f"{server.ws}{edge.path}", sock=sock, additional_headers=MALLORY,
        max_queue=1, max_size=None, ping_interval=None, open_timeout=60, close_timeout=1,
    ) as ws:  # fmt: skip
        client = Sluggard(server, edge, ws)
        if edge.hello is not None:
            await ws.send(edge.hello)
        await client.next()
        talking = asyncio.create_task(client.talk())
        try:
            yield client
        finally:
            talking.cancel()
            await asyncio.gather(talking, return_exceptions=True)


class Figures:
    """What the server counts, as a monitor sees it."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def get(self, name: str) -> float:
        text = (await self._http.get("/metrics")).text
        found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found is not None else 0.0

    async def until_above(self, name: str, value: float) -> float:
        async with asyncio.timeout(300):  # nine conversations on a machine that does five others
            now = await self.get(name)
            while now <= value:
                await asyncio.sleep(0.1)
                now = await self.get(name)
        return now


LOST = 'coda_frames_dropped_total{where="output"}'
UNTOLD = "coda_messages_dropped_total"
CLOSED = 'coda_conversations_ended_total{reason="slow_reader"}'


@contextlib.asynccontextmanager
async def figures(server: RunningServer) -> AsyncIterator[Figures]:
    async with httpx.AsyncClient(base_url=server.http, headers=HOUSE, timeout=60) as http:
        yield Figures(http)


async def test_who_reads_nothing_is_counted_and_closed(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(outputs, "SLOW_SECONDS", 2.0)
    for module in (server_socket, connection):  # enough for a slow machine to read the last words
        monkeypatch.setattr(module, "LAST_WORDS_SECONDS", 60.0)
    async with good_company(server), figures(server) as seen, contextlib.AsyncExitStack() as stack:
        lost, closed = await seen.get(LOST), await seen.get(CLOSED)
        clients = [await stack.enter_async_context(sluggard(server, edge)) for edge in EDGES]
        await seen.until_above(LOST, lost)
        await seen.until_above(CLOSED, closed + len(EDGES) - 1)
        for client in clients:
            assert await client.to_the_end() == 1008, client.edge.path
            error = [told for told in client.told if told["type"] == "error"][-1]
            codes = error.get("code"), error.get("error", {}).get("code")
            assert "slow_reader" in codes, client.edge.path
    await settled(server)


@pytest.mark.parametrize("edge", EDGES, ids=lambda edge: edge.path)
async def test_who_reads_late_hears_the_present(
    server: RunningServer, edge: Edge, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(outputs, "SLOW_SECONDS", 600.0)
    async with figures(server) as seen:
        lost = await seen.get(LOST)
        async with sluggard(server, edge) as client:
            await seen.until_above(LOST, lost + outputs.AUDIO_FRAMES / 2)
            # It reads what has waited, as fast as it can, and then what is said from now on.
            (session,) = server.front.sessions.all()
            spoken = session.frames_out
            while session.frames_out < spoken + FRESH or client.pending:
                await client.next()
            total, heard = await seen.get(LOST), client.sounds
            while client.sounds < heard + FRESH:
                await client.next()
            assert await seen.get(LOST) == total, "nothing is lost of one who keeps up"
            assert not [told for told in client.told if told["type"] == "error"]
            if edge is STREAM:
                dropped = [t["frames"] for t in client.told if t.get("where") == "output"]
                assert sum(dropped) == total - lost, "and it is told what it has missed"
                # Each frame was sent or lost; what it hears is the last one, not one of before.
                assert session.frames_out - client.sounds - sum(dropped) <= FRESH
    await settled(server)


@contextlib.contextmanager
def closing_server(folder: Path, **settings: Any) -> Iterator[RunningServer]:
    """Serve one conversation, on a server that waits a second for sockets when it closes."""
    with guarded_server(
        folder, moshi__slots=1, server__keys_file=keys_file(folder), **settings
    ) as server:
        server.uvicorn.config.timeout_graceful_shutdown = 1
        yield server


@pytest.mark.parametrize("edge", EDGES, ids=lambda edge: edge.path)
@pytest.mark.parametrize("reads", [True, False], ids=["late", "never"])
async def test_who_reads_slowly_is_told_of_a_shutdown_or_what_was_dropped_is_counted(
    edge: Edge, reads: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(run, "SEND_BUFFER_BYTES", 4_096)
    monkeypatch.setattr(outputs, "SLOW_SECONDS", 600.0)
    patience = 60.0 if reads else 0.2
    for module in (server_socket, connection, run):
        monkeypatch.setattr(module, "LAST_WORDS_SECONDS", patience)
    with closing_server(tmp_path, server__drain_seconds=0.1) as server:
        front = server.front
        async with sluggard(server, edge) as client:
            async with figures(server) as seen:
                lost = await seen.until_above(LOST, outputs.AUDIO_FRAMES / 5)
            server.terminate()
            await until(front.stopping.is_set)
            assert not front.sessions.all()
            if reads:
                ticks = server.ticks()
                await until(lambda: server.ticks() > ticks + 4 or server.uvicorn.should_exit)
                assert not server.uvicorn.should_exit, "it waits for who has not read the end"
                assert await client.to_the_end() == 1012
                told = [json.dumps(message) for message in client.told]
                assert any("server_restart" in message for message in told), told[-3:]
                assert figure(front, UNTOLD) == 0
            else:
                await until(lambda: figure(front, UNTOLD) >= 1)  # the end itself was not read
                assert figure(front, LOST) > lost
                loop = front.log._loop
                assert loop is not None
                await until(loop.is_closed)
                assert not server.uvicorn.server_state.connections, "nobody keeps a socket open"


async def test_a_client_that_is_just_leaving_does_not_break_off_a_shutdown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(run, "SEND_BUFFER_BYTES", 4_096)
    for module in (connection, run):
        monkeypatch.setattr(module, "LAST_WORDS_SECONDS", 0.5)
    with closing_server(tmp_path) as server:
        async with sluggard(server, EDGES[-1]) as client:
            async with figures(server) as seen:
                await seen.until_above(LOST, outputs.AUDIO_FRAMES / 5)
            client.ws.transport.pause_reading()  # it says goodbye, and takes nothing any more
            client.ws.protocol.send_close(1000)
            client.ws.transport.write(b"".join(client.ws.protocol.data_to_send()))
            await until(lambda: not server.front.sessions.all())
            server.terminate()
            loop = server.front.log._loop
            assert loop is not None
            await until(loop.is_closed)
            assert server.failed == []


def figure(front: Front, name: str) -> float:
    """Give a figure of a server that may be asked nothing any more."""
    found = re.search(rf"^{re.escape(name)} (\S+)$", front.metrics.text().decode(), re.MULTILINE)
    return float(found[1]) if found is not None else 0.0
