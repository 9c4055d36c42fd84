"""A real LLM server, of whoever runs the tests: `make test-llm`, never part of `make test`.

CODA_REAL_LLM names it as on the command line (``ollama/qwen3:8b``, ``openai/MODEL``),
CODA_REAL_LLM_ENDPOINT says where it is (empty: where it usually is). What a model answers is
its own affair: also one of random weights (``random_gguf.py``) must pass.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence

import pytest
from coda_tools import tool

from coda_voice import VoiceManager
from coda_voice.composition import HouseTools
from coda_voice.errors import LlmError
from coda_voice.events import ConversationFailed, ReasoningEnded, ScriptEnded, SentenceReady
from coda_voice.hybrid.clients import client_for
from coda_voice.hybrid.llm import (
    Chunk,
    LlmClient,
    Message,
    StreamEnd,
    TextDelta,
    ThinkingDelta,
    ToolCallRequest,
)
from coda_voice.moshi.engine import Engine
from coda_voice.protocols import ToolSpec
from tests.integration.hybrid_talk import HybridTalk

pytestmark = [pytest.mark.real_llm, pytest.mark.timeout(600)]

ASK = [Message("system", "Answer in one short sentence."), Message("user", "What is bread?")]
CITY = ToolSpec(
    "get_weather",
    "Tell the weather of a city.",
    {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
)
WINDOW = 2_048
"""Of the talks here; the server's own must be four times that."""


def named() -> tuple[str, str | None]:
    """The name and the address of the server; a run without them is a mistake, no success."""
    name = os.environ.get("CODA_REAL_LLM", "")
    if not name:
        pytest.fail("set CODA_REAL_LLM=ollama/MODEL or openai/MODEL, and CODA_REAL_LLM_ENDPOINT")
    return name, os.environ.get("CODA_REAL_LLM_ENDPOINT") or None


@pytest.fixture
async def client() -> AsyncIterator[LlmClient]:
    name, endpoint = named()
    client = client_for(name, endpoint, context_window=WINDOW)
    yield client
    await client.close()


async def answer(
    client: LlmClient, messages: Sequence[Message], tools: Sequence[ToolSpec] = ()
) -> list[Chunk]:
    return [chunk async for chunk in client.stream(messages, tools)]


async def test_text_is_streamed_and_the_end_tells_its_tokens(client: LlmClient):
    chunks = await answer(client, ASK)
    pieces = [c for c in chunks if isinstance(c, TextDelta | ThinkingDelta)]
    assert len(pieces) > 1, "it comes in pieces"
    end = chunks[-1]
    assert isinstance(end, StreamEnd) and sum(isinstance(c, StreamEnd) for c in chunks) == 1
    assert end.prompt_tokens and end.answer_tokens and end.answer_tokens >= len(pieces) // 4


async def test_tools_are_called_in_the_shape_of_their_schema_or_not_at_all(client: LlmClient):
    talk = [Message("system", "Use the tools."), Message("user", "What is the weather in Rome?")]
    chunks = await answer(client, talk, [CITY])
    assert isinstance(chunks[-1], StreamEnd)
    for call in (c.call for c in chunks if isinstance(c, ToolCallRequest)):
        assert call.call_id
        assert call.malformed or (call.name == "get_weather" and "city" in call.arguments)


async def test_a_call_and_its_result_are_taken_back(client: LlmClient):
    chunks = await answer(client, ASK, [CITY])
    calls = tuple(c.call for c in chunks if isinstance(c, ToolCallRequest))
    said = "".join(c.text for c in chunks if isinstance(c, TextDelta))
    talk = [*ASK, Message("assistant", said, calls)]
    talk += [Message("tool", "Sunny.", tool_call_id=c.call_id, tool_name=c.name) for c in calls]
    talk += [Message("user", "And is it good?")]
    assert isinstance((await answer(client, talk, [CITY]))[-1], StreamEnd)


async def test_who_is_interrupted_can_ask_again_at_once(client: LlmClient):
    for _ in range(3):
        stream = client.stream([*ASK, Message("user", "Tell me all about it, at great length.")])
        await anext(stream)
        await stream.aclose()
    async with asyncio.timeout(120):
        assert isinstance((await answer(client, ASK))[-1], StreamEnd)


async def test_a_long_talk_is_cut_here_and_not_there_in_silence(client: LlmClient):
    # From a first answer it learns how many characters this model takes for a token.
    await answer(client, [*ASK[:1], Message("user", "why " * 150)])
    long = [Message("user", f"Loaf {number}: " + "why " * 60) for number in range(80)]
    end = (await answer(client, [*ASK[:1], *long, ASK[1]]))[-1]
    assert isinstance(end, StreamEnd)
    assert end.dropped_messages > 0 and end.prompt_tokens and end.prompt_tokens <= WINDOW


async def test_an_address_where_nobody_is_has_its_own_code():
    name, _ = named()
    client = client_for(name, "http://127.0.0.1:9/v1")
    with pytest.raises(LlmError) as caught:
        await answer(client, ASK)
    await client.close()
    assert caught.value.error_code == "llm_unreachable"


async def test_a_model_that_is_not_there_is_named_or_another_answers():
    name, endpoint = named()
    provider = name.partition("/")[0]
    client = client_for(f"{provider}/no-such-model-at-all", endpoint)
    try:
        chunks = await answer(client, ASK)
    except LlmError as error:
        assert error.error_code == "llm_model_missing"
        assert "no-such-model-at-all" in error.message
    else:  # llama.cpp has one model and answers whatever name is asked for
        assert provider == "openai" and isinstance(chunks[-1], StreamEnd)
    finally:
        await client.close()


async def test_a_typed_question_is_answered_aloud(engine: Engine):
    @tool
    def get_weather(city: str) -> str:
        """Tell the weather of a city."""
        return f"It is sunny in {city}."

    name, endpoint = named()
    provider, _, model = name.partition("/")
    config = {
        "mode": "hybrid",
        "moshi": {"device": "cpu", "seed": 5},
        "hybrid": {"filler_after": 60, "max_words": 12},
        "external_llm": {
            "provider": provider,
            "model": model,
            "endpoint": endpoint,
            "context_window": 8_192,
            "first_timeout": 120,
            "stall_timeout": 60,
            "turn_timeout": 300,
            "fallback_enabled": False,
        },
    }
    async with VoiceManager(config, engine=engine, tools=HouseTools(get_weather)) as manager:
        talk = await HybridTalk.begin(manager)
        manager.send_text(talk.conversation.id, "tell me everything about the history of bread")
        await talk.until(lambda: bool(talk.of(ReasoningEnded)), 100_000)
        (ended,) = talk.of(ReasoningEnded)
        assert ended.llm == name and not ended.offline
        assert ended.outcome in ("answered", "failed")
        assert ended.code in (None, "llm_tool_loop", "llm_bad_answer"), ended.detail
        assert talk.of(SentenceReady)
        await talk.until(lambda: bool(talk.of(ScriptEnded)), 5_000)
        assert not talk.of(ConversationFailed)
