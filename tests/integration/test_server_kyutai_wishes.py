"""What a client of ``/api/chat`` asks for in its query, and what it sends that means nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from urllib.parse import urlencode

import numpy as np
import pytest
import sphn
import websockets

from coda_voice.audio.features import level_dbfs
from coda_voice.moshi.frames import FRAME_SAMPLES, Pcm
from coda_voice.turns import AGENT_LEVEL_DBFS
from tests.conftest import Spoken
from tests.integration.voice_server import RunningServer, voice_server
from tests.integration.voiced_checkpoint import write_voiced_checkpoint, write_voices

OTHER_PAGE = "https://talk.example.org"
SECONDS = 4.0
SHORT_SECONDS = 3.0
"""Enough for an answer that need not be whole."""
HELD_FRAMES = 3
"""What Opus may hold back for good."""
UNKNOWN = (b"\x07unheard of", b"\xff" * 100, b"\x03\x02", b"\x04{}", b"\x06", b"\x00", b"", "text")
HOT = {"audio_temperature": 2.0, "audio_topk": 250, "text_temperature": 0.01}
"""A sampling in which whatever differs leaves a trace in the sound, but not in the words."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("kyutai")
    with voice_server(
        moshi__checkpoint=str(write_voiced_checkpoint(folder / "voiced")),
        server__voices=str(write_voices(folder / "voices")),
        server__allowed_origins=OTHER_PAGE,
        server__connects_per_second=1_000,
    ) as running:
        yield running


async def talk(
    server: RunningServer, pcm: Pcm, chatter: Sequence[bytes | str] = (), **query: object
) -> tuple[Pcm, str]:
    """Say something, some chatter between the frames; give the agent's sound and words."""
    heard: list[Pcm] = []
    samples, said = 0, ""
    url = f"{server.ws}/api/chat?{urlencode(query)}"
    async with websockets.connect(url, max_size=None) as ws, asyncio.timeout(120):
        assert await ws.recv() == bytes(9)
        writer, reader = sphn.OpusStreamWriter(24_000), sphn.OpusStreamReader(24_000)
        for n, at in enumerate(range(0, len(pcm), FRAME_SAMPLES)):
            await ws.send(b"\x01" + writer.append_pcm(pcm[at : at + FRAME_SAMPLES]))
            if chatter:
                await ws.send(chatter[n % len(chatter)])
            while samples < at - HELD_FRAMES * FRAME_SAMPLES:
                message = await ws.recv()
                assert isinstance(message, bytes) and message[0] in (1, 2), message
                if message[0] == 2:
                    said += message[1:].decode()
                    continue
                heard.append(reader.append_bytes(message[1:]))
                samples += len(heard[-1])
    return np.concatenate(heard), said


def question(spoken: Spoken, seconds: float = SECONDS) -> Pcm:
    return spoken.question(seconds)[: round(seconds * 24_000) // FRAME_SAMPLES * FRAME_SAMPLES]


def same(one: Pcm, other: Pcm) -> bool:
    """Whether they are the same as far as both go."""
    both = min(len(one), len(other))
    return bool(np.array_equal(one[:both], other[:both]))


@pytest.mark.parametrize("name", ["nova", "luna"])
async def test_the_text_prompt_says_who_it_is(server: RunningServer, spoken: Spoken, name: str):
    query = {"text_prompt": f"your name is {name}", "seed": 1}
    sound, said = await talk(server, question(spoken), **query)
    assert said == f" my name is {name}"
    assert level_dbfs(sound) > AGENT_LEVEL_DBFS


async def test_the_same_seed_gives_the_same_sound(server: RunningServer, spoken: Spoken):
    pcm = question(spoken, SHORT_SECONDS)
    once, said = await talk(server, pcm, seed=7, **HOT)
    again, repeated = await talk(server, pcm, seed=7, **HOT)
    other, _ = await talk(server, pcm, seed=8, **HOT)
    assert said == repeated != ""
    assert same(once, again) and level_dbfs(once) > AGENT_LEVEL_DBFS
    assert not same(once, other)
    for name in ("text_seed", "audio_seed"):  # as Kyutai's web client calls it
        named, _ = await talk(server, pcm, seed=-1, **{name: 7}, **HOT)
        assert same(once, named), name


async def test_the_voice_prompt_is_one_of_the_servers_voices(server: RunningServer, spoken: Spoken):
    pcm = question(spoken, SHORT_SECONDS)
    heard = {}
    for name in ("one", "one.flac", "other"):
        heard[name], _ = await talk(server, pcm, seed=7, voice_prompt=name, **HOT)
    assert same(heard["one"], heard["one.flac"])
    assert not same(heard["one"], heard["other"])
    none, _ = await talk(server, pcm, seed=7, **HOT)
    assert not same(heard["one"], none)

    async with websockets.connect(f"{server.ws}/api/chat?voice_prompt=third") as ws:
        message = await ws.recv()
        assert isinstance(message, bytes) and message[0] == 5
        assert "one, other" in message[1:].decode(), "it says which there are"


async def test_what_it_does_not_know_changes_nothing(server: RunningServer, spoken: Spoken):
    query = {"text_prompt": "your name is nova", "seed": 1}
    _, said = await talk(server, question(spoken), chatter=UNKNOWN, **query)
    assert said == " my name is nova"


@pytest.mark.parametrize("path", ["/api/chat", "/v1/stream", "/moshi"])
async def test_a_page_of_an_allowed_origin_may_connect_and_others_not(
    server: RunningServer, path: str
):
    for origin in (OTHER_PAGE, OTHER_PAGE.upper(), f"http://127.0.0.1:{server.port}"):
        async with websockets.connect(f"{server.ws}{path}", origin=origin) as ws:  # type: ignore[arg-type]
            if path == "/api/chat":
                assert await ws.recv() == bytes(9)
    for origin in (
        f"{OTHER_PAGE}.evil.example", "http://talk.example.org", f"{OTHER_PAGE}:8443", "null",
        "https://evil.example", f"https://evil.example/{OTHER_PAGE}", "http://localhost:1", "",
    ):  # fmt: skip
        with pytest.raises(websockets.InvalidStatus) as refused:
            await websockets.connect(f"{server.ws}{path}", origin=origin)  # type: ignore[arg-type]
        assert refused.value.response.status_code == 403, origin
