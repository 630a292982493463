"""Products of tensors of which one is broadcast, and the sums of their gradients.

The common case is the gate of squeeze-and-excitation: images (N, H, W, C) times (N, 1, 1, C).

>>> import numpy as np
>>> from minidl.kernels import broadcasting
>>> images, gates = np.ones((2, 3, 3, 4)), np.full((2, 1, 1, 4), 0.5)
>>> broadcasting.multiply(images, gates)[0, 0, 0]
array([0.5, 0.5, 0.5, 0.5])
>>> broadcasting.sum_to(images, gates.shape).ravel()[:3]
array([9., 9., 9.])
"""

from __future__ import annotations

import math

import numpy as np

from minidl.kernels.runtime import thread_pool
from minidl.kernels.runtime.jit import jit

__all__ = ["multiply", "sum_to"]

CHUNK = 2**16  # elements per task: 256 KiB of float32


def multiply(a: np.ndarray, b: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Return ``a * b`` for arrays with the same number of axes, broadcast along axes of size 1.

    Parameters
    ----------
    a, b : arrays
    out : array, optional
        Receives the product.
    """
    shape = np.broadcast_shapes(a.shape, b.shape)
    if out is None:
        out = np.empty(shape, np.result_type(a, b))
    if a.shape != shape:
        a, b = b, a
    if a.shape != shape or not _is_per_sample(b.shape, shape) or not out.flags.c_contiguous:
        return np.multiply(a, b, out=out)
    channels = shape[-1]
    x, y = np.ascontiguousarray(a).reshape(-1, channels), out.reshape(-1, channels)
    factors = np.ascontiguousarray(b).reshape(-1, channels)
    repeats = len(x) // len(factors)
    chunks = thread_pool.chunks(len(x), max(1, CHUNK // channels))
    thread_pool.run(lambda i: _multiply_rows(x, factors, y, repeats, *chunks[i]), len(chunks))
    return out


def sum_to(dy: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return the sum of `dy` over the axes along which an array of `shape` was broadcast.

    Each sum is added in one order, whatever the number of threads.
    """
    if dy.shape == shape:
        return dy
    if not _is_per_sample(shape, dy.shape):
        axes = tuple(i for i, (m, n) in enumerate(zip(shape, dy.shape, strict=True)) if m < n)
        return dy.sum(axis=axes, keepdims=True, dtype=dy.dtype)
    samples, channels = dy.shape[0], dy.shape[-1]
    rows = np.ascontiguousarray(dy).reshape(samples, -1, channels)
    sums = np.empty((samples, channels), dy.dtype)
    thread_pool.run(lambda i: _sum_rows(rows[i], sums[i]), samples)
    return sums.reshape(shape)


def _is_per_sample(small: tuple[int, ...], large: tuple[int, ...]) -> bool:
    """Return whether `small` is (N, 1, ..., 1, C) for a `large` of (N, ..., C)."""
    ends = (small[0], small[-1]) == (large[0], large[-1])
    return ends and len(small) > 1 and set(small[1:-1]) <= {1} and math.prod(large) > 0


@jit
def _multiply_rows(
    x: np.ndarray, factors: np.ndarray, y: np.ndarray, repeats: int, start: int, stop: int
) -> None:
    for i in range(start, stop):
        n = i // repeats
        for k in range(x.shape[1]):
            y[i, k] = x[i, k] * factors[n, k]


@jit
def _sum_rows(rows: np.ndarray, sums: np.ndarray) -> None:
    total = np.zeros(sums.size, np.float64)
    for i in range(rows.shape[0]):
        for k in range(rows.shape[1]):
            total[k] += rows[i, k]
    for k in range(sums.size):
        sums[k] = total[k]
