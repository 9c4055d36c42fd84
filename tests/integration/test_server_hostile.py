"""Hostile clients, with good conversations beside them that must not miss a frame."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator

import httpx
import jwt
import pytest
import websockets

from coda_voice.server import doorstep
from coda_voice.server.session import Session
from tests.integration.voice_server import FRAME_BYTES, RunningServer, StreamClient, voice_server

GOOD = 8
SECRET = "a secret of the tests, long enough for HS256"


def token(subject: str, seconds: float = 3_600, secret: str = SECRET) -> str:
    return jwt.encode({"sub": subject, "exp": time.time() + seconds}, secret, "HS256")


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


MALLORY = bearer(token("mallory"))
"""Somebody who was let in, and means no good."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    secret = tmp_path_factory.mktemp("keys") / "secret"
    secret.write_text(SECRET)
    with voice_server(
        moshi__slots=GOOD + 3,
        server__jwt_secret_file=str(secret),
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
            url = f"{server.ws}/v1/stream"
            client = StreamClient(url, additional_headers=bearer(token("good")))
            await stack.enter_async_context(client)
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
        async with StreamClient(
            url, additional_headers=MALLORY
        ) as flood:  # messages as fast as they can be sent
            await flood.ready()
            with contextlib.suppress(websockets.ConnectionClosed):
                for _ in range(5_000):
                    await flood.tell("ping")
            assert await flood.closed() == 1008
        async with StreamClient(url, additional_headers=MALLORY) as giant:
            await giant.ready()
            with contextlib.suppress(websockets.ConnectionClosed):
                await giant.socket.send(bytes(65 * 1_024))
            assert await giant.closed() == 1009
        async with StreamClient(url, additional_headers=MALLORY) as lost:  # gone without a word
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


async def test_half_open_connections_are_let_go(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(doorstep, "HEAD_SECONDS", 1.0)
    async with good_company(server):
        halves = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(60)]
        for number, (_, writer) in enumerate(halves):
            writer.write((b"", b"GET /v1/stream HTTP/1.1\r\nX-Slow: ")[number % 2])
        for reader, writer in halves:
            async with asyncio.timeout(60):
                with contextlib.suppress(ConnectionError):
                    assert await reader.read() == b""
            writer.close()
    await settled(server)


def forgeries() -> list[dict[str, str]]:
    """What may not open the door: nothing, expired, signed by others, or not at all."""
    soon = time.time() + 600
    unsigned = jwt.encode({"sub": "good", "exp": soon}, None, algorithm="none")
    head, _, signature = token("mallory").split(".")
    body = base64.urlsafe_b64encode(json.dumps({"sub": "good", "exp": soon}).encode())
    swapped = ".".join((head, body.decode().rstrip("="), signature))
    for_ever = jwt.encode({"sub": "good"}, SECRET, "HS256")
    texts = (token("good", -60), token("good", secret="x" * 40), unsigned, swapped, for_ever, "x")
    return [{}, {"Authorization": "Basic Z29vZDp4"}, *(bearer(text) for text in texts)]


async def test_forged_tokens_and_other_peoples_conversations(server: RunningServer):
    url = f"{server.ws}/v1/stream"
    async with (
        good_company(server) as clients,
        httpx.AsyncClient(base_url=server.http, timeout=120) as http,
    ):
        for headers in forgeries():
            with pytest.raises(websockets.InvalidStatus) as refused:
                await websockets.connect(url, additional_headers=headers, open_timeout=60)
            assert refused.value.response.status_code == 401
            assert (await http.get("/v1/conversations", headers=headers)).status_code == 401
        ready = clients[0].told("status")[0]
        theirs = f"/v1/conversations/{ready['conversation_id']}"
        assert (await http.get(theirs, headers=MALLORY)).status_code == 404
        assert (await http.delete(theirs, headers=MALLORY)).status_code == 404
        text = await http.post(f"{theirs}/text", json={"text": "hello"}, headers=MALLORY)
        assert text.status_code == 404
        assert (await http.get("/v1/conversations", headers=MALLORY)).json() == []
        resume = f"{url}?resume={ready['resume_token']}&user_id=good&sub=good"
        async with StreamClient(resume, additional_headers=MALLORY) as thief:
            assert (await thief.until("error"))["code"] == "resume_unknown"
    await settled(server)


async def test_garbage_tricks_and_pages_from_elsewhere(server: RunningServer):
    async with good_company(server):
        async with websockets.connect(
            f"{server.ws}/api/chat", additional_headers=MALLORY, open_timeout=60
        ) as noise:
            await noise.recv()
            await noise.send(b"\x01OggS" + bytes(range(256)) * 40)
            await noise.send(b"\x01" + b"no opus at all" * 100)
            with pytest.raises(websockets.ConnectionClosed):
                while True:
                    await noise.recv()
        for trick in ("../../../../etc/passwd", "%2e%2e%2fsecret.wav", "/etc/passwd", "a%00.wav"):
            async with websockets.connect(
                f"{server.ws}/api/chat?voice_prompt={trick}",
                additional_headers=MALLORY,
                open_timeout=60,
            ) as path:
                message = await path.recv()
                assert isinstance(message, bytes) and message[0] == 5
                assert b"root:" not in message
        with pytest.raises(websockets.InvalidStatus) as refused:
            await websockets.connect(
                f"{server.ws}/v1/stream",
                origin="https://evil.example",  # type: ignore[arg-type]
                additional_headers=MALLORY,
            )
        assert refused.value.response.status_code == 403
        for head in injections(server):
            answer = await raw(server, head)
            assert b"injected" not in answer.split(b"\r\n\r\n")[0].lower(), answer
            assert not answer.startswith(b"HTTP/1.1 101"), answer
    await settled(server)


def injections(server: RunningServer) -> list[bytes]:
    """Requests that try to write headers of ours, or to be read as two."""
    host = b"Host: 127.0.0.1:%d\r\n" % server.port
    upgrade = (
        b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    )
    auth = b"Authorization: " + MALLORY["Authorization"].encode() + b"\r\n"
    return [
        b"GET /v1/conversations?x=%0d%0aInjected:1 HTTP/1.1\r\n" + host + auth + b"\r\n",
        b"GET /v1/events?types=a%0d%0aInjected:%201 HTTP/1.1\r\n" + host + auth + b"\r\n",
        b"GET /v1/stream HTTP/1.1\r\n" + host + upgrade
        + b"Sec-WebSocket-Protocol: coda.v1\x0bInjected: 1\r\n\r\n",
        b"GET /health HTTP/1.1\r\n" + host + b"X: a\nInjected: 1\r\n\r\n",
        b"GET /health HTTP/1.1\r\n" + host + b"X: \x00Injected\r\n\r\n",
        b"POST /v1/memories HTTP/1.1\r\n" + host + auth
        + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /injected",
    ]  # fmt: skip


async def raw(server: RunningServer, request: bytes) -> bytes:
    """Send bytes; give what comes back until it is quiet."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(request)
    answer = b""
    with contextlib.suppress(TimeoutError, ConnectionError):
        async with asyncio.timeout(5):
            while b"\r\n\r\n" not in answer and (data := await reader.read(4_096)):
                answer += data
    writer.close()
    return answer


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
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            b"Authorization: " + MALLORY["Authorization"].encode() + b"\r\n\r\n"
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
                url = f"{server.ws}/v1/stream"
                async with websockets.connect(
                    url, open_timeout=60, additional_headers=MALLORY
                ) as ws:
                    await ws.close()
            except websockets.InvalidStatus as error:
                assert error.response.status_code == 429
                assert int(error.response.headers["Retry-After"]) >= 1
                refused += 1
            except (OSError, websockets.InvalidMessage, websockets.ConnectionClosed, TimeoutError):
                refused += 1

        for _ in range(10):
            await asyncio.gather(*(connect() for _ in range(100)))
        assert refused > 300
        async with httpx.AsyncClient(base_url=server.http, timeout=120) as http:
            assert (await http.get("/health")).status_code == 200, "the balancer still gets in"
    await settled(server)
