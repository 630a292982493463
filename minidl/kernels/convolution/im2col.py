"""im2col and its adjoint col2im for a block of output pixels.

Row r of the matrix holds the patch of the image that output pixel r sees. A convolution thereby
becomes one matrix product. The matrix of a whole batch would be KH * KW times as large as the
images, so callers ask for a few hundred rows at a time.

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
    """Copy the patches of output pixels ``first, first + 1, ...`` into the rows of `cols`.

    Parameters
    ----------
    x : array, shape (N, H, W, C)
    cols : array, shape (rows, KH * KW * depth)
        Overwritten.
    first : int
        Index of the first output pixel, counted row by row through the whole batch.
    window : Window
    channel, depth : int
        Read channels ``channel : channel + depth`` only (one group); depth 0 means all channels.
    """
    size = window.output_size(*x.shape[1:3])
    block = (first, channel, depth or x.shape[3])
    _gather(x, cols, block, size, window.loop_geometry(*x.shape[1:3]))


def col2im(
    cols: np.ndarray, dx: np.ndarray, first: int, window: Window, channel: int = 0, depth: int = 0
) -> None:
    """Add the rows of `cols` to the pixels that :func:`im2col` copies them from.

    Parameters
    ----------
    cols : array, shape (rows, KH * KW * depth)
    dx : array, shape (N, H, W, C)
        The sums are added to it.
    first, window, channel, depth
        As for :func:`im2col`.
    """
    size = window.output_size(*dx.shape[1:3])
    block = (first, channel, depth or dx.shape[3])
    _scatter_add(cols, dx, block, size, window.loop_geometry(*dx.shape[1:3]))


# Without dilation and groups, one row of a patch is contiguous in the image and copied at once.
# Indices are unsigned in the innermost loops: then no access needs Python's wrap-around, and LLVM
# emits a plain copy or addition.


@jit
def _gather(
    x: np.ndarray,
    cols: np.ndarray,
    block: tuple[int, int, int],
    size: tuple[int, int],
    geometry: tuple[int, ...],
) -> None:
    """(N, H, W, C) -> (rows, KH * KW * depth)"""
    first, channel, depth = block
    oh, ow = size
    kh, kw, sh, sw, dh, dw, top, left = geometry
    _, height, width, channels = x.shape
    pixels, patches = x.reshape(-1), cols.reshape(-1)
    contiguous = dw == 1 and depth == channels
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
                    patches[row + j] = 0
                continue
            source = ((image * height + y) * width + x0) * channels + channel
            if contiguous:
                begin = min(-x0, kw) * depth if x0 < 0 else 0
                end = kw * depth
                if x0 + kw > width:
                    end = (width - x0) * depth
                for j in range(np.uint64(begin)):
                    patches[row + j] = 0
                if end > begin:
                    to, start = row + np.uint64(begin), np.uint64(source + begin)
                    for j in range(np.uint64(end - begin)):
                        patches[to + j] = pixels[start + j]
                for j in range(np.uint64(max(begin, end)), np.uint64(kw * depth)):
                    patches[row + j] = 0
                continue
            for kx in range(kw):
                to = row + np.uint64(kx * depth)
                if 0 <= x0 + kx * dw < width:
                    start = np.uint64(source + kx * dw * channels)
                    for j in range(np.uint64(depth)):
                        patches[to + j] = pixels[start + j]
                else:
                    for j in range(np.uint64(depth)):
                        patches[to + j] = 0


@jit
def _scatter_add(
    cols: np.ndarray,
    dx: np.ndarray,
    block: tuple[int, int, int],
    size: tuple[int, int],
    geometry: tuple[int, ...],
) -> None:
    """(rows, KH * KW * depth) -> (N, H, W, C)"""
    first, channel, depth = block
    oh, ow = size
    kh, kw, sh, sw, dh, dw, top, left = geometry
    _, height, width, channels = dx.shape
    pixels, patches = dx.reshape(-1), cols.reshape(-1)
    contiguous = dw == 1 and depth == channels
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
            if contiguous:
                begin = min(-x0, kw) * depth if x0 < 0 else 0
                end = kw * depth
                if x0 + kw > width:
                    end = (width - x0) * depth
                if end > begin:
                    start, to = row + np.uint64(begin), np.uint64(target + begin)
                    for j in range(np.uint64(end - begin)):
                        pixels[to + j] += patches[start + j]
                continue
            for kx in range(kw):
                if 0 <= x0 + kx * dw < width:
                    start = row + np.uint64(kx * depth)
                    to = np.uint64(target + kx * dw * channels)
                    for j in range(np.uint64(depth)):
                        pixels[to + j] += patches[start + j]
