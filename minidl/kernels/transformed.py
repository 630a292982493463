"""The loops around Winograd's transforms: which tile comes next, and where its pixels lie.

Kernels, for the functions of :mod:`minidl.kernels.winograd` and of
:mod:`minidl.kernels.winograd_backward`. All that call :mod:`minidl.kernels.transforms` are in this
file. Importing it imports Numba.

>>> import numpy as np
>>> from minidl.kernels.transformed import transform_input
>>> x, v = np.ones((1, 6, 6, 1), "float32"), np.empty((1, 36), "float32")
>>> transform_input(x, v, 0, 1, 0, 1, 1, 1, 0, 0)  # one tile, one channel
>>> v.reshape(6, 6)[1]
array([ 0., 36.,  0.,  0.,  0.,  0.], dtype=float32)
"""

from __future__ import annotations

import numpy as np
from numba.extending import register_jitable

from minidl.kernels.jit import jit
from minidl.kernels.transforms import (
    gradient_tile,
    input_gradient_tile,
    input_tile,
    output_tile,
)
from minidl.kernels.vectors import LANES

__all__ = [
    "add_input_gradient", "transform_gradient", "transform_input", "transform_output",
]  # fmt: skip


@jit
def transform_input(x, v, begin, end, first, last, tiles_y, tiles_x, top, left):
    """V = B' d B of x's channels begin ... end - 1 in tiles first ... last - 1."""
    zeros, places = np.zeros(x.shape[3], x.dtype), np.empty(36, np.int64)
    channels = end - begin
    for t in range(last - first):
        image, down, across = _tile(first + t, tiles_y, tiles_x)
        _find(x, image, 4 * down - top, 4 * across - left, 6, 6, 0, zeros, places)
        for c in range(0, channels, LANES):
            n = min(LANES, channels - c)
            input_tile(places, begin + c, n, v, t * v.shape[1] + c, channels)


@jit
def transform_output(
    m, stride, y, bias, residual, offset, begin, end, first, last, tiles_y, tiles_x, relu,
    has_residual,
):  # fmt: skip
    """y = A' M A + bias + residual, for output channels begin ... end - 1.

    m has `stride` numbers for each tap of a tile; y has `offset` channels before the first.
    """
    beyond, places = np.zeros(y.shape[3], y.dtype), np.empty(16, np.int64)
    sources = np.empty(16, np.int64)
    for t in range(last - first):
        image, down, across = _tile(first + t, tiles_y, tiles_x)
        _find(y, image, 4 * down, 4 * across, 4, 4, offset, beyond, places)
        if has_residual:
            _find(residual, image, 4 * down, 4 * across, 4, 4, 0, beyond, sources)
        for k in range(begin, end, LANES):
            n = min(LANES, end - k)
            at = t * m.shape[1] + k - begin
            output_tile(m, at, stride, bias, places, sources, k, n, has_residual, relu)


@jit
def transform_gradient(dy, y, dm, first, last, tiles_y, tiles_x, masked):
    """dM = A dz A' of tiles first ... last - 1, where dz is dy, or 0 where the ReLU was."""
    channels = dy.shape[3]
    zeros, places = np.zeros(channels, dy.dtype), np.empty(16, np.int64)
    outputs = np.empty(16, np.int64)
    for t in range(last - first):
        image, down, across = _tile(first + t, tiles_y, tiles_x)
        _find(dy, image, 4 * down, 4 * across, 4, 4, 0, zeros, places)
        _find(y, image, 4 * down, 4 * across, 4, 4, 0, zeros, outputs)
        for k in range(0, channels, LANES):
            n = min(LANES, channels - k)
            gradient_tile(places, outputs, masked, k, n, dm, t * dm.shape[1] + k, channels)


@jit
def add_input_gradient(dv, stride, dx, begin, end, first, last, tiles_y, tiles_x, top, left):
    """dx's channels begin ... end - 1: B dV B' of each tile, on top of the tiles before it.

    dv has `stride` numbers for each tap of a tile.
    """
    beyond, places = np.zeros(dx.shape[3], dx.dtype), np.empty(36, np.int64)
    for t in range(last - first):
        image, down, across = _tile(first + t, tiles_y, tiles_x)
        _find(dx, image, 4 * down - top, 4 * across - left, 6, 6, 0, beyond, places)
        for c in range(begin, end, LANES):
            n = min(LANES, end - c)
            at = t * dv.shape[1] + c - begin
            input_gradient_tile(dv, at, stride, places, c, n, down > 0, across > 0)


@register_jitable
def _tile(number, tiles_y, tiles_x):
    """Return a tile's image, row and column."""
    return number // (tiles_y * tiles_x), number // tiles_x % tiles_y, number % tiles_x


@register_jitable
def _find(x, image, y0, x0, rows, columns, channel, outside, places):
    """Write the addresses of some pixels' `channel`; those that are not in the image are
    `outside`."""
    _, height, width, channels = x.shape
    for i in range(rows):
        for j in range(columns):
            y, at = y0 + i, x0 + j
            if 0 <= y < height and 0 <= at < width:
                pixel = (image * height + y) * width + at
                places[columns * i + j] = x.ctypes.data + x.itemsize * (pixel * channels + channel)
            else:
                places[columns * i + j] = outside.ctypes.data
