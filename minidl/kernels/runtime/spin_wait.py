"""Waiting for another thread by looking, not sleeping: for the microseconds between two tasks.

To wake a thread that sleeps takes some 60 microseconds, and a network asks for it a hundred times
in a few milliseconds. So a thread that has just had something to do looks at a counter for a
while, without the GIL, before it goes to sleep. Importing this module imports Numba.

>>> import numpy as np
>>> from minidl.kernels.runtime.spin_wait import reaches
>>> counter = np.array([3])
>>> reaches(counter, 3), reaches(counter, 4)
(True, False)
"""

from __future__ import annotations

import time

import numpy as np

from minidl.kernels.runtime.atomics import fetch_add, load, pause
from minidl.kernels.runtime.jit import jit

__all__ = ["leave_and_watch", "reaches"]

PATIENCE = 300  # microseconds of looking: longer than most tasks, short beside what they do for us
GRACE = 20  # microseconds in which the thread that rings the bell gets rid of the GIL


def reaches(counter: np.ndarray, value: int) -> bool:
    """Say whether a counter has some value within PATIENCE.

    Parameters
    ----------
    counter : int64 array of one element
    """
    return bool(_reaches(counter.ctypes.data, value, _turns(PATIENCE)))


def leave_and_watch(left: np.ndarray | None, bell: np.ndarray, seen: int) -> bool:
    """Add 1 to `left` once this thread is without the GIL; then say whether the bell rings.

    A thread that saw the first might otherwise meet this one at the GIL, and be put to sleep.

    Parameters
    ----------
    left : int64 array of one element, or None
    bell : int64 array of one element
        It rings by changing.
    seen : int
        Its value when it had not rung.
    """
    address = 0 if left is None else left.ctypes.data
    return bool(_leave_and_watch(address, bell.ctypes.data, seen, _turns(PATIENCE), _turns(GRACE)))


_pauses: list[float] = []  # how many take a microsecond


def _turns(microseconds: float) -> int:
    """Return how many pauses take so long."""
    if not _pauses:
        never = np.zeros(1, np.int64)
        seconds = []
        for _ in range(4):  # the first one compiles; the fastest was not interrupted
            start = time.perf_counter()
            _reaches(never.ctypes.data, 1, 1000)
            seconds.append(time.perf_counter() - start)
        _pauses.append(1000 / (1e6 * min(seconds)))
    return int(microseconds * _pauses[0])


@jit
def _reaches(counter, value, turns):
    for _ in range(turns):
        if load(counter) == value:
            return True
        pause()
    return False


@jit
def _leave_and_watch(left, bell, seen, turns, grace):
    if left != 0:
        fetch_add(left)
    for _ in range(turns):
        if load(bell) != seen:
            for _ in range(grace):
                pause()
            return True
        pause()
    return False
