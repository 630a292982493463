"""Optional file formats: packages found by the extension of a file and loaded when first used.

A model does not import the packages of such formats, which are above it in the order of imports.
The root of minidl registers them by name; without their folder, everything else works.

>>> import minidl
>>> from minidl.common.optional_formats import format_of
>>> format_of("pets.onnx").__name__
'minidl.onnx'
>>> format_of("pets.h5") is None
True
"""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from types import ModuleType

from minidl.common.errors import MinidlError

__all__ = ["format_of", "register_format", "registered_extensions", "require_format"]

_packages: dict[str, str] = {}


def register_format(extension: str, package: str) -> None:
    """Let a package read and write the files with an extension.

    Parameters
    ----------
    extension : str
        Such as ".onnx", in lower case.
    package : str
        Name of the package, which is not imported yet. It may offer ``export_model(model, path,
        **options)`` for ``Model.export``, ``load_model(path)`` for ``minidl.load_model``, and
        ``read_weights(path)`` for ``Model.load_weights`` and `weights` of the applications.
    """
    _packages[extension] = package


def registered_extensions() -> list[str]:
    """Return the extensions of optional formats."""
    return sorted(_packages)


def format_of(path: str | os.PathLike[str]) -> ModuleType | None:
    """Return the package for a file by its extension, None if no package is registered for it.

    Raises
    ------
    MinidlError
        If the package is registered but missing from this installation.
    """
    extension = Path(path).suffix.lower()
    return require_format(extension, f"{path}: ") if extension in _packages else None


def require_format(extension: str, where: str = "") -> ModuleType:
    """Return the package for a registered extension.

    Parameters
    ----------
    extension : str
        Such as ".onnx".
    where : str
        Start of the error message.

    Raises
    ------
    MinidlError
        If the package is missing from this installation.
    """
    package = _packages[extension]
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise MinidlError(
            f"{where}expected an installation with the package {package}, which is missing. "
            "Install minidl again."
        ) from None
