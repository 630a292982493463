"""Where results go: what could not be written, or would destroy a photo, is refused at once.

>>> from minidl.common.output_paths import check_output
>>> check_output("--plot", "curves.xyz", suffixes=(".png", ".svg"))
Traceback (most recent call last):
    ...
minidl.common.errors.DataError: --plot: expected a name that ends in .png, .svg, \
received 'curves.xyz'
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from minidl.common.errors import DataError
from minidl.common.image_extensions import IMAGE_EXTENSIONS

__all__ = ["PLOTS", "check_output", "require_writable"]

PLOTS = (".png", ".svg", ".pdf", ".jpg")  # what --plot may be


def check_output(
    option: str, path: str, suffixes: Iterable[str] = (), kept: Iterable[str | None] = ()
) -> None:
    """Raise where a result could not be written after all the work, or would destroy something.

    Parameters
    ----------
    option : str
        What the path was given by.
    path : str
        The file to be written; its folder has to exist.
    suffixes : of str
        Those that the name may have; any, if there are none.
    kept : of str
        Files that are read or written for another purpose, and folders of photos. None is
        passed over.

    Raises
    ------
    DataError
        In a sentence that begins with the option.
    """
    target = Path(path)
    if not path:
        raise DataError(f"{option}: expected the name of a file, received none")
    try:
        require_writable(target)
    except OSError as error:
        raise DataError(f"{option}: {error}") from None
    if suffixes and target.suffix.lower() not in suffixes:
        raise DataError(
            f"{option}: expected a name that ends in {', '.join(suffixes)}, received {path!r}"
        )
    for other in (Path(name) for name in kept if name):
        if _same(target, other) or (_is_photo(target) and _within(target, other)):
            raise DataError(
                f"{option}: {path!r} is also read, or written for something else; choose "
                "another name"
            )


def require_writable(path: str | Path) -> None:
    """Raise OSError, saying why, where nothing can be written to `path`."""
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: the folder {path.parent} does not exist")
    if path.is_dir():
        raise IsADirectoryError(f"{path}: expected a file's name, found a folder")
    there_before = path.exists()
    try:
        with path.open("ab"):
            pass
    except OSError as error:
        raise type(error)(f"{path}: cannot be written ({error.strerror})") from None
    if not there_before:
        path.unlink()


def _same(one: Path, other: Path) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


def _within(path: Path, folder: Path) -> bool:
    return Path(os.path.realpath(folder)) in Path(os.path.realpath(path)).parents


def _is_photo(path: Path) -> bool:
    return path.exists() and path.suffix.lower() in IMAGE_EXTENSIONS
