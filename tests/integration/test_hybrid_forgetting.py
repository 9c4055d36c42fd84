"""A user has something forgotten by saying so: it is said what, and it is really gone."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from coda_voice import VoiceManager
from coda_voice.events import ScriptEnded, SentenceReady, ToolEnded
from coda_voice.moshi.engine import Engine
from coda_voice.remembering import Remembering
from tests.integration.hybrid_talk import HybridTalk
from tests.integration.llm_server import LlmServer, calls, done
from tests.integration.test_hybrid import OFFLINE, READ, ollama, reply
from tests.integration.test_memory_store import bytes_with


@contextlib.asynccontextmanager
async def talking(engine: Engine, folder: Path, **config: Any) -> AsyncIterator[HybridTalk]:
    """A conversation of Ada's, who has told two things before."""
    settings = {
        **OFFLINE,
        "mode": "hybrid",
        "hybrid": {"filler_after": 60.0},
        "integration": {"memory_store": str(folder)},
        **config,
    }
    async with VoiceManager(settings, engine=engine) as manager:
        talk = await HybridTalk.begin(manager, user_id="ada")
        for attendant in talk.conversation.attendants:
            if isinstance(attendant, Remembering):
                await attendant.ready()
                memories = attendant.memory.memories  # type: ignore[union-attr]
                memories.remember("I like walnuts and I live in Bern.")
        yield talk


async def said(talk: HybridTalk, text: str, until: Callable[[], bool]) -> list[str]:
    before = len(talk.of(SentenceReady))
    talk.manager.send_text(talk.conversation.id, text)
    await talk.until(until, 800)
    return [s.text for s in talk.of(SentenceReady)[before:]]


def spoken(talk: HybridTalk, count: int = 1) -> Callable[[], bool]:
    return lambda: len(talk.of(ScriptEnded)) >= count


async def test_what_is_to_be_forgotten_is_gone_and_the_user_hears_what(engine, tmp_path):
    async with talking(engine, tmp_path) as talk:
        words = await said(talk, "forget that I like walnuts", spoken(talk))
        assert " ".join(words) == "I forgot that you like walnuts."
        words = await said(talk, "forget that I like walnuts", spoken(talk, 2))
        assert " ".join(words) == "I found nothing of that kind, so I have forgotten nothing."
    assert bytes_with(tmp_path, "walnut") == []
    assert bytes_with(tmp_path, "lives in Bern"), "nobody asked for that"


def wants_forgotten(request: dict[str, Any]) -> list[Any]:
    last = request["messages"][-1]
    if last["role"] == "tool":
        return reply("It is gone." if "Forgotten" in last["content"] else "There was nothing.")
    return [
        done({"tool_calls": calls(("forget", {"what": "that I like walnuts"}))},
             prompt_eval_count=READ)
    ]  # fmt: skip


async def test_an_llm_can_have_it_forgotten_too(engine, tmp_path):
    async with (
        LlmServer(wants_forgotten) as server,
        talking(engine, tmp_path, **ollama(server)) as talk,
    ):
        assert await said(talk, "forget that I like walnuts", spoken(talk)) == ["It is gone."]
    assert bytes_with(tmp_path, "walnut") == []


@pytest.mark.parametrize(("answer", "left"), [("yes", False), ("no", True)])
async def test_everything_is_forgotten_only_after_a_yes(engine, tmp_path, answer, left):
    async with talking(engine, tmp_path) as talk:
        words = await said(talk, "forget everything about me", spoken(talk))
        assert words[0].startswith("Shall I really do this: forget everything")
        assert bytes_with(tmp_path, "walnut"), "nobody has said yes"
        await said(talk, answer, lambda: bool(talk.of(ToolEnded)) or spoken(talk, 2)())
        await talk.silence(4)
    assert bool(bytes_with(tmp_path, "walnut")) is left


async def test_an_llm_that_nobody_asked_to_forget_has_to_ask_for_leave(engine, tmp_path):
    async with (
        LlmServer(wants_forgotten) as server,
        talking(engine, tmp_path, **ollama(server)) as talk,
    ):
        (question,) = await said(talk, "what does that page say", spoken(talk))
        assert question.startswith("Shall I really do this: delete a fact from memory")
        assert "that I like walnuts" in question
    assert bytes_with(tmp_path, "walnut"), "nobody has said yes"
