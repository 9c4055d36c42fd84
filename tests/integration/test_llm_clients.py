"""The LLM clients against a server that speaks the wire protocols for real."""

import asyncio

import pytest

from coda_voice.errors import ConfigurationError, LlmError
from coda_voice.hybrid.clients import client_for
from coda_voice.hybrid.llm import (
    Message,
    StreamEnd,
    TextDelta,
    ThinkingDelta,
    ToolCall,
    ToolCallRequest,
)
from coda_voice.hybrid.ollama_client import OllamaClient
from coda_voice.hybrid.openai_client import OpenAiClient
from coda_voice.protocols import ToolSpec
from tests.integration.llm_server import LlmServer, calls, closing, done, frame, sse, text

ASK = [Message("system", "Be brief."), Message("user", "What is three plus four?")]
ADD = ToolSpec(
    "add",
    "Add two numbers.",
    {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}},
)


async def collect(client, messages=ASK, tools=()):
    async with closing(client):
        async with asyncio.timeout(30):
            return [chunk async for chunk in client.stream(messages, tools)]


async def failure(client, messages=ASK):
    chunks = []
    with pytest.raises(LlmError) as caught:
        async with closing(client), asyncio.timeout(30):
            async for chunk in client.stream(messages):
                chunks += [chunk]
    return chunks, caught.value


async def test_ollama_streams_text_and_thinking_apart_and_always_says_num_ctx():
    answer = [frame(thinking="3+4"), frame(content="Sev"), frame(content="en."), done()]
    async with LlmServer(answer) as server:
        chunks = await collect(OllamaClient("qwen3:8b", server.url, context_window=4_096))
    assert chunks == [
        ThinkingDelta("3+4"),
        TextDelta("Sev"),
        TextDelta("en."),
        StreamEnd(prompt_tokens=40, answer_tokens=12),
    ]
    sent = server.requests[0]
    assert sent["options"]["num_ctx"] == 4_096 and sent["options"]["num_predict"] == 1_024
    assert (sent["keep_alive"], sent["think"], sent["stream"]) == ("30m", False, True)


@pytest.mark.parametrize("in_last_frame", [False, True])
async def test_ollama_tool_calls_are_found_in_any_frame(in_last_frame):
    message = {"tool_calls": calls(("add", {"a": 3, "b": 4}), ("add", {"a": 1, "b": 1}))}
    answer = [done(message)] if in_last_frame else [frame(**message), done()]
    async with LlmServer(answer) as server:
        chunks = await collect(OllamaClient("m", server.url), tools=[ADD])
    found = [chunk.call for chunk in chunks if isinstance(chunk, ToolCallRequest)]
    assert [(c.name, dict(c.arguments)) for c in found] == [
        ("add", {"a": 3, "b": 4}),
        ("add", {"a": 1, "b": 1}),
    ]
    assert found[0].call_id != found[1].call_id
    assert isinstance(chunks[-1], StreamEnd)
    assert server.requests[0]["tools"][0]["function"]["parameters"]["properties"].keys() == {
        "a",
        "b",
    }


async def test_ollama_gets_calls_results_and_thoughts_back_in_its_own_shape():
    call = ToolCall("c1", "add", {"a": 3, "b": 4})
    talk = [
        *ASK,
        Message("assistant", "", (call,), thinking="add them"),
        Message("tool", "7", tool_call_id="c1", tool_name="add"),
    ]
    async with LlmServer(text("Seven.")) as server:
        await collect(OllamaClient("m", server.url), talk)
    assistant, result = server.requests[0]["messages"][-2:]
    assert assistant["thinking"] == "add them"
    assert assistant["tool_calls"] == calls(("add", {"a": 3, "b": 4}))
    assert result == {"role": "tool", "content": "7", "tool_name": "add"}


@pytest.mark.parametrize(
    ("answer", "code", "says", "heard"),
    [
        (404, "llm_model_missing", "ollama pull m", 0),
        (500, "llm_server_error", "500", 0),
        (503, "llm_server_error", "503", 0),
        (401, "llm_refused", "401", 0),
        ([frame(content="Se"), {"error": "out of memory"}], "llm_stream_error", "out of memory", 1),
        ([frame(content="Se"), "disconnect"], "llm_disconnected", "broke off", 1),
        ([frame(content="Se"), "end"], "llm_disconnected", "last frame", 1),
        (["<html>proxy</html>"], "llm_bad_answer", "not its protocol", 0),
        ([frame(tool_calls=[{"function": {"name": "add", "arguments": "{a:"}}])],
         "llm_bad_answer", "not its protocol", 0),
    ],
)  # fmt: skip
async def test_ollama_faults_have_a_code_and_say_what_to_do(answer, code, says, heard):
    async with LlmServer(answer) as server:
        chunks, error = await failure(OllamaClient("m", server.url))
    assert error.error_code == code and says in error.message
    assert len(chunks) == heard


