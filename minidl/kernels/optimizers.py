"""One optimizer step over flat arrays: each number is read and written once.

`decay` is the decoupled weight decay times the learning rate. A slot that an optimizer does
without is an empty array, so that each optimizer is one kernel and is compiled once.

>>> import numpy as np
>>> from minidl.kernels import optimizers
>>> w, none = np.array([1.0, 2.0]), np.empty(0)
>>> optimizers.sgd([w, np.array([10.0, 10.0]), none], 0.1, 0.0, 0.0, False)
>>> w
array([0., 1.])
"""

from __future__ import annotations

import math

import numpy as np

from minidl.kernels.runtime import thread_pool
from minidl.kernels.runtime.jit import jit

__all__ = ["adam", "norm", "rmsprop", "sgd"]

CHUNK = 2**17  # elements per task: Adam's four float32 arrays fill 2 MiB
SERIAL = 2**18  # below this size, waking the pool costs more than it saves


def sgd(arrays, learning_rate, decay, momentum, nesterov) -> None:
    """Update w in place; `arrays` are w, g and the velocity m (empty without momentum)."""
    _in_chunks(_sgd, arrays, nesterov, learning_rate, decay, momentum)


def rmsprop(arrays, learning_rate, decay, rho, momentum, epsilon) -> None:
    """Update w in place; `arrays` are w, g, the mean square v, m and the mean a (or empty)."""
    _in_chunks(_rmsprop, arrays, None, learning_rate, decay, rho, 1 - rho, momentum, epsilon)


def adam(arrays, learning_rate, decay, beta_1, beta_2, epsilon) -> None:
    """Update w in place; `arrays` are w, g, m, v and the largest v so far (or empty).

    `learning_rate` has the bias correction in it already.
    """
    _in_chunks(_adam, arrays, None, learning_rate, decay, 1 - beta_1, 1 - beta_2, epsilon)


def norm(x: np.ndarray) -> float:
    """Return the Euclidean norm, summed in float64: float32 squares would overflow at 2e19."""
    flat = np.asarray(x, order="C").reshape(-1)
    chunks = thread_pool.chunks(flat.size, CHUNK)
    sums = np.zeros(len(chunks))

    def task(i: int) -> None:
        start, stop = chunks[i]
        sums[i] = _sum_of_squares(flat[start:stop])

    _run(task, chunks, flat.size)
    return math.sqrt(sums.sum())


def _in_chunks(kernel, arrays, flag, *scalars) -> None:
    """Run `kernel` over matching chunks of flat views of `arrays` (C-contiguous, one dtype)."""
    flat = [array.reshape(-1) for array in arrays]
    # In the arrays' own type: a Python float would make the whole loop compute in float64.
    values = [flat[0].dtype.type(scalar) for scalar in scalars]
    if flag is not None:
        values.append(flag)
    chunks = thread_pool.chunks(flat[0].size, CHUNK)

    def task(i: int) -> None:
        start, stop = chunks[i]
        kernel(*(array[start:stop] for array in flat), *values)

    _run(task, chunks, flat[0].size)


def _run(task, chunks, size) -> None:
    if size >= SERIAL:
        thread_pool.run(task, len(chunks))
    else:
        for i in range(len(chunks)):
            task(i)


@jit
def _sgd(w, g, m, learning_rate, decay, momentum, nesterov):
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
def _rmsprop(w, g, v, m, a, learning_rate, decay, rho, one_minus_rho, momentum, epsilon):
    centered = a.size > 0
    heavy = m.size > 0
    for i in range(w.size):
        v[i] = rho * v[i] + one_minus_rho * g[i] * g[i]
        variance = v[i] + epsilon
        if centered:
            a[i] = rho * a[i] + one_minus_rho * g[i]
            variance -= a[i] * a[i]
            if variance < epsilon:  # by rounding, where the gradient hardly changes
                variance = epsilon
        step = learning_rate * g[i] / np.sqrt(variance)
        if heavy:
            m[i] = momentum * m[i] + step
            step = m[i]
        w[i] = w[i] - w[i] * decay - step


@jit
def _adam(w, g, m, v, largest, learning_rate, decay, one_minus_beta_1, one_minus_beta_2, epsilon):
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
def _sum_of_squares(x):
    total = 0.0
    for i in range(x.size):
        value = np.float64(x[i])
        total += value * value
    return total
