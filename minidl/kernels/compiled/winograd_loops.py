"""Loops around Winograd's transforms in :mod:`minidl.kernels.compiled.winograd_tile`.

They choose the next tile and compute the addresses of its pixels, for the modules
:mod:`minidl.kernels.convolution.winograd` and
:mod:`minidl.kernels.convolution.winograd_backward`. Importing this module imports Numba.

Parameters have the same meaning in all kernels: `tiles` are the first tile and the one after the
last, counted through all images; `panels` are such limits for the kernel's panels of PANEL
channels; `grid` is the result of :func:`~minidl.kernels.convolution.winograd.tile_grid`.

>>> import numpy as np
>>> from minidl.kernels.compiled.winograd_loops import transform_input
>>> x, v = np.ones((1, 6, 6, 1), "float32"), np.empty((1, 36), "float32")
>>> transform_input(x, v, (0, 1), (0, 1), (1, 1, 0, 0, 3, 3))  # one channel of one tile
>>> v.reshape(6, 6)[1]
array([ 0., 36.,  0.,  0.,  0.,  0.], dtype=float32)
"""

from __future__ import annotations

import numpy as np
from numba.extending import register_jitable

from minidl.kernels.compiled.gemm_tile import PANEL
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
    "add_input_gradient",
    "add_kernel_gradient",
    "transform_gradient",
    "transform_input",
    "transform_kernel",
    "transform_output",
]


@jit
def transform_kernel(w, u, rows, transposed):
    """Compute ``U = G g G'`` for rows ``rows[0] ... rows[1] - 1`` of each panel.

    Parameters
    ----------
    w : array of float32, shape (KH * KW, C, K)
    u : array of float32, shape (taps, panels, C, PANEL), or (taps, panels, K, PANEL) if transposed
    rows : (int, int)
    transposed : bool
    """
    size = len(w)
    _, panels, depth, _ = u.shape
    columns = w.shape[1] if transposed else w.shape[2]
    addresses, spare = np.empty(size, np.int64), np.empty((size, LANES), np.float32)
    numbers, stride = u.reshape(-1), panels * depth * PANEL
    for panel in range(panels):
        for row in range(rows[0], rows[1]):
            for lane in range(0, PANEL, LANES):
                column = panel * PANEL + lane
                count = max(0, min(LANES, columns - column))
                for tap in range(size):
                    if transposed:
                        for i in range(count):
                            spare[tap, i] = w[tap, column + i, row]
                        addresses[tap] = spare.ctypes.data + 4 * tap * LANES
                    else:
                        index = (tap * depth + row) * columns + column
                        addresses[tap] = w.ctypes.data + 4 * index
                first = (panel * depth + row) * PANEL + lane
                if size == 9:
                    kernel_tile(addresses, count, numbers, first, stride)
                else:
                    kernel_line(addresses, count, numbers, first, stride)


@jit
def transform_input(x, v, channels, tiles, grid):
    """Compute ``V = B' d B`` for channels ``channels[0] ... channels[1] - 1`` of some tiles."""
    down, across, top, left, kh, kw = grid
    height, width = _outputs(kh), _outputs(kw)
    size = (height + kh - 1, width + kw - 1)
    zeros, pixels = np.zeros(x.shape[3], np.float32), np.empty(size[0] * size[1], np.int64)
    numbers, depth = v.reshape(-1), channels[1] - channels[0]
    for t in range(tiles[1] - tiles[0]):
        image, row, column = _tile_position(tiles[0] + t, down, across)
        corner = (image, height * row - top, width * column - left)
        _find_pixels(x, corner, size, 0, zeros, pixels)
        for c in range(0, depth, LANES):
            count, first = min(LANES, depth - c), t * v.shape[1] + c
            if kh == kw:
                input_tile(pixels, channels[0] + c, count, numbers, first, depth)
            else:
                input_line(pixels, channels[0] + c, count, numbers, first, depth)


@jit
def transform_output(m, y, bias, residual, epilogue, panels, tiles, grid):
    """Compute ``y = clip(A' M A + bias + residual)`` for the output channels of some panels.

    Parameters
    ----------
    m : array of float32, shape (tiles, numbers)
    y : array of float32, shape (N, OH, OW, at least K)
    bias : array of float32, shape (K,)
    residual : array of float32, shape (N, OH, OW, K)
    epilogue : (int, bool, (float, float))
        The first channel of y to write; whether there is a residual; smallest and largest output.
    panels, tiles, grid
    """
    channel, has_residual, bounds = epilogue
    down, across, _, _, kh, kw = grid
    size = (_outputs(kh), _outputs(kw))
    unused, pixels = np.zeros(y.shape[3], np.float32), np.empty(size[0] * size[1], np.int64)
    sources = np.empty(size[0] * size[1], np.int64)
    begin, end = panels[0] * PANEL, min(panels[1] * PANEL, len(bias))
    numbers, stride = m.reshape(-1), (panels[1] - panels[0]) * PANEL
    for t in range(tiles[1] - tiles[0]):
        image, row, column = _tile_position(tiles[0] + t, down, across)
        corner = (image, size[0] * row, size[1] * column)
        _find_pixels(y, corner, size, channel, unused, pixels)
        if has_residual:
            _find_pixels(residual, corner, size, 0, unused, sources)
        for c in range(begin, end, LANES):
            count, first = min(LANES, end - c), t * m.shape[1] + c - begin
            if kh == kw:
                output_tile(
                    numbers, first, stride, bias, pixels, sources, c, count, has_residual, bounds
                )
            else:
                output_line(
                    numbers, first, stride, bias, pixels, sources, c, count, has_residual, bounds
                )


