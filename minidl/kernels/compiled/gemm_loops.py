"""Loops around the register tiles of :mod:`minidl.kernels.compiled.gemm_tile`.

They choose the next tile and compute the addresses of its operands, for direct convolution and for
the matrix products of Winograd's algorithm. Importing this module imports Numba.

>>> import numpy as np
>>> from minidl.kernels.compiled.gemm_loops import pack_rows
>>> panels = np.empty((1, 2, 4), "float32")
>>> pack_rows(np.array([[1, 2, 3], [4, 5, 6]], "float32"), panels, 1, 2, 0, 1)
>>> panels
array([[[2., 3., 0., 0.],
        [5., 6., 0., 0.]]], dtype=float32)
"""

from __future__ import annotations

import numpy as np
from numba.extending import register_jitable

from minidl.kernels.compiled.gemm_tile import (
    PANEL,
    SHORT,
    TALL,
    correlate,
    multiply_short,
    multiply_tall,
)
from minidl.kernels.runtime.jit import jit

__all__ = ["convolve_job", "correlate_taps", "multiply_taps", "pack_rows"]

PANELS_BYTES = 2**18  # of the panels that are used together: they stay in the second-level cache


@jit
def pack_rows(w, panels, first, columns, begin, end):
    """Fill panels ``begin ... end - 1`` from the `columns` columns of w that start at `first`."""
    width = panels.shape[2]
    for panel in range(begin, end):
        source = np.uint64(first + panel * width)
        count = np.uint64(min(width, columns - panel * width))
        for row in range(w.shape[0]):
            for j in range(count):
                panels[panel, row, j] = w[row, source + j]
            for j in range(count, np.uint64(width)):
                panels[panel, row, j] = 0


@register_jitable
def multiply(rows, x, panel, bias, residual, y, bounds, columns):
    """Compute a tile of at most TALL rows; the parameters are those of ``multiply_tall``."""
    if rows > SHORT:
        multiply_tall(x, panel, bias, residual, y, bounds, columns)
    else:
        multiply_short(x, panel, bias, residual, y, bounds, columns)


