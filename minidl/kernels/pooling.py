"""Max and average pooling over windows, forward and backward.

Padding takes no part: a maximum ignores it, an average divides by the number of real pixels.

>>> import numpy as np
>>> from minidl.kernels.geometry import Window
>>> from minidl.kernels.pooling import average_pool
>>> x = np.arange(9.0).reshape(1, 3, 3, 1)
>>> average_pool(x, Window((2, 2), (2, 2), "same"))[0, :, :, 0]
array([[2. , 3.5],
       [6.5, 8. ]])
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from minidl.kernels.geometry import Window
from minidl.kernels.runtime import thread_pool
from minidl.kernels.runtime.jit import jit

__all__ = [
    "average_pool",
    "average_pool_backward",
    "average_pool_rows",
    "max_pool",
    "max_pool_backward",
    "max_pool_rows",
    "row_chunks",
]

CHUNK = 2**16  # output elements per task


def max_pool(
    x: np.ndarray, window: Window, with_index: bool = False, out: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the maxima, and the position in its window at which each was found.

    Parameters
    ----------
    x : array, shape (N, H, W, C)
    window : Window
    with_index : bool
        Whether to return the positions; inference does not need them.
    out : array, shape (N, OH, OW, C), optional
        Receives the maxima.

    Returns
    -------
    y : array, shape (N, OH, OW, C)
    index : array of unsigned int, shape (N, OH, OW, C)
        Position ``row * KW + column``, in the smallest type that holds ``KH * KW - 1``. Empty
        without `with_index`.
    """
    y = _empty_output(x, window) if out is None else out
    largest = math.prod(window.kernel_size) - 1
    index = np.empty(y.shape if with_index else (0, 0, 0, 0), np.min_scalar_type(largest))
    geometry = window.loop_geometry(*x.shape[1:3])
    _for_rows(y, lambda rows: max_pool_rows(x, y, index, rows, geometry))
    return y, index


def max_pool_backward(
    dy: np.ndarray, index: np.ndarray, input_shape: tuple[int, ...], window: Window
) -> np.ndarray:
    """Return dx: each gradient goes to the pixel that was the maximum.

    Parameters
    ----------
    dy : array, shape (N, OH, OW, C)
    index : array, shape (N, OH, OW, C)
        From :func:`max_pool`.
    input_shape : tuple of int
        (N, H, W, C).
    window : Window
    """
    dx = np.zeros(input_shape, dy.dtype)
    geometry = window.loop_geometry(*input_shape[1:3])
    thread_pool.run(lambda n: _max_pool_backward(dy, index, dx, n, geometry), len(dx))
    return dx


def average_pool(x: np.ndarray, window: Window, out: np.ndarray | None = None) -> np.ndarray:
    """Return the averages over the real pixels of each window, in `out` if given.

    Parameters
    ----------
    x : array, shape (N, H, W, C)
    window : Window
    out : array, shape (N, OH, OW, C), optional
    """
    y = _empty_output(x, window) if out is None else out
    geometry = window.loop_geometry(*x.shape[1:3])
    _for_rows(y, lambda rows: average_pool_rows(x, y, rows, geometry))
    return y


def average_pool_backward(
    dy: np.ndarray, input_shape: tuple[int, ...], window: Window
) -> np.ndarray:
    """Return dx: each gradient is shared equally by the real pixels of its window.

    Parameters
    ----------
    dy : array, shape (N, OH, OW, C)
    input_shape : tuple of int
        (N, H, W, C).
    window : Window
    """
    dx = np.zeros(input_shape, dy.dtype)
    geometry = window.loop_geometry(*input_shape[1:3])
    thread_pool.run(lambda n: _average_pool_backward(dy, dx, n, geometry), len(dx))
    return dx


