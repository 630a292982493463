"""The dataset doctor: what is wrong with folders of photos, before anything is trained on them.

>>> import tempfile
>>> from pathlib import Path
>>> from PIL import Image
>>> from minidl.data import check
>>> from minidl.datasets import CARTOON_CLASSES, cartoon_pets
>>> with tempfile.TemporaryDirectory() as root:
...     for i, (pixels, label) in enumerate(zip(*cartoon_pets(6, size=64, seed=0))):
...         folder = Path(root, CARTOON_CLASSES[label])
...         folder.mkdir(exist_ok=True)
...         _ = Image.fromarray(pixels).save(folder / f"{i}.png")
...     _ = Image.fromarray(pixels[:, ::-1]).save(folder / "again.png")
...     _ = Path(folder, "bad.jpg").write_text("no image")
...     report = check(root)
>>> report.classes, [(finding.kind, finding.severity) for finding in report.findings]
({'cat': 4, 'dog': 3}, [('near-duplicate', 'warning'), ('not an image', 'warning')])
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from minidl.data.duplicates import Copy, Groups, find_copies
from minidl.data.examine import EXTENSIONS, Photo, examine, format_of
from minidl.data.findings import SEVERITIES, CheckReport, Finding, Group
from minidl.data.images import IMAGE_EXTENSIONS
from minidl.data.listing import find_classes
from minidl.errors import DataError
from minidl.kernels.parallel import get_num_threads

__all__ = ["check", "find_leaks"]

TINY = 32  # pixels; of smaller photos little can be seen
EXTREME = 3.0  # of the longer side to the shorter: resizing to a square distorts it badly
UNEVEN, VERY_UNEVEN = 1.5, 3.0  # the largest class to the smallest: a note, a warning

_MODES = {
    "1": "black and white", "CMYK": "CMYK", "P": "a palette", "PA": "a palette",
    "RGBA": "transparency", "LA": "transparency", "La": "transparency", "RGBa": "transparency",
    "I": "more than 8 bits", "YCbCr": "YCbCr", "LAB": "LAB", "HSV": "HSV",
}  # fmt: skip

_SETS = {"train", "training", "test", "testing", "val", "valid", "validation"}


def check(
    directory: str | os.PathLike,
    test: str | os.PathLike | None = None,
    *,
    progress: bool = False,
) -> CheckReport:
    """Look for what spoils training or its test in a folder of photos.

    Every file is decoded. Copies are found whatever their names, when they were resized,
    recompressed, mirrored or cropped by up to 5 % at each edge, also between the two folders.

    Parameters
    ----------
    directory : str or path
        Photos, one folder for each class (see :class:`minidl.data.ImageFolder`).
    test : str or path, optional
        The photos to test on, which must not be among those to train on.
    progress : bool
        Whether to draw a progress bar on stderr.

    Returns
    -------
    CheckReport
        Errors are leaks, contradicting labels, classes that lack photos or differ in both folders.
        Damaged files are warnings, since minidl skips them and says so.

    Raises
    ------
    DataError
        If a folder does not exist or holds no photos of classes.
    """
    directory, test = os.fspath(directory), None if test is None else os.fspath(test)
    if test is not None and os.path.realpath(test) == os.path.realpath(directory):
        raise DataError(f"{test}: expected another folder to test on, received the same again")
    listed = [_list(folder) for folder in (directory, test) if folder is not None]
    files = [
        (file, name, k)
        for k, classes in enumerate(listed)
        for name, members in classes.items()
        for file in members
    ]
    photos = list(_examine([file for file, _, _ in files], progress))
    dataset = _Dataset(photos, [name for _, name, _ in files], [k for _, _, k in files])
    classes = [dataset.count(k, names) for k, names in enumerate(listed)]
    report = CheckReport(directory, test, classes[0], classes[1] if test is not None else {})
    short = _shortener([directory] if test is None else [directory, test])

    findings = list(_class_findings(report))
    for group in dataset.groups():
        findings += _group_findings(dataset, group, short)
        report.groups.append(dataset.describe(group))
        report.drop += dataset.surplus(group)
    findings += _file_findings(photos, short)
    for folder, members in zip((directory, test), listed, strict=False):
        findings += _overlooked(folder, set(itertools.chain(*members.values())), short)
    report.findings = sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))
    report.drop += [p.file for p in photos if not p.readable and p.opened]
    return report


def find_leaks(
    training: Sequence[str], test: Sequence[str], *, progress: bool = False
) -> dict[str, list[str]]:
    """Return the test files that show the same photo as training files, each with those.

    Parameters
    ----------
    training, test : sequences of str
        Image files; what cannot be read is left out.
    progress : bool
        Whether to draw a progress bar on stderr.

    Examples
    --------
    >>> find_leaks([], [])
    {}
    """
    photos = [p for p in _examine([*training, *test], progress) if p.readable]
    known = set(training)
    dataset = _Dataset(photos, [""] * len(photos), [int(p.file not in known) for p in photos])
    leaks = {}
    for group in dataset.groups(only_leaks=True):
        shared = [photos[i].file for i in group if not dataset.sets[i]]
        for i in group:
            if shared and dataset.sets[i]:
                leaks[photos[i].file] = shared
    return dict(sorted(leaks.items()))


def _list(directory: str) -> dict[str, list[str]]:
    classes = find_classes(directory)
    if len(classes) > 1 and {name.lower() for name in classes} <= _SETS:
        first, second = (os.path.join(directory, name) for name in sorted(classes)[::-1][:2])
        raise DataError(
            f"{directory}: expected a folder for each class, found the sets "
            f"{', '.join(classes)}; check {first} and, as the test, {second}"
        )
    return classes


def _examine(files: Sequence[str], progress: bool) -> Iterator[Photo]:
    """Read all files with some threads, in order."""
    from tqdm import tqdm

    with ThreadPoolExecutor(get_num_threads(), "minidl-check") as pool:
        found = pool.map(examine, files)
        yield from tqdm(found, "Reading", len(files), disable=not progress, unit=" photos")


class _Dataset:
    """Photos with their labels and with the set, 0 or 1 for the test, that each belongs to."""

    def __init__(self, photos: list[Photo], labels: list[str], sets: list[int]):
        self.photos, self.labels, self.sets = photos, labels, sets
        self.pairs: list[tuple[int, int, str]] = []

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
                self.pairs.append((contents[digest], i, "exact copy"))
            if (digest, self.sets[i]) not in seen:
                seen.add((digest, self.sets[i]))
                rest.append(i)
        self._add_near_copies(rest, only_leaks)
        groups = Groups(len(self.photos))
        for i, j, _ in self.pairs:
            groups.join(i, j)
        return groups.lists()

    def _add_near_copies(self, rest: list[int], only_leaks: bool) -> None:
        if not rest:
            return
        place = {i: k for k, i in enumerate(rest)}
        known = [(place[i], place[j]) for i, j, _ in self.pairs if i in place and j in place]
        split = sum(self.sets[i] == 0 for i in rest) if only_leaks else None
        gray = np.stack([self.photos[i].gray for i in rest])
        colors = np.stack([self.photos[i].colors for i in rest])
        for copy in find_copies(gray, colors, split, known):
            i, j = rest[copy.first], rest[copy.second]
            self.pairs.append((i, j, _relation(self.photos[i], self.photos[j], copy)))

    def describe(self, group: list[int]) -> Group:
        """Return a group as the report shows it."""
        members = set(group)
        pairs = [(i, j, relation) for i, j, relation in self.pairs if i in members]
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
        """Return the files of a group to drop."""
        if self.contradicts(group):
            return [self.photos[i].file for i in group]
        last = max(self.sets[i] for i in group)  # keep a photo of the test, if there is one
        kept = max(
            (i for i in group if self.sets[i] == last),
            key=lambda i: (self.photos[i].width * self.photos[i].height, self.photos[i].bytes, -i),
        )
        return [self.photos[i].file for i in group if i != kept]


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


def _shortener(folders: list[str]):
    """Return a function that writes files without what all their folders have in common."""
    absolute = [os.path.abspath(folder) for folder in folders]
    try:
        common = os.path.commonpath(absolute)
    except ValueError:  # on different drives
        return str
    return lambda file: os.path.relpath(os.path.abspath(file), common)


def _group_findings(dataset: _Dataset, group: list[int], short) -> Iterator[Finding]:
    """Yield what is wrong with a group of copies, the worst first."""
    described = dataset.describe(group)
    relations = list(dict.fromkeys(relation for *_, relation in described.pairs))
    names = [f"{short(dataset.photos[i].file)}" for i in group]
    shown = f"{_listed(names)} show the same photo"
    text = f"{shown}: {', '.join(relations)}"
    if dataset.contradicts(group):
        labels = sorted({dataset.labels[i] for i in group})
        message = f"{text}; its labels are {_listed(labels)}"
        yield Finding("contradicting labels", "error", message, described.files)
    if dataset.leaks(group):
        message = f"{shown}, to train on and to test on: {', '.join(relations)}"
        yield Finding("leak", "error", message, described.files)
    elif not dataset.contradicts(group):
        kind = "exact duplicate" if relations == ["exact copy"] else "near-duplicate"
        yield Finding(kind, "warning", text, described.files)


def _class_findings(report: CheckReport) -> Iterator[Finding]:
    """Yield what the numbers of photos tell."""
    if report.test is not None and report.classes.keys() != report.test_classes.keys():
        message = (
            f"the classes to train on are {', '.join(report.classes)}, those to test on "
            f"{', '.join(report.test_classes)}"
        )
        yield Finding("different classes", "error", message)
    for folder, classes in ((report.directory, report.classes), (report.test, report.test_classes)):
        for name in (name for name, count in classes.items() if count == 0):
            message = f"{folder}: the class {name} has no readable photo"
            yield Finding("imbalance", "error", message)
        counts = sorted((count, name) for name, count in classes.items() if count)
        if not counts or counts[-1][0] <= UNEVEN * counts[0][0]:
            continue
        (few, rare), (many, frequent) = counts[0], counts[-1]
        message = (
            f"{folder}: {many:,} photos of {frequent}, {few:,} of {rare}; accuracy favours the "
            "larger class, and class_weight in fit makes up for it"
        )
        severity = "warning" if many > VERY_UNEVEN * few else "note"
        yield Finding("imbalance", severity, message)


def _file_findings(photos: list[Photo], short) -> Iterator[Finding]:
    """Yield what is wrong with single files: the damaged one by one, the odd ones together."""
    for photo in photos:
        if not photo.readable:
            message = f"{short(photo.file)}: {photo.reason}; it is skipped"
            yield Finding(photo.problem, "warning", message, (photo.file,))
    photos = [photo for photo in photos if photo.readable]
    tiny = [p for p in photos if min(p.width, p.height) < TINY]
    yield from _together("tiny", "warning", tiny, f"smaller than {TINY} pixels", short)
    extreme = [p for p in photos if max(p.width, p.height) > EXTREME * min(p.width, p.height)]
    text = f"more than {EXTREME:g} times as long as wide, distorted when resized to a square"
    yield from _together("extreme aspect ratio", "warning", extreme, text, short)
    wrong = [p for p in photos if not p.file.lower().endswith(EXTENSIONS.get(p.format, ()))]
    for name in sorted({photo.format for photo in wrong}):
        some = [photo for photo in wrong if photo.format == name]
        text = f"{name} by content, not by extension (minidl goes by content)"
        yield from _together("wrong extension", "note", some, text, short)
    modes = {photo.mode: _mode(photo.mode) for photo in photos}
    for name in sorted({name for name in modes.values() if name}):
        some = [photo for photo in photos if modes[photo.mode] == name]
        if name == "grayscale":
            yield from _together("grayscale", "note", some, "without colours", short)
        else:
            text = f"stored with {name}, converted to RGB"
            yield from _together("odd colour mode", "warning", some, text, short)


def _mode(mode: str) -> str:
    """Return what is special about one of Pillow's modes, or an empty string."""
    if mode.startswith("I;"):
        return "more than 8 bits"
    return "grayscale" if mode == "L" else _MODES.get(mode, "")


