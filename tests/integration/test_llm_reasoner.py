"""The reasoner with real clients, a real wire and real tools: answers, faults, interruptions."""

import asyncio
import contextlib
import dataclasses
import json

import pytest
from coda_tools import ToolRegistry, tool
from coda_tools.builtin.arithmetic import calculate
from coda_tools.builtin.clock import clock_tools
from coda_tools.builtin.timers import Timers

from coda_voice.errors import ValidationError
from coda_voice.events import ReasoningEnded, ReasoningStarted, SentenceReady, ToolEnded
from coda_voice.hybrid.answer import ReasonerSettings, Turn
from coda_voice.hybrid.offline_brain import OfflineBrain
from coda_voice.hybrid.ollama_client import OllamaClient
from coda_voice.hybrid.reasoner import Reasoner
from tests.integration.llm_server import LlmServer, calls, closing, done, frame, text

PATIENT = ReasonerSettings(first_timeout=20.0, stall_timeout=20.0, filler_after=20.0)
IMPATIENT = ReasonerSettings(first_timeout=1.0, stall_timeout=1.0)


def call(*made):
    """An Ollama answer that calls tools."""
    return [done({"tool_calls": calls(*made)})]


@contextlib.asynccontextmanager
async def thinking(server, *tools, settings=PATIENT, fallback=None):
    events = Events()
    client = OllamaClient("m", server if isinstance(server, str) else server.url)
    registry = ToolRegistry(tools) if tools else None
    reasoner = Reasoner(
        client, events.append, "talk", tools=registry, fallback=fallback, settings=settings
    )
    try:
        async with asyncio.timeout(60):
            yield reasoner, events
    finally:
        await reasoner.close()
        await client.close()


async def hear(reasoner, words="And?", generation=1, **turn):
    return [s async for s in reasoner.start(Turn(generation, words, **turn))]


def texts(sentences, kind=None):
    return [s.text for s in sentences if kind in (None, s.kind)]


def ended(events):
    return [e for e in events if isinstance(e, ReasoningEnded)][-1]


def of(events, kind):
    return [e for e in events if isinstance(e, kind)]


class Events(list):
    """The events published, and a way to wait until there are such."""

    def __init__(self):
        self._changed = asyncio.Event()

    def append(self, event):
        super().append(event)
        self._changed.set()

    async def until(self, kind, count):
        while len(of(self, kind)) < count:
            self._changed.clear()
            await self._changed.wait()


async def test_sentences_come_while_the_llm_still_writes_and_are_speakable():
    answer = [frame(content="It is **20 °C**. "), "stall"]
    async with LlmServer(answer) as server, thinking(server) as (r, events):
        first = await anext(aiter(r.start(Turn(1, "How warm is it?"))))
        assert first.text == "It is twenty degrees Celsius."
        assert not of(events, ReasoningEnded)
        assert of(events, ReasoningStarted)[0].llm == "ollama/m"
        assert of(events, SentenceReady)[0].kind == "answer"


async def test_a_question_is_answered_with_tools_called_beside_each_other():
    both = asyncio.Barrier(2)

    @tool
    async def weather(city: str) -> str:
        """Tell the weather."""
        await both.wait()  # returns only if both calls run at once
        return f"{city}: sunny"

    asked = call(("weather", {"city": "Rome"}), ("weather", {"city": "Oslo"}))
    async with (
        LlmServer(asked, text("Sunny in ", "both. Enjoy!")) as server,
        thinking(server, weather) as (r, events),
    ):
        heard = await hear(r, "Weather in Rome and Oslo?")
    assert texts(heard) == ["Sunny in both.", "Enjoy!"]
    back = [m["content"] for m in server.requests[1]["messages"] if m["role"] == "tool"]
    assert back == ["Rome: sunny", "Oslo: sunny"]
    assert [e.outcome for e in of(events, ToolEnded)] == ["done", "done"]
    assert (ended(events).outcome, ended(events).rounds) == ("answered", 1)
    assert ended(events).first_text > 0


