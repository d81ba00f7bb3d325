"""Keeps the memory of a web process that labels photos flat."""

from __future__ import annotations

import ctypes

_M_ARENA_MAX = -8  # of glibc's malloc.h
ARENAS = 2


def share_arenas() -> None:
    """From now on, let the threads that answer requests share a few pools of memory.

    glibc gives threads eight pools a core. The bodies and pixels of photos then leave gaps in each of them, and it
    takes minutes under load until all have their final size. Does nothing where the C library has no such pools.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, ARENAS)
