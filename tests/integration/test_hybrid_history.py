"""History is what was heard: Moshi's own words and those of scripts, each once, in order."""

from __future__ import annotations

import asyncio
from typing import Any

from coda_tools import tool

from coda_voice.composition import HouseTools
from coda_voice.events import ScriptEnded, SentenceReady, WordSpoken
from tests.conftest import Spoken
from tests.integration.hybrid_talk import HybridTalk
from tests.integration.llm_server import LlmServer, calls, done, frame
from tests.integration.test_hybrid import READ, history_of, ollama, reply, talking


class Search:
    """A tool that takes as long as the test wants."""

    def __init__(self) -> None:
        self.release = asyncio.Event()

        @tool(timeout=60)
        async def search() -> str:
            """Search."""
            await self.release.wait()
            return "found"

        self.tool = search


def searching(before: str, answer: str) -> Any:
    """An LLM that says ``before``, searches, and says ``answer``."""

    def llm(request: dict[str, Any]) -> list[Any]:
        if request["messages"][-1]["role"] == "tool":
            return reply(answer)
        begin = [frame(content=f"{before} ")] if before else []
        return [*begin, done({"tool_calls": calls(("search", {}))}, prompt_eval_count=READ)]

    return llm


def spoken_words(talk: HybridTalk) -> list[str]:
    said = sorted((w for w in talk.of(WordSpoken) if w.speaker == "agent"), key=lambda w: w.start)
    return [word.text.lower() for word in said]


def noted_words(talk: HybridTalk) -> list[str]:
    noted = [text for role, text in history_of(talk) if role == "assistant"]
    return " ".join(noted).lower().split()


async def test_moshis_own_words_before_an_answer_in_one_breath_are_history(engine, spoken: Spoken):
    search = Search()
    async with (
        LlmServer(searching("", "It is a secret.")) as server,
        talking(engine, tools=HouseTools(search.tool), **ollama(server)) as talk,
    ):
        await talk.say(spoken.pcm("what_is_your_name"), "tell me what is your name please")
        await talk.until(lambda: len(spoken_words(talk)) >= 2)
        search.release.set()
        await talk.until(lambda: bool(talk.of(ScriptEnded)))
        await talk.silence(25)
        own, noted = spoken_words(talk), noted_words(talk)
    at = next(i for i in range(len(own)) if own[i : i + 4] == ["it", "is", "a", "secret."])
    assert at >= 2, "Moshi said something by itself first"
    assert noted == own


async def test_a_last_word_after_a_pause_is_noted_once(engine):
    search = Search()
    ready = asyncio.Event()
    async with (
        LlmServer(searching("Let me look.", "No.")) as server,
        talking(engine, tools=HouseTools(search.tool), **ollama(server)) as talk,
    ):
        talk.manager.events.listen(
            lambda e: ready.set() if isinstance(e, SentenceReady) and e.text == "No." else None
        )
        talk.manager.send_text(talk.conversation.id, "how warm is it today")
        await talk.until(lambda: "look." in spoken_words(talk))
        search.release.set()
        await asyncio.wait_for(ready.wait(), 60)
        await talk.until(lambda: bool(talk.of(ScriptEnded)))
        await talk.silence(25)
        noted = noted_words(talk)
    assert [e.heard for e in talk.of(ScriptEnded)] == ["Let me look. No."]
    assert noted == ["let", "me", "look.", "no."]