async def test_a_bad_call_is_given_back_once_then_the_tools_go():
    bad = call(("calculate", {"sum": "3+4"}))
    async with (
        LlmServer(bad, call(("calculate", {"expression": "3+4"})), text("Seven.")) as server,
        thinking(server, calculate) as (r, _),
    ):
        assert texts(await hear(r)) == ["Seven."]
        given_back = server.requests[1]["messages"][-1]["content"]
        assert "expression: Field required" in given_back and "sum: Extra inputs" in given_back
    async with (
        LlmServer(bad, bad, text("I do not know.")) as server,
        thinking(server, calculate) as (r, _),
    ):
        assert texts(await hear(r)) == ["I do not know."]
        assert not server.requests[2].get("tools")
        assert "No more tools" in server.requests[2]["messages"][-1]["content"]


async def test_of_hundreds_of_calls_at_once_a_few_are_run_and_the_llm_is_told_of_the_others():
    ran = []

    @tool
    def look_up(number: int) -> str:
        """Look something up."""
        ran.append(number)
        return f"number {number}"

    many = call(*(("look_up", {"number": n}) for n in range(500)))
    three = dataclasses.replace(PATIENT, max_calls=3)
    async with (
        LlmServer(many, call(("look_up", {"number": 7})), text("Here you are.")) as server,
        thinking(server, look_up, settings=three) as (
            r,
            events,
        ),
    ):
        assert texts(await hear(r)) == ["Here you are."]
    assert sorted(ran) == [0, 1, 2, 7], "and the tools stay for the next round"
    prompt = server.requests[1]["messages"]
    given_back = [m["content"] for m in prompt if m["role"] == "tool"]
    assert given_back[:3] == ["number 0", "number 1", "number 2"]
    assert len(given_back) == 6, "a prompt with five hundred would fit no context"
    assert all("3 tool calls in one message are allowed" in said for said in given_back[3:])
    assert all("these were 500" in said for said in given_back[3:])
    assert len(next(m for m in prompt if m.get("tool_calls"))["tool_calls"]) == 6
    refused = [e for e in of(events, ToolEnded) if e.outcome == "never_started"]
    assert len(refused) == 3 and "3 tool calls" in (refused[0].error or "")
    assert ended(events).detail == "497 of 500 tool calls in one message were not run"


async def test_leave_is_asked_for_no_more_calls_than_are_run():
    erased = []

    @tool(dangerous=True)
    def erase(name: str) -> str:
        """Erase a file."""
        erased.append(name)
        return "erased"

    asked = call(*(("erase", {"name": name}) for name in ("ada", "bob", "eve")))
    async with (
        LlmServer(asked, text("Two are gone.")) as server,
        thinking(server, erase, settings=dataclasses.replace(PATIENT, max_calls=2)) as (r, _),
    ):
        question = texts(await hear(r, "Tidy up."))[0]
        assert "bob" in question and "eve" not in question
        assert texts(await hear(r, "Yes.", 2)) == ["Two are gone."]
    assert erased == ["ada", "bob"]
    assert "Not run: 2 tool calls" in server.requests[1]["messages"][-1]["content"]


@pytest.mark.parametrize(
    ("answers", "code", "apology"),
    [
        ([404], "llm_model_missing", "cannot think"),
        ([500], "llm_server_error", "cannot think"),
        ([["stall"]], "llm_stalled", "takes me too long"),
        ([[frame(content="It is. "), "stall"]], "llm_stalled", "takes me too long"),
        ([[frame(content="It is. And"), "disconnect"]], "llm_disconnected", "lost my thread"),
        ([[frame(content="It is. "), {"error": "CUDA"}]], "llm_stream_error", "lost my thread"),
        ([[frame(thinking="hm"), done()]], "llm_bad_answer", "cannot think"),
        ([call(("calculate", {"expression": "1"}))], "llm_tool_loop", "could not work that out"),
    ],
)
async def test_after_a_fault_there_is_one_honest_sentence_and_the_next_turn_works(
    answers, code, apology
):
    settings = IMPATIENT if code == "llm_stalled" else PATIENT
    async with (
        LlmServer(*answers) as server,
        thinking(server, calculate, settings=settings) as (r, e),
    ):
        heard = await hear(r)
        assert len(texts(heard, "apology")) == 1 and apology in texts(heard)[-1]
        assert (ended(e).outcome, ended(e).code) == ("failed", code)
        server.answers = [text("Well again.")]
        assert texts(await hear(r, generation=2)) == ["Well again."]


