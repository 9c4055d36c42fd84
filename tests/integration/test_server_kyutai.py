"""``/api/chat`` with Kyutai's own Python client, whose sound card is played by the test."""

from __future__ import annotations

import asyncio
import importlib
import sys
import types
from collections.abc import Iterator
from typing import Any

import aiohttp
import numpy as np
import pytest
import sphn
import websockets

from tests.conftest import Spoken
from tests.ear import recognised
from tests.integration.voice_server import RunningServer, voice_server

AHEAD_FRAMES = 8
"""So much may be sent that is not answered, however slow the machine."""
HELD_FRAMES = 3
"""What Opus may hold back for good."""


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with voice_server(server__connects_per_second=1_000) as running:
        yield running


class SoundCard:
    """Stands where PortAudio's streams stand, and calls the client's callbacks."""

    def __init__(self, *, callback: Any, channels: int, **_: Any) -> None:
        self._callback = callback
        self._channels = channels

    def __enter__(self) -> SoundCard:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def record(self, samples: Any) -> None:
        self._callback(samples[:, None], len(samples), None, None)

    def play(self, frames: int) -> Any:
        out = np.zeros((frames, self._channels), dtype=np.float32)
        self._callback(out, frames, None, None)
        return out[:, 0]


class Printer:
    """What moshi.client shows its user."""

    def __init__(self) -> None:
        self.tokens: list[str] = []
        self.logged: list[str] = []
        self.lags = 0

    def print_token(self, token: str, color: str | None = None) -> None:
        self.tokens.append(token)

    def log(self, level: str, message: str) -> None:
        self.logged.append(f"{level}: {message}")

    def print_header(self) -> None: ...
    def print_pending(self) -> None: ...

    def print_lag(self) -> None:
        """There was nothing to play."""
        self.lags += 1


async def test_kyutais_python_client_holds_a_conversation(
    server: RunningServer, spoken: Spoken, monkeypatch: pytest.MonkeyPatch
):
    sounddevice = types.SimpleNamespace(InputStream=SoundCard, OutputStream=SoundCard)
    monkeypatch.setitem(sys.modules, "sounddevice", sounddevice)
    monkeypatch.delitem(sys.modules, "moshi.client", raising=False)
    client = importlib.import_module("moshi.client")
    printer = Printer()
    pcm = spoken.question(4.8)
    frames = pcm.reshape(-1, 1_920)
    async with aiohttp.ClientSession() as http, http.ws_connect(f"{server.ws}/api/chat") as ws:
        connection = client.Connection(printer, ws, asyncio.get_running_loop())
        running = asyncio.create_task(connection.run())
        heard: list[Any] = []

        async def received(count: int) -> None:
            """Wait until so many frames have come, be they played already or not."""
            async with asyncio.timeout(120):
                while len(heard) - printer.lags + connection._output_queue.qsize() < count:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)

        for number, frame in enumerate(frames):
            await asyncio.to_thread(connection._in_stream.record, frame)
            await received(number - AHEAD_FRAMES)
            heard.append(connection._out_stream.play(1_920))
        await received(len(frames) - HELD_FRAMES)
        while connection._output_queue.qsize():
            heard.append(connection._out_stream.play(1_920))
        await ws.close()
        await running
    sound = np.concatenate(heard)
    said = "".join(printer.tokens)
    assert "my name is" in said, "asked for its name, it heard something else"
    assert "my name is" in recognised(sound), "the voice says what the monologue does"
    assert printer.logged[0] == "warning: unknown message kind 0", "the handshake comes first"
    assert not [line for line in printer.logged[1:] if "error" in line or "kind" in line]


async def test_handshake_then_a_page_for_each_frame_and_unknown_kinds_are_discarded(
    server: RunningServer, spoken: Spoken
):
    query = "?text_temperature=0.7&text_topk=25&audio_temperature=0.8&audio_topk=250&pad_mult=0"
    query += "&text_seed=1&audio_seed=2&repetition_penalty=1.0&max_steps=4500&email=x&seed=-1"
    async with websockets.connect(f"{server.ws}/api/chat{query}") as ws:
        assert await ws.recv() == bytes(9)
        writer, reader = sphn.OpusStreamWriter(24_000), sphn.OpusStreamReader(24_000)
        for kind in (0, 2, 3, 4, 5, 6, 7, 8, 99, 255):
            await ws.send(bytes((kind,)) + b"whatever")
        await ws.send(b"")
        await ws.send("text")
        pcm = spoken.pcm("hello")
        samples = 0
        for at in range(0, len(pcm), 1_920):
            data = writer.append_pcm(
                np.pad(pcm[at : at + 1_920], (0, max(0, at + 1_920 - len(pcm))))
            )
            await ws.send(b"\x01" + data)
        async with asyncio.timeout(120):
            while samples < len(pcm) - 3 * 1_920:
                message = await ws.recv()
                assert isinstance(message, bytes) and message[0] in (1, 2)
                if message[0] == 1:
                    samples += len(reader.append_bytes(message[1:]))


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("voice_prompt=../../../../etc/passwd", "no voice"),
        ("voice_prompt=%2e%2e%2fsecret.wav", "no voice"),
        ("voice_prompt=/etc/passwd&text_prompt=x", "no voice"),
        ("voice_prompt=NATF0.pt%00.wav", "no voice"),
        ("seed=many", "seed"),
        ("text_temperature=nan", "text_temperature"),
        ("audio_topk=0", "audio_topk"),
    ],
)
async def test_tricks_in_the_query_are_refused_in_words(
    server: RunningServer, query: str, says: str
):
    async with websockets.connect(f"{server.ws}/api/chat?{query}") as ws:
        message = await ws.recv()
        assert isinstance(message, bytes) and message[0] == 5 and says in message[1:].decode()
        with pytest.raises(websockets.ConnectionClosed):
            await ws.recv()
    assert ws.close_code == 1008


async def test_garbage_instead_of_opus_ends_only_that_conversation(server: RunningServer):
    async with websockets.connect(f"{server.ws}/api/chat") as good:
        await good.recv()
        async with websockets.connect(f"{server.ws}/api/chat") as bad:
            await bad.recv()
            await bad.send(b"\x01" + b"no opus at all" * 100)
            message = await bad.recv()
            assert isinstance(message, bytes) and message[0] == 5
            with pytest.raises(websockets.ConnectionClosed):
                await bad.recv()
        writer = sphn.OpusStreamWriter(24_000)
        await good.send(b"\x01" + writer.append_pcm(np.zeros(1_920 * 3, dtype=np.float32)))
        async with asyncio.timeout(60):
            message = await good.recv()
        assert isinstance(message, bytes) and message[0] == 1


async def test_a_third_client_is_told_at_once_that_it_is_full(server: RunningServer):
    async with (
        websockets.connect(f"{server.ws}/api/chat") as one,
        websockets.connect(f"{server.ws}/api/chat") as two,
    ):
        await one.recv()
        await two.recv()
        async with websockets.connect(f"{server.ws}/api/chat") as third:
            message = await third.recv()
            assert isinstance(message, bytes) and message[0] == 5
            with pytest.raises(websockets.ConnectionClosed):
                await third.recv()
        assert third.close_code == 1013
