"""The memory store: open it, ask for a user, remember, search, forget.

    with MemoryStore("memory") as store:
        ada = store.user("ada")
        ada.remember("I like chess")
        ada.search("what do I like")[0].memory.text

All methods may be called from any thread. Searching runs in the caller's thread; writing in
one of the store's own (``writer``). Nothing here needs torch, a microphone or the network.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import nullcontext
from datetime import datetime
from functools import partial
from os import PathLike
from types import TracebackType
from typing import TypeVar

import pyarrow as pa
from lancedb.table import LanceTable

from coda_memory.embed_worker import EmbedWorker
from coda_memory.embedding import DEFAULT_MODEL, load_model
from coda_memory.errors import LANCE_ERRORS, MemoryStoreError, store_closed, store_error
from coda_memory.owner import Owner
from coda_memory.personality.state import PersonalityStates
from coda_memory.record import Memory, utc_now
from coda_memory.sql import listed
from coda_memory.tables import Tables
from coda_memory.upkeep import Upkeep
from coda_memory.user import UserMemories
from coda_memory.writer import Writer
from coda_voice.errors import ValidationError, VoiceProcessingError, VoiceTimeoutError

T = TypeVar("T")
MAX_MEMORIES = 100_000
"""Of one user: some 30 years of 10 memories a day; about 170 MB."""
_PURGE = "purge "
_EVERYTHING = "everything"


class MemoryStore:
    """Memories of many users, in one folder or object store.

    where: a folder, or a URI such as ``s3://bucket/memory`` with its ``storage_options``.
    model: the embedding model; must be the one the store was made with.
    max_memories: of one user; beyond it the least useful are forgotten.
    Raises MemoryModelError, MemoryStoreError.
    """

    def __init__(
        self,
        where: str | PathLike[str],
        model: str = DEFAULT_MODEL,
        *,
        max_memories: int = MAX_MEMORIES,
        storage_options: Mapping[str, str] | None = None,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        if max_memories < 100:
            raise ValidationError(f"max_memories must be at least 100, not {max_memories}.")
        self.now = now
        self.tables = Tables(str(where), storage_options)
        self.tables.use_model(model)
        self.states = PersonalityStates.beside(str(where), storage_options, now)
        """What users made of the characters: forgotten with their memories."""
        self.when_forgotten: list[Callable[[str], None]] = []
        """Called with a user's id when something of that user has gone, or may have; in any
        thread."""
        self.embedder = EmbedWorker(model, load_model)
        self.upkeep = Upkeep(self.tables, max_memories, now)
        self.writer = Writer(self.tables, self.embedder, self.upkeep)
        self.reader = self.tables.reader()
        self._closing = threading.Lock()
        self._closed = False
        left = self.tables.local is not None and bool(self.tables.strays())
        if left or any(key.startswith(_PURGE) for key in self.tables.info()):
            self.writer.call(self._finish_what_was_cut_short)

    def user(self, user_id: str) -> UserMemories:
        """Memories of one user. Raises ValidationError for an id that is none."""
        return UserMemories(self, Owner.of(user_id))

    def users(self) -> Iterator[str]:
        """Ids of all users with memories."""
        for name in self.tables.users():
            ids = self.read(
                name, lambda table: table.search().select(["user_id"]).limit(1).to_list()
            )
            if ids:
                yield str(ids[0]["user_id"])

    def warm(self) -> None:
        """Load the embedding model now instead of at the first search."""
        self.embedder.warm()

    def size_on_disk(self) -> int | None:
        """Bytes of all files; None for a remote store."""
        return self.tables.size_on_disk()

    def close(self) -> None:
        """Write what waits and let go of everything. Closing twice is allowed."""
        with self._closing:
            self._closed = True
            self.writer.close()
            self.embedder.close()
            self.reader.close()
            self.tables.close()

    def __enter__(self) -> MemoryStore:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # ---- for UserMemories --------------------------------------------------------------

    def read(self, name: str, look: Callable[[LanceTable], T]) -> T | None:
        """Look into a table; None where there is none.

        Another process may compact or rewrite the table under us: then it is opened afresh
        and read once more; at last while nobody writes, for what is being written may be taken
        back (``committed_whole``).
        """
        if self._closed:
            raise store_closed()
        failed: VoiceProcessingError | None = None
        for alone in (nullcontext, nullcontext, self.tables.lock):
            try:
                with alone():
                    return self._look(name, look)
            except (MemoryStoreError, VoiceTimeoutError) as error:
                failed = failed or error
        assert failed is not None
        raise failed

    def _look(self, name: str, look: Callable[[LanceTable], T]) -> T | None:
        table = self.tables.open(name)
        if table is None:
            self.tables.use_model(self.embedder.name)  # or has it been re-embedded?
            return None
        try:
            return look(table)
        except LANCE_ERRORS as error:
            self.tables.forget_handle(name)
            raise store_error(error, self.tables.uri, "reading memories") from error

    def append(self, owner: Owner, memories: Sequence[Memory]) -> Future[None]:
        """Write memories of a user."""
        return self.writer.append(owner, memories)

    def append_from(self, owner: Owner, source: str, facts: Sequence[Memory]) -> Future[bool]:
        """Write facts of a user, if the turn that they were read from still holds."""
        return self.writer.append_from(owner, source, facts)

    def take_back(
        self, owner: Owner, turn: str, memories: Sequence[Memory]
    ) -> Future[Sequence[Memory]]:
        """Write memories of a user that take one of his turns back; gives what of it held."""
        return self.writer.take_back(owner, turn, memories)

    def forget(self, owner: Owner, ids: Iterable[str] | None, holding: str = "") -> int:
        """Remove memories (None: all that is kept of the user) from every file; gives how many.

        ``holding``: words that the personality is to forget as well. The marker makes sure that
        a forgetting cut short is finished at the next opening.
        """
        chosen = None if ids is None else sorted(set(ids))

        def run() -> int:
            with self.tables.lock():
                self.tables.use_model(self.embedder.name)  # or has it been re-embedded?
                if chosen is None:
                    return self._forget_everything(owner)
                return self._forget_some(owner, chosen, holding)

        try:
            return self.writer.call(run).result()
        finally:  # where it fails some may be gone all the same
            for tell in tuple(self.when_forgotten):
                tell(owner.user_id)

    def _forget_everything(self, owner: Owner) -> int:
        name = self.tables.name_of(owner)
        table = self.tables.open(name)
        gone = 0 if table is None else int(table.count_rows())
        self.tables.write_info(**{_PURGE + name: _EVERYTHING})
        self._drop_all(owner.key)
        self.tables.write_info(**{_PURGE + name: None})
        return gone

    def _forget_some(self, owner: Owner, ids: Sequence[str], holding: str) -> int:
        name = self.tables.name_of(owner)
        lists = [listed(ids[at : at + 500]) for at in range(0, len(ids), 500)]
        table, failed = self.tables.open(name), None
        try:
            self.states.forget_words(owner, _texts(table, lists), holding)
        except VoiceProcessingError as error:  # it does not keep the memories
            failed = error
        gone = 0
        if table is not None and lists:
            self.tables.write_info(**{_PURGE + name: "1"})
            for one in self.tables.of_user(owner.key):
                gone = self._delete(one, lists)  # at last of the one in use
            self.upkeep.rewritten(name)
            self.tables.write_info(**{_PURGE + name: None})
        if failed is not None:
            raise failed
        return gone

    def _delete(self, name: str, lists: Sequence[str]) -> int:
        """Delete rows by lists of quoted ids, and what files and versions hold of them."""
        table = self.tables.open(name)
        if table is None:
            return 0
        before = int(table.count_rows())
        for some in lists:
            self.tables.commit(table, partial(table.delete, f"id IN ({some})"))
        gone = before - int(table.count_rows())
        self.tables.rewrite(name, _all)
        return gone

    def _drop_all(self, key: str) -> None:
        for name in self.tables.of_user(key):
            self.tables.drop(name)
        self.states.forget(key)

    # ---- at the opening ----------------------------------------------------------------

    def _finish_what_was_cut_short(self) -> None:
        with self.tables.lock():
            self.tables.use_model(self.embedder.name)
            for key, what in self.tables.info().items():
                if not key.startswith(_PURGE):
                    continue
                name = key.removeprefix(_PURGE)
                owner_key = name[1:].partition("_")[0]
                if what == _EVERYTHING:
                    self._drop_all(owner_key)
                else:
                    for one in self.tables.of_user(owner_key):
                        self.tables.rewrite(one, _all)
                    self.upkeep.rewritten(name)
                self.tables.write_info(**{key: None})
            if self.tables.local is not None:
                # We hold the lock, so nobody is changing the model: these are nobody's.
                for name in self.tables.strays():
                    self.tables.drop(name)


def _texts(table: LanceTable | None, lists: Sequence[str]) -> list[str]:
    """Texts of the rows with ids in ``lists``."""
    texts: list[str] = []
    if table is None:
        return texts
    for some in lists:
        rows = table.search().where(f"id IN ({some})").select(["text"]).to_arrow()
        texts += rows["text"].to_pylist()
    return texts


def _all(rows: pa.Table) -> pa.Table:
    return rows
