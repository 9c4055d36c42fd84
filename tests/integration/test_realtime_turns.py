"""Whose words a Realtime client is told of, and what an LLM does with them, turn by turn."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from coda_integrations.host import Thinkers

from coda_voice.events import SpeechStarted
from coda_voice.hybrid.openai_client import OpenAiClient
from coda_voice.moshi.engine import Engine
from tests.conftest import Spoken
from tests.integration.llm_server import LlmServer, Step, sse
from tests.integration.test_realtime import WEATHER, RealtimeClient, connected, pcm16

COMMITTED = "input_audio_buffer.committed"
TRANSCRIBED = "conversation.item.input_audio_transcription.completed"


async def append(client: RealtimeClient, *sounds: np.ndarray) -> None:
    """Append all at once, as from a file: it is heard at once, and the same on any machine."""
    pcm = np.concatenate(sounds)
    await client.connection.input_audio_buffer.append(audio=base64.b64encode(pcm16(pcm)).decode())


def pause(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * 24_000), dtype=np.float32)


async def test_a_user_who_goes_on_after_the_agent_has_begun_has_two_items_with_their_own_words(
    engine: Engine, spoken: Spoken
):
    async with connected(engine, seed=1) as client:
        # So long that the detector takes both for one turn: it is the agent who takes it.
        detection = {"type": "server_vad", "silence_duration_ms": 2_500}
        sound = {"turn_detection": detection, "transcription": {"model": "any"}}
        await client.connection.session.update(
            session={"type": "realtime", "audio": {"input": sound}}
        )
        await client.until("session.updated")
        question, hello = spoken.pcm("what_is_your_name"), spoken.pcm("hello")
        await append(client, question, pause(1.2), hello, pause(5), question, pause(4))
        items = [(await client.until(COMMITTED))["item_id"] for _ in range(3)]
        await client.until(TRANSCRIBED, lambda event: event["item_id"] == items[2])
        told = {event["item_id"]: event["transcript"] for event in client.of(TRANSCRIBED)}
        assert list(told) == items and len(client.of(TRANSCRIBED)) == 3
        first, second, third = told.values()
        assert "name" in first and "hello" not in first
        assert "hello" in second and "name" not in second
        assert "name" in third and "hello" not in third


def calling(tool: str, *before: Step) -> list[Step]:
    call = {"index": 0, "id": "call_1", "type": "function"}
    called = sse({"tool_calls": [{**call, "function": {"name": tool, "arguments": "{}"}}]})
    return [*before, called, sse({}, "tool_calls")]


@asynccontextmanager
async def with_tool(
    engine: Engine,
    detection: dict[str, object] | None,
    *answers: list[Step] | Callable[[dict[str, Any]], list[Step]],
) -> AsyncIterator[tuple[RealtimeClient, LlmServer]]:
    """A client with a tool, whose turns are detected so, and the LLM that it asks."""
    async with LlmServer(*answers) as llm:
        brain = OpenAiClient("m", f"{llm.url}/v1")
        async with connected(engine, Thinkers([brain]), seed=1) as client:
            sound = {"turn_detection": detection, "transcription": {"model": "any"}}
            await client.connection.session.update(
                session={"type": "realtime", "tools": [WEATHER], "audio": {"input": sound}}
            )
            await client.until("session.updated")
            yield client, llm
        await brain.close()


ASKS_ITSELF = {"type": "server_vad", "create_response": False}
"""The client says when there is to be an answer."""


@pytest.mark.parametrize("detection", [None, ASKS_ITSELF], ids=["committed", "detected"])
async def test_a_tool_is_called_however_late_the_answer_to_spoken_words_is_asked_for(
    engine: Engine, spoken: Spoken, detection: dict[str, object] | None
):
    async with with_tool(engine, detection, calling("get_weather")) as (client, llm):
        await append(client, spoken.pcm("what_is_your_name"), pause(1.5))
        if detection is None:
            await client.connection.input_audio_buffer.commit()
        await client.until(TRANSCRIBED)
        assert not llm.requests
        await client.connection.response.create()
        call = await client.until("response.function_call_arguments.done")
        assert call["name"] == "get_weather"
        (asked,) = [m["content"] for m in llm.requests[0]["messages"] if m["role"] == "user"]
        assert "name" in asked


async def test_no_tool_is_called_for_words_that_nobody_wants_answered(
    engine: Engine, spoken: Spoken
):
    written = [sse({"content": "Yes."}), sse({}, "stop")]
    async with with_tool(engine, None, calling("get_weather"), written) as (client, llm):
        for answered in (True, False):
            await append(client, spoken.pcm("what_is_your_name"), pause(1.5))
            await client.connection.input_audio_buffer.commit()
            await client.until(TRANSCRIBED)
            if answered:
                await client.connection.response.create()
                await client.until("response.function_call_arguments.done")
        beside = {"conversation": "none", "output_modalities": ["text"]}
        await client.connection.response.create(response=beside)
        done = await client.until(
            "response.done", lambda event: event["response"]["conversation_id"] is None
        )
        assert done["response"]["output"][0]["content"][0]["text"] == "Yes."
        assert len(llm.requests) == 2


async def test_a_sound_after_the_commit_does_not_cost_the_call_of_a_tool(
    engine: Engine, spoken: Spoken
):
    go_on = asyncio.Event()
    async with with_tool(engine, None, calling("get_weather", go_on)) as (client, _):
        await append(client, spoken.pcm("what_is_your_name"), pause(1.5))
        await client.connection.input_audio_buffer.commit()
        await client.connection.response.create()
        await client.until(TRANSCRIBED)
        happening = client.manager.events.subscribe()
        await append(client, spoken.pcm("hello"), pause(0.5))
        async for event in happening:
            if isinstance(event, SpeechStarted) and event.speaker == "user":
                break
        await client.connection.conversation.item.retrieve(item_id="nobody")
        await client.until("error")  # so the connection knows it, too
        go_on.set()
        call = await client.until("response.function_call_arguments.done")
        assert call["name"] == "get_weather"


async def test_a_tool_is_called_although_the_agent_was_faster_than_the_transcript(
    engine: Engine, spoken: Spoken
):
    # Strict chat templates, as the stand-in's, take no prompt that ends with the agent's words.
    detection = {"type": "server_vad", "silence_duration_ms": 2_500}
    async with with_tool(engine, detection, calling("get_weather")) as (client, llm):
        await append(client, spoken.pcm("what_is_your_name"), pause(4))
        await client.until("response.output_audio_transcript.delta")
        await client.until(TRANSCRIBED)
        call = await client.until("response.function_call_arguments.done")
        assert call["name"] == "get_weather"
        assert llm.requests[0]["messages"][-1]["role"] == "user"


async def test_a_greeting_is_asked_for_before_anybody_has_said_anything(engine: Engine):
    greeting = [sse({"content": "Welcome."}), sse({}, "stop")]
    async with with_tool(engine, None, greeting) as (client, _):
        for _ in range(2):
            await client.connection.response.create(
                response={"instructions": "Greet the user.", "output_modalities": ["text"]}
            )
            done = await client.until("response.done")
            assert done["response"]["status"] == "completed", done["response"]["status_details"]
            assert done["response"]["output"][0]["content"][0]["text"] == "Welcome."
