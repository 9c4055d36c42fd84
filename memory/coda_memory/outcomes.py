"""Outcomes of what a thread of the store was asked to do.

Such a thread serves everybody, so nothing that one job does may end it: not an error of a kind
that nobody knew of, not a panic in LanceDB's Rust (which is no ``Exception``), and not a caller
that went away, whose future can take no result any more.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from typing import TypeVar

from coda_memory.errors import MemoryStoreError
from coda_voice.errors import VoiceProcessingError

T = TypeVar("T")


def settle(
    done: Future[T], run: Callable[[], T], known: Callable[[BaseException], VoiceProcessingError]
) -> None:
    """Run, and give ``done`` the result or, by way of ``known``, the error."""
    try:
        result = run()
    except VoiceProcessingError as error:
        fail(done, error)
    except BaseException as error:  # noqa: BLE001 - it is told to whoever waits
        failure = known(error)
        failure.__cause__ = error
        fail(done, failure)
    else:
        give(done, result)


def give(done: Future[T], result: T) -> None:
    """Give ``done`` a result, if anybody still waits for it."""
    with contextlib.suppress(InvalidStateError):
        done.set_result(result)


def fail(done: Future[T], error: BaseException) -> None:
    """Give ``done`` an error, if anybody still waits for it."""
    with contextlib.suppress(InvalidStateError):
        done.set_exception(error)


def unknown(error: BaseException, doing: str, code: str | None = None) -> MemoryStoreError:
    """Tell of an error of a kind that nobody expected."""
    line = str(error).strip().partition("\n")[0][:200]
    return MemoryStoreError(f"{doing} failed: {type(error).__name__}: {line}", code)
