"""What is answered when something cannot be had: whose fault it is, and whether to try again."""

from __future__ import annotations

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
from coda_voice.server.app import create_app
from coda_voice.server.front import Front, refusal


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
