"""Change the embedding model of a store: every text is embedded anew.

Each user gets a second table under the new model's name; only when all are there does the
store change over and the old tables go. Cut short, the store works with the one model or the
other; the copies of the other go at the next opening or attempt, and with each forgetting.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from pydantic import ValidationError as ShapeError

from coda_memory.embed_worker import EmbedWorker
from coda_memory.embedding import load_model
from coda_memory.errors import LANCE_ERRORS, MemoryStoreError, store_error
from coda_memory.record import schema
from coda_memory.rows import as_memory, as_rows
from coda_memory.tables import FORMAT, Tables, model_tag

BATCH = 64
Progress = Callable[[int, int], None]


def reembed(
    where: str,
    model: str,
    progress: Progress | None = None,
    storage_options: Mapping[str, str] | None = None,
) -> int:
    """Embed a store anew with ``model``; gives how many memories there were.

    progress: called with (done, all). No other process may have the store open for writing;
    one that has is told at its next write. Raises ModelLoadingError, MemoryStoreError.
    """
    tables = Tables(where, storage_options)
    info = tables.info()
    if not info:
        raise MemoryStoreError(f"there is no memory store in {where}.", "memory_store")
    if info["model"] == model:
        tables.use_model(model)
        _drop_strays(tables)
        return 0
    embedder = EmbedWorker(model, load_model)
    try:
        dimension = embedder.warm()
        with tables.lock():
            tables.use_model(info["model"])
            _drop_strays(tables)
            old = tables.users()
            total = sum(_count(tables, name) for name in old)
            done = 0
            for name in old:
                done = _move(tables, name, model, dimension, embedder, done, total, progress)
            tables.write_info(format=FORMAT, model=model, dimension=str(dimension))
            for name in old:
                tables.drop(name)
        return done
    except (*LANCE_ERRORS, ShapeError) as error:
        raise store_error(error, where, "re-embedding") from error
    finally:
        embedder.close()
        tables.close()


def _drop_strays(tables: Tables) -> None:
    """Remove the copies that an attempt before this one left: they may hold what was forgotten."""
    with tables.lock():
        for name in tables.strays():
            tables.drop(name)


def _count(tables: Tables, name: str) -> int:
    table = tables.open(name)
    return 0 if table is None else int(table.count_rows())


def _move(
    tables: Tables, name: str, model: str, dimension: int, embedder: EmbedWorker,
    done: int, total: int, progress: Progress | None,
) -> int:  # fmt: skip
    table = tables.open(name)
    if table is None:
        return done
    rows = table.search().to_arrow().to_pylist()
    if not rows:
        return done
    memories = [as_memory(row) for row in rows]
    parts = []
    for start in range(0, len(memories), BATCH):
        batch = memories[start : start + BATCH]
        parts.append(embedder.texts([memory.text for memory in batch]))
        done += len(batch)
        if progress is not None:
            progress(done, total)
    new_name = f"{name.rpartition('_')[0]}_{model_tag(model)}"
    user_id = str(rows[0]["user_id"])
    rows = as_rows(user_id, memories, np.concatenate(parts), schema(dimension))
    tables.create(new_name, rows, replace=True)
    return done
