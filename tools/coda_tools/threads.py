"""Run plain functions beside the event loop, a bounded number of them at once.

The threads are daemons: a tool that hangs keeps its thread, but not the program. While
all are taken, further calls are refused, since they would wait for what may never end.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import TypeVar

T = TypeVar("T")

MAX_THREADS = 16
_free = threading.BoundedSemaphore(MAX_THREADS)


class ThreadsBusyError(Exception):
    """Every thread for plain functions is taken, perhaps by calls that hang."""


class _RaisedInto:
    """Hands whatever the block raises to a future, as a thread has nobody to raise to."""

    def __init__(self, future: Future[T]) -> None:
        self._future = future

    def __enter__(self) -> None:
        return

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        _free.release()
        if isinstance(error, StopIteration):  # no future of asyncio takes it: it would be lost
            error = RuntimeError(f"{type(error).__name__}: {error}".removesuffix(": "))
        if error is not None:
            self._future.set_exception(error)
        return True


async def call_in_thread(function: Callable[[], T]) -> T:
    """Give what ``function`` returns, or raise what it raises.

    A cancelled call is not waited for; its thread ends when the function does. Raises
    ThreadsBusyError when all threads are taken.
    """
    if not _free.acquire(blocking=False):
        raise ThreadsBusyError(f"all {MAX_THREADS} threads for plain tools are taken")
    future: Future[T] = Future()
    future.set_running_or_notify_cancel()
    context = contextvars.copy_context()

    def work() -> None:
        with _RaisedInto(future):
            future.set_result(context.run(function))

    threading.Thread(target=work, name="tool", daemon=True).start()
    return await asyncio.wrap_future(future)
