"""Errors of file readers: one exception type, prefixed with the path of the file.

Readers raise FileFormatError without the path; :func:`file_errors` adds it once, at the outside.

>>> from minidl.common.errors import FileFormatError
>>> from minidl.formats.file_errors import file_errors
>>> with file_errors("a.h5"):
...     raise FileFormatError("the list of layers is missing")
Traceback (most recent call last):
    ...
minidl.common.errors.FileFormatError: a.h5: the list of layers is missing
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from minidl.common.errors import FileFormatError

__all__ = ["check_file", "check_finite", "file_errors", "first_line"]

StrPath = str | os.PathLike[str]


@contextlib.contextmanager
def file_errors(
    path: StrPath, advice: str = "it is damaged or truncated; get it again"
) -> Iterator[None]:
    """Prefix FileFormatErrors with `path`, and turn other exceptions into such errors.

    Parsers of damaged files raise exceptions of nearly any class.

    Parameters
    ----------
    path : str or Path
    advice : str
        End of the message for other exceptions.
    """
    try:
        yield
    except FileFormatError as error:
        if not str(error).startswith(str(path)):
            error.args = (f"{path}: {error}",)
        raise
    except Exception as error:
        raise FileFormatError(f"{path}: cannot be read ({first_line(error)}); {advice}") from error


def check_file(path: StrPath) -> None:
    """Raise FileNotFoundError or IsADirectoryError unless `path` is a file."""
    if Path(path).is_dir():
        raise IsADirectoryError(f"{path}: expected a file, received a folder")
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: there is no such file")


def check_finite(array: np.ndarray, name: str) -> None:
    """Raise FileFormatError if a tensor contains NaN or infinity."""
    if not np.isfinite(array).all():
        raise FileFormatError(f"tensor {name!r} contains NaN or infinite values")


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, or its class where it has none."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200]
