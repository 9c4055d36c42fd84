"""An LLM that fails is apologised for where Moshi has not answered by itself, and only there."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from coda_voice import VoiceManager
from coda_voice.events import ReasoningEnded, ScriptEnded, SentenceReady, WordSpoken
from coda_voice.moshi.engine import Engine
from tests.conftest import Spoken
from tests.integration.hybrid_talk import HybridTalk
from tests.integration.llm_server import LlmServer


@contextlib.asynccontextmanager
async def without_llm(engine: Engine, **hybrid: Any) -> AsyncIterator[HybridTalk]:
    """A conversation whose LLM answers nothing but "500"."""
    async with LlmServer(500) as server:
        settings = {
            "mode": "hybrid",
            "moshi": {"device": "cpu", "seed": 5},
            "external_llm": {"endpoint": server.url, "fallback_enabled": False},
            "hybrid": {"filler_after": 60.0, **hybrid},
        }
        async with VoiceManager(settings, engine=engine) as manager:
            yield await HybridTalk.begin(manager)


def failed(talk: HybridTalk) -> bool:
    return any(ended.outcome == "failed" for ended in talk.of(ReasoningEnded))


def said(talk: HybridTalk) -> str:
    return " ".join(word.text for word in talk.of(WordSpoken) if word.speaker == "agent")


async def test_what_moshi_answers_by_itself_is_not_followed_by_an_apology(engine, spoken: Spoken):
    async with without_llm(engine) as talk:
        await talk.say(spoken.pcm("what_is_your_name"), "what is your name")
        await talk.until(lambda: failed(talk) and "name" in said(talk))
        await talk.silence(60)
        assert "sorry" not in said(talk)
        assert not talk.of(ScriptEnded)
        # The apology was written, and what happened is told.
        assert [s.kind for s in talk.of(SentenceReady)] == ["apology"]
        assert talk.of(ReasoningEnded)[-1].code == "llm_server_error"


async def test_the_apology_follows_what_moshi_only_says_to_bridge_the_time(engine, spoken: Spoken):
    async with without_llm(engine) as talk:
        await talk.say(spoken.pcm("weather"), "what is the weather in rome")
        await talk.until(lambda: bool(talk.of(ScriptEnded)))
        words = said(talk)
        assert talk.of(ScriptEnded)[0].outcome == "done"
        # Moshi's own sentence to its end, then the apology.
        assert words.startswith("let me check that sorry"), words


async def test_where_moshi_is_muted_the_apology_waits_for_nothing(engine, spoken: Spoken):
    async with without_llm(engine, voice="llm_only") as talk:
        await talk.say(spoken.pcm("what_is_your_name"), "what is your name")
        await talk.until(lambda: bool(talk.of(ScriptEnded)))
        assert talk.of(ScriptEnded)[0].heard.lower().startswith("sorry")
