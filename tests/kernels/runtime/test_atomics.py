"""Counters that threads share without the GIL."""

import numpy as np

from minidl.kernels.runtime import thread_pool
from minidl.kernels.runtime.atomics import fetch_add
from minidl.kernels.runtime.jit import jit


@jit
def take_all(counter, taken, count):
    while True:
        i = fetch_add(counter.ctypes.data)
        if i >= count:
            return
        taken[i] += 1


def test_threads_that_take_at_the_same_time_never_take_the_same():
    thread_pool.set_num_threads(4)
    counter, taken = np.zeros(1, np.int64), np.zeros(2**20, np.int64)
    thread_pool.run(lambda i: take_all(counter, taken, len(taken)), 4)
    assert (taken == 1).all()
    assert counter[0] == len(taken) + 4
