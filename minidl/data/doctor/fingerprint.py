"""Perceptual hashes: 64 bits that stay similar when a picture is resized or recompressed.

Resizing, recompression and sharpening keep the lowest frequencies of a picture. The hash
therefore holds the signs of the 8 x 8 lowest coefficients of a discrete cosine transform (DCT).
Two operations are nearly free. Mirroring a picture changes the signs of the coefficients of odd
horizontal frequency, so one XOR mask mirrors a hash. The hash of a window needs no cropping: the
cosines are stretched over the window instead.

>>> import numpy as np
>>> from minidl.data.doctor.fingerprint import distances, mirror_hashes, perceptual_hashes
>>> picture = np.random.default_rng(0).integers(0, 256, (1, 64, 64))
>>> hashes = perceptual_hashes(picture)
>>> distances(hashes, perceptual_hashes(picture // 2)).tolist()
[0]
>>> distances(mirror_hashes(hashes), perceptual_hashes(picture[:, :, ::-1])).tolist()
[0]
"""

from __future__ import annotations

import itertools

import numpy as np

__all__ = ["WHOLE", "WINDOWS", "distances", "mirror_hashes", "perceptual_hashes"]

FREQUENCIES = 8  # in each direction: 64 bits

Window = tuple[float, float, float, float]  # top, bottom, left, right as fractions of the picture

WHOLE: Window = (0.0, 1.0, 0.0, 1.0)

# What may remain of a picture that was cropped by up to 5 % at each edge: all combinations of a
# vertical and a horizontal range, and the center. Other crops are close to one of these.
_RANGES = ((0.0, 1.0), (0.0, 0.95), (0.05, 1.0))
WINDOWS: tuple[Window, ...] = (
    *((*rows, *columns) for rows, columns in itertools.product(_RANGES, _RANGES)),
    (0.05, 0.95, 0.05, 0.95),
)

_ODD_COLUMNS = np.packbits(np.arange(FREQUENCIES**2) % 2 == 1).view(np.uint64)[0]


def perceptual_hashes(pictures: np.ndarray, window: Window = WHOLE) -> np.ndarray:
    """Return the hash of each picture, or of the part of it inside `window`.

    Parameters
    ----------
    pictures : numpy.ndarray, shape (N, H, W)
        Gray pictures of one size; 64 x 64 is enough.
    window : (top, bottom, left, right)
        The part to hash, as fractions of height and width.

    Returns
    -------
    numpy.ndarray of uint64, shape (N,)
    """
    _, height, width = pictures.shape
    vertical = _cosines(height, *window[:2])  # (8, H)
    horizontal = _cosines(width, *window[2:])  # (8, W)
    # (8, H) @ (N, H, W) @ (W, 8) -> (N, 8, 8)
    coefficients = vertical @ pictures.astype(np.float32) @ horizontal.T
    bits = coefficients.reshape(-1, FREQUENCIES**2) > 0
    bits[:, 0] = False  # the mean brightness is always positive
    return np.packbits(bits, axis=1).view(np.uint64)[:, 0]


def mirror_hashes(hashes: np.ndarray) -> np.ndarray:
    """Return the hashes of the same pictures, mirrored from left to right."""
    return hashes ^ _ODD_COLUMNS


def distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the Hamming distances of hashes, 0 to 64; the shapes are broadcast."""
    return np.bitwise_count(first ^ second)


def _cosines(size: int, low: float, high: float) -> np.ndarray:
    """Return cosines of 0 to 3.5 periods between `low` and `high`, zero outside; (8, size)."""
    edges = np.clip(np.arange(size + 1) / size, low, high)
    inside = np.diff(edges)  # the fraction of each pixel inside the range
    centers = ((edges[1:] + edges[:-1]) / 2 - low) / (high - low)
    waves = np.cos(np.pi * np.arange(FREQUENCIES)[:, None] * centers)
    return (waves * inside).astype(np.float32)
