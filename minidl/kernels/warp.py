"""Affine warps of images: rotate, zoom, shift, shear, flip and resize in one resampling.

A transform is a 3x3 matrix that maps a pixel of the output, ``(column, row, 1)``, to the position
in the input where its color is read. Pixel centers have integer coordinates: the center of the
first pixel is (0, 0), the center of the image is ``((W - 1) / 2, (H - 1) / 2)``.

>>> import numpy as np
>>> from minidl.kernels.warp import warp
>>> x = np.arange(6.0).reshape(1, 2, 3, 1)
>>> half_a_pixel_left = np.array([[[1, 0, 0.5], [0, 1, 0], [0, 0, 1]]])
>>> warp(x, half_a_pixel_left, "nearest")[0, :, :, 0]
array([[0.5, 1.5, 2. ],
       [3.5, 4.5, 5. ]])
"""

from __future__ import annotations

import numpy as np

from minidl.kernels.runtime import thread_pool
from minidl.kernels.runtime.jit import jit

__all__ = ["FILL_MODES", "INTERPOLATIONS", "warp", "warp_backward"]

FILL_MODES = ("constant", "nearest", "reflect", "wrap")
INTERPOLATIONS = ("bilinear", "nearest")


def warp(
    x: np.ndarray,
    transforms: np.ndarray,
    fill_mode: str = "constant",
    fill_value: float = 0.0,
    interpolation: str = "bilinear",
    output_size: tuple[int, int] | None = None,
) -> np.ndarray:
    """Resample each image of `x` through its own transform.

    A position at the center of an input pixel copies it bit for bit. Flips and shifts by whole
    pixels are therefore exact.

    Parameters
    ----------
    x : numpy.ndarray of float32 or float64, shape (N, H, W, C)
    transforms : numpy.ndarray of float64, shape (N, 3, 3)
        Output pixel (column, row, 1) -> input position; the last row is (0, 0, 1).
    fill_mode : {"constant", "nearest", "reflect", "wrap"}
        Values outside the image: `fill_value`, the border ``a a | a b c | c c``, its
        reflection ``b a | a b c | c b``, or a repetition ``b c | a b c | a b``.
    fill_value : float
    interpolation : {"bilinear", "nearest"}
    output_size : (height, width), optional
        The size of the input by default.

    Returns
    -------
    numpy.ndarray, shape (N, *output_size, C)
        In the dtype of `x`.
    """
    x = np.ascontiguousarray(x)
    y = np.empty((len(x), *(output_size or x.shape[1:3]), x.shape[3]), x.dtype)
    if y.size:
        transforms = np.ascontiguousarray(transforms, np.float64)
        rows, columns, first = _lookup_tables(x.shape, y.shape, transforms, fill_mode)
        pixels, nearest = x.reshape(len(x), -1), interpolation == "nearest"
        fill = x.dtype.type(fill_value)
        thread_pool.run(
            lambda n: _warp(pixels, y, n, transforms, rows, columns, *first, nearest, fill), len(x)
        )
    return y


def warp_backward(
    dy: np.ndarray,
    transforms: np.ndarray,
    input_size: tuple[int, int],
    fill_mode: str = "constant",
    interpolation: str = "bilinear",
) -> np.ndarray:
    """Return the gradient of the input, with shape (N, *input_size, C).

    This is the exact adjoint of :func:`warp`: the same pixels with the same weights.
    """
    dy = np.ascontiguousarray(dy)
    dx = np.zeros((len(dy), *input_size, dy.shape[3]), dy.dtype)
    if dy.size:
        transforms = np.ascontiguousarray(transforms, np.float64)
        rows, columns, first = _lookup_tables(dx.shape, dy.shape, transforms, fill_mode)
        pixels, nearest = dx.reshape(len(dx), -1), interpolation == "nearest"
        thread_pool.run(
            lambda n: _warp_backward(dy, pixels, n, transforms, rows, columns, *first, nearest),
            len(dy),
        )
    return dx


