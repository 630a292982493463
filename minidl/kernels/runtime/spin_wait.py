"""Spin-waits: short waits for another thread, without sleeping and without the GIL.

Waking up a sleeping thread takes about 60 microseconds. A network would need this a hundred times
within a few milliseconds. Threads therefore poll an atomic counter for a while before they sleep.
Importing this module imports Numba.

>>> import numpy as np
>>> from minidl.kernels.runtime.spin_wait import spin_until_equal
>>> counter = np.array([3])
>>> spin_until_equal(counter, 3), spin_until_equal(counter, 4)
(True, False)
"""

from __future__ import annotations

import functools
import time

import numpy as np

from minidl.kernels.runtime.atomics import fetch_add, load, pause
from minidl.kernels.runtime.jit import jit

__all__ = ["depart_and_spin", "spin_until_equal"]

TIMEOUT = 300  # microseconds: longer than most tasks, short compared with a forward pass
GIL_DELAY = 20  # microseconds in which the thread that sent the wake-up releases the GIL


def spin_until_equal(counter: np.ndarray, value: int) -> bool:
    """Wait until a counter is equal to `value`, for TIMEOUT at most.

    Parameters
    ----------
    counter : numpy.ndarray of int64, shape (1,)
    value : int

    Returns
    -------
    bool
        False after the timeout.
    """
    return bool(_spin_until_equal(counter.ctypes.data, value, _pauses(TIMEOUT)))


def depart_and_spin(departed: np.ndarray | None, generation: np.ndarray, seen: int) -> bool:
    """Add 1 to `departed`, then wait until `generation` changes, for TIMEOUT at most.

    The addition happens after this thread has released the GIL. Otherwise, a thread that waits for
    it could find the GIL taken, and would be put to sleep.

    Parameters
    ----------
    departed : numpy.ndarray of int64, shape (1,), or None
        Number of helpers that have departed from a job.
    generation : numpy.ndarray of int64, shape (1,)
        Counter of wake-ups.
    seen : int
        The generation before the wake-up.

    Returns
    -------
    bool
        False after the timeout.
    """
    address = 0 if departed is None else departed.ctypes.data
    return bool(
        _depart_and_spin(
            address, generation.ctypes.data, seen, _pauses(TIMEOUT), _pauses(GIL_DELAY)
        )
    )


def _pauses(microseconds: float) -> int:
    """Return the number of iterations of a spin loop that take this time."""
    return int(microseconds * _pauses_per_microsecond())


@functools.cache
def _pauses_per_microsecond() -> float:
    zero = np.zeros(1, np.int64)
    seconds = []
    for _ in range(20):  # the first run compiles; the fastest one was not interrupted
        start = time.perf_counter()
        _spin_until_equal(zero.ctypes.data, 1, 1000)
        seconds.append(time.perf_counter() - start)
    return 1000 / (1e6 * min(seconds))


@jit
def _spin_until_equal(counter: int, value: int, pauses: int) -> bool:
    for _ in range(pauses):
        if load(counter) == value:
            return True
        pause()
    return False


@jit
def _depart_and_spin(
    departed: int, generation: int, seen: int, pauses: int, pauses_for_gil: int
) -> bool:
    if departed != 0:
        fetch_add(departed)
    for _ in range(pauses):
        if load(generation) != seen:
            for _ in range(pauses_for_gil):
                pause()
            return True
        pause()
    return False
