"""``device: cloud``: a manager that speaks through another server; and the probe of a server."""

from __future__ import annotations

import asyncio
import gc
import json
import warnings
from collections.abc import AsyncIterator, Iterator

import numpy as np
import pytest
from openai import AsyncOpenAI
from websockets.datastructures import Headers
from websockets.http11 import Response

from coda_voice.audio import telephony
from coda_voice.cli.main import main
from coda_voice.cli.probe import measure
from coda_voice.cli.probe_links import ProtocolName
from coda_voice.config import VoiceConfig
from coda_voice.errors import (
    ConfigurationError,
    ConversationError,
    MoshiConnectionError,
    SlotsFullError,
)
from coda_voice.manager import VoiceManager
from coda_voice.moshi.engine import Engine
from coda_voice.moshi.frames import Pcm
from coda_voice.remote import RemoteMessage, decode, refused, websocket_url
from tests.conftest import Spoken
from tests.integration.voice_server import RunningServer, voice_server

SEED = 5


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    nobody = {"provider": "ollama", "endpoint": "http://127.0.0.1:9"}
    with voice_server(moshi__slots=4, external_llm=nobody) as running:
        yield running


def cloud(server: RunningServer, **settings: object) -> VoiceConfig:
    return VoiceConfig.load(
        env={}, provider="moshi-cloud", endpoint=server.ws, moshi__seed=SEED, **settings
    )


def pcm16(pcm: Pcm) -> bytes:
    return telephony.to_int16(pcm).astype("<i2").tobytes()


async def streamed(manager: VoiceManager, pcm: Pcm) -> tuple[bytes, str]:
    """What the agent says to a recording: its sound, and its words."""
    conversation_id = await manager.start_conversation()

    async def source() -> AsyncIterator[bytes]:
        for begin in range(0, len(pcm), 3_000):
            yield pcm16(pcm[begin : begin + 3_000])

    sound, text = b"", ""
    async for chunk in manager.process_voice_stream(conversation_id, source()):
        sound += chunk.audio_data
        text += chunk.text_delta
    await manager.end_conversation(conversation_id)
    return sound, text


async def test_a_remote_conversation_is_the_same_as_one_held_here(
    server: RunningServer, engine: Engine, spoken: Spoken
):
    pcm = np.concatenate([spoken.pcm("what_is_your_name"), np.zeros(48_000, dtype=np.float32)])
    audio = {"audio__sample_rate": 24_000, "audio__bit_depth": 16}
    async with VoiceManager(cloud(server, **audio)) as manager:
        far, far_words = await streamed(manager, pcm)
        assert (await manager.get_system_status()).checkpoint == "cloud"
        assert manager.is_healthy()
    here = VoiceConfig.load(env={}, moshi__seed=SEED, **audio)
    async with VoiceManager(here, engine=engine) as manager:
        near, near_words = await streamed(manager, pcm)
    assert len(far) == len(near)
    first, second = (np.frombuffer(s, dtype="<i2").astype(int) for s in (far, near))
    assert np.abs(first - second).max() <= 1  # rounded once more on the way
    assert near_words and far_words == near_words


async def test_a_manager_that_leaves_at_once_leaves_no_socket_open(
    server: RunningServer, spoken: Spoken, recwarn: pytest.WarningsRecorder
):
    warnings.simplefilter("always")
    async with VoiceManager(cloud(server)) as manager:
        conversation_id = await manager.start_conversation()
        await manager.process_voice_input(conversation_id, spoken.bytes("hello"))
        await manager.end_conversation(conversation_id)  # its goodbye is on its way
    gc.collect()
    assert not [w for w in recwarn if issubclass(w.category, ResourceWarning)]


async def test_a_server_without_room_is_said_and_the_manager_lives_on(spoken: Spoken):
    with voice_server(moshi__slots=1) as server:
        async with VoiceManager(cloud(server)) as manager:
            taken = await manager.start_conversation()
            more = await manager.start_conversation()  # one more than the server has room for
            with pytest.raises(ConversationError, match="slot"):
                await manager.process_voice_input(more, spoken.bytes("hello"))
            assert manager.get_active_conversations() == [taken, more]
            assert manager.is_healthy()


