"""Depthwise convolution: each channel has kernels of its own, so no matrix product is involved.

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
    """Return the convolution of each channel with M kernels, in `out` if given.

    Parameters
    ----------
    x : array, shape (N, H, W, C)
    w : array, shape (KH, KW, C, M)
    window : Window
    out : array, shape (N, OH, OW, C * M), optional

    Returns
    -------
    y : array, shape (N, OH, OW, C * M)
    """
    oh, ow = window.output_size(*x.shape[1:3])
    y = np.empty((len(x), oh, ow, w.shape[2] * w.shape[3]), x.dtype) if out is None else out
    y[...] = 0
    flat = w.reshape(*w.shape[:2], -1)  # (KH, KW, C*M)
    geometry = window.loop_geometry(*x.shape[1:3])
    thread_pool.run(
        lambda i: _forward_row(x, flat, y, i // oh, i % oh, w.shape[3], geometry), len(x) * oh
    )
    return y


def depthwise_backward(
    x: np.ndarray, w: np.ndarray, dy: np.ndarray, window: Window, need_dx: bool = True
) -> tuple[np.ndarray | None, np.ndarray]:
    """Return the gradients ``(dx, dw)``; dx is None without `need_dx`.

    Parameters
    ----------
    x, w, window
        As for :func:`depthwise`.
    dy : array, shape (N, OH, OW, C * M)
        Gradient of the output.
    need_dx : bool
    """
    flat = w.reshape(*w.shape[:2], -1)
    geometry = window.loop_geometry(*x.shape[1:3])
    shards = thread_pool.spans(len(x))  # of images; each has a sum of its own
    dw_of = np.zeros((len(shards), *flat.shape), w.dtype)
    dx = np.zeros(x.shape if need_dx else (0, 0, 0, 0), x.dtype)

    def task(i: int) -> None:
        for n in range(*shards[i]):
            _backward_image(x, flat, dy, dx, dw_of[i], n, w.shape[3], geometry)

    thread_pool.run(task, len(shards))
    return dx if need_dx else None, dw_of.sum(axis=0).reshape(w.shape)


@jit
def _forward_row(
    x: np.ndarray,
    w: np.ndarray,
    y: np.ndarray,
    n: int,
    oy: int,
    multiplier: int,
    geometry: tuple[int, ...],
) -> None:
    _, _, sh, sw, dh, dw, top, left = geometry
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
def _backward_image(
    x: np.ndarray,
    w: np.ndarray,
    dy: np.ndarray,
    dx: np.ndarray,
    dw: np.ndarray,
    n: int,
    multiplier: int,
    geometry: tuple[int, ...],
) -> None:
    _, _, sh, sw, dilation_y, dilation_x, top, left = geometry
    _, height, width, _ = x.shape
    need_dx = dx.size > 0
    for oy in range(dy.shape[1]):
        for ox in range(dy.shape[2]):
            for ky in range(w.shape[0]):
                iy = oy * sh - top + ky * dilation_y
                if iy < 0 or iy >= height:
                    continue
                for kx in range(w.shape[1]):
                    ix = ox * sw - left + kx * dilation_x
                    if ix < 0 or ix >= width:
                        continue
                    for k in range(dy.shape[3]):
                        c = k // multiplier
                        dw[ky, kx, k] += x[n, iy, ix, c] * dy[n, oy, ox, k]
                        if need_dx:
                            dx[n, iy, ix, c] += w[ky, kx, k] * dy[n, oy, ox, k]
