"""Requests that are too big or never end, of strangers, with good conversations beside them."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from coda_voice.server import bodies
from tests.integration.good_company import bearer, good_company, guarded_server, settled, token
from tests.integration.voice_server import RunningServer

BODY_KB = 16
MUCH = 64 * 2**20
"""What a stranger would send; what the server's and the kernel's buffers take is less by far."""
LITTLE = 16 * 2**20
WAYS_IN = ("POST /v1/memories", "POST /v1/conversations/x/text", "PATCH /v1/config", "GET /health")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with guarded_server(tmp_path_factory.mktemp("keys"), server__body_kb=BODY_KB) as running:
        yield running


def head(way_in: str, *fields: str) -> bytes:
    lines = (f"{way_in} HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json", *fields)
    return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")


async def answer_to(
    server: RunningServer, start: bytes, more: bytes = b"", pause: float = 0.0
) -> tuple[bytes, int]:
    """Send ``start``, then ``more`` up to MUCH, until the server answers or goes.

    Gives all it said until it closed the connection, and how many bytes it let come.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    answering = asyncio.create_task(reader.read(65_536))
    sent = 0
    answer = b""
    with contextlib.suppress(ConnectionError):
        writer.write(start)
        while more and sent < MUCH and not answering.done():
            writer.write(more)
            sent += len(more)
            async with asyncio.timeout(60):
                await writer.drain()
            await asyncio.sleep(pause)
    async with asyncio.timeout(60):
        with contextlib.suppress(ConnectionError):
            answer = await answering
            while data := await reader.read(65_536):
                answer += data
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    return answer, sent


def refused(answer: bytes) -> tuple[int, str]:
    """Give the status and the error's code."""
    top, _, body = answer.partition(b"\r\n\r\n")
    return int(top.split()[1]), json.loads(body)["error"]["code"]


async def test_a_stranger_cannot_make_the_server_keep_a_big_body(server: RunningServer):
    chunk = b"10000\r\n" + bytes(65_536) + b"\r\n"

    async def told_the_size(way_in: str, *fields: str) -> None:
        answer, _ = await answer_to(server, head(way_in, *fields))  # nothing of it is sent
        assert refused(answer) == (413, "body_too_big")

    async def sent_in_chunks(way_in: str) -> None:
        answer, sent = await answer_to(server, head(way_in, "Transfer-Encoding: chunked"), chunk)
        assert sent < LITTLE
        # Who is writing still may find the connection gone before it has read.
        assert not answer or answer.startswith(b"HTTP/1.1 413")

    async with good_company(server):
        for way_in in WAYS_IN:
            await asyncio.gather(
                told_the_size(way_in, f"Content-Length: {10 * 2**30}"),
                told_the_size(way_in, "Expect: 100-continue", f"Content-Length: {2**20}"),
                sent_in_chunks(way_in),
            )
    await settled(server)


async def test_who_sends_only_a_little_too_much_can_read_why(server: RunningServer):
    async def piecemeal() -> AsyncIterator[bytes]:
        for _ in range(BODY_KB + 4):
            yield b" " * 1_024

    async with httpx.AsyncClient(base_url=server.http, timeout=60) as http:
        for content in (b" " * 1_024 * (BODY_KB + 4), piecemeal()):
            answer = await http.post("/v1/memories", content=content)
            assert answer.status_code == 413
            assert answer.json()["error"]["code"] == "body_too_big"


async def test_what_may_be_sent_arrives_whole(server: RunningServer):
    async def piecemeal(body: bytes) -> AsyncIterator[bytes]:
        for begin in range(0, len(body), 1_000):
            yield body[begin : begin + 1_000]

    async with (
        good_company(server) as company,
        httpx.AsyncClient(base_url=server.http, timeout=60) as http,
    ):
        client = company.clients[0]
        text = f"/v1/conversations/{client.messages[0]['conversation_id']}/text"
        for number in range(4):
            said = json.dumps({"text": f"Number {number}."}).encode()
            body = said + b" " * (BODY_KB * 1_024 - len(said))  # to the last byte
            content = piecemeal(body) if number % 2 else body
            answer = await http.post(
                text,
                content=content,
                headers={**bearer(token("good")), "Content-Type": "application/json"},
            )
            assert answer.status_code == 204, answer.text
        heard: list[str] = []
        async with asyncio.timeout(60):
            while len(heard) < 4:
                await asyncio.sleep(0.02)
                heard = [m["text"] for m in client.told("transcript") if m["speaker"] == "user"]
        assert heard == [f"Number {number}." for number in range(4)]
    await settled(server)


async def test_a_body_that_comes_by_the_byte_is_not_waited_for(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(bodies, "BODY_SECONDS", 0.5)

    async def sent_slowly(field: str, more: bytes) -> None:
        start = head("POST /v1/memories", field)
        answer, _ = await answer_to(server, start, more, pause=0.05)
        assert refused(answer) == (408, "body_too_slow")

    async with good_company(server):
        await asyncio.gather(
            sent_slowly("Content-Length: 9000", b" "),
            sent_slowly("Transfer-Encoding: chunked", b"1\r\n \r\n"),
            sent_slowly("Content-Length: 9", b""),  # nothing comes
        )
    await settled(server)


async def test_heads_and_trailers_have_an_end(server: RunningServer):
    plain = head("GET /health/live")
    chunked = head("POST /v1/memories", "Transfer-Encoding: chunked") + b"0\r\n"
    first, second = plain[:-2] + b"X: ", plain + plain[:-2] + b"X: "
    async with good_company(server):
        for start, more in (
            (first, b"a" * 65_536),
            (second, b"a" * 65_536),  # of a request that follows another
            (chunked, b"X: " + b"a" * 32_000 + b"\r\n"),
        ):
            _, sent = await answer_to(server, start, more)
            assert sent < LITTLE
    await settled(server)
