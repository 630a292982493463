"""Copies among many photos: candidates by perceptual hashes, confirmed pixel by pixel.

All pairs of hashes are compared, which takes seconds for 25,000 photos. Pairs with similar hashes
for some window, mirrored or not, are aligned, first on coarse pictures, then on fine ones. The
criteria are strict: two photos of one animal in one place are not copies.

>>> import numpy as np
>>> from minidl.data.doctor.duplicates import find_copies, reduce_pictures
>>> from minidl.datasets.cartoon_pets import cartoon_pets
>>> pictures, _ = cartoon_pets(10, size=64, seed=0)
>>> with_copy = np.concatenate([pictures, pictures[3:4, :, ::-1]])
>>> [(copy.first, copy.second, copy.mirrored) for copy in find_copies(*reduce_pictures(with_copy))]
[(3, 10, True)]
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from minidl.data.doctor.alignment import block_means, compare
from minidl.data.doctor.fingerprint import (
    WHOLE,
    WINDOWS,
    distances,
    mirror_hashes,
    perceptual_hashes,
)
from minidl.kernels.runtime.thread_pool import get_num_threads

__all__ = ["Copy", "Groups", "find_copies", "reduce_pictures"]

# Hash bits, of 64. Measured on photos of which up to 5 % was cropped at each edge: the hashes of
# the nearest window differ in 0-10 bits, those of the whole in up to 22. Any two photos: about 32.
MAX_WINDOW_DISTANCE, MAX_WHOLE_DISTANCE = 10, 22

# Limits of what may differ between copies; see alignment.Match. Measured: copies that are resized,
# cropped by 5 % or saved at JPEG quality 40 have residuals below 0.02, edge correlations above 0.93
# and worst blocks below 0.3. The most similar of 240 million pairs of different photos, one cat
# moments apart, has 0.06, 0.84 and 0.59.
MAX_COARSE_RESIDUAL, MAX_RESIDUAL, MAX_WORST, MIN_EDGES = 0.2, 0.03, 0.4, 0.9
MIN_CONTRAST, MAX_CONTRAST, MAX_BRIGHTNESS = 0.67, 1.5, 40.0
MIN_DEVIATION = 4.0  # gray levels; plainer pictures cannot be compared
MAX_COLOR_DIFFERENCE = 12.0  # mean over the thumbnail, in levels
MAX_GRAY_SATURATION = 2.0  # mean distance from gray of a picture without color
MIN_CROP = 0.015  # of the side; rounding and alignment errors are smaller

ROWS = 512  # pictures whose candidates are searched at once
CHUNK = 128  # pairs that are aligned at once


class Copy(NamedTuple):
    """Positions of two pictures that are copies, and the difference between them."""

    first: int
    second: int
    mirrored: bool = False
    cropped: bool = False
    one_is_gray: bool = False


class Groups:
    """Disjoint sets of the positions 0 to `count` - 1 (union-find).

    >>> groups = Groups(4)
    >>> groups.join(0, 2), groups.join(3, 2), groups.join(0, 3)
    (True, True, False)
    >>> groups.lists()
    [[0, 2, 3]]
    """

    def __init__(self, count: int) -> None:
        self._parents = list(range(count))

    def find(self, i: int) -> int:
        """Return the smallest position of the group of `i`."""
        while self._parents[i] != i:
            self._parents[i] = i = self._parents[self._parents[i]]
        return i

    def join(self, i: int, j: int) -> bool:
        """Merge two groups; return False if they were one already."""
        i, j = sorted((self.find(i), self.find(j)))
        self._parents[j] = i
        return i != j

    def lists(self) -> list[list[int]]:
        """Return the groups of two or more, each in ascending order."""
        members: dict[int, list[int]] = {}
        for i in range(len(self._parents)):
            members.setdefault(self.find(i), []).append(i)
        return [group for group in members.values() if len(group) > 1]


def reduce_pictures(pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Reduce RGB pictures to the thumbnails that :func:`find_copies` compares.

    Parameters
    ----------
    pictures : numpy.ndarray of uint8, shape (N, 64, 64, 3)

    Returns
    -------
    gray : numpy.ndarray of uint8, shape (N, 64, 64)
        Luminance.
    colors : numpy.ndarray of int16, shape (N, 8, 8, 3)
        Difference between each channel and the luminance, averaged over blocks.
    """
    weights = np.array([0.299, 0.587, 0.114], np.float32)
    gray = pictures.astype(np.float32) @ weights
    count, size, _ = gray.shape
    blocks = pictures.reshape(count, 8, size // 8, 8, size // 8, 3).mean(axis=(2, 4))
    colors = blocks - (blocks @ weights)[..., None]
    return np.rint(gray).astype(np.uint8), np.rint(colors).astype(np.int16)


def find_copies(
    gray: np.ndarray,
    colors: np.ndarray,
    split: int | None = None,
    joined: Iterable[tuple[int, int]] = (),
) -> list[Copy]:
    """Return pairs of pictures that show the same photo, enough to connect every group.

    Parameters
    ----------
    gray, colors : numpy.ndarray
        From :func:`reduce_pictures`.
    split : int, optional
        Compare only pictures before this position with those from it on.
    joined : pairs of int, optional
        Positions of known copies, which are not compared again.

    Returns
    -------
    list of Copy
        Sorted by position. Pictures without contrast are never copies of each other.
    """
    groups, found = Groups(len(gray)), []
    for first, second in joined:
        groups.join(first, second)
    for candidates in _find_candidates(gray, split):
        # A group of n has n * n / 2 pairs, but most are connected before their turn.
        for chunk in _chunks(candidates):
            unknown = [c for c in chunk if groups.find(c[0]) != groups.find(c[1])]
            if unknown:
                copies = _confirm(gray, colors, np.array(unknown))
                found += [copy for copy in copies if groups.join(copy.first, copy.second)]
    return sorted(found)


def _find_candidates(gray: np.ndarray, split: int | None) -> Iterator[np.ndarray]:
    """Yield arrays of rows (first, second, mirrored, window of the first), sorted by pair."""
    rows = np.flatnonzero([picture.std() >= MIN_DEVIATION for picture in gray])
    hashes = np.empty((len(rows), len(WINDOWS)), np.uint64)
    for start in range(0, len(rows), ROWS):
        part = gray[rows[start : start + ROWS]]
        for k, window in enumerate(WINDOWS):
            hashes[start : start + ROWS, k] = perceptual_hashes(part, window)
    middle = None if split is None else int(np.searchsorted(rows, split))
    whole = np.ascontiguousarray(hashes[:, 0])

    def search(i: int) -> np.ndarray:
        return _search(hashes, whole, i, i + 1 if middle is None else middle)

    last = len(rows) if middle is None else middle
    with ThreadPoolExecutor(get_num_threads(), "minidl-hashes") as pool:
        for start in range(0, last, ROWS):
            found = np.concatenate(list(pool.map(search, range(start, min(start + ROWS, last)))))
            found[:, :2] = rows[found[:, :2]]
            yield found


def _search(hashes: np.ndarray, whole: np.ndarray, i: int, begin: int) -> np.ndarray:
    """Return the candidates (see :func:`_find_candidates`) of picture i from `begin` on."""
    found = [np.empty((0, 4), int)]
    for mirrored in (0, 1):
        own = mirror_hashes(hashes[i]) if mirrored else hashes[i]  # (windows,)
        j = begin + np.flatnonzero(distances(own[0], whole[begin:]) <= MAX_WHOLE_DISTANCE)
        # Mirroring moves a window, so only the picture that has the window is mirrored.
        other = mirror_hashes(hashes[j]) if mirrored else hashes[j]  # (J, windows)
        both = np.hstack([distances(own, whole[j, None]), distances(other, whole[i])])
        best = both.argmin(axis=1)
        near = both[np.arange(len(j)), best] <= MAX_WINDOW_DISTANCE
        j, swapped, window = j[near], best[near] >= len(WINDOWS), best[near] % len(WINDOWS)
        first, second = np.where(swapped, j, i), np.where(swapped, i, j)
        found.append(np.stack([first, second, np.full(len(j), mirrored), window], axis=1))
    result = np.concatenate(found)
    return result[np.argsort(result[:, :2].max(axis=1), kind="stable")]


def _chunks(candidates: np.ndarray) -> Iterator[np.ndarray]:
    """Split candidates into chunks of about CHUNK rows; the rows of a pair stay together."""
    pairs = np.sort(candidates[:, :2], axis=1)
    starts = np.flatnonzero(np.any(np.diff(pairs, axis=0, prepend=-1), axis=1))
    positions = starts[np.flatnonzero(np.diff(starts // CHUNK, prepend=0))]
    yield from np.split(candidates, positions)


def _confirm(gray: np.ndarray, colors: np.ndarray, candidates: np.ndarray) -> list[Copy]:
    """Return the copies among the candidates, the most similar first."""
    first, second, mirrored, window = candidates.T
    a, b = gray[first], gray[second]
    b = np.where(mirrored[:, None, None] > 0, b[:, :, ::-1], b)
    coarse = compare(block_means(a, 2), block_means(b, 2), np.array(WINDOWS)[window])
    keep = np.flatnonzero(coarse.residual < MAX_COARSE_RESIDUAL)
    if not len(keep):
        return []
    fine = compare(a[keep], b[keep], coarse.windows[keep])
    alike = (fine.residual < MAX_RESIDUAL) & (fine.worst < MAX_WORST) & (fine.edges > MIN_EDGES)
    alike &= (fine.deviation > MIN_DEVIATION) & (np.abs(fine.brightness) < MAX_BRIGHTNESS)
    alike &= (fine.contrast > MIN_CONTRAST) & (fine.contrast < MAX_CONTRAST)
    copies = []
    for k in np.argsort(fine.residual):
        i, j, flip, _ = candidates[keep[k]].tolist()
        other = colors[j][:, ::-1] if flip else colors[j]
        one_is_gray = _is_gray(colors[i]) != _is_gray(other)
        if alike[k] and (one_is_gray or np.abs(colors[i] - other).mean() < MAX_COLOR_DIFFERENCE):
            cropped = bool(np.abs(fine.windows[k] - WHOLE).max() > MIN_CROP)
            copies.append(Copy(min(i, j), max(i, j), bool(flip), cropped, one_is_gray))
    return copies


def _is_gray(colors: np.ndarray) -> bool:
    return bool(np.abs(colors).mean() < MAX_GRAY_SATURATION)
