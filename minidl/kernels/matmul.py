"""Matrix products of BLAS, divided among the thread pool.

>>> import numpy as np
>>> from minidl.kernels.matmul import matmul
>>> matmul(np.ones((2, 3)), np.ones((3, 2)))
array([[3., 3.],
       [3., 3.]])
"""

from __future__ import annotations

import numpy as np

from minidl.kernels.runtime import thread_pool

__all__ = ["matmul"]

SMALL = 2**20  # multiplications that take less time than the wake-up of a second thread


def matmul(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return ``a @ b`` for two matrices; each thread computes one shard of the result.

    Shards divide the longer side of the result. Each number is therefore summed by one thread, in
    a fixed order.
    """
    rows, columns = a.shape[0], b.shape[1]
    out = np.empty((rows, columns), np.result_type(a, b))
    if rows * columns * a.shape[1] < SMALL:
        with thread_pool.computing():
            return np.matmul(a, b, out=out)
    shards = thread_pool.chunks(max(rows, columns))

    def task(i: int) -> None:
        shard = slice(*shards[i])
        if rows >= columns:
            np.matmul(a[shard], b, out=out[shard])
        else:
            # BLAS needs a contiguous result, which some columns of `out` are not.
            out[:, shard] = np.matmul(a, b[:, shard])

    thread_pool.run(task, len(shards))
    return out
