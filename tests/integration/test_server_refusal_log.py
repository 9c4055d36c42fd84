"""Whoever is not let in leaves a line in the log: where, why, from where, and no secret."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import websockets
import yaml
from coda_integrations.telephony import twilio, twilio_codec

from coda_voice.logs import HumanFormatter, JsonFormatter
from tests.integration.voice_server import RunningServer, StreamClient, voice_server

KEY, NOBODYS = "key-of-the-house-0123", "key-that-nobody-has-0123"
TWILIOS = "secret-of-twilios"
EDGES = ("/v1/stream", "/moshi", "/api/chat", "/v1/realtime", "/realtime", "/v1/live/sessions")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder: Path = tmp_path_factory.mktemp("keys")
    keys = [{"key": KEY, "subject": "house", "scopes": ["talk"], "conversations": 5}]
    (folder / "keys.yaml").write_text(yaml.safe_dump(keys))
    (folder / "twilio").write_text(TWILIOS)
    with voice_server(
        moshi__slots=1,
        server__keys_file=str(folder / "keys.yaml"),
        server__twilio_token_file=str(folder / "twilio"),
        server__connections_per_address=4,
        server__proxies="127.0.0.0/8",
    ) as running:
        yield running


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.INFO, "coda_voice"):
        yield caplog


def told(log: pytest.LogCaptureFixture) -> set[tuple[str, str, str]]:
    """Edge, code and address of each line; none of them, for whomever, holds a secret."""
    records = [record for record in log.records if record.getMessage() == "client_refused"]
    for record in records:
        for formatter in (HumanFormatter(), JsonFormatter()):
            line = formatter.format(record)
            assert KEY not in line and NOBODYS not in line and "secret" not in line
        assert record.levelno == logging.WARNING
    fields = [vars(record)["fields"] for record in records]
    return {(f["edge"], f["code"], f["address"]) for f in fields}


def coming(address: str, key: str = KEY, **more: str) -> dict[str, str]:
    """The headers of somebody at an address, by way of a proxy."""
    return {"Authorization": f"Bearer {key}", "X-Forwarded-For": address, **more}


async def refused(server: RunningServer, path: str, headers: dict[str, str]) -> None:
    """Be refused, before the WebSocket is accepted or after."""
    try:
        async with websockets.connect(
            f"{server.ws}{path}", additional_headers=headers, open_timeout=60
        ) as socket:
            if path == "/moshi":
                await socket.send('{"type": "config"}')
            while True:
                await socket.recv()
    except websockets.ConnectionClosed as closed:
        assert closed.rcvd is not None and closed.rcvd.code == 1013
    except websockets.InvalidStatus as denied:
        assert denied.response.status_code in (401, 403, 429)


async def test_bad_tokens_and_pages_from_elsewhere(
    server: RunningServer, log: pytest.LogCaptureFixture
):
    query = f"?token={KEY}-secret"
    for path in EDGES[:4]:
        await refused(server, path + query, coming("203.0.113.1", NOBODYS))
    await refused(server, "/v1/live/sessions", {"X-Forwarded-For": "203.0.113.1"})
    evil = {"Origin": "https://evil.example"}
    await refused(server, "/v1/realtime", coming("203.0.113.2") | evil)
    await refused(server, "/v1/twilio", coming("203.0.113.3"))
    async with httpx.AsyncClient(base_url=server.http) as http:
        await http.get("/v1/conversations", headers=coming("203.0.113.4", NOBODYS))
        await http.get("/stats", headers=coming("203.0.113.4"))
        forged = await http.post("/v1/twilio/voice", headers={"X-Forwarded-For": "203.0.113.5"})
    assert forged.status_code == 403
    assert told(log) == {
        *((path, "token_invalid", "203.0.113.1") for path in EDGES[:4]),
        ("/v1/live/sessions", "token_missing", "203.0.113.1"),
        ("/v1/realtime", "origin_not_allowed", "203.0.113.2"),
        ("/v1/twilio", "signature_invalid", "203.0.113.3"),
        ("/v1/conversations", "token_invalid", "203.0.113.4"),
        ("/stats", "scope_missing", "203.0.113.4"),
        ("/v1/twilio/voice", "signature_invalid", "203.0.113.5"),
    }


async def test_no_slot_is_free_at_any_of_the_edges(
    server: RunningServer, log: pytest.LogCaptureFixture
):
    async with StreamClient(
        f"{server.ws}/v1/stream", additional_headers=coming("203.0.113.9")
    ) as talking:
        await talking.ready()
        for path in EDGES:
            await refused(server, path, coming("203.0.113.1"))
        assert told(log) == {(path, "slots_full", "203.0.113.1") for path in EDGES}
        await talking.tell("close")
        await talking.closed()


async def test_too_many_from_one_address(server: RunningServer, log: pytest.LogCaptureFixture):
    everybody = coming("203.0.113.6")
    async with StreamClient(f"{server.ws}/v1/stream", additional_headers=everybody) as talking:
        await talking.ready()
        waiting = [
            await websockets.connect(
                f"{server.ws}/v1/stream?wait=true", additional_headers=everybody, open_timeout=60
            )
            for _ in range(3)
        ]
        await refused(server, "/v1/realtime", everybody)
        assert told(log) == {("/v1/realtime", "too_many_connections", "203.0.113.6")}
        for socket in waiting:
            await socket.close()


async def test_calls_that_do_not_begin(
    server: RunningServer, log: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    url = f"{server.ws}/v1/twilio"
    signed = {"X-Twilio-Signature": twilio_codec.signature(url, TWILIOS)}

    async def call(address: str, said: str) -> int | None:
        headers = coming(address) | signed
        async with websockets.connect(url, additional_headers=headers, open_timeout=60) as socket:
            await socket.send(said)
            await socket.wait_closed()
            return socket.close_code

    async with websockets.connect(url, additional_headers=coming("203.0.113.1") | signed):
        pass  # and it goes, as a caller may: nobody has refused it
    assert await call("203.0.113.2", "no JSON, and no secret") == 1008
    monkeypatch.setattr(twilio, "START_SECONDS", 0.05)
    assert await call("203.0.113.3", '{"event": "connected"}') == 1008
    assert told(log) == {
        ("/v1/twilio", "start_missing", "203.0.113.2"),
        ("/v1/twilio", "start_missing", "203.0.113.3"),
    }


async def test_a_call_that_stops_before_it_starts(
    server: RunningServer, log: pytest.LogCaptureFixture
):
    url = f"{server.ws}/v1/twilio"
    signed = coming("203.0.113.1") | {"X-Twilio-Signature": twilio_codec.signature(url, TWILIOS)}
    late = {"event": "start", "start": {"streamSid": "MZ1", "callSid": "CA1"}}
    async with websockets.connect(url, additional_headers=signed, open_timeout=60) as socket:
        for said in ({"event": "connected"}, {"event": "stop", "streamSid": "MZ1"}, late):
            await socket.send(json.dumps(said))
        await socket.wait_closed()
        assert socket.close_code == 1000, "the caller has hung up: nothing has failed"
    assert told(log) == {("/v1/twilio", "call_already_over", "203.0.113.1")}
    async with StreamClient(  # the only slot there is
        f"{server.ws}/v1/stream", additional_headers=coming("203.0.113.1")
    ) as talking:
        await talking.ready()
        await talking.tell("close")
        await talking.closed()
