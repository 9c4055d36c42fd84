"""What can go wrong with an LLM, each in a running conversation: it goes on, and is honest."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
from coda_tools import tool

from coda_voice import VoiceManager
from coda_voice.composition import HouseTools
from coda_voice.events import (
    AttendantFailed,
    ConversationFailed,
    ReasoningEnded,
    ScriptEnded,
    ScriptStarted,
    SentenceReady,
    ToolEnded,
    ToolStarted,
)
from coda_voice.hybrid.reasoner import MORE
from coda_voice.moshi.engine import Engine
from tests.integration.hybrid_talk import HybridTalk
from tests.integration.llm_server import LlmServer, calls, done, frame, sse, text

READ = 1_500


def reply(*pieces: str) -> list[Any]:
    return text(*pieces, prompt_eval_count=READ)


def call_of(name: str, **arguments: Any) -> list[Any]:
    return [frame(tool_calls=calls((name, arguments))), done(prompt_eval_count=READ)]


def settings(url: str, hybrid: dict[str, Any] | None = None, **llm: Any) -> dict[str, Any]:
    # A filler would come at a moment that depends on how busy the machine is.
    return {
        "hybrid": {"filler_after": 60.0, **(hybrid or {})},
        "mode": "hybrid",
        "moshi": {"device": "cpu", "seed": 5},
        "external_llm": {"endpoint": url, "fallback_enabled": False, **llm},
    }


@tool(timeout=0.2)
async def wait_for_ever() -> str:
    """Never answer."""
    await asyncio.Event().wait()
    return ""


@tool
def break_down() -> str:
    """Raise something."""
    raise OSError("the oven is off")


@contextlib.asynccontextmanager
async def talking(
    engine: Engine, answer: Any, tools: HouseTools | None = None, **llm: Any
) -> AsyncIterator[tuple[HybridTalk, LlmServer]]:
    async with (
        LlmServer(answer) as server,
        VoiceManager(settings(server.url, **llm), engine=engine, tools=tools) as manager,
    ):
        yield await HybridTalk.begin(manager), server


TELL = "tell me everything about the history of bread"


async def ask(talk: HybridTalk, question: str = TELL, *, to_the_end: bool = True) -> ReasoningEnded:
    """Type a question, and listen until all that is said to it has been said."""
    before = len(talk.of(ReasoningEnded))
    talk.manager.send_text(talk.conversation.id, question)
    await talk.until(lambda: len(talk.of(ReasoningEnded)) > before, 3_000)
    await talk.silence(2)
    if not to_the_end:
        return talk.of(ReasoningEnded)[before]
    voice = talk.conversation.attendants
    scripted = next(a for a in voice if a.name == "voice")
    await talk.until(lambda: scripted.idle, 3_000)  # type: ignore[attr-defined]
    return talk.of(ReasoningEnded)[before]


def honest(talk: HybridTalk) -> list[str]:
    """What was said that is no answer."""
    return [s.text for s in talk.of(SentenceReady) if s.kind == "apology"]


async def still_well(talk: HybridTalk) -> None:
    """Frames go on coming, and nothing but the LLM failed."""
    before = len(talk.heard)
    await talk.silence(5)
    assert len(talk.heard) == before + 5
    assert all(np.isfinite(heard.frame.pcm).all() for heard in talk.heard[-5:])
    assert not talk.of(ConversationFailed) and not talk.of(AttendantFailed)


FAULTS: dict[str, tuple[Any, str]] = {
    "404 model": (404, "llm_model_missing"),
    "500": (500, "llm_server_error"),
    "disconnect in mid-sentence": (
        [frame(content="Bread was first "), "disconnect"],
        "llm_disconnected",
    ),
    "error inside a 200": (
        [frame(content="Bread is old. "), {"error": "out of memory"}],
        "llm_stream_error",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_of_the_server_is_one_honest_sentence(engine: Engine, fault: str):
    answer, code = FAULTS[fault]
    async with talking(engine, answer) as (talk, server):
        ended = await ask(talk)
        assert (ended.outcome, ended.code) == ("failed", code)
        assert ended.detail and len(honest(talk)) == 1
        heard = " ".join(e.heard for e in talk.of(ScriptEnded))
        assert honest(talk)[0].split()[0] in heard
        server.answers[:] = [reply("Bread is old.")]
        assert (await ask(talk, "and how is bread made in Rome")).outcome == "answered"
        await still_well(talk)


async def test_a_refused_connection_leaves_it_to_the_offline_brain(engine: Engine):
    config = settings("http://127.0.0.1:9", fallback_enabled=True)
    async with VoiceManager(config, engine=engine) as manager:
        talk = await HybridTalk.begin(manager)
        ended = await ask(talk, "what is three plus four")
        assert (ended.outcome, ended.code, ended.offline) == (
            "answered",
            "llm_unreachable",
            True,
        )
        assert [s.offline for s in talk.of(SentenceReady)] == [True]
        assert talk.of(ScriptEnded)[-1].heard == "seven"
        ended = await ask(talk)
        assert (ended.outcome, ended.code) == ("failed", "llm_unreachable")
        assert len(honest(talk)) == 1
        await still_well(talk)


async def test_while_a_dead_llm_is_spared_the_offline_brain_goes_on(engine: Engine):
    """After the second failure nobody but Moshi answered, for up to a minute."""
    config = settings("http://127.0.0.1:9", {"turns_per_minute": 2}, fallback_enabled=True)
    async with VoiceManager(config, engine=engine) as manager:
        talk = await HybridTalk.begin(manager)
        for _ in range(4):
            ended = await ask(talk, "what is three plus four")
            assert (ended.outcome, ended.offline) == ("answered", True)
            assert talk.of(ScriptEnded)[-1].heard == "seven"
        assert [e.code for e in talk.of(ReasoningEnded)] == ["llm_unreachable"] * 2 + [None] * 2


async def test_every_event_of_what_the_offline_brain_does_says_so(engine: Engine):
    """A turn of the LLM's, and one that it leaves to the offline brain."""
    with_tool = [call_of("calculate", expression="3+4"), reply("Seven.")]
    question = "what is three plus four"
    async with talking(engine, with_tool[0], fallback_enabled=True) as (talk, server):
        server.answers[:] = with_tool
        await ask(talk, question)
        server.answers[:] = [500]
        await ask(talk, question)
        for kind in (ToolStarted, ToolEnded, SentenceReady, ScriptStarted, ScriptEnded,
                     ReasoningEnded):  # fmt: skip
            assert [event.offline for event in talk.of(kind)] == [False, True], kind.__name__
        assert [e.heard.lower() for e in talk.of(ScriptEnded)] == ["seven.", "seven"]


