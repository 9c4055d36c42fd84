"""``/moshi``, the speech-to-speech protocol, over real sockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soxr
import websockets
from websockets.asyncio.client import ClientConnection

from coda_voice.audio.features import level_dbfs
from coda_voice.moshi.frames import FRAME_SECONDS, Pcm
from coda_voice.server.routes import voice
from coda_voice.turns import AGENT_LEVEL_DBFS
from tests.conftest import Spoken
from tests.ear import recognised
from tests.integration.voice_server import RunningServer, voice_server
from tests.integration.voiced_checkpoint import write_voiced_checkpoint, write_voices

AHEAD_FRAMES = 4
"""So much a client may have sent that is not answered: other rates are resampled."""
HELD_SECONDS = 0.2
"""What the resamplers of both ways may hold back at most."""


class SpeechClient:
    """Talks as a program would: sound at its own rate, what was told kept in ``messages``."""

    def __init__(self, socket: ClientConnection, rate: int) -> None:
        self.socket = socket
        self.rate = rate
        self.messages: list[dict[str, Any]] = []
        self._heard = bytearray()

    async def receive(self) -> bytes | dict[str, Any]:
        async with asyncio.timeout(120):
            message = await self.socket.recv()
        if isinstance(message, bytes):
            self._heard += message
            return message
        self.messages.append(json.loads(message))
        return self.messages[-1]

    async def say(self, pcm: Pcm) -> Pcm:
        """Say samples at the client's rate; give what is heard meanwhile."""
        step = round(FRAME_SECONDS * self.rate) * 2
        data = (np.clip(pcm, -1, 1) * 32767).astype("<i2").tobytes()
        before = len(self._heard)
        for at in range(0, len(data), step):
            await self.socket.send(data[at : at + step])
            while len(self._heard) - before < at - AHEAD_FRAMES * step:
                await self.receive()
        while len(self._heard) - before < len(data) - HELD_SECONDS * self.rate * 2:
            await self.receive()
        return np.frombuffer(bytes(self._heard[before:]), "<i2").astype(np.float32) / 32768

    async def ask(self, spoken: Spoken, seconds: float = 4.8) -> Pcm:
        """Ask for the agent's name; give what is heard."""
        asked = spoken.pcm("what_is_your_name", self.rate)
        return await self.say(np.pad(asked, (0, round(seconds * self.rate) - len(asked))))

    def words(self, speaker: str) -> str:
        """What that speaker has said, as far as it is final."""
        return " ".join(m["text"] for m in self.told("transcript", speaker) if m["final"])

    def told(self, type: str, speaker: str) -> list[dict[str, Any]]:
        return [m for m in self.messages if m["type"] == type and m["speaker"] == speaker]

    async def refused(self) -> tuple[str, int | None]:
        """Read to the end; give the code of the last error and the close code."""
        with pytest.raises(websockets.ConnectionClosed):
            while True:
                await self.receive()
        error = self.messages[-1]
        assert error["type"] == "error" and error["fatal"] and error["message"]
        return str(error["code"]), self.socket.close_code


@asynccontextmanager
async def speech(
    server: RunningServer, sample_rate: int = 24_000, **config: object
) -> AsyncIterator[SpeechClient]:
    """Connect, configure, and wait until the server is ready."""
    async with websockets.connect(f"{server.ws}/moshi", max_size=None) as socket:
        client = SpeechClient(socket, sample_rate)
        await socket.send(json.dumps({"type": "config", "sample_rate": sample_rate, **config}))
        assert (await client.receive())["type"] == "ready"  # type: ignore[call-overload]
        yield client


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    voices = write_voices(tmp_path_factory.mktemp("moshi") / "voices")
    with voice_server(
        moshi__seed=1, server__voices=str(voices), server__connects_per_second=1_000
    ) as running:
        yield running


@pytest.mark.parametrize(("rate", "name"), [(8_000, "nova"), (24_000, "luna"), (48_000, "echo")])
async def test_a_question_is_understood_and_answered_at_the_clients_rate(
    server: RunningServer, spoken: Spoken, rate: int, name: str
):
    prompt = f"your name is {name}"
    async with speech(server, rate, session_id="mine", system_prompt=prompt) as client:
        ready = client.messages[0]
        assert ready["session_id"] == "mine" and ready["sample_rate"] == rate
        assert ready["conversation_id"] not in ("", "mine")
        heard = await client.ask(spoken)
    assert client.words("user") == "what is your name"
    assert client.words("agent") == f"my name is {name}"

    fact = spoken.facts["what_is_your_name"]
    (began,), (ended,) = client.told("speech_start", "user"), client.told("speech_end", "user")
    assert began["time"] == pytest.approx(fact["onset"], abs=0.25)
    assert ended["time"] == pytest.approx(fact["offset"], abs=0.25)
    assert ended["duration"] == pytest.approx(ended["time"] - began["time"], abs=0.01)
    answer, over = client.told("speech_start", "agent")[0], client.told("speech_end", "agent")[-1]
    kinds = [m["type"] for m in client.messages]
    assert kinds.index("speech_start") < kinds.index("speech_end")
    assert ended["time"] < answer["time"] < over["time"]

    # As much comes back as was sent, and its sound is where the messages say it is.
    assert 0 <= 4.8 * rate - len(heard) <= HELD_SECONDS * rate
    begin, end = round(answer["time"] * rate), round(over["time"] * rate)
    assert level_dbfs(heard[: begin - round(0.1 * rate)]) < AGENT_LEVEL_DBFS
    assert level_dbfs(heard[begin:end]) > -30.0
    assert level_dbfs(heard[end + round(0.1 * rate) :]) < AGENT_LEVEL_DBFS
    assert f"my name is {name}" in recognised(soxr.resample(heard, rate, 24_000))


