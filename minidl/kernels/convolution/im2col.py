"""im2col and its adjoint col2im, for any run of output pixels.

Row r of the matrix holds the patch of the image that output pixel r sees, so that a
convolution becomes one matrix product. The full matrix of a batch would be KH * KW times
the images; callers therefore ask for a few hundred rows at a time.

>>> import numpy as np
>>> from minidl.kernels.geometry import Window
>>> from minidl.kernels.convolution.im2col import im2col
>>> x = np.arange(9.0).reshape(1, 3, 3, 1)
>>> cols = np.empty((4, 4))
>>> im2col(x, cols, 0, Window((2, 2)))
>>> cols
array([[0., 1., 3., 4.],
       [1., 2., 4., 5.],
       [3., 4., 6., 7.],
       [4., 5., 7., 8.]])
"""

from __future__ import annotations

import numpy as np

from minidl.kernels.geometry import Window
from minidl.kernels.runtime.jit import jit

__all__ = ["col2im", "im2col"]


def im2col(
    x: np.ndarray, cols: np.ndarray, first: int, window: Window, channel: int = 0, depth: int = 0
) -> None:
    """Gather the patches of output pixels ``first, first + 1, ...`` into the rows of `cols`.

    Parameters
    ----------
    x : (N, H, W, C)
    cols : (rows, KH * KW * depth), overwritten
    first : int
        Output pixels are counted through the whole batch, row by row.
    channel, depth : int
        Take channels ``channel : channel + depth`` only (for groups); 0 means all of them.
    """
    _, height, width, channels = x.shape
    oh, ow = window.output_size(height, width)
    top, _, left, _ = window.pads(height, width)
    depth = depth or channels
    # (N, H, W, C) -> (rows, KH*KW*depth)
    _gather(
        x, cols, first, oh, ow, *window.kernel_size, *window.strides, *window.dilation,
        top, left, channel, depth,
    )  # fmt: skip


def col2im(
    cols: np.ndarray, dx: np.ndarray, first: int, window: Window, channel: int = 0, depth: int = 0
) -> None:
    """Add the rows of `cols` back onto the pixels that they came from: im2col's adjoint."""
    _, height, width, channels = dx.shape
    oh, ow = window.output_size(height, width)
    top, _, left, _ = window.pads(height, width)
    depth = depth or channels
    # (rows, KH*KW*depth) -> (N, H, W, C)
    _scatter_add(
        cols, dx, first, oh, ow, *window.kernel_size, *window.strides, *window.dilation,
        top, left, channel, depth,
    )  # fmt: skip


# Offsets are unsigned where a loop runs over memory: they cannot be negative then, so no access
# needs Python's wrap-around, and LLVM turns the loop into a plain copy or addition.


@jit
def _gather(x, cols, first, oh, ow, kh, kw, sh, sw, dh, dw, top, left, channel, depth):
    _, height, width, channels = x.shape
    flat, out = x.reshape(-1), cols.reshape(-1)
    merged = dw == 1 and depth == channels  # a row of the patch is one run of memory
    for i in range(cols.shape[0]):
        pixel = first + i
        ox = pixel % ow
        oy = (pixel // ow) % oh
        image = pixel // (ow * oh)
        x0 = ox * sw - left
        for ky in range(kh):
            y = oy * sh - top + ky * dh
            row = np.uint64(i * cols.shape[1] + ky * kw * depth)
            if y < 0 or y >= height:
                for j in range(np.uint64(kw * depth)):
                    out[row + j] = 0
                continue
            source = ((image * height + y) * width + x0) * channels + channel
            if merged:
                begin = min(-x0, kw) * depth if x0 < 0 else 0
                end = kw * depth
                if x0 + kw > width:
                    end = (width - x0) * depth
                for j in range(np.uint64(begin)):
                    out[row + j] = 0
                if end > begin:
                    at, here = row + np.uint64(begin), np.uint64(source + begin)
                    for j in range(np.uint64(end - begin)):
                        out[at + j] = flat[here + j]
                for j in range(np.uint64(max(begin, end)), np.uint64(kw * depth)):
                    out[row + j] = 0
                continue
            for kx in range(kw):
                at = row + np.uint64(kx * depth)
                if 0 <= x0 + kx * dw < width:
                    here = np.uint64(source + kx * dw * channels)
                    for j in range(np.uint64(depth)):
                        out[at + j] = flat[here + j]
                else:
                    for j in range(np.uint64(depth)):
                        out[at + j] = 0


@jit
def _scatter_add(cols, dx, first, oh, ow, kh, kw, sh, sw, dh, dw, top, left, channel, depth):
    _, height, width, channels = dx.shape
    flat, patches = dx.reshape(-1), cols.reshape(-1)
    merged = dw == 1 and depth == channels
    for i in range(cols.shape[0]):
        pixel = first + i
        ox = pixel % ow
        oy = (pixel // ow) % oh
        image = pixel // (ow * oh)
        x0 = ox * sw - left
        for ky in range(kh):
            y = oy * sh - top + ky * dh
            if y < 0 or y >= height:
                continue
            row = np.uint64(i * cols.shape[1] + ky * kw * depth)
            target = ((image * height + y) * width + x0) * channels + channel
            if merged:
                begin = min(-x0, kw) * depth if x0 < 0 else 0
                end = kw * depth
                if x0 + kw > width:
                    end = (width - x0) * depth
                if end > begin:
                    at, here = row + np.uint64(begin), np.uint64(target + begin)
                    for j in range(np.uint64(end - begin)):
                        flat[here + j] += patches[at + j]
                continue
            for kx in range(kw):
                if 0 <= x0 + kx * dw < width:
                    at = row + np.uint64(kx * depth)
                    here = np.uint64(target + kx * dw * channels)
                    for j in range(np.uint64(depth)):
                        flat[here + j] += patches[at + j]