@pytest.mark.parametrize("make", [OllamaClient, OpenAiClient])
async def test_a_server_that_is_not_there(make):
    async with LlmServer([]) as server:
        url = server.url
    _, error = await failure(make("m", url))
    assert error.error_code == "llm_unreachable"


@pytest.mark.parametrize("make", [OllamaClient, OpenAiClient])
async def test_leaving_the_stream_closes_the_connection(make):
    first = sse({"content": "One"}) if make is OpenAiClient else frame(content="One")
    path = "/v1" if make is OpenAiClient else ""
    async with (
        LlmServer([first, "stall"]) as server,
        closing(make("m", server.url + path)) as client,
    ):
        stream = client.stream(ASK)
        assert await anext(stream) == TextDelta("One")
        await stream.aclose()
        async with asyncio.timeout(10):
            await server.broken_off.wait()


def long_talk(turns, words=60):
    talk = [Message("system", "Be brief.")]
    for number in range(turns):
        talk.append(Message("user", f"Question {number}: " + "why " * words))
        talk.append(Message("assistant", f"Answer {number}: " + "so " * words))
    return [*talk, Message("user", "And now?")]


async def test_old_turns_are_left_out_in_the_open_before_a_server_cuts_in_silence():
    async with LlmServer(text("Now.")) as server:
        chunks = await collect(OllamaClient("m", server.url, context_window=1_024), long_talk(40))
    sent = server.requests[0]["messages"]
    assert sent[0]["content"] == "Be brief." and sent[-1]["content"] == "And now?"
    assert sum(len(m["content"]) for m in sent) < 1_024 * 3.5
    assert chunks[-1].dropped_messages == 82 - len(sent) > 0


async def test_a_prompt_that_cannot_fit_is_refused_before_it_is_sent():
    async with LlmServer(text("Now.")) as server:
        client = OllamaClient("m", server.url, context_window=1_024)
        _, error = await failure(client, [Message("user", "word " * 5_000)])
    assert error.error_code == "llm_prompt_too_long" and "context_window" in error.message
    assert server.requests == []


async def test_an_answer_cut_at_its_limit_says_so():
    async with LlmServer(text("And then", done_reason="length", eval_count=1_024)) as server:
        chunks = await collect(OllamaClient("m", server.url))
    assert chunks[-1].cut == "the answer was cut at 1024 tokens"


async def test_openai_puts_calls_together_and_keeps_reasoning_apart():
    def piece(index, **fields):
        return sse({"tool_calls": [{"index": index, **fields}]})

    answer = [
        sse({"role": "assistant", "reasoning_content": "add"}),
        sse({"content": "Let me see."}),
        piece(0, id="a", type="function", function={"name": "add", "arguments": ""}),
        piece(0, function={"arguments": '{"a": 3,'}),
        piece(1, id="b", type="function", function={"name": "add", "arguments": "{oops"}),
        piece(0, function={"arguments": ' "b": 4}'}),
        sse({}, "tool_calls"),
        {**sse({}), "choices": [], "usage": {
            "prompt_tokens": 50, "completion_tokens": 9, "total_tokens": 59}},
    ]  # fmt: skip
    async with LlmServer(answer) as server:
        chunks = await collect(OpenAiClient("m", f"{server.url}/v1"), tools=[ADD])
    assert chunks == [
        ThinkingDelta("add"),
        TextDelta("Let me see."),
        ToolCallRequest(ToolCall("a", "add", {"a": 3, "b": 4})),
        ToolCallRequest(ToolCall("b", "add", {}, malformed="{oops")),
        StreamEnd(prompt_tokens=50, answer_tokens=9),
    ]


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (404, "llm_model_missing"),
        (500, "llm_server_error"),
        (401, "llm_refused"),
        ([sse({"content": "Se"}), {"error": {"message": "out of memory"}}], "llm_stream_error"),
        ([sse({"content": "Se"}), "disconnect"], "llm_disconnected"),
        ([sse({"content": "Se"}), "end"], "llm_disconnected"),
        (["{no json"], "llm_bad_answer"),
    ],
)
async def test_openai_faults_have_the_same_codes(answer, code):
    async with LlmServer(answer) as server:
        _, error = await failure(OpenAiClient("m", f"{server.url}/v1"))
    assert error.error_code == code


