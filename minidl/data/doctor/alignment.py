"""Alignment of two pictures by Gauss-Newton, and measures of their remaining difference.

A perceptual hash only suggests that two pictures are copies. Alignment verifies it: Gauss-Newton
steps move the four edges of a window in the first picture, and its contrast and brightness, until
the content of the window is most similar to the second picture. The remaining difference separates
copies (resized, recompressed or cropped files) from two photos of the same animal in one place.

>>> import numpy as np
>>> from minidl.data.doctor.alignment import compare
>>> y, x = np.mgrid[:64, :64]
>>> picture = 99 + 50 * np.sin(x / 5) * np.sin(y / 7) + 40 * np.sin((x - y) / 9)
>>> part = 99 + 50 * np.sin(x * 0.95 / 5) * np.sin(y / 7) + 40 * np.sin((x * 0.95 - y) / 9)
>>> match = compare(picture[None], part[None], np.array([[0.0, 1.0, 0.0, 1.0]]))
>>> np.abs(match.windows - [0.0, 1.0, 0.0, 0.95]).max() < 0.005, match.residual[0] < 0.01
(np.True_, np.True_)
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = ["Match", "block_means", "compare"]

STEPS = 8  # of Gauss-Newton, which converges quadratically
MAX_STEP = 0.05  # of the picture's side
BLOCK = 8  # pixels; side of the blocks of which the worst is measured
SMOOTHING = 2  # passes that make the blur of interpolation negligible


class Match(NamedTuple):
    """Comparison of P pairs of pictures after alignment; every array has P entries.

    Attributes
    ----------
    windows : numpy.ndarray, shape (P, 4)
        Top, bottom, left and right of the part of the first picture that the second one shows,
        as fractions of the first picture.
    residual : numpy.ndarray, shape (P,)
        Fraction of the variance of the first picture that the second one does not explain.
    worst : numpy.ndarray, shape (P,)
        Mean squared difference in the worst block, relative to the variance of the whole picture.
    edges : numpy.ndarray, shape (P,)
        Correlation of the gradients.
    contrast, brightness : numpy.ndarray, shape (P,)
        Scale and offset (gray levels) of the first picture relative to the second.
    deviation : numpy.ndarray, shape (P,)
        Standard deviation of the plainer picture, in gray levels.
    """

    windows: np.ndarray
    residual: np.ndarray
    worst: np.ndarray
    edges: np.ndarray
    contrast: np.ndarray
    brightness: np.ndarray
    deviation: np.ndarray


def compare(first: np.ndarray, second: np.ndarray, windows: np.ndarray) -> Match:
    """Align pairs of pictures, starting from `windows`, and measure their difference.

    Parameters
    ----------
    first, second : numpy.ndarray, shape (P, S, S)
        Square gray pictures; S is a multiple of 8, and 64 is enough.
    windows : numpy.ndarray, shape (P, 4)
        First guess of the part of the first picture that the second one shows. It should be wrong
        by at most a few percent of the side; alignment of smaller pictures improves a guess.

    Returns
    -------
    Match
    """
    first, second = _smooth(first.astype(np.float32)), _smooth(second.astype(np.float32))
    windows = np.asarray(windows, np.float64)
    for _ in range(STEPS):
        windows = windows + _gauss_newton_step(first, second, windows)
    return _measure(first, second, windows)


def block_means(pictures: np.ndarray, block: int) -> np.ndarray:
    """Return the means of square blocks of pictures (P, S, S), shape (P, S/block, S/block)."""
    count, size, _ = pictures.shape
    shape = count, size // block, block, size // block, block
    return pictures.reshape(shape).mean(axis=(2, 4))


def _smooth(pictures: np.ndarray) -> np.ndarray:
    """Return pictures (P, S, S) filtered by 1-2-1 in both directions."""
    for _ in range(2 * SMOOTHING):  # along the columns and the rows in turn
        p = np.pad(pictures, [(0, 0), (1, 1), (0, 0)], "edge")
        pictures = ((p[:, :-2] + 2 * p[:, 1:-1] + p[:, 2:]) / 4).swapaxes(1, 2)
    return np.ascontiguousarray(pictures)


def _gauss_newton_step(a: np.ndarray, b: np.ndarray, windows: np.ndarray) -> np.ndarray:
    """Return the step (P, 4) that makes the windows of `a` more similar to `b`.

    The unknowns are the movements of four edges, and the contrast and brightness that turn b into
    a. They minimize the squares of  a(windows) + da/dwindows * step - contrast * b - brightness.
    """
    rows, row_slopes, columns, column_slopes, inside = _interpolation(a.shape[1], windows)
    narrow = a @ columns
    dy, dx = row_slopes @ narrow, rows @ a @ column_slopes
    t = _pixel_centers(a.shape[1])
    t_rows = t[:, None]
    terms = np.stack(
        [dy * (1 - t_rows), dy * t_rows, dx * (1 - t), dx * t, -b, np.ones_like(b)], axis=1
    )
    terms = (terms * inside[:, None]).reshape(len(a), 6, -1)  # (P, 6, S*S)
    target = (rows @ narrow * inside).reshape(len(a), -1, 1)
    normal = (terms @ terms.swapaxes(1, 2)).astype(np.float64)
    # Slight damping, because plain pictures do not determine the edges.
    scale = np.trace(normal, axis1=1, axis2=2)[:, None, None]
    normal += np.eye(6) * (1e-7 * scale + 1e-3)
    step = np.linalg.solve(normal, -(terms @ target).astype(np.float64))[:, :4, 0]
    step = np.clip(step, -MAX_STEP, MAX_STEP)
    return np.where(_plausible(windows + step)[:, None], step, 0.0)


def _plausible(windows: np.ndarray) -> np.ndarray:
    """Return for windows (P, 4) whether both pictures overlap enough."""
    near = (np.abs(windows - (0.0, 1.0, 0.0, 1.0)) < 0.2).all(axis=1)
    return near & (windows[:, 1] - windows[:, 0] > 0.7) & (windows[:, 3] - windows[:, 2] > 0.7)


def _pixel_centers(size: int) -> np.ndarray:
    return ((np.arange(size) + 0.5) / size).astype(np.float32)


def _interpolation(size: int, windows: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return linear interpolation of windows (P, 4) to pictures of `size` pixels.

    Returns
    -------
    rows, row_slopes, columns, column_slopes, inside : numpy.ndarray, shape (P, S, S)
        ``rows @ pictures @ columns`` is the content of the windows; the slopes are derivatives by
        the position. `inside` is 1 where the position is inside the picture, else 0.
    """
    rows, row_slopes, row_inside = _interpolation_matrices(size, windows[:, :2])
    columns, column_slopes, column_inside = _interpolation_matrices(size, windows[:, 2:])
    inside = row_inside[:, :, None] * column_inside[:, None, :]
    return rows, row_slopes, columns.swapaxes(1, 2), column_slopes.swapaxes(1, 2), inside


