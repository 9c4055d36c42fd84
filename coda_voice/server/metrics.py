"""Figures for Prometheus, measured where things happen; ``/metrics`` and ``/stats`` show them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from coda_voice.events import (
    AnswerLatency,
    BargeIn,
    ConversationEnded,
    ConversationStarted,
    Event,
    FramesDropped,
    MemoryInjected,
    MemoryStored,
    ReasoningEnded,
    ToolEnded,
    TurnLatency,
)
from coda_voice.manager import VoiceManager
from coda_voice.moshi.frames import FrameOut
from coda_voice.server import histograms
from coda_voice.server.limits import AddressLimits
from coda_voice.server.sessions import Sessions

_STAGES = (
    "queued", "encode", "model", "decode", "transcribe", "engine_busy", "send", "total"
)  # fmt: skip
_FRAME_SECONDS = (0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28)
_ADDED_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.08, 0.16, 0.32)
_TURN_SECONDS = (0.1, 0.2, 0.3, 0.5, 0.8, 1.2, 2.0, 4.0, 8.0)
_SILENCE_SECONDS = (0.08, 0.16, 0.24, 0.32, 0.4, 0.5, 0.8, 1.2, 2.0)
_MEMORY_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.15, 0.3, 1.0, 5.0)
_TOOL_SECONDS = (0.01, 0.05, 0.2, 1.0, 5.0, 20.0)


class Metrics:
    """All figures of one server. ``event`` may be called in any thread."""

    def __init__(self, manager: VoiceManager, sessions: Sessions, addresses: AddressLimits) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(_Now(manager, sessions, addresses))
        ProcessCollector(registry=self.registry)
        registry = self.registry
        frame = histograms.Histogram(
            "coda_frame_seconds",
            "A frame's way, from its arrival at the socket: to its answer being sent (total), and "
            "the stages in between",
            _FRAME_SECONDS,
            "stage",
            _STAGES,
        )
        added = histograms.Histogram(
            "coda_server_added_seconds",
            "Arrival of a frame to its answer being sent, less the models' work on it and on the "
            "tick before, which it had to wait for",
            _ADDED_SECONDS,
        )
        registry.register(frame)
        registry.register(added)
        self._stages = frame.series
        (self._added,) = added.series
        self._bytes = Counter(
            "coda_received_bytes", "Bytes of messages received", registry=registry
        )
        self._messages = Counter("coda_received_messages", "Messages received", registry=registry)
        self._began = Counter(
            "coda_conversations_started", "Conversations begun", registry=registry
        )
        self._over = Counter(
            "coda_conversations_ended", "Conversations ended", ["reason"], registry=registry
        )
        self._dropped = Counter("coda_frames_dropped", "Frames lost", ["where"], registry=registry)
        self._untold = Counter(
            "coda_messages_dropped",
            "Messages that are no sound, and that a client had not read when its time to was over",
            registry=registry,
        )
        self._barge_ins = Counter(
            "coda_barge_ins", "Times a user spoke over the agent", registry=registry
        )
        self._silence = Histogram(
            "coda_barge_in_silence_seconds",
            "Beginning of the user's interruption to the agent's silence, on the frame clock; an "
            "interruption at which it went on is counted in coda_barge_ins only",
            buckets=_SILENCE_SECONDS,
            registry=registry,
        )
        self._turn = Histogram(
            "coda_turn_latency_seconds",
            "End of the user's speech to the agent's first sound, on the frame clock",
            buckets=_TURN_SECONDS,
            registry=registry,
        )
        self._answer = Histogram(
            "coda_answer_latency_seconds",
            "End of the user's speech to the first word of the LLM's answer, or of a filler before "
            "it, on the frame clock; offline: of the offline brain in the LLM's place",
            ["kind", "offline"],
            buckets=_TURN_SECONDS,
            registry=registry,
        )
        self._reasoning = Histogram(
            "coda_reasoning_seconds",
            "Asking the LLM, first to last word",
            ["outcome"],
            buckets=_TURN_SECONDS,
            registry=registry,
        )
        self._tool = Histogram(
            "coda_tool_seconds", "Tool calls", ["outcome"], buckets=_TOOL_SECONDS, registry=registry
        )

        self._memory = Histogram(
            "coda_memory_seconds",
            "The user's words to the decision what of memory is told",
            ["outcome"],
            buckets=_MEMORY_SECONDS,
            registry=registry,
        )
        self._stored = Counter("coda_memories_stored", "Turns stored", registry=registry)

    def received(self, size: int) -> None:
        """Count a message of a client."""
        self._messages.inc()
        self._bytes.inc(size)

    def sent_frame(self, frame: FrameOut, now: float) -> None:
        """Note that a frame of the agent was sent at ``now`` (``time.perf_counter``)."""
        times = frame.times
        total = now - frame.arrived
        stages = (
            times.queued, times.encode, times.model, times.decode, times.transcribe,
            times.engine_busy, max(0.0, total - times.total), total,
        )  # fmt: skip
        for stage, seconds in zip(self._stages, stages, strict=True):
            stage.observe(seconds)
        self._added.observe(max(0.0, total - times.compute - times.engine_busy))

    def lost(self, where: str, frames: int) -> None:
        """Count frames that a session lost: its reader was slow (output), or sent too much."""
        self._dropped.labels(where).inc(frames)

    def untold(self, messages: int) -> None:
        """Count messages that a client did not read in time before its connection ended."""
        self._untold.inc(messages)

    def event(self, event: Event) -> None:
        """Count what an event tells."""
        if isinstance(event, ConversationStarted):
            self._began.inc()
        elif isinstance(event, ConversationEnded):
            self._over.labels(event.reason).inc()
        elif isinstance(event, FramesDropped):
            self._dropped.labels(event.where).inc(event.count)
        elif isinstance(event, BargeIn):
            self._barge_ins.inc()
            if event.silent_after is not None:
                self._silence.observe(event.silent_after)
        elif isinstance(event, TurnLatency):
            self._turn.observe(event.seconds)
        elif isinstance(event, AnswerLatency):
            self._answer.labels(event.kind, str(event.offline).lower()).observe(event.seconds)
        elif isinstance(event, ReasoningEnded):
            self._reasoning.labels(event.outcome).observe(event.seconds)
        elif isinstance(event, ToolEnded):
            self._tool.labels(event.outcome).observe(event.milliseconds / 1000)
        elif isinstance(event, MemoryInjected):
            self._memory.labels(_outcome(event)).observe(event.milliseconds / 1000)
        elif isinstance(event, MemoryStored):
            self._stored.inc()

    def text(self) -> bytes:
        """Give all figures in Prometheus's text format. Call it in the event loop."""
        return generate_latest(self.registry)


