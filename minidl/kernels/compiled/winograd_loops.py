"""The loops around Winograd's transforms: which tile comes next, and where its pixels lie.

Kernels, for the functions of :mod:`minidl.kernels.convolution.winograd` and of
:mod:`minidl.kernels.convolution.winograd_backward`. All that call
:mod:`minidl.kernels.compiled.winograd_tile` are in this file. Importing it imports Numba.

>>> import numpy as np
>>> from minidl.kernels.compiled.winograd_loops import transform_input
>>> x, v = np.ones((1, 6, 6, 1), "float32"), np.empty((1, 36), "float32")
>>> transform_input(x, v, 0, 1, 0, 1, (1, 1, 0, 0), (6, 6), (4, 4))  # one tile, one channel
>>> v.reshape(6, 6)[1]
array([ 0., 36.,  0.,  0.,  0.,  0.], dtype=float32)
"""

from __future__ import annotations

import numpy as np
from numba.extending import register_jitable

from minidl.kernels.compiled.simd import LANES
from minidl.kernels.compiled.winograd_tile import (
    gradient_tile,
    input_gradient_tile,
    input_line,
    input_tile,
    kernel_line,
    kernel_tile,
    output_line,
    output_tile,
)
from minidl.kernels.runtime.jit import jit

__all__ = [
    "add_input_gradient", "transform_gradient", "transform_input", "transform_kernel",
    "transform_output",
]  # fmt: skip

# The tiles of an image are said by `grid`: how many there are down and across, and how many
# pixels the first one begins above and left of the image; by `taps`, pixels that a tile reads down
# and across; and by `outputs`, those that it writes. There are squares, of 6x6 and 4x4 pixels, and
# lines, of ten and four; gradients know squares only.


@jit
def transform_kernel(w, u, begin, end, transposed):
    """U = G g G' in rows begin ... end - 1 of each panel.

    w is (KH * KW, C, K), u (taps, panels, C, width), or (taps, panels, K, width) if transposed.
    """
    size = len(w)
    _, panels, rows, width = u.shape
    columns = w.shape[1] if transposed else w.shape[2]
    places, spare = np.empty(size, np.int64), np.empty((size, LANES), w.dtype)
    for panel in range(panels):
        for row in range(begin, end):
            for within in range(0, width, LANES):
                column = panel * width + within
                m = min(LANES, width - within)
                n = max(0, min(m, columns - column))
                for tap in range(size):
                    if transposed:
                        for i in range(n):
                            spare[tap, i] = w[tap, column + i, row]
                        places[tap] = spare.ctypes.data + w.itemsize * tap * LANES
                    else:
                        at = (tap * rows + row) * columns + column
                        places[tap] = w.ctypes.data + w.itemsize * at
                to, stride = (panel * rows + row) * width + within, panels * rows * width
                if size == 9:
                    kernel_tile(places, n, u, to, stride, m)
                else:
                    kernel_line(places, n, u, to, stride, m)


@jit
def transform_input(x, v, begin, end, first, last, grid, taps, outputs):
    """V = B' d B of x's channels begin ... end - 1 in tiles first ... last - 1."""
    tiles_y, tiles_x, top, left = grid
    rows, columns = taps
    zeros, places = np.zeros(x.shape[3], x.dtype), np.empty(rows * columns, np.int64)
    channels = end - begin
    for t in range(last - first):
        image, down, across = _tile(first + t, tiles_y, tiles_x)
        y0, x0 = outputs[0] * down - top, outputs[1] * across - left
        _find(x, image, y0, x0, rows, columns, 0, zeros, places)
        for k in range(0, channels, LANES):
            n = min(LANES, channels - k)
            c, to = begin + k, t * v.shape[1] + k
            if rows * columns == 36:
                input_tile(places, c, n, v, to, channels)
            else:
                input_line(places, c, n, v, to, channels)


@jit
def transform_output(
    m, stride, y, bias, residual, offset, begin, end, first, last, grid, outputs, relu,
    has_residual,
):  # fmt: skip
    """y = A' M A + bias + residual, for output channels begin ... end - 1.

    m has `stride` numbers for each tap of a tile; y has `offset` channels before the first.
    """
    tiles_y, tiles_x, _, _ = grid
    rows, columns = outputs
    beyond, places = np.zeros(y.shape[3], y.dtype), np.empty(rows * columns, np.int64)
    sources = np.empty(rows * columns, np.int64)
    for t in range(last - first):
        image, down, across = _tile(first + t, tiles_y, tiles_x)
        y0, x0 = rows * down, columns * across
        _find(y, image, y0, x0, rows, columns, offset, beyond, places)
        if has_residual:
            _find(residual, image, y0, x0, rows, columns, 0, beyond, sources)
        for k in range(begin, end, LANES):
            n = min(LANES, end - k)
            at = t * m.shape[1] + k - begin
            if rows * columns == 16:
                output_tile(m, at, stride, bias, places, sources, k, n, has_residual, relu)
            else:
                output_line(m, at, stride, bias, places, sources, k, n, has_residual, relu)


@jit
def transform_gradient(dy, y, dm, first, last, grid, masked):
    """dM = A dz A' of tiles first ... last - 1, where dz is dy, or 0 where the ReLU was."""
    tiles_y, tiles_x, _, _ = grid
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
def add_input_gradient(dv, stride, dx, begin, end, first, last, grid):
    """dx's channels begin ... end - 1: B dV B' of each tile, on top of the tiles before it.

    dv has `stride` numbers for each tap of a tile.
    """
    tiles_y, tiles_x, top, left = grid
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
