"""Makes the C library return large freed blocks to the system."""

from __future__ import annotations

import ctypes

_M_MMAP_THRESHOLD = -3  # of glibc's malloc.h
LARGE_BYTES = 1 << 20


def give_back_large_blocks() -> None:
    """From now on, return a block of LARGE_BYTES or more to the system when it is freed.

    glibc raises its own limit to the size of the largest block that was freed, at most 32 MB. Then the pixels of large
    photos lie in the heap, and the process keeps that memory. Does nothing where the C library has no such limit
    (musl returns blocks by itself).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES)
