"""What one Realtime response sets, says and costs is its own, and ends when the client is told."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from coda_integrations import thinking
from coda_integrations.host import Thinkers, voice_of

from coda_voice.events import ScriptEnded
from coda_voice.hybrid.openai_client import OpenAiClient
from coda_voice.moshi.engine import Engine
from tests.conftest import Spoken
from tests.integration.llm_server import LlmServer, Step, sse
from tests.integration.test_realtime import WEATHER, connected
from tests.integration.test_realtime_turns import (
    TRANSCRIBED,
    append,
    calling,
    pause,
    with_tool,
)

CALLED = "response.function_call_arguments.done"
STOCKS = {**WEATHER, "name": "get_stocks", "description": "What a share costs."}
COUNT = "One two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen. "
TEXT = {"output_modalities": ["text"]}


def first_tool(request: dict[str, Any]) -> list[Step]:
    """Call the first tool that there is."""
    return calling(request["tools"][0]["function"]["name"])


@pytest.mark.parametrize("tools", [[WEATHER], []], ids=["beside the session's", "only"])
async def test_a_response_to_spoken_words_has_the_tools_that_were_given_for_it(
    engine: Engine, spoken: Spoken, tools: list[dict[str, Any]]
):
    async with with_tool(engine, None, first_tool) as (client, llm):
        await client.connection.session.update(session={"type": "realtime", "tools": tools})
        await append(client, spoken.pcm("what_is_your_name"), pause(1.5))
        await client.connection.input_audio_buffer.commit()
        await client.until(TRANSCRIBED)
        await client.connection.response.create(response={"tools": [STOCKS]})
        call = await client.until(CALLED)
        assert call["name"] == "get_stocks"
        (request,) = llm.requests
        assert [tool["function"]["name"] for tool in request["tools"]] == ["get_stocks"]


async def test_after_a_failed_response_nothing_of_it_is_said(engine: Engine):
    dies = asyncio.Event()
    dying: list[Step] = [sse({"content": COUNT}), sse({"content": "And "}), dies, "disconnect"]
    fine = [sse({"content": "Well then."}), sse({}, "stop")]
    async with with_tool(engine, None, dying, fine) as (client, _):
        happening = client.manager.events.subscribe()
        await client.write("Count!")
        await client.connection.response.create()
        await client.until("response.output_audio_transcript.delta")
        dies.set()
        done = await client.until("response.done")
        assert done["response"]["status"] == "failed"
        async with asyncio.timeout(60):
            async for event in happening:
                if isinstance(event, ScriptEnded):
                    break
        assert "fifteen" not in event.heard
        await client.write("What now?")
        await client.connection.response.create()  # the voice is there for another one
        await client.until("response.done", lambda e: e["response"]["status"] == "completed")
        said = client.of("response.output_audio_transcript.done")[-1]["transcript"]
        assert said.lower().split()[:1] == ["well"]


async def test_words_before_a_call_are_said_to_their_end_and_the_call_can_be_answered_at_once(
    engine: Engine,
):
    first = calling("get_weather", sse({"content": "One moment please. "}))
    fine = [sse({"content": "It rains."}), sse({}, "stop")]
    async with with_tool(engine, None, first, fine) as (client, llm):
        await client.write("How is the weather?")
        await client.connection.response.create()
        call = await client.until(CALLED)
        said = client.of("response.output_audio_transcript.done")[-1]["transcript"]
        assert said.lower().split()[:2] == ["one", "moment"]
        output = {"type": "function_call_output", "call_id": call["call_id"], "output": "rain"}
        await client.connection.conversation.item.create(item=output)
        await client.connection.response.create()  # without waiting for the end
        await client.until("response.done", lambda e: e["response"]["id"] != call["response_id"])
        assert client.of("error") == []
        assert "rains" in client.of("response.output_audio_transcript.done")[-1]["transcript"]
        asked, called, answered = llm.requests[1]["messages"]
        assert [m["role"] for m in (asked, called, answered)] == ["user", "assistant", "tool"]
        assert "one moment" in called["content"].lower() and called["tool_calls"]


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """An LLM may be silent for as long as the test wants."""
    monkeypatch.setattr(thinking, "CHUNK_SECONDS", 300.0)
    monkeypatch.setattr(thinking, "THINKING_SECONDS", 300.0)


async def test_a_sentence_of_a_response_that_is_over_is_not_said_in_the_next(
    engine: Engine, patient: None
):
    late = asyncio.Event()
    slow: list[Step] = [
        sse({"content": "Good morning. And "}), late, sse({"content": "bananas."}), sse({}, "stop"),
    ]  # fmt: skip
    async with with_tool(engine, None, slow, [sse({"content": COUNT}), sse({}, "stop")]) as (
        client,
        _,
    ):
        speaker = voice_of(client.conversation).speaker
        manners = speaker.manners
        speaker.manners = replace(  # the user is never quiet
            manners, quiet_before=10_000, quiet_at_onset=10_000
        )
        await client.write("Hello!")
        await client.connection.response.create()
        done = await client.until("response.done")
        assert done["response"]["status_details"]["error"]["code"] == "not_spoken"
        speaker.manners = manners
        await client.write("Count!")
        await client.connection.response.create()
        await client.until("response.created")
        late.set()
        done = await client.until("response.done")
        assert done["response"]["status"] == "completed"
        said = client.of("response.output_audio_transcript.done")[-1]["transcript"].lower()
        assert "bananas" not in said and "fifteen" in said


async def test_an_llm_is_asked_no_more_for_a_response_beside_that_was_cancelled(
    engine: Engine, patient: None
):
    async with LlmServer([sse({"content": "One "}), "stall"]) as llm:
        brain = OpenAiClient("m", f"{llm.url}/v1")
        async with connected(engine, Thinkers([brain])) as client:
            await client.write("Count!")
            await client.connection.response.create(response={"conversation": "none", **TEXT})
            written = await client.until("response.output_text.delta")
            await client.connection.response.cancel(response_id=written["response_id"])
            done = await client.until("response.done")
            assert done["response"]["status"] == "cancelled"
            async with asyncio.timeout(20):
                await llm.broken_off.wait()
        await brain.close()
