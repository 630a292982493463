"""Photos of one set or two, and the groups of those that are the same.

>>> from minidl.data.doctor.collection import Collection
>>> from minidl.data.doctor.examine import Photo
>>> photos = [Photo("a", width=9, height=9, bytes=7), Photo("b", width=9, height=9, bytes=8)]
>>> collection = Collection(photos, labels=["cats", "cats"], sets=[0, 0])
>>> collection.add_pair(0, 1, "resized copy")
>>> collection.describe([0, 1]).files, collection.surplus([0, 1])
(('a', 'b'), ['a'])
"""

from __future__ import annotations

import os
from collections.abc import Iterable

import numpy as np

from minidl.data.doctor.duplicates import Copy, Groups, find_copies
from minidl.data.doctor.examine import Photo
from minidl.data.doctor.findings import Group

__all__ = ["Collection"]


class Collection:
    """Photos with their labels and with the set, 0 or 1 for the test, that each belongs to."""

    def __init__(self, photos: list[Photo], labels: list[str], sets: list[int]):
        self.photos, self.labels, self.sets = photos, labels, sets
        self.pairs: dict[int, list[tuple[int, str]]] = {}  # position: other, relation

    def add_pair(self, i: int, j: int, relation: str) -> None:
        """Note that two positions show the same photo."""
        self.pairs.setdefault(i, []).append((j, relation))

    def count(self, k: int, names: Iterable[str]) -> dict[str, int]:
        """Return how many readable photos each class of a set has."""
        counts = dict.fromkeys(names, 0)
        for photo, label, own in zip(self.photos, self.labels, self.sets, strict=True):
            if own == k and photo.readable:
                counts[label] += 1
        return counts

    def groups(self, only_leaks: bool = False) -> list[list[int]]:
        """Return the positions of photos that are the same, and note their relations.

        With `only_leaks`, copies within one set are not looked for.
        """
        readable = [i for i, photo in enumerate(self.photos) if photo.readable]
        contents: dict[bytes, int] = {}
        rest: list[int] = []  # one of each content and set
        seen = set()
        for i in readable:
            digest = self.photos[i].digest
            if contents.setdefault(digest, i) != i:
                self.add_pair(contents[digest], i, "exact copy")
            if (digest, self.sets[i]) not in seen:
                seen.add((digest, self.sets[i]))
                rest.append(i)
        self._add_near_copies(rest, only_leaks)
        groups = Groups(len(self.photos))
        for i, j, _ in self._all_pairs(self.pairs):
            groups.join(i, j)
        return groups.lists()

    def _add_near_copies(self, rest: list[int], only_leaks: bool) -> None:
        if not rest:
            return
        place = {i: k for k, i in enumerate(rest)}
        pairs = self._all_pairs(self.pairs)
        known = [(place[i], place[j]) for i, j, _ in pairs if i in place and j in place]
        split = sum(self.sets[i] == 0 for i in rest) if only_leaks else None
        gray = np.stack([self.photos[i].gray for i in rest])
        colors = np.stack([self.photos[i].colors for i in rest])
        for copy in find_copies(gray, colors, split, known):
            i, j = rest[copy.first], rest[copy.second]
            self.add_pair(i, j, _relation(self.photos[i], self.photos[j], copy))

    def _all_pairs(self, positions: Iterable[int]) -> list[tuple[int, int, str]]:
        return [(i, j, text) for i in positions for j, text in self.pairs.get(i, ())]

    def describe(self, group: list[int]) -> Group:
        """Return a group as the report shows it."""
        pairs = self._all_pairs(group)
        return Group(
            tuple(self.photos[i].file for i in group),
            tuple((self.photos[i].file, self.photos[j].file, text) for i, j, text in pairs),
        )

    def contradicts(self, group: list[int]) -> bool:
        """Whether the same photo has several labels."""
        return len({self.labels[i] for i in group}) > 1

    def leaks(self, group: list[int]) -> bool:
        """Whether the same photo is in both sets."""
        return len({self.sets[i] for i in group}) > 1

    def surplus(self, group: list[int]) -> list[str]:
        """Return the files of a group to drop: links, but never what a kept one leads to."""
        own, links = self._apart(group)
        drop = own if self.contradicts(own) else [i for i in own if i != self._best(own)]
        return [self.photos[i].file for i in (*drop, *links)]

    def _apart(self, group: list[int]) -> tuple[list[int], list[int]]:
        """Return one position of each file on the disk, and those that are links to them."""
        # A linked folder, or one within the other, leads twice to the same entry.
        entries = {_entry(self.photos[i].file): i for i in group}
        targets: dict[str, list[str]] = {}
        for entry in sorted(entries, key=entries.__getitem__):
            targets.setdefault(os.path.realpath(entry), []).append(entry)
        own = [target if target in same else same[0] for target, same in targets.items()]
        links = [entry for same in targets.values() for entry in same if entry not in own]
        return [entries[entry] for entry in own], [entries[entry] for entry in links]

    def _best(self, group: list[int]) -> int:
        """Return which one to keep: a photo of the test, if there is one; the largest."""
        last = max(self.sets[i] for i in group)
        return max(
            (i for i in group if self.sets[i] == last),
            key=lambda i: (self.photos[i].width * self.photos[i].height, self.photos[i].bytes, -i),
        )


def _entry(file: str) -> str:
    """Return in which folder of the disk a file is listed, and under which name."""
    folder, name = os.path.split(os.path.abspath(file))
    return os.path.join(os.path.realpath(folder), name)


def _relation(a: Photo, b: Photo, copy: Copy) -> str:
    """Name how two files of the same photo differ, such as "mirrored, resized copy"."""
    words = [
        word
        for word, holds in (
            ("mirrored", copy.mirrored), ("cropped", copy.cropped),
            ("grayscale", copy.one_is_gray),
        )
        if holds
    ]  # fmt: skip
    # A cropped photo has another size anyway. Sorted: one may lie on its side, by EXIF upright.
    if not copy.cropped and sorted((a.width, a.height)) != sorted((b.width, b.height)):
        words.append("resized")
    return ", ".join(words or ["recompressed"]) + " copy"