def row_chunks(output_shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """Cut the rows of all output images (N, OH, OW, C) into chunks, one per task."""
    n, oh, ow, channels = output_shape
    return thread_pool.chunks(n * oh, max(1, CHUNK // max(1, ow * channels)))


def _for_rows(y: np.ndarray, kernel: Callable[[tuple[int, int]], object]) -> None:
    """Call ``kernel((first, last))`` for chunks of the rows of all output images."""
    chunks = row_chunks(y.shape)
    thread_pool.run(lambda i: kernel(chunks[i]), len(chunks))


def _empty_output(x: np.ndarray, window: Window) -> np.ndarray:
    return np.empty((len(x), *window.output_size(*x.shape[1:3]), x.shape[3]), x.dtype)


@jit
def max_pool_rows(
    x: np.ndarray,
    y: np.ndarray,
    index: np.ndarray,
    rows: tuple[int, int],
    geometry: tuple[int, ...],
) -> None:
    """Write the maxima of rows ``rows[0] ... rows[1] - 1``, counted through all images.

    An `index` that is not empty receives their positions.
    """
    kh, kw, sh, sw, _, _, top, left = geometry
    _, height, width, channels = x.shape
    with_index = index.size > 0
    for row in range(rows[0], rows[1]):
        n, oy = row // y.shape[1], row % y.shape[1]
        y_first, y_last = max(0, oy * sh - top), min(height, oy * sh - top + kh)
        for ox in range(y.shape[2]):
            x_first, x_last = max(0, ox * sw - left), min(width, ox * sw - left + kw)
            found = False
            for iy in range(y_first, y_last):
                for ix in range(x_first, x_last):
                    position = (iy - oy * sh + top) * kw + ix - ox * sw + left
                    if not found:
                        found = True
                        for c in range(channels):
                            y[n, oy, ox, c] = x[n, iy, ix, c]
                        if with_index:
                            for c in range(channels):
                                index[n, oy, ox, c] = position
                    elif with_index:
                        for c in range(channels):
                            v = x[n, iy, ix, c]
                            if v > y[n, oy, ox, c] or v != v:  # NaN replaces any maximum
                                y[n, oy, ox, c] = v
                                index[n, oy, ox, c] = position
                    else:
                        for c in range(channels):
                            v = x[n, iy, ix, c]
                            m = y[n, oy, ox, c]
                            y[n, oy, ox, c] = v if v > m or v != v else m


@jit
def _max_pool_backward(
    dy: np.ndarray, index: np.ndarray, dx: np.ndarray, n: int, geometry: tuple[int, ...]
) -> None:
    kh, kw, sh, sw, _, _, top, left = geometry
    _, height, width, channels = dx.shape
    zero = dy.dtype.type(0)
    for oy in range(dy.shape[1]):
        y_first, y_last = max(0, oy * sh - top), min(height, oy * sh - top + kh)
        for ox in range(dy.shape[2]):
            x_first, x_last = max(0, ox * sw - left), min(width, ox * sw - left + kw)
            for iy in range(y_first, y_last):
                for ix in range(x_first, x_last):
                    position = (iy - oy * sh + top) * kw + ix - ox * sw + left
                    # One comparison per pixel of the window uses SIMD; a scatter would not.
                    for c in range(channels):
                        found = index[n, oy, ox, c] == position
                        dx[n, iy, ix, c] += dy[n, oy, ox, c] if found else zero


@jit
def average_pool_rows(
    x: np.ndarray, y: np.ndarray, rows: tuple[int, int], geometry: tuple[int, ...]
) -> None:
    """Write the averages of rows ``rows[0] ... rows[1] - 1``, counted through all images."""
    kh, kw, sh, sw, _, _, top, left = geometry
    _, height, width, channels = x.shape
    for row in range(rows[0], rows[1]):
        n, oy = row // y.shape[1], row % y.shape[1]
        y_first, y_last = max(0, oy * sh - top), min(height, oy * sh - top + kh)
        for ox in range(y.shape[2]):
            x_first, x_last = max(0, ox * sw - left), min(width, ox * sw - left + kw)
            count = y.dtype.type((y_last - y_first) * (x_last - x_first))
            for c in range(channels):
                y[n, oy, ox, c] = 0
            for iy in range(y_first, y_last):
                for ix in range(x_first, x_last):
                    for c in range(channels):
                        y[n, oy, ox, c] += x[n, iy, ix, c]
            for c in range(channels):
                y[n, oy, ox, c] /= count


@jit
def _average_pool_backward(
    dy: np.ndarray, dx: np.ndarray, n: int, geometry: tuple[int, ...]
) -> None:
    kh, kw, sh, sw, _, _, top, left = geometry
    _, height, width, channels = dx.shape
    for oy in range(dy.shape[1]):
        y_first, y_last = max(0, oy * sh - top), min(height, oy * sh - top + kh)
        for ox in range(dy.shape[2]):
            x_first, x_last = max(0, ox * sw - left), min(width, ox * sw - left + kw)
            count = (y_last - y_first) * (x_last - x_first)
            for iy in range(y_first, y_last):
                for ix in range(x_first, x_last):
                    for c in range(channels):
                        dx[n, iy, ix, c] += dy[n, oy, ox, c] / count
