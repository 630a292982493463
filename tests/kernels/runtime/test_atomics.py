"""Atomic counters: no increment is lost between threads."""

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


def test_concurrent_threads_get_different_numbers():
    thread_pool.set_num_threads(4)
    counter, taken = np.zeros(1, np.int64), np.zeros(2**20, np.int64)
    thread_pool.run(lambda i: take_all(counter, taken, len(taken)), 4)
    assert (taken == 1).all()
    assert counter[0] == len(taken) + 4