@jit
def transform_gradient(dy, y, dm, masked, tiles, grid):
    """Compute ``dM = A dz A'`` of some tiles; dz is dy, or 0 where a fused ReLU was not active."""
    down, across, _, _, _, _ = grid
    channels, size = dy.shape[3], (4, 4)
    zeros, pixels = np.zeros(channels, np.float32), np.empty(16, np.int64)
    outputs, numbers = np.empty(16, np.int64), dm.reshape(-1)
    for t in range(tiles[1] - tiles[0]):
        image, row, column = _tile_position(tiles[0] + t, down, across)
        corner = (image, 4 * row, 4 * column)
        _find_pixels(dy, corner, size, 0, zeros, pixels)
        _find_pixels(y, corner, size, 0, zeros, outputs)
        for c in range(0, channels, LANES):
            count, first = min(LANES, channels - c), t * dm.shape[1] + c
            gradient_tile(pixels, outputs, masked, c, count, numbers, first, channels)


@jit
def add_input_gradient(dv, dx, panels, tiles, grid):
    """Add ``B dV B'`` of some tiles to the channels of some panels of dx.

    Tiles are processed in order: the first one to reach a pixel overwrites it.
    """
    down, across, top, left, _, _ = grid
    unused, pixels = np.zeros(dx.shape[3], np.float32), np.empty(36, np.int64)
    begin, end = panels[0] * PANEL, min(panels[1] * PANEL, dx.shape[3])
    numbers, stride = dv.reshape(-1), (panels[1] - panels[0]) * PANEL
    for t in range(tiles[1] - tiles[0]):
        image, row, column = _tile_position(tiles[0] + t, down, across)
        _find_pixels(dx, (image, 4 * row - top, 4 * column - left), (6, 6), 0, unused, pixels)
        for c in range(begin, end, LANES):
            count, first = min(LANES, end - c), t * dv.shape[1] + c - begin
            input_gradient_tile(numbers, first, stride, pixels, c, count, row > 0, column > 0)


@jit
def add_kernel_gradient(du, dw, begin, end):
    """Add ``G' dU G`` to dw in columns ``begin ... end - 1``.

    Parameters
    ----------
    du : array of float32, shape (36, C * K)
    dw : array of float32, shape (9, C * K)
    begin, end : int
    """
    half = np.empty((18, 128), np.float32)  # G' dU of 128 columns, which stay in the cache
    for first in range(np.uint64(begin), np.uint64(end), np.uint64(128)):
        count = min(np.uint64(128), np.uint64(end) - first)
        for j in range(6):
            for c in range(count):
                sums = _weight_gradients(du, j, 6, first + c)
                half[j, c], half[j + 6, c], half[j + 12, c] = sums
        for i in range(3):
            for c in range(count):
                sums = _weight_gradients(half, 6 * i, 1, c)
                dw[3 * i, first + c] += sums[0]
                dw[3 * i + 1, first + c] += sums[1]
                dw[3 * i + 2, first + c] += sums[2]


@register_jitable
def _weight_gradients(a, row, step, c):
    """Return G' times six numbers of column c, G being the matrix of a 3x3 kernel."""
    quarter, sixth, twelfth = np.float32(1 / 4), np.float32(1 / 6), np.float32(1 / 12)
    a1, a2 = a[row + step, c], a[row + 2 * step, c]
    a3, a4 = a[row + 3 * step, c], a[row + 4 * step, c]
    p, q = sixth * (a1 + a2), sixth * (a3 + a4)
    middle = sixth * (a2 - a1) + twelfth * (a3 - a4)
    return quarter * (a[row, c] + q) - p, middle, q - p + a[row + 5 * step, c]


@register_jitable
def _outputs(weights):
    """Return the outputs of a tile along an axis on which the kernel has some weights."""
    return 4 if weights > 1 else 1


@register_jitable
def _tile_position(tile, down, across):
    """Return a tile's image, row and column."""
    return tile // (down * across), tile // across % down, tile % across


@register_jitable
def _find_pixels(x, corner, size, channel, outside, addresses):
    """Write the addresses of a rectangle's pixels, of their `channel`.

    Parameters
    ----------
    x : array of float32, shape (N, H, W, C)
    corner : (int, int, int)
        Image, row and column of the first pixel.
    size : (int, int)
    channel : int
    outside : array of float32
        Takes the place of pixels outside the image.
    addresses : array of int64
        Receives the result.
    """
    image, y0, x0 = corner
    rows, columns = size
    _, height, width, channels = x.shape
    for i in range(rows):
        for j in range(columns):
            iy, ix = y0 + i, x0 + j
            if 0 <= iy < height and 0 <= ix < width:
                pixel = (image * height + iy) * width + ix
                addresses[columns * i + j] = x.ctypes.data + 4 * (pixel * channels + channel)
            else:
                addresses[columns * i + j] = outside.ctypes.data
