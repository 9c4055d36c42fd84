"""Memories made up in bulk, with vectors that lie like those of sentences.

200 topics in 64 dimensions of falling weight, turned into 384: an index of partitions finds the ten
nearest of these about as hard as it finds those of made-up sentences under all-MiniLM-L6-v2 (in
12,000 of either, 4 partitions of 24 hold 0.96 of them here and 0.98 there).
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache

import numpy as np
from coda_memory import Memory, MemoryStore
from coda_memory.embedding import Vectors, unit
from coda_memory.owner import Owner
from coda_memory.record import new_id
from rich.console import Console
from rich.progress import track

NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)
TOPICS, DEPTH, WITHIN = 200, 64, 0.6
BATCH = 20_000
"""Memories of one commit."""
WORDS = [
    *("garden", "river", "train", "kitchen", "doctor", "music", "winter", "holiday", "chess"),
    *("bicycle", "letter", "bridge", "window", "orange", "teacher", "market", "engine"),
    *("island", "planet", "dinner", "anchor", "basket", "candle", "desert", "forest", "guitar"),
    *("hammer", "ladder", "mirror", "needle", "office", "pocket", "rabbit", "silver", "ticket"),
    *("valley", "wallet", "yellow", "cousin", "button"),
]
console = Console()


@lru_cache(maxsize=2)
def _world(dimension: int) -> tuple[Vectors, Vectors]:
    """Topics [200, 64], and what turns them into vectors [64, dimension]."""
    generator = np.random.default_rng(1)
    topics = generator.standard_normal((TOPICS, DEPTH), dtype=np.float32)
    axes = np.linalg.qr(generator.standard_normal((dimension, DEPTH)))[0].T
    weights = np.arange(1, DEPTH + 1, dtype=np.float32)[:, None] ** -0.25
    return topics, (weights * axes).astype(np.float32)


def vectors(count: int, dimension: int, seed: int) -> Vectors:
    """float32 [count, dimension], each of length 1."""
    topics, turn = _world(dimension)
    generator = np.random.default_rng(seed)
    inner = topics[generator.integers(0, TOPICS, count)]
    inner = inner + WITHIN * generator.standard_normal(inner.shape, dtype=np.float32)
    noise = 0.04 * generator.standard_normal((count, dimension), dtype=np.float32)
    return unit(inner @ turn + noise)


def memories(count: int, seed: int, first: int = 0) -> list[Memory]:
    """Memories of four words and a number, a second apart."""
    dice = random.Random(f"{seed} {first}")
    return [
        Memory(
            id=f"{new_id(NOW)}{n}",
            text=f"{' '.join(dice.choices(WORDS, k=4))} number {n}",
            created_at=NOW - timedelta(seconds=n),
        )
        for n in range(first, first + count)
    ]


def batches(count: int, dimension: int, seed: int) -> Iterator[tuple[list[Memory], Vectors]]:
    """Give ``count`` memories with their vectors, so many at once as one commit takes."""
    for start in track(range(0, count, BATCH), f"writing {count:,}", console=console):
        size = min(BATCH, count - start)
        yield memories(size, seed, start), vectors(size, dimension, seed + start)


def fill(
    store: MemoryStore, user: str, parts: Iterable[tuple[list[Memory], Vectors]]
) -> tuple[list[str], Vectors]:
    """Write in bulk, then do the upkeep; gives ids and vectors as they were written."""
    owner = Owner.of(user)
    ids: list[str] = []
    written: list[Vectors] = []
    for some, of_them in parts:

        def commit(some: list[Memory] = some, of_them: Vectors = of_them) -> None:
            store.writer.commit(owner, some, of_them)

        store.writer.call(commit).result()
        ids += [memory.id for memory in some]
        written.append(of_them)
    keep_up(store, user)
    return ids, np.concatenate(written)


def keep_up(store: MemoryStore, user: str) -> None:
    """Compact and index one user's table, as so many writes would have it done."""
    name = store.tables.name_of(Owner.of(user))

    def run() -> None:
        with store.tables.lock():
            store.upkeep.run(name)

    store.writer.call(run).result()
