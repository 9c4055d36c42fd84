"""What a search of one user's memories finds and takes, alone and with upkeep running."""

from __future__ import annotations

import random
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from coda_memory import MemoryStore, UserMemories
from coda_memory.embedding import DEFAULT_MODEL, HASHED_WORDS, Vectors, unit
from rich.progress import track

from scripts.benchmarks.memories import (
    NOW,
    WORDS,
    batches,
    console,
    fill,
    keep_up,
    memories,
    vectors,
)
from scripts.benchmarks.report import Row

DIMENSION, HASHED_DIMENSION = 384, 256
OTHERS, OF_EACH = 20, 500
QUERIES = 200
FEWEST_UPKEEPS = 3
"""While searching, or upkeep was not running."""
WRITE_EVERY = 0.1
"""Seconds between the writes that go on beside: upkeep every two seconds."""


def percentiles(
    run: Callable[[int], object],
    times: int,
    doing: str,
    enough: Callable[[], bool] = lambda: True,
) -> tuple[float, float]:
    """Give p50 and p95 in milliseconds of so many runs, or more until it is enough."""
    taken: list[float] = []

    def once(n: int) -> None:
        start = time.perf_counter()
        run(n)
        taken.append((time.perf_counter() - start) * 1e3)

    for n in track(range(times), doing, console=console):
        once(n)
    while not enough():
        once(len(taken))
    return float(np.percentile(taken, 50)), float(np.percentile(taken, 95))


def question(n: int) -> str:
    """Say something that has to be embedded and looked up."""
    dice = random.Random(n)
    return f"what did I tell you about the {dice.choice(WORDS)} and the {dice.choice(WORDS)}"


