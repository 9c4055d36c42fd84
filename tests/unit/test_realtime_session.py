"""What one Realtime response sets, says and costs is its own: the session without sockets."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from coda_integrations.realtime.commands import Hush, Out, Script, StopThinking, Think
from coda_integrations.realtime.session import RealtimeSession
from pydantic import BaseModel

from coda_voice.attendants import UserText
from coda_voice.events import Event, SpeechEnded, SpeechStarted
from coda_voice.heard import Heard
from coda_voice.hybrid.llm import ToolCall
from coda_voice.moshi.frames import FRAME_SAMPLES, FRAME_SECONDS, FrameOut, Word

WEATHER = {"type": "function", "name": "get_weather", "parameters": {"type": "object"}}
STOCKS = {**WEATHER, "name": "get_stocks"}
MCP = {"type": "mcp", "server_label": "x", "server_url": "http://localhost/mcp"}
SILENCE = np.zeros(FRAME_SAMPLES, dtype=np.float32)


class Talk:
    """A session whose frames, words and thoughts the test makes; ``outs`` is all that came."""

    def __init__(self, **session: object) -> None:
        self.session = RealtimeSession("m")
        self.outs: list[Out] = self.session.opening()
        self._frame = 0
        self.send("session.update", session=session)

    def send(self, kind: str, **fields: object) -> None:
        self.outs += self.session.message(json.dumps({"type": kind, **fields}))

    def hear(
        self,
        *events: Event,
        word: str = "",
        agent: bool = False,
        script: Script = Script.NONE,
    ) -> None:
        """Let a frame of the agent's come."""
        time = self._frame * FRAME_SECONDS
        words = (Word(word, time, time + FRAME_SECONDS),) if word else ()
        frame = FrameOut(self._frame, SILENCE, None, words)
        self._frame += 1
        self.outs += self.session.heard(Heard(frame, -20.0, events, False, agent), script)

    def user_asks(self, generation: int = 1) -> None:
        """The user says something, and the voice detector tells when it is over."""
        now = self._frame * FRAME_SECONDS
        common: dict[str, Any] = {"conversation_id": "c", "speaker": "user"}
        self.hear(SpeechStarted(**common, time=now, generation=generation))
        self.outs += self.session.user_text(UserText("what is new", True, generation, now))
        self.hear(SpeechEnded(**common, time=now, duration=FRAME_SECONDS, generation=generation))

    def user_writes(self, text: str) -> None:
        content = [{"type": "input_text", "text": text}]
        item = {"type": "message", "role": "user", "content": content}
        self.send("conversation.item.create", item=item)

    def agent_begins(self) -> None:
        now = self._frame * FRAME_SECONDS
        began = SpeechStarted(conversation_id="c", speaker="agent", time=now, generation=1)
        self.hear(began, word="well", agent=True)

    def calls(self, think: Think, tokens: tuple[int, int] = (0, 0)) -> None:
        """The LLM that was asked calls the first tool it was given."""
        responses, call = self.session.responses, ToolCall("call_1", think.tools[0].name, {})
        self.outs += responses.thought_calls(think.response, [call], tokens)
        self.outs += responses.thought_over(think.response, tokens=tokens)

    @property
    def thoughts(self) -> list[Think]:
        return [out for out in self.outs if isinstance(out, Think)]

    def told(self, kind: str) -> list[dict[str, Any]]:
        events = [out.model_dump() for out in self.outs if isinstance(out, BaseModel)]
        return [event for event in events if event["type"] == kind]

    @property
    def called(self) -> list[str]:
        return [e["name"] for e in self.told("response.function_call_arguments.done")]


def detection(**vad: object) -> dict[str, object]:
    return {"input": {"turn_detection": {"type": "server_vad", **vad}}}


ASKS_ITSELF = detection(create_response=False)


def offered(think: Think) -> list[str]:
    return [tool.name for tool in think.tools]