def _interpolation_matrices(
    size: int, limits: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return weights and slopes (P, S, S) along one axis between the limits (P, 2), and inside."""
    low, high = limits.astype(np.float32)[:, :, None].swapaxes(0, 1)
    position = (low + (high - low) * _pixel_centers(size)) * size - 0.5  # (P, S)
    inside = (position > -0.5) & (position < size - 0.5)
    position = np.clip(position, 0, size - 1.001)
    offset = position[:, :, None] - np.arange(size, dtype=np.float32)  # (P, S, S)
    weights = np.maximum(0, 1 - np.abs(offset))
    slopes = size * (((offset >= -1) & (offset < 0)) - ((offset >= 0) & (offset < 1)).astype("f4"))
    return weights, slopes, inside.astype(np.float32)


def _measure(a: np.ndarray, b: np.ndarray, windows: np.ndarray) -> Match:
    """Compare the windows of `a` with `b` where both are defined."""
    rows, _, columns, _, inside = _interpolation(a.shape[1], windows)
    share = inside.mean(axis=(1, 2))

    def mean(x: np.ndarray) -> np.ndarray:  # (P, S, S) -> (P,)
        return (x * inside).mean(axis=(1, 2)) / share

    aligned = rows @ a @ columns
    mean_a, mean_b = mean(aligned), mean(b)
    x, y = aligned - mean_a[:, None, None], b - mean_b[:, None, None]
    xx, yy, xy = (np.maximum(mean(z), 1e-9) for z in (x * x, y * y, x * y))
    squares = (x - (xy / yy)[:, None, None] * y) ** 2 * inside
    return Match(
        windows=windows,
        residual=1 - xy**2 / (xx * yy),
        worst=block_means(squares, BLOCK).max(axis=(1, 2)) / xx,
        edges=_edge_correlation(x, y, inside),
        contrast=xy / yy,
        brightness=mean_a - mean_b,
        deviation=np.sqrt(np.minimum(xx, yy)),
    )


def _edge_correlation(x: np.ndarray, y: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Return the correlation of the gradients of pictures (P, S, S), both directions together."""
    totals = np.zeros((3, len(x)))
    for _ in range(2):  # along the rows, then along the columns
        dx, dy = np.diff(x), np.diff(y)
        both = inside[:, :, 1:] * inside[:, :, :-1]
        totals += [(z * both).sum(axis=(1, 2)) for z in (dx * dy, dx * dx, dy * dy)]
        x, y, inside = x.swapaxes(1, 2), y.swapaxes(1, 2), inside.swapaxes(1, 2)
    xy, xx, yy = totals
    return xy / np.sqrt(np.maximum(xx * yy, 1e-9))
