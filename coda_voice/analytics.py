"""Figures over the life of a manager, each from something that was measured.

A figure nobody measured is None, never 0 or a guess: no VRAM on a CPU, no LLM latency
without an LLM. Means are running sums and medians come from the last 1024 values, so that
memory stays constant however long the manager lives.
"""

from __future__ import annotations

import os
import statistics
import time
from collections import deque
from dataclasses import dataclass, field

import psutil
import pynvml

from coda_voice.events import Event, ReasoningEnded
from coda_voice.models import VoiceAnalytics
from coda_voice.moshi.frames import FRAME_SECONDS, StageTimes

GIB = 1024**3


@dataclass(slots=True)
class Mean:
    """A running mean; ``value`` is None before the first ``add``."""

    count: int = 0
    total: float = 0.0

    def add(self, value: float) -> None:
        """Take one more value in."""
        self.count += 1
        self.total += value

    @property
    def value(self) -> float | None:
        """The mean so far."""
        return self.total / self.count if self.count else None


def _recent() -> deque[float]:
    return deque(maxlen=1024)


@dataclass(slots=True)
class Latencies:
    """Seconds a frame took, for a conversation or for all of them."""

    arrival_to_agent: Mean = field(default_factory=Mean)
    model: Mean = field(default_factory=Mean)

    def add(self, times: StageTimes) -> None:
        """Take in the times of one frame."""
        self.arrival_to_agent.add(times.total)
        self.model.add(times.encode + times.model + times.decode)


def milliseconds(seconds: float | None) -> float | None:
    """``seconds`` as milliseconds; None stays None."""
    return None if seconds is None else seconds * 1000.0


def share(part: int, whole: int) -> float:
    """Give ``part`` over ``whole``; 0 of nothing is 0."""
    return part / whole if whole else 0.0


class CpuMeter:
    """Share of the machine's cores this process used since it was last asked, in per cent."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._cores = psutil.cpu_count() or os.cpu_count() or 1
        self._wall, self._busy = time.monotonic(), self._seconds_busy()

    def _seconds_busy(self) -> float:
        times = self._process.cpu_times()
        return float(times.user + times.system)

    def read(self) -> float | None:
        """Per cent since the last reading; None when no time has passed."""
        wall, busy = time.monotonic(), self._seconds_busy()
        passed, used = wall - self._wall, busy - self._busy
        if passed <= 0:
            return None
        self._wall, self._busy = wall, busy
        return min(100.0, 100.0 * used / passed / self._cores)


def vram_used_gb(device: str | None) -> float | None:
    """GiB in use on the CUDA device ``device`` ("cuda", "cuda:1"), read from NVML.

    None on any other device and where there is no NVIDIA driver to ask.
    """
    if device is None or not device.startswith("cuda"):
        return None
    index = int(device.partition(":")[2] or 0)
    visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    name = visible[index].strip() if index < len(visible) else str(index)
    try:
        pynvml.nvmlInit()
        try:
            handle = (
                pynvml.nvmlDeviceGetHandleByIndex(int(name))
                if name.isdigit()
                else pynvml.nvmlDeviceGetHandleByUUID(name)
            )
            return float(pynvml.nvmlDeviceGetMemoryInfo(handle).used) / GIB
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError:
        return None


class Analytics:
    """Counts and times, fed by the manager; ``report`` turns them into VoiceAnalytics."""

    def __init__(self) -> None:
        self.latencies = Latencies()
        self.quality = Mean()
        self.turn_latencies = _recent()
        self.conversations = 0
        self.messages = 0
        self.frames = 0
        self.frames_dropped = 0
        self.barge_ins = 0
        self.calls = 0
        self.failed_calls = 0
        self.llm_seconds = Mean()
        """From asking an LLM to its first text; the offline brain is none."""
        self.thought_turns = 0
        self.turns_without_llm = 0
        self.turns_with_tools = 0
        self._cpu = CpuMeter()

    def event(self, event: Event) -> None:
        """Count what the LLM did, from the events."""
        if not isinstance(event, ReasoningEnded) or event.outcome == "interrupted":
            return
        self.thought_turns += 1
        self.turns_without_llm += event.code is not None
        self.turns_with_tools += event.rounds > 0
        if event.first_text is not None and not event.offline:
            self.llm_seconds.add(event.first_text)

    def report(self, *, device: str | None, active: int) -> VoiceAnalytics:
        """Give the figures now. ``active``: conversations running at this moment."""
        turn = statistics.median(self.turn_latencies) if self.turn_latencies else None
        return VoiceAnalytics(
            total_conversations=self.conversations,
            active_conversations=active,
            total_messages=self.messages,
            total_audio_duration_ms=self.frames * FRAME_SECONDS * 1000.0,
            average_latency_ms=milliseconds(self.latencies.arrival_to_agent.value),
            moshi_latency_ms=milliseconds(self.latencies.model.value),
            turn_latency_ms=milliseconds(turn),
            llm_latency_ms=milliseconds(self.llm_seconds.value),
            fallback_rate=share(self.turns_without_llm, self.thought_turns),
            tools_usage_rate=share(self.turns_with_tools, self.thought_turns),
            audio_quality=self.quality.value,
            vram_usage=vram_used_gb(device),
            cpu_usage=self._cpu.read(),
            error_rate=share(self.failed_calls, self.calls),
            frames_dropped=self.frames_dropped,
            barge_ins=self.barge_ins,
        )
