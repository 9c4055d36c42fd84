"""How telephone calls end that nobody hangs up: a far end that is gone, a server that goes down."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import re
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import pytest
from coda_integrations.host import LocalHost
from coda_integrations.server_host import ServerHost
from coda_integrations.telephony import audiosocket, twilio_codec
from coda_integrations.telephony.audiosocket import AudioSocketServer
from coda_integrations.telephony.audiosocket_codec import (
    Audio,
    AudioSocketReader,
    Hangup,
    Message,
    audio,
    hangup,
)
from fastapi import APIRouter
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from coda_voice.events import ConversationEnded, Event
from coda_voice.manager import VoiceManager
from coda_voice.moshi.engine import Engine
from coda_voice.server.front import Front
from tests.integration.voice_server import RunningServer, until, voice_server

SILENCE = bytes(320)


class Asterisk:
    """Asterisk's side of a call; ``messages`` are what it was sent, but for the sound."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self.messages: list[Message] = []
        self.sounds = 0
        self._reader = reader
        self._talking: asyncio.Task[None] | None = None

    def talk(self) -> None:
        """Send what a telephone sends of which nobody speaks."""
        self._talking = asyncio.create_task(self._talk())

    async def _talk(self) -> None:
        while True:
            self.writer.write(audio(SILENCE))
            await asyncio.sleep(0.02)

    def fall_silent(self) -> None:
        """Send nothing any more, and close nothing."""
        if self._talking is not None:
            self._talking.cancel()

    async def listen(self) -> None:
        """Read until the other side has closed."""
        read = AudioSocketReader()
        while data := await self._reader.read(4_096):
            for message in read.feed(data):
                if isinstance(message, Audio):
                    self.sounds += 1
                else:
                    self.messages.append(message)


@asynccontextmanager
async def call(port: int, *, known: bool = True) -> AsyncIterator[Asterisk]:
    """Call; ``known``: say at once which call it is."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    asterisk = Asterisk(reader, writer)
    if known:
        writer.write(b"\x01\x00\x10" + uuid.uuid4().bytes)
    try:
        yield asterisk
    finally:
        asterisk.fall_silent()
        writer.close()


async def test_a_call_of_asterisks_whose_far_end_is_gone_gives_its_slot_back(engine: Engine):
    async with VoiceManager(engine=engine) as manager:
        host = LocalHost(manager)
        ended: list[Event] = []
        manager.events.listen(ended.append)
        async with AudioSocketServer(host, port=0) as server, call(server.port) as asterisk:
            asterisk.talk()
            listening = asyncio.create_task(asterisk.listen())
            await until(lambda: asterisk.sounds > 0)
            asterisk.fall_silent()
            host.silent_call_seconds = 0.5
            await until(listening.done)
            assert asterisk.messages == [Hangup()]
            assert not manager.get_active_conversations()
            assert [e.reason for e in ended if isinstance(e, ConversationEnded)] == ["silent_call"]
        host.close()


@contextmanager
def twilio_server(tmp_path: Path) -> Iterator[tuple[RunningServer, dict[str, str]]]:
    """Serve Twilio's calls; gives the headers that open one."""
    (tmp_path / "token").write_text("secret")
    with voice_server(server__twilio_token_file=str(tmp_path / "token")) as server:
        signature = twilio_codec.signature(f"{server.ws}/v1/twilio", "secret")
        yield server, {"X-Twilio-Signature": signature}


async def to_the_end(socket: ClientConnection) -> int | None:
    """Read until the server closes; gives its close code."""
    with suppress(ConnectionClosed):
        while True:
            await socket.recv()
    return socket.close_code


async def begin(socket: ClientConnection, call_sid: str) -> None:
    start = {"streamSid": f"MZ-{call_sid}", "callSid": call_sid}
    await socket.send(json.dumps({"event": "start", "start": start}))


