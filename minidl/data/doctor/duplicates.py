"""Copies among many photos: candidates by their hashes, confirmed pixel by pixel.

All pairs of hashes are compared, which takes seconds for 25,000 photos. Those that are near for
some window, mirrored or not, are aligned, first on coarse pictures, then on fine ones. What counts
as a copy is strict: two photos of one animal in one place are none.

>>> import numpy as np
>>> from minidl.data.doctor.duplicates import find_copies, reduce_pictures
>>> from minidl.datasets.cartoon_pets import cartoon_pets
>>> pictures, _ = cartoon_pets(10, size=64, seed=0)
>>> again = np.concatenate([pictures, pictures[3:4, :, ::-1]])
>>> [(copy.first, copy.second, copy.mirrored) for copy in find_copies(*reduce_pictures(again))]
[(3, 10, True)]
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from minidl.data.doctor.alignment import compare
from minidl.data.doctor.fingerprint import (
    WHOLE,
    WINDOWS,
    distances,
    mirror_hashes,
    perceptual_hashes,
)
from minidl.kernels.runtime.thread_pool import get_num_threads

__all__ = ["Copy", "Groups", "find_copies", "reduce_pictures"]

# Of 64 bits. Measured on photos of which up to 5 % was cut at each edge: the hash of the nearest
# window differs in 0-10 bits, that of the whole in up to 22. Any two photos: about 32.
NEAR, NOT_FAR = 10, 22

# What a copy may differ by, measured as in alignment.Match. Copies that are resized, cropped by 5 %
# or saved at quality 40 have residuals below 0.02, edges above 0.93 and worst blocks below 0.3; the
# most similar of 240 million pairs of different photos 0.06, 0.84 and 0.59: one cat, moments apart.
COARSE_RESIDUAL, RESIDUAL, WORST, EDGES = 0.2, 0.03, 0.4, 0.9
CONTRAST, BRIGHTNESS = (0.67, 1.5), 40.0
PLAIN = 4.0  # grey levels of standard deviation; below, there is nothing to compare
COLOR = 12.0  # mean difference of the colours, in levels
GRAYSCALE = 2.0  # mean distance from grey of what has no colours

CROPPED = 0.015  # of the side: what rounding and alignment stay below

ROWS = 512  # pictures whose candidates are looked for at once
CHUNK = 128  # pairs that are aligned at once


class Copy(NamedTuple):
    """Two positions in the list of pictures, and how their pictures are related."""

    first: int
    second: int
    mirrored: bool = False
    cropped: bool = False
    one_is_gray: bool = False


class Groups:
    """Sets of positions that belong together, directly or by others (union-find).

    >>> groups = Groups(4)
    >>> groups.join(0, 2), groups.join(3, 2), groups.join(0, 3)
    (True, True, False)
    >>> groups.lists()
    [[0, 2, 3]]
    """

    def __init__(self, count: int):
        self._parents = list(range(count))

    def find(self, i: int) -> int:
        """Return the position that stands for the group of `i`."""
        while self._parents[i] != i:
            self._parents[i] = i = self._parents[self._parents[i]]
        return i

    def join(self, i: int, j: int) -> bool:
        """Make two groups one; return False where they were one already."""
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
    """Return what is needed of RGB pictures (N, 64, 64, 3): grey (N, 64, 64), colours (N, 8, 8, 3).

    The colours are averages of the distances from grey, as int16.
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
        Positions known to be copies; they are not compared again.

    Returns
    -------
    list of Copy
        In the order of their positions. Plain pictures, without any contrast, are no copies of
        each other: nothing tells.
    """
    groups, found = Groups(len(gray)), []
    for first, second in joined:
        groups.join(first, second)
    for candidates in _candidates(gray, split):
        # A group of n has n * n / 2 pairs, but most are known to belong together before their turn.
        for chunk in _chunks(candidates):
            open_ones = [c for c in chunk if groups.find(c[0]) != groups.find(c[1])]
            for copy in _confirm(gray, colors, np.array(open_ones, int).reshape(-1, 4)):
                if groups.join(copy.first, copy.second):
                    found.append(copy)
    return sorted(found)


def _candidates(gray: np.ndarray, split: int | None) -> Iterator[np.ndarray]:
    """Yield arrays of rows (first, second, mirrored?, window of the first), sorted by pairs."""
    hashes = np.empty((len(gray), len(WINDOWS)), np.uint64)
    varied = np.empty(len(gray), bool)
    for start in range(0, len(gray), ROWS):
        part = slice(start, start + ROWS)
        varied[part] = gray[part].std(axis=(1, 2)) >= PLAIN
        for k, window in enumerate(WINDOWS):
            hashes[part, k] = perceptual_hashes(gray[part], window)
    rows = np.flatnonzero(varied)
    hashes, middle = hashes[rows], None if split is None else np.searchsorted(rows, split)
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
    """Return the candidates of picture i with those from `begin` on; see _candidates."""
    found = [np.empty((0, 4), int)]
    for mirrored in (0, 1):
        own = mirror_hashes(hashes[i]) if mirrored else hashes[i]  # (windows,)
        j = begin + np.flatnonzero(distances(own[0], whole[begin:]) <= NOT_FAR)
        # A mirrored window is where the mirror image has it: both directions mirror one side.
        other = mirror_hashes(hashes[j]) if mirrored else hashes[j]  # (J, windows)
        if not len(j):
            continue
        both = np.hstack([distances(own, whole[j, None]), distances(other, whole[i])])
        best = both.argmin(axis=1)
        near = both[np.arange(len(j)), best] <= NEAR
        j, swapped, window = j[near], best[near] >= len(WINDOWS), best[near] % len(WINDOWS)
        first, second = np.where(swapped, j, i), np.where(swapped, i, j)
        found.append(np.stack([first, second, np.full(len(j), mirrored), window], axis=1))
    result = np.concatenate(found)
    return result[np.argsort(result[:, :2].max(axis=1), kind="stable")]


def _chunks(candidates: np.ndarray) -> Iterator[np.ndarray]:
    """Cut candidates into parts of about CHUNK rows; a pair's rows stay together."""
    pairs = np.sort(candidates[:, :2], axis=1)
    starts = np.flatnonzero(np.any(np.diff(pairs, axis=0, prepend=-1), axis=1))
    cuts = starts[np.flatnonzero(np.diff(starts // CHUNK, prepend=0))]
    yield from (part for part in np.split(candidates, cuts) if len(part))


def _confirm(gray: np.ndarray, colors: np.ndarray, candidates: np.ndarray) -> list[Copy]:
    """Return the copies among the candidates, the most alike first."""
    if not len(candidates):
        return []
    first, second, mirrored, window = candidates.T
    a, b = gray[first], gray[second]
    b = np.where(mirrored[:, None, None] > 0, b[:, :, ::-1], b)
    coarse = compare(_halve(a), _halve(b), np.array(WINDOWS)[window])
    keep = np.flatnonzero(coarse.residual < COARSE_RESIDUAL)
    if not len(keep):
        return []
    fine = compare(a[keep], b[keep], coarse.windows[keep])
    alike = (fine.residual < RESIDUAL) & (fine.worst < WORST) & (fine.edges > EDGES)
    alike &= (fine.deviation > PLAIN) & (np.abs(fine.brightness) < BRIGHTNESS)
    alike &= (fine.contrast > CONTRAST[0]) & (fine.contrast < CONTRAST[1])
    copies = []
    for k in np.argsort(fine.residual):
        i, j, flip, _ = (int(value) for value in candidates[keep[k]])
        other = colors[j][:, ::-1] if flip else colors[j]
        one_is_gray = _is_gray(colors[i]) != _is_gray(other)
        if alike[k] and (one_is_gray or np.abs(colors[i] - other).mean() < COLOR):
            cropped = np.abs(fine.windows[k] - WHOLE).max() > CROPPED
            copies.append(Copy(min(i, j), max(i, j), bool(flip), bool(cropped), one_is_gray))
    return copies


def _is_gray(colors: np.ndarray) -> bool:
    return bool(np.abs(colors).mean() < GRAYSCALE)


def _halve(pictures: np.ndarray) -> np.ndarray:
    count, size, _ = pictures.shape
    return pictures.reshape(count, size // 2, 2, size // 2, 2).mean(axis=(2, 4))