def _lookup_tables(
    input_shape: tuple[int, ...],
    output_shape: tuple[int, ...],
    transforms: np.ndarray,
    fill_mode: str,
) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
    """Return ``(rows, columns, (first_row, first_column))``: the fill mode as two tables.

    ``rows[row - first_row] + columns[column - first_column]`` is the offset of a pixel of the
    infinitely extended image in the flat input; a negative sum stands for the fill value. The
    kernels therefore need neither fill modes nor comparisons with the image's size.
    """
    _, height, width, channels = input_shape
    right, bottom = output_shape[2] - 1, output_shape[1] - 1
    corners = np.array([[0, 0, 1], [right, 0, 1], [0, bottom, 1], [right, bottom, 1]], np.float64)
    reached = transforms[:, :2] @ corners.T  # (N, 2, 4); an affine map stays between its corners
    # One more pixel on either side because of rounding, and one for the second pixel of a pair.
    first = np.floor(reached.min(axis=(0, 2))).astype(np.int64) - 1
    stop = np.floor(reached.max(axis=(0, 2))).astype(np.int64) + 3

    def table(axis: int, size: int, stride: int) -> np.ndarray:
        pixels = _extend(np.arange(first[axis], stop[axis]), size, fill_mode)
        return np.where(pixels < 0, -height * width * channels, pixels * stride)

    rows, columns = table(1, height, width * channels), table(0, width, channels)
    return rows, columns, (int(first[1]), int(first[0]))


def _extend(index: np.ndarray, size: int, fill_mode: str) -> np.ndarray:
    """Return which of `size` pixels is at each index of the extended row; -1 for none."""
    if fill_mode == "nearest":
        return np.clip(index, 0, size - 1)
    if fill_mode == "wrap":
        return index % size
    if fill_mode == "reflect":
        index = index % (2 * size)
        return np.minimum(index, 2 * size - 1 - index)
    return np.where((index >= 0) & (index < size), index, -1)


@jit
def _warp(
    x: np.ndarray,
    y: np.ndarray,
    n: int,
    transforms: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
    first_row: int,
    first_column: int,
    nearest: bool,
    fill: float,
) -> None:
    _, height, width, channels = y.shape
    for i in range(height):
        for j in range(width):
            row = transforms[n, 1, 0] * j + transforms[n, 1, 1] * i + transforms[n, 1, 2]
            column = transforms[n, 0, 0] * j + transforms[n, 0, 1] * i + transforms[n, 0, 2]
            if nearest:
                row = np.floor(row + 0.5)
                column = np.floor(column + 0.5)
            r = int(np.floor(row))
            k = int(np.floor(column))
            south = y.dtype.type(row - r)
            east = y.dtype.type(column - k)
            r -= first_row
            k -= first_column
            nw = rows[r] + columns[k]
            # A copy, because 0 times a NaN or infinite neighbor would not be 0.
            if south == 0 and east == 0:
                for c in range(channels):
                    y[n, i, j, c] = x[n, nw + c] if nw >= 0 else fill
                continue
            ne = rows[r] + columns[k + 1]
            sw = rows[r + 1] + columns[k]
            se = rows[r + 1] + columns[k + 1]
            if nw >= 0 and ne >= 0 and sw >= 0 and se >= 0:
                for c in range(channels):
                    top = x[n, nw + c] + east * (x[n, ne + c] - x[n, nw + c])
                    bottom = x[n, sw + c] + east * (x[n, se + c] - x[n, sw + c])
                    y[n, i, j, c] = top + south * (bottom - top)
            else:
                for c in range(channels):
                    a = x[n, nw + c] if nw >= 0 else fill
                    b = x[n, ne + c] if ne >= 0 else fill
                    d = x[n, sw + c] if sw >= 0 else fill
                    e = x[n, se + c] if se >= 0 else fill
                    top = a + east * (b - a)
                    bottom = d + east * (e - d)
                    y[n, i, j, c] = top + south * (bottom - top)


@jit
def _warp_backward(
    dy: np.ndarray,
    dx: np.ndarray,
    n: int,
    transforms: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
    first_row: int,
    first_column: int,
    nearest: bool,
) -> None:
    _, height, width, channels = dy.shape
    for i in range(height):
        for j in range(width):
            row = transforms[n, 1, 0] * j + transforms[n, 1, 1] * i + transforms[n, 1, 2]
            column = transforms[n, 0, 0] * j + transforms[n, 0, 1] * i + transforms[n, 0, 2]
            if nearest:
                row = np.floor(row + 0.5)
                column = np.floor(column + 0.5)
            r = int(np.floor(row))
            k = int(np.floor(column))
            for down in range(2):
                for right in range(2):
                    offset = rows[r + down - first_row] + columns[k + right - first_column]
                    weight = (1 - abs(row - r - down)) * (1 - abs(column - k - right))
                    if offset >= 0 and weight > 0:
                        w = dy.dtype.type(weight)
                        for c in range(channels):
                            dx[n, offset + c] += w * dy[n, i, j, c]
