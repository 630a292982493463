"""Batch normalization of rows (M, C): statistics, forward pass and backward pass.

A ReLU or ReLU6 after the normalization takes part as `limits` of the output, such as (0, 6). Then
it costs no pass over memory of its own, forward or backward, and the output before it is not kept.

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

__all__ = [
    "UNLIMITED",
    "InputGradient",
    "batch_statistics",
    "gradient_sums",
    "normalize",
    "normalize_backward",
    "scale_shift",
]

Limits = tuple[float, float]
UNLIMITED: Limits = (-np.inf, np.inf)

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
    x: np.ndarray,
    scale: np.ndarray,
    shift: np.ndarray,
    out: np.ndarray | None = None,
    limits: Limits = UNLIMITED,
) -> np.ndarray:
    """Return ``x * scale + shift`` within `limits` for `x` (M, C) and (C,) in the dtype of `x`."""
    out = np.empty_like(x) if out is None else out
    scale, shift = scale.astype(x.dtype), shift.astype(x.dtype)
    _by_rows(_scale_shift, x, out, scale, shift, _as_dtype(limits, x.dtype))
    return out


def normalize(
    x: np.ndarray,
    mean: np.ndarray,
    inverse_std: np.ndarray,
    gamma: np.ndarray,
    beta: np.ndarray,
    limits: Limits = UNLIMITED,
) -> np.ndarray:
    """Return ``gamma * (x - mean) * inverse_std + beta`` within `limits`."""
    return scale_shift(x, *_scale_and_shift(mean, inverse_std, gamma, beta), None, limits)


def normalize_backward(
    dy: np.ndarray, x: np.ndarray, mean: np.ndarray, inverse_std: np.ndarray, gamma: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return ``(dx, dgamma, dbeta)`` if mean and variance are the statistics of `x`."""
    gradient = InputGradient(dy, x, mean, inverse_std, gamma, np.zeros_like(gamma))
    dbeta, dgamma = gradient.through_statistics()
    return gradient.array(), dgamma.astype(x.dtype), dbeta.astype(x.dtype)


