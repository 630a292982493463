"""minidl's own file: one HDF5 file with a JSON document and named arrays.

The document says what the model is and where its training stands; each array lies beside it
under its own name. The file's first 512 bytes, which HDF5 leaves to the user, hold a checksum of
all others, so that damage is found before anything is read. A file is written under a temporary
name, flushed and renamed, so that a crash leaves the old file or the new one, never half of one.

>>> import tempfile, numpy as np
>>> from minidl.formats.checkpoint import read_checkpoint, write_checkpoint
>>> path = tempfile.mkdtemp() + "/a.h5"
>>> write_checkpoint(path, {"name": "a"}, {"fc/kernel": np.ones(2)})
>>> read_checkpoint(path)
({'name': 'a'}, {'fc/kernel': array([1., 1.])})
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
from pathlib import Path
from typing import Any

import numpy as np

from minidl.common.errors import FileFormatError

__all__ = ["is_native", "pack", "read_checkpoint", "unpack", "write_checkpoint"]

MARK, VERSION = b"minidl model file, checksum ", 1
SEAL_SIZE = 512  # the smallest "user block" of HDF5


def write_checkpoint(path, document: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Write `document` and `arrays` to `path`, atomically.

    Raises
    ------
    OSError
        If the folder does not exist or cannot be written.
    """
    import h5py

    path = Path(path)
    temporary = _temporary_beside(path)
    try:
        with h5py.File(temporary, "w", userblock_size=SEAL_SIZE) as file:
            file.attrs["version"] = VERSION
            file["document"] = json.dumps(document)
            group = file.create_group("arrays", track_order=True)
            for name, array in arrays.items():
                group.create_dataset(name, data=array)
        _seal(temporary)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def read_checkpoint(path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return the document and the arrays of a file.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    FileFormatError
        If the file is damaged or was not written by minidl.
    """
    import h5py

    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path}: expected a model file, found a folder")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file")
    _check_seal(path)
    try:
        with h5py.File(path, "r") as file:
            if int(file.attrs["version"]) > VERSION:
                raise FileFormatError(
                    f"{path}: written by a newer minidl (file version {file.attrs['version']}, "
                    f"this one reads up to {VERSION}); update minidl"
                )
            document = json.loads(file["document"][()])
            arrays: dict[str, np.ndarray] = {}
            file["arrays"].visititems(
                lambda name, item: arrays.__setitem__(name, item[()])
                if isinstance(item, h5py.Dataset) else None
            )  # fmt: skip
    except FileFormatError:
        raise
    except (OSError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise FileFormatError(
            f"{path}: cannot be read ({_first_line(error)}); restore it from a copy"
        ) from error
    return document, arrays


def is_native(path) -> bool:
    """Whether a file was written by :func:`write_checkpoint`; also where there is no file."""
    path = Path(path)
    if not path.is_file():
        return True  # reading it says what is wrong
    with open(path, "rb") as file:
        return file.read(len(MARK)) == MARK


def pack(value: Any, arrays: dict[str, np.ndarray], prefix: str) -> Any:
    """Return `value` as JSON can hold it; its arrays move to `arrays`, named after `prefix`."""
    if isinstance(value, np.ndarray):
        arrays[prefix] = value
        return {"__array__": prefix}
    if isinstance(value, dict):
        return {str(k): pack(v, arrays, f"{prefix}/{k}") for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [pack(v, arrays, f"{prefix}/{i}") for i, v in enumerate(value)]
    if isinstance(value, np.generic):
        return value.item()
    return value


def unpack(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    """Undo :func:`pack`."""
    if isinstance(value, dict):
        if set(value) == {"__array__"}:
            return arrays[value["__array__"]]
        return {k: unpack(v, arrays) for k, v in value.items()}
    if isinstance(value, list):
        return [unpack(v, arrays) for v in value]
    return value


def _temporary_beside(path: Path) -> str:
    """Make an empty file in the same folder, which can be renamed to `path` later."""
    if path.is_dir():
        raise IsADirectoryError(f"{path}: expected a file name, found a folder")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: the folder {path.parent} does not exist")
    temporary = str(path.parent / f".{path.name}.{secrets.token_hex(4)}")
    try:
        # 0o666: the system itself takes away what the user's umask forbids.
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except OSError as error:
        raise type(error)(f"{path}: cannot be written ({error.strerror})") from None
    return temporary


def _seal(path: str) -> None:
    """Write mark and checksum into the first bytes, and see to it that the disk has it all."""
    with open(path, "r+b") as file:
        seal = MARK + _checksum(file)
        file.seek(0)
        file.write(seal)
        file.flush()
        os.fsync(file.fileno())


def _check_seal(path: Path) -> None:
    """Raise FileFormatError for another kind of file, and for a damaged one."""
    with open(path, "rb") as file:
        seal = file.read(SEAL_SIZE)
        if not seal.startswith(MARK):
            raise FileFormatError(f"{path}: not a minidl model file (its beginning has no mark)")
        if seal.rstrip(b"\0") != MARK + _checksum(file):
            raise FileFormatError(
                f"{path}: damaged or cut off (its checksum is wrong); restore it from a copy"
            )


def _checksum(file) -> bytes:
    """Return the checksum of all that follows the seal, as text."""
    file.seek(SEAL_SIZE)
    return hashlib.file_digest(file, "blake2b").hexdigest().encode()


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
