"""Listings of image folders: the images, and the class of each image.

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
    """Return all image files in `directory` and its subfolders, sorted.

    Hidden files and folders (with a leading dot) and files with other extensions are ignored.
    Links to folders are followed, but no folder is visited twice, and no parent of `directory`.

    Raises
    ------
    DataError
        If `directory` is not a folder or contains no images.
    """
    images = _walk(directory, _real_parents(directory))
    if not images:
        raise _no_images(directory)
    return images


def find_classes(directory: str) -> dict[str, list[str]]:
    """Return the image files of each class, both sorted by name.

    A class is a folder within `directory`. If all images are in `directory` itself, the class is
    the part of a file's name before the first of at least two dots.

    Raises
    ------
    DataError
        If `directory` is not a folder, contains no images, or has an empty class.
    """
    folders, files = _list(directory)
    visited = {os.path.realpath(directory), *_real_parents(directory)}
    found = {os.path.basename(folder): _walk(folder, set(visited)) for folder in folders}
    if any(found.values()):
        for name, images in found.items():
            if not images:
                folder = os.path.join(directory, name)
                raise DataError(f"{folder}: this class folder holds no images")
        return found
    if not files:
        raise _no_images(directory)
    classes: dict[str, list[str]] = {}
    for file in files:
        label, *rest = os.path.basename(file).split(".")
        if len(rest) < 2:
            raise DataError(f"{directory}: holds images but no classes; {LAYOUT_HINT}")
        classes.setdefault(label, []).append(file)
    return dict(sorted(classes.items()))


def _no_images(directory: str) -> DataError:
    return DataError(f"{directory}: holds no images ({', '.join(IMAGE_EXTENSIONS)})")


def _real_parents(directory: str) -> set[str]:
    return {str(path) for path in Path(os.path.realpath(directory)).parents}


def _walk(folder: str, visited: set[str]) -> list[str]:
    """Return the images in `folder` and its subfolders, sorted, without the `visited` folders."""
    images, pending = [], [folder]
    while pending:
        folder = pending.pop()
        real = os.path.realpath(folder)
        if real not in visited:  # else a link that leads back
            visited.add(real)
            folders, files = _list(folder)
            images += files
            pending += reversed(folders)
    return sorted(images)


def _list(folder: str) -> tuple[list[str], list[str]]:
    """Return a folder's subfolders and images, sorted, without hidden ones."""
    if not os.path.isdir(folder):
        found = "a file" if os.path.exists(folder) else "nothing there"
        raise DataError(f"{folder}: expected a folder of images, found {found}")
    try:
        names = sorted(name for name in os.listdir(folder) if not name.startswith("."))
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed ({error.strerror})") from None
    paths = [os.path.join(folder, name) for name in names]
    folders = [path for path in paths if os.path.isdir(path)]
    # A broken link counts as a file, so that reading it reports the problem.
    files = [
        path
        for path in paths
        if path.lower().endswith(IMAGE_EXTENSIONS)
        and not os.path.isdir(path)
        and (os.path.isfile(path) or os.path.islink(path))
    ]
    return folders, files
