"""``WS /v1/realtime``: a Realtime session on a socket, a conversation and an LLM.

    app.include_router(realtime_routes(LocalHost(manager)))

The stock clients of openai-python, pipecat and livekit connect to it by their base URL.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import aclosing
from typing import ClassVar

from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from openai.types.realtime import RealtimeError, RealtimeErrorEvent, ResponseAudioDeltaEvent
from pydantic import BaseModel

from coda_integrations.host import EdgeHost, Thinkers, voice_of
from coda_integrations.line import Line
from coda_integrations.outbox import Outbox, OutboxFull
from coda_integrations.realtime.codec import encode, new_id
from coda_integrations.realtime.session import (
    Forget,
    Hear,
    Hush,
    Instruct,
    Listen,
    Out,
    RealtimeSession,
    Script,
    Think,
)
from coda_integrations.thinking import Ended, Sentence, Wrote, think
from coda_voice.attendants import Attendant, UserText
from coda_voice.errors import LlmError, SlotsFullError, VoiceProcessingError
from coda_voice.events import SettingWithoutEffect
from coda_voice.moshi.prompt import Prompt
from coda_voice.moshi.speaking import ScriptState
from coda_voice.scripted_voice import Spoken

PROMPT_WORDS = 60
"""Longer instructions go to the LLM only: the speech model's prompt is a sentence or two."""
TRY_AGAIN = 1013
TOO_SLOW = 1008


def realtime_routes(host: EdgeHost) -> APIRouter:
    """Give the routes ``/v1/realtime`` and ``/realtime`` (some clients leave the ``/v1`` out)."""
    router = APIRouter()

    async def realtime(websocket: WebSocket) -> None:
        guest = await host.admit(websocket, ("realtime",))
        if guest is None:
            return
        await websocket.accept(guest.subprotocol)
        model = websocket.query_params.get("model") or "coda-voice"
        try:
            async with host.line(guest) as line:
                await RealtimeConnection(websocket, line, host.thinkers, model).run()
        except SlotsFullError as error:
            await _tell_and_close(websocket, error, TRY_AGAIN)

    router.add_api_websocket_route("/v1/realtime", realtime)
    router.add_api_websocket_route("/realtime", realtime)
    return router


async def _tell_and_close(websocket: WebSocket, error: VoiceProcessingError, code: int) -> None:
    try:
        await websocket.send_text(encode(_error_event(error.error_code, error.message)))
        await websocket.close(code)
    except (WebSocketDisconnect, RuntimeError):
        return  # the client has gone: nobody is left to tell


def _error_event(code: str, message: str) -> RealtimeErrorEvent:
    return RealtimeErrorEvent(
        type="error",
        event_id=new_id("event"),
        error=RealtimeError(type="server_error", code=code, message=message),
    )


class _Transcripts(Attendant):
    """Passes the user's words on to the session."""

    name: ClassVar[str] = "realtime transcripts"

    def __init__(self, connection: RealtimeConnection) -> None:
        self._connection = connection

    def user_text(self, said: UserText) -> None:
        self._connection.user_text(said)