async def test_a_refused_connection():
    async with thinking("http://127.0.0.1:9") as (r, events):
        assert texts(await hear(r), "apology") == ["Sorry, I cannot think about that right now."]
        assert ended(events).code == "llm_unreachable" and "ollama serve" in ended(events).detail


async def test_an_over_long_prompt():
    async with LlmServer(text("No.")) as server, thinking(server) as (r, events):
        heard = await hear(r, context="fact " * 20_000)
        assert "more than I can keep in mind" in heard[0].text and len(heard) == 1
        assert ended(events).code == "llm_prompt_too_long" and server.requests == []


async def test_an_answer_of_ten_thousand_words_ends_after_what_is_worth_hearing():
    answer = [frame(content="These are five more words. ") for _ in range(2_000)] + ["stall"]
    async with LlmServer(answer) as server, thinking(server) as (r, events):
        heard = texts(await hear(r))
        assert sum(len(s.split()) for s in heard) < 170
        assert heard[-1] == "There is more, if you want to hear it."
        assert "ended after 150 words" in ended(events).detail
        await server.broken_off.wait()


async def test_tools_that_hang_or_raise_are_told_to_the_llm():
    @tool(timeout=0.05)
    async def hang() -> str:
        """Hang."""
        await asyncio.Event().wait()
        return ""

    @tool
    def crash() -> str:
        """Raise."""
        raise OSError("the bridge is down")

    async with (
        LlmServer(call(("hang", {}), ("crash", {})), text("Neither works.")) as server,
        thinking(server, hang, crash) as (r, events),
    ):
        assert texts(await hear(r)) == ["Neither works."]
        told = [m["content"] for m in server.requests[1]["messages"] if m["role"] == "tool"]
        assert "did not answer within" in told[0] and "bridge is down" in told[1]
        assert [e.outcome for e in of(events, ToolEnded)] == ["failed", "failed"]


async def test_something_is_said_while_a_tool_takes_long():
    release = asyncio.Event()

    @tool(speak_while_running="I am looking it up.")
    async def search() -> str:
        """Search."""
        await release.wait()
        return "found"

    settings = ReasonerSettings(filler_after=1.0, waiting_phrases=())
    async with (
        LlmServer(call(("search", {})), text("Found it.")) as server,
        thinking(server, search, settings=settings) as (r, _),
    ):
        heard = []
        async for sentence in r.start(Turn(1, "Search it.")):
            heard.append((sentence.kind, sentence.text))
            release.set()
    assert heard == [("filler", "I am looking it up."), ("answer", "Found it.")]


@pytest.mark.parametrize(
    ("answers", "before"),
    [
        ([[0.9, *call(("search", {}))]], []),
        ([call(("quick", {})), [0.9, *call(("search", {}))]], []),
        ([[frame(content="Let me look. "), *call(("search", {}))]], [("answer", "Let me look.")]),
    ],
    ids=["a slow LLM", "a second round", "a sentence before the call"],
)
async def test_a_tool_that_takes_long_has_its_own_sentence_whatever_was_said(answers, before):
    release = asyncio.Event()

    @tool(speak_while_running="I am looking it up.", timeout=60)
    async def search() -> str:
        """Search."""
        await release.wait()
        return "found"

    @tool
    async def quick() -> str:
        """Prepare."""
        return "ready"

    settings = dataclasses.replace(PATIENT, filler_after=0.3, waiting_phrases=("One moment.",))
    async with (
        LlmServer(*answers, text("Found it.")) as server,
        thinking(server, search, quick, settings=settings) as (r, _),
    ):
        heard = []
        async for sentence in r.start(Turn(1, "Search it.")):
            if sentence.text != "One moment.":  # how soon this one comes is not judged here
                heard.append((sentence.kind, sentence.text))
            if sentence.text == "I am looking it up.":
                release.set()
    assert heard == [*before, ("filler", "I am looking it up."), ("answer", "Found it.")]


