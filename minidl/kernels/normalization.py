"""Batch normalization of rows (M, C): statistics, forward pass and backward pass.

>>> import numpy as np
>>> from minidl.kernels.normalization import batch_statistics
>>> mean, variance = batch_statistics(np.array([[1.0, 5.0], [3.0, 5.0]]))
>>> mean.tolist(), variance.tolist()
([2.0, 5.0], [1.0, 0.0])
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from minidl.kernels.runtime import thread_pool
from minidl.kernels.runtime.jit import jit

__all__ = ["batch_statistics", "gradient_sums", "normalize", "normalize_backward", "scale_shift"]

CHUNK_BYTES = 2**18  # of x per task
SUM_ROWS = 128  # at least, per accumulator, so that the accumulators remain small beside x


def batch_statistics(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and (biased) variance of each column of `x` (M, C), both in float64.

    One pass sums ``x - x[0]`` and its square in float64. The shift keeps the variance exact for
    columns whose mean is far from zero.
    """
    total, squares = _column_sums(_add_shifted_sums, x, x[0]) / len(x)
    return x[0] + total, np.maximum(squares - total * total, 0.0)


def scale_shift(
    x: np.ndarray, scale: np.ndarray, shift: np.ndarray, out: np.ndarray | None = None
) -> np.ndarray:
    """Return ``x * scale + shift`` for `x` (M, C) and (C,) in the dtype of `x`."""
    out = np.empty_like(x) if out is None else out
    _by_rows(_scale_shift, x, out, scale.astype(x.dtype), shift.astype(x.dtype))
    return out


def normalize(
    x: np.ndarray, mean: np.ndarray, inverse_std: np.ndarray, gamma: np.ndarray, beta: np.ndarray
) -> np.ndarray:
    """Return ``gamma * (x - mean) * inverse_std + beta``."""
    scale = gamma * inverse_std
    return scale_shift(x, scale, beta - mean * scale)


def normalize_backward(
    dy: np.ndarray, x: np.ndarray, mean: np.ndarray, inverse_std: np.ndarray, gamma: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return ``(dx, dgamma, dbeta)`` if mean and variance are the statistics of `x`.

    Ioffe and Szegedy (2015), section 3. With ``n = (x - mean) * inverse_std``, it is
    ``dx = gamma * inverse_std * (dy - mean(dy) - n * mean(dy * n))``.
    """
    dbeta, dgamma = gradient_sums(dy, x, mean, inverse_std)
    scale = gamma * inverse_std
    # dx = scale * dy + slope * x + offset, in one pass
    slope = -scale * inverse_std * dgamma / len(x)
    offset = -scale * dbeta / len(x) - slope * mean
    dx = np.empty_like(dy)
    _by_rows(_combine, x, dx, dy, *(a.astype(x.dtype) for a in (scale, slope, offset)))
    return dx, dgamma.astype(x.dtype), dbeta.astype(x.dtype)


def gradient_sums(
    dy: np.ndarray, x: np.ndarray, mean: np.ndarray, inverse_std: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the column sums of ``dy`` and of ``dy * (x - mean) * inverse_std``, in float64."""
    dbeta, dgamma = _column_sums(_add_gradient_sums, x, np.asarray(mean, np.float64), dy)
    return dbeta, dgamma * inverse_std


def _column_sums(kernel: Callable[..., None], x: np.ndarray, *arrays: np.ndarray) -> np.ndarray:
    """Return two sums over the rows of each column, (2, C), from one accumulator per shard.

    The shards depend on the shape alone, hence also the rounding.
    """
    rows = max(SUM_ROWS, CHUNK_BYTES // max(1, x.shape[1] * x.itemsize))
    shards = thread_pool.chunks(len(x), rows)
    sums = np.zeros((len(shards), 2, x.shape[1]))
    thread_pool.run(lambda i: kernel(x, *arrays, *shards[i], sums[i]), len(shards))
    return sums.sum(axis=0)


def _by_rows(kernel: Callable[..., None], x: np.ndarray, *arrays: np.ndarray) -> None:
    """Call ``kernel(x, *arrays, first, last)`` for chunks of the rows of `x`."""
    chunks = thread_pool.chunks(len(x), CHUNK_BYTES // max(1, x.shape[1] * x.itemsize))
    thread_pool.run(lambda i: kernel(x, *arrays, *chunks[i]), len(chunks))


@jit
def _add_shifted_sums(
    x: np.ndarray, shift: np.ndarray, first: int, last: int, sums: np.ndarray
) -> None:
    for i in range(first, last):
        for c in range(x.shape[1]):
            v = np.float64(x[i, c]) - np.float64(shift[c])
            sums[0, c] += v
            sums[1, c] += v * v


@jit
def _scale_shift(
    x: np.ndarray, y: np.ndarray, scale: np.ndarray, shift: np.ndarray, first: int, last: int
) -> None:
    for i in range(first, last):
        for c in range(x.shape[1]):
            y[i, c] = x[i, c] * scale[c] + shift[c]


@jit
def _add_gradient_sums(
    x: np.ndarray, mean: np.ndarray, dy: np.ndarray, first: int, last: int, sums: np.ndarray
) -> None:
    for i in range(first, last):
        for c in range(x.shape[1]):
            d = np.float64(dy[i, c])
            sums[0, c] += d
            sums[1, c] += d * (np.float64(x[i, c]) - mean[c])


@jit
def _combine(
    x: np.ndarray,
    dx: np.ndarray,
    dy: np.ndarray,
    scale: np.ndarray,
    slope: np.ndarray,
    offset: np.ndarray,
    first: int,
    last: int,
) -> None:
    for i in range(first, last):
        for c in range(x.shape[1]):
            dx[i, c] = dy[i, c] * scale[c] + x[i, c] * slope[c] + offset[c]
