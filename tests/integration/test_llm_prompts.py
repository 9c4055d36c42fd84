"""What reaches the LLM: an order every template takes, as much as fits, tools where it can."""

import asyncio

import pytest
from coda_tools import ToolRegistry, tool

from coda_voice.errors import LlmError
from coda_voice.events import ReasoningEnded
from coda_voice.hybrid.answer import ReasonerSettings, Turn
from coda_voice.hybrid.heard_history import HeardHistory
from coda_voice.hybrid.llm import Message, StreamEnd, TextDelta, ToolCall
from coda_voice.hybrid.ollama_client import OllamaClient
from coda_voice.hybrid.openai_client import OpenAiClient
from coda_voice.hybrid.reasoner import Reasoner
from coda_voice.protocols import ToolSpec
from tests.integration.llm_server import LlmServer, calls, closing, done, frame, sse, text

SYSTEM = Message("system", "Be brief.")
ADD = ToolSpec("add", "Add two numbers.", {"type": "object", "properties": {}})
WIRES = pytest.mark.parametrize("wire", [OllamaClient, OpenAiClient])
PATIENT = ReasonerSettings(first_timeout=20.0, stall_timeout=20.0, filler_after=20.0)


def client_of(wire, server, **settings):
    path = "/v1" if wire is OpenAiClient else ""
    return wire("m", server.url + path, connect_timeout=60, **settings)


def says(wire, words):
    """An answer of ``words`` in the shape of ``wire``."""
    if wire is OllamaClient:
        return text(words)
    return [sse({"content": words}), sse({}, "stop")]


async def collect(client, messages, tools=()):
    async with asyncio.timeout(30):
        return [chunk async for chunk in client.stream(messages, tools)]


def sent(server, request=-1):
    return [(m["role"], m.get("content", "")) for m in server.requests[request]["messages"]]


# ---- the order -----------------------------------------------------------------------


@WIRES
async def test_a_talk_as_it_was_heard_is_taken_by_a_template_that_wants_turns(wire):
    history = HeardHistory()
    history.agent(0, ["hello", "there"])  # a greeting; nobody had spoken
    history.agent(0, ["lovely", "day"])
    history.user(1, "i like tea")  # nobody answered this one
    history.note(1, "pot reported: the tea is ready")
    history.user(2, "what is ready")
    history.agent(2, ["the", "tea"], answer=True)
    history.note(2, "cup reported: it is full")
    async with LlmServer(says(wire, "Fine.")) as server, closing(client_of(wire, server)) as llm:
        now = [SYSTEM, *history.before(3), Message("user", "and now")]
        assert TextDelta("Fine.") in await collect(llm, now)
    assert sent(server) == [
        ("system", "Be brief."),
        ("user", "(silence)"),
        ("assistant", "hello there\nlovely day"),
        ("user", "i like tea\n(pot reported: the tea is ready)\nwhat is ready"),
        ("assistant", "the tea"),
        ("user", "(cup reported: it is full)\nand now"),
    ]


@WIRES
async def test_what_is_left_out_for_lack_of_room_leaves_turns_behind(wire):
    talk = [SYSTEM, Message("assistant", "Welcome.")]
    for number in range(30):
        talk.append(Message("user", f"Question {number} " + "why " * 60))
        talk += [Message("assistant", "so " * 30)] * (number % 3)  # none, one or two
        talk += [Message("system", f"event {number}")] * (number % 2)
    talk.append(Message("user", "And now?"))
    async with (
        LlmServer(says(wire, "Fine.")) as server,
        closing(client_of(wire, server, context_window=2_048)) as llm,
    ):
        chunks = await collect(llm, talk)
    assert TextDelta("Fine.") in chunks and chunks[-1].dropped_messages > 20
    first, second = sent(server)[:2]
    assert first == ("system", "Be brief.") and second[1].startswith("Question ")
    assert sent(server)[-1][1].endswith("And now?")


async def test_the_order_to_use_no_more_tools_follows_what_the_last_one_said():
    @tool
    def look() -> str:
        """Look."""
        return "fog"

    again = [done({"tool_calls": calls(("look", {}))})]
    settings = ReasonerSettings(
        first_timeout=20.0, stall_timeout=20.0, filler_after=20.0, max_rounds=1
    )
    async with (
        LlmServer(again, text("Fog.")) as server,
        closing(client_of(OllamaClient, server)) as llm,
    ):
        reasoner = Reasoner(llm, [].append, tools=ToolRegistry([look]), settings=settings)
        assert [s.text async for s in reasoner.start(Turn(1, "Look."))] == ["Fog."]
        await reasoner.close()
    role, told = sent(server)[-1]
    assert role == "tool" and told.startswith("fog\n(No more tools")


