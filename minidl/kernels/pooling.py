"""Max and average pooling over windows, forward and backward.

Padding never takes part: a maximum ignores it, an average divides by the real pixels.

>>> import numpy as np
>>> from minidl.kernels.geometry import Window
>>> from minidl.kernels.pooling import average_pool
>>> x = np.arange(9.0).reshape(1, 3, 3, 1)
>>> average_pool(x, Window((2, 2), (2, 2), "same"))[0, :, :, 0]
array([[2. , 3.5],
       [6.5, 8. ]])
"""

from __future__ import annotations

import numpy as np

from minidl.kernels.geometry import Window
from minidl.kernels.runtime import thread_pool
from minidl.kernels.runtime.jit import jit

__all__ = [
    "average_pool", "average_pool_backward", "average_pool_rows", "max_pool", "max_pool_backward",
    "max_pool_rows", "rows_of_output", "window_numbers",
]  # fmt: skip


def max_pool(
    x: np.ndarray, window: Window, with_index: bool = False, out: np.ndarray | None = None
):
    """Return ``(y, index)``: the maxima, and where in its window each one was found.

    Parameters
    ----------
    x : (N, H, W, C)
    with_index : bool
        Without it `index` is empty (inference needs none).
    out : (N, OH, OW, C), optional
        Where to write the maxima.

    Returns
    -------
    y : (N, OH, OW, C)
    index : (N, OH, OW, C) of uint8; wider for windows of more than 256 pixels
    """
    y = _empty_output(x, window) if out is None else out
    largest = window.kernel_size[0] * window.kernel_size[1] - 1
    index = np.empty(y.shape if with_index else (0, 0, 0, 0), np.min_scalar_type(largest))
    numbers = window_numbers(x.shape, window)
    _by_rows(y, lambda first, last: max_pool_rows(x, y, index, first, last, *numbers))
    return y, index


def max_pool_backward(dy, index, input_shape, window: Window) -> np.ndarray:
    """Return dx: each gradient goes to the pixel that was the maximum."""
    dx = np.zeros(input_shape, dy.dtype)
    numbers = window_numbers(input_shape, window)
    thread_pool.run(lambda n: _max_pool_backward(dy, index, dx, n, *numbers), len(dx))
    return dx


def average_pool(x: np.ndarray, window: Window, out: np.ndarray | None = None) -> np.ndarray:
    """Return the averages (N, OH, OW, C) over the real pixels of each window, in `out` if given."""
    y = _empty_output(x, window) if out is None else out
    numbers = window_numbers(x.shape, window)
    _by_rows(y, lambda first, last: average_pool_rows(x, y, first, last, *numbers))
    return y


def average_pool_backward(dy, input_shape, window: Window) -> np.ndarray:
    """Return dx: each gradient is shared equally by the real pixels of its window."""
    dx = np.zeros(input_shape, dy.dtype)
    numbers = window_numbers(input_shape, window)
    thread_pool.run(lambda n: _average_pool_backward(dy, dx, n, *numbers), len(dx))
    return dx


def _empty_output(x, window):
    return np.empty((len(x), *window.output_size(*x.shape[1:3]), x.shape[3]), x.dtype)


def window_numbers(x_shape, window: Window) -> tuple[int, ...]:
    """Return what the kernels need to know: size, strides, and padding above and on the left."""
    top, _, left, _ = window.pads(*x_shape[1:3])
    return *window.kernel_size, *window.strides, top, left


def rows_of_output(shape) -> list[tuple[int, int]]:
    """Cut the rows of all output images (N, OH, OW, C) into spans, each a task."""
    n, oh, ow, channels = shape
    return thread_pool.chunks(n * oh, max(1, 2**16 // max(1, ow * channels)))


def _by_rows(y, kernel) -> None:
    """Call ``kernel(first, last)`` for all rows of all output images, some at a time."""
    parts = rows_of_output(y.shape)
    thread_pool.run(lambda i: kernel(*parts[i]), len(parts))


@jit
def max_pool_rows(x, y, index, first, last, kh, kw, sh, sw, top, left):
    """Write rows first ... last - 1 of all images' maxima, and to index, if not empty, where."""
    _, height, width, channels = x.shape
    with_index = index.size > 0
    for row in range(first, last):
        n, oy = row // y.shape[1], row % y.shape[1]
        for ox in range(y.shape[2]):
            found = False
            for ky in range(kh):
                iy = oy * sh - top + ky
                if iy < 0 or iy >= height:
                    continue
                for kx in range(kw):
                    ix = ox * sw - left + kx
                    if ix < 0 or ix >= width:
                        continue
                    at = ky * kw + kx
                    if not found:
                        found = True
                        for c in range(channels):
                            y[n, oy, ox, c] = x[n, iy, ix, c]
                        if with_index:
                            for c in range(channels):
                                index[n, oy, ox, c] = at
                    elif with_index:
                        for c in range(channels):
                            v = x[n, iy, ix, c]
                            if v > y[n, oy, ox, c] or v != v:  # NaN is never hidden
                                y[n, oy, ox, c] = v
                                index[n, oy, ox, c] = at
                    else:
                        for c in range(channels):
                            v = x[n, iy, ix, c]
                            m = y[n, oy, ox, c]
                            y[n, oy, ox, c] = v if v > m or v != v else m


@jit
def _max_pool_backward(dy, index, dx, n, kh, kw, sh, sw, top, left):
    _, height, width, channels = dx.shape
    zero = dy.dtype.type(0)
    for oy in range(dy.shape[1]):
        for ox in range(dy.shape[2]):
            for ky in range(kh):
                iy = oy * sh - top + ky
                if iy < 0 or iy >= height:
                    continue
                for kx in range(kw):
                    ix = ox * sw - left + kx
                    if ix < 0 or ix >= width:
                        continue
                    at = ky * kw + kx
                    # A comparison for every pixel of the window beats a scatter: it is SIMD.
                    for c in range(channels):
                        found = index[n, oy, ox, c] == at
                        dx[n, iy, ix, c] += dy[n, oy, ox, c] if found else zero


@jit
def average_pool_rows(x, y, first, last, kh, kw, sh, sw, top, left):
    """Write rows first ... last - 1 of all images' averages."""
    _, height, width, channels = x.shape
    for row in range(first, last):
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
def _average_pool_backward(dy, dx, n, kh, kw, sh, sw, top, left):
    _, height, width, channels = dx.shape
    for oy in range(dy.shape[1]):
        y0 = oy * sh - top
        y_first = 0 if y0 < 0 else y0
        y_last = height if y0 + kh > height else y0 + kh
        for ox in range(dy.shape[2]):
            x0 = ox * sw - left
            x_first = 0 if x0 < 0 else x0
            x_last = width if x0 + kw > width else x0 + kw
            count = (y_last - y_first) * (x_last - x_first)
            for iy in range(y_first, y_last):
                for ix in range(x_first, x_last):
                    for c in range(channels):
                        dx[n, iy, ix, c] += dy[n, oy, ox, c] / count