async def test_a_stall_ends_in_time(engine: Engine):
    short = {"first_timeout": 0.5, "hybrid": {"filler_after": 0.2}}
    async with talking(engine, ["stall"], **short) as (talk, _server):
        ended = await ask(talk)
        assert (ended.outcome, ended.code) == ("failed", "llm_stalled")
        assert len(honest(talk)) == 1
        kinds = [s.kind for s in talk.of(SentenceReady)]
        assert kinds == ["filler", "apology"], "the wait was bridged once"
        await still_well(talk)


@pytest.mark.parametrize(
    ("name", "outcome", "told"),
    [
        ("wait_for_ever", "failed", "did not answer"),
        ("break_down", "failed", "the oven is off"),
        ("no_such_tool", "failed", "There is no tool"),
    ],
)
async def test_a_tool_that_fails_is_told_to_the_llm(
    engine: Engine, name: str, outcome: str, told: str
):
    def answer(request: dict[str, Any]) -> list[Any]:
        last = request["messages"][-1]
        return reply("That did not work.") if last["role"] == "tool" else call_of(name)

    tools = HouseTools(wait_for_ever, break_down)
    async with talking(engine, answer, tools=tools) as (talk, server):
        ended = await ask(talk)
        assert ended.outcome == "answered"
        (tool_ended,) = talk.of(ToolEnded)
        assert (tool_ended.tool, tool_ended.outcome) == (name, outcome)
        assert told in (tool_ended.error or "")
        assert told in server.requests[-1]["messages"][-1]["content"]
        assert talk.of(ScriptEnded)[-1].heard == "That did not work."
        await still_well(talk)


