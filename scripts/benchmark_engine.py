"""The engine in figures, beside what one would use instead, in the same run.

    python scripts/benchmark_engine.py            # everything that fits this machine
    python scripts/benchmark_engine.py --quick    # a minute instead of several

Prints tables and writes benchmarks/engine.json. Where other work shares the machine, only
the ratios mean something.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

import coda_voice.moshi  # noqa: F401 - before torch: it sets how torch's threads wait

sys.path.insert(0, str(Path(__file__).parent.parent))

from coda_voice.audio import files
from coda_voice.moshi.checkpoint import load_models
from coda_voice.moshi.frames import FRAME_SAMPLES, Pcm
from scripts.benchmarks import big, paced, peer, single

ROOT = Path(__file__).parent.parent
console = Console()


def user_frames() -> list[Pcm]:
    """A minute of a user who speaks and pauses."""
    frames: list[Pcm] = []
    for path in sorted((ROOT / "tests" / "data").glob("*.flac")):
        pcm = files.read(path).at(24_000)
        pcm = np.pad(pcm, (0, -len(pcm) % FRAME_SAMPLES + 12 * FRAME_SAMPLES))
        frames += list(pcm.astype(np.float32).reshape(-1, FRAME_SAMPLES))
    return frames


def show(title: str, rows: list[dict[str, object]]) -> None:
    """Print a table: a line for each figure, a column for each measurement."""
    table = Table(title=title, show_header=False)
    for name in rows[0]:
        cells = [row[name] for row in rows]
        table.add_row(
            name.replace("_", " "),
            *(f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in cells),
        )
    console.print(table)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="shorter runs")
    parser.add_argument("--conversations", type=int, nargs="*", default=[1, 4, 8, 16])
    parser.add_argument("--skip-peer", action="store_true", help="leave moshi.server out")
    parser.add_argument("--json", type=Path, default=ROOT / "benchmarks" / "engine.json")
    given = parser.parse_args()
    frames = user_frames()
    results: dict[str, object] = {
        "machine": {
            "cores": os.cpu_count(),
            "processor": platform.processor() or platform.machine(),
            "load_at_start": os.getloadavg()[0],
            "torch": torch.__version__,
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        }
    }

    rounds = 3 if given.quick else 7
    one = single.compare_one_conversation(frames[: 100 if given.quick else 250], rounds)
    show("One conversation: our engine and a bare loop, turn about (bar: ratio ≤ 1.10)", [one])
    prefill = single.compare_prefill(200, rounds)
    show("A prompt of 200 frames (bars: ≥ 10 times faster; second start within 80 ms)", [prefill])
    results.update(single=one, prefill=prefill)

    seconds = 6.0 if given.quick else 30.0
    rows = []
    for conversations in given.conversations:
        models = load_models("coda-tiny", "cpu", transcriber="off")
        rows.append(paced.run_paced(models, conversations, seconds, frames, threads=None))
    show("Paced conversations with coda-tiny (bar: p99 tick < 80 ms at 16)", rows)
    results["paced"] = rows

    if not given.skip_peer:
        beside = peer.run_peer(frames, seconds)
        show("moshi.server with the same weights (its CUDA warm-up neutralised)", [beside])
        results["moshi_server"] = beside

    if torch.cuda.is_available():
        rows = big.run_all((1, 2, 4, 8, 16, 32, 64), ticks=200)
        show("Moshi 7B's shape, full context (floor: bytes read over measured bandwidth)", rows)
        results["moshi_7b"] = rows
    else:
        console.print("No CUDA GPU here: the 7B-shape part is ready, but was not measured.")
        results["moshi_7b"] = None
    given.json.parent.mkdir(exist_ok=True)
    given.json.write_text(json.dumps(results, indent=2) + "\n")
    console.print(f"written to {given.json}")


if __name__ == "__main__":
    main()