def gradient_sums(
    dy: np.ndarray, x: np.ndarray, mean: np.ndarray, inverse_std: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the column sums of ``dy`` and of ``dy * (x - mean) * inverse_std``, in float64."""
    ones = np.ones(x.shape[1])
    return InputGradient(dy, x, mean, inverse_std, ones, np.zeros_like(ones)).sums()


class InputGradient:
    """The input gradient dx of a normalization, computed for the rows that are asked for.

    With d = dy where ``y = gamma * n + beta`` is within the limits and 0 elsewhere, and with
    ``n = (x - mean) * inverse_std``, it is ``dx = gamma * inverse_std * d`` for constant mean and
    variance. :meth:`through_statistics` adds the terms of the batch's statistics. y is computed
    again, because this is faster than reading it.

    Parameters
    ----------
    dy, x : array, C-contiguous, shape (M, C)
    mean, inverse_std, gamma, beta : array, shape (C,)
    limits : (float, float)
        Of the output y, as in the forward pass.

    Examples
    --------
    >>> x, ones = np.array([[1.0], [3.0]]), np.ones(1)
    >>> gradient = InputGradient(ones + 0 * x, x, 2 * ones, ones, ones, 0 * ones, limits=(0.0, 6.0))
    >>> gradient.array().tolist()
    [[0.0], [1.0]]
    """

    def __init__(
        self,
        dy: np.ndarray,
        x: np.ndarray,
        mean: np.ndarray,
        inverse_std: np.ndarray,
        gamma: np.ndarray,
        beta: np.ndarray,
        limits: Limits = UNLIMITED,
    ):
        self.dy, self.x = dy, x
        self.mean, self.inverse_std = np.asarray(mean, np.float64), inverse_std
        self.scale, shift = _scale_and_shift(self.mean, inverse_std, gamma, beta)
        self.limits = _as_dtype(limits, x.dtype)
        self.forward = (self.scale.astype(x.dtype), shift.astype(x.dtype))
        # dx = scale * d + slope * x + offset
        self.slope = self.offset = np.zeros(x.shape[1], x.dtype)

    def sums(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the gradients (dbeta, dgamma) in float64."""
        dbeta, dgamma = _column_sums(
            _add_gradient_sums, self.x, self.mean, self.dy, *self.forward, self.limits
        )
        return dbeta, dgamma * self.inverse_std

    def through_statistics(self) -> tuple[np.ndarray, np.ndarray]:
        """Take mean and variance as functions of `x`; return (dbeta, dgamma) in float64.

        Ioffe and Szegedy (2015), section 3:
        ``dx = gamma * inverse_std * (d - mean(d) - n * mean(d * n))``.
        """
        dbeta, dgamma = self.sums()
        slope = -self.scale * self.inverse_std * dgamma / len(self.x)
        offset = -self.scale * dbeta / len(self.x) - slope * self.mean
        self.slope, self.offset = slope.astype(self.x.dtype), offset.astype(self.x.dtype)
        return dbeta, dgamma

    def rows(self, first: int, last: int, out: np.ndarray) -> np.ndarray:
        """Write rows ``first ... last - 1`` of dx to `out`, in the calling thread."""
        x, dy = self.x[first:last], self.dy[first:last]
        _combine(x, out, dy, *self.forward, self.limits, self.slope, self.offset, 0, len(x))
        return out

    def array(self) -> np.ndarray:
        """Return all of dx."""
        dx = np.empty_like(self.x)
        arguments = (*self.forward, self.limits, self.slope, self.offset)
        _by_rows(_combine, self.x, dx, self.dy, *arguments)
        return dx


def _scale_and_shift(
    mean: np.ndarray, inverse_std: np.ndarray, gamma: np.ndarray, beta: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    scale = gamma * inverse_std
    return scale, beta - mean * scale


def _as_dtype(limits: Limits, dtype: np.dtype) -> np.ndarray:
    return np.array(limits, dtype)


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
    x: np.ndarray,
    y: np.ndarray,
    scale: np.ndarray,
    shift: np.ndarray,
    limits: np.ndarray,
    first: int,
    last: int,
) -> None:
    low, high = limits[0], limits[1]
    for i in range(first, last):
        for c in range(x.shape[1]):
            v = x[i, c] * scale[c] + shift[c]
            v = low if v < low else v  # NaN stays NaN
            y[i, c] = high if v > high else v


@jit
def _add_gradient_sums(
    x: np.ndarray,
    mean: np.ndarray,
    dy: np.ndarray,
    scale: np.ndarray,
    shift: np.ndarray,
    limits: np.ndarray,
    first: int,
    last: int,
    sums: np.ndarray,
) -> None:
    low, high = limits[0], limits[1]
    zero = x.dtype.type(0)
    for i in range(first, last):
        for c in range(x.shape[1]):
            y = x[i, c] * scale[c] + shift[c]
            d = np.float64(zero if y <= low or y >= high else dy[i, c])
            sums[0, c] += d
            sums[1, c] += d * (np.float64(x[i, c]) - mean[c])


@jit
def _combine(
    x: np.ndarray,
    dx: np.ndarray,
    dy: np.ndarray,
    scale: np.ndarray,
    shift: np.ndarray,
    limits: np.ndarray,
    slope: np.ndarray,
    offset: np.ndarray,
    first: int,
    last: int,
) -> None:
    low, high = limits[0], limits[1]
    zero = x.dtype.type(0)
    for i in range(first, last):
        for c in range(x.shape[1]):
            y = x[i, c] * scale[c] + shift[c]
            d = zero if y <= low or y >= high else dy[i, c]
            dx[i, c] = d * scale[c] + x[i, c] * slope[c] + offset[c]
