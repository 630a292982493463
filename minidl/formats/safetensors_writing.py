"""Writing of safetensors files: the tensors of a model under names such as ``layer/kernel``.

>>> import tempfile
>>> from minidl import Input, Sequential, layers
>>> from minidl.formats.safetensors import read_safetensors
>>> from minidl.formats.safetensors_writing import write_safetensors
>>> model = Sequential([Input((2,)), layers.Dense(3, name="head")])
>>> path = tempfile.mkdtemp() + "/a.safetensors"
>>> write_safetensors(path, {p.path: p.value for p in model.weights})
>>> read_safetensors(path).layers[0].tensors["kernel"].shape
(2, 3)
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np

from minidl.common.atomic_files import atomic_file
from minidl.formats.file_errors import StrPath

__all__ = ["write_safetensors"]

_DTYPES = {"f8": "F64", "f4": "F32", "f2": "F16"}
ALIGNMENT = 8  # bytes; the table is filled up with spaces


def write_safetensors(path: StrPath, tensors: Mapping[str, np.ndarray]) -> None:
    """Write tensors to a safetensors file, atomically.

    Parameters
    ----------
    path : str or Path
    tensors : dict of str to array
        Of float16, float32 or float64.

    Raises
    ------
    TypeError
        For another dtype.
    OSError
        If the file cannot be written. An older file with that name is kept.
    """
    table: dict[str, object] = {"__metadata__": {"format": "minidl"}}
    end = 0
    for name, array in tensors.items():
        kind = array.dtype.str[1:]
        if kind not in _DTYPES:
            raise TypeError(f"{path}: {name}: expected floating-point numbers, received {kind}")
        offsets = [end, end + array.nbytes]
        table[name] = {"dtype": _DTYPES[kind], "shape": array.shape, "data_offsets": offsets}
        end += array.nbytes
    header = json.dumps(table).encode()
    header += b" " * (-len(header) % ALIGNMENT)
    with atomic_file(path, 8 + len(header) + end) as file:
        file.write(len(header).to_bytes(8, "little") + header)
        for array in tensors.values():
            little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
            file.write(little.reshape(-1).view(np.uint8).data)
