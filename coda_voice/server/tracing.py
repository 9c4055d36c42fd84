"""OpenTelemetry traces of conversations, made of their events; one trace each.

    conversation
      turn                    the user's last sound … the last that belongs to it
        first_audio           … to the agent's first sound
        memory.recall         what came to mind
        route                 who is to answer (also on partial transcripts)
        reasoning             the LLM, with its tools' calls beside it
        tool NAME
        first_word            the user's last sound … the first word of the LLM's answer
        speaking              what the voice was given to say
        memory.store

A turn is exported when the one after the next begins, or the conversation ends, for what belongs
to it may come late. No words of anybody are in it. Times are by the wall clock of the events;
attributes follow OpenTelemetry's conventions for generative AI where there is one. Needs the
extra ``otel``; without ``server.traces`` nothing of this is loaded.
"""

from __future__ import annotations

import importlib.metadata
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, StatusCode, set_span_in_context

from coda_voice.errors import ConfigurationError
from coda_voice.events import (
    AnswerLatency,
    AttendantFailed,
    BargeIn,
    ConversationEnded,
    ConversationFailed,
    ConversationStarted,
    Event,
    MemoryInjected,
    MemoryStored,
    ReasoningEnded,
    RouteDecided,
    ScriptEnded,
    ScriptStarted,
    ToolEnded,
    TurnLatency,
)

CONVERSATIONS = 4_096
"""Traced at once; of more, the oldest traces are cut short."""
TURNS_OPEN = 2
PARTS = 128
"""Of one turn; what is more is counted in ``coda.parts_dropped``."""
EXPORT_SECONDS = 5.0
PATH = "/v1/traces"
Value = str | bool | int | float


@dataclass(frozen=True, slots=True)
class _Part:
    """A span within a turn; seconds of Unix time."""

    name: str
    began: float
    ended: float
    attributes: dict[str, Value]
    failed: str | None = None


@dataclass(slots=True)
class _Turn:
    parts: list[_Part] = field(default_factory=list)
    attributes: dict[str, Value] = field(default_factory=dict)
    dropped: int = 0

    def add(self, part: _Part) -> None:
        if len(self.parts) < PARTS:
            self.parts.append(part)
        else:
            self.dropped += 1


@dataclass(slots=True)
class _Talk:
    span: Span
    context: Context
    turns: OrderedDict[int, _Turn] = field(default_factory=OrderedDict)
    speaking_since: float | None = None
    newest: int = -1


