"""Are two pictures the same photo? Laid over each other as well as possible, then compared.

A perceptual hash only guesses. Here the guess is checked: Gauss-Newton steps move the four edges
of a window in the first picture, and its contrast and brightness, until what is in the window is
most like the second picture. What still differs then tells copies (a resized, recompressed or
cropped file) from two photos of the same animal in the same place.

>>> import numpy as np
>>> from minidl.data.doctor.alignment import compare
>>> y, x = np.mgrid[:64, :64]
>>> picture = 99 + 50 * np.sin(x / 5) * np.sin(y / 7) + 40 * np.sin((x - y) / 9)
>>> cut = 99 + 50 * np.sin(x * 0.95 / 5) * np.sin(y / 7) + 40 * np.sin((x * 0.95 - y) / 9)
>>> match = compare(picture[None], cut[None], np.array([[0.0, 1.0, 0.0, 1.0]]))
>>> np.abs(match.windows - [0.0, 1.0, 0.0, 0.95]).max() < 0.005, match.residual[0] < 0.01
(np.True_, np.True_)
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = ["Match", "compare"]

STEPS = 8  # Gauss-Newton's; they converge quadratically
LARGEST_STEP = 0.05  # of the picture's side
BLOCK = 8  # pixels of the side of a block, for the worst place
SMOOTHING = 2  # passes that make interpolation's own blur unimportant


class Match(NamedTuple):
    """How P pairs of pictures compare after alignment; every array has P entries.

    `windows` (P, 4): top, bottom, left, right of what the second picture shows of the first, as
    shares of it. `residual`: the share of the variance that is not explained. `worst`: the same
    of the worst block, measured by the variance of the whole. `edges`: the correlation of the
    gradients. `contrast`, `brightness`: those of the first, with the second as the measure.
    `deviation`: the standard deviation of the less varied one in grey levels.
    """

    windows: np.ndarray
    residual: np.ndarray
    worst: np.ndarray
    edges: np.ndarray
    contrast: np.ndarray
    brightness: np.ndarray
    deviation: np.ndarray


def compare(first: np.ndarray, second: np.ndarray, windows: np.ndarray) -> Match:
    """Align pairs of pictures, beginning from `windows`, and measure what differs.

    Parameters
    ----------
    first, second : numpy.ndarray, shape (P, S, S)
        Square grey pictures, S a multiple of 8, for which 64 is plenty.
    windows : numpy.ndarray, shape (P, 4)
        A guess of which part of the first picture the second one shows, at most some percent
        of the side away from the truth: alignment on smaller pictures makes a better guess.

    Returns
    -------
    Match
    """
    first, second = _smooth(first.astype(np.float32)), _smooth(second.astype(np.float32))
    windows = np.asarray(windows, np.float64)
    for _ in range(STEPS):
        windows = windows + _step(first, second, windows)
    return _measure(first, second, windows)


def _smooth(pictures: np.ndarray) -> np.ndarray:
    """Return pictures (P, S, S), averaged with their neighbours by 1-2-1 in both directions."""
    for _ in range(SMOOTHING):
        for axis in (1, 2):
            padding = [(0, 0)] * 3
            padding[axis] = (1, 1)
            moved = np.moveaxis(np.pad(pictures, padding, "edge"), axis, 0)
            moved = (moved[:-2] + 2 * moved[1:-1] + moved[2:]) / 4
            pictures = np.moveaxis(moved, 0, axis)
    return np.ascontiguousarray(pictures)


def _step(a: np.ndarray, b: np.ndarray, windows: np.ndarray) -> np.ndarray:
    """Return the Gauss-Newton step (P, 4) that makes `a` in its windows more like `b`.

    Unknowns are the movements of four edges, and the contrast and brightness that turn b into a:
    the least squares of  a(windows) + da/dwindows * step - contrast * b - brightness.
    """
    rows, row_slopes, row_inside = _sampling(a.shape[1], windows[:, :2])
    columns, column_slopes, column_inside = _sampling(a.shape[2], windows[:, 2:])
    columns, column_slopes = columns.swapaxes(1, 2), column_slopes.swapaxes(1, 2)
    narrow = a @ columns
    inside = row_inside[:, :, None] * column_inside[:, None, :]  # (P, S, S)
    down, across = row_slopes @ narrow, rows @ a @ column_slopes
    t = _positions(a.shape[1])
    terms = np.stack(
        [
            down * (1 - t)[:, None], down * t[:, None], across * (1 - t), across * t,
            -b, np.ones_like(b),
        ],
        axis=1,
    )  # fmt: skip
    terms = (terms * inside[:, None]).reshape(len(a), 6, -1)  # (P, 6, S*S)
    target = (rows @ narrow * inside).reshape(len(a), -1, 1)
    normal = (terms @ terms.swapaxes(1, 2)).astype(np.float64)
    # A little damping: in plain pictures the edges are not determined.
    scale = np.trace(normal, axis1=1, axis2=2)[:, None, None]
    normal += np.eye(6) * (1e-7 * scale + 1e-3)
    step = np.linalg.solve(normal, -(terms @ target).astype(np.float64))[:, :4, 0]
    step = np.clip(step, -LARGEST_STEP, LARGEST_STEP)
    return np.where(_plausible(windows + step)[:, None], step, 0.0)


def _plausible(windows: np.ndarray) -> np.ndarray:
    """Say where windows (P, 4) are such that enough of both pictures overlaps."""
    near = (np.abs(windows - (0.0, 1.0, 0.0, 1.0)) < 0.2).all(axis=1)
    return near & (windows[:, 1] - windows[:, 0] > 0.7) & (windows[:, 3] - windows[:, 2] > 0.7)


def _positions(size: int) -> np.ndarray:
    return ((np.arange(size) + 0.5) / size).astype(np.float32)  # of the pixels' centres


def _sampling(size: int, limits: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return matrices (P, S, S) that interpolate along one axis between the limits (P, 2).

    The second is the first's derivative by the position, the third (P, S) is 1 where the
    position lies in the picture.
    """
    low, high = limits.astype(np.float32)[:, :, None].swapaxes(0, 1)
    position = (low + (high - low) * _positions(size)) * size - 0.5  # (P, S)
    inside = (position > -0.5) & (position < size - 0.5)
    position = np.clip(position, 0, size - 1.001)
    offset = position[:, :, None] - np.arange(size, dtype=np.float32)  # (P, S, S)
    weights = np.maximum(0, 1 - np.abs(offset))
    floor = (offset >= 0) & (offset < 1)
    ceiling = (offset >= -1) & (offset < 0)
    slopes = (ceiling.astype(np.float32) - floor) * size
    return weights, slopes, inside.astype(np.float32)


