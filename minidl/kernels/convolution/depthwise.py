"""Depthwise convolution: each channel has kernels of its own, so there is no GEMM in it.

>>> import numpy as np
>>> from minidl.kernels.geometry import Convolution
>>> from minidl.kernels.convolution.depthwise import depthwise
>>> x, w = np.ones((1, 3, 3, 2)), np.ones((2, 2, 2, 1))
>>> depthwise(x, w, Convolution((2, 2)))[0, :, :, 1]
array([[4., 4.],
       [4., 4.]])
"""

from __future__ import annotations

import numpy as np

from minidl.kernels.geometry import Window
from minidl.kernels.runtime import thread_pool
from minidl.kernels.runtime.jit import jit

__all__ = ["depthwise", "depthwise_backward"]


def depthwise(
    x: np.ndarray, w: np.ndarray, window: Window, out: np.ndarray | None = None
) -> np.ndarray:
    """Return (N, OH, OW, C*M) for `x` (N, H, W, C) and `w` (KH, KW, C, M), in `out` if given."""
    oh, ow = window.output_size(*x.shape[1:3])
    y = np.empty((len(x), oh, ow, w.shape[2] * w.shape[3]), x.dtype) if out is None else out
    y[...] = 0
    numbers = _numbers(x, window)
    flat = w.reshape(*w.shape[:2], -1)
    multiplier = w.shape[3]
    thread_pool.run(
        lambda i: _forward_row(x, flat, y, i // oh, i % oh, multiplier, *numbers), len(x) * oh
    )
    return y


def depthwise_backward(x, w, dy, window: Window, need_dx: bool = True):
    """Return ``(dx, dw)``; dx is None where it is not needed."""
    flat = w.reshape(*w.shape[:2], -1)
    numbers = _numbers(x, window)
    strands = thread_pool.chunks(len(x))  # images and a sum of its own for each thread
    dw_of = np.zeros((len(strands), *flat.shape), w.dtype)
    dx = np.zeros(x.shape if need_dx else (0, 0, 0, 0), x.dtype)

    def task(i: int) -> None:
        for n in range(*strands[i]):
            _backward_image(x, flat, dy, dx, dw_of[i], n, w.shape[3], *numbers)

    thread_pool.run(task, len(strands))
    return dx if need_dx else None, dw_of.sum(axis=0).reshape(w.shape)


def _numbers(x, window):
    top, _, left, _ = window.pads(*x.shape[1:3])
    return *window.strides, *window.dilation, top, left


@jit
def _forward_row(x, w, y, n, oy, multiplier, sh, sw, dh, dw, top, left):
    _, height, width, channels = x.shape
    for ox in range(y.shape[2]):
        for ky in range(w.shape[0]):
            iy = oy * sh - top + ky * dh
            if iy < 0 or iy >= height:
                continue
            for kx in range(w.shape[1]):
                ix = ox * sw - left + kx * dw
                if ix < 0 or ix >= width:
                    continue
                if multiplier == 1:
                    for c in range(channels):
                        y[n, oy, ox, c] += x[n, iy, ix, c] * w[ky, kx, c]
                else:
                    for k in range(channels * multiplier):
                        y[n, oy, ox, k] += x[n, iy, ix, k // multiplier] * w[ky, kx, k]


@jit
def _backward_image(x, w, dy, dx, dw_sum, n, multiplier, sh, sw, dh, dw, top, left):
    _, height, width, _ = x.shape
    need_dx = dx.size > 0
    for oy in range(dy.shape[1]):
        for ox in range(dy.shape[2]):
            for ky in range(w.shape[0]):
                iy = oy * sh - top + ky * dh
                if iy < 0 or iy >= height:
                    continue
                for kx in range(w.shape[1]):
                    ix = ox * sw - left + kx * dw
                    if ix < 0 or ix >= width:
                        continue
                    for k in range(dy.shape[3]):
                        c = k // multiplier
                        dw_sum[ky, kx, k] += x[n, iy, ix, c] * dy[n, oy, ox, k]
                        if need_dx:
                            dx[n, iy, ix, c] += w[ky, kx, k] * dy[n, oy, ox, k]
