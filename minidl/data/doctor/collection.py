"""Groups of duplicates in one or two sets of photos.

>>> from minidl.data.doctor.collection import DuplicateGroup
>>> from minidl.data.doctor.examine import Photo
>>> a, b = Photo("a", size=(9, 9), file_size=7), Photo("b", size=(9, 9), file_size=8)
>>> group = DuplicateGroup([a, b], [(a, b, "recompressed copy")])
>>> group.describe().files, group.files_to_drop()
(('a', 'b'), ['a'])
"""

from __future__ import annotations

import math
import os
from collections import defaultdict
from dataclasses import dataclass
from operator import itemgetter

import numpy as np

from minidl.data.doctor.duplicates import Copy, Groups, find_copies
from minidl.data.doctor.examine import Photo
from minidl.data.doctor.findings import Group

__all__ = ["DuplicateGroup", "find_groups"]


@dataclass
class DuplicateGroup:
    """Photos that are copies of each other.

    Attributes
    ----------
    photos : list of Photo
        All copies.
    pairs : list of (Photo, Photo, str)
        How copies are related. The pairs connect all photos of the group.
    """

    photos: list[Photo]
    pairs: list[tuple[Photo, Photo, str]]

    @property
    def labels(self) -> list[str]:
        """The classes of the photos, sorted; several are a contradiction."""
        return sorted({photo.label for photo in self.photos})

    @property
    def is_leak(self) -> bool:
        """Whether the photo is in the training set and in the test set."""
        return len({photo.subset for photo in self.photos}) > 1

    def describe(self) -> Group:
        """Return the group as the report shows it, with paths instead of photos."""
        return Group(
            tuple(photo.file for photo in self.photos),
            tuple((a.file, b.file, relation) for a, b, relation in self.pairs),
        )

    def files_to_drop(self) -> list[str]:
        """Return the files to delete: surplus copies and links, never the target of a kept link."""
        files, links = _separate_links(self.photos)
        if len({photo.label for photo in files}) == 1:
            files.remove(max(files, key=_preference))
        return [photo.file for photo in (*files, *links)]


def _preference(photo: Photo) -> tuple[int, int, int]:
    """Return the key of the photo to keep: a test photo, then the largest."""
    return photo.subset, math.prod(photo.size), photo.file_size


def _separate_links(photos: list[Photo]) -> tuple[list[Photo], list[Photo]]:
    """Return one photo per file on the disk, and the photos that are links to them."""
    # Through a linked folder, two paths lead to the same directory entry.
    positions = {_entry(photo.file): i for i, photo in enumerate(photos)}
    targets = defaultdict(list)
    for entry in sorted(positions, key=positions.__getitem__):
        targets[os.path.realpath(entry)].append(entry)
    files = [target if target in entries else entries[0] for target, entries in targets.items()]
    links = [entry for entries in targets.values() for entry in entries if entry not in files]
    kept = sorted(positions[entry] for entry in files)
    return [photos[i] for i in kept], [photos[positions[entry]] for entry in links]


def _entry(file: str) -> str:
    """Return the path of a directory entry: links in the folder's path are resolved."""
    folder, name = os.path.split(os.path.abspath(file))
    return os.path.join(os.path.realpath(folder), name)


def find_groups(photos: list[Photo], only_leaks: bool = False) -> list[DuplicateGroup]:
    """Return the groups of photos that are copies of each other.

    Parameters
    ----------
    photos : list of Photo
        The training photos first. Unreadable ones are ignored.
    only_leaks : bool
        Whether to compare training photos with test photos only, which is faster.

    Examples
    --------
    >>> find_groups([])
    []
    """
    pairs: list[tuple[int, int, str]] = []
    first_of: dict[object, int] = {}
    unique: list[int] = []  # one photo of each content and subset
    for i, photo in enumerate(photos):
        if not photo.readable:
            continue
        first = first_of.setdefault(photo.digest, i)
        if first != i:
            pairs.append((first, i, "exact copy"))
        if first_of.setdefault((photo.digest, photo.subset), i) == i:
            unique.append(i)
    if unique:
        pairs += _find_near_copies(photos, unique, pairs, only_leaks)
    groups = Groups(len(photos))
    for i, j, _ in pairs:
        groups.join(i, j)
    related = defaultdict(list)
    for i, j, relation in sorted(pairs, key=itemgetter(0)):
        related[groups.find(i)].append((photos[i], photos[j], relation))
    return [
        DuplicateGroup([photos[i] for i in group], related[groups.find(group[0])])
        for group in groups.lists()
    ]


def _find_near_copies(
    photos: list[Photo], unique: list[int], exact: list[tuple[int, int, str]], only_leaks: bool
) -> list[tuple[int, int, str]]:
    """Return pairs (i, j, relation) among the photos at the positions `unique`."""
    rank = {i: k for k, i in enumerate(unique)}
    gray, colors = map(np.stack, zip(*(photos[i].thumbnail for i in unique), strict=True))
    found = find_copies(
        gray,
        colors,
        split=sum(photos[i].subset == 0 for i in unique) if only_leaks else None,
        joined=[(rank[i], rank[j]) for i, j, _ in exact if j in rank],
    )
    pairs = [(unique[copy.first], unique[copy.second], copy) for copy in found]
    return [(i, j, _describe_relation(photos[i], photos[j], copy)) for i, j, copy in pairs]


def _describe_relation(a: Photo, b: Photo, copy: Copy) -> str:
    """Return how two copies differ, such as "mirrored, resized copy"."""
    # A cropped photo has another size anyway. Sorted, because EXIF may rotate one of them.
    resized = not copy.cropped and sorted(a.size) != sorted(b.size)
    words = {
        "mirrored": copy.mirrored,
        "cropped": copy.cropped,
        "grayscale": copy.one_is_gray,
        "resized": resized,
    }
    return ", ".join([word for word, holds in words.items() if holds] or ["recompressed"]) + " copy"
