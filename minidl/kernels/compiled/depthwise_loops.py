"""Loops around the register tile of :mod:`minidl.kernels.compiled.depthwise_tile`.

A job computes some rows of the output, one after the other. The input rows that a window covers are
in a small ring of rows, which stays in the cache: row r of the image is in slot ``r % slots``. The
rows in the ring have zeros for the padding to the left and right, so no tile needs to know about
it. A new row is copied from the image, or computed by a 1x1 convolution of it (`expand`). Another
1x1 convolution (`project`) can follow while an output row is in the cache. With both, the two large
tensors in the middle of an inverted bottleneck (Sandler et al., "MobileNetV2", 2018,
https://arxiv.org/abs/1801.04381) never exist as a whole. Importing this module imports Numba.

>>> from minidl.kernels.compiled.depthwise_loops import depthwise_job
>>> depthwise_job.__code__.co_varnames[:2]
('step', 'job')
"""

from __future__ import annotations

import numpy as np
from numba.extending import register_jitable

from minidl.kernels.compiled.addresses import array_at
from minidl.kernels.compiled.depthwise_tile import PIXELS, depthwise_tile
from minidl.kernels.compiled.gemm_loops import multiply
from minidl.kernels.compiled.gemm_tile import PANEL, SHORT, TALL
from minidl.kernels.compiled.simd import LANES

__all__ = ["depthwise_job"]


@register_jitable
def depthwise_job(step, job, x, y, residual, memory):
    """Compute some rows of the output for some vectors of channels.

    With a 1x1 convolution before or afterwards, these are all channels.

    Parameters
    ----------
    step : DEPTHWISE record
    job : JOB record
    x, y, residual : array of float32, shape (N, H, W, C)
    memory : array of float32
        See :func:`~minidl.kernels.convolution.depthwise.buffer_size`.
    """
    kh, kw, dh, dw = step.window.kh, step.window.kw, step.window.dh, step.window.dw
    sh, sw, top, left = step.window.sh, step.window.sw, step.window.top, step.window.left
    height, oh, ow = x.shape[1], y.shape[1], y.shape[2]
    begin, end, first, last = job.begin, job.end, job.first, job.last
    channels, slots = min(end * LANES, step.channels) - begin * LANES, dh * (kh - 1) + 1
    pitch = max(left + x.shape[2], (ow - 1) * sw + dw * (kw - 1) + 1) * channels
    ring = memory[: (slots + 1) * pitch].reshape((slots + 1, pitch))  # the last row stays zero
    ring[:] = 0
    middle = memory[(slots + 1) * pitch :]  # the output row before `project`
    expand_tables = _row_tables(x.shape[2], x.shape[3])
    project_tables = _row_tables(ow, channels)
    pixels, targets = np.empty(PIXELS, np.int64), np.empty(PIXELS, np.int64)
    stride = channels if step.project.exists else y.shape[3]
    for i in range(PIXELS):
        pixels[i], targets[i] = min(i, ow - 1) * sw * channels, min(i, ow - 1) * stride
    tiles = (pixels.ctypes.data, targets.ctypes.data, sw * channels, stride)
    taps, image, filled = np.empty(kh * kw, np.int64), -1, 0
    for row in range(first, last):
        if row // oh != image:
            image, filled = row // oh, 0
        upper = row % oh * sh - top
        lower = min(height, upper + slots)
        for iy in range(max(filled, upper), lower):
            slot = ring[iy % slots, left * channels :]
            if step.expand.exists:
                source = _pixel(x, image, iy, 0)
                target = (slot.ctypes.data, channels)
                multiply_row(step.expand, source, x.shape[2], expand_tables, (0, 0), target)
            else:
                _copy_row(x[image, iy], begin * LANES, channels, slot)
        filled = max(filled, lower)
        ky, count = 0, 0
        for k in range(kh):
            iy = upper + k * dh
            if 0 <= iy < height:
                if count == 0:
                    ky = k
                _find_taps(ring[iy % slots], dw * channels, taps[count : count + kw])
                count += kw
        if count == 0:  # the window is above or below the image
            count = kw
            _find_taps(ring[slots], dw * channels, taps[:kw])
        target = middle.ctypes.data
        if not step.project.exists:
            target = _pixel(y, image, row % oh, step.channel + begin * LANES)
        _depthwise_row(step, (begin, end), taps[:count], ky * kw, tiles, ow, target)
        if step.project.exists:
            addend = (0, 0)
            if step.has_residual:
                addend = (_pixel(residual, image, row % oh, 0), residual.shape[3])
            target = (_pixel(y, image, row % oh, step.channel), y.shape[3])
            source = middle.ctypes.data
            multiply_row(step.project, source, ow, project_tables, addend, target)