class Traces:
    """Takes events (``event``, from any thread), gives spans to the provider's exporter."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("coda-voice")
        self._talks: OrderedDict[str, _Talk] = OrderedDict()
        self._lock = threading.Lock()

    def event(self, event: Event) -> None:
        """Take what happened; never blocks."""
        with self._lock:
            if isinstance(event, ConversationStarted):
                self._begin(event)
                return
            talk = self._talks.get(event.conversation_id)
            if talk is None:
                return
            if isinstance(event, ConversationEnded):
                self._end(event, talk)
            elif isinstance(event, (ConversationFailed, AttendantFailed)):
                code = event.code if isinstance(event, ConversationFailed) else event.attendant
                talk.span.add_event(event.type, {"coda.code": code}, _nanoseconds(event.wall))
            else:
                self._note(event, talk)

    def close(self) -> None:
        """Export what is left. Blocks for some seconds where nobody takes it."""
        with self._lock:
            for talk in self._talks.values():
                self._tell_turns(talk, keep=0)
                talk.span.end()
            self._talks.clear()
        self._provider.shutdown()

    def _begin(self, event: ConversationStarted) -> None:
        span = self._tracer.start_span(
            "conversation",
            Context(),
            attributes={
                "gen_ai.conversation.id": event.conversation_id,
                "coda.mode": event.mode,
                "coda.checkpoint": event.checkpoint,
            },
            start_time=_nanoseconds(event.wall),
        )
        while len(self._talks) >= CONVERSATIONS:
            _, oldest = self._talks.popitem(last=False)
            self._tell_turns(oldest, keep=0)
            oldest.span.end()
        self._talks[event.conversation_id] = _Talk(span, set_span_in_context(span, Context()))

    def _end(self, event: ConversationEnded, talk: _Talk) -> None:
        del self._talks[event.conversation_id]
        self._tell_turns(talk, keep=0)
        talk.span.set_attributes(
            {
                "coda.reason": event.reason,
                "coda.frames": event.frames,
                "coda.frames_dropped": event.frames_dropped,
            }
        )
        talk.span.end(_nanoseconds(event.wall))

    def _note(self, event: Event, talk: _Talk) -> None:
        if isinstance(event, ScriptStarted):
            talk.speaking_since = event.wall
            return
        if isinstance(event, BargeIn):
            self._turn(event.generation, talk).attributes["coda.barge_in"] = True
            return
        part = _part(event, talk.speaking_since)
        if part is None:
            return
        if isinstance(event, ScriptEnded):
            talk.speaking_since = None
        self._turn(event.generation, talk).add(part)

    def _turn(self, generation: int, talk: _Talk) -> _Turn:
        turn = talk.turns.get(generation)
        if turn is None:
            turn = talk.turns[generation] = _Turn()
            talk.newest = max(talk.newest, generation)
            self._tell_turns(talk, keep=TURNS_OPEN)
        return turn

    def _tell_turns(self, talk: _Talk, keep: int) -> None:
        while len(talk.turns) > keep:
            generation = min(talk.turns)
            turn = talk.turns.pop(generation)
            if turn.parts:
                self._tell(generation, turn, talk.context)

    def _tell(self, generation: int, turn: _Turn, within: Context) -> None:
        attributes: dict[str, Value] = {"coda.generation": generation, **turn.attributes}
        if turn.dropped:
            attributes["coda.parts_dropped"] = turn.dropped
        began = min(part.began for part in turn.parts)
        span = self._tracer.start_span(
            "turn", within, attributes=attributes, start_time=_nanoseconds(began)
        )
        inside = set_span_in_context(span, Context())
        for part in sorted(turn.parts, key=lambda part: part.began):
            child = self._tracer.start_span(
                part.name, inside, attributes=part.attributes, start_time=_nanoseconds(part.began)
            )
            if part.failed is not None:
                child.set_status(StatusCode.ERROR, part.failed)
            child.end(_nanoseconds(part.ended))
        span.end(_nanoseconds(max(part.ended for part in turn.parts)))


def _part(event: Event, speaking_since: float | None) -> _Part | None:
    """Give the span that an event completes; None for events that complete none."""
    seconds, failed = 0.0, None
    attributes: dict[str, Value]
    match event:
        case TurnLatency():
            name, seconds, attributes = "first_audio", event.seconds, {}
        case AnswerLatency():
            name, seconds = "first_word", event.seconds
            attributes = {"coda.kind": event.kind, "coda.offline": event.offline}
        case RouteDecided():
            name, seconds = "route", event.milliseconds / 1000
            attributes = {
                "coda.target": event.target,
                "coda.kind": event.kind,
                "coda.partial": event.partial,
                "coda.confidence": event.confidence,
                "coda.reasons": "; ".join(event.reasons),
            }
        case ReasoningEnded():
            name, seconds, failed = "reasoning", event.seconds, event.code
            attributes = {
                "gen_ai.operation.name": "chat",
                "gen_ai.request.model": event.llm,
                "coda.offline": event.offline,
                "coda.outcome": event.outcome,
                "coda.rounds": event.rounds,
            }
            if event.first_text is not None:
                attributes["coda.first_text_seconds"] = event.first_text
        case ToolEnded():
            name, seconds = f"tool {event.tool}", event.milliseconds / 1000
            failed = "the tool failed" if event.outcome == "failed" else None
            attributes = {
                "gen_ai.operation.name": "execute_tool",
                "gen_ai.tool.name": event.tool,
                "gen_ai.tool.call.id": event.call_id,
                "coda.outcome": event.outcome,
            }
        case MemoryInjected():
            name, seconds = "memory.recall", event.milliseconds / 1000
            attributes = {
                "coda.channel": event.channel,
                "coda.told": len(event.injected),
                "coda.refused": len(event.refused),
            }
            if event.skipped is not None:
                attributes["coda.skipped"] = event.skipped
        case MemoryStored():
            name, attributes = "memory.store", {"coda.facts": len(event.facts)}
        case ScriptEnded():
            name, seconds = "speaking", event.wall - (speaking_since or event.wall)
            attributes = {
                "coda.origin": event.origin,
                "coda.outcome": event.outcome,
                "coda.unsaid": event.unsaid,
            }
        case _:
            return None
    return _Part(name, event.wall - seconds, event.wall, attributes, failed)


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)


def traces_to(collector: str) -> Traces:
    """Send traces to an OTLP collector (``http://127.0.0.1:4318``). Raises ConfigurationError."""
    address = urlsplit(collector)
    if address.scheme not in ("http", "https") or not address.netloc:
        raise ConfigurationError(
            f"server.traces is {collector!r}; give the http or https address of an OTLP "
            "collector, like http://127.0.0.1:4318.",
            "bad_traces",
        )
    endpoint = collector.rstrip("/")
    endpoint += "" if endpoint.endswith(PATH) else PATH
    version = importlib.metadata.version("coda-voice")
    provider = TracerProvider(
        resource=Resource.create({"service.name": "coda-voice", "service.version": version}),
        shutdown_on_exit=False,
    )
    exporter = OTLPSpanExporter(endpoint=endpoint, timeout=EXPORT_SECONDS)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return Traces(provider)