def _measure(a: np.ndarray, b: np.ndarray, windows: np.ndarray) -> Match:
    """Compare `a` in its windows with `b`, where both are defined."""
    rows, _, row_inside = _sampling(a.shape[1], windows[:, :2])
    columns, _, column_inside = _sampling(a.shape[2], windows[:, 2:])
    inside = row_inside[:, :, None] * column_inside[:, None, :]
    share = inside.mean(axis=(1, 2))

    def mean(x: np.ndarray) -> np.ndarray:  # (P, S, S) -> (P,)
        return (x * inside).mean(axis=(1, 2)) / share

    seen = rows @ a @ columns.swapaxes(1, 2)
    mean_a, mean_b = mean(seen), mean(b)
    x, y = seen - mean_a[:, None, None], b - mean_b[:, None, None]
    xx, yy, xy = (np.maximum(mean(z), 1e-9) for z in (x * x, y * y, x * y))
    left = (x - (xy / yy)[:, None, None] * y) ** 2 * inside
    count, size, _ = left.shape
    blocks = left.reshape(count, size // BLOCK, BLOCK, size // BLOCK, BLOCK).mean(axis=(2, 4))
    return Match(
        windows=windows,
        residual=1 - xy**2 / (xx * yy),
        worst=blocks.max(axis=(1, 2)) / xx,
        edges=_edge_correlation(x, y, inside),
        contrast=xy / yy,
        brightness=mean_a - mean_b,
        deviation=np.sqrt(np.minimum(xx, yy)),
    )


def _edge_correlation(x: np.ndarray, y: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Return the correlation of two stacks of pictures' gradients, both directions together."""
    products = np.zeros((3, len(x)))
    for axis in (1, 2):
        dx, dy = np.diff(x, axis=axis), np.diff(y, axis=axis)
        both = np.take(inside, range(1, inside.shape[axis]), axis)
        both = both * np.take(inside, range(inside.shape[axis] - 1), axis)
        for k, z in enumerate((dx * dy, dx * dx, dy * dy)):
            products[k] += (z * both).sum(axis=(1, 2))
    return products[0] / np.sqrt(np.maximum(products[1] * products[2], 1e-9))
