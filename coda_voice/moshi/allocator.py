"""How the C library keeps memory, in a process that talks all day.

glibc gives every thread a stock of its own, up to eight for each core, and what one thread has
freed in pieces another cannot use: a server whose memories are written all day grew by megabytes a
minute with nothing lost. Two stocks hardly grow. How many there may be is settled for good once
eight are there, and the memory store's threads alone are more: so that comes first.

Large blocks, a search's files above all, come from the kernel and go back to it: in a stock they
leave holes, in which others put what stays. (What a frame needs is not among them: ONNX Runtime, in
which the codec runs, keeps its room.)
"""

from __future__ import annotations

import ctypes
import sys

# malloc.h: parameters of mallopt
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_LARGE, _KEPT_AT_THE_END, _STOCKS = 1 << 20, 16 << 20, 2


def share_freed_memory() -> bool:
    """Have this process's threads share what they free; False where the C library is another one.

    Of use only before threads are started.
    """
    return _set(
        {
            _M_ARENA_MAX: _STOCKS,
            _M_MMAP_THRESHOLD: _LARGE,
            _M_TRIM_THRESHOLD: _KEPT_AT_THE_END,
        }
    )


def give_back_freed_memory() -> bool:
    """Give the kernel back what lies free between what is in use; whether there was any.

    It takes a millisecond or two, and what is wanted again has to be fetched: do it now and then.
    What is kept grows otherwise, with nothing lost: 1 MiB a minute with eight people talking.
    """
    library = _glibc()
    return library is not None and bool(library.malloc_trim(0))


def _set(wanted: dict[int, int]) -> bool:
    library = _glibc()
    if library is None:
        return False
    return all([library.mallopt(name, value) for name, value in wanted.items()])


def _glibc() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "gnu_get_libc_version") else None
