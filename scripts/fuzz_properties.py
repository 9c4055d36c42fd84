"""A million inputs for every property that the tests hold the codecs to.

    python -m scripts.fuzz_properties                     # every property, a million inputs each
    python -m scripts.fuzz_properties twilio live --inputs 20000

The properties are hypothesis tests. Here hypothesis draws little more than a seed, from random
bytes (``fuzz_one_input``), and messages are made of it (``tests/unit/seeded_messages.py``): its
own search takes a hundred times as long as the codecs do. A list of messages counts as so many
inputs. An exception ends it with the input, as does one that takes 20 s, or memory that grows
after the first half. Writes benchmarks/fuzz.json after each property; with ``--resume`` those that
are in there are left out.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import multiprocessing
import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import FunctionType
from typing import Any

import psutil
from rich.console import Console
from rich.progress import track

from scripts.benchmarks.report import Report, bar, print_rows

ROOT = Path(__file__).parent.parent
MODULES = ("tests.unit.test_server_codecs", "tests.unit.test_edge_codecs_fuzz")
MILLION = 1_000_000
BYTES = 64
"""What a strategy reads; where it needs more, there is no input."""
LONGEST_SECONDS = 20
GROWTH_MB = 32
"""What a process of this size may gain by fragmentation in half a million inputs."""
STEP = 1_000


def properties() -> dict[str, tuple[str, str]]:
    """Name every property: module and test."""
    os.environ["CODA_FUZZ_SEEDED"] = "1"  # here and in the processes to come
    found = {}
    for module in MODULES:
        for name, value in vars(import_module(module)).items():
            if isinstance(value, FunctionType) and hasattr(value, "hypothesis"):
                found[name.removeprefix("test_")] = (module, name)
    return found


def fuzz(place: tuple[str, str], inputs: int, seed: int) -> Iterator[dict[str, Any]]:
    """Feed one property; yields the figures so far after every ``STEP`` inputs."""
    test = getattr(import_module(place[0]), place[1])
    count = 0
    inner: Callable[..., None] = test.hypothesis.inner_test

    def counted(*values: object, **named: object) -> None:
        nonlocal count
        given = [*values, *named.values()]
        messages = sum(isinstance(value, str | bytes) for value in given)
        count += messages + sum(len(value) for value in given if isinstance(value, list))
        count += not any(isinstance(value, str | bytes | list) for value in given)
        inner(*values, **named)

    test.hypothesis.inner_test = counted
    one, rng, process = test.hypothesis.fuzz_one_input, random.Random(seed), psutil.Process()
    began, half, told = time.monotonic(), 0, 0
    while count < inputs:
        data = rng.randbytes(BYTES)
        faulthandler.dump_traceback_later(LONGEST_SECONDS, exit=True)
        try:
            one(data)
        except BaseException:
            print(f"{place[1]}: found with {data!r}", file=sys.stderr, flush=True)
            raise
        finally:
            faulthandler.cancel_dump_traceback_later()
        if not half and count >= inputs // 2:
            half = process.memory_info().rss >> 20
        if count >= told + STEP or count >= inputs:
            told = count
            yield dict(
                inputs=count, seconds=round(time.monotonic() - began),
                mb_half_way=half, mb=process.memory_info().rss >> 20,
            )  # fmt: skip


def run(job: tuple[str, tuple[str, str], int, int]) -> dict[str, Any]:
    """Fuzz one property in this process, with a bar; its row."""
    name, place, inputs, seed = job
    row: dict[str, Any] = {}
    steps = fuzz(place, inputs, seed)
    for row in track(steps, name, total=inputs // STEP, disable=not sys.stderr.isatty()):  # noqa: B007
        pass
    return {"property": name, **row}


def main() -> None:
    """Fuzz each property in a process of its own, print the table, write the report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("words", nargs="*", help="those with one of these in their name")
    parser.add_argument("--inputs", type=int, default=MILLION, help="for each property")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--resume", action="store_true", help="leave out what is measured")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "fuzz.json")
    given = parser.parse_args()
    chosen = {
        name: place for name, place in properties().items()
        if not given.words or any(word in name for word in given.words)
    }  # fmt: skip
    if not chosen:
        parser.error(f"no property is called so; there are: {', '.join(properties())}")
    report = Report.at(given.out)
    old = report.parts.get("properties", {}).get("values", []) if given.resume else []
    rows = [row for row in old if row["inputs"] >= given.inputs]
    done = {row["property"] for row in rows}
    jobs = [(n, place, given.inputs, given.seed) for n, place in chosen.items() if n not in done]
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        for row in pool.imap(run, jobs):
            rows.append(row)
            print(json.dumps(row), flush=True)
            report.put("properties", rows, bars(rows), complete=len(rows) == len(chosen))
    print_rows(Console(), "Inputs to every property", rows)
    report.print_bars(Console())
    if not bars(rows)[-1]["holds"]:
        sys.exit("memory grew: see the table")


def bars(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Nothing found (or this would not be reached), and no memory kept."""
    fewest = min(row["inputs"] for row in rows)
    growth = max(row["mb"] - row["mb_half_way"] for row in rows)
    return [
        bar("3 properties without a finding", len(rows), "all", True),
        bar("3 fewest inputs of one", fewest, f">= {MILLION}", fewest >= MILLION),
        bar(
            "3 most memory gained in the second half, MB", growth, f"<= {GROWTH_MB}",
            growth <= GROWTH_MB,
        ),
    ]  # fmt: skip


if __name__ == "__main__":
    main()
