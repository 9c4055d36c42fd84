"""How the C library keeps memory: a frame's tensors come and go twelve times a second.

glibc gives the pages of large blocks back to the kernel at once and has them zeroed anew for the
next frame; with sixteen conversations that is a sixth of the codec's time. Kept, they are
simply used again: some tens of MiB, once.
"""

from __future__ import annotations

import ctypes
import sys

# malloc.h: parameters of mallopt
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
_KEEP, _AHEAD, _LARGEST_KEPT = 512 << 20, 64 << 20, 32 << 20


def keep_freed_memory() -> bool:
    """Have this process keep what it frees; False where the C library is another one."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
        ctypes.CDLL(None).gnu_get_libc_version  # noqa: B018 - musl has a mallopt that does nothing
    except (AttributeError, OSError):
        return False
    set_all = [
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_KEPT),
        mallopt(_M_TRIM_THRESHOLD, _KEEP),
        mallopt(_M_TOP_PAD, _AHEAD),
    ]
    return all(set_all)
