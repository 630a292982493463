"""Which images a folder holds, and which class each of them belongs to.

>>> import pathlib, tempfile
>>> from minidl.data.listing import find_classes
>>> with tempfile.TemporaryDirectory() as root:
...     for name in ("dog.2.jpg", "cat.1.jpg", "dog.1.jpg", "notes.txt"):
...         pathlib.Path(root, name).touch()
...     {name: len(files) for name, files in find_classes(root).items()}
{'cat': 1, 'dog': 2}
"""

from __future__ import annotations

import os
from pathlib import Path

from minidl.common.errors import DataError
from minidl.data.images import IMAGE_EXTENSIONS

__all__ = ["LAYOUT_HINT", "find_classes", "find_images"]

LAYOUT_HINT = (
    "expected a folder for each class, such as photos/cats/1.jpg and photos/dogs/1.jpg, "
    "or names such as cat.1.jpg and dog.1.jpg"
)


def find_images(directory: str) -> list[str]:
    """Return all image files in `directory` and below it, sorted.

    Hidden files and folders (a leading dot) and other extensions are left out. Links to
    folders are followed, but no folder is visited twice, and none above `directory`.

    Raises
    ------
    DataError
        If `directory` is no folder, or holds no images.
    """
    images = _walk(directory, _with_parents(directory, itself=False))
    if not images:
        raise DataError(f"{directory}: holds no images ({', '.join(IMAGE_EXTENSIONS)})")
    return images


def find_classes(directory: str) -> dict[str, list[str]]:
    """Return the image files of each class, both sorted by name.

    A class is a folder within `directory`, or else, where all images lie in `directory`
    itself, what their names have before the first of at least two dots.

    Raises
    ------
    DataError
        If `directory` is no folder, holds no images, or a class has none.
    """
    folders, files = _list(directory)
    seen = _with_parents(directory)
    found = {os.path.basename(folder): _walk(folder, set(seen)) for folder in folders}
    if any(found.values()):
        for name, images in found.items():
            if not images:
                folder = os.path.join(directory, name)
                raise DataError(f"{folder}: this class folder holds no images")
        return found
    if not files:
        raise DataError(f"{directory}: holds no images ({', '.join(IMAGE_EXTENSIONS)})")
    names = [os.path.basename(file) for file in files]
    if not all(name.count(".") >= 2 for name in names):
        raise DataError(f"{directory}: holds images but no classes; {LAYOUT_HINT}")
    classes = {name.split(".")[0]: [] for name in names}
    for file, name in zip(files, names, strict=True):
        classes[name.split(".")[0]].append(file)
    return dict(sorted(classes.items()))


def _with_parents(directory: str, itself: bool = True) -> set[str]:
    """Return the real paths of the folders above `directory`, and of itself."""
    real = Path(os.path.realpath(directory))
    return {str(path) for path in ([real] if itself else []) + list(real.parents)}


def _walk(folder: str, visited: set[str]) -> list[str]:
    """Return the images in `folder` and below, sorted, without the `visited` folders."""
    images, waiting = [], [folder]
    while waiting:
        folder = waiting.pop()
        real = os.path.realpath(folder)
        if real in visited:  # a link that leads back
            continue
        visited.add(real)
        folders, files = _list(folder)
        images += files
        waiting += reversed(folders)
    return sorted(images)


def _list(folder: str) -> tuple[list[str], list[str]]:
    """Return a folder's folders and images, sorted, without hidden ones."""
    if not os.path.isdir(folder):
        found = "a file" if os.path.exists(folder) else "nothing there"
        raise DataError(f"{folder}: expected a folder of images, found {found}")
    try:
        with os.scandir(folder) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed ({error.strerror})") from None
    entries = [entry for entry in entries if not entry.name.startswith(".")]
    folders = [entry.path for entry in entries if _is_folder(entry)]
    # A broken link counts as a file: reading it will say what is wrong.
    files = [
        entry.path
        for entry in entries
        if entry.name.lower().endswith(IMAGE_EXTENSIONS)
        and (entry.is_file(follow_symlinks=False) or entry.is_symlink())
        and not _is_folder(entry)
    ]
    return folders, files


def _is_folder(entry: os.DirEntry) -> bool:
    # Not entry.is_dir() alone: it fails on a link to itself.
    if entry.is_symlink():
        return os.path.isdir(entry.path)
    return entry.is_dir(follow_symlinks=False)
