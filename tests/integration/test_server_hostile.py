"""Hostile clients, with good conversations beside them that must not miss a frame."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import sys
import time
from collections.abc import Iterator

import httpx
import jwt
import pytest
import websockets

from coda_voice.server import doorstep
from tests.integration.good_company import (
    MALLORY,
    SECRET,
    bearer,
    good_company,
    guarded_server,
    settled,
    token,
)
from tests.integration.voice_server import ROOT, RunningServer, StreamClient


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with guarded_server(tmp_path_factory.mktemp("keys"), server__message_kb=64) as running:
        yield running


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


async def test_the_head_of_a_later_request_is_not_waited_for_either(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(doorstep, "HEAD_SECONDS", 1.0)
    asking = b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    async with asyncio.timeout(60):
        for half in (b"GET /health/live HTTP/1.1\r\n", b"Host: 127.0.0.1\r\n\r\n") * 2:
            writer.write(half)  # in pieces, but in time
            await asyncio.sleep(0.2)
        for _ in range(2):
            assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
            assert await reader.readexactly(17) == b'{"status":"live"}'
        writer.write(asking[:20])
        with contextlib.suppress(ConnectionError):
            for byte in asking[20:24]:  # a byte now and then buys no time
                await asyncio.sleep(0.4)
                writer.write(bytes([byte]))
            assert await reader.read() == b""
    writer.close()


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
        good_company(server) as company,
        httpx.AsyncClient(base_url=server.http, timeout=120) as http,
    ):
        for headers in forgeries():
            with pytest.raises(websockets.InvalidStatus) as refused:
                await websockets.connect(url, additional_headers=headers, open_timeout=60)
            assert refused.value.response.status_code == 401
            assert (await http.get("/v1/conversations", headers=headers)).status_code == 401
        ready = company.clients[0].told("status")[0]
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


FLOOD_FROM = "127.0.0.2" if sys.platform == "linux" else "127.0.0.1"
"""Linux has all of 127/8: the flood is from an address of its own."""


async def test_a_thousand_connects_a_second_are_refused_and_cost_little(
    server: RunningServer, record_property: pytest.RecordProperty
):
    counted = server.front.addresses
    async with good_company(server):
        before = counted.refused
        began = time.monotonic()
        command = ["--source", FLOOD_FROM, "--port", str(server.port)]
        command += ["--token", token("mallory"), "--count", "4000", "--rate", "1000"]
        flood = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.integration.flood", *command,
            cwd=ROOT, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        async with httpx.AsyncClient(base_url=server.http, timeout=60) as http:
            out = asyncio.create_task(flood.communicate())
            asked = 0
            while not out.done() or not asked:
                if FLOOD_FROM != "127.0.0.1" or out.done():
                    assert (await http.get("/health")).status_code == 200, "the balancer gets in"
                    asked += 1
                await asyncio.sleep(0.1)
        told = json.loads((await out)[0])
        seconds = time.monotonic() - began
    answers = told["answers"]
    print(f"{told['rate']:.0f} connects/s for {told['seconds']:.1f} s: {answers}")
    record_property("connects_per_second", round(told["rate"]))
    assert sum(answers.values()) == told["count"], answers  # each was answered, with what was due
    allowed = 60 * (seconds + 2) + 1
    refused = answers.get("429", 0) + answers.get("closed", 0)
    assert refused >= told["count"] - allowed, answers
    assert counted.refused - before >= refused
    await settled(server)