@pytest.mark.parametrize("tools", [[WEATHER], []], ids=["beside the session's", "only"])
@pytest.mark.parametrize("audio", [ASKS_ITSELF, detection()], ids=["asks itself", "answered"])
def test_a_response_to_spoken_words_has_the_tools_that_were_given_for_it(audio, tools):
    talk = Talk(tools=tools, audio=audio)
    talk.user_asks()
    talk.send("response.create", response={"tools": [STOCKS]})
    assert offered(talk.thoughts[-1]) == ["get_stocks"]
    for think in talk.thoughts:
        talk.calls(think)
    assert talk.called == ["get_stocks"]
    assert talk.session.needs_words


def test_tools_that_were_given_for_one_response_are_not_those_of_the_next():
    talk = Talk(tools=[WEATHER], audio=ASKS_ITSELF)
    for generation, response in enumerate([{"tools": [STOCKS]}, {}], 1):
        talk.user_asks(generation)
        talk.send("response.create", response=response)
        talk.calls(talk.thoughts[-1])
    assert talk.called == ["get_stocks", "get_weather"]


@pytest.mark.parametrize("audio", [ASKS_ITSELF, detection()], ids=["asks itself", "answered"])
def test_a_response_that_shall_call_no_tool_calls_none(audio):
    talk = Talk(tools=[WEATHER], audio=audio)
    talk.user_asks()
    talk.send("response.create", response={"tool_choice": "none"})
    for think in talk.thoughts:
        talk.calls(think)
    assert talk.called == []
    talk.send("response.cancel")
    talk.user_writes("So?")
    talk.send("response.create", response={"tool_choice": "none"})
    assert offered(talk.thoughts[-1]) == []


def test_no_tool_is_called_for_a_response_that_was_cancelled():
    talk = Talk(tools=[WEATHER], audio=ASKS_ITSELF)
    talk.user_asks()
    talk.send("response.create")
    (think,) = talk.thoughts
    talk.send("response.cancel")
    assert StopThinking() in talk.outs and think.response.over
    talk.calls(think)
    assert talk.called == []
    talk.send("response.create")  # it was not meant so: the same question once more
    talk.calls(talk.thoughts[-1])
    assert talk.called == ["get_weather"]


def test_what_an_llm_read_and_wrote_to_call_a_tool_is_in_the_usage():
    talk = Talk(tools=[WEATHER], audio=detection())
    talk.user_asks()
    talk.calls(talk.thoughts[-1], tokens=(40, 12))
    (done,) = talk.told("response.done")
    usage = done["response"]["usage"]
    assert usage["input_token_details"]["text_tokens"] == 40
    assert usage["output_token_details"]["text_tokens"] == 12


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("response.create", {"response": {"tools": [MCP]}}),
        ("conversation.item.truncate", {"content_index": 0, "audio_end_ms": -1}),
    ],
    ids=["tools of others", "cut before its begin"],
)
def test_what_is_refused_ends_no_response(kind: str, fields: dict[str, object]):
    talk = Talk(audio=detection())
    talk.agent_begins()
    (word,) = talk.told("response.output_audio_transcript.delta")
    if kind == "conversation.item.truncate":
        fields = {**fields, "item_id": word["item_id"]}
    talk.send(kind, **fields)
    assert len(talk.told("error")) == 1
    talk.hear(word="then", agent=True)
    assert Hush() not in talk.outs and talk.told("response.done") == []
    assert len(talk.told("response.output_audio_transcript.delta")) == 2


def test_what_follows_at_once_after_a_cancelled_response_is_heard():
    talk = Talk(audio=detection())
    for word in ("before", "after"):
        talk.user_writes("So?")
        talk.send("response.create")
        talk.hear(word="rest", agent=True, script=Script.WAITING)
        talk.hear(word=word, agent=True, script=Script.SPEAKING)
        talk.send("response.cancel")
    said = [e["transcript"] for e in talk.told("response.output_audio_transcript.done")]
    assert said == ["before", "after"]
