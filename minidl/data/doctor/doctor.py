"""The dataset doctor: problems of photo folders, found before training.

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

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from minidl.common.errors import DataError
from minidl.data.doctor.collection import DuplicateGroup, find_groups
from minidl.data.doctor.examine import Photo, examine
from minidl.data.doctor.findings import SEVERITIES, CheckReport, Finding
from minidl.data.doctor.symptoms import (
    Shorten,
    file_findings,
    ignored_files,
    join_names,
    path_shortener,
)
from minidl.data.listing import find_classes
from minidl.kernels.runtime.thread_pool import get_num_threads

__all__ = ["check", "find_leaks"]

# Size of the largest class relative to the smallest, above which there is a note or a warning.
NOTE_RATIO, WARNING_RATIO = 1.5, 3.0

_SUBSETS = {"train", "training", "test", "testing", "val", "valid", "validation"}


def check(
    directory: str | os.PathLike[str],
    test: str | os.PathLike[str] | None = None,
    *,
    progress: bool = False,
) -> CheckReport:
    """Check a folder of photos for problems that make training or testing unreliable.

    Every file is decoded. Copies are found under any name, also between the two folders. They may
    be resized, recompressed, mirrored or cropped by up to 5 % at each edge.

    Parameters
    ----------
    directory : str or path
        Training photos, one folder per class (see :class:`minidl.data.ImageFolder`).
    test : str or path, optional
        Test photos, which must not be among the training photos.
    progress : bool
        Whether to draw a progress bar on stderr.

    Returns
    -------
    CheckReport
        Errors are leaks, contradicting labels, and classes that are missing, without photos, or
        different in both folders. Damaged files are warnings, because minidl skips them.

    Raises
    ------
    DataError
        If a folder does not exist or contains no photos in classes.

    Examples
    --------
    The example at the top of this page checks a folder with a duplicate and a damaged file.
    ``report.files_to_drop()`` lists the files to delete.
    """
    directory, test = os.fspath(directory), None if test is None else os.fspath(test)
    same = test is not None and os.path.realpath(test) == os.path.realpath(directory)
    folders = [directory] if test is None or same else [directory, test]
    listed = [_list_classes(folder) for folder in folders]
    photos = _examine_all(
        [
            (file, name, subset)
            for subset, classes in enumerate(listed)
            for name, files in classes.items()
            for file in files
        ],
        progress,
    )
    counts = [dict.fromkeys(classes, 0) for classes in listed]
    for photo in photos:
        counts[photo.subset][photo.label] += photo.readable
    report = CheckReport(directory, test, counts[0], {} if test is None else counts[-1])
    shorten = path_shortener(folders)

    findings = list(_class_findings(report))
    if same:
        message = f"{test}: training and test photos are the same folder"
        findings.append(Finding("leak", "error", message))
    for group in find_groups(photos):
        findings += _group_findings(group, shorten)
        report.groups.append(group.describe())
        report.drop += group.files_to_drop()
    findings += file_findings(photos, shorten)
    known = {photo.file for photo in photos}
    for folder in folders:
        findings += ignored_files(folder, known, shorten)
    report.findings = sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))
    report.drop += [photo.file for photo in photos if not photo.readable and photo.opened]
    return report


def find_leaks(
    training: Sequence[str], test: Sequence[str], *, progress: bool = False
) -> dict[str, list[str]]:
    """Return the test files that show the same photo as training files.

    Parameters
    ----------
    training, test : sequences of str
        Image files. Unreadable files are ignored.
    progress : bool
        Whether to draw a progress bar on stderr.

    Returns
    -------
    dict of str to list of str
        For each leaked test file the training files that show the same photo.

    Examples
    --------
    >>> find_leaks([], [])
    {}
    """
    sources = [*((file, "", 0) for file in training), *((file, "", 1) for file in test)]
    leaks: dict[str, list[str]] = {}
    for group in find_groups(_examine_all(sources, progress), only_leaks=True):
        if group.is_leak:
            copies = [photo.file for photo in group.photos if photo.subset == 0]
            leaks |= {photo.file: copies for photo in group.photos if photo.subset == 1}
    return dict(sorted(leaks.items()))


def _list_classes(directory: str) -> dict[str, list[str]]:
    """Return the files of each class; raise DataError for a folder of train and test folders."""
    classes = find_classes(directory)
    if len(classes) > 1 and {name.lower() for name in classes} <= _SUBSETS:
        first, second = sorted(classes, key=lambda name: not name.lower().startswith("train"))[:2]
        raise DataError(
            f"{directory}: expected one folder per class, received the folders {list(classes)}; "
            f"check {os.path.join(directory, first)} with --test {os.path.join(directory, second)}"
        )
    return classes


def _examine_all(sources: Sequence[tuple[str, str, int]], progress: bool) -> list[Photo]:
    """Return the examined files of `sources` (file, label, subset), in order."""
    from tqdm import tqdm

    pool = ThreadPoolExecutor(get_num_threads(), "minidl-check")
    try:
        photos = pool.map(lambda source: examine(*source), sources)
        return list(tqdm(photos, "Reading", len(sources), disable=not progress, unit=" photos"))
    finally:
        pool.shutdown(cancel_futures=True)  # Ctrl-C does not wait for the remaining files


def _group_findings(group: DuplicateGroup, shorten: Shorten) -> Iterator[Finding]:
    """Yield the findings of a group of copies, the most severe first."""
    files = tuple(photo.file for photo in group.photos)
    names = f"{join_names([shorten(file) for file in files])} show the same photo"
    relations = list(dict.fromkeys(relation for *_, relation in group.pairs))
    relation = ", ".join(relations)
    contradictory = len(group.labels) > 1
    if contradictory:
        message = f"{names}: {relation}; its labels are {join_names(group.labels)}"
        yield Finding("contradicting labels", "error", message, files)
    if group.is_leak:
        message = f"{names}, for training and for testing: {relation}"
        yield Finding("leak", "error", message, files)
    elif not contradictory:
        kind = "exact duplicate" if relations == ["exact copy"] else "near-duplicate"
        yield Finding(kind, "warning", f"{names}: {relation}", files)


def _class_findings(report: CheckReport) -> Iterator[Finding]:
    """Yield findings about the number of classes and of their photos."""
    if report.test is not None and report.classes.keys() != report.test_classes.keys():
        message = (
            f"the training classes are {', '.join(report.classes)}, the test classes "
            f"{', '.join(report.test_classes)}"
        )
        yield Finding("different classes", "error", message)
    if len(report.classes) == 1:
        message = f"{report.directory}: expected two classes or more, found {min(report.classes)}"
        yield Finding("imbalance", "error", message)
    for folder, classes in ((report.directory, report.classes), (report.test, report.test_classes)):
        for name in (name for name, count in classes.items() if count == 0):
            message = f"{folder}: the class {name} has no readable photo"
            yield Finding("imbalance", "error", message)
        counts = sorted((count, name) for name, count in classes.items() if count)
        if not counts or counts[-1][0] <= NOTE_RATIO * counts[0][0]:
            continue
        (few, rare), (many, frequent) = counts[0], counts[-1]
        message = (
            f"{folder}: {many:,} photos of {frequent}, {few:,} of {rare}; accuracy favors the "
            "larger class: pass class_weight to fit"
        )
        severity = "warning" if many > WARNING_RATIO * few else "note"
        yield Finding("imbalance", severity, message)
