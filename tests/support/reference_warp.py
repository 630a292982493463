"""Slow, obvious twins of ``minidl/kernels/warp.py``: one pixel at a time."""

import math

import numpy as np


def naive_warp(x, transforms, fill_mode, fill_value, interpolation, output_size=None):
    """Read every output pixel at the place its transform says."""
    height, width = output_size or x.shape[1:3]
    y = np.empty((len(x), height, width, x.shape[3]), x.dtype)
    for n, image in enumerate(x):
        for i in range(height):
            for j in range(width):
                column, row, _ = transforms[n] @ [j, i, 1]
                if interpolation == "nearest":
                    column, row = math.floor(column + 0.5), math.floor(row + 0.5)
                y[n, i, j] = naive_bilinear(image, row, column, fill_mode, fill_value)
    return y


def naive_bilinear(image, row, column, fill_mode, fill_value):
    """Average the four pixels around (row, column), the nearer the more."""
    color = np.zeros(image.shape[2])
    for r in (math.floor(row), math.floor(row) + 1):
        for c in (math.floor(column), math.floor(column) + 1):
            weight = (1 - abs(row - r)) * (1 - abs(column - c))
            color += weight * naive_pixel(image, r, c, fill_mode, fill_value)
    return color


def naive_pixel(image, r, c, fill_mode, fill_value):
    """The pixel (r, c) of the image continued without end."""
    r, c = naive_place(r, image.shape[0], fill_mode), naive_place(c, image.shape[1], fill_mode)
    return fill_value if r is None or c is None else image[r, c].astype(np.float64)


def naive_place(index, size, fill_mode):
    """Walk from `index` into 0..size-1 step by step."""
    if fill_mode == "constant":
        return index if 0 <= index < size else None
    while not 0 <= index < size:
        if fill_mode == "nearest":
            index += 1 if index < 0 else -1
        elif fill_mode == "wrap":
            index += size if index < 0 else -size
        else:  # reflect: mirrors stand at -0.5 and size - 0.5
            index = -1 - index if index < 0 else 2 * size - 1 - index
    return index


def naive_resize(image, height, width):
    """Bilinear resize of (H, W, C), first down the columns and then along the rows."""
    rows = (np.arange(height) + 0.5) * image.shape[0] / height - 0.5
    columns = (np.arange(width) + 0.5) * image.shape[1] / width - 0.5
    for axis, places in ((0, rows), (1, columns)):
        known = np.arange(image.shape[axis])
        image = np.apply_along_axis(lambda v, p=places, k=known: np.interp(p, k, v), axis, image)
    return image