class RealtimeConnection:
    """One client; ``run`` returns when it has gone or the conversation has ended."""

    def __init__(self, websocket: WebSocket, line: Line, thinkers: Thinkers, model: str) -> None:
        self._socket = websocket
        self._line = line
        self._conversation = line.conversation
        self._thinkers = thinkers
        self._session = RealtimeSession(model)
        self._voice = voice_of(line.conversation)
        self._outbox = Outbox()
        self._spoken: Spoken | None = None
        self._thoughts: dict[asyncio.Task[None], Think] = {}
        self._too_slow = asyncio.Event()
        line.conversation.attendants.add(_Transcripts(self))

    async def run(self) -> None:
        """Serve the client. Raises nothing but cancellation."""
        self._perform(self._session.opening())
        parts = [
            asyncio.create_task(part, name=f"realtime {name}")
            for name, part in (
                ("read", self._read()),
                ("speak", self._speak()),
                ("write", self._write()),
                ("watch", self._slow_reader()),
            )
        ]
        try:
            done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            for part in done:
                part.result()
        except VoiceProcessingError as error:
            await _tell_and_close(self._socket, error, 1011)
        finally:
            await self._stop([*parts, *self._thoughts])
        try:
            await self._socket.close(TOO_SLOW if self._too_slow.is_set() else 1000)
        except (WebSocketDisconnect, RuntimeError):
            return  # it was the client who closed

    async def _stop(self, tasks: Iterable[asyncio.Task[None]]) -> None:
        tasks = list(tasks)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        for task in tasks:
            if not task.cancelled():
                task.exception()  # told above, or the like of what was

    async def _slow_reader(self) -> None:
        await self._too_slow.wait()

    async def _read(self) -> None:
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            text = message.get("text")
            self._perform(self._session.message(text if text is not None else message["bytes"]))

    async def _write(self) -> None:
        async for message in self._outbox:
            try:
                await self._socket.send_text(str(message))
            except (WebSocketDisconnect, RuntimeError):
                return  # the client has gone

    async def _speak(self) -> None:
        async with aclosing(self._line.frames()) as frames:
            async for heard in frames:
                self._perform(self._session.heard(heard, self._script_phase()))

    def user_text(self, said: UserText) -> None:
        """Take the user's words from the transcriber."""
        self._perform(self._session.user_text(said))

    def _perform(self, outs: Iterable[Out]) -> None:
        for out in outs:
            match out:
                case BaseModel():
                    self._send(out)
                case Hear(pcm):
                    self._line.put(pcm)
                case Listen(settings):
                    self._line.listen(settings)
                case Forget():
                    self._line.forget()
                case Instruct(text):
                    self._instruct(text)
                case Hush():
                    self._hush()
                case Think():
                    if not (out.tools_only or out.response.text_only):
                        self._spoken = None
                    task = asyncio.create_task(self._think(out), name="realtime thought")
                    self._thoughts[task] = out
                    task.add_done_callback(lambda done: self._thoughts.pop(done, None))

    def _send(self, event: BaseModel) -> None:
        try:
            self._outbox.put(encode(event), sound=isinstance(event, ResponseAudioDeltaEvent))
        except OutboxFull:
            self._too_slow.set()

    # ---- thinking and speaking -----------------------------------------------------------

    async def _think(self, wanted: Think) -> None:
        session, response = self._session, wanted.response
        spoken = False
        try:
            own = None if wanted.tools_only else self._thinkers.toolbox
            llms = self._thinkers.llms
            async for thought in think(llms, wanted.messages, wanted.tools, own):
                match thought:
                    case Wrote(text) if response.text_only and not wanted.tools_only:
                        self._perform(session.thought_text(response, text))
                    case Sentence(text) if not response.text_only and not wanted.tools_only:
                        self._say(text, first=not spoken)
                        spoken = True
                    case Ended(calls, tokens):
                        self._perform(session.thought_calls(response, list(calls)))
                        if self._spoken is not None and spoken:
                            self._voice.finish(self._spoken)
                        self._perform(session.thought_over(response, tokens=tokens, spoken=spoken))
                    case _:
                        pass
        except LlmError as error:
            self._perform(session.thought_failed(response, error.error_code, error.message))

    def _say(self, sentence: str, *, first: bool) -> None:
        if first or self._spoken is None:
            self._spoken = self._voice.say(sentence, origin="answer", complete=False)
        else:
            self._voice.append(self._spoken, sentence)

    def _hush(self) -> None:
        for task, wanted in self._thoughts.items():
            if wanted.response.over:
                task.cancel()
        self._voice.hush()
        self._spoken = None

    def _script_phase(self) -> Script:
        if self._spoken is None:
            return Script.NONE
        script = self._spoken.script
        if script.state is ScriptState.WAITING:
            return Script.WAITING
        if script.state is ScriptState.SPEAKING:
            return Script.SPEAKING
        return Script.OVER if script.said else Script.LOST

    def _instruct(self, text: str) -> None:
        """Tell the speech model, where it takes prompts, and say so where it does not."""
        words = text.split()
        if not words:
            return
        try:
            if len(words) > PROMPT_WORDS:
                raise VoiceProcessingError(
                    f"The speech model takes prompts of at most {PROMPT_WORDS} words; these "
                    f"{len(words)} go to the LLM only."
                )
            self._conversation.slot.prime(Prompt(text=text))
        except VoiceProcessingError as error:
            self._conversation.publish(
                SettingWithoutEffect(
                    conversation_id=self._conversation.id,
                    time=self._conversation.seconds,
                    setting="session.instructions",
                    reason=error.message,
                )
            )