async def test_an_address_where_nobody_listens_is_said(spoken: Spoken):
    config = VoiceConfig.load(env={}, provider="moshi-cloud", endpoint="ws://127.0.0.1:9")
    async with VoiceManager(config) as manager:
        conversation_id = await manager.start_conversation()
        with pytest.raises(ConversationError, match="cannot be reached"):
            await manager.process_voice_input(conversation_id, spoken.bytes("hello"))
        assert manager.is_healthy()
    with pytest.raises(ConfigurationError, match="endpoint"):
        await VoiceManager(VoiceConfig.load(env={}, moshi__device="cloud")).initialize()


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("voice.example.org:8998", "ws://voice.example.org:8998/v1/stream"),
        ("https://voice.example.org", "wss://voice.example.org/v1/stream"),
        ("wss://h/other?mode=hybrid", "wss://h/other?mode=hybrid"),
    ],
)
def test_addresses(address: str, url: str):
    assert websocket_url(address, "/v1/stream") == url


def test_what_is_no_address_and_no_answer_is_said():
    for address in ("ftp://h", "ws://", ""):
        with pytest.raises(ConfigurationError, match="wss://"):
            websocket_url(address, "/v1/stream")
    for message in ("[]", "{", "{}", b"\x00\x00\x00"):
        with pytest.raises(MoshiConnectionError):
            decode(message)
    told = decode('{"type": "transcript", "text": 3, "start": "x"}')
    assert isinstance(told, RemoteMessage) and told.text("text") == "" and told.number("start") == 0


@pytest.mark.parametrize(
    ("status", "code", "full", "said"),
    [
        (503, "slots_full", True, "all slots are taken"),
        (503, "draining", False, "is shutting down"),
        (503, "keys_unavailable", False, "provider of keys"),
        (401, "token_expired", False, "has ended"),
        (429, "too_many_connections", True, "from this address"),
    ],
)
def test_why_a_server_refuses_is_said_as_it_says_it(status: int, code: str, full: bool, said: str):
    body = json.dumps({"error": {"code": code, "message": said}}).encode()
    error = refused(Response(status, "", Headers(), body), "The server")
    assert isinstance(error, SlotsFullError) == full
    assert error.error_code == code and said in error.message and str(status) in error.message


@pytest.mark.parametrize("body", [None, b"", b"<html>", b"[]", b'{"error": "no"}', b"\xff"])
def test_a_proxy_that_refuses_says_nothing_of_slots(body: bytes | None):
    full = refused(Response(503, "", Headers(), body or b""), "The server")
    assert isinstance(full, SlotsFullError) and "try again later" in full.message
    wrong = refused(Response(404, "", Headers(), body or b""), "The server")
    assert not isinstance(wrong, SlotsFullError) and "this path" in wrong.message
    assert wrong.error_code == "http_404"


async def test_the_probe_measures_by_all_protocols(server: RunningServer):
    protocols: list[ProtocolName] = ["v1-stream", "realtime", "moshi", "kyutai"]
    reports = await asyncio.gather(*(measure(server.ws, p, more=0) for p in protocols))
    for protocol, report in zip(protocols, reports, strict=True):
        assert report.handshake_ms > 0
        assert report.frames_sent > 25
        assert report.more_conversations is None
        if protocol == "realtime":  # its sound belongs to no frame of the user's
            assert report.latency_p50_ms is None and report.jitter_ms is None
            continue
        assert 0 < report.frames_received <= report.frames_sent
        assert report.latency_p50_ms is not None and report.latency_max_ms is not None
        assert 0 < report.latency_p50_ms <= report.latency_max_ms


def test_the_probe_counts_how_many_more_are_taken(capsys: pytest.CaptureFixture[str]):
    with voice_server(moshi__slots=3) as server:
        with pytest.raises(SystemExit) as done:
            main(["probe", server.ws, "--more", "9", "--json"])
        assert done.value.code == 0
        report = json.loads(capsys.readouterr().out)
        assert report["more_conversations"] == 2 and report["capacity_reached"]
    with pytest.raises(MoshiConnectionError, match="cannot be reached"):
        asyncio.run(measure("ws://127.0.0.1:9", "v1-stream"))


async def test_realtime_on_the_server_thinks_by_the_servers_settings(server: RunningServer):
    # Nothing listens where the LLM should be: the offline brain takes over, with the tools.
    item = {
        "type": "message",
        "role": "user",
        "content": [{"type": "input_text", "text": "what is two plus seven?"}],
    }
    async with (
        AsyncOpenAI(api_key="none", base_url=f"{server.http}/v1") as client,
        client.realtime.connect(model="coda-tiny") as connection,
        asyncio.timeout(90),
    ):
        await connection.response.create(
            response={"conversation": "none", "output_modalities": ["text"], "input": [item]}
        )
        async for event in connection:
            if event.type == "response.done":
                break
    assert event.type == "response.done" and event.response.status == "completed"
    assert "9" in str(event.response.output)