async def test_who_stands_in_has_no_more_than_the_rest_of_the_turns_time():
    """It goes on thinking, a word now and then: it is never silent, and never answers."""
    thoughts = [step for _ in range(300) for step in (frame(thinking="hm "), 0.2)]
    settings = ReasonerSettings(first_timeout=1.0, turn_timeout=2.0, filler_after=60.0)
    async with LlmServer(thoughts) as server, closing(OllamaClient("slow", server.url)) as slow:
        async with thinking("http://127.0.0.1:9", settings=settings, fallback=slow) as (r, events):
            assert texts(await hear(r)) == ["Sorry, I cannot think about that right now."]
        assert (ended(events).code, ended(events).llm) == ("llm_unreachable", "ollama/m")
        await server.broken_off.wait()


class OwnClient:
    """Somebody's own client, which raises what nobody expects."""

    name, offline = "own/m", False

    async def stream(self, messages, tools=()):
        raise KeyError("choices")
        yield


@pytest.mark.parametrize("stands_in", [True, False])
async def test_a_client_that_breaks_is_an_llm_that_failed(stands_in):
    events = Events()
    async with (
        LlmServer(text("Well again.")) as server,
        closing(OllamaClient("m", server.url)) as other,
    ):
        fallback = other if stands_in else None
        r = Reasoner(OwnClient(), events.append, "talk", fallback=fallback, settings=PATIENT)
        answer = "Well again." if stands_in else "Sorry, I cannot think about that right now."
        assert texts(await hear(r)) == [answer]
        await r.close()
    assert ended(events).code == "llm_internal" and "KeyError('choices')" in ended(events).detail


@pytest.mark.parametrize(
    ("reply", "erased", "told"),
    [("Yes, do it.", ["notes"], "notes erased"), ("No, wait!", [], "did not allow")],
)
async def test_a_dangerous_tool_waits_for_the_users_leave(reply, erased, told):
    gone = []

    @tool(dangerous=True, cancellable=False)
    async def erase(name: str) -> str:
        """Erase a file."""
        gone.append(name)
        return f"{name} erased"

    async with (
        LlmServer(call(("erase", {"name": "notes"})), text("Right.")) as server,
        thinking(server, erase) as (r, events),
    ):
        asked = await hear(r, "Erase my notes.")
        assert [s.kind for s in asked] == ["question"] and "notes" in asked[0].text
        assert (ended(events).outcome, gone) == ("asked", [])
        assert texts(await hear(r, reply, generation=2)) == ["Right."]
        assert gone == erased and told in server.requests[1]["messages"][-1]["content"]


async def test_a_yes_after_a_question_that_nobody_took_is_no_leave():
    @tool(dangerous=True)
    async def erase(name: str) -> str:
        """Erase a file."""
        raise AssertionError("must not run")

    async with (
        LlmServer(call(("erase", {"name": "x"})), text("Fine.")) as server,
        thinking(server, erase) as (r, events),
    ):
        r.start(Turn(1, "Erase x."))
        await events.until(SentenceReady, 1)
        r.interrupt(2)
        assert not r.waiting_for_consent
        assert texts(await hear(r, "Yeah okay.", generation=2)) == ["Fine."]


async def test_a_dangerous_tool_is_forgotten_when_the_user_talks_of_something_else():
    @tool(dangerous=True)
    async def erase(name: str) -> str:
        """Erase a file."""
        raise AssertionError("must not run")

    async with (
        LlmServer(call(("erase", {"name": "x"})), text("Sunny.")) as server,
        thinking(server, erase) as (r, _),
    ):
        await hear(r, "Erase x.")
        assert texts(await hear(r, "How is the weather in Rome?", generation=2)) == ["Sunny."]
        assert texts(await hear(r, "Yes.", generation=3)) == ["Sunny."]


