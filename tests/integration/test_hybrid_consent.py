"""A dangerous tool runs only after a yes to its question, and only if that was heard."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from coda_tools import tool

from coda_voice.composition import HouseTools
from coda_voice.events import ReasoningEnded, RouteDecided, ScriptEnded, SentenceReady, ToolStarted
from coda_voice.moshi.engine import Engine
from tests.conftest import Spoken
from tests.integration.hybrid_talk import HybridTalk
from tests.integration.llm_server import LlmServer, calls, done
from tests.integration.test_hybrid import READ, hybrid_of, ollama, reply, talking


class Eraser:
    """A dangerous tool, and what it has erased."""

    def __init__(self) -> None:
        self.erased: list[str] = []

        @tool(dangerous=True, cancellable=False)
        async def erase(name: str) -> str:
            """Erase a file."""
            self.erased.append(name)
            return f"{name} erased"

        self.tool = erase


def llm(request: dict[str, Any]) -> list[Any]:
    """Asks for the tool where the user wants something erased; else it has an answer."""
    last = request["messages"][-1]
    if last["role"] == "tool":
        return reply("It is gone." if "erased" in last["content"] else "I left it.")
    if "erase" in last["content"]:
        call = calls(("erase", {"name": "notes"}))
        return [done({"tool_calls": call}, prompt_eval_count=READ)]
    return reply("As you like.")


@contextlib.asynccontextmanager
async def asked(engine: Engine, **config: Any) -> AsyncIterator[tuple[HybridTalk, Eraser]]:
    """A conversation in which the question has just been put to the voice."""
    eraser = Eraser()
    async with (
        LlmServer(llm) as server,
        talking(engine, tools=HouseTools(eraser.tool), **ollama(server), **config) as talk,
    ):
        talk.manager.send_text(talk.conversation.id, "please erase my notes")
        await talk.until(lambda: any(s.kind == "question" for s in talk.of(SentenceReady)))
        yield talk, eraser


def scripts(talk: HybridTalk) -> list[tuple[str, bool]]:
    return [(e.origin, e.unsaid == 0) for e in talk.of(ScriptEnded)]


async def answered(talk: HybridTalk) -> None:
    """Be silent until the latest turn has been thought about and answered aloud."""
    hybrid = hybrid_of(talk)
    await talk.until(lambda: not hybrid.thinking and hybrid.voice.idle)
    await talk.silence(4)


async def test_it_runs_after_a_yes_to_a_question_that_was_heard(engine, spoken: Spoken):
    async with asked(engine) as (talk, eraser):
        await talk.until(lambda: bool(scripts(talk)))
        assert not eraser.erased
        await talk.say(spoken.pcm("hello"), "yes do it")
        await talk.until(lambda: len(scripts(talk)) == 2)
    assert scripts(talk) == [("answer", True)] * 2
    assert eraser.erased == ["notes"]
    assert talk.of(ScriptEnded)[-1].heard == "It is gone."


async def test_a_yes_into_the_middle_of_the_question_is_no_leave(engine, spoken: Spoken):
    async with asked(engine) as (talk, eraser):
        voice = hybrid_of(talk).voice
        await talk.until(lambda: any(len(s.script.said) >= 2 for s in voice.current()))
        await talk.say(spoken.pcm("weather"), "yeah okay do it")
        await answered(talk)
        assert not scripts(talk)[0][1], "the question was cut off"
        talk.manager.send_text(talk.conversation.id, "yes")
        await answered(talk)
    assert not eraser.erased and not talk.of(ToolStarted)


async def test_a_yes_that_came_before_the_question_was_begun_is_no_leave(engine):
    async with asked(engine) as (talk, eraser):
        talk.conversation.interrupt()
        talk.manager.send_text(talk.conversation.id, "yeah okay")
        await answered(talk)
    assert not eraser.erased and not talk.of(ToolStarted)


async def test_a_question_that_was_not_begun_in_time_is_not_answered_by_a_yes(engine):
    async with asked(engine) as (talk, eraser):
        script = hybrid_of(talk).voice.speaker.script
        assert script is not None
        script.stale_after = 2  # frames; else it would take eight seconds of noise
        await answered(talk)
        assert [e.outcome for e in talk.of(ScriptEnded)] == ["stale"]
        talk.manager.send_text(talk.conversation.id, "yes")
        await answered(talk)
    assert not eraser.erased and not talk.of(ToolStarted)


async def test_stop_is_an_answer_that_is_not_thought_about(engine, spoken: Spoken):
    async with asked(engine) as (talk, eraser):
        await talk.until(lambda: bool(scripts(talk)))
        thought = len(talk.of(ReasoningEnded))
        await talk.say(spoken.pcm("stop"), "stop talking")
        await talk.silence(12)
        assert talk.of(RouteDecided)[-1].target == "stop"
        assert len(talk.of(ReasoningEnded)) == thought, "nobody was asked"
        talk.manager.send_text(talk.conversation.id, "yes")
        await answered(talk)
    assert not eraser.erased and not talk.of(ToolStarted)


@pytest.mark.parametrize("scheduling", ["when_idle", "interrupt"])
async def test_what_rings_waits_for_the_reply(engine, scheduling: Any):
    async with asked(engine) as (talk, eraser):
        await talk.until(lambda: bool(scripts(talk)))
        talk.manager.say(talk.conversation.id, "your timer is done", scheduling)
        await talk.silence(9)
        assert hybrid_of(talk).voice.idle
        talk.manager.send_text(talk.conversation.id, "yes")
        await talk.until(lambda: len(scripts(talk)) == 3)
    assert eraser.erased == ["notes"]
    assert sorted(scripts(talk)[1:]) == [("announcement", True), ("answer", True)]
