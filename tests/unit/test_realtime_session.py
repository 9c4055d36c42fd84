"""What one Realtime response sets, says and costs is its own: the session without sockets."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pytest
from coda_integrations.realtime.commands import Hush, Out, Script, StopThinking, Think
from coda_integrations.realtime.responses import TAIL_FRAMES
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

    def calls(
        self, think: Think, tokens: tuple[int, int] = (0, 0), *, spoken: bool = False
    ) -> None:
        """The LLM that was asked calls the first tool it was given, ``spoken``: after words."""
        responses, call = self.session.responses, ToolCall("call_1", think.tools[0].name, {})
        self.outs += responses.thought_calls(think.response, [call], tokens, spoken=spoken)
        self.outs += responses.thought_over(think.response, tokens=tokens, spoken=spoken)

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


def test_the_one_tool_that_is_named_is_the_only_one_offered():
    named = {"type": "function", "name": "get_stocks"}
    talk = Talk(tools=[WEATHER, STOCKS], tool_choice=named)
    talk.user_writes("What is new?")
    talk.send("response.create")
    assert offered(talk.thoughts[-1]) == ["get_stocks"]
    talk.send("response.cancel")
    talk.user_writes("So?")
    talk.send("response.create", response={"tool_choice": "auto"})
    assert offered(talk.thoughts[-1]) == ["get_weather", "get_stocks"]


@pytest.mark.parametrize(
    "choice",
    [{"type": "function", "name": "get_news"}, {"type": "mcp", "server_label": "x"}],
    ids=["unknown", "of an MCP server"],
)
def test_a_choice_of_a_tool_that_is_not_there_is_refused_and_changes_nothing(choice):
    talk = Talk(tools=[WEATHER])
    talk.send("session.update", session={"tool_choice": choice, "instructions": "be brief"})
    talk.user_writes("What is new?")
    talk.send("response.create", response={"tool_choice": choice})
    errors = [told["error"] for told in talk.told("error")]
    assert [error["param"] for error in errors] == ["tool_choice", "tool_choice"]
    assert all("get_weather" in error["message"] or "MCP" in error["message"] for error in errors)
    assert talk.thoughts == []
    talk.send("response.create")
    assert offered(talk.thoughts[-1]) == ["get_weather"]
    assert "be brief" not in json.dumps([str(message) for message in talk.thoughts[-1].messages])


def test_a_client_that_requires_a_call_is_told_that_none_can_be_forced():
    talk = Talk(tools=[WEATHER], tool_choice="required")
    assert talk.told("session.updated")[-1]["session"]["tool_choice"] == "auto"
    talk.user_writes("What is new?")
    talk.send("response.create")
    assert offered(talk.thoughts[-1]) == ["get_weather"]


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


def asks_with_words(*phases: Script) -> Talk:
    """The LLM says something before it calls a tool; so far has the voice come with it."""
    talk = Talk(tools=[WEATHER], audio=detection())
    talk.user_writes("How is the weather?")
    talk.send("response.create")
    talk.calls(talk.thoughts[-1], spoken=True)
    for phase in phases:
        talk.hear(word="moment" * (phase is Script.SPEAKING), script=phase)
    return talk


def test_a_call_follows_on_the_words_that_were_said_before_it():
    talk = asks_with_words(Script.WAITING, Script.SPEAKING, Script.SPEAKING)
    assert talk.called == [], "a client would answer while the response goes on, and be refused"
    for _ in range(TAIL_FRAMES):
        talk.hear(script=Script.OVER)
    (done,) = talk.told("response.done")
    assert done["response"]["status"] == "completed"
    said, call = done["response"]["output"]
    assert said["content"][0]["transcript"] == "moment moment", "in one piece"
    assert (call["type"], call["name"]) == ("function_call", "get_weather")
    assert [e["item"]["id"] for e in talk.told("response.output_item.done")] == [
        said["id"],
        call["id"],
    ]


def test_a_call_is_made_though_the_words_before_it_could_not_be_said():
    talk = asks_with_words(Script.WAITING, Script.LOST)
    assert talk.called == ["get_weather"]
    assert talk.told("response.done")[0]["response"]["status"] == "completed"


def test_who_interrupts_the_words_before_a_call_has_called_it_off():
    talk = asks_with_words(Script.WAITING, Script.SPEAKING)
    talk.hear(SpeechStarted(conversation_id="c", speaker="user", generation=2))
    assert talk.told("response.done")[0]["response"]["status"] == "cancelled"
    talk.user_writes("Go on")
    talk.send("response.create")
    assert talk.called == []


def test_what_was_cut_off_once_does_not_come_back():
    talk = Talk(audio=detection())
    talk.agent_begins()
    for word in ("one", "two", "three"):
        talk.hear(word=word, agent=True)
    (added,) = talk.told("response.output_item.added")
    where = {"item_id": added["item"]["id"], "content_index": 0}
    for end in (2 * 80, 60_000):  # as a client does at each start of the user's speech
        talk.send("conversation.item.truncate", **where, audio_end_ms=end)
    talk.send("conversation.item.retrieve", item_id=where["item_id"])
    (told,) = talk.told("conversation.item.retrieved")
    assert told["item"]["content"][0]["transcript"] == "well one"


def test_an_agent_that_is_not_heard_ends_no_turn():
    talk = Talk(audio=ASKS_ITSELF)
    user: dict[str, Any] = {"conversation_id": "c", "speaker": "user", "generation": 1}
    talk.hear(SpeechStarted(**user))
    talk.agent_begins()
    assert talk.told("input_audio_buffer.speech_stopped") == []
    talk.hear(SpeechEnded(**user, time=0.4, duration=0.4))
    (committed,) = talk.told("input_audio_buffer.committed")
    (started,) = talk.told("input_audio_buffer.speech_started")
    assert committed["item_id"] == started["item_id"], "it is one turn"


@pytest.mark.parametrize("spoken", [False, True], ids=["silence", "not understood"])
def test_committed_silence_has_no_words_and_that_is_told(spoken: bool):
    talk = Talk(audio={"input": {"turn_detection": None, "transcription": {"model": "any"}}})
    silence = base64.b64encode(bytes(9_600)).decode()  # 0.2 s
    for _ in range(2):
        talk.send("input_audio_buffer.append", audio=silence)
        talk.send("input_audio_buffer.commit")
    user: dict[str, Any] = {"conversation_id": "c", "speaker": "user", "generation": 1}
    if spoken:
        talk.hear(SpeechStarted(**user, time=0.0))
        talk.hear(SpeechEnded(**user, time=0.1, duration=0.1))
    for _ in range(12):
        talk.hear()
    told = talk.told("conversation.item.input_audio_transcription.completed")
    items = [e["item_id"] for e in talk.told("input_audio_buffer.committed")]
    assert [e["transcript"] for e in told] == [""] * (1 if spoken else 2)
    assert [e["item_id"] for e in told] == (items[1:] if spoken else items)


def test_the_session_has_an_id_and_shows_only_what_holds():
    flat = {"modalities": ["text"], "input_audio_format": "g711_ulaw", "id": "mine"}
    vad = {"type": "server_vad", "threshold": 0.4, "sensitivity": 3}
    talk = Talk(**flat, audio={"input": {"turn_detection": vad}})
    (created,), (updated,) = talk.told("session.created"), talk.told("session.updated")
    session = updated["session"]
    assert session["id"] == created["session"]["id"] == talk.session.id
    assert session["object"] == "realtime.session"
    assert not flat.keys() & (session.keys() - {"id"}), "these would be taken for settings"
    detected = session["audio"]["input"]["turn_detection"]
    assert detected["threshold"] == 0.4 and "sensitivity" not in detected


@pytest.mark.parametrize("asked", [False, True], ids=["greets", "answers"])
def test_who_asks_for_the_answer_that_is_being_given_does_not_cut_it_off(asked: bool):
    talk = Talk(audio=detection())
    if asked:
        talk.user_asks()
    talk.agent_begins()
    talk.send("response.create", response={"metadata": {"client_event_id": "x"}})
    (error,) = talk.told("error")
    assert error["error"]["code"] == "conversation_already_has_active_response"
    assert Hush() not in talk.outs and talk.thoughts == []
    now = 10 * FRAME_SECONDS
    talk.hear(word="then", agent=True)
    talk.hear(SpeechEnded(conversation_id="c", speaker="agent", time=now, duration=now))
    (done,) = talk.told("response.done")
    assert done["response"]["status"] == "completed"
    assert done["response"]["output"][0]["content"][0]["transcript"] == "well then"


def test_what_is_written_meanwhile_is_answered_in_its_place():
    talk = Talk(audio=detection())
    talk.user_asks()
    talk.agent_begins()
    talk.user_writes("No, tell me a joke.")
    talk.send("response.create")
    assert talk.told("error") == []
    assert talk.told("response.done")[0]["response"]["status"] == "cancelled"
    (think,) = talk.thoughts
    assert think.messages[-1].content == "No, tell me a joke."
