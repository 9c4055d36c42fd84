"""LanceDB's asynchronous interface, for searches: one thread with an event loop.

A query through the synchronous interface asks for the table's schema four times and changes
threads for each batch of rows; that took as long as the search itself. Queries that are asked
here side by side also run side by side: LanceDB lets go of the interpreter lock.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Future
from datetime import timedelta
from typing import Any, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

import lancedb
from lancedb.table import AsyncTable, LanceTable

from coda_memory.errors import store_closed
from coda_memory.record import COLUMNS, RECORD

T = TypeVar("T")


class Opened(NamedTuple):
    """A table, and the fewest of its columns in which a memory is whole."""

    table: AsyncTable
    columns: list[str]


Query = Callable[[Opened], Coroutine[Any, Any, T]]


class Reader:
    """Reads the tables of one store; from any thread.

    session: gives LanceDB's caches, shared with the store's other connection, so that what is in
    them is there once; where it gives others, tables are opened with these from then on.
    """

    def __init__(
        self,
        uri: str,
        storage_options: Mapping[str, str] | None,
        session: Callable[[], lancedb.Session],
    ) -> None:
        self._uri = uri
        self._options = dict(storage_options) if storage_options else None
        self._session = session
        self._connection: lancedb.AsyncConnection | None = None
        self._connected_with: lancedb.Session | None = None
        # By the handle of the other interface: where that is opened afresh, so is this.
        self._tables: WeakKeyDictionary[LanceTable, Opened] = WeakKeyDictionary()
        self._loop = asyncio.new_event_loop()
        self._closed = False
        self._closing = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="memory-reader", daemon=True)
        self._thread.start()

    def ask(self, table: LanceTable, query: Query[T]) -> Future[T]:
        """Run ``query`` on ``table``; the future has its result, or raises what LanceDB raises.

        Raises MemoryStoreError once ``close`` has been called.
        """

        async def run() -> T:
            return await query(await self._opened(table))

        with self._closing:  # what came after the last look for tasks would never be done
            if self._closed:
                raise store_closed()
            return asyncio.run_coroutine_threadsafe(run(), self._loop)

    def close(self) -> None:
        """Let what was asked for come to its end, then end the thread. Twice is allowed."""
        with self._closing:
            if self._closed:
                return
            self._closed = True
        asyncio.run_coroutine_threadsafe(self._finish(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    # ---- in the thread -----------------------------------------------------------------

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    async def _opened(self, table: LanceTable) -> Opened:
        opened = self._tables.get(table)
        if opened is None:
            session = self._session()
            if self._connection is None or session is not self._connected_with:
                self._connection = await lancedb.connect_async(
                    self._uri,
                    # Ask for the newest version at each read: another process may have written.
                    read_consistency_interval=timedelta(0),
                    storage_options=self._options,
                    session=session,
                )
                self._connected_with = session
            found = await self._connection.open_table(table.name)
            whole = RECORD in (await found.schema()).names
            opened = self._tables[table] = Opened(found, [RECORD] if whole else COLUMNS)
        return opened

    async def _finish(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*others, return_exceptions=True)
        self._tables.clear()
        self._connected_with = None
        if self._connection is not None:
            self._connection.close()
