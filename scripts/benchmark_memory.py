"""Memory in figures: recall, latency with upkeep running, many single writes, isolation, kills.

    python scripts/benchmark_memory.py                     # 1,000 and 10,000 memories
    python scripts/benchmark_memory.py --sizes 100000      # of one user, among others
    python scripts/benchmark_memory.py --queries 10000     # the long form of isolation

Vectors are synthetic (clusters, as sentences form them); the query's own embedding is
measured with the real model and added. Writes benchmarks/memory.json.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from coda_memory import Memory, MemoryStore, UserMemories
from coda_memory.embedding import DEFAULT_MODEL, HASHED_WORDS, Vectors, unit
from coda_memory.owner import Owner
from coda_memory.record import new_id
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parent.parent
NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)
OTHERS = 20
WORDS = [
    *("garden", "river", "train", "kitchen", "doctor", "music", "winter", "holiday", "chess"),
    *("bicycle", "letter", "bridge", "window", "orange", "teacher", "market", "engine"),
    *("island", "planet", "dinner"),
]
console = Console()
Row = dict[str, float | int | str]


def synthetic(count: int, dimension: int, seed: int) -> tuple[list[Memory], Vectors]:
    """Memories of four random words with vectors around 200 centres."""
    generator = np.random.default_rng(seed)
    dice = random.Random(seed)
    centres = np.random.default_rng(1).standard_normal((200, dimension))
    noise = generator.standard_normal((count, dimension))
    vectors = unit((centres[generator.integers(0, 200, count)] + noise).astype(np.float32))
    memories = [
        Memory(
            id=f"{new_id(NOW)}{n}",
            text=f"{' '.join(dice.choices(WORDS, k=4))} number {n}",
            created_at=NOW - timedelta(minutes=n),
        )
        for n in range(count)
    ]
    return memories, vectors


def fill(store: MemoryStore, user: str, memories: list[Memory], vectors: Vectors) -> None:
    """Write in large batches."""
    for start in range(0, len(memories), 10_000):
        batch, part = memories[start : start + 10_000], vectors[start : start + 10_000]

        def commit(batch: list[Memory] = batch, part: Vectors = part) -> None:
            store.writer.commit(Owner.of(user), batch, part)

        store.writer.call(commit).result()
    store.writer.call(lambda: store.upkeep.run(store.tables.name_of(Owner.of(user)))).result()


def percentiles(run: Callable[[int], object], times: int) -> tuple[float, float]:
    """Give p50 and p95 in milliseconds."""
    taken = []
    for n in range(times):
        start = time.perf_counter()
        run(n)
        taken.append((time.perf_counter() - start) * 1e3)
    return float(np.percentile(taken, 50)), float(np.percentile(taken, 95))


def recall_and_latency(store: MemoryStore, size: int, dimension: int) -> Row:
    """Search one user among others, once quiet and once with another user being written to."""
    memories, vectors = synthetic(size, dimension, seed=size)
    for other in range(OTHERS):
        fill(store, f"other{other}", *synthetic(500, dimension, seed=other + 1))
    start = time.perf_counter()
    fill(store, "ada", memories, vectors)
    filled = time.perf_counter() - start
    ada = store.user("ada")
    queries = synthetic(100, dimension, seed=99)
    right = 0
    for query in queries[1]:
        best = {memories[i].id for i in np.argsort(-(vectors @ query))[:10]}
        hits = ada.search_vector("?", query, 10, ranking="vector", now=NOW)
        right += len(best & {hit.memory.id for hit in hits})

    def ask(n: int) -> object:
        at = n % len(queries[0])
        return ada.search_vector(queries[0][at].text, queries[1][at], 15, now=NOW)

    quiet = percentiles(ask, 100)

    def ask_while_writing(n: int) -> object:
        if n % 5 == 0:
            ada.append([Memory(id=new_id(NOW) + f"w{n}", text=f"new {n}", created_at=NOW)])
        return ask(n)

    busy = percentiles(ask_while_writing, 100)
    store.writer.call(lambda: None).result()
    return {
        "memories": size,
        "recall_at_10": right / 1000,
        "quiet_p50_ms": quiet[0],
        "quiet_p95_ms": quiet[1],
        "writing_p50_ms": busy[0],
        "writing_p95_ms": busy[1],
        "filled_in_s": filled,
    }


def single_writes(folder: Path, count: int) -> Row:
    """p95 of a search after many single adds, over that of a store filled at once."""
    with MemoryStore(folder / "single", HASHED_WORDS) as store:
        ada = store.user("ada")
        memories, vectors = synthetic(count, 256, seed=3)
        start = time.perf_counter()
        for memory in memories:
            ada.append([memory]).result()
        adds = (time.perf_counter() - start) / count * 1e3
        after = percentiles(lambda n: ask_of(ada, memories, vectors, n), 200)
    with MemoryStore(folder / "fresh", HASHED_WORDS) as store:
        fill(store, "ada", memories, vectors)
        fresh_user = store.user("ada")
        fresh = percentiles(lambda n: ask_of(fresh_user, memories, vectors, n), 200)
    return {
        "single_adds": count,
        "ms_per_add": adds,
        "p95_after_ms": after[1],
        "p95_fresh_ms": fresh[1],
        "ratio": after[1] / fresh[1],
    }


def ask_of(user: UserMemories, memories: list[Memory], vectors: Vectors, n: int) -> object:
    """Search for the n-th memory."""
    return user.search_vector(memories[n].text, vectors[n], 15, now=NOW)


def isolation(store: MemoryStore, dimension: int, queries: int) -> Row:
    """Random queries; hits that belong to somebody else."""
    dice = random.Random(8)
    mine = {
        f"other{n}": {memory.id for memory in store.user(f"other{n}").list()} for n in range(OTHERS)
    }
    foreign = found = 0
    for _ in range(queries):
        user = f"other{dice.randrange(OTHERS)}"
        vector = unit(np.random.default_rng(dice.randrange(10**6)).standard_normal((1, dimension)))
        words = " ".join(dice.choices(WORDS, k=2))
        hits = store.user(user).search_vector(words, vector[0].astype(np.float32), 15)
        found += len(hits)
        foreign += sum(hit.memory.id not in mine[user] for hit in hits)
    return {"queries": queries, "hits": found, "hits_of_others": foreign}


def embedding() -> Row:
    """The real model, one query at a time."""
    with tempfile.TemporaryDirectory() as folder, MemoryStore(folder, DEFAULT_MODEL) as store:
        store.warm()
        p50, p95 = percentiles(
            lambda n: store.embedder.query(f"what did I tell you about {WORDS[n % 20]} {n}"), 100
        )
    return {"model": DEFAULT_MODEL, "query_p50_ms": p50, "query_p95_ms": p95}


def show(title: str, rows: list[Row]) -> None:
    """Print a table: a column for each figure."""
    table = Table(*[name.replace("_", " ") for name in rows[0]], title=title)
    for row in rows:
        table.add_row(*(f"{v:.3g}" if isinstance(v, float) else str(v) for v in row.values()))
    console.print(table)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="*", default=[1_000, 10_000])
    parser.add_argument("--single", type=int, default=2_000, help="single adds")
    parser.add_argument("--queries", type=int, default=2_000, help="of the isolation check")
    parser.add_argument("--json", type=Path, default=ROOT / "benchmarks" / "memory.json")
    given = parser.parse_args()
    results: dict[str, object] = {"cores": os.cpu_count(), "load_at_start": os.getloadavg()[0]}
    console.print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    embedded = embedding()
    results["embedding"] = embedded
    show("Embedding a query", [embedded])
    rows = []
    dimension = 384
    for size in given.sizes:
        # The store's own model is not used: vectors come with the memories.
        with (
            tempfile.TemporaryDirectory() as folder,
            MemoryStore(folder, DEFAULT_MODEL, max_memories=2_000_000) as store,
        ):
            rows.append(recall_and_latency(store, size, dimension))
            if size == given.sizes[-1]:
                apart = isolation(store, dimension, given.queries)
                results["isolation"] = apart
                show("Isolation", [apart])
    results["search"] = rows
    show("Search of one user, the embedding not included", rows)
    with tempfile.TemporaryDirectory() as folder:
        singles = single_writes(Path(folder), given.single)
    results["single_writes"] = singles
    show("After single adds (bar: ratio ≤ 1.5)", [singles])
    given.json.parent.mkdir(parents=True, exist_ok=True)
    given.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
