"""Activation functions, their gradients, and bias addition: element-wise kernels.

Functions receive whole arrays and divide them into chunks for the thread pool. An output array
`out` may be the input itself.

>>> import numpy as np
>>> from minidl.kernels import activations
>>> activations.apply("sigmoid", np.zeros(2))
array([0.5, 0.5])
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from minidl.kernels.runtime import thread_pool
from minidl.kernels.runtime.jit import jit

__all__ = [
    "add",
    "add_bias",
    "apply",
    "gradient",
    "mask_relu",
    "relu",
    "relu_backward",
    "softmax",
    "softmax_backward",
]

CHUNK = 2**16  # elements per task: 256 KiB of float32


def add(a: np.ndarray, b: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Return ``a + b`` for two contiguous arrays of the same shape."""
    return _elementwise(np.add, (a, b), out)


def add_bias(rows: np.ndarray, bias: np.ndarray | None, relu: bool = False) -> None:
    """Add `bias` (K,) to each row of `rows` (M, K) in place, then apply ReLU if requested.

    None stands for a bias of zeros.
    """
    if bias is not None:
        _add_bias(rows, bias, relu)
    elif relu:
        np.maximum(rows, 0, out=rows)


def mask_relu(dy: np.ndarray, y: np.ndarray, out: np.ndarray) -> np.ndarray:
    """Write the gradient of a plain ReLU with output `y` to `out`, in the calling thread."""
    scalars = _scalars(y.dtype, 0.0, np.inf, 0.0)
    _relu_backward(dy.reshape(-1), y.reshape(-1), out.reshape(-1), *scalars)
    return out


def relu(
    x: np.ndarray,
    out: np.ndarray | None = None,
    slope: float = 0.0,
    maximum: float = np.inf,
    threshold: float = 0.0,
) -> np.ndarray:
    """Return `x` above `threshold`, at most `maximum`; below it ``slope * (x - threshold)``."""
    return _elementwise(_relu, (x,), out, slope, maximum, threshold)


def relu_backward(
    dy: np.ndarray,
    x: np.ndarray,
    slope: float = 0.0,
    maximum: float = np.inf,
    threshold: float = 0.0,
) -> np.ndarray:
    """Return dx; `x` may be the input or (for threshold 0 and slope >= 0) the output."""
    return _elementwise(_relu_backward, (dy, x), None, slope, maximum, threshold)