LLAMA_CPP = {
    "code": 400,
    "message": "request (3144 tokens) exceeds the available context size (2048 tokens)",
    "type": "exceed_context_size_error",
    "n_prompt_tokens": 3144,
    "n_ctx": 2048,
}
VLLM = {
    "object": "error",
    "message": "This model's maximum context length is 2048 tokens. However, you requested 4168 "
    "tokens (3144 in the messages, 1024 in the completion). Please reduce the length of the "
    "messages or completion.",
    "type": "BadRequestError",
    "param": None,
    "code": 400,
}
OPENAI = {
    "message": "This model's maximum context length is 2048 tokens. However, your messages "
    "resulted in 3144 tokens. Please reduce the length of the messages.",
    "type": "invalid_request_error",
    "param": "messages",
    "code": "context_length_exceeded",
}


@pytest.mark.parametrize("body", [{"error": LLAMA_CPP}, VLLM, {"error": OPENAI}])
async def test_openai_asks_again_with_less_where_the_server_takes_less_than_is_set(body):
    answer = [sse({"content": "Now."}), sse({}, "stop")]
    async with LlmServer((400, body), answer) as server:
        client = OpenAiClient("m", f"{server.url}/v1", connect_timeout=60)
        chunks = await collect(client, long_talk(20))
    first, second = (request["messages"] for request in server.requests)
    assert len(second) < len(first) and second[-1] == first[-1] and second[0] == first[0]
    sent = sum(len(m["content"]) for m in second)
    known = sum(len(m["content"]) for m in first) / 3_144  # characters in a token of this model
    assert sent / known + server.requests[1]["max_tokens"] <= 2_048
    assert chunks[0] == TextDelta("Now.") and chunks[-1].dropped_messages > 0
    assert client.budget.context_tokens == 2_048


async def test_openai_does_not_ask_a_third_time():
    async with LlmServer((400, {"error": LLAMA_CPP})) as server:
        _, error = await failure(
            OpenAiClient("m", f"{server.url}/v1", connect_timeout=60), long_talk(20)
        )
    assert error.error_code == "llm_prompt_too_long" and len(server.requests) == 2


@pytest.mark.parametrize(
    ("name", "path"), [("ollama/qwen3:8b", ""), ("openai/qwen3:8b", "/v1"), ("offline", "")]
)
async def test_a_client_is_made_from_its_name(name, path):
    answer = text("Hi.") if path == "" else [sse({"content": "Hi."}, "stop")]
    async with LlmServer(answer) as server:
        client = client_for(name, server.url + path, context_window=2_048, temperature=0.1)
        assert client.offline == (name == "offline")
        if not client.offline:
            assert client.name == name
            assert (await collect(client))[0] == TextDelta("Hi.")
            assert server.requests[0]["model"] == "qwen3:8b"


@pytest.mark.parametrize("name", ["qwen3:8b", "ollama/", "anthropic/x", ""])
def test_a_name_that_names_no_client_is_refused(name):
    with pytest.raises(ConfigurationError, match="ollama/MODEL"):
        client_for(name)


@pytest.mark.parametrize("kind", [OllamaClient, OpenAiClient])
async def test_whether_a_server_could_answer_can_be_asked_without_asking_it_anything(kind):
    path = "/v1" if kind is OpenAiClient else ""
    async with LlmServer() as server:
        async with closing(kind("qwen3:8b", server.url + path)) as client:
            await client.check()
        assert all("messages" not in request for request in server.requests)
    async with closing(kind("qwen3:8b", server.url + path)) as client:
        with pytest.raises(LlmError) as caught:
            await client.check()
    assert caught.value.error_code == "llm_unreachable"
    assert "cannot be reached" in caught.value.message and "\n" not in caught.value.message


async def test_ollama_tells_that_a_model_is_missing_before_it_is_asked_anything():
    async with LlmServer() as server:
        server.models = {"llama3:8b"}
        async with closing(OllamaClient("qwen3:8b", server.url)) as client:
            with pytest.raises(LlmError, match="ollama pull qwen3:8b") as caught:
                await client.check()
    assert caught.value.error_code == "llm_model_missing"


async def test_a_model_whose_card_is_of_another_version_is_there():
    async with LlmServer() as server, closing(OllamaClient("qwen3:8b", server.url)) as client:
        server.card = {"modelfile": "FROM qwen3:8b"}
        await client.check()


async def test_an_openai_compatible_server_without_a_list_of_models_may_well_answer():
    async with LlmServer() as server, closing(OpenAiClient("any", server.url + "/else")) as client:
        await client.check()
