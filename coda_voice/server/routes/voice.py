"""The WebSockets one can talk to: ``/v1/stream``, ``/moshi`` and ``/api/chat``."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Annotated

from fastapi import APIRouter, WebSocket
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from starlette.websockets import WebSocketDisconnect

from coda_voice.config.model import Mode
from coda_voice.errors import ProtocolError, VoiceProcessingError
from coda_voice.server.access import Caller
from coda_voice.server.codecs import Codec, Message
from coda_voice.server.codecs.kyutai import KyutaiCodec, wish_of
from coda_voice.server.codecs.speech import SpeechCodec, SpeechConfig, read_config
from coda_voice.server.codecs.stream import StreamCodec, what_is_wrong
from coda_voice.server.commands import ChooseMode
from coda_voice.server.front import Front
from coda_voice.server.outputs import Waiting
from coda_voice.server.session import Session, Wish
from coda_voice.server.socket import Connection, refuse, send_all, until_gone

CONFIG_SECONDS = 10.0
"""A ``/moshi`` client has so long to send its configuration."""
Flag = Annotated[bool, BeforeValidator(lambda v: {"true": True, "1": True, "false": False}.get(v))]


class StreamQuery(BaseModel):
    """The query of ``/v1/stream``."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    sample_rate: int = Field(default=24_000, ge=8_000, le=48_000)
    events: Flag = False
    wait: Flag = False
    resume: str | None = Field(default=None, max_length=128)
    after: int | None = Field(default=None, ge=0)
    """With ``resume``: the last event that the client was told, by its id."""
    mode: Mode | None = None
    prompt: str | None = Field(default=None, max_length=8_000)
    voice: str | None = Field(default=None, max_length=80)
    seed: int | None = Field(default=None, ge=0, lt=2**31)
    record: Flag = False
    transcripts: Flag = False

    def wish(self) -> Wish:
        """Give what the conversation should be like."""
        return Wish(
            sample_rate=self.sample_rate,
            mode=self.mode,
            prompt=self.prompt,
            voice=self.voice,
            seed=self.seed,
            wait=self.wait,
            record="the client asked for it (record=true)" if self.record else None,
            transcribe=self.transcripts,
        )


def routes(front: Front) -> APIRouter:
    """Give the router."""
    router = APIRouter()

    @router.websocket("/v1/stream")
    async def stream(websocket: WebSocket) -> None:
        caller = await front.admit(websocket)
        if caller is None:
            return
        await websocket.accept(caller.subprotocol)
        codec = StreamCodec()
        try:
            query = StreamQuery.model_validate(dict(websocket.query_params))
        except ValidationError as error:
            problem = ProtocolError(what_is_wrong(error), "bad_query", fatal=True)
            await refuse(websocket, codec, problem)
            return
        codec.events = query.events
        wish, resume, after = query.wish(), query.resume, query.after
        await _talk(front, websocket, caller, codec, wish, resume, after, resumable=True)

    @router.websocket("/moshi")
    async def speech_to_speech(websocket: WebSocket) -> None:
        caller = await front.admit(websocket)
        if caller is None:
            return
        await websocket.accept(caller.subprotocol)
        try:
            config = read_config(await _first_message(websocket))
        except WebSocketDisconnect:
            return
        except ProtocolError as error:
            await refuse(websocket, SpeechCodec(SpeechConfig(type="config")), error)
            return
        wish = Wish(
            sample_rate=config.sample_rate,
            prompt=config.system_prompt,
            voice=config.voice,
            transcribe=True,  # its ``transcript`` has a speaker: the user is one of them
        )
        await _talk(front, websocket, caller, SpeechCodec(config), wish)

    @router.websocket("/api/chat")
    async def kyutai(websocket: WebSocket) -> None:
        caller = await front.admit(websocket)
        if caller is None:
            return
        await websocket.accept(caller.subprotocol)
        codec = KyutaiCodec()
        try:
            wish = wish_of(websocket.query_params)
        except ProtocolError as error:
            await refuse(websocket, codec, error)
            return
        await _talk(front, websocket, caller, codec, wish)

    return router


async def _first_message(websocket: WebSocket) -> Message:
    try:
        async with asyncio.timeout(CONFIG_SECONDS):
            message = await websocket.receive()
    except TimeoutError as error:
        raise ProtocolError(
            f"No configuration came within {CONFIG_SECONDS:.0f} s.", "config_first", fatal=True
        ) from error
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code") or 1005)
    data: Message | None = message.get("bytes")
    return message.get("text") or "" if data is None else data


async def _talk(
    front: Front,
    websocket: WebSocket,
    caller: Caller,
    codec: Codec,
    wish: Wish,
    resume: str | None = None,
    after: int | None = None,
    *,
    resumable: bool = False,
) -> None:
    try:
        if resume is None:
            session = await _opened(front, websocket, caller, codec, wish)
        else:
            session = front.sessions.resume(caller, resume)
        if session is None:
            return
        if wish.mode is not None and resume is None:
            try:
                await front.control.do(session, ChooseMode(wish.mode))
            except VoiceProcessingError:
                await front.sessions.end(session, "mode_refused")
                raise
    except VoiceProcessingError as error:
        await refuse(websocket, codec, error)
        return
    connection = Connection(websocket, session, codec, front, resumable=resumable)
    with front.talking():
        await connection.run(resumed=resume is not None, after=after)


async def _opened(
    front: Front, websocket: WebSocket, caller: Caller, codec: Codec, wish: Wish
) -> Session | None:
    """Open a session; while waiting in line, tell positions and notice a client that goes.

    None if the client has gone. Raises what ``Sessions.open`` raises, ProtocolError for a flood.
    """
    if not wish.wait:
        return await front.sessions.open(caller, wish)
    moved = asyncio.Event()
    position = 0

    def on_position(now: int) -> None:
        nonlocal position
        position = now
        moved.set()

    async def tell() -> None:
        while True:
            await moved.wait()
            moved.clear()
            with suppress(WebSocketDisconnect):
                await send_all(websocket, codec, Waiting(position))

    opening = asyncio.create_task(front.sessions.open(caller, wish, on_position))
    teller = asyncio.create_task(tell())
    watcher = asyncio.create_task(until_gone(websocket, front))  # what it sends is for nobody yet
    try:
        await asyncio.wait({opening, watcher}, return_when=asyncio.FIRST_COMPLETED)
        if not watcher.done():
            return opening.result()
        if opening.done() and not opening.exception():
            await front.sessions.end(opening.result(), "connection_lost")
        watcher.result()  # raises for one who sent too much
        return None
    finally:
        for task in (opening, teller, watcher):
            task.cancel()
        await asyncio.gather(opening, teller, watcher, return_exceptions=True)
