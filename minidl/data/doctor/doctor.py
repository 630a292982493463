"""The dataset doctor: what is wrong with folders of photos, before anything is trained on them.

>>> import tempfile
>>> from pathlib import Path
>>> from PIL import Image
>>> from minidl.data import check
>>> from minidl.datasets.cartoon_pets import CARTOON_CLASSES, cartoon_pets
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
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from minidl.common.errors import DataError
from minidl.data.doctor.collection import Collection
from minidl.data.doctor.examine import Photo, examine
from minidl.data.doctor.findings import SEVERITIES, CheckReport, Finding
from minidl.data.doctor.symptoms import file_findings, join_names, overlooked, shortener
from minidl.data.listing import find_classes
from minidl.kernels.runtime.thread_pool import get_num_threads

__all__ = ["check", "find_leaks"]

UNEVEN, VERY_UNEVEN = 1.5, 3.0  # the largest class to the smallest: a note, a warning

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
    same = test is not None and os.path.realpath(test) == os.path.realpath(directory)
    folders = [directory] if test is None or same else [directory, test]
    listed = [_list(folder) for folder in folders]
    files = [
        (file, name, k)
        for k, classes in enumerate(listed)
        for name, members in classes.items()
        for file in members
    ]
    photos = list(_examine([file for file, _, _ in files], progress))
    collection = Collection(photos, [name for _, name, _ in files], [k for _, _, k in files])
    classes = [collection.count(k, names) for k, names in enumerate(listed)]
    report = CheckReport(directory, test, classes[0], {} if test is None else classes[-1])
    short = shortener(folders)

    findings = list(_class_findings(report))
    if same:
        findings.append(Finding("leak", "error", f"{test}: trained on and tested on alike"))
    for group in collection.groups():
        findings += _group_findings(collection, group, short)
        report.groups.append(collection.describe(group))
        report.drop += collection.surplus(group)
    findings += file_findings(photos, short)
    for folder, members in zip(folders, listed, strict=True):
        findings += overlooked(folder, set(itertools.chain(*members.values())), short)
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
    photos = list(_examine([*training, *test], progress))
    sets = [0] * len(training) + [1] * len(test)
    collection = Collection(photos, [""] * len(photos), sets)
    leaks = {}
    for group in collection.groups(only_leaks=True):
        shared = [photos[i].file for i in group if not collection.sets[i]]
        for i in group:
            if shared and collection.sets[i]:
                leaks[photos[i].file] = shared
    return dict(sorted(leaks.items()))


def _list(directory: str) -> dict[str, list[str]]:
    classes = find_classes(directory)
    if len(classes) > 1 and {name.lower() for name in classes} <= _SETS:
        first, second = sorted(classes, key=lambda name: not name.lower().startswith("train"))[:2]
        raise DataError(
            f"{directory}: expected a folder for each class, found sets of photos; "
            f"check {os.path.join(directory, first)} with --test {os.path.join(directory, second)}"
        )
    return classes


def _examine(files: Sequence[str], progress: bool) -> Iterator[Photo]:
    """Read all files with some threads, in order."""
    from tqdm import tqdm

    pool = ThreadPoolExecutor(get_num_threads(), "minidl-check")
    try:
        found = pool.map(examine, files)
        yield from tqdm(found, "Reading", len(files), disable=not progress, unit=" photos")
    finally:
        pool.shutdown(cancel_futures=True)  # Ctrl-C does not wait for all the files


def _group_findings(collection: Collection, group: list[int], short) -> Iterator[Finding]:
    """Yield what is wrong with a group of copies, the worst first."""
    described = collection.describe(group)
    relations = list(dict.fromkeys(relation for *_, relation in described.pairs))
    names = [short(collection.photos[i].file) for i in group]
    shown = f"{join_names(names)} show the same photo"
    text = f"{shown}: {', '.join(relations)}"
    if collection.contradicts(group):
        labels = sorted({collection.labels[i] for i in group})
        message = f"{text}; its labels are {join_names(labels)}"
        yield Finding("contradicting labels", "error", message, described.files)
    if collection.leaks(group):
        message = f"{shown}, to train on and to test on: {', '.join(relations)}"
        yield Finding("leak", "error", message, described.files)
    elif not collection.contradicts(group):
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
    if len(report.classes) == 1:
        message = f"{report.directory}: one class, {min(report.classes)}; to tell apart takes two"
        yield Finding("imbalance", "error", message)
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
