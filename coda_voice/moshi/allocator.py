"""How the C library keeps memory: a frame's tensors come and go twelve times a second.

glibc gives the pages of large blocks back to the kernel at once and has them zeroed anew for the
next frame; with sixteen conversations that is a sixth of the codec's time. Kept, they are
simply used again: some tens of MiB, once.

It also gives every thread a stock of its own, up to eight for each core, and what one thread has
freed in pieces another cannot use: a server whose memories are written all day grew by 8 MiB a
minute with nothing lost. Two stocks hardly grow.
"""

from __future__ import annotations

import ctypes
import sys

# malloc.h: parameters of mallopt
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -2, -3, -8
_KEEP, _AHEAD, _LARGEST_KEPT, _STOCKS = 512 << 20, 64 << 20, 32 << 20, 2


def keep_freed_memory() -> bool:
    """Have this process keep what it frees; False where the C library is another one."""
    if not sys.platform.startswith("linux"):
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return False
    wanted = {
        _M_MMAP_THRESHOLD: _LARGEST_KEPT,
        _M_TRIM_THRESHOLD: _KEEP,
        _M_TOP_PAD: _AHEAD,
        _M_ARENA_MAX: _STOCKS,
    }
    return all([library.mallopt(name, value) for name, value in wanted.items()])