@register_jitable
def convolve_job(convolution, job, x, y, residual):
    """Compute some output pixels of some panels of one group by direct convolution.

    Parameters
    ----------
    convolution : CONVOLUTION record
    job : JOB record
    x, y, residual : array of float32, shape (N, H, W, C)
    """
    # Local copies: the compiler would read the records again after each write to memory.
    group, first, last, end = job.group, job.first, job.last, job.end
    depth, panels, columns = convolution.depth, convolution.panels, convolution.filters
    packed, biases, channel = convolution.packed, convolution.bias, convolution.channel
    bounds = np.float32(convolution.low), np.float32(convolution.high)
    has_residual = convolution.has_residual != 0
    kh, kw = convolution.window.kh, convolution.window.kw
    per_tap = depth // (kh * kw)
    pixels = y.shape[0] * y.shape[1] * y.shape[2]
    y_rows = y.reshape((pixels, y.shape[3]))
    residual_rows = residual.reshape((pixels, residual.shape[3]))
    offsets, contiguous = _tap_offsets(convolution, job, x)
    taps, runs = np.array([kh * kw, per_tap]), np.array([kh, kw * per_tap])
    spare, added = np.empty((TALL, PANEL), np.float32), np.empty((TALL, PANEL), np.float32)
    # As many panels at a time as stay in the cache: whole runs of memory are then written, and the
    # hardware can prefetch the next ones.
    together = max(1, PANELS_BYTES // (4 * depth * PANEL))
    for first_panel in range(job.begin, end, together):
        for row in range(0, last - first, TALL):
            rows = min(TALL, last - first - row)
            shape, stride = taps.ctypes.data, offsets.shape[1]
            if contiguous[row // TALL]:
                shape, stride = runs.ctypes.data, kw * stride
            source = (x.ctypes.data, offsets.ctypes.data + 8 * row, stride, shape)
            for panel in range(first_panel, min(first_panel + together, end)):
                width = min(PANEL, columns - panel * PANEL)
                column = group * columns + panel * PANEL
                kernel = packed + 4 * (group * panels + panel) * depth * PANEL
                bias = biases + 4 * (group * panels + panel) * PANEL
                is_whole = rows in (SHORT, TALL)
                target = (spare.ctypes.data, PANEL)
                addend = (0, 0)
                if is_whole:
                    target = (_address(y_rows, first + row, channel + column), y.shape[3])
                    if has_residual:
                        address = _address(residual_rows, first + row, column)
                        addend = (address, residual.shape[3])
                elif has_residual:
                    _copy(residual_rows, first + row, column, added, 0, 0, rows, width)
                    addend = (added.ctypes.data, PANEL)
                multiply(rows, source, kernel, bias, addend, target, bounds, width)
                if not is_whole:
                    _copy(spare, 0, 0, y_rows, first + row, channel + column, rows, width)


@register_jitable
def _tap_offsets(convolution, job, x):
    """Return the offsets from x at which each tap of each output pixel starts.

    The second result tells for which tiles the taps of one kernel row are contiguous in memory:
    where all windows are inside the image from left to right.
    """
    window = convolution.window
    kh, kw, sh, sw, dh, dw = window.kh, window.kw, window.sh, window.sw, window.dh, window.dw
    top, left, first, last = window.top, window.left, job.first, job.last
    oh, ow, depth = convolution.y.height, convolution.y.width, convolution.depth // (kh * kw)
    _, height, width, channels = x.shape
    channel = job.group * depth
    tiles = (last - first + TALL - 1) // TALL
    offsets, contiguous = np.empty((kh * kw, tiles * TALL), np.int64), np.empty(tiles, np.bool_)
    if kh == kw == sh == sw == 1 and (height, width) == (oh, ow):
        contiguous[:] = False
        for i in range(tiles * TALL):
            offsets[0, i] = min(first + i, last - 1) * channels + channel
        return offsets, contiguous
    outside = (convolution.zeros - x.ctypes.data) // 4
    # Counted, because divisions for each pixel would take longer than a small layer itself.
    column, row, image = first % ow, first // ow % oh, first // (ow * oh)
    for tile in range(tiles):
        begin = column * sw - left
        end = begin + (TALL - 1) * sw + kw
        contiguous[tile] = dw == 1 and depth == channels and begin >= 0 and end <= width
        stride = kw if contiguous[tile] else 1
        for i in range(tile * TALL, (tile + 1) * TALL):
            x0, y0 = column * sw - left, row * sh - top
            for ky in range(kh):
                iy = y0 + ky * dh
                for kx in range(0, kw, stride):
                    ix = x0 + kx * dw
                    inside = 0 <= iy < height and 0 <= ix < width
                    offset = ((image * height + iy) * width + ix) * channels + channel
                    offsets[ky * kw + kx, i] = offset if inside else outside
            if first + i + 1 < last:  # the last tile repeats its last pixel
                column += 1
                if column == ow:
                    column, row = 0, row + 1
                    if row == oh:
                        row, image = 0, image + 1
    return offsets, contiguous


@register_jitable
def _copy(source, row, column, target, target_row, target_column, rows, columns):
    for i in range(rows):
        for j in range(columns):
            target[target_row + i, target_column + j] = source[row + i, column + j]


@register_jitable
def _address(matrix, row, column):
    """Return the address of an element of a matrix of float32."""
    return matrix.ctypes.data + 4 * (row * matrix.shape[1] + column)


@jit
def multiply_taps(v, u, m, tiles, panels):
    """Compute ``M = V U`` for panels ``panels[0] ... panels[1] - 1`` of each tap.

    Parameters
    ----------
    v, m : array of float32, shape (tiles, numbers)
        For each tile and tap C numbers of v and PANEL numbers of m for each panel. Both have rows
        for whole register tiles.
    u : array of float32, shape (taps, panels, C, PANEL)
    tiles : int
    panels : (int, int)
    """
    begin, end = panels
    taps, _, depth, _ = u.shape
    offsets = np.arange(len(v)) * v.shape[1]
    shape = np.array([1, depth])
    bias, bounds = np.zeros(PANEL, np.float32), (np.float32(-np.inf), np.float32(np.inf))
    zeros = bias.ctypes.data
    _clear_rows(v, tiles, taps * depth)
    for tap in range(taps):
        x = v.ctypes.data + 4 * tap * depth
        for panel in range(begin, end):
            kernel = u.ctypes.data + 4 * ((tap * u.shape[1] + panel) * depth * PANEL)
            column = (tap * (end - begin) + panel - begin) * PANEL
            for row in range(0, tiles, TALL):
                source = (x, offsets.ctypes.data + 8 * row, 0, shape.ctypes.data)
                target = (_address(m, row, column), m.shape[1])
                multiply(tiles - row, source, kernel, zeros, (0, 0), target, bounds, PANEL)


@register_jitable
def _clear_rows(v, rows, columns):
    """Write zeros where the last register tile reads rows beyond the given ones.

    The results of those rows are not used. But their numbers might be denormal, and a product of
    denormal numbers takes a hundred times as long.
    """
    rest = rows % TALL
    beyond = 0 if rest == 0 else (SHORT if rest <= SHORT else TALL) - rest
    for row in range(rows, rows + beyond):
        for j in range(columns):
            v[row, j] = 0


@jit
def correlate_taps(v, dm, du, tiles, channels, add):
    """Write ``V' dM`` to input channels ``channels[0] ... channels[1] - 1`` of dU, or add it.

    Parameters
    ----------
    v, dm : array of float32, shape (tiles, numbers)
        For each tile and tap as many numbers of v as there are `channels`, and K numbers of dm.
        Kernels read up to one register tile beyond.
    du : array of float32, shape (taps, C, K)
    tiles : int
    channels : (int, int)
    add : bool
    """
    begin, end = channels
    taps, _, columns = du.shape
    offsets = np.arange(tiles) * v.shape[1]
    count = np.array([tiles])
    spare = np.zeros((TALL, PANEL), np.float32)
    for tap in range(taps):
        x = v.ctypes.data + 4 * tap * (end - begin)
        dy = dm.ctypes.data + 4 * tap * columns
        for column in range(0, columns, PANEL):
            width = min(PANEL, columns - column)
            for c in range(0, end - begin, TALL):
                height = min(TALL, end - begin - c)
                is_whole = width == PANEL and height == TALL
                target = (spare.ctypes.data, PANEL)
                if is_whole:
                    target = (_address(du[tap], begin + c, column), columns)
                elif add:
                    _copy(du[tap], begin + c, column, spare, 0, 0, height, width)
                rows = (x + 4 * c, offsets.ctypes.data, count.ctypes.data)
                correlate(rows, (dy + 4 * column, dm.shape[1]), target, add)
                if not is_whole:
                    _copy(spare, 0, 0, du[tap], begin + c, column, height, width)
