"""Every step of a conversation at ``/v1/events``: typed and in order, by WebSocket and by SSE."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Union

import httpx
import numpy as np
import pytest
import websockets
from numpy.typing import NDArray
from prometheus_client.parser import text_string_to_metric_families
from pydantic import Field, TypeAdapter

from coda_voice.events import EVENT_TYPES
from coda_voice.remembering import Remembering
from tests.conftest import Spoken
from tests.integration.llm_server import LlmServer, calls, done, frame, text
from tests.integration.voice_server import (
    FRAME_BYTES,
    RunningServer,
    StreamClient,
    voice_server,
)

Told = dict[str, Any]
"""An event as it came over the wire."""
ANY_EVENT: TypeAdapter[Any] = TypeAdapter(
    Annotated[Union[EVENT_TYPES], Field(discriminator="type")]  # noqa: UP007 (a tuple of types)
)
FACT = "The user likes the weather."
ANSWER = (
    "One two three four five six seven eight nine ten. Then we go on with more of them. "
    "There are many numbers, and all of them can be counted, one after the other."
)
READ = 1_500
"""Prompt tokens the stand-in says it read; fewer would look as if it had cut the prompt."""
LOUD = 600
"""Of 32767: the agent is speaking; its silence is far below."""


@dataclass
class Talk:
    """One whole conversation, as three followers were told of it."""

    server: RunningServer
    conversation: str = ""
    all_by_socket: list[Told] = field(default_factory=list)
    """Of every conversation."""
    its_by_socket: list[Told] = field(default_factory=list)
    its_by_sse: list[str] = field(default_factory=list)
    """Line by line."""

    @property
    def events(self) -> list[Told]:
        """Its events, as the server told them to who asked for them."""
        return self.its_by_socket


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory, spoken: Spoken) -> Iterator[Talk]:
    """The user asks, is answered, and interrupts; somebody else has been there as well."""
    with asyncio.Runner() as runner:
        llm = runner.run(LlmServer(look_at_the_clock_and_answer).__aenter__())
        with voice_server(
            integration__memory_store=str(tmp_path_factory.mktemp("memories")),
            integration__memory_llm="off",
            external_llm__endpoint=llm.url,
        ) as server:
            talk = Talk(server)
            runner.run(hold(talk, spoken))
            yield talk
        runner.run(llm.__aexit__())


def look_at_the_clock_and_answer(request: dict[str, Any]) -> list[Any]:
    """What the LLM does with a question."""
    if request["messages"][-1]["role"] == "tool":
        return text(*(f"{word} " for word in ANSWER.split()), prompt_eval_count=READ)
    return [frame(tool_calls=calls(("get_time", {}))), done(prompt_eval_count=READ)]


async def hold(talk: Talk, spoken: Spoken) -> None:
    ws = talk.server.ws
    async with websockets.connect(f"{ws}/v1/events") as everything:
        async with StreamClient(f"{ws}/v1/stream?seed=1") as somebody_else:
            await somebody_else.ready()
            await somebody_else.tell("text", text="Hello.")
            await somebody_else.frame()
            await somebody_else.tell("close")
            await somebody_else.closed()
        url = f"{ws}/v1/stream?seed=1&mode=hybrid&events=true"
        async with StreamClient(url) as client:
            talk.conversation = (await client.ready())["conversation_id"]
            its = f"/v1/events?conversation={talk.conversation}&after=0"
            followers = [
                asyncio.create_task(follow(everything, talk.all_by_socket, talk.conversation)),
                asyncio.create_task(follow_by_socket(f"{ws}{its}", talk)),
                asyncio.create_task(follow_by_sse(f"{talk.server.http}{its}", talk)),
            ]
            await converse(talk, client, spoken)
        async with asyncio.timeout(120):
            await asyncio.gather(*followers)


async def follow(feed: Any, told: list[Told], until_end_of: str) -> None:
    while not told or not is_end_of(until_end_of, told[-1]):
        told.append(json.loads(await feed.recv()))


async def follow_by_socket(url: str, talk: Talk) -> None:
    async with websockets.connect(url) as feed:
        await follow(feed, talk.its_by_socket, talk.conversation)


async def follow_by_sse(url: str, talk: Talk) -> None:
    async with httpx.AsyncClient(timeout=120) as http, http.stream("GET", url) as answer:
        async for line in answer.aiter_lines():
            talk.its_by_sse.append(line)
            name, _, data = line.partition(": ")
            if name == "data" and is_end_of(talk.conversation, json.loads(data)):
                return


def is_end_of(conversation: str, event: Told) -> bool:
    return event["type"] == "conversation_ended" and event["conversation_id"] == conversation


async def converse(talk: Talk, client: StreamClient, spoken: Spoken) -> None:
    conversation = talk.server.front.manager.conversation(talk.conversation)
    memory = next(a for a in conversation.attendants if isinstance(a, Remembering))
    memory.searches.seconds = 30  # a busy machine
    async with httpx.AsyncClient(base_url=talk.server.http, timeout=120) as another_device:
        made = await another_device.post("/v1/memories", json={"text": FACT})
        assert made.status_code == 201, made.text
    await say(client, spoken.pcm("weather"))  # "what is the weather …"; the rest may be misheard
    for _ in range(300):
        heard = np.frombuffer(await client.frame(), "<i2")
        if len(words_of_the_answer(client)) >= 2 and np.abs(heard).max() > LOUD:
            break
    stop = spoken.pcm("stop")[int(spoken.facts["stop"]["onset"] * 24_000) :]
    await say(client, stop)  # at once, into a sounding word
    for _ in range(100):
        if events_of(client)[-1]["type"] == "memory_stored":
            break
        await client.frame()
    await client.tell("close")
    await client.closed()


async def say(client: StreamClient, pcm: NDArray[np.float32]) -> None:
    """Speak, no faster than memory thinks: a search that is not over would skip the next."""
    data = (np.clip(pcm, -1, 1) * 32767).astype("<i2").tobytes()
    data += bytes(-len(data) % FRAME_BYTES)
    for at in range(0, len(data), FRAME_BYTES):
        await client.frame(data[at : at + FRAME_BYTES])
        while memory_is_asked(events_of(client)):
            await client.until("event")


def events_of(client: StreamClient) -> list[Told]:
    return [message["event"] for message in client.told("event")]


def memory_is_asked(events: Sequence[Told]) -> bool:
    """Whether there are two words that memory has not answered to."""
    said = [e for e in events if e["type"] == "transcript" and not e["final"]]
    if not said:
        return False
    turn = said[-1]["generation"]
    answered = [e["said"] for e in events if e["type"] == "memory" and e["generation"] == turn]
    return len(said[-1]["text"].split()) - len((answered or [""])[-1].split()) >= 2


def words_of_the_answer(client: StreamClient) -> list[str]:
    events = events_of(client)
    began = next((e["id"] for e in events if e["type"] == "script_started"), None)
    return [e["text"] for e in words_by("agent", events) if began is not None and e["id"] > began]


def words_by(speaker: str, events: Sequence[Told]) -> list[Told]:
    return [e for e in events if e["type"] == "word" and e["speaker"] == speaker]


# ---- what arrived -----------------------------------------------------------------------


def follows(events: Sequence[Told], *steps: dict[str, Any]) -> list[Told]:
    """Give the events that ``steps`` describe, each looked for after the one before."""
    found: list[Told] = []
    position = 0
    for wanted in steps:
        at = next(
            (i for i in range(position, len(events)) if wanted.items() <= events[i].items()), None
        )
        assert at is not None, f"no {wanted} in {[e['type'] for e in events[position:]]}"
        found.append(events[at])
        position = at + 1
    return found


def step(type: str, **fields: Any) -> dict[str, Any]:
    return {"type": type, **fields}


def test_from_the_users_voice_to_the_agents_and_to_its_silence(talk: Talk):
    steps = follows(
        talk.events,
        step("conversation_started", checkpoint="coda-tiny"),
        step("mode_changed", mode="hybrid"),
        step("speech_started", speaker="user"),
        step("transcript", speaker="user", final=False, typed=False),
        step("route_decided", partial=True, target="llm"),
        step("reasoning_started", offline=False),
        step("tool_started", tool="get_time"),
        step("tool_ended", tool="get_time", outcome="done"),
        step("sentence_ready", kind="answer", offline=False),
        step("reasoning_ended", outcome="answered"),
        step("script_started", origin="answer"),
        step("word", speaker="agent", text="one"),
        step("word", speaker="agent", text="two"),
        step("speech_started", speaker="user"),
        step("script_ended", origin="answer", outcome="interrupted"),
        step("transcript", speaker="user", final=False),
        step("route_decided", target="stop"),
        step("speech_ended", speaker="user"),
        step("barge_in"),
        step("transcript", speaker="user", final=True),
        step("memory_stored"),
        step("conversation_ended", reason="ended"),
    )
    assert talk.events[0] == steps[0] and talk.events[-1] == steps[-1]
    turns = [event["generation"] for event in steps[3:-1]]
    assert turns == sorted(turns) and set(turns) == {1, 2}
    (barge_in,) = (event for event in steps if event["type"] == "barge_in")
    assert 0 < barge_in["silent_after"] < 0.5


def test_how_long_the_user_waited_is_told_when_it_is_known(talk: Talk):
    first, ended, *_, latency = follows(
        talk.events,
        step("speech_started", speaker="user"),
        step("speech_ended", speaker="user"),
        step("transcript", final=True),
        step("word", speaker="user"),
        step("route_decided", partial=False, target="llm"),
        step("answer_latency", kind="answer", offline=False),
    )
    assert ended["time"] == pytest.approx(first["time"] + ended["duration"])
    (started,) = (e for e in talk.events if e["type"] == "script_started")
    assert latency["seconds"] == pytest.approx(max(0.0, started["time"] - ended["time"]))
    began, turn = follows(
        talk.events, step("speech_started", speaker="agent"), step("turn_latency")
    )
    assert turn["seconds"] == pytest.approx(began["time"] - ended["time"])


def test_memory_answers_to_words_while_they_are_said(talk: Talk):
    said = "what is the weather"
    _, told, _, over, stored, _ = follows(
        talk.events,
        step("transcript", text=said, final=False),
        step("memory", said=said, injected=[FACT], channel="frame_sum"),
        step("speech_ended", speaker="user"),
        step("transcript", final=True),
        step("memory_stored"),
        step("conversation_ended"),
    )
    assert told["frame"] is not None and stored["text"] == over["text"]


def test_nothing_is_told_before_what_it_comes_from(talk: Talk):
    for at, event in enumerate(talk.events):
        for cause in causes_of(event):
            before = [e for e in talk.events[:at] if cause.items() <= e.items()]
            assert before, f"{event} came before any {cause}"


def causes_of(event: Told) -> list[Told]:
    """Give what must have been told before, by the flow of a frame through the house."""
    turn = {"generation": event["generation"]}
    match event["type"]:
        case "conversation_started":
            return []
        case "speech_ended":
            return [step("speech_started", speaker=event["speaker"])]
        case "word" if event["speaker"] == "user":
            return [step("transcript", final=True, **turn)]
        case "transcript":
            return [step("speech_started", speaker="user")]
        case "route_decided" | "memory_stored":
            return [step("transcript", text=event["text"])]
        case "memory" if event["said"]:
            return [step("transcript", text=event["said"], **turn)]
        case "reasoning_started":
            return [step("route_decided", target="llm", **turn)]
        case "tool_started" | "sentence_ready" | "reasoning_ended":
            return [step("reasoning_started", **turn)]
        case "tool_ended":
            return [step("tool_started", call_id=event["call_id"])]
        case "script_started" | "script_ended":
            return [step("sentence_ready", **turn)]
        case "answer_latency":
            return [step("script_started", **turn), step("speech_ended", speaker="user")]
        case "turn_latency":
            return [step("speech_started", speaker="agent"), step("speech_ended", speaker="user")]
        case "barge_in":
            return [step("speech_started", speaker="agent"), step("speech_ended", speaker="user")]
    return [step("conversation_started")]


def test_every_event_is_of_its_type_and_has_an_id_that_rises(talk: Talk):
    for told in talk.all_by_socket:
        event = ANY_EVENT.validate_json(json.dumps(told))
        assert type(event).model_fields["type"].default == told["type"]
        assert json.loads(event.model_dump_json()) == told, "nothing is lost on the way back"
    ids = [told["id"] for told in talk.all_by_socket]
    assert all(one < next for one, next in itertools.pairwise(ids))


def test_by_socket_and_by_server_sent_events_the_same(talk: Talk):
    named = [line.partition(": ") for line in talk.its_by_sse if line and line[0] != ":"]
    events = [json.loads(data) for name, _, data in named if name == "data"]
    assert events == talk.its_by_socket
    assert [int(data) for name, _, data in named if name == "id"] == [e["id"] for e in events]
    assert [data for name, _, data in named if name == "event"] == [e["type"] for e in events]


def test_only_what_was_asked_for_comes(talk: Talk):
    others = [e for e in talk.all_by_socket if e["conversation_id"] != talk.conversation]
    assert {"conversation_started", "transcript", "conversation_ended"} <= {
        e["type"] for e in others
    }
    assert [e for e in talk.all_by_socket if e not in others] == talk.its_by_socket


TOOLS = ("tool_started", "tool_ended")


async def test_who_comes_back_gets_what_he_missed_of_the_types_he_names(talk: Talk):
    half = talk.events[len(talk.events) // 3]["id"]
    missed = [e for e in talk.all_by_socket if e["id"] > half]
    tools = [e for e in missed if e["type"] in TOOLS]
    assert tools and len(missed) > len(tools)
    async with asyncio.timeout(60):
        for query, wanted in (
            (f"after={half}", missed),
            (f"after={half}&types=" + ",".join(TOOLS), tools),
        ):
            async with websockets.connect(f"{talk.server.ws}/v1/events?{query}") as again:
                assert [json.loads(await again.recv()) for _ in wanted] == wanted
        headers = {"Last-Event-ID": str(half)}  # as browsers send it, whatever the address says
        url = f"{talk.server.http}/v1/events?after=0&types=" + ",".join(TOOLS)
        async with (
            httpx.AsyncClient() as http,
            http.stream("GET", url, headers=headers) as answer,
        ):
            assert answer.headers["content-type"].startswith("text/event-stream")
            lines = answer.aiter_lines()
            for event in tools:
                while not (line := await anext(lines)).startswith("data: "):
                    pass
                assert json.loads(line.removeprefix("data: ")) == event


async def test_a_type_that_there_is_not_is_refused(talk: Talk):
    url = "/v1/events?types=word,gossip"
    async with httpx.AsyncClient(base_url=talk.server.http) as http:
        refused = await http.get(url)
        assert refused.status_code == 400 and "gossip" in refused.json()["error"]["message"]
    async with websockets.connect(f"{talk.server.ws}{url}") as feed:
        told = json.loads(await feed.recv())
        assert told["type"] == "error" and told["code"] == "unknown_event_type"
        with pytest.raises(websockets.ConnectionClosed):
            await feed.recv()


def test_what_the_user_waited_for_is_in_the_figures(talk: Talk):
    text = httpx.get(f"{talk.server.http}/metrics").text
    samples = [s for family in text_string_to_metric_families(text) for s in family.samples]
    answers = [e for e in talk.events if e["type"] == "answer_latency"]
    labels = {"kind": "answer", "offline": "false"}
    found = {s.name: s.value for s in samples if s.labels == labels}
    assert found["coda_answer_latency_seconds_count"] == len(answers) == 1
    assert found["coda_answer_latency_seconds_sum"] == pytest.approx(answers[0]["seconds"])
    (barge_in,) = (e for e in talk.events if e["type"] == "barge_in")
    found = {s.name: s.value for s in samples if not s.labels}
    assert found["coda_barge_ins_total"] == found["coda_barge_in_silence_seconds_count"] == 1
    silence = found["coda_barge_in_silence_seconds_sum"]
    assert silence == pytest.approx(barge_in["silent_after"])
    within = {
        float(s.labels["le"]): s.value
        for s in samples
        if s.name == "coda_barge_in_silence_seconds_bucket"
    }
    assert all(count == (silence <= limit) for limit, count in within.items())
