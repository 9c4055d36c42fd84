"""``/v1/realtime`` of ``coda-voice serve``: what a client sets holds for its own conversation."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import websockets
from openai import AsyncOpenAI

from coda_voice.audio import telephony
from coda_voice.audio.ingest import AudioSettings
from coda_voice.events import Event, SpeechStarted
from coda_voice.manager import VoiceManager
from coda_voice.moshi.engine import Engine
from coda_voice.moshi.frames import Pcm
from coda_voice.server.access import USUAL_SCOPES, Caller
from coda_voice.server.outputs import AgentAudio
from coda_voice.server.session import Session
from tests.conftest import Spoken
from tests.ear import recognised
from tests.integration.openai_client import Client
from tests.integration.voice_server import RunningServer, voice_server

AHEAD_FRAMES = 8
"""So much may be sent that is not answered, however slow the machine."""


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with voice_server(audio__silence_duration_ms=700) as running:
        yield running


def detection(**vad: object) -> dict[str, object]:
    return {"type": "realtime", "audio": {"input": {"turn_detection": {**vad}}}}


async def say(client: Client, pcm: Pcm) -> None:
    data = telephony.to_int16(pcm).astype("<i2").tobytes()
    await client.connection.input_audio_buffer.append(audio=base64.b64encode(data).decode())


async def test_openais_package_holds_a_spoken_conversation(server: RunningServer, spoken: Spoken):
    openai = AsyncOpenAI(api_key="none", base_url=f"{server.http}/v1")
    async with openai.realtime.connect(model="x") as connection:
        client = Client(connection, server.front.manager)
        audio = {"input": {"transcription": {"model": "whisper-1"}}}
        await connection.session.update(session={"type": "realtime", "audio": audio})
        await client.until("session.updated")
        (session,) = server.front.sessions.all()
        async with asyncio.timeout(120):
            for number, frame in enumerate(spoken.question(6.0).reshape(-1, 1_920)):
                await say(client, frame)
                while number - session.frames_out > AHEAD_FRAMES:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        heard = await client.until("conversation.item.input_audio_transcription.completed")
        assert heard["transcript"].lower().strip(" ?.") == "what is your name"
        done = await client.until("response.done", lambda e: e["response"]["output"])
        assert done["response"]["status"] == "completed"
        words = client.of("response.output_audio_transcript.done")[-1]["transcript"]
        assert "my name is" in words.lower()
        deltas = client.of("response.output_audio.delta")
        voice = b"".join(base64.b64decode(delta["delta"]) for delta in deltas)
        assert "my name is" in recognised(telephony.from_int16(np.frombuffer(voice, "<i2")))
    await openai.close()


async def test_a_clients_turn_detection_reaches_its_own_session(server: RunningServer):
    openai = AsyncOpenAI(api_key="none", base_url=f"{server.http}/v1")
    async with (
        openai.realtime.connect(model="x") as first,
        openai.realtime.connect(model="x") as second,
    ):
        for connection, silence_ms in ((first, 200), (second, 2_000)):
            client = Client(connection, server.front.manager)
            vad = {"type": "server_vad", "silence_duration_ms": silence_ms, "threshold": 0.7}
            await connection.session.update(session=detection(**vad))
            updated = await client.until("session.updated")
            told = updated["session"]["audio"]["input"]["turn_detection"]
            assert told["silence_duration_ms"] == silence_ms and told["threshold"] == 0.7
        wanted = [session.hearing.wanted for session in server.front.sessions.all()]
        assert [(w.silence_duration_ms, w.vad_threshold) for w in wanted if w is not None] == [
            (200, 0.7), (2_000, 0.7),
        ]  # fmt: skip
    await openai.close()


@pytest.mark.parametrize(("silence_ms", "turns"), [(200, 2), (5_000, 1)])
async def test_a_session_listens_by_what_it_was_told(
    engine: Engine, spoken: Spoken, silence_ms: int, turns: int
):
    pause = np.zeros(24_000, dtype=np.float32)
    pcm = np.concatenate([spoken.pcm("hello"), pause, spoken.pcm("what_is_your_name"), pause])
    began: list[Event] = []
    async with VoiceManager({"audio": {"silence_duration_ms": 700}}, engine=engine) as manager:
        manager.events.listen(began.append)
        talk = manager.conversation(await manager.start_conversation())
        with ThreadPoolExecutor(1) as pool:
            session = Session(talk, manager, Caller("ada", USUAL_SCOPES), pool)
            await session.begin()
            outputs = session.outputs()
            for begin in range(0, len(pcm) - 1_920, 1_920):
                if begin == 1_920 * 3:  # in the middle of the conversation
                    session.listen(AudioSettings(silence_duration_ms=silence_ms))
                await session.hear(pcm[begin : begin + 1_920])
                while not isinstance(await anext(outputs), AgentAudio):
                    pass
            await session.end("ended")
            await outputs.aclose()
    users = [e for e in began if isinstance(e, SpeechStarted) and e.speaker == "user"]
    assert len(users) == turns


async def test_what_the_voice_detector_cannot_take_is_told_as_it_is(server: RunningServer):
    openai = AsyncOpenAI(api_key="none", base_url=f"{server.http}/v1")
    async with openai.realtime.connect(model="x") as connection:
        client = Client(connection, server.front.manager)
        created = await client.until("session.created")
        told = created["session"]["audio"]["input"]["turn_detection"]
        assert told["silence_duration_ms"] == 500, "not the server's, which it did not ask for"
        vad = {"type": "server_vad", "threshold": 1.0, "silence_duration_ms": 5}
        await connection.session.update(session=detection(**vad, prefix_padding_ms=300))
        told = (await client.until("session.updated"))["session"]["audio"]["input"]
        assert told["turn_detection"]["threshold"] == 0.99
        assert told["turn_detection"]["silence_duration_ms"] == 80
        assert told["turn_detection"].get("prefix_padding_ms") is None
        await say(client, np.zeros(4_800, dtype=np.float32))  # with these it can be heard
        await connection.input_audio_buffer.clear()
        await client.until("input_audio_buffer.cleared")
        assert not client.of("error")
    await openai.close()


EDGES = ("/v1/realtime", "/v1/live/sessions")


async def closed(socket: websockets.ClientConnection) -> tuple[int | None, str]:
    """Read to the end; give the close code, and the code of the last error before it."""
    error = ""
    async with asyncio.timeout(90):
        with contextlib.suppress(websockets.ConnectionClosed):
            while True:
                told = json.loads(await socket.recv())
                if told["type"] == "error":
                    error = told["error"]["code"]
    return socket.close_code, error


@pytest.mark.parametrize("path", EDGES)
async def test_a_server_that_goes_down_says_that_one_may_come_again(path: str):
    with voice_server() as server:
        async with websockets.connect(f"{server.ws}{path}") as socket:
            await socket.send('{"type": "gossip"}')
            async with asyncio.timeout(90):
                await socket.recv()  # so it is served
            loop = server.front.log._loop
            assert loop is not None
            draining = asyncio.run_coroutine_threadsafe(server.front.sessions.drain(0.0), loop)
            assert await closed(socket) == (1012, "server_restart")
            await asyncio.wrap_future(draining)


@pytest.fixture(scope="module")
def strict() -> Iterator[RunningServer]:
    with voice_server(server__longest_seconds=1.0, server__messages_per_second=10) as running:
        yield running


@pytest.mark.parametrize("path", EDGES)
async def test_who_breaks_a_rule_is_told_which(strict: RunningServer, path: str):
    async with websockets.connect(f"{strict.ws}{path}") as socket:
        assert await closed(socket) == (1008, "time_limit")
    async with websockets.connect(f"{strict.ws}{path}") as socket:
        with contextlib.suppress(websockets.ConnectionClosed):
            for _ in range(60):
                await socket.send('{"type": "input_audio_buffer.clear"}')
        assert await closed(socket) == (1008, "too_many_messages")


KEYS = {"ada": "a" * 32, "bob": "b" * 32}


@pytest.fixture(scope="module")
def sharing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Where everybody has one conversation at a time."""
    file = tmp_path_factory.mktemp("sharing") / "keys.yaml"
    known = [f"{{key: {key}, subject: {name}, conversations: 1}}" for name, key in KEYS.items()]
    file.write_text(f"[{', '.join(known)}]", "utf-8")
    with voice_server(server__keys_file=str(file)) as running:
        yield running


@pytest.mark.parametrize(("path", "name"), list(zip(EDGES, KEYS, strict=True)))
async def test_more_conversations_than_ones_share_are_against_the_rules(
    sharing: RunningServer, path: str, name: str
):
    address, hello = f"{sharing.ws}{path}", {"Authorization": f"Bearer {KEYS[name]}"}
    async with websockets.connect(address, additional_headers=hello) as first:
        await first.send('{"type": "gossip"}')
        async with asyncio.timeout(90):
            await first.recv()  # so it is served
        async with websockets.connect(address, additional_headers=hello) as second:
            assert await closed(second) == (1008, "too_many_conversations")
