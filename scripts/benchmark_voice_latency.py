"""How long things take in a conversation, measured from the arrival of the audio.

    python scripts/benchmark_voice_latency.py [--conversations N] [--rounds N] [--questions N]

Streams spoken questions in real time through VoiceManager, with an interruption in each
round. Prints a table and writes benchmarks/voice_latency.json. Stage times come from the
timing log; turn latency and barge-in from the events, on the frame clock.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from coda_voice import VoiceManager
from coda_voice.audio import files
from coda_voice.events import BargeIn, Event, TurnLatency

ROOT = Path(__file__).parent.parent
QUESTIONS = ("hello", "what_is_your_name", "what_do_i_like", "weather", "thank_you")
CHUNK_SECONDS = 0.02
ANSWER_SECONDS = 4.0
INTERRUPT_AFTER = 2.0


def user_pcm(rounds: int, questions: int) -> bytes:
    """Questions with time to answer, and "stop" said into an answer; 16-bit, 24 kHz."""
    pieces: list[np.ndarray] = []
    for _ in range(rounds):
        for name in QUESTIONS[:questions]:
            question = files.read(ROOT / "tests" / "data" / f"{name}.flac").at(24_000)
            pieces += [question, np.zeros(int(ANSWER_SECONDS * 24_000), dtype=np.float32)]
        long = files.read(ROOT / "tests" / "data" / "hello.flac").at(24_000)
        stop = files.read(ROOT / "tests" / "data" / "stop.flac").at(24_000)
        wait = np.zeros(int(INTERRUPT_AFTER * 24_000 / 2), dtype=np.float32)
        pieces += [long, wait, stop, np.zeros(48_000, dtype=np.float32)]
    return (np.concatenate(pieces) * 32_767).astype("<i2").tobytes()


async def microphone(pcm: bytes) -> AsyncIterator[bytes]:
    """The recording as a microphone would give it, chunk by chunk, by the clock."""
    step = int(24_000 * CHUNK_SECONDS) * 2
    began = time.perf_counter()
    for number, start in enumerate(range(0, len(pcm), step)):
        await asyncio.sleep(max(0.0, began + number * CHUNK_SECONDS - time.perf_counter()))
        yield pcm[start : start + step]


async def measure(conversations: int, rounds: int, questions: int) -> dict[str, list[float]]:
    """Milliseconds by what they measure."""
    values: dict[str, list[float]] = defaultdict(list)

    def note(event: Event) -> None:
        if isinstance(event, TurnLatency):
            values["end of user's speech to agent's first audio"].append(1e3 * event.seconds)
        elif isinstance(event, BargeIn) and event.silent_after is not None:
            values["barge-in to agent's silence"].append(1e3 * event.silent_after)

    pcm = user_pcm(rounds, questions)
    with tempfile.TemporaryDirectory() as scratch:
        log = Path(scratch) / "moshi_timing.log"
        config = {
            "moshi": {"slots": conversations},
            "audio": {"sample_rate": 24_000},
            "logging": {"level": "warning", "timing_log": str(log)},
        }
        async with VoiceManager(config) as manager:
            manager.events.listen(note)

            async def talk() -> None:
                talking = await manager.start_conversation()
                async for _ in manager.process_voice_stream(talking, microphone(pcm)):
                    pass
                await manager.end_conversation(talking)

            await asyncio.gather(*(talk() for _ in range(conversations)))
            analytics = await manager.get_analytics()
        for stage, milliseconds in re.findall(r"(\w+)=([\d.]+)", log.read_text()):
            if stage != "frame":
                values["total, arrival to agent's frame" if stage == "total" else stage].append(
                    float(milliseconds)
                )
    values["frames dropped"] = [float(analytics.frames_dropped)]
    return values


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--conversations", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--questions", type=int, default=len(QUESTIONS), help="of each round")
    parser.add_argument("--json", type=Path, default=ROOT / "benchmarks" / "voice_latency.json")
    given = parser.parse_args()
    console = Console()
    seconds = len(user_pcm(given.rounds, given.questions)) / 48_000
    console.print(f"Talking for about {seconds:.0f} s in real time …")
    values = asyncio.run(measure(given.conversations, given.rounds, given.questions))
    dropped = values.pop("frames dropped")[0]
    table = Table(title=f"{given.conversations} conversation(s), milliseconds")
    for heading in ("stage", "p50", "p90", "p99", "max", "n"):
        table.add_column(heading, justify="left" if heading == "stage" else "right")
    report: dict[str, object] = {"conversations": given.conversations, "frames_dropped": dropped}
    for name, found in values.items():
        row = [*np.percentile(found, [50, 90, 99]), max(found)]
        table.add_row(name, *(f"{value:.1f}" for value in row), str(len(found)))
        report[name] = {
            **dict(zip(("p50", "p90", "p99", "max"), map(float, row), strict=True)),
            "n": len(found),
        }
    console.print(table)
    console.print(f"frames dropped: {dropped:.0f}")
    given.json.parent.mkdir(exist_ok=True)
    given.json.write_text(json.dumps(report, indent=2) + "\n")
    console.print(f"written to {given.json}")


if __name__ == "__main__":
    sys.exit(main())