def _together(kind: str, severity: str, photos: list[Photo], text: str, short) -> Iterator[Finding]:
    """Yield one finding of all `photos`, if there are any."""
    if photos:
        number = f"{len(photos):,} photo{'' if len(photos) == 1 else 's'}"
        named = _listed([f"{short(p.file)} ({p.width}x{p.height})" for p in photos])
        files = tuple(photo.file for photo in photos)
        yield Finding(kind, severity, f"{number} {text}: {named}", files)


def _listed(names: list[str], most: int = 5) -> str:
    """Return names as a text, of many the first ones."""
    if len(names) > most:
        return f"{', '.join(names[: most - 1])} and {len(names) - most + 1:,} more"
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _overlooked(directory: str, listed: set[str], short) -> Iterator[Finding]:
    """Yield the images that minidl leaves out because of their names."""
    for folder, folders, names in os.walk(directory):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            file = os.path.join(folder, name)
            if name.startswith(".") or name.lower().endswith(IMAGE_EXTENSIONS) or file in listed:
                continue
            kind = _format_of_file(file)
            if kind and examine(file).readable:
                message = (
                    f"{short(file)}: {kind} by content, but it is left out: its name should end "
                    f"in {EXTENSIONS[kind][0]}"
                )
                yield Finding("wrong extension", "warning", message, (file,))


def _format_of_file(file: str) -> str:
    try:
        if not os.path.isfile(file):
            return ""
        with open(file, "rb") as stream:
            return format_of(stream.read(16))
    except OSError:
        return ""
