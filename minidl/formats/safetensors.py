"""Reading of safetensors files: a JSON table of names, dtypes and shapes, then raw numbers.

A file consists of the table's length (8 bytes), the table, and the numbers. Nothing in it can be
executed. Every claim of the table is checked before a number is read.

>>> import json, tempfile
>>> import numpy as np
>>> from minidl.formats.safetensors import read_safetensors
>>> table = {"head/bias": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}
>>> header = json.dumps(table).encode()
>>> path = tempfile.mkdtemp() + "/a.safetensors"
>>> with open(path, "wb") as file:
...     numbers = np.array([1, 2], "<f4").tobytes()
...     count = file.write(len(header).to_bytes(8, "little") + header + numbers)
>>> read_safetensors(path).layers[0].tensors
{'bias': array([1., 2.], dtype=float32)}
"""

from __future__ import annotations

import json
import math
import os
import re
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from minidl.common.errors import FileFormatError
from minidl.formats.file_errors import StrPath, check_file, check_finite, file_errors
from minidl.formats.number_types import widen_bfloat16
from minidl.formats.pytorch.layout import to_channels_last
from minidl.formats.pytorch.names import IGNORED, NamedTensor, is_pytorch_name, split_names
from minidl.formats.weight_file import LayerTable, WeightFile, role_of

__all__ = ["read_safetensors"]

MAX_HEADER = 16 * 2**20  # bytes: enough for 100,000 tensors
MAX_RANK = 8
_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
_NAME = re.compile(r"(?:(.*)/)?([^/]+)[/.]([^/.]*)", re.DOTALL)  # scope, layer, tensor


def read_safetensors(path: StrPath) -> WeightFile:
    """Return the layers of a safetensors file with names such as ``layer/role`` or ``layer.role``.

    Files with PyTorch's names (``layer.weight``) get minidl's roles and layouts. Numbers are
    float16, float32 or float64; bfloat16 becomes float32, which holds it exactly.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    WeightFile

    Raises
    ------
    FileNotFoundError, IsADirectoryError
    FileFormatError
        If the file is damaged, holds other dtypes or NaN, or has a name without a known role.
    """
    path = Path(path)
    check_file(path)
    layers = LayerTable()
    with file_errors(path), open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        table, start = _read_header(file, size)
        _check_layout(table, size - start)
        is_pytorch = any(is_pytorch_name(name) for name in table)
        for named in split_names(_shapes(table)) if is_pytorch else map(_split, table):
            array = _read_tensor(file, start, named.name, table[named.name])
            if is_pytorch:
                array = to_channels_last(array, named.role)
            layers.add(named.scope, named.layer, named.role, array, named.name)
    return WeightFile(
        path,
        "safetensors of PyTorch" if is_pytorch else "safetensors",
        layers.layers,
        ignored=tuple(name for name in table if _is_counter(name)),
        channels_first=is_pytorch,
    )


def _read_header(file: BinaryIO, size: int) -> tuple[dict[str, Any], int]:
    """Return the table without metadata, and the offset of the numbers."""
    length = int.from_bytes(file.read(8), "little")
    if size < 8 or length > size - 8:
        raise FileFormatError(f"truncated, or not a safetensors file ({size} bytes)")
    if length > MAX_HEADER:
        raise FileFormatError(f"expected a table of at most {MAX_HEADER} bytes, received {length}")
    try:
        table = json.loads(file.read(length).decode(), object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as error:
        detail = error if isinstance(error, FileFormatError) else "invalid JSON"
        raise FileFormatError(f"the table of tensors is damaged: {detail}") from error
    if not isinstance(table, dict):
        raise FileFormatError("the table of tensors is damaged: not a JSON object")
    table.pop("__metadata__", None)
    return table, 8 + length


def _check_layout(table: dict[str, Any], size: int) -> None:
    """Check that the tensors cover the numbers without gaps and overlaps."""
    for name, entry in table.items():
        _check_entry(name, entry, size)
    end = 0
    for name, entry in sorted(table.items(), key=lambda item: item[1]["data_offsets"]):
        begin, following = entry["data_offsets"]
        if begin != end:
            problem = "overlaps another tensor" if begin < end else "leaves a gap before it"
            raise FileFormatError(f"tensor {name!r} {problem} (bytes {begin} to {following})")
        end = following
    if end != size:
        raise FileFormatError(f"expected {end} bytes of numbers, received {size}")


def _check_entry(name: str, entry: Any, size: int) -> None:
    """Check dtype, shape and offsets of one tensor."""
    entry = entry if isinstance(entry, dict) else {}
    dtype, shape, offsets = (entry.get(key) for key in ("dtype", "shape", "data_offsets"))
    known = {**_DTYPES, "I64": "<i8"} if _is_counter(name) else _DTYPES
    if not (_are_counts(shape) and _are_counts(offsets) and len(offsets) == 2):
        raise FileFormatError(f"tensor {name!r} has no valid shape and data_offsets")
    if not isinstance(dtype, str) or dtype not in known:
        raise FileFormatError(
            f"tensor {name!r}: expected a dtype of {', '.join(known)}, received {dtype!r}"
        )
    if 0 in shape or len(shape) > MAX_RANK:
        raise FileFormatError(
            f"tensor {name!r}: expected a shape of at most {MAX_RANK} sizes > 0, received {shape}"
        )
    begin, end = offsets
    nbytes = math.prod(shape) * np.dtype(known[dtype]).itemsize
    if not begin <= end <= size or end - begin != nbytes:
        raise FileFormatError(
            f"tensor {name!r} of shape {shape}: expected {nbytes} bytes, received the offsets "
            f"{begin} to {end} of {size}"
        )


def _are_counts(values: Any) -> bool:
    """Return whether `values` is a list of integers >= 0."""
    return isinstance(values, list) and all(type(n) is int and n >= 0 for n in values)


def _read_tensor(file: BinaryIO, start: int, name: str, entry: dict[str, Any]) -> np.ndarray:
    begin, end = entry["data_offsets"]
    file.seek(start + begin)
    data = bytearray(end - begin)  # mutable, so that the array is writable
    if file.readinto(data) != len(data):  # type: ignore[attr-defined]
        raise FileFormatError(f"truncated within tensor {name!r}")
    array = np.frombuffer(data, _DTYPES[entry["dtype"]])
    if entry["dtype"] == "BF16":  # the upper half of a float32
        array = widen_bfloat16(array)
    check_finite(array, name)
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    return array.reshape(entry["shape"])


def _split(name: str) -> NamedTensor:
    """Return scope, layer and role of a tensor with minidl's or Keras' name."""
    found = _NAME.fullmatch(name)
    role = role_of(found[3]) if found else None
    if found is None or role is None:
        raise FileFormatError(
            f"tensor {name!r} has no known role; expected names such as 'conv1/kernel' or "
            "'conv1.bias', or PyTorch's"
        )
    return NamedTensor(name, found[1] or "", found[2], role)


def _shapes(table: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(entry["shape"]) for name, entry in table.items()}


def _is_counter(name: str) -> bool:
    return name.rpartition(".")[2] == IGNORED


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for name, value in pairs:
        if name in content:
            raise FileFormatError(f"{name!r} occurs twice")
        content[name] = value
    return content
