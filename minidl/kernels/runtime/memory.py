"""Cache-line-aligned arrays, and reuse of freed memory during training.

Kernels use arrays that start at a cache line. An AVX-512 vector is as large as a cache line, so one
that crosses a boundary takes two memory accesses. NumPy aligns its arrays to 16 bytes only.

By default, glibc's malloc returns large freed blocks to the operating system, which must zero the
pages again for the next training step. This took 10 % of the training time. Training therefore
retains freed memory. On systems without glibc, the functions for this do nothing.

>>> from minidl.kernels.runtime.memory import aligned, retain_freed_memory
>>> aligned((3, 5), "float32").ctypes.data % 64
0
>>> with retain_freed_memory():
...     pass  # training steps
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import math
import threading
from collections.abc import Iterator

import numpy as np
from numpy.typing import DTypeLike

__all__ = ["CACHE_LINE", "aligned", "retain_freed_memory", "trim_heap"]

CACHE_LINE = 64  # bytes

# Parameters and values of mallopt(3), from malloc.h
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
RETAINING = {M_MMAP_THRESHOLD: 2**31 - 1, M_TRIM_THRESHOLD: -1}
# glibc starts at 128 KiB, and raises both thresholds when the process frees larger blocks: to these
# values at most. A call of mallopt turns this adjustment off, so its final values are set instead.
DEFAULT = {M_MMAP_THRESHOLD: 32 * 2**20, M_TRIM_THRESHOLD: 64 * 2**20}

_lock = threading.Lock()
_retaining = 0  # number of `retain_freed_memory` blocks that are active, in all threads


def aligned(shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
    """Return an uninitialized array that starts at a cache line."""
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    block = np.empty(size + CACHE_LINE - 1, np.uint8)
    start = -block.ctypes.data % CACHE_LINE
    return block[start : start + size].view(dtype).reshape(shape)


@contextlib.contextmanager
def retain_freed_memory(trim: bool = True) -> Iterator[None]:
    """Keep freed memory in the process while the block runs.

    Blocks may be nested and may run in several threads: the first one sets malloc's thresholds,
    the last one restores them. The setting applies to the whole process.

    Parameters
    ----------
    trim : bool
        Whether to return the free memory to the operating system at the end. A loop that enters
        the block in each iteration passes False.
    """
    global _retaining
    with _lock:
        _retaining += 1
        if _retaining == 1:
            _set_thresholds(RETAINING)
    try:
        yield
    finally:
        with _lock:
            _retaining -= 1
            if _retaining == 0:
                _set_thresholds(DEFAULT)
        if trim:
            trim_heap()


def trim_heap() -> None:
    """Return the free memory of the heap to the operating system."""
    libc = _glibc()
    if libc is not None:
        libc.malloc_trim(0)


def _set_thresholds(thresholds: dict[int, int]) -> None:
    libc = _glibc()
    if libc is not None:
        for parameter, value in thresholds.items():
            libc.mallopt(parameter, value)


@functools.cache
def _glibc() -> ctypes.CDLL | None:
    """Return the C library of this process if it is glibc."""
    try:
        libc = ctypes.CDLL(None)
    except (OSError, TypeError):
        return None
    return libc if hasattr(libc, "gnu_get_libc_version") else None