def measure(size: int, queries: int = QUERIES) -> Row:
    """Fill a store with one user of ``size`` memories among others, and search it."""
    with (
        tempfile.TemporaryDirectory() as folder,
        MemoryStore(folder, DEFAULT_MODEL, max_memories=2_000_000) as store,
    ):
        for other in range(OTHERS):
            own = memories(OF_EACH, other), vectors(OF_EACH, DIMENSION, 1_000 + other)
            fill(store, f"other{other}", [own])
        start = time.perf_counter()
        ids, written = fill(store, "ada", batches(size, DIMENSION, size))
        row: Row = {"memories": size, "filled_in_s": time.perf_counter() - start}
        keep_up(store, "ada")  # as after the next writes: files merged, the index moved along
        ada = store.user("ada")
        store.warm()
        alike = vectors(QUERIES // 2, DIMENSION, 99)
        row["recall_at_10"] = recall(ada, ids, written, alike)
        row["recall_at_10_unlike"] = recall(ada, ids, written, unlike(QUERIES // 2))
        embed = percentiles(lambda n: store.embedder.query(question(n)), queries, "embedding")
        row["embedding_p50_ms"], row["embedding_p95_ms"] = embed
        quiet = percentiles(lambda n: ada.search(question(n)), queries, "searching")
        row["search_p50_ms"], row["search_p95_ms"] = quiet
        with writing_beside(store) as counted:
            busy = percentiles(
                lambda n: ada.search(question(n)),
                queries,
                "searching while writing",
                lambda: counted["upkeeps_beside"] >= FEWEST_UPKEEPS,
            )
        row["writing_p50_ms"], row["writing_p95_ms"] = busy
        row.update(counted)
        row["recall_at_10_after"] = recall(ada, ids, written, alike)
        row["megabytes"] = (store.size_on_disk() or 0) / 1e6
    return row


def unlike(count: int) -> Vectors:
    """Queries that lie nowhere near the memories, as questions do: the hardest for an index."""
    made = np.random.default_rng(4).standard_normal((count, DIMENSION))
    return unit(made.astype(np.float32))


def recall(user: UserMemories, ids: list[str], written: Vectors, queries: Vectors) -> float:
    """Share of the ten nearest, by comparing with all of ``written``, that a search finds."""
    right = 0
    for query in track(queries, "recall", console=console):
        best = np.argpartition(-(written @ query), 10)[:10]
        hits = user.search_vector("?", query, 10, ranking="vector", now=NOW)
        right += len({ids[i] for i in best} & {hit.memory.id for hit in hits})
    return right / (10 * len(queries))


@contextmanager
def writing_beside(store: MemoryStore) -> Iterator[dict[str, int]]:
    """Have ada tell something new ten times a second, upkeep and all."""
    counted = {"writes_beside": 0, "upkeeps_beside": 0}
    done = threading.Event()
    run = store.upkeep.run

    def counting(name: str) -> None:
        counted["upkeeps_beside"] += 1
        run(name)

    def write() -> None:
        ada = store.user("ada")
        while not done.wait(WRITE_EVERY):
            ada.append(ada.turn(f"I saw thing {counted['writes_beside']} in the garden.")).result()
            counted["writes_beside"] += 1

    thread = threading.Thread(target=write, name="writes")
    store.upkeep.run = counting  # type: ignore[method-assign]
    thread.start()
    try:
        yield counted
    finally:
        done.set()
        thread.join()
        store.upkeep.run = run  # type: ignore[method-assign]


def single_adds(count: int, queries: int = QUERIES) -> Row:
    """Compare a store of ``count`` single adds with one filled at once, searched turn about."""
    some, of_them = memories(count, 3), vectors(count, HASHED_DIMENSION, 3)
    with (
        tempfile.TemporaryDirectory() as folder,
        MemoryStore(Path(folder) / "single", HASHED_WORDS) as single,
        MemoryStore(Path(folder) / "fresh", HASHED_WORDS) as fresh,
    ):
        fill(fresh, "ada", [(some, of_them)])
        keep_up(fresh, "ada")
        ada, other = single.user("ada"), fresh.user("ada")
        start = time.perf_counter()
        for memory in track(some, "single adds", console=console):
            ada.append([memory]).result()
        adding = time.perf_counter() - start
        single.writer.call(lambda: None).result()
        after: list[float] = []
        before: list[float] = []
        for n in track(range(queries), "searching both", console=console):
            at = n % count
            for user, taken in ((ada, after), (other, before)):
                begun = time.perf_counter()
                user.search_vector(some[at].text, of_them[at], 15, now=NOW)
                taken.append((time.perf_counter() - begun) * 1e3)
    p95_after, p95_fresh = (float(np.percentile(taken, 95)) for taken in (after, before))
    return {
        "single_adds": count,
        "ms_per_add": adding / count * 1e3,
        "p50_after_ms": float(np.percentile(after, 50)),
        "p50_fresh_ms": float(np.percentile(before, 50)),
        "p95_after_ms": p95_after,
        "p95_fresh_ms": p95_fresh,
        "ratio": p95_after / p95_fresh,
    }


def isolation(queries: int) -> Row:
    """Ask everybody for everybody's things; hits that belong to somebody else."""
    dice = random.Random(8)
    with tempfile.TemporaryDirectory() as folder, MemoryStore(folder, HASHED_WORDS) as store:
        mine = {}
        for n in range(OTHERS):
            own = memories(OF_EACH, n), vectors(OF_EACH, HASHED_DIMENSION, n)
            mine[f"user{n}"] = set(fill(store, f"user{n}", [own])[0])
        foreign = found = 0
        asked = vectors(queries, HASHED_DIMENSION, 77)
        for query in track(asked, "isolation", console=console):
            user = dice.choice(sorted(mine))
            words = " ".join(dice.choices(WORDS, k=2))
            hits = store.user(user).search_vector(words, query, 15)
            found += len(hits)
            foreign += sum(hit.memory.id not in mine[user] for hit in hits)
    return {"users": OTHERS, "queries": queries, "hits": found, "hits_of_others": foreign}
