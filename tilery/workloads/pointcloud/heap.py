"""How the C library hands out memory for arrays.

By default glibc maps every array of more than some MiB afresh and gives it back when it is freed, so that the kernel fills its
pages with zeros each time: an eighth of a run's CPU-seconds. Kept for the next array, they cost nothing, and the peak is as it
was.
"""

from __future__ import annotations

import ctypes
from functools import cache

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
"""Of glibc's malloc.h."""
KEPT_BYTES = 512 << 20
MAPPED_BYTES = 32 << 20
"""Larger arrays than this are mapped and given back as before."""
PAD_BYTES = 16 << 20


@cache
def keep_freed_pages() -> bool:
    """Let this process keep memory that arrays gave back. False where the C library has no such settings."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = ((M_MMAP_THRESHOLD, MAPPED_BYTES), (M_TRIM_THRESHOLD, KEPT_BYTES), (M_TOP_PAD, PAD_BYTES))
    return all(mallopt(name, value) for name, value in settings)


def give_back_freed_pages() -> bool:
    """Let the system have what arrays gave back until now: worth it between a step of many small arrays and one of few large
    ones, which are mapped beside them. False where the C library cannot."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return trim is not None and bool(trim(0))
