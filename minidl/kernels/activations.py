"""Bias, activations and their derivatives, element by element.

Arrays are passed whole; each function cuts them into chunks for the thread pool. An output
array `out` may be the input itself.

>>> import numpy as np
>>> from minidl.kernels import activations
>>> activations.apply("sigmoid", np.zeros(2))
array([0.5, 0.5])
"""

from __future__ import annotations

import math

import numpy as np

from minidl.kernels.runtime import thread_pool
from minidl.kernels.runtime.jit import jit

__all__ = [
    "add", "add_bias", "apply", "apply_epilogue", "gradient", "mask_relu", "relu", "relu_backward",
    "softmax", "softmax_backward",
]  # fmt: skip

CHUNK = 2**16  # elements per task: 256 KiB of float32


def add(a: np.ndarray, b: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Return ``a + b`` for two contiguous arrays of one shape, on all threads."""
    out = np.empty(a.shape, np.result_type(a, b)) if out is None else out
    _in_chunks(np.add, a.reshape(-1), b.reshape(-1), out.reshape(-1))
    return out


def add_bias(rows: np.ndarray, bias: np.ndarray | None, relu: bool = False) -> None:
    """Add `bias` (K,) to each row of `rows` (M, K) in place, then ReLU if asked for."""
    if bias is None:
        np.maximum(rows, 0, out=rows)
    else:
        _add_bias(rows, bias, relu)


def apply_epilogue(
    block: np.ndarray, bias: np.ndarray | None, relu: bool, residual: np.ndarray | None,
    out: np.ndarray, channel: int = 0, begin: int = 0,
) -> None:  # fmt: skip
    """Write ``relu(block + bias + residual)`` to `out`, from column ``channel + begin`` on.

    What comes after a matrix product, in one pass while the block is in cache.

    Parameters
    ----------
    block : (M, part of K)
        Those columns of the product that start at `begin`.
    bias : (K,) or None
    relu : bool
    residual : (M, K) or None
    out : (M, at least channel + K)
        It may be `block` itself.
    channel, begin : int
    """
    if bias is None:
        bias = np.zeros(begin + block.shape[1], block.dtype)
    if residual is None:
        residual = np.empty((0, 0), block.dtype)
    _apply_epilogue(block, bias, relu, residual, out, channel, begin)


def mask_relu(dy: np.ndarray, y: np.ndarray, out: np.ndarray) -> np.ndarray:
    """Write the plain ReLU's gradient of one contiguous block to `out`; no pool, no checks."""
    flat = [a.reshape(-1) for a in (dy, y, out)]
    _relu_backward(*flat, *_scalars(y.dtype, 0.0, np.inf, 0.0))
    return out


def relu(x, out=None, slope=0.0, maximum=np.inf, threshold=0.0) -> np.ndarray:
    """Return x above `threshold`, at most `maximum`; below it ``slope * (x - threshold)``."""
    x, out, flat_x, flat_out = _flat(x, out)
    _in_chunks(_relu, flat_x, flat_out, *_scalars(x.dtype, slope, maximum, threshold))
    return out


def relu_backward(dy, x, slope=0.0, maximum=np.inf, threshold=0.0) -> np.ndarray:
    """Return dx; `x` may be the input or (for threshold 0 and slope >= 0) the output."""
    dx = np.empty_like(dy, order="C")
    flat = [np.ascontiguousarray(a).reshape(-1) for a in (dy, x)]
    _in_chunks(_relu_backward, *flat, dx.reshape(-1), *_scalars(x.dtype, slope, maximum, threshold))
    return dx


def apply(name: str, x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Return the function `name` ("sigmoid", "tanh", "silu", "gelu", "gelu_tanh") of `x`."""
    x, out, flat_x, flat_out = _flat(x, out)
    _in_chunks(_FUNCTIONS[name][0], flat_x, flat_out)
    return out


def gradient(name: str, dy: np.ndarray, saved: np.ndarray) -> np.ndarray:
    """Return dx; `saved` is the output for sigmoid and tanh, the input for the others."""
    dx = np.empty_like(dy, order="C")
    flat = [np.ascontiguousarray(a).reshape(-1) for a in (dy, saved)]
    _in_chunks(_FUNCTIONS[name][1], *flat, dx.reshape(-1))
    return dx


def softmax(x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Return the softmax over the last axis; its maximum is subtracted first."""
    x, out, _, _ = _flat(x, out)
    _softmax(x.reshape(-1, x.shape[-1]), out.reshape(-1, x.shape[-1]))
    return out


def softmax_backward(dy: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return ``dx = y * (dy - sum(dy * y))``."""
    dx = np.empty_like(dy, order="C")
    rows = [np.ascontiguousarray(a).reshape(-1, y.shape[-1]) for a in (dy, y)]
    _softmax_backward(*rows, dx.reshape(-1, y.shape[-1]))
    return dx


def _flat(x, out):
    x = np.ascontiguousarray(x)
    out = np.empty_like(x) if out is None else out
    return x, out, x.reshape(-1), out.reshape(-1)


def _scalars(dtype, *values):
    """Scalars in the arrays' dtype, so that a kernel is compiled once per dtype."""
    return [dtype.type(value) for value in values]


def _in_chunks(kernel, *arguments) -> None:
    """Run an element-wise kernel on slices of its (flat) array arguments."""
    parts = thread_pool.chunks(arguments[0].size, CHUNK)

    def task(i: int) -> None:
        part = slice(*parts[i])
        kernel(*(a[part] if isinstance(a, np.ndarray) else a for a in arguments))

    thread_pool.run(task, len(parts))


@jit
def _add_bias(rows, bias, relu):
    zero = bias.dtype.type(0)
    for i in range(rows.shape[0]):
        if relu:
            for k in range(rows.shape[1]):
                v = rows[i, k] + bias[k]
                rows[i, k] = zero if v < 0 else v  # this way round NaN stays NaN
        else:
            for k in range(rows.shape[1]):
                rows[i, k] += bias[k]


@jit
def _apply_epilogue(block, bias, relu, residual, out, channel, begin):
    zero = bias.dtype.type(0)
    # Unsigned: an offset that cannot be negative needs no wrap-around, and loops become SIMD.
    width, at, to = np.uint64(block.shape[1]), np.uint64(begin), np.uint64(channel + begin)
    for i in range(np.uint64(block.shape[0])):
        if residual.size > 0:
            for k in range(width):
                out[i, to + k] = block[i, k] + bias[at + k] + residual[i, at + k]
        else:
            for k in range(width):
                out[i, to + k] = block[i, k] + bias[at + k]
        if relu:  # the row is in the nearest cache still
            for k in range(width):
                v = out[i, to + k]
                out[i, to + k] = zero if v < 0 else v  # this way round NaN stays NaN


@jit
def _relu(x, y, slope, maximum, threshold):
    for i in range(x.size):
        v = x[i]
        if v < threshold:
            v = slope * (v - threshold) if slope != 0 else slope  # 0 * -inf would be NaN
        elif v > maximum:
            v = maximum
        y[i] = v


@jit
def _relu_backward(dy, x, dx, slope, maximum, threshold):
    for i in range(x.size):
        v = x[i]
        d = dy[i]
        if v <= threshold:
            d = d * slope
        elif v >= maximum:
            d = d * 0
        dx[i] = d


@jit
def _sigmoid(x, y):
    for i in range(x.size):
        e = math.exp(-abs(x[i]))  # never overflows
        y[i] = 1 / (1 + e) if x[i] >= 0 else e / (1 + e)


@jit
def _sigmoid_backward(dy, y, dx):
    for i in range(y.size):
        dx[i] = dy[i] * y[i] * (1 - y[i])


@jit
def _tanh(x, y):
    for i in range(x.size):
        y[i] = math.tanh(x[i])


@jit
def _tanh_backward(dy, y, dx):
    for i in range(y.size):
        dx[i] = dy[i] * (1 - y[i] * y[i])


@jit
def _silu(x, y):
    for i in range(x.size):
        e = math.exp(-abs(x[i]))
        y[i] = x[i] / (1 + e) if x[i] >= 0 else x[i] * e / (1 + e)


@jit
def _silu_backward(dy, x, dx):
    for i in range(x.size):
        e = math.exp(-abs(x[i]))
        s = 1 / (1 + e) if x[i] >= 0 else e / (1 + e)
        dx[i] = dy[i] * s * (1 + x[i] * (1 - s))


@jit
def _gelu(x, y):
    for i in range(x.size):
        y[i] = 0.5 * x[i] * (1 + math.erf(x[i] * 0.7071067811865476))


@jit
def _gelu_backward(dy, x, dx):
    for i in range(x.size):
        cdf = 0.5 * (1 + math.erf(x[i] * 0.7071067811865476))
        pdf = 0.3989422804014327 * math.exp(-0.5 * x[i] * x[i])
        dx[i] = dy[i] * (cdf + x[i] * pdf)


@jit
def _gelu_tanh(x, y):
    for i in range(x.size):
        v = x[i]
        y[i] = 0.5 * v * (1 + math.tanh(0.7978845608028654 * (v + 0.044715 * v * v * v)))


@jit
def _gelu_tanh_backward(dy, x, dx):
    for i in range(x.size):
        v = x[i]
        t = math.tanh(0.7978845608028654 * (v + 0.044715 * v * v * v))
        slope = 0.7978845608028654 * (1 + 0.134145 * v * v)
        dx[i] = dy[i] * 0.5 * (1 + t + v * (1 - t * t) * slope)


@jit
def _softmax(x, y):
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
def _softmax_backward(dy, y, dx):
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
    "gelu": (_gelu, _gelu_backward),
    "gelu_tanh": (_gelu_tanh, _gelu_tanh_backward),
}
