"""Perceptual hashes: 64 bits that tell which pictures may show the same.

A picture's lowest frequencies are what stays when it is resized, recompressed or sharpened. So its
hash holds the signs of the 8 x 8 lowest coefficients of a discrete cosine transform, and copies
differ in few bits. Two things come almost free. A mirrored picture has the same coefficients but
for the signs of those that are odd from left to right, so one mask mirrors a hash. And the hash of
a part of the picture needs no cutting: the cosines are stretched over that part instead.

>>> import numpy as np
>>> from minidl.data.doctor.fingerprint import distances, mirror_hashes, perceptual_hashes
>>> picture = np.random.default_rng(0).integers(0, 256, (1, 64, 64))
>>> one = perceptual_hashes(picture)
>>> distances(one, perceptual_hashes(picture // 2)).tolist()
[0]
>>> distances(mirror_hashes(one), perceptual_hashes(picture[:, :, ::-1])).tolist()
[0]
"""

from __future__ import annotations

import itertools

import numpy as np

__all__ = ["WHOLE", "WINDOWS", "distances", "mirror_hashes", "perceptual_hashes"]

FREQUENCIES = 8  # in each direction: 64 bits

Window = tuple[float, float, float, float]  # top, bottom, left, right as shares of the picture

WHOLE: Window = (0.0, 1.0, 0.0, 1.0)

# What may be left of a picture that was cropped by up to 5 % at each edge: all pairs of a vertical
# and a horizontal part, and the centre. Other crops lie near to one of these.
_PARTS = ((0.0, 1.0), (0.0, 0.95), (0.05, 1.0))
WINDOWS: tuple[Window, ...] = (
    *((*rows, *columns) for rows, columns in itertools.product(_PARTS, _PARTS)),
    (0.05, 0.95, 0.05, 0.95),
)

_ODD_COLUMNS = np.packbits(np.arange(FREQUENCIES**2) % 2 == 1).view(np.uint64)[0]


def perceptual_hashes(pictures: np.ndarray, window: Window = WHOLE) -> np.ndarray:
    """Return the hash of each picture, or of the part of it that is in `window`.

    Parameters
    ----------
    pictures : numpy.ndarray, shape (N, H, W)
        Grey pictures of one size; 64 x 64 is plenty.
    window : (top, bottom, left, right)
        A part, as shares of height and width.

    Returns
    -------
    numpy.ndarray of uint64, shape (N,)
    """
    _, height, width = pictures.shape
    down = _cosines(height, *window[:2])  # (8, H)
    across = _cosines(width, *window[2:])  # (8, W)
    # (8, H) @ (N, H, W) @ (W, 8) -> (N, 8, 8)
    coefficients = down @ pictures.astype(np.float32) @ across.T
    bits = coefficients.reshape(-1, FREQUENCIES**2) > 0
    bits[:, 0] = False  # the mean brightness: always positive
    return np.packbits(bits, axis=1).view(np.uint64)[:, 0]


def mirror_hashes(hashes: np.ndarray) -> np.ndarray:
    """Return the hashes of the same pictures, left and right exchanged."""
    return hashes ^ _ODD_COLUMNS


def distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return in how many bits, 0 to 64, hashes differ; the shapes are broadcast."""
    return np.bitwise_count(first ^ second)


def _cosines(size: int, low: float, high: float) -> np.ndarray:
    """Return cosines of 0 to 3.5 periods over a part of `size` pixels, zero outside of it."""
    edges = np.clip(np.arange(size + 1) / size, low, high)
    inside = np.diff(edges)  # how much of each pixel lies in the part
    middle = ((edges[1:] + edges[:-1]) / 2 - low) / (high - low)
    waves = np.cos(np.pi * np.arange(FREQUENCIES)[:, None] * middle)
    return (waves * inside).astype(np.float32)