def _outcome(event: MemoryInjected) -> str:
    if event.skipped is not None:
        return "skipped"
    return "told" if event.injected else "nothing_told"


class _Now(Collector):
    """Figures that are looked up when somebody asks."""

    def __init__(self, manager: VoiceManager, sessions: Sessions, addresses: AddressLimits) -> None:
        self._manager = manager
        self._sessions = sessions
        self._addresses = addresses

    def collect(self) -> Iterator[Metric]:
        """Give the figures of this moment."""
        sessions = self._sessions.all()
        stats = self._manager.engine_stats()
        if stats is not None:
            yield GaugeMetricFamily("coda_slots", "Conversations at most", stats.slots)
            yield GaugeMetricFamily("coda_slots_leased", "Slots taken", stats.leased)
            yield CounterMetricFamily("coda_ticks", "Steps of the engine", stats.ticks)
            yield CounterMetricFamily("coda_frames", "Frames answered", stats.frames)
            yield CounterMetricFamily("coda_late_frames", "Frames too late", stats.late_frames)
            ticks = GaugeMetricFamily(
                "coda_tick_seconds", "How long a step takes, lately", labels=["quantile"]
            )
            if stats.ticks:
                for name, value in (("0.5", stats.tick_p50_ms), ("0.99", stats.tick_p99_ms)):
                    ticks.add_metric([name], value / 1000)
            yield ticks
        yield GaugeMetricFamily("coda_sessions", "Sessions", len(sessions))
        yield GaugeMetricFamily(
            "coda_sessions_detached",
            "Sessions waiting for their client to come back",
            sum(s.left for s in sessions),
        )
        yield GaugeMetricFamily("coda_waiting", "Clients in line", self._sessions.waiting)
        yield CounterMetricFamily(
            "coda_refused", "Clients refused for want of a slot", self._sessions.refused
        )
        yield GaugeMetricFamily("coda_connections", "Connections open", self._addresses.open)
        yield CounterMetricFamily(
            "coda_connections_refused",
            "Connections refused, by address limits",
            self._addresses.refused,
        )
        yield GaugeMetricFamily("coda_tasks", "Tasks of the event loop", len(asyncio.all_tasks()))
        yield GaugeMetricFamily("coda_threads", "Threads", threading.active_count())
        depth = GaugeMetricFamily(
            "coda_queue_depth",
            "What waits: frames for the engine (input), frames in it (engine), outputs to be sent",
            labels=["queue"],
        )
        depth.add_metric(["input"], sum(s.hearing.waiting for s in sessions))
        depth.add_metric(["engine"], sum(s.conversation.in_flight for s in sessions))
        depth.add_metric(["outbox"], sum(len(s.outbox) for s in sessions))
        yield depth