# ---- how much ------------------------------------------------------------------------


def long_talk(turns):
    talk = [SYSTEM]
    for number in range(turns):
        talk.append(Message("user", f"Question {number}: " + "why " * 60))
        talk.append(Message("assistant", f"Answer {number}: " + "so " * 60))
    return [*talk, Message("user", "And now?")]


async def test_low_counts_of_a_server_with_a_cache_cost_nothing():
    # Only what was not in the cache is counted: never twice as much.
    counted = (40, 43, 300, 900, 331, 42, 44, 1_026)
    answers = [text("Fine.", prompt_eval_count=count) for count in counted]
    talk = long_talk(30)
    async with LlmServer(*answers) as server, closing(client_of(OllamaClient, server)) as llm:
        ends = [(await collect(llm, talk))[-1] for _ in counted]
        await collect(llm, talk)
    assert [end.dropped_messages for end in ends] == [0] * len(counted)
    assert [len(request["messages"]) for request in server.requests] == [len(talk)] * 9
    assert all(r["options"]["num_predict"] == 1_024 for r in server.requests)
    told = [end.cut for end in ends]
    assert told[:2] == [None, None], "no window is as small as that"
    assert "may have been cut off" in told[2]


async def test_a_window_smaller_than_asked_for_is_learnt_when_it_cuts_twice_to_one_length():
    loaded = 2_048  # whatever was asked: 2048 / 2 + 2 remain

    def answer(request):
        read = int(sum(len(m["content"]) + 24 for m in request["messages"]) / 4)
        return text("Hm.", prompt_eval_count=read if read <= loaded else loaded // 2 + 2)

    async with LlmServer(answer) as server, closing(client_of(OllamaClient, server)) as llm:
        first, second, third = [(await collect(llm, long_talk(n)))[-1] for n in (30, 31, 32)]
        assert "may have been cut off" in first.cut and first.dropped_messages == 0
        assert "was cut off" in second.cut
        assert third.cut is None and third.dropped_messages > 0
        kept = sum(len(m["content"]) for m in server.requests[-1]["messages"])
        assert 2_000 < kept < 2_048 * 4 and server.requests[-1]["options"]["num_predict"] <= 1_024
        loaded = 8_192  # loaded anew, as it should be: that is found out some time
        ends = [(await collect(llm, long_talk(32)))[-1] for _ in range(25)]
    assert ends[0].dropped_messages > 0 == ends[-1].dropped_messages


async def test_what_was_only_concluded_from_counts_never_makes_a_prompt_impossible():
    persona = Message("system", "You are kind. " * 400)
    talk = [persona, *long_talk(30)[1:]]
    async with (
        LlmServer(text("Hm.", prompt_eval_count=514)) as server,
        closing(client_of(OllamaClient, server)) as llm,
    ):
        for _ in range(3):
            await collect(llm, talk)
        assert llm.budget.seen_tokens == 1_024
        server.answers = [text("Fine.", prompt_eval_count=1_700)]
        chunks = await collect(llm, talk)
        assert TextDelta("Fine.") in chunks
        assert sent(server) == [("system", persona.content), ("user", "And now?")]
        await collect(llm, talk)  # 1,700 tokens were read: the window is not so small
    assert len(server.requests[-1]["messages"]) == len(talk)


async def test_a_prompt_that_fills_the_window_teaches_how_short_tokens_are():
    dense = [SYSTEM, *[Message("user", "7" * 200), Message("assistant", "8" * 200)] * 40]
    dense = [*dense, Message("user", "And now?")]

    def answer(request):
        tokens = sum(len(m["content"]) for m in request["messages"])  # a token a digit
        return text("Hm.", prompt_eval_count=tokens if tokens < 8_192 else 8_192 // 2 + 2)

    async with LlmServer(answer) as server, closing(client_of(OllamaClient, server)) as llm:
        ends = [(await collect(llm, dense))[-1] for _ in range(5)]
        assert "was cut off" in ends[0].cut and ends[0].dropped_messages == 0
        assert ends[-1].cut is None and ends[-1].dropped_messages > 0
        assert llm.budget.window == 8_192


async def test_a_prompt_of_half_the_window_is_not_taken_for_a_cut_one():
    """Where Ollama cuts a prompt every long talk comes by some time."""

    def answer(request):
        characters = sum(len(m["content"]) + 24 for m in request["messages"])
        return text("Hm.", prompt_eval_count=round(characters / 4.5))  # as English has

    talks = [[Message("user", "why " * words)] for words in (3_000, 4_605, 5_600)]
    async with LlmServer(answer) as server, closing(client_of(OllamaClient, server)) as llm:
        ends = [(await collect(llm, talk))[-1] for talk in talks]
    assert abs(ends[1].prompt_tokens - 8_192 // 2) <= 4
    assert [end.cut for end in ends] == [None, None, None]


# ---- tools ---------------------------------------------------------------------------

REFUSALS = [
    (OllamaClient, 400, {"error": "registry.ollama.ai/library/gemma2:2b does not support tools"}),
    (OpenAiClient, 400, {
        "object": "error", "type": "BadRequestError", "param": None, "code": 400,
        "message": '"auto" tool choice requires --enable-auto-tool-choice and '
        "--tool-call-parser to be set"}),
    (OpenAiClient, 500, {"error": {
        "code": 500, "message": "tools param requires --jinja flag", "type": "server_error"}}),
]  # fmt: skip


@pytest.mark.parametrize(("wire", "status", "body"), REFUSALS)
async def test_a_model_that_refuses_tools_answers_without_and_is_not_offered_them_again(
    wire, status, body
):
    @tool
    def look() -> str:
        """Look."""
        return "fog"

    def answer(request):
        return (status, body) if request.get("tools") else says(wire, "Fine.")

    events = []
    async with LlmServer(answer) as server, closing(client_of(wire, server)) as llm:
        tools = ToolRegistry([look])
        for generation in (1, 2):
            # Every conversation has a reasoner; they share the client.
            reasoner = Reasoner(llm, events.append, tools=tools, settings=PATIENT)
            said = [s async for s in reasoner.start(Turn(generation, "Look."))]
            assert [(s.kind, s.text) for s in said] == [("answer", "Fine.")]
            await reasoner.close()
    assert [bool(request.get("tools")) for request in server.requests] == [True, False, False]
    ends = [event for event in events if isinstance(event, ReasoningEnded)]
    assert [(e.outcome, e.code) for e in ends] == [("answered", None)] * 2
    assert all("takes no tools" in (e.detail or "") for e in ends)


@WIRES
async def test_another_refusal_is_none_of_the_tools_business(wire):
    async with LlmServer((400, {"error": "no"})) as server, closing(client_of(wire, server)) as llm:
        with pytest.raises(LlmError) as caught:
            await collect(llm, [SYSTEM, Message("user", "hi")], [ADD])
        assert caught.value.error_code == "llm_refused" and len(server.requests) == 1
        server.answers = [says(wire, "Fine.")]
        end = (await collect(llm, [SYSTEM, Message("user", "hi")], [ADD]))[-1]
    assert server.requests[-1]["tools"] and isinstance(end, StreamEnd) and end.cut is None


@pytest.mark.parametrize(("wire", "status", "body"), REFUSALS[:2])
async def test_a_model_without_tools_is_told_what_another_models_tools_have_said(
    wire, status, body
):
    call = ToolCall("c1", "add", {"a": 3, "b": 4})
    talk = [
        SYSTEM,
        Message("user", "Three and four?"),
        Message("assistant", "", (call,)),
        Message("tool", "7", tool_call_id="c1", tool_name="add"),
    ]
    answers = (status, body), says(wire, "Seven.")
    async with LlmServer(*answers) as server, closing(client_of(wire, server)) as llm:
        assert TextDelta("Seven.") in await collect(llm, talk, [ADD])
    assert sent(server)[1:] == [("user", "Three and four?\n(The tool add said: 7)")]


async def test_leaving_before_the_first_word_closes_the_connection():
    async with (
        LlmServer(["stall"]) as server,
        closing(client_of(OllamaClient, server)) as llm,
    ):
        first = asyncio.create_task(anext(llm.stream([SYSTEM, Message("user", "hi")])))
        await server.asked.wait()
        first.cancel()
        async with asyncio.timeout(30):
            await server.broken_off.wait()


async def test_frames_after_the_first_are_not_waited_for():
    async with (
        LlmServer([frame(content="One"), "stall"]) as server,
        closing(client_of(OllamaClient, server)) as llm,
    ):
        stream = llm.stream([SYSTEM, Message("user", "hi")])
        async with asyncio.timeout(30):
            assert await anext(stream) == TextDelta("One")
        await stream.aclose()