async def test_the_voice_that_was_asked_for_is_taken(tmp_path: Path, spoken: Spoken):
    checkpoint = write_voiced_checkpoint(tmp_path / "voiced")
    voices = write_voices(tmp_path / "voices")
    heard: list[bytes] = []
    with voice_server(
        moshi__checkpoint=str(checkpoint), server__voices=str(voices), moshi__seed=1,
        moshi__temperature=2.0, moshi__top_k=250,  # whatever differs leaves a trace in the sound
    ) as server:  # fmt: skip
        for name, file in (("one", "hello"), ("one.flac", "hello"), ("other", "agent_answer")):
            async with speech(server, voice=name) as client:
                (conversation,) = server.front.manager.get_active_conversations()
                sample = server.front.manager.conversation(conversation).slot.prompt.voice
                assert sample is not None
                np.testing.assert_allclose(sample, spoken.pcm(file), atol=1e-6)
                heard.append((await client.ask(spoken)).tobytes())
    assert heard[0] == heard[1], "the same seed, the same voice"
    assert heard[0] != heard[2]


async def test_a_checkpoint_that_takes_no_voice_says_so(server: RunningServer):
    async with websockets.connect(f"{server.ws}/moshi") as socket:
        client = SpeechClient(socket, 24_000)
        await socket.send('{"type": "config", "voice": "one"}')
        await client.refused()
        assert "takes no voice prompt" in client.messages[-1]["message"]
    assert not server.front.manager.get_active_conversations()


@pytest.mark.parametrize(
    ("first", "code", "says"),
    [
        (bytes(3_840), "config_first", "config"),
        ("{", "bad_config", "JSON"),
        ("[]", "bad_config", "object"),
        ('{"type": "start"}', "bad_config", "type"),
        ('{"sample_rate": 16000}', "bad_config", "type"),
        ('{"type": "config", "sample_rate": 7999}', "bad_config", "sample_rate"),
        ('{"type": "config", "sample_rate": 48001}', "bad_config", "sample_rate"),
        ('{"type": "config", "sample_rate": "fast"}', "bad_config", "sample_rate"),
        ('{"type": "config", "system_prompt": 3}', "bad_config", "system_prompt"),
        ('{"type": "config", "voice": "nobody"}', "unknown_voice", "one, other"),
        ('{"type": "config", "voice": "../voices/one"}', "unknown_voice", "one, other"),
        (json.dumps({"type": "config", "system_prompt": "x" * 8_001}), "bad_config", "8000"),
        (json.dumps({"type": "config", "session_id": "x" * 257}), "bad_config", "session_id"),
    ],
)
async def test_a_bad_configuration_is_refused_in_words(
    server: RunningServer, first: str | bytes, code: str, says: str
):
    async with websockets.connect(f"{server.ws}/moshi") as socket:
        client = SpeechClient(socket, 24_000)
        await socket.send(first)
        assert await client.refused() == (code, 1008)
        assert says in client.messages[-1]["message"]
        assert [m["type"] for m in client.messages] == ["error"]
    assert not len(server.front.sessions)


async def test_who_sends_no_configuration_holds_no_slot_and_must_go(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
):
    assert voice.CONFIG_SECONDS == 10.0, "as docs/reference/protocols.md says"
    monkeypatch.setattr(voice, "CONFIG_SECONDS", 1.0)
    async with websockets.connect(f"{server.ws}/moshi") as silent:
        assert not server.front.manager.get_active_conversations()
        assert await SpeechClient(silent, 24_000).refused() == ("config_first", 1008)
    async with speech(server) as client:  # and who has sent one is not timed any more
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2.0):
                await client.socket.recv()
        assert len(await client.say(np.zeros(24_000, dtype=np.float32))) > 12_000


async def test_text_in_the_middle_is_an_error_and_nothing_ends(
    server: RunningServer, spoken: Spoken
):
    async with speech(server, system_prompt="your name is nova") as client:
        for text in ('{"type": "config", "sample_rate": 16000}', "{", "x" * 70_000):
            await client.socket.send(text)
            error = await client.receive()
            assert isinstance(error, dict) and error["type"] == "error" and not error["fatal"]
        await client.ask(spoken)
        assert client.words("agent") == "my name is nova"
