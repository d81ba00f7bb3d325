"""What the C library does with large blocks that are freed."""

from __future__ import annotations

import ctypes

_M_MMAP_THRESHOLD = -3  # of glibc's malloc.h
LARGE_BYTES = 1 << 20


def give_back_large_blocks() -> None:
    """From now on a block of LARGE_BYTES or more goes back to the system when it is freed.

    glibc raises its own limit to the largest block that was ever freed, 32 MB at the most: then the pixels of a large
    photo lie in the heap, and its pages stay with the process for good. Nothing happens where the C library has no
    such limit (musl gives back by itself).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES)
