"""Memory: where arrays begin, and what becomes of it when they are freed.

Arrays that kernels read and write again and again begin with a cache line: one vector of AVX-512 is
a whole line, and one that lies across two costs twice as much. NumPy's own begin anywhere.

What one step of a training frees, glibc's malloc gives back to the system, and what the next step
takes has to be filled with zeros by the system first: a tenth of a training's time. So training
tells malloc to keep what was freed, and to give it back when it has ended. Elsewhere than on glibc
nothing happens.

>>> from minidl.kernels.runtime.memory import aligned, give_back, keep
>>> aligned((3, 5), "float32").ctypes.data % 64
0
>>> keep()
>>> give_back()
"""

from __future__ import annotations

import ctypes
import functools
import math

import numpy as np

__all__ = ["LINE", "aligned", "give_back", "keep"]

LINE = 64  # bytes of a cache line

# From malloc.h
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
NEVER, LARGE = -1, 2**31 - 1


def aligned(shape: tuple[int, ...], dtype) -> np.ndarray:
    """Return an uninitialised array that begins with a cache line."""
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    block = np.empty(size + LINE - 1, np.uint8)
    start = -block.ctypes.data % LINE
    return block[start : start + size].view(dtype).reshape(shape)


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
