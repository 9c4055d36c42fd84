"""What rings while the LLM thinks is heard to its end; the answer comes after it."""

from __future__ import annotations

import asyncio
from typing import Any

from coda_tools import tool

from coda_voice.composition import HouseTools
from coda_voice.events import ScriptEnded
from tests.integration.hybrid_talk import HybridTalk
from tests.integration.llm_server import LlmServer, calls, done, frame
from tests.integration.test_hybrid import READ, history_of, hybrid_of, ollama, reply, talking

RINGING = "Your long pasta and sauce and pizza timer is done."


def llm(request: dict[str, Any]) -> list[Any]:
    if request["messages"][-1]["role"] == "tool":
        return reply("Here it is. ", "It is seven.")
    return [done({"tool_calls": calls(("search", {}))}, prompt_eval_count=READ)]


class Search:
    """A tool that takes as long as the test wants."""

    def __init__(self) -> None:
        self.running, self.release = asyncio.Event(), asyncio.Event()

        @tool(timeout=60)
        async def search() -> str:
            """Search."""
            self.running.set()
            await self.release.wait()
            return "found"

        self.tool = search


def ends(talk: HybridTalk) -> list[tuple[str, str, str]]:
    return [(e.origin, e.outcome, e.heard) for e in talk.of(ScriptEnded)]


def said(talk: HybridTalk) -> int:
    return sum(len(s.script.said) for s in hybrid_of(talk).voice.current())


async def test_an_answer_waits_until_what_rings_has_been_said(engine):
    search = Search()
    async with (
        LlmServer(llm) as server,
        talking(engine, tools=HouseTools(search.tool), **ollama(server)) as talk,
    ):
        talk.manager.send_text(talk.conversation.id, "how warm is it today")
        await talk.until(search.running.is_set)
        talk.manager.say(talk.conversation.id, RINGING, "interrupt")
        await talk.until(lambda: said(talk) >= 2)
        search.release.set()
        await talk.until(lambda: len(talk.of(ScriptEnded)) == 2)
        await talk.silence(10)
        history = history_of(talk)
        assert not hybrid_of(talk).thinking
    assert ends(talk) == [
        ("announcement", "done", RINGING),
        ("answer", "done", "Here it is. It is seven."),
    ]
    assert [text for role, text in history if role == "assistant"] == [
        RINGING,
        "Here it is. It is seven.",
    ]


async def test_one_that_is_cut_off_by_another_script_is_said_again(engine):
    async with talking(engine) as talk:
        talk.manager.say(talk.conversation.id, RINGING, "interrupt")
        await talk.until(lambda: said(talk) >= 2)
        hybrid_of(talk).voice.say("one moment")
        await talk.until(lambda: len([e for e in ends(talk) if e[1] == "done"]) == 2)
    assert [e[:2] for e in ends(talk)] == [
        ("announcement", "replaced"),
        ("say", "done"),
        ("announcement", "done"),
    ]
    assert ends(talk)[-1][2] == RINGING


async def test_stop_in_the_middle_of_it_ends_it_for_good(engine):
    async with talking(engine) as talk:
        talk.manager.say(talk.conversation.id, RINGING, "interrupt")
        await talk.until(lambda: said(talk) >= 2)
        talk.conversation.interrupt()
        await talk.silence(30)
    assert [e[:2] for e in ends(talk)] == [("announcement", "cancelled")]


async def test_a_tools_own_sentence_follows_the_one_with_which_the_llm_went_to_it(engine):
    release = asyncio.Event()

    @tool(timeout=60, speak_while_running="I am at the shelves.")
    async def search() -> str:
        """Search."""
        await release.wait()
        return "found"

    def answer(request: dict[str, Any]) -> list[Any]:
        if request["messages"][-1]["role"] == "tool":
            return reply("It is seven.")
        call = done({"tool_calls": calls(("search", {}))}, prompt_eval_count=READ)
        return [frame(content="Let me look. "), call]

    config = {"hybrid": {"filler_after": 0.2}}
    async with (
        LlmServer(answer) as server,
        talking(engine, tools=HouseTools(search), **ollama(server), **config) as talk,
    ):
        talk.manager.send_text(talk.conversation.id, "how warm is it today")
        await talk.until(lambda: said(talk) >= 8)
        release.set()
        await talk.until(lambda: bool(talk.of(ScriptEnded)))
    assert ends(talk) == [("answer", "done", "Let me look. I am at the shelves. It is seven.")]
