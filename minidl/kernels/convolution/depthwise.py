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

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from minidl.kernels.convolution.depthwise_rows import pack_depthwise
from minidl.kernels.convolution.pipeline import Pipeline, TensorLocation
from minidl.kernels.geometry import Window
from minidl.kernels.normalization import InputGradient
from minidl.kernels.runtime import thread_pool
from minidl.kernels.runtime.jit import importing_numba, jit

__all__ = ["depthwise", "depthwise_backward", "row_sweeps"]

# The gradients are computed in at least TASKS tasks of at least CHANNELS channels of an image.
TASKS, CHANNELS = 8, 32


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
    if x.dtype == y.dtype == np.float32 and w.shape[3] == 1:
        memories = [np.ascontiguousarray(x), y]
        source, target = (TensorLocation(i, 0, a.shape) for i, a in enumerate(memories))
        pipeline = Pipeline(thread_pool.get_num_threads())
        pipeline.depthwise(source, pack_depthwise(w, window), None, target)
        pipeline.run(memories)
        return y
    y[...] = 0
    flat = w.reshape(*w.shape[:2], -1)  # (KH, KW, C*M)
    geometry = window.loop_geometry(*x.shape[1:3])
    thread_pool.run(
        lambda i: _forward_row(x, flat, y, i // oh, i % oh, w.shape[3], geometry), len(x) * oh
    )
    return y


def depthwise_backward(
    x: np.ndarray,
    w: np.ndarray,
    dy: np.ndarray | InputGradient,
    window: Window,
    need_dx: bool = True,
    with_bias: bool = False,
) -> tuple[np.ndarray | None, np.ndarray, np.ndarray | None]:
    """Return the gradients ``(dx, dw, dbias)``; dx and dbias are None if not asked for.

    Float32 runs the vector code of :mod:`minidl.kernels.compiled.depthwise_gradients`, other types
    plain loops. Each image has sums of its own, which are added in order.

    Parameters
    ----------
    x, w, window
        As for :func:`depthwise`.
    dy : array, shape (N, OH, OW, C * M), or InputGradient
        Gradient of the output. That of a normalization is computed image by image, or at once for
        few images.
    need_dx, with_bias : bool
    """
    multiplier = w.shape[3]
    if multiplier > 1:  # each kernel reads a copy of its channel
        x = np.repeat(x, multiplier, axis=3)  # (N, H, W, C * M)
    x = np.ascontiguousarray(x)
    flat = w.reshape(*w.shape[:2], -1)  # (KH, KW, C * M)
    channels = flat.shape[2]
    size = *window.output_size(*x.shape[1:3]), channels
    parts = thread_pool.chunks(channels, max(CHANNELS, channels * len(x) // TASKS))
    output_gradient = _output_gradient(dy, size, by_image=len(parts) == 1)
    dx = np.empty_like(x)
    dw_of = np.zeros((len(x), *flat.shape), w.dtype)
    dbias_of = np.zeros((len(x), channels), w.dtype)
    kernel, arguments = _gradient_kernel(x, size[1], window)

    def task(i: int) -> None:
        image, part = divmod(i, len(parts))
        dz, selected = output_gradient(image), slice(*parts[part])
        kernel(x[image], flat, dz, dx[image], dw_of[image], parts[part], *arguments)
        if with_bias:
            dbias_of[image, selected] = dz[..., selected].sum(axis=(0, 1))

    thread_pool.run(task, len(x) * len(parts))
    dw = dw_of.sum(axis=0).reshape(w.shape)
    dbias = dbias_of.sum(axis=0) if with_bias else None
    if not need_dx:
        return None, dw, dbias
    if multiplier > 1:
        dx = dx.reshape(*x.shape[:3], -1, multiplier).sum(axis=4)
    return dx, dw, dbias


def _output_gradient(
    dy: np.ndarray | InputGradient, size: tuple[int, int, int], by_image: bool
) -> Callable[[int], np.ndarray]:
    """Return a function that returns the gradient of an image's output: (OH, OW, C * M)."""
    if isinstance(dy, InputGradient):
        if by_image:
            gradient, rows = dy, size[0] * size[1]
            shape, dtype = (rows, size[2]), dy.x.dtype
            return lambda image: gradient.rows(
                image * rows, (image + 1) * rows, thread_pool.scratch("dz", shape, dtype)
            ).reshape(size)
        dy = dy.array().reshape(-1, *size)
    images = np.ascontiguousarray(dy)
    return lambda image: images[image]


def _gradient_kernel(
    x: np.ndarray, outputs: int, window: Window
) -> tuple[Callable[..., None], tuple[Any, ...]]:
    """Return the kernel of both gradients, and its last arguments; `outputs` are those of a row."""
    geometry = window.loop_geometry(*x.shape[1:3])
    if x.dtype != np.float32:
        return _add_gradients, (geometry,)
    with importing_numba:
        from minidl.kernels.compiled.depthwise_gradients import NEIGHBORS, add_gradients

    _, kw, _, stride, _, dilation, _, left = geometry
    sweeps = row_sweeps(x.shape[2], outputs, kw, stride, dilation, left, NEIGHBORS)
    common = math.gcd(stride, dilation)
    return add_gradients, (sweeps, (stride // common, dilation // common), geometry)


@functools.lru_cache(maxsize=256)
def row_sweeps(
    width: int, outputs: int, weights: int, stride: int, dilation: int, left: int, neighbors: int
) -> np.ndarray:
    """Divide the pairs of input pixels and weights of a row into sweeps.

    A sweep serves one weight, or `neighbors` weights where each of them meets an output: next to
    each other at stride 1, every s-th one at stride s, when a sweep visits every s-th pixel.

    Parameters
    ----------
    width, outputs : int
        Input and output pixels of a row.
    weights : int
        Of a row of the kernel.
    stride, dilation, left : int
        Along the row, in pixels.
    neighbors : int

    Returns
    -------
    array of int64, shape (sweeps, 5)
        First input pixel, pixels, first weight, first output, and weights.

    Examples
    --------
    >>> row_sweeps(5, 5, 3, 1, 1, 1, neighbors=3).tolist()
    [[1, 3, 0, 2, 3], [0, 1, 0, 1, 1], [0, 1, 1, 0, 1], [4, 1, 1, 4, 1], [4, 1, 2, 3, 1]]
    """
    offsets = [k * dilation - left for k in range(weights)]  # from an output to its pixel
    firsts = [max(0, -(o // stride)) for o in offsets]  # the outputs that meet pixels of the image
    afters = [min(outputs, (width - 1 - o) // stride + 1) for o in offsets]
    period = stride // math.gcd(stride, dilation)
    sweeps = []

    def add(k: int, pixel: int, end: int, count: int) -> None:
        if pixel < end:
            pixels = -((pixel - end) // stride)
            sweeps.append((pixel, pixels, k, (pixel - offsets[k]) // stride, count))

    for first in range(min(period, weights)):
        taps = list(range(first, weights, period))
        while taps:
            group, taps = taps[:neighbors], taps[neighbors:]
            # Pixels for which each weight of the group meets an output
            begin = max(firsts[k] * stride + offsets[k] for k in group)
            end = min(afters[k] * stride + offsets[k] for k in group)
            if len(group) < neighbors or begin >= end:
                begin = end = width + stride
            add(group[0], begin, end, neighbors)
            for k in group:
                pixel, last = (n * stride + offsets[k] for n in (firsts[k], afters[k]))
                add(k, pixel, min(begin, last), 1)
                add(k, max(end, pixel), last, 1)
    return np.array(sweeps, np.int64).reshape(-1, 5)


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
def _add_gradients(
    x: np.ndarray,
    w: np.ndarray,
    dy: np.ndarray,
    dx: np.ndarray,
    dw: np.ndarray,
    channels: tuple[int, int],
    geometry: tuple[int, ...],
) -> None:
    _, _, sh, sw, dilation_y, dilation_x, top, left = geometry
    height, width, _ = x.shape
    dx[:, :, channels[0] : channels[1]] = 0
    for oy in range(dy.shape[0]):
        for ox in range(dy.shape[1]):
            for ky in range(w.shape[0]):
                iy = oy * sh - top + ky * dilation_y
                if iy < 0 or iy >= height:
                    continue
                for kx in range(w.shape[1]):
                    ix = ox * sw - left + kx * dilation_x
                    if ix < 0 or ix >= width:
                        continue
                    for c in range(channels[0], channels[1]):
                        dw[ky, kx, c] += x[iy, ix, c] * dy[oy, ox, c]
                        dx[iy, ix, c] += w[ky, kx, c] * dy[oy, ox, c]
