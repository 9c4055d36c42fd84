"""OpenAI's own client talks to ``/v1/realtime`` over a real socket, coda-tiny behind it."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from coda_integrations.host import LocalHost, Thinkers, voice_of
from coda_integrations.realtime.edge import realtime_routes
from coda_tools import ToolRegistry
from coda_tools.builtin.arithmetic import calculate
from openai import AsyncOpenAI
from openai.resources.realtime.realtime import AsyncRealtimeConnection

from coda_voice.audio import telephony
from coda_voice.audio.features import level_dbfs
from coda_voice.events import ConversationEnded, Transcript
from coda_voice.hybrid.offline_brain import OfflineBrain
from coda_voice.hybrid.openai_client import OpenAiClient
from coda_voice.manager import VoiceManager
from coda_voice.moshi.engine import Engine
from tests.conftest import Spoken
from tests.integration.edge_server import serving
from tests.integration.llm_server import LlmServer, sse
from tests.integration.openai_client import Client

WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather somewhere.",
    "parameters": {"type": "object", "properties": {"place": {"type": "string"}}},
}


class RealtimeClient(Client[AsyncRealtimeConnection]):
    """Somebody who speaks and writes by the Realtime API."""

    async def say(self, pcm: np.ndarray, *, rate: int = 24_000, law: str | None = None) -> None:
        """Append sound at the pace of speech, as a microphone would."""
        step = rate // 10
        for begin in range(0, len(pcm), step):
            chunk = pcm[begin : begin + step]
            data = telephony.encode(chunk, law) if law else pcm16(chunk)
            await self.connection.input_audio_buffer.append(audio=base64.b64encode(data).decode())
            await asyncio.sleep(0.1)

    def agent_says(self, text: str) -> None:
        """Have the agent speak by itself, whatever coda-tiny would have said."""
        voice_of(self.conversation).say(text)

    async def write(self, text: str) -> None:
        await self.connection.conversation.item.create(
            item={
                "type": "message",
                "role": "user",
                "content": [{"type": "input_text", "text": text}],
            }
        )


def pcm16(pcm: np.ndarray) -> bytes:
    return telephony.to_int16(pcm).astype("<i2").tobytes()


def sound(events: list[dict[str, Any]]) -> np.ndarray:
    data = b"".join(base64.b64decode(event["delta"]) for event in events)
    return np.frombuffer(data, dtype="<i2").astype(np.float32) / 32_768


@asynccontextmanager
async def connected(
    engine: Engine, thinkers: Thinkers | None = None, *, seed: int | None = None
) -> AsyncIterator[RealtimeClient]:
    async with VoiceManager({"moshi": {"seed": seed}}, engine=engine) as manager:
        host = LocalHost(manager, thinkers)
        async with serving(realtime_routes(host)) as address:
            client = AsyncOpenAI(api_key="none", base_url=f"http://{address}/v1")
            happening = manager.events.subscribe()
            async with client.realtime.connect(model="coda-tiny") as connection:
                yield RealtimeClient(connection, manager)
            await client.close()
            async with asyncio.timeout(10):  # a client that leaves gives its slot back
                async for event in happening:
                    if isinstance(event, ConversationEnded):
                        break
        host.close()


def in_order(events: list[dict[str, Any]], *kinds: str) -> bool:
    seen = iter([event["type"] for event in events])
    return all(kind in seen for kind in kinds)


async def test_a_spoken_turn_is_told_as_openai_tells_it(engine: Engine, spoken: Spoken):
    async with connected(engine) as client:
        created = await client.until("session.created")
        assert created["session"]["audio"]["input"]["turn_detection"]["type"] == "server_vad"
        await client.say(spoken.pcm("what_is_your_name"))
        client.agent_says("My name is Coda.")
        done = await client.until("response.done", lambda e: e["response"]["output"])
        assert in_order(
            client.events,
            "input_audio_buffer.speech_started",
            "input_audio_buffer.speech_stopped",
            "input_audio_buffer.committed",
            "conversation.item.added",
            "conversation.item.done",
            "response.created",
            "response.output_item.added",
            "conversation.item.added",
            "response.content_part.added",
            "response.output_audio.delta",
            "response.output_audio.done",
            "response.output_audio_transcript.done",
            "response.content_part.done",
            "conversation.item.done",
            "response.output_item.done",
            "response.done",
        )
        started = client.of("input_audio_buffer.speech_started")[0]
        assert 300 <= started["audio_start_ms"] <= 700  # it is spoken from 500 ms on
        answer = sound(client.of("response.output_audio.delta"))
        assert level_dbfs(answer) > -45  # somebody speaks
        words = client.of("response.output_audio_transcript.done")[0]["transcript"]
        assert words.split()
        usage = done["response"]["usage"]
        assert usage["output_token_details"]["audio_tokens"] == round(len(answer) / 1920)
        question, reply = client.of("conversation.item.added")[:2]
        assert question["item"]["role"] == "user"
        assert reply["previous_item_id"] == question["item"]["id"]


async def test_a_written_question_is_thought_about_and_the_voice_says_the_answer(
    engine: Engine, spoken: Spoken
):
    thinkers = Thinkers([OfflineBrain()], ToolRegistry([calculate]))
    async with connected(engine, thinkers) as client:
        await client.write("what is seventeen plus five?")
        await client.connection.response.create()
        done = await client.until("response.done")
        assert done["response"]["status"] == "completed"
        said = client.of("response.output_audio_transcript.done")[0]["transcript"]
        assert "twenty" in said and "two" in said
        assert level_dbfs(sound(client.of("response.output_audio.delta"))) > -45


async def test_a_response_out_of_band_is_written_and_leaves_no_item(engine: Engine):
    thinkers = Thinkers([OfflineBrain()], ToolRegistry([calculate]))
    async with connected(engine, thinkers) as client:
        await client.connection.response.create(
            response={
                "conversation": "none",
                "output_modalities": ["text"],
                "metadata": {"client_event_id": "abc"},
                "input": [
                    {
                        "type": "message",
                        "role": "user",
                        "content": [{"type": "input_text", "text": "what is two plus seven?"}],
                    }
                ],
            }
        )
        created = await client.until("response.created")
        assert created["response"]["metadata"] == {"client_event_id": "abc"}
        assert created["response"]["conversation_id"] is None
        done = await client.until("response.done")
        assert "9" in done["response"]["output"][0]["content"][0]["text"]
        assert not client.of("conversation.item.added")


async def test_a_tool_of_the_client_is_called_and_its_result_told(engine: Engine):
    call = {
        "index": 0,
        "id": "call_1",
        "type": "function",
        "function": {"name": "get_weather", "arguments": '{"place": "Paris"}'},
    }
    calling = [sse({"tool_calls": [call]}), sse({}, "tool_calls")]
    telling = [sse({"content": "It is sunny in Paris."}), sse({}, "stop")]
    async with LlmServer(calling, telling) as llm:
        brain = OpenAiClient("m", f"{llm.url}/v1")
        async with connected(engine, Thinkers([brain])) as client:
            await client.connection.session.update(
                session={"type": "realtime", "tools": [WEATHER], "output_modalities": ["text"]}
            )
            await client.write("How is the weather in Paris?")
            await client.connection.response.create()
            done = await client.until("response.done")
            item = done["response"]["output"][0]
            assert item["type"] == "function_call" and item["name"] == "get_weather"
            assert json.loads(item["arguments"]) == {"place": "Paris"}
            assert in_order(  # pipecat runs no tool that was not added first
                client.events,
                "response.output_item.added",
                "conversation.item.added",
                "response.function_call_arguments.done",
                "response.output_item.done",
            )
            await client.connection.conversation.item.create(
                item={
                    "type": "function_call_output",
                    "call_id": item["call_id"],
                    "output": '{"sky": "sunny"}',
                }
            )
            await client.connection.response.create()
            done = await client.until("response.done")
            assert done["response"]["output"][0]["content"][0]["text"] == "It is sunny in Paris."
            tool = llm.requests[1]["messages"][-1]
            assert tool["role"] == "tool" and tool["content"] == '{"sky": "sunny"}'
        await brain.close()


async def test_a_spoken_wish_calls_a_tool_of_the_client(engine: Engine, spoken: Spoken):
    call = {
        "index": 0,
        "id": "call_1",
        "type": "function",
        "function": {"name": "get_weather", "arguments": '{"place": "Paris"}'},
    }
    async with LlmServer([sse({"tool_calls": [call]}), sse({}, "tool_calls")]) as llm:
        brain = OpenAiClient("m", f"{llm.url}/v1")
        async with connected(engine, Thinkers([brain])) as client:
            await client.connection.session.update(
                session={
                    "type": "realtime",
                    "tools": [WEATHER],
                    "audio": {"input": {"transcription": {"model": "any"}}},
                }
            )
            await client.until("session.updated")
            client.conversation.transcribe(False)  # the test is the transcriber
            await client.say(spoken.pcm("weather"))
            committed = await client.until("input_audio_buffer.committed")
            client.understood("what is the weather like in paris")
            told = await client.until("conversation.item.input_audio_transcription.completed")
            assert told["item_id"] == committed["item_id"]
            assert told["transcript"] == "what is the weather like in paris"
            asked = await client.until("response.function_call_arguments.done")
            assert asked["name"] == "get_weather"
            done = await client.until(
                "response.done", lambda e: e["response"]["id"] == asked["response_id"]
            )
            assert done["response"]["status"] == "completed"
            heard = [m["content"] for m in llm.requests[0]["messages"] if m["role"] == "user"]
            assert heard == ["what is the weather like in paris"]
        await brain.close()


async def test_what_was_not_played_is_forgotten_and_a_cancelled_response_says_so(engine: Engine):
    sentence = "One two three four five six seven eight nine ten eleven twelve."
    answers = [
        [sse({"content": sentence}), sse({}, "stop")],
        [sse({"content": "Ok."}), sse({}, "stop")],
    ]
    async with LlmServer(*answers) as llm:
        brain = OpenAiClient("m", f"{llm.url}/v1")
        async with connected(engine, Thinkers([brain])) as client:
            await client.write("Count!")
            await client.connection.response.create()
            await client.until(
                "response.output_audio_transcript.delta", lambda e: "four" in e["delta"]
            )
            with_words = client.of("response.output_audio_transcript.delta")
            await client.connection.response.cancel()
            done = await client.until("response.done")
            assert done["response"]["status"] == "cancelled"
            assert done["response"]["status_details"]["reason"] == "client_cancelled"
            item_id = with_words[0]["item_id"]
            await client.connection.conversation.item.truncate(
                item_id=item_id, content_index=0, audio_end_ms=1
            )
            await client.until("conversation.item.truncated")
            await client.connection.conversation.item.retrieve(item_id=item_id)
            item = (await client.until("conversation.item.retrieved"))["item"]
            assert len(item["content"][0]["transcript"].split()) <= 1
            await client.connection.response.cancel()
            error = (await client.until("error"))["error"]
            assert error["code"] == "response_cancel_not_active"
            await client.write("And now?")
            await client.connection.response.create(response={"output_modalities": ["text"]})
            await client.until("response.done")
            told = [m["content"] for m in llm.requests[1]["messages"] if m["role"] == "assistant"]
            assert not told or len(told[0].split()) <= 1  # the LLM knows what was heard
        await brain.close()


async def test_telephone_formats_go_both_ways(engine: Engine, spoken: Spoken):
    async with connected(engine) as client:
        await client.connection.session.update(
            session={
                "type": "realtime",
                "audio": {
                    "input": {"format": {"type": "audio/pcmu"}},
                    "output": {"format": {"type": "audio/pcma"}},
                },
            }
        )
        await client.until("session.updated")
        await client.say(spoken.pcm("hello", 8_000), rate=8_000, law="mulaw")
        await client.until("input_audio_buffer.committed")
        client.agent_says("Hello to you, too.")
        await client.until("response.done", lambda e: e["response"]["output"])
        data = b"".join(
            base64.b64decode(e["delta"]) for e in client.of("response.output_audio.delta")
        )
        assert level_dbfs(telephony.decode(data, "alaw")) > -45


async def test_turns_committed_by_the_client_make_no_detector_events(
    engine: Engine, spoken: Spoken
):
    async with connected(engine) as client:
        await client.connection.session.update(
            session={"type": "realtime", "audio": {"input": {"turn_detection": None}}}
        )
        updated = await client.until("session.updated")
        assert updated["session"]["audio"]["input"]["turn_detection"] is None
        await client.connection.input_audio_buffer.commit()
        error = (await client.until("error"))["error"]
        assert error["code"] == "input_audio_buffer_commit_empty"
        pcm = spoken.pcm("weather")
        await client.connection.input_audio_buffer.append(
            audio=base64.b64encode(pcm16(pcm)).decode()  # all at once, as from a file
        )
        await client.connection.input_audio_buffer.commit()
        await client.until("input_audio_buffer.committed")
        await client.connection.response.create()
        await client.until("response.done")
        assert not client.of("input_audio_buffer.speech_started")
        assert len(client.of("response.created")) == 1


async def test_words_before_and_after_a_pause_are_of_the_turn_they_were_committed_with(
    engine: Engine, spoken: Spoken
):
    async def append(pcm: np.ndarray) -> None:
        await client.connection.input_audio_buffer.append(
            audio=base64.b64encode(pcm16(pcm)).decode()
        )

    async with connected(engine) as client:
        sound = {"turn_detection": None, "transcription": {"model": "any"}}
        await client.connection.session.update(
            session={"type": "realtime", "audio": {"input": sound}}
        )
        await client.until("session.updated")
        pause = np.zeros(24_000, dtype=np.float32)
        await append(np.concatenate([spoken.pcm("what_is_your_name"), pause]))
        await append(np.concatenate([spoken.pcm("hello"), pause]))
        await client.connection.input_audio_buffer.commit()
        await append(np.concatenate([spoken.pcm("what_is_your_name"), pause]))
        await client.connection.input_audio_buffer.commit()
        first = await client.until("input_audio_buffer.committed")
        second = await client.until("input_audio_buffer.committed")
        heard = [
            await client.until("conversation.item.input_audio_transcription.completed")
            for _ in range(2)
        ]
        assert [told["item_id"] for told in heard] == [first["item_id"], second["item_id"]]
        assert "your" in heard[0]["transcript"] and "hello" in heard[0]["transcript"]
        assert "your" in heard[1]["transcript"] and "hello" not in heard[1]["transcript"]


async def test_an_llm_that_is_asked_with_the_commit_is_told_what_is_understood_by_then(
    engine: Engine, spoken: Spoken
):
    async with LlmServer([sse({"content": "Coda."}), sse({}, "stop")]) as llm:
        brain = OpenAiClient("m", f"{llm.url}/v1")
        async with connected(engine, Thinkers([brain])) as client:
            sound = {"turn_detection": None, "transcription": {"model": "any"}}
            await client.connection.session.update(
                session={"type": "realtime", "audio": {"input": sound}}
            )
            await client.until("session.updated")
            happening = client.manager.events.subscribe()
            pcm = np.pad(spoken.pcm("what_is_your_name"), (0, 24_000))
            await client.connection.input_audio_buffer.append(
                audio=base64.b64encode(pcm16(pcm)).decode()
            )
            async with asyncio.timeout(60):
                async for event in happening:
                    if isinstance(event, Transcript) and event.final:
                        break
            await client.connection.input_audio_buffer.commit()
            await client.connection.response.create(
                response={"output_modalities": ["text"], "instructions": "Be brief."}
            )
            await client.until("response.done")
            (asked,) = [m["content"] for m in llm.requests[0]["messages"] if m["role"] == "user"]
            assert "your" in asked
        await brain.close()


async def test_a_message_that_makes_no_sense_is_answered_and_nothing_else_happens(engine: Engine):
    async with connected(engine) as client:
        await client.connection.send(
            {"type": "conversation.item.delete", "item_id": "nobody", "event_id": "mine"}
        )
        error = (await client.until("error"))["error"]
        assert error["event_id"] == "mine"
        assert "nobody" in error["message"]
        await client.write("hello")
        await client.until("conversation.item.added")


async def test_a_full_house_is_said_at_once(engine: Engine):
    async with VoiceManager(engine=engine) as manager:
        held = [await manager.start_conversation() for _ in range(engine.stats().slots)]
        host = LocalHost(manager)
        async with serving(realtime_routes(host)) as address:
            client = AsyncOpenAI(api_key="none", base_url=f"http://{address}/v1")
            async with asyncio.timeout(5), client.realtime.connect(model="x") as connection:
                refused = await connection.recv()
                assert refused.type == "error" and refused.error.code == "slots_full"
            await client.close()
        host.close()
        for conversation_id in held:
            await manager.end_conversation(conversation_id)


@pytest.mark.parametrize("path", ["/v1/realtime", "/realtime"])
async def test_a_subprotocol_is_echoed_only_if_it_was_offered(engine: Engine, path: str):
    from websockets.asyncio.client import connect

    async with VoiceManager(engine=engine) as manager:
        host = LocalHost(manager)
        async with serving(realtime_routes(host)) as address:
            async with connect(f"ws://{address}{path}") as plain:
                assert plain.subprotocol is None
                assert json.loads(await plain.recv())["type"] == "session.created"
            async with connect(f"ws://{address}{path}", subprotocols=["realtime"]) as offered:
                assert offered.subprotocol == "realtime"
        host.close()
