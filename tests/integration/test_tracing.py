"""OpenTelemetry traces: what a collector gets of a conversation held on the server."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from coda_voice.config import VoiceConfig
from coda_voice.errors import ConfigurationError
from coda_voice.events import (
    BargeIn,
    ConversationEnded,
    ConversationStarted,
    Event,
    MemoryStored,
    RouteDecided,
    ToolEnded,
    TurnLatency,
    WordSpoken,
)
from coda_voice.server.app import create_app
from coda_voice.server.tracing import Traces
from tests.integration.voice_server import StreamClient, voice_server


@contextmanager
def collector() -> Iterator[tuple[str, list[Span]]]:
    """A collector on a loopback port, and the spans that it was sent."""
    spans: list[Span] = []

    class Collect(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") is None and self.path == "/v1/traces":
                request = ExportTraceServiceRequest.FromString(body)
                for resource in request.resource_spans:
                    for scope in resource.scope_spans:
                        spans.extend(scope.spans)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Collect) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", spans
        finally:
            server.shutdown()
            thread.join()


async def test_a_question_answered_with_a_tool_is_a_turn_in_the_collector():
    nobody = {"provider": "offline", "model": "offline"}
    with (
        collector() as (address, spans),
        voice_server(server__traces=address, external_llm=nobody, mode="hybrid") as server,
    ):
        async with StreamClient(f"{server.ws}/v1/stream?events=true") as client:
            ready = await client.ready()
            await client.tell("text", text="What is 17 times 23?")
            event = {"type": ""}
            while event["type"] != "reasoning_ended":
                event = (await client.until("event"))["event"]
            await client.tell("close")
            await client.closed()
    named = {span.name: span for span in spans}
    talk, turn = named["conversation"], named["turn"]
    attributes = {a.key: a.value.string_value for a in talk.attributes}
    assert attributes["gen_ai.conversation.id"] == ready["conversation_id"]
    assert not talk.parent_span_id and turn.parent_span_id == talk.span_id
    for name in ("route", "reasoning", "tool calculate"):
        part = named[name]
        assert part.parent_span_id == turn.span_id and part.trace_id == talk.trace_id
        assert turn.start_time_unix_nano <= part.start_time_unix_nano
        assert part.start_time_unix_nano <= part.end_time_unix_nano <= turn.end_time_unix_nano
    assert named["tool calculate"].end_time_unix_nano <= named["reasoning"].end_time_unix_nano
    sent = b"".join(span.SerializeToString() for span in spans)
    assert b"times 23" not in sent and b"17*23" not in sent, "what was said is nobody else's"


def traced(*events: Event) -> dict[str, tuple[float, float]]:
    """Begin and end of each span that these events make, in seconds of Unix time."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    traces = Traces(provider)
    for event in events:
        traces.event(event)
    traces.close()
    return {
        span.name: ((span.start_time or 0) / 1e9, (span.end_time or 0) / 1e9)
        for span in exporter.get_finished_spans()
    }


def route(wall: float, generation: int) -> RouteDecided:
    return RouteDecided(
        conversation_id="c", text="x", partial=False, target="llm", kind="question", confidence=1.0,
        reasons=("asked",), milliseconds=20.0, wall=wall, generation=generation,
    )  # fmt: skip


def test_a_turn_begins_with_the_users_last_sound_and_ends_with_what_comes_last():
    spans = traced(
        ConversationStarted(conversation_id="c", wall=100.0),
        WordSpoken(conversation_id="c", speaker="agent", text="hi", start=0, end=1, wall=101.0),
        route(110.1, 1),
        BargeIn(conversation_id="c", generation=1, wall=110.2),
        TurnLatency(conversation_id="c", seconds=0.5, wall=110.25, generation=1),
        ToolEnded(
            conversation_id="c", call_id="1", tool="weather", outcome="failed",
            milliseconds=250.0, error="x", wall=111.0, generation=1,
        ),
        route(120.0, 2),
        MemoryStored(conversation_id="c", text="x", wall=121.0, generation=1),
        ConversationEnded(conversation_id="c", wall=130.0),
        route(140.0, 3),
    )  # fmt: skip
    assert spans["conversation"] == (100.0, 130.0)
    assert spans["first_audio"] == (109.75, 110.25)
    assert spans["tool weather"] == (110.75, 111.0)
    assert spans["memory.store"] == (121.0, 121.0)
    assert spans["route"] == (pytest.approx(119.98), 120.0), "the last one: of turn 2"


def test_a_conversation_of_many_turns_keeps_two():
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    traces = Traces(provider)
    traces.event(ConversationStarted(conversation_id="c"))
    for turn in range(1, 11):
        traces.event(route(float(turn), turn))
    told = [span for span in exporter.get_finished_spans() if span.name == "turn"]
    assert [(span.attributes or {})["coda.generation"] for span in told] == list(range(1, 9))
    for _ in range(1_000):
        traces.event(route(11.0, 10))
    traces.close()
    last = [span for span in exporter.get_finished_spans() if span.name == "turn"][-1]
    assert (last.attributes or {})["coda.parts_dropped"] == 1_001 - 128


@pytest.mark.parametrize("address", ["collector:4318", "", "ftp://x"])
def test_what_is_no_collector_is_said(address: str):
    with pytest.raises(ConfigurationError, match="4318"):
        create_app(VoiceConfig.load(env={}, server__traces=address))


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delitem(sys.modules, "coda_voice.server.tracing", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(ConfigurationError, match=r"coda-voice\[otel\]"):
        create_app(VoiceConfig.load(env={}, server__traces="http://127.0.0.1:4318"))
