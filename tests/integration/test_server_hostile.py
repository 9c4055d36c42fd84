"""Hostile clients, with good conversations beside them that must not miss a frame."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from collections.abc import AsyncIterator, Iterator

import httpx
import psutil
import pytest
import websockets

from coda_voice.server.session import Session
from tests.integration.voice_server import FRAME_BYTES, RunningServer, StreamClient, voice_server

GOOD = 8


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with voice_server(
        moshi__slots=GOOD + 3,
        server__connects_per_second=60,
        server__connections_per_address=GOOD + 6,
        server__message_kb=64,
        server__resume_seconds=0.5,
    ) as running:
        yield running


@contextlib.asynccontextmanager
async def good_company(server: RunningServer) -> AsyncIterator[list[StreamClient]]:
    """Eight conversations that go on while the block does; each frame must be answered."""
    stop = asyncio.Event()
    answered = [0] * GOOD

    async def talk(index: int, client: StreamClient) -> None:
        while not stop.is_set():
            assert len(await client.frame()) == FRAME_BYTES
            answered[index] += 1
            await asyncio.sleep(0.05)
        await client.tell("close")
        assert await client.closed() == 1000
        assert client.messages[-1]["frames"] == answered[index]
        assert not [m for m in client.told("status") if m["status"] == "dropped"]
        assert not client.told("error")

    async with contextlib.AsyncExitStack() as stack:
        clients = []
        for _ in range(GOOD):
            client = await stack.enter_async_context(StreamClient(f"{server.ws}/v1/stream"))
            await client.ready()
            clients.append(client)
        talking = [asyncio.create_task(talk(i, c)) for i, c in enumerate(clients)]
        try:
            yield clients
            before = list(answered)
            while not all(now > then + 1 for now, then in zip(answered, before, strict=True)):
                await asyncio.sleep(0.05)
                for task in talking:
                    assert not task.done() or task.exception() is None
        finally:
            stop.set()
            ended = await asyncio.gather(*talking, return_exceptions=True)
        assert not [error for error in ended if error is not None]


async def settled(server: RunningServer) -> None:
    """Wait until nobody is left on the server."""
    for _ in range(600):
        if not len(server.front.sessions) and not server.front.addresses.open:
            return
        await asyncio.sleep(0.05)
    raise AssertionError("somebody is still there")


async def test_floods_giants_and_halves(server: RunningServer):
    url = f"{server.ws}/v1/stream"
    async with good_company(server):
        async with StreamClient(url) as flood:  # messages as fast as they can be sent
            await flood.ready()
            with contextlib.suppress(websockets.ConnectionClosed):
                for _ in range(5_000):
                    await flood.tell("ping")
            assert await flood.closed() == 1008
        async with StreamClient(url) as giant:
            await giant.ready()
            with contextlib.suppress(websockets.ConnectionClosed):
                await giant.socket.send(bytes(65 * 1_024))
            assert await giant.closed() == 1009
        async with StreamClient(url) as lost:  # gone without a word
            await lost.ready()
            await lost.frame()
            lost.socket.transport.abort()
        halves = (
            b"GET /v1/stream HTTP/1.1\r\n",
            b"\x16\x03\x01" * 50,
            b"A" * 4_000,
            b"GET /v1/stream HTTP/1.1\r\nHost: 127.0.0.1\r\nX: a\r\n b: \x00\r\n\r\n",
        )
        for raw in halves:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(raw)
            with contextlib.suppress(TimeoutError, ConnectionError):
                async with asyncio.timeout(0.3):
                    await reader.read(100)
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
    await settled(server)


async def overwhelmed(server: RunningServer) -> Session:
    """Wait until the 48 kHz client has lost audio, or (on a slow machine) its connection."""
    seen: Session | None = None
    async with asyncio.timeout(240):
        while seen is None or not (seen.outbox.dropped_audio or seen.ended):
            for session in server.front.sessions.all():
                if session.sample_rate == 48_000:
                    seen = session
            await asyncio.sleep(0.05)
    return seen


async def test_one_who_reads_nothing_holds_up_nobody(server: RunningServer):
    async with good_company(server):
        mute = socket.socket()
        mute.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        mute.connect(("127.0.0.1", server.port))
        mute.sendall(
            b"GET /v1/stream?sample_rate=48000 HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        payload = bytes(7_680)
        frame = b"\x82\xfe" + len(payload).to_bytes(2, "big") + bytes(4) + payload

        def send() -> None:
            with contextlib.suppress(OSError):
                while not stopped.wait(0.06):
                    mute.sendall(frame)

        stopped = threading.Event()
        sending = threading.Thread(target=send)
        sending.start()
        try:
            session = await overwhelmed(server)
            assert len(session.outbox) <= session.outbox.audio_frames + session.outbox.messages
            assert session.ended or session.outbox.behind_since is not None
        finally:
            stopped.set()
            mute.close()
            await asyncio.to_thread(sending.join)
    await settled(server)


async def test_a_thousand_connects_are_mostly_refused_and_cost_little(server: RunningServer):
    async with good_company(server):
        refused = 0

        async def connect() -> None:
            nonlocal refused
            try:
                async with websockets.connect(f"{server.ws}/v1/stream", open_timeout=60) as ws:
                    await ws.close()
            except websockets.InvalidStatus as error:
                assert error.response.status_code == 429
                assert int(error.response.headers["Retry-After"]) >= 1
                refused += 1
            except (OSError, websockets.ConnectionClosed, TimeoutError):
                refused += 1

        for _ in range(10):
            await asyncio.gather(*(connect() for _ in range(30)))
        assert refused > 100
        async with httpx.AsyncClient(base_url=server.http, timeout=120) as http:
            assert (await http.get("/health")).status_code == 200, "the balancer still gets in"
    await settled(server)


async def test_coming_and_going_leaves_nothing_behind(server: RunningServer):
    """Minutes of visitors in seconds; `make soak` takes its time."""
    process = psutil.Process(os.getpid())
    visits = int(os.environ.get("CODA_VISITS", "24"))

    async def visit(number: int) -> None:
        async with StreamClient(f"{server.ws}/v1/stream?events=true") as client:
            await client.ready()
            for _ in range(1 + number % 4):
                await client.frame()
            if number % 3 == 0:
                client.socket.transport.abort()
            elif number % 3 == 1:
                await client.tell("close")
                await client.closed()

    async def wave() -> None:
        for first in range(0, visits, 4):
            await asyncio.gather(*(visit(first + n) for n in range(4)))
            await asyncio.sleep(0.1)
        await settled(server)

    await wave()
    open_files, threads = process.num_fds(), process.num_threads()
    await wave()
    assert process.num_fds() <= open_files + 4
    assert process.num_threads() <= threads + 2
    stats = server.front.manager.engine_stats()
    assert stats is not None and stats.leased == 0
