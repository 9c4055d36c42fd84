"""Many conversations in real time: each session sends a frame every 80 ms, by the clock."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass, field

import numpy as np

from coda_voice.moshi.checkpoint import SpeechModels
from coda_voice.moshi.engine import Engine, EngineOptions
from coda_voice.moshi.frames import FRAME_SECONDS, FrameOut, Pcm


@dataclass
class Session:
    """One client: when it began to send, and what came back when."""

    phase: float
    sent: int = 0
    latencies: list[float] = field(default_factory=list)
    last_out: float = 0.0

    def take(self, frames: list[FrameOut], now: float) -> None:
        """Note what came out."""
        for frame in frames:
            self.latencies.append(now - frame.arrived)
            self.last_out = now


def run_paced(
    models: SpeechModels, conversations: int, seconds: float, frames: list[Pcm], threads: int | None
) -> dict[str, object]:
    """Drive ``conversations`` paced sessions for ``seconds``; give percentiles and losses."""
    options = EngineOptions(slots=conversations, threads=threads)
    total = int(seconds / FRAME_SECONDS)
    chance = random.Random(0)
    sessions = [Session(chance.uniform(0, FRAME_SECONDS)) for _ in range(conversations)]
    with Engine(models, options) as engine:
        changed = threading.Event()
        slots = [engine.lease(realtime=True, on_output=changed.set) for _ in sessions]
        begin = time.perf_counter() + 0.2
        while True:
            now = time.perf_counter()
            next_due = now + FRAME_SECONDS
            for session, slot in zip(sessions, slots, strict=True):
                due = begin + session.phase + session.sent * FRAME_SECONDS
                if session.sent < total and now >= due:
                    slot.push(frames[session.sent % len(frames)], arrived=due)
                    session.sent += 1
                    due += FRAME_SECONDS
                if session.sent < total:
                    next_due = min(next_due, due)
                session.take(slot.take(), time.perf_counter())
            if all(session.sent == total for session in sessions):
                break
            changed.wait(max(0.0, next_due - time.perf_counter()))
            changed.clear()
        time.sleep(2 * FRAME_SECONDS)
        deficits = []
        for session, slot in zip(sessions, slots, strict=True):
            session.take(slot.take(), time.perf_counter())
            deficits.append(session.sent - len(session.latencies))
            slot.finish()
        given_up = time.perf_counter() + 10
        while not all(slot.drained for slot in slots) and time.perf_counter() < given_up:
            changed.wait(FRAME_SECONDS)
            changed.clear()
        for session, slot in zip(sessions, slots, strict=True):
            session.take(slot.take(), time.perf_counter())
        stats = engine.stats()
        dropped = sum(slot.counters.dropped_in + slot.counters.dropped_out for slot in slots)
        late = sum(slot.counters.late for slot in slots)
    latencies = np.array([value for session in sessions for value in session.latencies])
    factors = [(s.last_out - (begin + s.phase)) / (total * FRAME_SECONDS) for s in sessions]
    missing = [total - len(session.latencies) for session in sessions]
    return {
        "conversations": conversations,
        "seconds": seconds,
        "tick_p50_ms": stats.tick_p50_ms,
        "tick_p99_ms": stats.tick_p99_ms,
        "tick_max_ms": stats.tick_max_ms,
        "latency_p50_ms": 1e3 * float(np.percentile(latencies, 50)),
        "latency_p99_ms": 1e3 * float(np.percentile(latencies, 99)),
        "late_frames": late,
        "frames": int(total * conversations),
        "frames_behind_at_end_worst": max(deficits),
        "frames_missing_worst": max(missing),
        "frames_dropped": dropped,
        "real_time_factor_worst": max(factors),
    }
