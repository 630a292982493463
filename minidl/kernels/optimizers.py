"""Optimizer steps on whole arrays: each number is read and written once.

`decay` is the decoupled weight decay times the learning rate. State that an optimizer does not need
is an empty array, so that each optimizer is one kernel that is compiled once.

>>> import numpy as np
>>> from minidl.kernels import optimizers
>>> w, gradient, no_velocity = np.array([1.0, 2.0]), np.array([10.0, 10.0]), np.empty(0)
>>> optimizers.sgd([w, gradient, no_velocity], 0.1, 0.0, 0.0, False)
>>> w
array([0., 1.])
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from minidl.kernels.runtime import thread_pool
from minidl.kernels.runtime.jit import jit

__all__ = ["adam", "norm", "rmsprop", "sgd"]

CHUNK = 2**17  # elements per task: Adam's four float32 arrays fill 2 MiB
SERIAL = 2**18  # smaller arrays take less time than waking up the pool


def sgd(
    arrays: list[np.ndarray], learning_rate: float, decay: float, momentum: float, nesterov: bool
) -> None:
    """Update w in place; `arrays` are w, g and the velocity m (empty without momentum)."""
    _update(_sgd, arrays, learning_rate, decay, momentum, nesterov)


def rmsprop(
    arrays: list[np.ndarray],
    learning_rate: float,
    decay: float,
    rho: float,
    momentum: float,
    epsilon: float,
) -> None:
    """Update w in place; `arrays` are w, g, the mean square v, m and the mean a (or empty)."""
    _update(_rmsprop, arrays, learning_rate, decay, rho, 1 - rho, momentum, epsilon)


def adam(
    arrays: list[np.ndarray],
    learning_rate: float,
    decay: float,
    beta_1: float,
    beta_2: float,
    epsilon: float,
) -> None:
    """Update w in place; `arrays` are w, g, m, v and the maximum of v (or empty).

    `learning_rate` includes the bias correction.
    """
    _update(_adam, arrays, learning_rate, decay, 1 - beta_1, 1 - beta_2, epsilon)


def norm(x: np.ndarray) -> float:
    """Return the Euclidean norm, summed in float64: float32 squares would overflow at 2e19."""
    flat = np.asarray(x, order="C").reshape(-1)
    sums = np.zeros(-(-flat.size // CHUNK) or 1)

    def task(i: int, part: slice) -> None:
        sums[i] = _sum_of_squares(flat[part])

    _in_chunks(task, flat.size)
    return math.sqrt(sums.sum())


def _update(kernel: Callable[..., None], arrays: list[np.ndarray], *scalars: float | bool) -> None:
    """Call `kernel` for matching chunks of `arrays` (C-contiguous, one dtype), then `scalars`."""
    flat = [array.reshape(-1) for array in arrays]
    # In the dtype of the arrays: a Python float would make the whole loop compute in float64.
    dtype = flat[0].dtype
    values = [scalar if isinstance(scalar, bool) else dtype.type(scalar) for scalar in scalars]
    _in_chunks(lambda i, part: kernel(*(array[part] for array in flat), *values), flat[0].size)


def _in_chunks(task: Callable[[int, slice], None], size: int) -> None:
    """Call ``task(number, slice)`` for each chunk of an array; on the pool if that saves time."""
    chunks = thread_pool.chunks(size, CHUNK)
    if size >= SERIAL:
        thread_pool.run(lambda i: task(i, slice(*chunks[i])), len(chunks))
    else:
        for i, chunk in enumerate(chunks):
            task(i, slice(*chunk))


@jit
def _sgd(
    w: np.ndarray,
    g: np.ndarray,
    m: np.ndarray,
    learning_rate: float,
    decay: float,
    momentum: float,
    nesterov: bool,
) -> None:
    if m.size == 0:
        for i in range(w.size):
            w[i] = w[i] - w[i] * decay - g[i] * learning_rate
    elif nesterov:
        for i in range(w.size):
            step = g[i] * learning_rate
            m[i] = m[i] * momentum - step
            w[i] = w[i] - w[i] * decay + m[i] * momentum - step
    else:
        for i in range(w.size):
            m[i] = m[i] * momentum - g[i] * learning_rate
            w[i] = w[i] - w[i] * decay + m[i]


@jit
def _rmsprop(
    w: np.ndarray,
    g: np.ndarray,
    v: np.ndarray,
    m: np.ndarray,
    a: np.ndarray,
    learning_rate: float,
    decay: float,
    rho: float,
    one_minus_rho: float,
    momentum: float,
    epsilon: float,
) -> None:
    centered = a.size > 0
    heavy = m.size > 0
    for i in range(w.size):
        v[i] = rho * v[i] + one_minus_rho * g[i] * g[i]
        variance = v[i] + epsilon
        if centered:
            a[i] = rho * a[i] + one_minus_rho * g[i]
            variance -= a[i] * a[i]
            if variance < epsilon:  # by rounding, if the gradient hardly changes
                variance = epsilon
        step = learning_rate * g[i] / np.sqrt(variance)
        if heavy:
            m[i] = momentum * m[i] + step
            step = m[i]
        w[i] = w[i] - w[i] * decay - step


@jit
def _adam(
    w: np.ndarray,
    g: np.ndarray,
    m: np.ndarray,
    v: np.ndarray,
    largest: np.ndarray,
    learning_rate: float,
    decay: float,
    one_minus_beta_1: float,
    one_minus_beta_2: float,
    epsilon: float,
) -> None:
    amsgrad = largest.size > 0
    for i in range(w.size):
        m[i] += (g[i] - m[i]) * one_minus_beta_1
        v[i] += (g[i] * g[i] - v[i]) * one_minus_beta_2
        square = v[i]
        if amsgrad:
            if square > largest[i]:
                largest[i] = square
            square = largest[i]
        w[i] = w[i] - w[i] * decay - m[i] * learning_rate / (np.sqrt(square) + epsilon)


@jit
def _sum_of_squares(x: np.ndarray) -> float:
    total = 0.0
    for i in range(x.size):
        value = np.float64(x[i])
        total += value * value
    return total
