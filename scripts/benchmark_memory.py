"""Memory in figures: what a search finds, what it takes, and that users are kept apart.

    python scripts/benchmark_memory.py                          # 1,000 and 100,000 memories
    python scripts/benchmark_memory.py --sizes 1000000          # of one user, among others
    python scripts/benchmark_memory.py --parts single --single 10000
    python scripts/benchmark_memory.py --parts quality

The questions of the searches are embedded by the real model within the time; the memories' vectors
are made up (scripts/benchmarks/memories.py) and written in bulk. benchmarks/memory.json grows part
by part; parts measured before stay in it.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from rich.table import Table

sys.path.insert(0, str(Path(__file__).parent.parent))

from coda_voice.moshi.engine import SWITCH_SECONDS
from scripts.benchmarks.memories import console
from scripts.benchmarks.memory_quality import quality
from scripts.benchmarks.memory_search import FEWEST_UPKEEPS, isolation, measure, single_adds
from scripts.benchmarks.report import Report, Row, bar, print_rows, shortly

ROOT = Path(__file__).parent.parent
PARTS = ("quality", "isolation", "single", "search")


def search_bars(row: Row) -> list[Row]:
    """Hold a search against what was promised; times only of 100,000 memories."""
    rows = [
        bar(f"recall@10{when}", row[key], "at least 0.98", row[key] >= 0.98)
        for key, when in (
            ("recall_at_10", ""),
            ("recall_at_10_unlike", " of queries unlike all memories"),
            ("recall_at_10_after", " after the writes"),
        )
    ]
    if row["memories"] == 100_000:
        kept_up = row["upkeeps_beside"] >= FEWEST_UPKEEPS
        rows += [
            bar(
                f"{share} with upkeep running, ms",
                row[f"writing_{share}_ms"] if kept_up else None,
                f"at most {most}",
                row[f"writing_{share}_ms"] <= most,
            )
            for share, most in (("p50", 15.0), ("p95", 40.0))
        ]
    return rows


def quality_bars(rows: list[Row]) -> list[Row]:
    """Hold the hybrid against what was promised, and against either ranking alone."""
    found = {row["ranking"]: row for row in rows}
    hybrid, five = found["hybrid"], "session_recall_at_5"
    return [
        bar("memories", hybrid["memories"], "at least 200", hybrid["memories"] >= 200),
        bar("questions", hybrid["questions"], "at least 150", hybrid["questions"] >= 150),
        bar("session recall@5", hybrid[five], "at least 0.95", hybrid[five] >= 0.95),
        bar(
            "newest first", hybrid["newest_first"], "at least 0.95", hybrid["newest_first"] >= 0.95
        ),
        *(
            bar(
                f"hybrid beats {other} alone, recall@5",
                hybrid[five],
                f"more than {found[other][five]:.3f}",
                hybrid[five] > found[other][five],
            )
            for other in ("vector", "words")
        ),
    ]


def print_figures(title: str, row: Row) -> None:
    """Print one row as a list: it has more figures than a terminal has room for columns."""
    table = Table("", "", title=title, title_justify="left", show_header=False)
    for name, value in row.items():
        table.add_row(name.replace("_", " "), shortly(value))
    console.print(table)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="*", default=[1_000, 100_000])
    parser.add_argument("--single", type=int, default=10_000, help="single adds")
    parser.add_argument("--queries", type=int, default=10_000, help="of the isolation check")
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=PARTS)
    parser.add_argument("--json", type=Path, default=ROOT / "benchmarks" / "memory.json")
    given = parser.parse_args()
    report = Report.at(given.json)
    sys.setswitchinterval(SWITCH_SECONDS)  # as in a process with a voice: its engine sets it

    def put(part: str, rows: list[Row], bars: list[Row], complete: bool = True) -> None:
        console.print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
        if len(rows) > 1:
            print_rows(console, part, rows)
        else:
            print_figures(part, rows[0])
        machine = {"cores": os.cpu_count(), "load": os.getloadavg()[0]}
        report.put(part, [{**row, **machine} for row in rows], bars, complete=complete)

    if "quality" in given.parts:
        found = quality()
        put("quality", found, quality_bars(found))
    if "isolation" in given.parts:
        row = isolation(given.queries)
        foreign = row["hits_of_others"]
        put(
            "isolation",
            [row],
            [bar("hits of others", foreign, "0", foreign == 0)],
            given.queries >= 10_000,
        )
    if "single" in given.parts:
        row = single_adds(given.single)
        ratio = bar("p95 after, over fresh", row["ratio"], "at most 1.5", row["ratio"] <= 1.5)
        put(f"{given.single} single adds", [row], [ratio], given.single >= 10_000)
    for size in given.sizes if "search" in given.parts else ():
        row = measure(size)
        put(f"search of {size}", [row], search_bars(row))
    report.print_bars(console)


if __name__ == "__main__":
    main()
