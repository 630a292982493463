"""Reading safetensors: a JSON table of names, types and shapes, followed by the plain numbers.

A file begins with the length of the table (8 bytes), then comes the table, then the numbers.
Nothing in it can be executed, and every claim of the table can be checked before a number is read.

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
from minidl.formats.weight_file import LayerTensors, WeightFile, role_of

__all__ = ["read_safetensors"]

MAX_HEADER = 16 * 2**20  # room for some 100,000 tensors
_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}


def read_safetensors(path) -> WeightFile:
    """Return the layers of a safetensors file whose names are ``layer/role`` or ``layer.role``.

    Numbers are float16, float32 or float64; bfloat16 becomes float32, which holds it exactly.

    Raises
    ------
    FileFormatError
        If the file is damaged, holds other types or NaN, or has a name without a known role.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            table, start = _read_header(file, size, path)
            _check_layout(table, size - start, path)
            layers: dict[tuple[str, str], LayerTensors] = {}
            for name, entry in table.items():
                _add(layers, name, _read_tensor(file, start, name, entry, path), path)
    except FileFormatError:
        raise
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: there is no such file") from None
    except OSError as error:
        raise FileFormatError(f"{path}: cannot be read ({error.strerror})") from error
    return WeightFile(path, "safetensors", list(layers.values()))


def _read_header(file: BinaryIO, size: int, path: Path) -> tuple[dict[str, Any], int]:
    """Return the table without its remarks, and where the numbers begin."""
    length = int.from_bytes(file.read(8), "little")
    if size < 8 or length > size - 8:
        raise FileFormatError(f"{path}: cut off, or not a safetensors file ({size} bytes)")
    if length > MAX_HEADER:
        raise FileFormatError(
            f"{path}: its table of tensors has {length} bytes, expected at most {MAX_HEADER}"
        )
    try:
        table = json.loads(file.read(length).decode(), object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as error:
        detail = error if isinstance(error, _DuplicateNameError) else "not proper JSON"
        raise FileFormatError(f"{path}: its table of tensors is damaged: {detail}") from error
    if not isinstance(table, dict):
        raise FileFormatError(f"{path}: its table of tensors is damaged: not a JSON object")
    table.pop("__metadata__", None)
    return table, 8 + length


def _check_layout(table: dict[str, Any], size: int, path: Path) -> None:
    """See to it that the tensors cover the numbers without a gap, an overlap or a lie."""
    for name, entry in table.items():
        _check_entry(name, entry, size, path)
    end = 0
    for name, entry in sorted(table.items(), key=lambda item: item[1]["data_offsets"]):
        begin, following = entry["data_offsets"]
        if begin != end:
            what = "overlaps another tensor" if begin < end else "leaves a gap before it"
            raise FileFormatError(f"{path}: tensor {name!r} {what} (bytes {begin} to {following})")
        end = following
    if end != size:
        raise FileFormatError(f"{path}: {size} bytes of numbers, but its tensors take {end}")


def _check_entry(name: str, entry: Any, size: int, path: Path) -> None:
    entry = entry if isinstance(entry, dict) else {}
    dtype, shape, offsets = (entry.get(key) for key in ("dtype", "shape", "data_offsets"))
    if not (_are_counts(shape) and _are_counts(offsets) and len(offsets) == 2):
        raise FileFormatError(f"{path}: tensor {name!r} has no proper shape and data_offsets")
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        raise FileFormatError(
            f"{path}: tensor {name!r} has dtype {dtype!r}, expected one of {', '.join(_DTYPES)}"
        )
    if 0 in shape or len(shape) > 8:
        raise FileFormatError(
            f"{path}: tensor {name!r} has shape {shape}, expected at most 8 sizes, none 0"
        )
    begin, end = offsets
    nbytes = math.prod(shape) * np.dtype(_DTYPES[dtype]).itemsize
    if not begin <= end <= size or end - begin != nbytes:
        raise FileFormatError(
            f"{path}: tensor {name!r} of shape {shape} needs {nbytes} bytes, but its place is "
            f"{begin} to {end} of {size}"
        )


def _are_counts(values: Any) -> bool:
    return isinstance(values, list) and all(
        isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in values
    )


def _read_tensor(file: BinaryIO, start: int, name: str, entry, path: Path) -> np.ndarray:
    begin, end = entry["data_offsets"]
    file.seek(start + begin)
    data = bytearray(end - begin)  # so that the array can be written to
    if file.readinto(data) != len(data):
        raise FileFormatError(f"{path}: cut off within tensor {name!r}")
    array = np.frombuffer(data, _DTYPES[entry["dtype"]])
    if entry["dtype"] == "BF16":  # the upper half of a float32
        array = (array.astype(np.uint32) << 16).view(np.float32)
    if not np.isfinite(array).all():
        raise FileFormatError(f"{path}: tensor {name!r} contains NaN or infinite values")
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    return array.reshape(entry["shape"])


def _add(layers: dict, name: str, tensor: np.ndarray, path: Path) -> None:
    """Put a tensor into its layer, which its name tells."""
    owner, _, last = _split(name)
    role = role_of(last)
    if not owner or role is None:
        raise FileFormatError(
            f"{path}: tensor {name!r} has no known role; expected names such as 'conv1/kernel' or "
            "'conv1.bias' (PyTorch's 'weight' has another layout: transpose and rename it)"
        )
    scope, _, layer_name = owner.rpartition("/")
    layer = layers.setdefault((scope, layer_name), LayerTensors(layer_name, scope=scope))
    if role in layer.tensors:
        raise FileFormatError(
            f"{path}: both {layer.places[role]!r} and {name!r} are the {role} of {owner!r}"
        )
    layer.tensors[role], layer.places[role] = tensor, name


def _split(name: str) -> tuple[str, str, str]:
    """Split at the last "/" or "."."""
    found = re.match(r"(.*)([/.])([^/.]*)$", name, re.DOTALL)
    return found.groups() if found else ("", "", name)


class _DuplicateNameError(ValueError):
    pass


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _DuplicateNameError(f"{twice!r} occurs twice")
    return content
