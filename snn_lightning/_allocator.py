"""Memory that is freed is kept for the next step."""

from __future__ import annotations

import contextlib
import ctypes

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # of glibc's malloc.h


def keep_freed_memory() -> None:
    """Tell glibc not to hand large blocks back to the system; elsewhere, do nothing.

    By default every tensor above 32 MiB is mapped anew, page by page, at each step; what that costs
    is in docs/performance.md. It is the process's setting: a program's to make, not a library's.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):  # no glibc
        malloc = ctypes.CDLL(None)
        malloc.mallopt(_MMAP_MAX, 0)
        malloc.mallopt(_TRIM_THRESHOLD, 2**31 - 1)
