"""The loops around register tiles: which tile comes next, and where its numbers lie.

Kernels, for the functions of :mod:`minidl.kernels.convolution.direct` and
:mod:`minidl.kernels.convolution.winograd`. All that call :mod:`minidl.kernels.compiled.gemm_tile`
are in this file. Importing it imports Numba.

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
from minidl.kernels.runtime.atomics import fetch_add
from minidl.kernels.runtime.jit import jit

__all__ = ["convolve", "convolve_block", "correlate_taps", "multiply_taps", "pack_rows"]

PANELS_BYTES = 2**18


@jit
def pack_rows(w, panels, first, columns, begin, end):
    """Fill panels begin ... end - 1 from the `columns` columns of w that start at `first`."""
    width = panels.shape[2]
    for panel in range(begin, end):
        at = first + panel * width
        here = np.uint64(min(width, columns - panel * width))
        for c in range(w.shape[0]):
            for j in range(here):
                panels[panel, c, j] = w[c, np.uint64(at) + j]
            for j in range(here, np.uint64(width)):
                panels[panel, c, j] = 0


@jit
def convolve(
    x, zeros, packed, bias, residual, y, geometry, jobs, next_job, columns, channel, relu,
    has_residual,
):  # fmt: skip
    """Take jobs (group, first, last, begin, end) until none is left, as other threads may, too."""
    while True:
        i = fetch_add(next_job.ctypes.data)
        if i >= len(jobs):
            return
        group, first, last, begin, end = jobs[i]
        convolve_block(
            x, zeros, packed[group], bias[group], residual, y, geometry, group, first, last,
            begin, end, columns, channel, relu, has_residual,
        )  # fmt: skip


@register_jitable
def convolve_block(
    x, zeros, w, bias, residual, y, geometry, group, first, last, begin, end, columns, channel,
    relu, has_residual,
):  # fmt: skip
    """Compute output pixels first ... last - 1 of the panels begin ... end - 1 of one group.

    x is (N, H, W, C), y and residual are (pixels, channels); w and bias are the group's panels,
    and zeros is what a row of the window reads outside the image.
    """
    kh, kw, depth = geometry[2], geometry[3], geometry[10]
    count = last - first
    padded = (count + TALL - 1) // TALL * TALL
    offsets, merged = _table(x, zeros, geometry, group, first, last)
    taps, runs = np.array([kh * kw, depth]), np.array([kh, kw * depth])
    spare, added = np.empty((TALL, PANEL), np.float32), np.empty((TALL, PANEL), np.float32)
    # Some panels at a time, as many as stay in the second-level cache: so whole runs of memory are
    # written, and the next ones can be fetched ahead.
    panel_size = w.shape[1] * PANEL
    together = max(1, PANELS_BYTES // (4 * panel_size))
    for some in range(begin, end, together):
        for row in range(0, count, TALL):
            rows = min(TALL, count - row)
            tall = rows > SHORT
            shape, stride = taps.ctypes.data, padded
            if merged[row // TALL]:
                shape, stride = runs.ctypes.data, kw * padded
            places = offsets.ctypes.data + 8 * row
            for panel in range(some, min(some + together, end)):
                here = min(PANEL, columns - panel * PANEL)
                column = group * columns + panel * PANEL
                panel_address = w.ctypes.data + 4 * panel * panel_size
                bias_address = bias.ctypes.data + 4 * panel * PANEL
                whole = here == PANEL and rows == (TALL if tall else SHORT)
                target, target_stride = _place(y, first + row, channel + column), y.shape[1]
                source, source_stride = 0, 0
                if has_residual:
                    source, source_stride = _place(residual, first + row, column), residual.shape[1]
                if not whole:
                    target, target_stride = spare.ctypes.data, PANEL
                    if has_residual:
                        _copy(residual, first + row, column, added, 0, 0, rows, here)
                        source, source_stride = added.ctypes.data, PANEL
                if tall:
                    multiply_tall(
                        x.ctypes.data, places, stride, shape, panel_address, bias_address,
                        source, source_stride, target, target_stride, relu,
                    )  # fmt: skip
                else:
                    multiply_short(
                        x.ctypes.data, places, stride, shape, panel_address, bias_address,
                        source, source_stride, target, target_stride, relu,
                    )  # fmt: skip
                if not whole:
                    _copy(spare, 0, 0, y, first + row, channel + column, rows, here)


@register_jitable
def _table(x, zeros, geometry, group, first, last):
    """Return where each tap of each output pixel begins, counted from x, and for which tiles
    the taps of a row are one: where the windows lie inside the image from left to right, each
    of their rows is one run of memory."""
    oh, ow, kh, kw, sh, sw, dh, dw, top, left, depth = geometry
    _, height, width, channels = x.shape
    tiles = (last - first + TALL - 1) // TALL
    offsets, merged = np.empty((kh * kw, tiles * TALL), np.int64), np.empty(tiles, np.bool_)
    nothing = (zeros.ctypes.data - x.ctypes.data) // 4
    for tile in range(tiles):
        begins = (first + tile * TALL) % ow * sw - left
        ends = begins + (TALL - 1) * sw + kw
        merged[tile] = dw == 1 and depth == channels and begins >= 0 and ends <= width
        step = kw if merged[tile] else 1
        for i in range(tile * TALL, (tile + 1) * TALL):
            pixel = min(first + i, last - 1)
            x0 = pixel % ow * sw - left
            y0 = pixel // ow % oh * sh - top
            image = pixel // (ow * oh)
            for ky in range(kh):
                at = y0 + ky * dh
                for kx in range(0, kw, step):
                    to = x0 + kx * dw
                    place = ((image * height + at) * width + to) * channels + group * depth
                    inside = 0 <= at < height and 0 <= to < width
                    offsets[ky * kw + kx, i] = place if inside else nothing
    return offsets, merged


@register_jitable
def _copy(source, row, column, target, to_row, to_column, rows, columns):
    for r in range(rows):
        for j in range(columns):
            target[to_row + r, to_column + j] = source[row + r, column + j]


@register_jitable
def _accumulate(source, target, row, column, rows, columns, add):
    for r in range(rows):
        for j in range(columns):
            before = target[row + r, column + j] if add else np.float32(0)
            target[row + r, column + j] = before + source[r, j]


@register_jitable
def _place(matrix, row, column):
    """The address of a number of a matrix of float32."""
    return matrix.ctypes.data + 4 * (row * matrix.shape[1] + column)


@jit
def multiply_taps(v, u, m, rows, begin, end):
    """M = V U for panels begin ... end - 1 of each tap.

    u is (taps, panels, C, PANEL). v and m have a row for each tile, as many as are whole
    multiples of TALL: C numbers of v and PANEL * (end - begin) of m for each tap.
    """
    taps, panels, depth, _ = u.shape
    offsets = np.arange(len(v)) * v.shape[1]
    shape = np.array([1, depth])
    bias = np.zeros(PANEL, np.float32)
    columns = (end - begin) * PANEL
    _clear_rows(v, rows, taps * depth)
    for tap in range(taps):
        x = v.ctypes.data + 4 * tap * depth
        for panel in range(begin, end):
            w = u.ctypes.data + 4 * ((tap * panels + panel) * depth * PANEL)
            y = m.ctypes.data + 4 * (tap * columns + (panel - begin) * PANEL)
            for row in range(0, rows, TALL):
                places = offsets.ctypes.data + 8 * row
                target = y + 4 * row * m.shape[1]
                if rows - row > SHORT:
                    multiply_tall(
                        x, places, 0, shape.ctypes.data, w, bias.ctypes.data, 0, 0,
                        target, m.shape[1], False,
                    )  # fmt: skip
                else:
                    multiply_short(
                        x, places, 0, shape.ctypes.data, w, bias.ctypes.data, 0, 0,
                        target, m.shape[1], False,
                    )  # fmt: skip


@register_jitable
def _clear_rows(v, rows, columns):
    """Write zeros where the last register tile reads beyond the rows that there are.

    Nobody reads what becomes of them, but they might be denormal: a product of such takes a
    hundred times as long.
    """
    rest = rows % TALL
    beyond = 0 if rest == 0 else (SHORT if rest <= SHORT else TALL) - rest
    for row in range(rows, rows + beyond):
        for j in range(columns):
            v[row, j] = 0


@jit
def correlate_taps(v, dm, du, rows, begin, end, add):
    """Write V' dM to the input channels begin ... end - 1 of each tap of dU, or add it.

    v and dm have a row for each tile, with end - begin and K numbers for each tap; du is
    (taps, C, K). v and dm have to be readable a little further.
    """
    taps, _, columns = du.shape
    depth = end - begin
    offsets = np.arange(rows) * v.shape[1]
    count = np.array([rows])
    spare = np.empty((TALL, PANEL), np.float32)
    for tap in range(taps):
        x, dy = v.ctypes.data + 4 * tap * depth, dm.ctypes.data + 4 * tap * columns
        for column in range(0, columns, PANEL):
            here = min(PANEL, columns - column)
            for c in range(0, depth, TALL):
                high = min(TALL, depth - c)
                whole = here == PANEL and high == TALL
                target, stride = spare.ctypes.data, PANEL
                if whole:
                    target = _place(du[tap], begin + c, column)
                    stride = columns
                correlate(
                    x + 4 * c, offsets.ctypes.data, count.ctypes.data, dy + 4 * column,
                    dm.shape[1], target, stride, whole and add,
                )  # fmt: skip
                if not whole:
                    _accumulate(spare, du[tap], begin + c, column, high, here, add)
