"""``WS /v1/live/sessions``: a Live session on a socket, a conversation, a router and an LLM.

app.include_router(live_routes(LocalHost(manager)))
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from fastapi import APIRouter, WebSocket
from openai.types.live import OutputAudioDeltaEvent
from pydantic import BaseModel

from coda_integrations.connection import EdgeConnection, refusal_code_of, tell_and_close
from coda_integrations.host import EdgeHost, Thinkers, instruct, voice_of
from coda_integrations.line import Line
from coda_integrations.live.codec import encode, error_event
from coda_integrations.live.commands import Close, Hear, Instruct, Out, Say, Think
from coda_integrations.live.session import LiveSession
from coda_integrations.realtime.codec import new_id
from coda_integrations.thinking import Ended, Sentence, Wrote, think
from coda_voice.attendants import Attendant, UserText
from coda_voice.errors import LlmError, VoiceProcessingError
from coda_voice.heard import Heard
from coda_voice.hybrid.router import Router
from coda_voice.scripted_voice import Spoken

LONGEST_SECONDS = 3_600
MOST_THOUGHTS = 8
"""Answers that one client may have thought about at once: each is a request to the LLM."""


def live_routes(host: EdgeHost) -> APIRouter:
    """Give the route ``/v1/live/sessions``."""
    router = APIRouter()

    @router.websocket("/v1/live/sessions")
    async def live(websocket: WebSocket) -> None:
        guest = await host.admit(websocket, ("live",))
        if guest is None:
            return
        await websocket.accept(guest.subprotocol)
        try:
            async with host.line(guest) as line:
                await LiveConnection(websocket, line, host.thinkers).run()
        except VoiceProcessingError as error:  # every slot taken, too many of one user, draining
            told = encode(error_event(error.error_code, error.message))
            await tell_and_close(websocket, told, refusal_code_of(error))

    return router


class _Witness(Attendant):
    """Passes on what the user and the agent have said."""

    name: ClassVar[str] = "live transcripts"

    def __init__(self, connection: LiveConnection) -> None:
        self._connection = connection

    def user_text(self, said: UserText) -> None:
        self._connection.user_text(said)

    def agent_said(self, text: str, generation: int) -> None:
        self._connection.session.said(text)


@dataclass(frozen=True, slots=True)
class _Answering:
    """A response in the words of OpenAI's Responses, and the delegation that it answers."""

    delegation_id: str | None
    response_id: str


class LiveConnection(EdgeConnection):
    """One client."""

    def __init__(self, websocket: WebSocket, line: Line, thinkers: Thinkers) -> None:
        super().__init__(websocket, line)
        self.session = LiveSession(round(time.time()) + LONGEST_SECONDS)
        self._thinkers = thinkers
        self._router = Router()
        self._voice = voice_of(line.conversation)
        self._thinking: dict[asyncio.Task[None], _Answering] = {}
        self._expiry = asyncio.get_running_loop().call_later(LONGEST_SECONDS, self._expired)
        line.conversation.attendants.add(_Witness(self))
        line.conversation.transcribe()

    def received(self, message: str | bytes) -> None:
        """Take a client event."""
        self._perform(self.session.message(message))

    def heard(self, heard: Heard) -> None:
        """Pass the agent's next frame on."""
        self._perform(self.session.heard(heard))

    def failed(self, error: VoiceProcessingError) -> None:
        """Tell why the conversation ends."""
        self.send(encode(error_event(error.error_code, error.message)))

    def thoughts(self) -> Iterable[asyncio.Task[None]]:
        """Give what is being thought; the connection is over."""
        self._expiry.cancel()
        return list(self._thinking)

    def user_text(self, said: UserText) -> None:
        """Tell the user's words; what the voice should not answer alone is delegated."""
        self._perform(self.session.user_text(said))
        if not said.final or not said.text:
            return
        decision = self._router.route(said.text, said.time)
        if decision.target == "llm":
            self._perform(self.session.delegate())
        elif decision.target == "stop":
            self._stop()

    def _stop(self) -> None:
        """The user wants no answer any more: neither what is said nor what is thought about."""
        self._voice.hush()
        for task, answering in self._thinking.items():
            if not task.cancelling():
                task.cancel()
                self._tell(answering, "response.incomplete", response={
                    "id": answering.response_id,
                    "status": "incomplete",
                    "incomplete_details": {"reason": "stopped_by_user"},
                })  # fmt: skip

    def _expired(self) -> None:
        self._perform(self.session.close("expired"))

    def _perform(self, outs: Iterable[Out]) -> None:
        for out in outs:
            match out:
                case BaseModel():
                    self.send(encode(out), sound=isinstance(out, OutputAudioDeltaEvent))
                case Hear(pcm):
                    self.line.put(pcm)
                case Instruct(text):
                    instruct(self.line.conversation, text, "session.instructions")
                case Say(text):
                    self._voice.say(text)
                case Think():
                    answering = _Answering(out.delegation_id, new_id("resp"))
                    if len(self._thinking) >= MOST_THOUGHTS:
                        most = f"{MOST_THOUGHTS} responses are under way; wait for one to end."
                        self._failed(answering, "too_many_responses", most)
                        continue
                    task = asyncio.create_task(self._think(out, answering), name="live thought")
                    self._thinking[task] = answering
                    task.add_done_callback(lambda done: self._thinking.pop(done, None))
                case Close():
                    self.end()

    def _tell(self, answering: _Answering, kind: str, **fields: object) -> None:
        event = {"type": kind, **fields}
        self._perform(self.session.thought(answering.delegation_id, event))

    def _failed(self, answering: _Answering, code: str, message: str) -> None:
        fault = {"code": code, "message": message}
        response = {"id": answering.response_id, "status": "failed", "error": fault}
        self._tell(answering, "response.failed", response=response)

    async def _think(self, wanted: Think, answering: _Answering) -> None:
        """Answer in the place of the Responses API, streaming its events, and say the answer."""
        response_id = answering.response_id
        tell = partial(self._tell, answering)
        spoken: Spoken | None = None
        tell("response.created", response={"id": response_id, "status": "in_progress"})
        try:
            by = self._thinkers
            thoughts = think(by.llms, wanted.messages, wanted.tools, by.toolbox, by.max_calls)
            async for thought in thoughts:
                match thought:
                    case Wrote(text):
                        tell("response.output_text.delta", response_id=response_id, delta=text)
                    case Sentence(text) if spoken is None:
                        spoken = self._voice.say(text, origin="answer", complete=False)
                    case Sentence(text) if spoken is not None:
                        self._voice.append(spoken, text)
                    case Ended(calls):
                        self.session.thought_calls(calls)
                        for call in calls:
                            item = {
                                "type": "function_call",
                                "call_id": call.call_id,
                                "name": call.name,
                                "arguments": call.malformed or json.dumps(dict(call.arguments)),
                            }
                            tell("response.output_item.done", response_id=response_id, item=item)
            tell("response.completed", response={"id": response_id, "status": "completed"})
        except LlmError as error:
            self._failed(answering, error.error_code, error.message)
        finally:
            if spoken is not None:
                self._voice.finish(spoken)
