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
NARROW = 64  # rows or columns for which BLAS is efficient
MOST_SHARDS = 16  # each packs the matrix that all of them read


def matmul(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return ``a @ b`` for two matrices; each task computes one shard of the result.

    Shards divide the longer side of the result. Each number is therefore summed by one thread. The
    shards depend on the shapes alone, because the order of BLAS' sums depends on their size.
    """
    rows, columns = a.shape[0], b.shape[1]
    out = np.empty((rows, columns), np.result_type(a, b))
    if rows * columns * a.shape[1] < SMALL:
        with thread_pool.computing():
            return np.matmul(a, b, out=out)
    smallest = max(NARROW, -(-SMALL // (min(rows, columns) * a.shape[1])))
    shards = thread_pool.spans(max(rows, columns), smallest, MOST_SHARDS)

    def task(i: int) -> None:
        shard = slice(*shards[i])
        if rows >= columns:
            np.matmul(a[shard], b, out=out[shard])
        else:
            # BLAS needs a contiguous result, which some columns of `out` are not.
            out[:, shard] = np.matmul(a, b[:, shard])

    thread_pool.run(task, len(shards))
    return out
