"""Checks of output paths before the work: writable, and not the name of an input file.

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

PLOTS = (".png", ".svg", ".pdf", ".jpg")  # formats of --plot


def check_output(
    option: str, path: str, suffixes: Iterable[str] = (), kept: Iterable[str | None] = ()
) -> None:
    """Check that a result can be written to `path` without overwriting an input.

    Parameters
    ----------
    option : str
        The command-line option of the path, for the message.
    path : str
        The output file. Its folder must exist.
    suffixes : iterable of str
        The allowed file name extensions; empty for any.
    kept : iterable of str or None
        Other files that are read or written, and folders of photos. None is ignored.

    Raises
    ------
    DataError
        If the path is invalid; the message starts with the option.
    """
    target = Path(path)
    if not path:
        raise DataError(f"{option}: expected a file name, received an empty one")
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
                f"{option}: expected a new file, received {path!r}, which is also read or written "
                "for another purpose. Choose another name."
            )


def require_writable(path: str | Path) -> None:
    """Raise OSError with the reason if `path` is not a writable file name."""
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: folder {path.parent} does not exist")
    if path.is_dir():
        raise IsADirectoryError(f"{path}: expected a file name, received a folder")
    existed = path.exists()
    try:
        with path.open("ab"):
            pass
    except OSError as error:
        raise type(error)(f"{path}: cannot be written ({error.strerror})") from None
    if not existed:
        path.unlink()


def _same(one: Path, other: Path) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


def _within(path: Path, folder: Path) -> bool:
    return Path(os.path.realpath(folder)) in Path(os.path.realpath(path)).parents


def _is_photo(path: Path) -> bool:
    return path.exists() and path.suffix.lower() in IMAGE_EXTENSIONS
