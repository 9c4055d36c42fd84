"""Connections that ask for nothing: they are let go, and cost nobody else anything."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
import uvicorn
import websockets
from starlette.types import Receive, Scope, Send

from coda_voice.config.server import ServerConfig
from coda_voice.server import doorstep
from coda_voice.server.doorstep import HEAD_BYTES, Callers, Doorstep, PromptWebSocket
from coda_voice.server.limits import AddressLimits
from coda_voice.server.refusal_log import RefusalLog
from tests.integration.voice_server import until

HEAD = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"


class Served(asyncio.Protocol):
    """The protocol behind the doorstep: says back what it got."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(b"got %d" % len(data))
        self.transport.close()


class House:
    """A doorstep on a port of its own."""

    def __init__(self, settings: ServerConfig) -> None:
        self.limits = AddressLimits(settings.connections_per_address, 1)
        self.callers = Callers(settings, self.limits, RefusalLog())
        self.waiting: set[asyncio.Protocol] = set()
        self.server: asyncio.Server

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        port = self.server.sockets[0].getsockname()[1]
        return await asyncio.open_connection("127.0.0.1", port)


async def waiting(house: House, connections: int) -> None:
    """Until so many wait on the doorstep."""
    for _ in range(1_000):
        if len(house.waiting) == connections:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"{len(house.waiting)} wait")


@pytest.fixture
async def house(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    monkeypatch.setattr(doorstep, "HEAD_SECONDS", 0.3)
    house = House(ServerConfig(connections_per_address=2))
    house.server = await asyncio.get_running_loop().create_server(
        lambda: Doorstep(house.callers, Served, house.waiting), "127.0.0.1", 0
    )
    async with house.server:
        yield house


async def test_a_head_in_pieces_reaches_the_protocol_whole(house: House):
    reader, writer = await house.connect()
    for piece in (HEAD[:7], HEAD[7:-3], HEAD[-3:-1], HEAD[-1:] + b"body"):
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(0)
    assert await reader.read() == b"got %d" % len(HEAD + b"body")
    assert not house.waiting
    writer.close()


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\n", b"\x16\x03\x01"])
async def test_who_does_not_finish_in_time_is_let_go(house: House, sent: bytes):
    reader, writer = await house.connect()
    writer.write(sent)
    async with asyncio.timeout(10):
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
    assert not house.waiting
    writer.close()


async def test_a_head_without_an_end_is_not_collected_for_ever(house: House):
    reader, writer = await house.connect()
    writer.write(b"A" * (HEAD_BYTES + 1))
    assert (await reader.read()).startswith(b"got ")
    writer.close()


async def test_an_address_has_room_for_so_many_and_gets_it_back(house: House):
    held = [await house.connect() for _ in range(4)]
    reader, writer = await house.connect()
    with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
        await reader.readexactly(1)
    assert house.limits.refused == 1
    for _, one in (*held, (reader, writer)):
        one.close()
    await waiting(house, 0)
    reader, writer = await house.connect()
    writer.write(HEAD)
    assert await reader.read() == b"got %d" % len(HEAD)
    writer.close()


async def test_a_proxy_speaks_for_many():
    house = House(ServerConfig(connections_per_address=1, proxies="127.0.0.1"))
    house.server = await asyncio.get_running_loop().create_server(
        lambda: Doorstep(house.callers, Served, house.waiting), "127.0.0.1", 0
    )
    async with house.server:
        several = [await house.connect() for _ in range(6)]
        for reader, writer in several:
            writer.write(HEAD)
            assert await reader.read() == b"got %d" % len(HEAD)
            writer.close()


async def test_a_server_that_stops_sends_those_away_who_wait(house: House):
    reader, writer = await house.connect()
    await waiting(house, 1)
    for protocol in list(house.waiting):
        assert isinstance(protocol, Doorstep)
        protocol.shutdown()
    assert await reader.read() == b""
    writer.close()


async def test_a_websocket_is_read_without_a_pause_unless_its_messages_are_not_taken(
    monkeypatch: pytest.MonkeyPatch,
):
    taken: list[bytes] = []
    takes, pauses, resumes = asyncio.Event(), [], []
    takes.set()
    made: list[PromptWebSocket] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            taken.append(message["bytes"])
            await takes.wait()

    class Watched(PromptWebSocket):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            made.append(self)
            pause, resume = self.transport.pause_reading, self.transport.resume_reading
            monkeypatch.setattr(
                self.transport, "pause_reading", lambda: (pauses.append(1), pause())
            )
            monkeypatch.setattr(
                self.transport, "resume_reading", lambda: (resumes.append(1), resume())
            )

    config = uvicorn.Config(
        app,
        ws=Watched,
        port=0,
        lifespan="off",
        log_level="error",
        ws_per_message_deflate=False,
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server._serve())

    try:
        await until(lambda: server.started)
        port = server.servers[0].sockets[0].getsockname()[1]
        async with websockets.connect(f"ws://127.0.0.1:{port}") as client:
            for number in range(20):
                await client.send(b"%d" % number)
                await until(lambda so_far=number: len(taken) > so_far)
            assert not pauses

            takes.clear()  # what is not taken stays in the network
            big = bytes(65_536)
            sending = asyncio.create_task(_send(client, big, 400))
            await until(lambda: pauses)
            assert made[0].queue.qsize() < 20
            assert len(taken) <= 21

            takes.set()
            await sending
            await until(lambda: len(taken) == 420)
            assert taken == [*(b"%d" % n for n in range(20)), *[big] * 400]
            assert len(resumes) == len(pauses)
    finally:
        takes.set()
        server.should_exit = True
        await serving


async def _send(client: websockets.ClientConnection, message: bytes, times: int) -> None:
    for _ in range(times):
        await client.send(message)