async def test_an_interruption_cancels_what_can_be_and_keeps_what_has_side_effects():
    running, stopped, release = asyncio.Event(), asyncio.Event(), asyncio.Event()

    @tool
    async def search() -> str:
        """Search."""
        running.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()
        return ""

    @tool(cancellable=False)
    async def order() -> str:
        """Order a pizza."""
        await release.wait()
        return "pizza ordered"

    async with (
        LlmServer(call(("search", {}), ("order", {})), text("Your pizza is coming.")) as server,
        thinking(server, search, order) as (r, events),
    ):
        answer = r.start(Turn(1, "Search, and order."))
        await running.wait()
        r.interrupt(2)
        await stopped.wait()
        assert [s async for s in answer] == []
        release.set()
        await events.until(ToolEnded, 2)
        assert {(e.tool, e.outcome) for e in of(events, ToolEnded)} == {
            ("search", "cancelled"), ("order", "kept"),
        }  # fmt: skip
        assert ended(events).outcome == "interrupted"
        r.start(Turn(2, "What did you"))  # interrupted before it has said a word
        r.interrupt(3)
        await events.until(ReasoningEnded, 2)
        assert texts(await hear(r, generation=3)) == ["Your pizza is coming."]
        system = server.requests[-1]["messages"][0]["content"]
        assert "order: pizza ordered" in system and "search" not in system
        with pytest.raises(ValidationError, match="stale"):
            r.start(Turn(1, "old"))


async def test_a_tool_that_the_end_of_the_conversation_stops_is_told_of():
    running = asyncio.Event()

    @tool(cancellable=False)
    async def order() -> str:
        """Order a pizza."""
        running.set()
        await asyncio.Event().wait()
        return ""

    async with LlmServer(call(("order", {}))) as server, thinking(server, order) as (r, events):
        r.start(Turn(1, "Order a pizza."))
        await running.wait()
        r.interrupt(2)
        await events.until(ReasoningEnded, 1)
        assert not of(events, ToolEnded), "it is let finish"
        await r.close()
        (told,) = of(events, ToolEnded)
        assert (told.tool, told.outcome, told.generation) == ("order", "cancelled", 1)


@contextlib.asynccontextmanager
async def late_result(*answers):
    """A pizza was ordered in turn 1, which was over before the tool had said so."""
    running, release = asyncio.Event(), asyncio.Event()

    @tool(cancellable=False)
    async def order() -> str:
        """Order a pizza."""
        running.set()
        await release.wait()
        return "pizza ordered"

    @tool(dangerous=True)
    async def eat() -> str:
        """Eat it."""
        return "eaten"

    async with (
        LlmServer(call(("order", {})), *answers) as server,
        thinking(server, order, eat) as (r, events),
    ):
        r.start(Turn(1, "Order a pizza."))
        await running.wait()
        r.interrupt(2)
        release.set()
        await events.until(ToolEnded, 1)
        yield server, r, events


def told(request):
    return json.dumps(request["messages"]).count("pizza ordered")


@pytest.mark.parametrize("written", [[], [frame(content="Your pizza is coming. ")]])
async def test_a_late_result_is_told_again_where_nobody_heard_the_answer_to_it(written):
    async with late_result([*written, "stall"], text("It is coming.")) as (server, r, events):
        r.start(Turn(2, "What did", confirmed=False, aloud=True))
        await events.until(SentenceReady, len(written))
        while len(server.requests) < 2:
            server.asked.clear()
            await server.asked.wait()
        assert texts(await hear(r, "What did you do?", generation=2)) == ["It is coming."]
        await hear(r, "Thank you so much.", generation=3)
    assert [told(request) for request in server.requests] == [0, 1, 1, 0]


@pytest.mark.parametrize("reply", ["Yes.", "What did you do?"])
async def test_a_late_result_is_told_once_though_leave_is_asked_for_between(reply):
    async with late_result(call(("eat", {})), text("It is coming.")) as (server, r, _):
        await hear(r, "Eat it.", generation=2)
        await hear(r, reply, generation=3)
        await hear(r, "Thank you so much.", generation=4)
    assert [told(request) for request in server.requests[1:]] == [1, 1, 0]