async def test_a_call_of_twilios_ends_when_no_sound_comes_and_not_while_silence_comes(
    tmp_path: Path,
):
    with twilio_server(tmp_path) as (server, signed):
        url, sessions = f"{server.ws}/v1/twilio", server.front.sessions
        async with (
            connect(url, additional_headers=signed) as gone,
            connect(url, additional_headers=signed) as quiet,
        ):
            await begin(gone, "CA1")
            await begin(quiet, "CA2")

            async def say_nothing() -> None:
                payload = base64.b64encode(b"\xff" * 160).decode()
                while True:
                    await quiet.send(json.dumps({"event": "media", "media": {"payload": payload}}))
                    await asyncio.sleep(0.02)

            talking = asyncio.create_task(say_nothing())
            await until(lambda: len(sessions) == 2)
            server.front.change_limits({"silent_call_seconds": 2.0})
            reading = asyncio.create_task(to_the_end(gone))
            await until(reading.done)
            assert reading.result() == 1008
            await until(lambda: len(sessions) == 1)
            (left,) = sessions.all()
            assert left.caller.subject == "twilio:CA2"
            talking.cancel()
        figures = server.front.metrics.text().decode()
        assert 'coda_conversations_ended_total{reason="silent_call"} 1.0' in figures


async def test_what_a_network_held_up_is_not_heard_late_for_the_rest_of_a_call(tmp_path: Path):
    with twilio_server(tmp_path) as (server, signed):
        async with connect(f"{server.ws}/v1/twilio", additional_headers=signed) as socket:
            await begin(socket, "CA1")
            await until(lambda: len(server.front.sessions) == 1)
            held_up = base64.b64encode(b"\xff" * 8_000 * 12).decode()  # twelve seconds at once
            await socket.send(json.dumps({"event": "media", "media": {"payload": held_up}}))
            lost = re.compile(r'^coda_frames_dropped_total\{where="input"\} (\S+)$', re.MULTILINE)
            await until(lambda: lost.search(server.front.metrics.text().decode()) is not None)
            found = lost.search(server.front.metrics.text().decode())
            assert found is not None and float(found[1]) >= 125, "ten seconds, in frames"


@contextmanager
def asterisk_server(drain_seconds: float) -> Iterator[tuple[RunningServer, AudioSocketServer]]:
    """Serve calls by AudioSocket on the server, by its slots and limits."""
    listening: list[AudioSocketServer] = []

    def routes(front: Front) -> APIRouter:
        @asynccontextmanager
        async def listen(_: object) -> AsyncIterator[None]:
            async with AudioSocketServer(ServerHost(front), port=0) as server:
                listening.append(server)
                yield

        return APIRouter(lifespan=listen)

    with voice_server(routes=[routes], server__drain_seconds=drain_seconds) as server:
        yield server, listening[0]


async def stopped(server: RunningServer) -> None:
    """Wait until the server has stopped."""
    loop = server.front.log._loop
    assert loop is not None
    await until(loop.is_closed)
    assert server.failed == []


async def test_a_server_that_goes_down_lets_a_call_end_in_peace(
    caplog: pytest.LogCaptureFixture,
):
    caplog.set_level(logging.WARNING, "coda_voice.server.refusal_log")
    with asterisk_server(drain_seconds=600.0) as (server, telephones):
        async with call(telephones.port) as talking:
            talking.talk()
            listening = asyncio.create_task(talking.listen())
            await until(lambda: talking.sounds > 0)
            server.terminate()
            await until(lambda: server.front.sessions.draining)
            async with call(telephones.port) as late:
                hearing = asyncio.create_task(late.listen())
                await until(hearing.done)
                assert late.messages == [Hangup()], "no call begins any more"
            (late_call,) = [r for r in caplog.records if r.getMessage() == "client_refused"]
            assert vars(late_call)["fields"] == {
                "code": "draining", "edge": "audiosocket", "address": "127.0.0.1"
            }  # fmt: skip
            heard = talking.sounds
            await until(lambda: talking.sounds > heard + 20)
            assert len(server.front.sessions) == 1
            talking.writer.write(hangup())
            await until(listening.done)
            assert talking.messages == [Hangup()]
            await stopped(server)


async def test_calls_that_go_on_are_hung_up_when_the_time_to_end_is_over(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(audiosocket, "LAST_WORDS_SECONDS", 0.2)
    with asterisk_server(drain_seconds=0.1) as (server, telephones):
        async with (
            call(telephones.port) as talking,
            call(telephones.port) as deaf,
            call(telephones.port, known=False) as unknown,
        ):
            talking.talk()
            deaf.talk()  # it reads nothing, and closes nothing
            listening = [asyncio.create_task(one.listen()) for one in (talking, unknown)]
            await until(lambda: talking.sounds > 0 and len(server.front.sessions) == 2)
            server.terminate()
            await until(lambda: all(one.done() for one in listening))
            assert talking.messages == [Hangup()]
            assert unknown.messages == [Hangup()]
            await stopped(server)
        assert not server.front.sessions.all()
