"""What is answered when something cannot be had: whose fault it is, and whether to try again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator

import httpx
import pytest
from coda_memory.errors import MemoryStoreError
from fastapi import APIRouter

from coda_voice.config import VoiceConfig
from coda_voice.errors import (
    ConfigurationError,
    ConversationError,
    ValidationError,
    VoiceProcessingError,
)
from coda_voice.server import refusal_log
from coda_voice.server.app import create_app
from coda_voice.server.front import Front, refusal
from coda_voice.server.refusal_log import RefusalLog, refused


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Iterator[list[dict[str, object]]]:
    """What the log says of refusals."""

    class Lines(list[dict[str, object]]):
        def __iter__(self) -> Iterator[dict[str, object]]:
            told = (r for r in caplog.records if r.getMessage() == "client_refused")
            return iter([vars(record)["fields"] for record in told])

    with caplog.at_level(logging.WARNING, "coda_voice"):
        yield Lines()


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (MemoryStoreError("The disk is full.", "memory_disk_full"), 503),
        (ConversationError("It cannot go on.", "engine_stopped"), 503),
        (ConversationError("No such one.", "unknown_conversation"), 404),
        (ValidationError("Too long.", "bad_text"), 400),
    ],
    ids=lambda value: getattr(value, "error_code", str(value)),
)
def test_only_what_a_caller_can_change_is_called_his_fault(
    error: VoiceProcessingError, status: int
):
    answer = refusal(error)
    assert answer.status_code == status
    assert ("retry-after" in answer.headers) == (status == 503)


async def test_a_fault_of_the_server_is_answered_like_every_refusal():
    def routes(front: Front) -> APIRouter:
        router = APIRouter()

        @router.get("/v1/fault")
        async def fault() -> None:
            raise RuntimeError("a secret of the house")

        return router

    app = create_app(VoiceConfig.load(env={}, moshi__device="cpu"), routes=[routes])
    served = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=served, base_url="http://127.0.0.1") as client:
        answer = await client.get("/v1/fault")
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "internal"
    assert "secret" not in answer.text


async def test_a_server_that_is_not_known_by_a_name_says_how_it_can_be():
    config = VoiceConfig.load(env={}, moshi__device="cpu", server__allowed_hosts="one.example")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(create_app(config))) as client:
        assert (await client.get("http://one.example/health/live")).status_code == 200
        refused = await client.get("http://evil.example/health/live")
    assert refused.status_code == 403
    assert "server.allowed_hosts" in refused.json()["error"]["message"]


@pytest.mark.parametrize("address", ["voice.example.org", "wss://voice.example.org", "https://["])
def test_a_public_address_that_is_not_whole_is_refused_at_the_start(address: str):
    with pytest.raises(ConfigurationError, match=r"public_url.*https://voice\.example\.org"):
        VoiceConfig.load(env={}, server__public_url=address)


async def test_a_flood_gets_few_lines_and_the_rest_is_counted(
    lines: list[dict[str, object]], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(refusal_log, "COUNT_SECONDS", 0.05)
    now = 0.0
    log = RefusalLog(clock=lambda: now)
    for number in range(3_000):  # three seconds of it
        now = number / 1_000
        log.note("too_many_connections", "/v1/stream", f"203.0.113.{number % 5}")
    log.note("token_invalid", "/v1/realtime", "198.51.100.7")  # is not lost among them
    told = list(lines)
    assert 10 <= len(told) - 1 <= 13
    assert told[0] == {
        "code": "too_many_connections", "edge": "/v1/stream", "address": "203.0.113.0",
    }  # fmt: skip
    assert told[-1]["code"] == "token_invalid"
    await asyncio.sleep(0.2)
    assert list(lines)[len(told) :] == [
        {"code": "too_many_connections", "left_out": 3_000 - (len(told) - 1)}
    ]
    log.note("too_many_connections", "/v1/stream", "203.0.113.1")
    log.close()  # the server stops before it is time to count
    assert list(lines)[-1] == {"code": "too_many_connections", "left_out": 1}


def test_a_path_that_a_client_has_made_up_is_bounded(lines: list[dict[str, object]]):
    log = RefusalLog()
    with log.asked_by("/" + "x" * 10_000, "203.0.113.1"):
        refused("origin_not_allowed")
    refused("origin_not_allowed")  # nobody asks any more
    assert [len(str(line["edge"])) for line in lines] == [80]