async def test_a_stale_call_that_has_not_started_never_starts():
    started, running = [], asyncio.Event()

    @tool
    async def slow(number: int) -> str:
        """Take long."""
        started.append(number)
        if len(started) == 4:
            running.set()
        await asyncio.Event().wait()
        return ""

    many = call(*[("slow", {"number": n}) for n in range(10)])
    async with LlmServer(many) as server, thinking(server, slow) as (r, events):
        r.start(Turn(1, "Go."))
        await running.wait()
        r.interrupt(2)
        await events.until(ToolEnded, 10)
        outcomes = [e.outcome for e in of(events, ToolEnded)]
    assert outcomes.count("never_started") == 6 and started == [0, 1, 2, 3]


async def test_an_interruption_in_the_stream_ends_it_at_the_server_and_drops_unsaid_sentences():
    async with (
        LlmServer([frame(content="One. Two. Three. "), "stall"]) as server,
        thinking(server) as (r, events),
    ):
        answer = r.start(Turn(1, "Count."))
        await events.until(SentenceReady, 3)
        sentences = aiter(answer)
        assert (await anext(sentences)).text == "One."
        r.interrupt(2)
        assert [s async for s in sentences] == []
        await server.broken_off.wait()


async def test_a_newer_turn_replaces_one_under_way():
    async with (
        LlmServer([frame(content="Old. "), "stall"], text("New.")) as server,
        thinking(server) as (r, _),
    ):
        old = r.start(Turn(1, "First"))
        await anext(aiter(old))
        assert texts(await hear(r, "Second", generation=2)) == ["New."]
        assert [s async for s in old] == []


async def test_the_offline_brain_answers_with_real_tools_and_says_it_is_offline():
    heard = asyncio.Queue(4)
    timers = Timers(heard.put_nowait)
    events = []
    registry = ToolRegistry([*clock_tools(), calculate, *timers.tools()])
    reasoner = Reasoner(OfflineBrain(), events.append, tools=registry)
    assert texts(await hear(reasoner, "What is three plus four?")) == ["seven"]
    said = await hear(reasoner, "Set a timer for an hour and a half.", generation=2)
    assert said[0].text == "A timer for one hour and thirty minutes is running." and said[0].offline
    assert [round(left) for _, left in timers.left()] == [5_400]
    unknown = await hear(reasoner, "Who was Napoleon?", generation=3)
    assert "only answer that with a language model" in unknown[0].text
    told = await hear(reasoner, "Hi, my sister lives in Rome.", generation=4)
    assert texts(told) == ["Thank you for telling me."]
    assert all(e.offline for e in events if hasattr(e, "offline"))
    timers.close()
    await reasoner.close()


async def test_the_offline_brain_stands_in_for_a_dead_llm_and_for_one_that_dies_after_its_tool():
    timers = Timers(lambda announcement: None)
    brain = OfflineBrain()
    async with (
        LlmServer(500) as server,
        thinking(server, calculate, *timers.tools(), fallback=brain) as (r, events),
    ):
        said = await hear(r, "How much is six times seven?")
        assert (texts(said), said[0].offline) == (["forty-two"], True)
        assert (ended(events).code, ended(events).offline) == ("llm_server_error", True)
        napoleon = await hear(r, "Who was Napoleon?", generation=2)
        assert texts(napoleon) == ["Sorry, I cannot think about that right now."]

        server.answers = [call(("set_timer", {"seconds": 60})), 500]
        said = await hear(r, "Set a timer for a minute.", generation=3)
        assert texts(said) == ["A timer for one minute is running."]
        assert len(timers.left()) == 1, "the timer must not be set twice"
    timers.close()


async def test_only_what_was_heard_and_the_style_reach_the_llm():
    async with LlmServer(text("Fine.")) as server, thinking(server) as (r, _):
        await hear(r, "And now?", context="The user is called Ann.")
    system = server.requests[0]["messages"][0]["content"]
    assert "spoken aloud" in system and "called Ann" in system
    assert json.dumps(server.requests[0]).count("And now?") == 1
