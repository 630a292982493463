"""Batch normalisation over rows (M, C): statistics, forward and backward in two passes each.

>>> import numpy as np
>>> from minidl.kernels.normalization import batch_statistics
>>> mean, variance = batch_statistics(np.array([[1.0, 5.0], [3.0, 5.0]]))
>>> mean.tolist(), variance.tolist()
([2.0, 5.0], [1.0, 0.0])
"""

from __future__ import annotations

import numpy as np

from minidl.kernels.runtime import thread_pool
from minidl.kernels.runtime.jit import jit

__all__ = ["batch_statistics", "normalize", "normalize_backward", "scale_shift"]

ROWS_BYTES = 2**18  # bytes of x per task


def batch_statistics(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and (biased) variance of each column of `x` (M, C), both float64.

    One pass with float64 sums of ``x - x[0]``: the shift keeps the subtraction of the two
    sums exact where the mean is far from zero.
    """
    shards = thread_pool.chunks(len(x))
    sums = np.zeros((len(shards), 2, x.shape[1]))
    thread_pool.run(lambda i: _shifted_sums(x, *shards[i], sums[i]), len(shards))
    total, squares = sums.sum(axis=0) / len(x)
    return x[0] + total, np.maximum(squares - total * total, 0.0)


def scale_shift(x, scale, shift, out: np.ndarray | None = None) -> np.ndarray:
    """Return ``x * scale + shift`` for `x` (M, C) and (C,) in the dtype of `x`."""
    y = np.empty_like(x) if out is None else out
    scale, shift = scale.astype(x.dtype), shift.astype(x.dtype)
    _by_rows(x, lambda first, last: _scale_shift(x, scale, shift, y, first, last))
    return y


def normalize(x, mean, inverse_std, gamma, beta) -> np.ndarray:
    """Return ``gamma * (x - mean) * inverse_std + beta``."""
    scale = gamma * inverse_std
    return scale_shift(x, scale, beta - mean * scale)


def normalize_backward(dy, x, mean, inverse_std, gamma):
    """Return ``(dx, dgamma, dbeta)`` where mean and variance were those of `x` itself.

    Ioffe and Szegedy (2015), section 3; with ``n = (x - mean) * inverse_std`` it is
    ``dx = gamma * inverse_std * (dy - mean(dy) - n * mean(dy * n))``.
    """
    dbeta, dgamma = gradient_sums(dy, x, mean, inverse_std)
    rows = len(x)
    scale = gamma * inverse_std
    # dx = scale * dy + slope * x + offset, one pass
    slope = -scale * inverse_std * dgamma / rows
    offset = -scale * dbeta / rows - slope * mean
    dx = np.empty_like(dy)
    scale, slope, offset = (a.astype(x.dtype) for a in (scale, slope, offset))
    _by_rows(x, lambda first, last: _combine(dy, x, scale, slope, offset, dx, first, last))
    return dx, dgamma.astype(x.dtype), dbeta.astype(x.dtype)


def gradient_sums(dy, x, mean, inverse_std) -> tuple[np.ndarray, np.ndarray]:
    """Return the column sums of ``dy`` and of ``dy * (x - mean) * inverse_std``, float64."""
    shards = thread_pool.chunks(len(x))
    sums = np.zeros((len(shards), 2, x.shape[1]))
    mean, inverse_std = (np.asarray(a, np.float64) for a in (mean, inverse_std))
    thread_pool.run(lambda i: _gradient_sums(dy, x, mean, *shards[i], sums[i]), len(shards))
    dbeta, dgamma = sums.sum(axis=0)
    return dbeta, dgamma * inverse_std


def _by_rows(x, kernel) -> None:
    parts = thread_pool.chunks(len(x), max(1, ROWS_BYTES // max(1, x.shape[1] * x.itemsize)))
    thread_pool.run(lambda i: kernel(*parts[i]), len(parts))


@jit
def _shifted_sums(x, first, last, sums):
    for i in range(first, last):
        for c in range(x.shape[1]):
            v = np.float64(x[i, c]) - np.float64(x[0, c])
            sums[0, c] += v
            sums[1, c] += v * v


@jit
def _scale_shift(x, scale, shift, y, first, last):
    for i in range(first, last):
        for c in range(x.shape[1]):
            y[i, c] = x[i, c] * scale[c] + shift[c]


@jit
def _gradient_sums(dy, x, mean, first, last, sums):
    for i in range(first, last):
        for c in range(x.shape[1]):
            d = np.float64(dy[i, c])
            sums[0, c] += d
            sums[1, c] += d * (np.float64(x[i, c]) - mean[c])


@jit
def _combine(dy, x, scale, slope, offset, dx, first, last):
    for i in range(first, last):
        for c in range(x.shape[1]):
            dx[i, c] = dy[i, c] * scale[c] + x[i, c] * slope[c] + offset[c]
