"""``WS /v1/realtime``: a Realtime session on a socket, a conversation and an LLM.

    app.include_router(realtime_routes(LocalHost(manager)))

The stock clients of openai-python, pipecat and livekit connect to it by their base URL.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import ClassVar

from fastapi import APIRouter, WebSocket
from openai.types.realtime import RealtimeError, RealtimeErrorEvent, ResponseAudioDeltaEvent
from pydantic import BaseModel

from coda_integrations.connection import EdgeConnection, refusal_code_of, tell_and_close
from coda_integrations.host import EdgeHost, Thinkers, instruct, voice_of
from coda_integrations.line import Line
from coda_integrations.realtime.codec import encode, new_id
from coda_integrations.realtime.commands import (
    Forget,
    Hear,
    Hush,
    Instruct,
    Listen,
    Out,
    Script,
    StopThinking,
    Think,
)
from coda_integrations.realtime.session import RealtimeSession
from coda_integrations.thinking import Ended, Sentence, Wrote, think
from coda_voice.attendants import Attendant, UserText
from coda_voice.errors import LlmError, VoiceProcessingError
from coda_voice.heard import Heard
from coda_voice.scripted_voice import Spoken


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
        except VoiceProcessingError as error:  # every slot taken, too many of one user, draining
            told = encode(_error_event(error.error_code, error.message))
            await tell_and_close(websocket, told, refusal_code_of(error))

    router.add_api_websocket_route("/v1/realtime", realtime)
    router.add_api_websocket_route("/realtime", realtime)
    return router


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


class RealtimeConnection(EdgeConnection):
    """One client."""

    def __init__(self, websocket: WebSocket, line: Line, thinkers: Thinkers, model: str) -> None:
        super().__init__(websocket, line)
        self._thinkers = thinkers
        self._session = RealtimeSession(model)
        self._voice = voice_of(line.conversation)
        self._spoken: Spoken | None = None
        self._thoughts: dict[asyncio.Task[None], Think] = {}
        self._transcribing = False
        line.conversation.attendants.add(_Transcripts(self))
        self._perform(self._session.opening())

    def received(self, message: str | bytes) -> None:
        """Take a client event."""
        self._perform(self._session.message(message))
        if not self._transcribing and self._session.needs_words:
            self._transcribing = True
            self.line.conversation.transcribe()

    def heard(self, heard: Heard) -> None:
        """Tell the client of the agent's next frame."""
        self._perform(self._session.heard(heard, self._script_phase(heard.frame.frame)))

    def failed(self, error: VoiceProcessingError) -> None:
        """Tell why the conversation ends."""
        self._send(_error_event(error.error_code, error.message))

    def thoughts(self) -> Iterable[asyncio.Task[None]]:
        """Give what is being thought."""
        return list(self._thoughts)

    def user_text(self, said: UserText) -> None:
        """Take the user's words from the transcriber."""
        self._perform(self._session.user_text(said))

    def _perform(self, outs: Iterable[Out]) -> None:
        for out in outs:
            match out:
                case BaseModel():
                    self._send(out)
                case Hear(pcm):
                    self.line.put(pcm)
                case Listen(settings):
                    self.line.listen(settings)
                case Forget():
                    self.line.forget()
                case Instruct(text):
                    instruct(self.line.conversation, text, "session.instructions")
                case Hush():
                    self._stop_thinking()
                    self._voice.hush()
                    self._spoken = None
                case StopThinking():
                    self._stop_thinking()
                case Think():
                    if not (out.tools_only or out.response.text_only):
                        self._spoken = None
                    task = asyncio.create_task(self._think(out), name="realtime thought")
                    self._thoughts[task] = out
                    task.add_done_callback(lambda done: self._thoughts.pop(done, None))

    def _send(self, event: BaseModel) -> None:
        self.send(encode(event), sound=isinstance(event, ResponseAudioDeltaEvent))

    # ---- thinking and speaking -----------------------------------------------------------

    async def _think(self, wanted: Think) -> None:
        told, response = self._session.responses, wanted.response
        spoken: Spoken | None = None
        try:
            own = None if wanted.tools_only else self._thinkers.toolbox
            llms, most = self._thinkers.llms, self._thinkers.max_calls
            async for thought in think(llms, wanted.messages, wanted.tools, own, most):
                match thought:
                    case Wrote(text) if response.text_only and not wanted.tools_only:
                        self._perform(told.thought_text(response, text))
                    case Sentence(text) if not response.text_only and not wanted.tools_only:
                        if spoken is None:
                            spoken = self._voice.say(text, origin="answer", complete=False)
                            self._spoken = spoken
                        else:
                            self._voice.append(spoken, text)
                    case Ended(calls, tokens):
                        said = spoken is not None
                        self._perform(
                            told.thought_calls(response, list(calls), tokens, spoken=said)
                        )
                        self._perform(told.thought_over(response, tokens=tokens, spoken=said))
                    case _:
                        pass
        except LlmError as error:
            code, message, said = error.error_code, error.message, spoken is not None
            self._perform(told.thought_failed(response, code, message, spoken=said))
        finally:
            if spoken is not None:  # or the voice would wait for more of it
                self._voice.finish(spoken)

    def _stop_thinking(self) -> None:
        """Leave off thoughts whose response is over; the one that has just ended it ends itself."""
        for task, wanted in self._thoughts.items():
            if wanted.response.over and task is not asyncio.current_task():
                task.cancel()

    def _script_phase(self, frame: int) -> Script:
        if self._spoken is None:
            return Script.NONE
        script, said = self._spoken.script, self._spoken.script.said
        if script.over and not said:
            return Script.LOST
        # Frames come later than the words that were chosen for them, and several may come at once.
        if not said or frame < said[0].step:
            return Script.WAITING
        return Script.OVER if script.over and frame > said[-1].step else Script.SPEAKING
