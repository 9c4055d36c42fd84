"""Telephone calls over real sockets: Twilio's and Asterisk's side played by the test."""

from __future__ import annotations

import asyncio
import base64
import json
import uuid
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from coda_integrations.host import LocalHost, voice_of
from coda_integrations.telephony import audiosocket_codec, twilio_codec
from coda_integrations.telephony.audiosocket import AudioSocketServer
from coda_integrations.telephony.twilio import twilio_routes
from coda_integrations.telephony.twilio_call import TwilioCall
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from coda_voice.audio import telephony
from coda_voice.audio.features import level_dbfs
from coda_voice.manager import VoiceManager
from coda_voice.moshi.engine import Engine
from tests.conftest import Spoken
from tests.integration.edge_server import serving
from tests.integration.voice_server import voice_server

START = {
    "event": "start",
    "sequenceNumber": "1",
    "start": {
        "streamSid": "MZ1",
        "accountSid": "AC1",
        "callSid": "CA1",
        "tracks": ["inbound"],
        "customParameters": {"who": "me"},
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
    },
    "streamSid": "MZ1",
}


class Twilio:
    """Twilio's side of a call: says what the caller says, plays what it gets, returns marks."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.sound = b""
        self.marks = 0
        self.clears = 0
        self.returns_marks = True
        self.changed = asyncio.Event()

    async def until(self, wanted: Callable[[], bool]) -> None:
        async with asyncio.timeout(90):
            while not wanted():
                self.changed.clear()
                await self.changed.wait()

    async def begin(self) -> None:
        await self.socket.send(json.dumps({"event": "connected", "protocol": "Call"}))
        await self.socket.send(json.dumps(START))

    async def say(self, pcm: np.ndarray) -> None:
        for begin in range(0, len(pcm), 160):  # 20 ms each
            payload = base64.b64encode(telephony.encode(pcm[begin : begin + 160], "mulaw"))
            media = {"track": "inbound", "chunk": "1", "payload": payload.decode()}
            await self.socket.send(json.dumps({"event": "media", "media": media}))
            await asyncio.sleep(0.02)

    async def play(self) -> None:
        async for text in self.socket:
            message: dict[str, Any] = json.loads(text)
            assert message["streamSid"] == "MZ1"
            if message["event"] == "media":
                self.sound += base64.b64decode(message["media"]["payload"])
            elif message["event"] == "mark":
                self.marks += 1
                if self.returns_marks:
                    await self.socket.send(text)
            elif message["event"] == "clear":
                self.clears += 1
            self.changed.set()


async def test_a_call_by_twilio_is_answered_and_barge_in_clears_what_was_not_played(
    engine: Engine, spoken: Spoken
):
    async with VoiceManager(engine=engine) as manager:
        host = LocalHost(manager)
        async with (
            serving(twilio_routes(host)) as address,
            connect(f"ws://{address}/v1/twilio") as socket,
        ):
            twilio = Twilio(socket)
            await twilio.begin()
            playing = asyncio.create_task(twilio.play())
            await twilio.say(spoken.pcm("what_is_your_name", 8_000))
            await twilio.until(lambda: twilio.marks >= 1)
            assert level_dbfs(telephony.decode(twilio.sound, "mulaw")) > -45
            twilio.returns_marks = False  # as if the rest were waiting to be played
            conversation = manager.conversation(manager.get_active_conversations()[0])
            voice_of(conversation).say("One two three four five six seven eight nine ten.")
            seen = twilio.marks
            await twilio.until(lambda: twilio.marks >= seen + 3)
            await twilio.say(spoken.pcm("stop", 8_000))
            await twilio.until(lambda: twilio.clears > 0)
            await socket.send(json.dumps({"event": "stop", "streamSid": "MZ1"}))
            await asyncio.wait_for(playing, 10)
        host.close()


def frame_of(words: list[str], *, user_began: bool = False) -> Any:
    from coda_voice.events import SpeechStarted
    from coda_voice.heard import Heard
    from coda_voice.moshi.frames import FrameOut, Word

    began = SpeechStarted(conversation_id="c", speaker="user") if user_began else None
    frame = FrameOut(
        0, np.zeros(1920, dtype=np.float32), 3, tuple(Word(word, 0.0, 0.1) for word in words)
    )
    return Heard(frame, -120.0, (began,) if began else (), user_began, False)


def test_only_words_whose_marks_came_back_were_heard():
    call = TwilioCall()
    call.message(json.dumps(START))
    assert call.parameters == {"who": "me"}
    marks = [
        json.loads(action)["mark"]["name"]
        for action in call.heard(frame_of(["one", "two", "three"]))
        if isinstance(action, str) and json.loads(action)["event"] == "mark"
    ]
    call.message(json.dumps({"event": "mark", "mark": {"name": marks[0]}}))
    interrupted = call.heard(frame_of([], user_began=True))
    assert [json.loads(a)["event"] for a in interrupted if isinstance(a, str)] == ["clear"]
    for name in marks[1:]:  # Twilio returns the marks of what it has dropped, too
        call.message(json.dumps({"event": "mark", "mark": {"name": name}}))
    assert list(call.played) == ["one"]
    assert list(call.unplayed) == ["two", "three"]


def test_words_whose_sound_was_dropped_on_the_way_were_not_heard():
    call = TwilioCall()
    call.message(json.dumps(START))
    marks = [
        json.loads(action)["mark"]["name"]
        for action in call.heard(frame_of(["one", "two", "three"]))
        if isinstance(action, str) and json.loads(action)["event"] == "mark"
    ]
    # Marks come back in order: one that is missing was never sent, nor was its sound.
    call.message(json.dumps({"event": "mark", "mark": {"name": marks[1]}}))
    assert (list(call.played), list(call.unplayed)) == (["two"], ["one"])
    call.message(json.dumps({"event": "mark", "mark": {"name": marks[2]}}))
    assert list(call.played) == ["two", "three"]


async def test_only_twilio_is_served_where_a_token_is_set(engine: Engine):
    async with VoiceManager(engine=engine) as manager:
        host = LocalHost(manager)
        public = "https://voice.example.org"
        async with (
            serving(twilio_routes(host, auth_token="secret", public_url=public)) as address,
            httpx.AsyncClient(base_url=f"http://{address}") as client,
        ):
            fields = {"CallSid": "CA1", "From": "+15550100"}
            right = twilio_codec.signature(f"{public}/v1/twilio/voice", "secret", fields)
            answer = await client.post(
                "/v1/twilio/voice", data=fields, headers={"X-Twilio-Signature": right}
            )
            assert '<Stream url="wss://voice.example.org/v1/twilio"/>' in answer.text
            wrong = await client.post("/v1/twilio/voice", data={**fields, "From": "+15550199"},
                                      headers={"X-Twilio-Signature": right})  # fmt: skip
            assert wrong.status_code == 403
            with pytest.raises(InvalidStatus, match="403"):
                await connect(f"ws://{address}/v1/twilio")
            signed = twilio_codec.signature("wss://voice.example.org/v1/twilio", "secret")
            headers = {"X-Twilio-Signature": signed}
            async with connect(f"ws://{address}/v1/twilio", additional_headers=headers) as socket:
                await socket.send("that is none of Twilio's messages")
                await asyncio.wait_for(socket.wait_closed(), 10)
                assert socket.close_code == 1008
        host.close()


async def test_twilios_signature_covers_empty_fields_and_the_query(engine: Engine):
    async with VoiceManager(engine=engine) as manager:
        host = LocalHost(manager)
        async with (
            serving(twilio_routes(host, auth_token="secret")) as address,
            httpx.AsyncClient(base_url=f"http://{address}") as client,
        ):
            # As of a caller abroad, of whom no town is known.
            fields = {"CallSid": "CA1", "From": "+4930901820", "FromCity": "", "FromZip": ""}
            for path in ("/v1/twilio/voice", "/v1/twilio/voice?line=2&name=a%20b"):
                right = twilio_codec.signature(f"http://{address}{path}", "secret", fields)
                answer = await client.post(path, data=fields, headers={"X-Twilio-Signature": right})
                assert answer.status_code == 200, path
            answer = await client.post(
                "/v1/twilio/voice?line=3", data=fields, headers={"X-Twilio-Signature": right}
            )
            assert answer.status_code == 403
        host.close()


async def test_each_call_has_memories_of_its_own_and_a_slot_once_it_begins(tmp_path: Path):
    (tmp_path / "token").write_text("secret")
    with voice_server(server__twilio_token_file=str(tmp_path / "token")) as server:
        url = f"{server.ws}/v1/twilio"
        signed = {"X-Twilio-Signature": twilio_codec.signature(url, "secret")}

        async def users() -> set[str | None]:
            states = (await client.get("/v1/conversations")).json()
            return {state["user_id"] for state in states}

        async with (
            AsyncExitStack() as calls,
            httpx.AsyncClient(base_url=server.http, timeout=60) as client,
        ):
            for number in (1, 2):
                socket = await calls.enter_async_context(connect(url, additional_headers=signed))
                await socket.send(json.dumps({"event": "connected", "protocol": "Call"}))
                await asyncio.sleep(0.5)
                assert len(await users()) == number - 1
                start = {"streamSid": f"MZ{number}", "callSid": f"CA{number}"}
                await socket.send(json.dumps({"event": "start", "start": start}))
                for _ in range(600):
                    if len(await users()) == number:
                        break
                    await asyncio.sleep(0.1)
            assert await users() == {"twilio:CA1", "twilio:CA2"}


async def test_a_call_by_asterisk_is_answered_at_the_pace_of_its_sound(
    engine: Engine, spoken: Spoken
):
    async with VoiceManager(engine=engine) as manager:
        host = LocalHost(manager)
        async with AudioSocketServer(host, port=0) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            received = audiosocket_codec.AudioSocketReader()
            sound = bytearray()
            hung_up = asyncio.Event()

            async def listen() -> None:
                while data := await reader.read(4_096):
                    for message in received.feed(data):
                        if isinstance(message, audiosocket_codec.Audio):
                            assert 0 < len(message.sound) <= 320
                            sound.extend(message.sound)
                        else:
                            assert isinstance(message, audiosocket_codec.Hangup)
                            hung_up.set()

            def loud() -> bool:
                heard = np.frombuffer(bytes(sound), dtype="<i2").astype(np.float32) / 32_768
                return level_dbfs(heard) > -55

            listening = asyncio.create_task(listen())
            writer.write(b"\x01\x00\x10" + uuid.uuid4().bytes)
            data = telephony.to_int16(spoken.pcm("hello", 8_000)).astype("<i2").tobytes()
            sent = 0
            async with asyncio.timeout(90):
                while sent < len(data) or not loud():
                    writer.write(audiosocket_codec.audio(data[sent : sent + 320] or bytes(320)))
                    sent += 320
                    await asyncio.sleep(0.02)
                    if sent == 32_000:
                        conversation = manager.get_active_conversations()[0]
                        voice_of(manager.conversation(conversation)).say("Hello to you, too.")
            # Nothing piles up at Asterisk, which could not be told to drop it.
            assert len(sound) <= sent + 6_400
            writer.write(b"\x03\x00\x01*")  # the caller presses the star: be silent
            writer.write(audiosocket_codec.hangup())
            await asyncio.wait_for(hung_up.wait(), 30)
            assert not manager.get_active_conversations()
            writer.close()
            await listening
        host.close()