@register_jitable
def _depthwise_row(step, vectors, taps, tap, tiles, ow, y):
    """Compute a row of the output, at address y, from the taps from number `tap` on."""
    begin, end = vectors
    pixels, targets, step_x, step_y = tiles
    weights, bias, all_taps = step.weights, step.bias, step.window.kh * step.window.kw
    channels, bounds = step.channels, (np.float32(step.low), np.float32(step.high))
    count = np.array([len(taps)])
    for first in range(0, ow, PIXELS):
        ox = max(0, min(first, ow - PIXELS))  # the last tile overlaps the one before
        for vector in range(begin, end):
            shift = (vector - begin) * LANES
            source = (taps.ctypes.data, count.ctypes.data, pixels, ox * step_x + shift)
            w = weights + 4 * (vector * all_taps + tap) * LANES
            b = bias + 4 * vector * LANES
            target = (y + 4 * (ox * step_y + shift), targets)
            lanes = min(LANES, channels - vector * LANES)
            depthwise_tile(source, w, b, target, bounds, lanes)


@register_jitable
def multiply_row(pointwise, x, pixels, tables, residual, y):
    """Compute a 1x1 convolution of consecutive pixels.

    Parameters
    ----------
    pointwise : POINTWISE record
    x : int
        Address of the first pixel.
    pixels : int
    tables : tuple of arrays
        From ``_row_tables``.
    residual, y : (int, int)
        Address of the first pixel, and numbers from one to the next. Address 0 stands for no
        residual.
    """
    offsets, spare, added = tables
    depth, panels, filters = pointwise.depth, pointwise.panels, pointwise.filters
    packed, biases = pointwise.packed, pointwise.bias
    bounds, shape = (np.float32(pointwise.low), np.float32(pointwise.high)), np.array([1, depth])
    (addend, addend_stride), (target, stride) = residual, y
    for row in range(0, pixels, TALL):
        rows = min(TALL, pixels - row)
        is_whole = rows in (SHORT, TALL)
        table = offsets[0 if rows == TALL else 1].ctypes.data
        source = (x + 4 * row * depth, table, 0, shape.ctypes.data)
        for panel in range(panels):
            width = min(PANEL, filters - panel * PANEL)
            kernel, bias = packed + 4 * panel * depth * PANEL, biases + 4 * panel * PANEL
            column = 4 * panel * PANEL
            to = (target + 4 * row * stride + column, stride)
            other = (0, 0)
            if addend != 0:
                other = (addend + 4 * row * addend_stride + column, addend_stride)
            written = to
            if not is_whole:  # the tile has more rows than there are
                written = (spare.ctypes.data, PANEL)
                if addend != 0:
                    _copy_rows(other, (added.ctypes.data, PANEL), rows, width)
                    other = (added.ctypes.data, PANEL)
            multiply(rows, source, kernel, bias, other, written, bounds, width)
            if not is_whole:
                _copy_rows(written, to, rows, width)


@register_jitable
def _row_tables(pixels, depth):
    """Return the offsets of a tile's rows and of the last tile's, and two buffers for a tile.

    The last tile of a row of pixels repeats its last pixel.
    """
    offsets, rest = np.empty((2, TALL), np.int64), pixels % TALL
    for i in range(TALL):
        offsets[0, i], offsets[1, i] = i * depth, max(0, min(i, rest - 1)) * depth
    return offsets, np.empty((TALL, PANEL), np.float32), np.empty((TALL, PANEL), np.float32)


@register_jitable
def _copy_rows(source, target, rows, columns):
    """Copy a matrix; source and target are an address and a row stride."""
    x = array_at(source[0], (rows, source[1]))
    y = array_at(target[0], (rows, target[1]))
    for i in range(rows):
        for j in range(columns):
            y[i, j] = x[i, j]


@register_jitable
def _copy_row(x, channel, channels, ring):
    """Copy some channels of a row of pixels (W, C) into a row of the ring."""
    if channels == x.shape[1]:
        numbers = x.reshape(-1)
        for i in range(len(numbers)):
            ring[i] = numbers[i]
    else:
        for ix in range(x.shape[0]):
            for c in range(channels):
                ring[ix * channels + c] = x[ix, channel + c]


@register_jitable
def _find_taps(row, step, addresses):
    """Write the addresses where the taps of one kernel row start in a row of the ring."""
    for kx in range(len(addresses)):
        addresses[kx] = row.ctypes.data + 4 * kx * step


@register_jitable
def _pixel(x, image, row, channel):
    """Return the address of a channel of the first pixel of a row."""
    index = (image * x.shape[1] + row) * x.shape[2] * x.shape[3] + channel
    return x.ctypes.data + 4 * index
