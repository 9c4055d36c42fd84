"""How fast the LLM's answer is heard, how the voice yields, what thinking costs the frames.

    python scripts/benchmark_hybrid.py [--questions N] [--interruptions N] [--seconds N]
                                       [--only latency delays frames barge-in]

A stand-in for Ollama (real HTTP, in a process of its own where it is to be felt) answers
after a chosen time. The questions are recordings, paced in real time; their text is given, so
the figures do not depend on how well the transcriber hears. Prints tables and writes
benchmarks/hybrid.json. Run it on an idle machine.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import random
import statistics
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

from coda_voice import VoiceManager  # noqa: E402
from coda_voice.audio import files  # noqa: E402
from coda_voice.moshi.frames import Pcm  # noqa: E402
from scripts.benchmarks.hybrid import (  # noqa: E402
    LONG_ANSWER,
    answer_after,
    ask,
    interrupt,
    model_milliseconds,
    real_time,
    tool_then,
)
from tests.integration.hybrid_talk import HybridTalk  # noqa: E402
from tests.integration.llm_server import LlmServer  # noqa: E402

LLM_SECONDS = (0.0, 0.25, 0.5, 1.0)
DELAYS = (0.0, 0.5, 1.0, 2.0, 3.0, 5.0, 8.0)
QUESTIONS = (
    ("what_is_your_name", "what day is it today"),
    ("what_do_i_like", "how long is the week"),
    ("weather", "tell me about the weather there"),
)


def recorded(name: str) -> Pcm:
    """Give a spoken file of tests/data."""
    return files.read(ROOT / "tests" / "data" / f"{name}.flac").at(24_000)


@contextlib.asynccontextmanager
async def talking(url: str, mode: str = "hybrid", **hybrid: float) -> AsyncIterator[HybridTalk]:
    """One conversation on coda-tiny, with the LLM at ``url``."""
    config = {
        "mode": mode,
        "moshi": {"device": "cpu", "seed": 5, "slots": 1},
        "external_llm": {"endpoint": url, "fallback_enabled": False},
        "hybrid": {"turns_per_minute": 600, **hybrid},
        "logging": {"level": "error"},
    }
    async with VoiceManager(config) as manager:
        yield await HybridTalk.begin(manager)


async def latency(questions: int) -> list[dict[str, Any]]:
    """End of speech to the first word of the answer, for each speed of the LLM."""
    rows = []
    for seconds in LLM_SECONDS:
        async with LlmServer(answer_after(seconds)) as server, talking(server.url) as talk:
            talk.pace = real_time()
            await talk.silence(10)
            asked = [
                await ask(talk, recorded(name), words, listen=4.0 + seconds)
                for name, words in itertools.islice(itertools.cycle(QUESTIONS), questions)
            ]
        answers = sorted(a.answer for a in asked if a.answer is not None)
        moshi = sorted(a.moshi for a in asked if a.moshi is not None)
        rows.append(
            {
                "llm_ms": seconds * 1e3,
                "questions": questions,
                "answered": len(answers),
                "answer_median_ms": 1e3 * statistics.median(answers) if answers else None,
                "answer_worst_ms": 1e3 * answers[-1] if answers else None,
                "allowed_ms": seconds * 1e3 + 640,
                "moshi_first_sound_median_ms": 1e3 * statistics.median(moshi) if moshi else None,
                "asked": [a.as_json() for a in asked],
            }
        )
    return rows


async def delays() -> list[dict[str, Any]]:
    """What is said, and when, where the answer takes long."""
    rows = []
    for seconds in DELAYS:
        async with LlmServer(answer_after(seconds)) as server, talking(server.url) as talk:
            talk.pace = real_time()
            await talk.silence(10)
            asked = await ask(talk, recorded("weather"), QUESTIONS[2][1], listen=6.0 + seconds)
        rows.append({"delay_s": seconds, **asked.as_json()})
    return rows


async def frames(seconds: float) -> list[dict[str, Any]]:
    """What frames cost with an LLM in another process at work, and without, by turns."""
    server = await asyncio.create_subprocess_exec(
        sys.executable, __file__, "--serve", stdout=asyncio.subprocess.PIPE
    )
    assert server.stdout is not None
    url = (await server.stdout.readline()).decode().strip()
    took: dict[str, list[float]] = {"moshi_only": [], "hybrid": []}
    late: dict[str, int] = {"moshi_only": 0, "hybrid": 0}
    try:
        async with talking(url) as talk:
            talk.pace = real_time()
            await talk.silence(25)
            for mode in ("moshi_only", "hybrid") * 4:
                await talk.manager.set_mode(mode, talk.conversation.id)
                talk.conversation.transcribe(False)
                since = len(talk.heard)
                while (len(talk.heard) - since) * 0.08 < seconds / 8:
                    await ask(talk, recorded("weather"), QUESTIONS[2][1], listen=3.0)
                milliseconds = model_milliseconds(talk, since)
                took[mode] += milliseconds
                late[mode] += sum(value > 80 for value in milliseconds)
    finally:
        server.terminate()
        await server.wait()
    return [
        {
            "mode": mode,
            "frames": len(values),
            "p50_ms": statistics.median(values),
            "p99_ms": statistics.quantiles(values, n=100)[98],
            "over_80_ms": late[mode],
        }
        for mode, values in took.items()
    ]


async def barge_in(count: int, seed: int = 1) -> list[dict[str, Any]]:
    """Interruptions at random moments of answers that use a tool and stream slowly."""
    chance = random.Random(seed)
    facts = json.loads((ROOT / "tests" / "data" / "spoken.json").read_text())
    trials = []
    answer = tool_then(LONG_ANSWER, 0.6)
    async with LlmServer(answer) as server, talking(server.url, filler_after=60.0) as talk:
        await talk.silence(10)
        for _ in range(count):
            name, words = chance.choice(QUESTIONS)
            trial = await interrupt(
                talk, recorded(name), words, recorded("stop"), facts["stop"]["onset"], chance
            )
            trials.append(trial.as_json())
            await talk.silence(5)
    return trials


async def serve() -> None:
    """Be the stand-in, in a process of its own."""
    async with LlmServer(tool_then(LONG_ANSWER, 0.6)) as server:
        print(server.url, flush=True)
        await asyncio.Event().wait()


def table(console: Console, title: str, rows: list[dict[str, Any]]) -> None:
    """Print rows of plain values."""
    shown = Table(title=title, title_justify="left")
    keys = [key for key in rows[0] if not isinstance(rows[0][key], list)]
    for key in keys:
        shown.add_column(key)
    for row in rows:
        cells = [row[key] for key in keys]
        shown.add_row(*(f"{c:.2f}" if isinstance(c, float) else str(c) for c in cells))
    console.print(shown)


def summary_of(trials: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sum interruptions up by what they fell into."""
    rows = []
    for during in sorted({t["during"] for t in trials}):
        chosen = [t for t in trials if t["during"] == during]
        spoke = [t for t in chosen if t["spoke"]]
        in_time = [t for t in spoke if t["silent_after"] is not None and t["silent_after"] <= 0.4]
        rows.append(
            {
                "during": during,
                "interruptions": len(chosen),
                "voice was heard": len(spoke),
                "silent in 400 ms": len(in_time),
                "late words": sum(t["late_words"] for t in chosen),
                "stale tools": sum(t["stale_tools"] for t in chosen),
                "history true": sum(t["history_true"] for t in chosen),
            }
        )
    return rows


async def measure(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Run what was asked for, one after the other."""
    found: dict[str, Any] = {}
    if "latency" in options.only:
        found["latency"] = await latency(options.questions)
        table(console, "End of the user's speech to the answer's first word", found["latency"])
    if "delays" in options.only:
        found["delays"] = await delays()
        table(console, "Answers that take long", found["delays"])
    if "frames" in options.only:
        found["frames"] = await frames(options.seconds)
        table(console, "Frames with and without thinking", found["frames"])
    if "barge-in" in options.only:
        found["barge_in"] = await barge_in(options.interruptions)
        table(console, "Interruptions", summary_of(found["barge_in"]))
    return found


def main() -> None:
    """Measure and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--questions", type=int, default=12)
    parser.add_argument("--interruptions", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=240.0)
    parts = ["latency", "delays", "frames", "barge-in"]
    parser.add_argument("--only", nargs="+", choices=parts, default=parts)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "hybrid.json")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(serve())
        return
    console = Console()
    found = asyncio.run(measure(options, console))
    options.out.parent.mkdir(exist_ok=True)
    options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    console.print(f"written to {options.out}")


if __name__ == "__main__":
    main()
