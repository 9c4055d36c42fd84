"""The transcriber in figures: its share of a tick, and what it writes of recorded speech.

    python scripts/benchmark_transcriber.py            # coda-tiny with its own transcriber
    python scripts/benchmark_transcriber.py --quick

Prints tables and writes benchmarks/transcriber.json. Ticks are processor time, with and
without the transcriber turn about: their ratio holds where other work shares the machine.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import coda_voice.moshi  # noqa: F401 - before torch: it sets how torch's threads wait

sys.path.insert(0, str(Path(__file__).parent.parent))

from rich.console import Console
from rich.table import Table

from coda_voice.audio import files
from coda_voice.moshi.checkpoint import load_models
from coda_voice.moshi.engine import Engine, EngineOptions
from scripts.benchmark_engine import user_frames
from scripts.benchmarks import listening

ROOT = Path(__file__).parent.parent
DATA = ROOT / "tests" / "data"
console = Console()


def show(title: str, rows: list[dict[str, object]]) -> None:
    """Print a table: a line for each measurement, a column for each figure."""
    table = Table(title=title)
    for name in rows[0]:
        table.add_column(name.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*(f"{c:.2f}" if isinstance(c, float) else str(c) for c in row.values()))
    console.print(table)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="shorter runs")
    parser.add_argument("--transcriber", default="auto", help="a name or folder instead")
    parser.add_argument("--json", type=Path, default=ROOT / "benchmarks" / "transcriber.json")
    given = parser.parse_args()
    frames = user_frames()[: 20 if given.quick else 60]
    cost = []
    for conversations in (1, 4) if given.quick else (1, 4, 8):
        models = load_models("coda-tiny", transcriber=given.transcriber)
        cost.append(listening.measure_cost(models, conversations, frames, 2))
    show("A tick with and without the transcriber", cost)

    heard = []
    facts = json.loads((DATA / "spoken.json").read_text())
    models = load_models("coda-tiny", transcriber=given.transcriber)
    with Engine(models, EngineOptions(slots=1, threads=1)) as engine:
        for fact in list(facts.values())[: 3 if given.quick else None]:
            pcm = files.read(DATA / fact["file"]).at(24_000)
            heard.append(listening.listen(engine, pcm, fact["text"], fact["onset"], fact["offset"]))
    show("Recorded speech, written down (seconds from where speech began and ended)", heard)
    given.json.parent.mkdir(exist_ok=True)
    given.json.write_text(json.dumps({"cost": cost, "heard": heard}, indent=2) + "\n")
    console.print(f"written to {given.json}")


if __name__ == "__main__":
    main()
