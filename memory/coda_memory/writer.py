"""One thread through which everything is written: batches, commits, upkeep.

An append is acknowledged (its future resolves) once LanceDB has committed it: from then on it
survives the death of this process. Appends that wait together are embedded and committed
together, one commit per user. A turn and the facts from it are one commit: all or none.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeVar

import pyarrow as pa

from coda_memory.changes import changed_by
from coda_memory.embed_worker import EmbedWorker
from coda_memory.embedding import Vectors
from coda_memory.errors import LANCE_ERRORS, store_closed, store_error
from coda_memory.outcomes import fail, give, settle, unknown
from coda_memory.owner import Owner
from coda_memory.record import Memory, schema
from coda_memory.rows import as_rows, with_end
from coda_memory.sql import listed, quoted
from coda_memory.supersede import superseded
from coda_memory.tables import FORMAT, Tables
from coda_memory.upkeep import Upkeep
from coda_voice.errors import VoiceProcessingError, VoiceTimeoutError

T = TypeVar("T")
WAITING = 1_024
"""Writes that may wait; the next one is refused."""
BATCH = 256
"""Memories of one commit."""


@dataclass(slots=True)
class _Append:
    owner: Owner
    memories: Sequence[Memory]
    done: Future[None] = field(default_factory=Future)


@dataclass(slots=True)
class _Call(Generic[T]):
    run: Callable[[], T]
    done: Future[T] = field(default_factory=Future)


class Writer:
    """The only thread of a process that writes to a store."""

    def __init__(self, tables: Tables, embedder: EmbedWorker, upkeep: Upkeep) -> None:
        self._tables = tables
        self._embedder = embedder
        self._upkeep = upkeep
        self._jobs: queue.Queue[_Append | _Call[Any] | None] = queue.Queue(maxsize=WAITING)
        self._closed = False
        self._closing = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="memory-writer", daemon=True)
        self._thread.start()

    def append(self, owner: Owner, memories: Sequence[Memory]) -> Future[None]:
        """Write memories; the future resolves when they are committed."""
        job = _Append(owner, memories)
        self._put(job)
        return job.done

    def append_from(self, owner: Owner, source: str, facts: Sequence[Memory]) -> Future[bool]:
        """Write facts read from a stored turn, if it still holds; gives whether it did."""
        return self.call(lambda: self.commit(owner, facts, source=source) is not None)

    def take_back(
        self, owner: Owner, turn: str, memories: Sequence[Memory]
    ) -> Future[Sequence[Memory]]:
        """Write memories that take a stored turn back; gives its facts that held until then."""

        def run() -> Sequence[Memory]:
            changed = self.commit(owner, memories, takes_back=turn) or {}
            ended = memories[0].created_at
            return [m for m in changed.values() if m.source_id == turn and m.superseded_at == ended]

        return self.call(run)

    def call(self, run: Callable[[], T]) -> Future[T]:
        """Run something that writes, after all that was asked for before."""
        job = _Call(run)
        self._put(job)
        return job.done

    def close(self) -> None:
        """Write what waits, then end."""
        with self._closing:
            if self._closed:
                return
            self._closed = True
        self._jobs.put(None)
        self._thread.join()

    def _put(self, job: _Append | _Call[Any]) -> None:
        with self._closing:
            if self._closed:
                raise store_closed()
            try:
                self._jobs.put_nowait(job)
            except queue.Full:
                raise VoiceTimeoutError(
                    f"{WAITING} memories wait to be written; this one was not taken. "
                    "Try again in a moment.",
                    "memory_busy",
                ) from None

    # ---- in the thread -----------------------------------------------------------------

    def _run(self) -> None:
        job: _Append | _Call[Any] | None = None
        while True:
            job = self._jobs.get()
            if job is None:
                return
            if isinstance(job, _Call):
                self._settle(job.done, job.run)
                self._keep_up()
                continue
            batch, following = self._collect(job)
            self._append(batch)
            self._keep_up()
            if isinstance(following, _Call):
                self._settle(following.done, following.run)
                self._keep_up()
            elif following is not None or self._ended:
                return

    _ended = False

    def _collect(self, first: _Append) -> tuple[list[_Append], _Call[Any] | None]:
        """Take what waits behind ``first``, up to a batch or to something else."""
        batch = [first]
        size = len(first.memories)
        while size < BATCH:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                break
            if job is None:
                self._ended = True
                break
            if isinstance(job, _Call):
                return batch, job
            batch.append(job)
            size += len(job.memories)
        return batch, None

    def _append(self, batch: list[_Append]) -> None:
        by_owner: dict[Owner, list[_Append]] = {}
        for job in batch:
            by_owner.setdefault(job.owner, []).append(job)
        for owner, jobs in by_owner.items():
            memories = [memory for job in jobs for memory in job.memories]
            together: Future[object] = Future()
            self._settle(together, partial(self.commit, owner, memories))
            error = together.exception()
            if error is not None:
                self._tables.forget_handle(self._tables.name_of(owner))
            for job in jobs:
                if error is not None:
                    fail(job.done, error)
                else:
                    give(job.done, None)

    def commit(
        self, owner: Owner, memories: Sequence[Memory], vectors: Vectors | None = None, *,
        source: str = "", takes_back: str = "",
    ) -> dict[str, Memory] | None:  # fmt: skip
        """Embed and write memories of one user in one commit. In the writer's thread only.

        vectors: float32 [memories, dimension] where they are known already. source: a turn
        without which nothing is written, for it was forgotten or taken back. takes_back: a turn
        that these memories take back. Gives what else changed, by id; None where nothing was
        written.
        """
        if vectors is None:
            vectors = self._embedder.texts([memory.text for memory in memories])
        found = vectors

        def write() -> dict[str, Memory]:
            try:
                return self._write(owner, memories, found, takes_back)
            except LANCE_ERRORS as error:
                self._tables.forget_handle(self._tables.name_of(owner))
                raise store_error(error, self._tables.uri, "writing memories") from error

        with self._tables.lock():
            if source and not self._holds(owner, source):
                return None
            return self._tables.again_on_conflict(write)

    def _holds(self, owner: Owner, turn: str) -> bool:
        table = self._tables.open(self._tables.name_of(owner))
        where = f"id = {quoted(turn)} AND superseded_at IS NULL"
        return table is not None and table.count_rows(where) > 0

    def _write(
        self, owner: Owner, memories: Sequence[Memory], vectors: Vectors, takes_back: str
    ) -> dict[str, Memory]:
        """Write memories; gives what of all that is stored, or is now, they have changed, by id."""
        name = self._tables.name_of(owner)
        self._announce(vectors.shape[1])
        table = self._tables.open(name)
        layout = schema(vectors.shape[1]) if table is None else table.schema
        new = {memory.id: memory for memory in memories}
        rows = as_rows(owner.user_id, memories, vectors, layout)
        if table is None:
            changed = superseded([], memories)
            final = [changed.get(memory.id, memory) for memory in memories]
            self._tables.create(name, as_rows(owner.user_id, final, vectors, layout))
            self._upkeep.started(name)
            return changed
        changed = changed_by(table, memories, takes_back)
        if changed:
            final = [changed.get(memory.id, memory) for memory in memories]
            rows = as_rows(owner.user_id, final, vectors, layout)
        old = sorted(changed.keys() - new.keys())
        if not old:
            self._tables.commit(table, lambda: table.add(rows))
        else:
            stored = table.search().where(f"id IN ({listed(old)})").to_arrow()
            for index, row_id in enumerate(stored["id"].to_pylist()):
                rows = pa.concat_tables([rows, with_end(stored.slice(index, 1), changed[row_id])])
            # One commit for the new and the ended: never both valid, never both gone.
            merge = table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all()
            self._tables.commit(table, lambda: merge.execute(rows))
        self._upkeep.changed(name)
        return changed

    def _announce(self, dimension: int) -> None:
        """Say what the store is, at the first write; refuse if it has become another."""
        if self._tables.use_model(self._embedder.name).get("format") != FORMAT:
            self._tables.write_info(
                format=FORMAT, model=self._embedder.name, dimension=str(dimension)
            )

    def _keep_up(self) -> None:
        for name in self._upkeep.due():
            try:
                with self._tables.lock():
                    self._upkeep.run(name)
            except VoiceProcessingError as error:
                self._upkeep.failed(name, error)
            except BaseException as error:  # noqa: BLE001 - this thread must go on
                self._upkeep.failed(name, self._error(error))

    def _settle(self, done: Future[T], run: Callable[[], T]) -> None:
        settle(done, run, self._error)

    def _error(self, error: BaseException) -> VoiceProcessingError:
        if isinstance(error, LANCE_ERRORS):
            return store_error(error, self._tables.uri, "writing memories")
        return unknown(error, f"writing memories in {self._tables.uri}")
