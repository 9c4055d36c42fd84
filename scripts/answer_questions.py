"""The open questions of a voice service that can be answered by counting, answered.

    python scripts/answer_questions.py                  # some minutes
    python scripts/answer_questions.py --rounds 2 --skip-memory

How well coda-tiny understands over a telephone line, how reliably it lets itself be
interrupted, how soon it answers, and what one more conversation costs in memory: on the frame
clock and in bytes, whatever else the machine does. Latency over sockets and conversations at
once are scripts/benchmark_server.py's. Writes benchmarks/questions.json.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path

import coda_voice.moshi  # noqa: F401 - before torch: it sets how torch's threads wait

sys.path.insert(0, str(Path(__file__).parent.parent))

from coda_voice.moshi.checkpoint import load_models
from coda_voice.moshi.engine import Engine, EngineOptions
from scripts.benchmark_engine import console, show
from scripts.benchmarks import questions

ROOT = Path(__file__).parent.parent
DATA = ROOT / "tests" / "data"


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20, help="interruptions")
    parser.add_argument("--skip-memory", action="store_true", help="leave the slowest part out")
    parser.add_argument("--json", type=Path, default=ROOT / "benchmarks" / "questions.json")
    given = parser.parse_args()
    facts = json.loads((DATA / "spoken.json").read_text())
    spoken = questions.recordings(DATA, facts)
    by_name = dict(zip(facts, spoken, strict=True))
    results: dict[str, object] = {}
    with Engine(load_models("coda-tiny", "cpu"), EngineOptions(slots=1, threads=1)) as engine:
        band = questions.telephone_band(engine, spoken)
        show("What the transcriber understands, at 24 kHz and over a telephone line", [band])
        stopped = asyncio.run(
            questions.interruptions(engine, by_name["hello"][0], by_name["stop"][0], given.rounds)
        )
        show('Greeted with "hello", interrupted by "stop"', [stopped])
        results.update(telephone_band=band, interruptions=stopped)
    if not given.skip_memory:
        memory = questions.memory_per_conversation()
        show("Memory, every context full", [memory])
        results["memory"] = memory
    given.json.parent.mkdir(exist_ok=True)
    given.json.write_text(json.dumps(results, indent=2) + "\n")
    console.print(f"written to {given.json}")


if __name__ == "__main__":
    main()
