"""Memory that training frees and takes again in every step: let the process keep it.

What one step frees, glibc's malloc gives back to the system, and what the next step takes has to
be filled with zeros by the system first: a tenth of a training's time. So training tells malloc
to keep what was freed, and to give it back when it has ended. Elsewhere than on glibc nothing
happens.

>>> from minidl.kernels.memory import give_back, keep
>>> keep()
>>> give_back()
"""

from __future__ import annotations

import ctypes
import functools

__all__ = ["give_back", "keep"]

# From malloc.h
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
NEVER, LARGE = -1, 2**31 - 1


@functools.cache
def keep() -> None:
    """From now on, keep freed memory for the next to ask for it."""
    libc = _glibc()
    if libc is not None:
        libc.mallopt(M_MMAP_THRESHOLD, LARGE)  # what is mapped by itself goes back by itself
        libc.mallopt(M_TRIM_THRESHOLD, NEVER)


def give_back() -> None:
    """Give the memory that is free now back to the system."""
    libc = _glibc()
    if libc is not None:
        libc.malloc_trim(0)


@functools.cache
def _glibc() -> ctypes.CDLL | None:
    try:
        libc = ctypes.CDLL(None)
        glibc = hasattr(libc, "gnu_get_libc_version")
    except (OSError, TypeError):
        return None
    return libc if glibc else None
