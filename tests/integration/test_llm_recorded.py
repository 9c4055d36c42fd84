"""Streams as real Ollama servers sent them: key for key, in their order, in words of our own.

Where the shapes were recorded: Ollama with llama3, May 2024, in the cassettes of OpenLLMetry's
tests (`test_ollama_async_streaming_chat_legacy.yaml`); with qwen3.5, March 2026, a thought and two
calls in the one frame that is also the last, in the tests of the Eclipse plug-in code-intelligence
(`OllamaFunctionBatchIntegrationTest.java`). The error inside a stream is as Ollama's documentation
shows it (`docs/api/errors.mdx`), in the words of a report (ollama/ollama issue 8258).
"""

import json

import pytest

from coda_voice.errors import LlmError
from coda_voice.hybrid.llm import StreamEnd, TextDelta, ThinkingDelta, ToolCallRequest
from coda_voice.hybrid.ollama_client import OllamaClient
from tests.integration.llm_server import LlmServer
from tests.integration.test_llm_clients import ADD, collect, failure

PIECES = ("Here", "'s", " one", ":\n\n", "Seven", ".")
LLAMA3_2024 = [
    *(
        f'{{"model":"llama3","created_at":"2024-05-24T20:57:43.{314639 + 33_000 * number}Z",'
        f'"message":{{"role":"assistant","content":{json.dumps(piece)}}},"done":false}}'
        for number, piece in enumerate(PIECES)
    ),
    '{"model":"llama3","created_at":"2024-05-24T20:57:45.32060Z","message":{"role":"assistant",'
    '"content":""},"done_reason":"stop","done":true,"total_duration":3722518334,'
    '"load_duration":1534053125,"prompt_eval_count":17,"prompt_eval_duration":179676000,'
    '"eval_count":63,"eval_duration":2006086000}',
]
QWEN_2026 = [
    '{"model":"qwen3.5:35b","created_at":"2026-03-09T20:20:30.22491889Z","message":{"role":'
    '"assistant","content":"","thinking":"Two sums.\\n\\nLet me make both calls now.",'
    '"tool_calls":[{"id":"call_trmym6vj","function":{"index":0,"name":"add","arguments":'
    '{"a":3,"b":4}}},{"id":"call_24957ol8","function":{"index":1,"name":"add","arguments":'
    '{"a":1,"b":1}}}]},"done":true,"done_reason":"stop","total_duration":17651054502,'
    '"load_duration":8821849047,"prompt_eval_count":557,"prompt_eval_duration":434295382,'
    '"eval_count":213,"eval_duration":7901656841}'
]
BROKEN = [
    LLAMA3_2024[0],
    '{"error":"an error was encountered while running the model: unexpected EOF"}',
]


async def test_text_comes_piece_by_piece_as_it_was_written():
    async with LlmServer(LLAMA3_2024) as server:
        chunks = await collect(OllamaClient("llama3", server.url))
    assert chunks[:-1] == [TextDelta(piece) for piece in PIECES]
    end = chunks[-1]
    assert isinstance(end, StreamEnd)
    assert (end.prompt_tokens, end.answer_tokens) == (17, 63)


async def test_a_thought_and_two_calls_in_the_last_frame_are_all_found():
    async with LlmServer(QWEN_2026) as server:
        chunks = await collect(OllamaClient("qwen3.5:35b", server.url), tools=[ADD])
    thought, first, second, end = chunks
    assert thought == ThinkingDelta("Two sums.\n\nLet me make both calls now.")
    assert isinstance(first, ToolCallRequest) and isinstance(second, ToolCallRequest)
    assert [dict(call.call.arguments) for call in (first, second)] == [
        {"a": 3, "b": 4},
        {"a": 1, "b": 1},
    ]
    assert first.call.call_id != second.call.call_id
    assert end == StreamEnd(prompt_tokens=557, answer_tokens=213)


async def test_an_error_inside_a_stream_is_told_in_the_servers_words():
    async with LlmServer(BROKEN) as server:
        chunks, error = await failure(OllamaClient("llama3", server.url))
    assert chunks == [TextDelta("Here")]
    assert isinstance(error, LlmError) and error.error_code == "llm_stream_error"
    assert "unexpected EOF" in str(error)


@pytest.mark.parametrize("stream", [LLAMA3_2024, QWEN_2026])
async def test_a_stream_that_breaks_off_before_its_last_frame_is_no_answer(stream):
    async with LlmServer([*stream[:-1], "end"]) as server:
        _, error = await failure(OllamaClient("m", server.url))
    assert error.error_code == "llm_disconnected"
