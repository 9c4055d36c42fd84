"""The server over real sockets, beside Kyutai's own, in the same run.

    python scripts/benchmark_server.py                 # 16 conversations, half a minute
    python scripts/benchmark_server.py --quick --skip-peer

Prints tables and writes benchmarks/server.json. What the server adds is counted from the
arrival of a frame at its socket to its answer being sent, less the models' work on that frame
and on the tick before, which it had to wait for; that wait has a line of its own. Where other
work shares the machine, only what is missing or refused means something.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from scripts.benchmark_engine import console, show, user_frames
from scripts.benchmarks import peer, sockets

ROOT = Path(__file__).parent.parent


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="shorter runs")
    parser.add_argument("--conversations", type=int, nargs="*", default=[1, 4, 8, 16])
    parser.add_argument("--threads", type=int, default=None, help="of the engine")
    parser.add_argument("--skip-peer", action="store_true", help="leave moshi.server out")
    parser.add_argument("--json", type=Path, default=ROOT / "benchmarks" / "server.json")
    given = parser.parse_args()
    frames = user_frames()
    seconds = 8.0 if given.quick else 30.0
    rows = [sockets.run_server(n, seconds, frames, given.threads) for n in given.conversations]
    show("coda-voice serve, paced sessions", rows)
    for row in rows:
        kept = sockets.bars(row)
        row["bars"] = kept
        for bar, holds in kept.items():
            console.print(f"{row['conversations']:>3}  {'holds' if holds else 'MISSED':<6}  {bar}")
    results: dict[str, object] = {
        "machine": {
            "cores": os.cpu_count(),
            "processor": platform.processor() or platform.machine(),
            "load_at_end": os.getloadavg()[0],
        },
        "server": rows,
    }
    if not given.skip_peer:
        beside = peer.run_peer(frames, seconds)
        show("moshi.server with the same weights (its CUDA warm-up neutralised)", [beside])
        results["moshi_server"] = beside
    given.json.parent.mkdir(exist_ok=True)
    given.json.write_text(json.dumps(results, indent=2) + "\n")
    console.print(f"written to {given.json}")


if __name__ == "__main__":
    main()
