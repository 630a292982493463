"""minidl's own file format: HDF5 with a JSON document and named arrays.

The document describes the model and the state of its training; each array has its own name. The
first 512 bytes, which HDF5 leaves to the user, hold a checksum of the rest. Damage is therefore
found before anything is read. Files are written atomically: after a failure, either the former file
or the new one is complete.

>>> import tempfile, numpy as np
>>> from minidl.formats.checkpoint import read_checkpoint, write_checkpoint
>>> path = tempfile.mkdtemp() + "/a.h5"
>>> write_checkpoint(path, {"name": "a"}, {"fc/kernel": np.ones(2)})
>>> read_checkpoint(path)
({'name': 'a'}, {'fc/kernel': array([1., 1.])})
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from minidl.common.atomic_files import write_file
from minidl.common.errors import FileFormatError
from minidl.formats.file_errors import StrPath, check_file, file_errors
from minidl.formats.hdf5 import open_hdf5, read_arrays, read_string

__all__ = ["is_native", "pack", "read_checkpoint", "unpack", "write_checkpoint"]

MARK, VERSION = b"minidl model file, checksum ", 1
SEAL_SIZE = 512  # bytes: the smallest "user block" of HDF5


def write_checkpoint(
    path: StrPath, document: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
) -> None:
    """Write `document` and `arrays` to `path`, atomically.

    Parameters
    ----------
    path : str or Path
    document : dict
        Anything that JSON can hold.
    arrays : dict of str to array

    Raises
    ------
    OSError
        If the folder does not exist or cannot be written, or the disk is full. The former file
        is unchanged.
    """
    import h5py

    # HDF5 crashes if a write fails while it closes a file, so it writes into memory.
    memory = io.BytesIO()
    with h5py.File(memory, "w", userblock_size=SEAL_SIZE) as file:
        file.attrs["version"] = VERSION
        file["document"] = json.dumps(document)
        group = file.create_group("arrays", track_order=True)
        for name, array in arrays.items():
            group.create_dataset(name, data=array)
    content = memory.getbuffer()
    seal = MARK + hashlib.blake2b(content[SEAL_SIZE:]).hexdigest().encode()
    content[: len(seal)] = seal
    write_file(path, content)


def read_checkpoint(path: StrPath) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return the document and the arrays of a file.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    (dict, dict of str to array)

    Raises
    ------
    FileNotFoundError, IsADirectoryError
    FileFormatError
        If the file is damaged, was not written by minidl, or refers to other files.
    """
    check_file(path)
    with file_errors(path, "restore it from a copy"):
        _check_seal(path)
        # The checksum finds damage; open_hdf5 refuses hostile files, whose checksum may be right.
        with open_hdf5(path, user_block=SEAL_SIZE) as file:
            if int(file.attrs["version"]) > VERSION:
                raise FileFormatError(
                    f"expected file version {VERSION}, received {file.attrs['version']} of a newer "
                    "minidl; update minidl"
                )
            document = json.loads(read_string(file["document"], "document"))
            if not isinstance(document, dict):
                raise FileFormatError("expected a JSON object as document")
            arrays = read_arrays(file["arrays"])
    return document, arrays


def is_native(path: StrPath) -> bool:
    """Return whether :func:`write_checkpoint` wrote a file; True for a missing file."""
    path = Path(path)
    if not path.is_file():
        return True  # reading it raises the error
    with open(path, "rb") as file:
        return file.read(len(MARK)) == MARK


def pack(value: Any, arrays: dict[str, np.ndarray], prefix: str) -> Any:
    """Return `value` for JSON; its arrays move to `arrays` under names that begin with `prefix`."""
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
    """Reverse :func:`pack`."""
    if isinstance(value, dict):
        if set(value) == {"__array__"}:
            return arrays[value["__array__"]]
        return {k: unpack(v, arrays) for k, v in value.items()}
    if isinstance(value, list):
        return [unpack(v, arrays) for v in value]
    return value


def _check_seal(path: StrPath) -> None:
    """Raise FileFormatError for another kind of file and for a damaged one."""
    with open(path, "rb") as file:
        seal = file.read(SEAL_SIZE)
        if not seal.startswith(MARK):
            raise FileFormatError("not a minidl model file (its header has no mark)")
        if seal.rstrip(b"\0") != MARK + _checksum(file):
            raise FileFormatError(
                "damaged or truncated (the checksum differs); restore it from a copy"
            )


def _checksum(file: BinaryIO) -> bytes:
    """Return the checksum of everything after the seal, as text."""
    file.seek(SEAL_SIZE)
    return hashlib.file_digest(file, "blake2b").hexdigest().encode()  # type: ignore[arg-type]