async def test_arguments_that_are_no_json_are_given_back(engine: Engine):
    def answer(request: dict[str, Any]) -> list[Any]:
        if request["messages"][-1]["role"] == "tool":
            return [sse({"content": "I could not set it."}), sse({}, "stop")]
        function = {"name": "set_timer", "arguments": '{"seconds": fi'}
        call = {"index": 0, "id": "a", "type": "function", "function": function}
        return [sse({"tool_calls": [call]}), sse({}, "tool_calls")]

    async with LlmServer(answer) as server:
        llm = {"provider": "openai", "model": "m", "endpoint": f"{server.url}/v1"}
        async with VoiceManager(settings(server.url, **llm), engine=engine) as manager:
            talk = await HybridTalk.begin(manager)
            ended = await ask(talk, "set a timer for five minutes")
            assert ended.outcome == "answered" and not honest(talk)
            (tool_ended,) = talk.of(ToolEnded)
            assert (tool_ended.tool, tool_ended.outcome) == ("set_timer", "failed")
            assert "no JSON object" in (tool_ended.error or "")
            assert "no JSON object" in server.requests[-1]["messages"][-1]["content"]
            assert talk.of(ScriptEnded)[-1].heard == "I could not set it."
            await still_well(talk)


async def test_arguments_against_the_schema_are_given_back_once(engine: Engine):
    def answer(request: dict[str, Any]) -> list[Any]:
        if request.get("tools"):
            return call_of("set_timer", seconds="soon")
        return reply("I could not set it.")

    async with talking(engine, answer) as (talk, server):
        ended = await ask(talk, "set a timer for five minutes")
        assert ended.outcome == "answered" and not honest(talk)
        assert [t.outcome for t in talk.of(ToolEnded)] == ["failed", "failed"]
        assert len(server.requests) == 3 and not server.requests[-1].get("tools")
        assert "seconds" in server.requests[1]["messages"][-1]["content"]
        assert [e.heard for e in talk.of(ScriptEnded) if e.heard] == ["I could not set it."]
        await still_well(talk)


async def test_an_endless_tool_loop_ends(engine: Engine):
    async with talking(engine, call_of("get_time")) as (talk, server):
        ended = await ask(talk)
        assert (ended.outcome, ended.code) == ("failed", "llm_tool_loop")
        assert len(server.requests) <= 6 and len(honest(talk)) == 1
        await still_well(talk)


async def test_ten_thousand_words_are_cut(engine: Engine):
    lines = [f"Loaf number {number} was good. " for number in range(2_000)]
    async with talking(engine, reply(*lines)) as (talk, _server):
        ended = await ask(talk, to_the_end=False)
        assert ended.outcome == "answered" and "ended after" in (ended.detail or "")
        sentences = [s.text for s in talk.of(SentenceReady)]
        assert sum(len(s.split()) for s in sentences) < 180 and sentences[-1] == MORE
        await still_well(talk)


async def test_a_stall_in_the_middle_and_a_turn_that_never_ends(engine: Engine):
    begun = [frame(content="Bread is old. "), "stall"]
    async with talking(engine, begun, stall_timeout=0.3) as (talk, _server):
        ended = await ask(talk)
        assert ended.code == "llm_stalled" and "0.3 s" in (ended.detail or "")
    ponders = [step for _ in range(200) for step in (frame(thinking="bread"), 0.1)]
    async with talking(engine, ponders, turn_timeout=0.5) as (talk, _server):
        ended = await ask(talk)
        assert ended.code == "llm_stalled" and "0.5 s" in (ended.detail or "")
        await still_well(talk)


async def test_answers_are_as_long_as_is_set(engine: Engine):
    lines = ["The first loaf was good. ", "So was the second. ", "The third was not."]
    async with talking(engine, reply(*lines), hybrid={"max_words": 10}) as (talk, _server):
        await ask(talk, to_the_end=False)
        said = [sentence.text for sentence in talk.of(SentenceReady)]
    assert said == [lines[0].strip(), lines[1].strip(), MORE]


async def test_a_prompt_that_is_too_long_is_said(engine: Engine):
    async with talking(engine, reply("Never asked."), context_window=512) as (talk, server):
        ended = await ask(talk, "what is the meaning of " + "very " * 600 + "long words")
        assert (ended.outcome, ended.code) == ("failed", "llm_prompt_too_long")
        assert not server.requests and len(honest(talk)) == 1
        await still_well(talk)