def apply(name: str, x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Return the function `name` ("sigmoid", "hard_silu", ...; see the end of the file) of `x`."""
    return _elementwise(_FUNCTIONS[name][0], (x,), out)


def gradient(name: str, dy: np.ndarray, saved: np.ndarray) -> np.ndarray:
    """Return dx; `saved` is the output for (hard) sigmoid and tanh, the input for the others."""
    return _elementwise(_FUNCTIONS[name][1], (dy, saved))


def softmax(x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Return the softmax over the last axis; its maximum is subtracted first."""
    out = np.empty_like(x, order="C") if out is None else out
    _softmax(_rows(x), _rows(out))
    return out


def softmax_backward(dy: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return ``dx = y * (dy - sum(dy * y))``."""
    dx = np.empty_like(dy, order="C")
    _softmax_backward(_rows(dy), _rows(y), _rows(dx))
    return dx


def _rows(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x).reshape(-1, x.shape[-1])


def _scalars(dtype: np.dtype, *values: float) -> list[Any]:
    """Return scalars in the dtype of the arrays, so that a kernel is compiled once per dtype."""
    return [dtype.type(value) for value in values]


def _elementwise(
    kernel: Callable[..., Any],
    arrays: tuple[np.ndarray, ...],
    out: np.ndarray | None = None,
    *scalars: float,
) -> np.ndarray:
    """Call ``kernel(*arrays, out, *scalars)`` for chunks of the flat arrays; return `out`."""
    if out is None:
        out = np.empty(arrays[0].shape, np.result_type(*arrays))
    flat = [*(np.ascontiguousarray(a).reshape(-1) for a in arrays), out.reshape(-1)]
    values = _scalars(out.dtype, *scalars)
    chunks = thread_pool.chunks(out.size, CHUNK)

    def task(i: int) -> None:
        part = slice(*chunks[i])
        kernel(*(a[part] for a in flat), *values)

    thread_pool.run(task, len(chunks))
    return out


@jit
def _add_bias(rows: np.ndarray, bias: np.ndarray, relu: bool) -> None:
    zero = bias.dtype.type(0)
    for i in range(rows.shape[0]):
        if relu:
            for k in range(rows.shape[1]):
                v = rows[i, k] + bias[k]
                rows[i, k] = zero if v < 0 else v  # NaN stays NaN
        else:
            for k in range(rows.shape[1]):
                rows[i, k] += bias[k]


@jit
def _relu(x: np.ndarray, y: np.ndarray, slope: float, maximum: float, threshold: float) -> None:
    for i in range(x.size):
        v = x[i]
        if v < threshold:
            v = slope * (v - threshold) if slope != 0 else slope  # 0 * -inf would be NaN
        elif v > maximum:
            v = maximum
        y[i] = v


@jit
def _relu_backward(
    dy: np.ndarray, x: np.ndarray, dx: np.ndarray, slope: float, maximum: float, threshold: float
) -> None:
    for i in range(x.size):
        v = x[i]
        d = dy[i]
        if v <= threshold:
            d = d * slope
        elif v >= maximum:
            d = d * 0
        dx[i] = d


@jit
def _sigmoid(x: np.ndarray, y: np.ndarray) -> None:
    for i in range(x.size):
        e = math.exp(-abs(x[i]))  # never overflows
        y[i] = 1 / (1 + e) if x[i] >= 0 else e / (1 + e)


@jit
def _sigmoid_backward(dy: np.ndarray, y: np.ndarray, dx: np.ndarray) -> None:
    for i in range(y.size):
        dx[i] = dy[i] * y[i] * (1 - y[i])


@jit
def _tanh(x: np.ndarray, y: np.ndarray) -> None:
    for i in range(x.size):
        y[i] = math.tanh(x[i])


@jit
def _tanh_backward(dy: np.ndarray, y: np.ndarray, dx: np.ndarray) -> None:
    for i in range(y.size):
        dx[i] = dy[i] * (1 - y[i] * y[i])


@jit
def _silu(x: np.ndarray, y: np.ndarray) -> None:
    for i in range(x.size):
        e = math.exp(-abs(x[i]))
        y[i] = x[i] / (1 + e) if x[i] >= 0 else x[i] * e / (1 + e)


@jit
def _silu_backward(dy: np.ndarray, x: np.ndarray, dx: np.ndarray) -> None:
    for i in range(x.size):
        e = math.exp(-abs(x[i]))
        s = 1 / (1 + e) if x[i] >= 0 else e / (1 + e)
        dx[i] = dy[i] * s * (1 + x[i] * (1 - s))


@jit
def _hard_sigmoid(x: np.ndarray, y: np.ndarray) -> None:
    kind = x.dtype.type  # constants of another type would widen the loop
    zero, three, six, sixth = kind(0), kind(3), kind(6), kind(1 / 6)
    for i in range(x.size):
        v = x[i] + three
        if v < zero:  # NaN stays NaN
            v = zero
        elif v > six:
            v = six
        y[i] = v * sixth


@jit
def _hard_sigmoid_backward(dy: np.ndarray, y: np.ndarray, dx: np.ndarray) -> None:
    zero, one, sixth = y.dtype.type(0), y.dtype.type(1), y.dtype.type(1 / 6)
    for i in range(y.size):
        dx[i] = dy[i] * (sixth if zero < y[i] < one else zero)


@jit
def _hard_silu(x: np.ndarray, y: np.ndarray) -> None:
    kind = x.dtype.type
    zero, three, six, sixth = kind(0), kind(3), kind(6), kind(1 / 6)
    for i in range(x.size):
        v = x[i] + three
        if v < zero:
            v = zero
        elif v > six:
            v = six
        y[i] = x[i] * (v * sixth)


@jit
def _hard_silu_backward(dy: np.ndarray, x: np.ndarray, dx: np.ndarray) -> None:
    kind = x.dtype.type
    zero, one, two, three, sixth = kind(0), kind(1), kind(2), kind(3), kind(1 / 6)
    for i in range(x.size):
        slope = (two * x[i] + three) * sixth
        if x[i] <= -three:
            slope = zero
        elif x[i] >= three:
            slope = one
        dx[i] = dy[i] * slope


@jit
def _gelu(x: np.ndarray, y: np.ndarray) -> None:
    for i in range(x.size):
        y[i] = 0.5 * x[i] * (1 + math.erf(x[i] * 0.7071067811865476))


@jit
def _gelu_backward(dy: np.ndarray, x: np.ndarray, dx: np.ndarray) -> None:
    for i in range(x.size):
        cdf = 0.5 * (1 + math.erf(x[i] * 0.7071067811865476))
        pdf = 0.3989422804014327 * math.exp(-0.5 * x[i] * x[i])
        dx[i] = dy[i] * (cdf + x[i] * pdf)


@jit
def _gelu_tanh(x: np.ndarray, y: np.ndarray) -> None:
    for i in range(x.size):
        v = x[i]
        y[i] = 0.5 * v * (1 + math.tanh(0.7978845608028654 * (v + 0.044715 * v * v * v)))


@jit
def _gelu_tanh_backward(dy: np.ndarray, x: np.ndarray, dx: np.ndarray) -> None:
    for i in range(x.size):
        v = x[i]
        t = math.tanh(0.7978845608028654 * (v + 0.044715 * v * v * v))
        slope = 0.7978845608028654 * (1 + 0.134145 * v * v)
        dx[i] = dy[i] * 0.5 * (1 + t + v * (1 - t * t) * slope)


@jit
def _softmax(x: np.ndarray, y: np.ndarray) -> None:
    for i in range(x.shape[0]):
        largest = x[i, 0]
        for k in range(x.shape[1]):
            if x[i, k] > largest:
                largest = x[i, k]
        total = 0.0
        for k in range(x.shape[1]):
            y[i, k] = math.exp(x[i, k] - largest)
            total += y[i, k]
        for k in range(x.shape[1]):
            y[i, k] /= total


@jit
def _softmax_backward(dy: np.ndarray, y: np.ndarray, dx: np.ndarray) -> None:
    for i in range(y.shape[0]):
        dot = 0.0
        for k in range(y.shape[1]):
            dot += dy[i, k] * y[i, k]
        for k in range(y.shape[1]):
            dx[i, k] = y[i, k] * (dy[i, k] - dot)


_FUNCTIONS = {
    "sigmoid": (_sigmoid, _sigmoid_backward),
    "tanh": (_tanh, _tanh_backward),
    "silu": (_silu, _silu_backward),
    "hard_sigmoid": (_hard_sigmoid, _hard_sigmoid_backward),
    "hard_silu": (_hard_silu, _hard_silu_backward),
    "gelu": (_gelu, _gelu_backward),
    "gelu_tanh": (_gelu_tanh, _gelu_tanh_backward),
}
