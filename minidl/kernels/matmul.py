"""Matrix products on the thread pool: BLAS itself has one thread while minidl computes.

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

SMALL = 2**20  # multiplications that are done before a second thread has woken up


def matmul(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return ``a @ b`` for two matrices; each thread computes a strip of the result.

    The strips follow the result's longer side, so each number is summed by one thread, in
    one order.
    """
    rows, columns = a.shape[0], b.shape[1]
    out = np.empty((rows, columns), np.result_type(a, b))
    if rows * columns * a.shape[1] < SMALL:
        with thread_pool.computing():
            return np.matmul(a, b, out=out)
    strips = thread_pool.chunks(max(rows, columns))

    def task(i: int) -> None:
        strip = slice(*strips[i])
        if rows >= columns:
            np.matmul(a[strip], b, out=out[strip])
        else:
            # A strip of columns is not contiguous: BLAS writes to a buffer that is.
            out[:, strip] = np.matmul(a, b[:, strip])

    thread_pool.run(task, len(strips))
    return out
