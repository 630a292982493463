"""Tensors of a PyTorch file: views of storages, whose claims are checked before numbers are read.

A pickle describes a tensor by a storage (a flat array elsewhere in the file), an offset, sizes and
strides. :data:`KNOWN` lists everything that a pickle may refer to.

>>> from minidl.formats.pytorch.tensors import KNOWN, Storage
>>> storage = Storage("0", KNOWN["torch.FloatStorage"], 6)
>>> KNOWN["torch._utils._rebuild_tensor_v2"].call(storage, 0, (3, 2), (1, 3), False, None).extent
6
>>> KNOWN["torch._utils._rebuild_tensor_v2"].call(storage, 1, (3, 2), (1, 3), False, None)
Traceback (most recent call last):
    ...
minidl.common.errors.FileFormatError: a tensor of shape (3, 2), strides (1, 3) and offset 1 \
exceeds its storage of 6 numbers
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from minidl.common.errors import FileFormatError
from minidl.formats.number_types import widen_bfloat16
from minidl.formats.pytorch.interpreter import Function

__all__ = ["KNOWN", "Storage", "StorageType", "Tensor", "read_tensor", "storage_of"]

MAX_RANK = 8


@dataclass(frozen=True)
class StorageType:
    """The type of a storage's numbers: PyTorch's name, and the NumPy dtype in the file."""

    name: str
    dtype: str

    @property
    def itemsize(self) -> int:
        return np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class Storage:
    """A flat array of the file: its key, the type of its numbers and their count."""

    key: str
    kind: StorageType
    count: int

    @property
    def nbytes(self) -> int:
        return self.count * self.kind.itemsize


@dataclass(frozen=True)
class Tensor:
    """A view of a storage; offset and strides count numbers, not bytes."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def extent(self) -> int:
        """Distance from the first number to the end of the last one."""
        steps = zip(self.shape, self.strides, strict=True)
        return 1 + sum((n - 1) * s for n, s in steps) if self.size else 0

    @property
    def span(self) -> int:
        """Number of bytes from the first number to the end of the last one."""
        return self.extent * self.storage.kind.itemsize


def storage_of(identifier: Any) -> Storage:
    """Return the storage of a persistent id: ("storage", type, key, location, count[, view])."""
    parts = identifier if isinstance(identifier, tuple) else ()
    if len(parts) == 6 and parts[5] is None:  # the older form has views of storages
        parts = parts[:5]
    if len(parts) != 5 or parts[0] != "storage":
        raise FileFormatError("expected a storage as persistent id, received something else")
    _, kind, key, _, count = parts
    if not isinstance(kind, StorageType) or not isinstance(key, str) or not _is_count(count):
        raise FileFormatError("a storage has no valid type, key and size")
    return Storage(key, kind, count)


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, strides: Any, *rest: Any) -> Tensor:
    """Return a tensor after checking that it lies within its storage.

    `rest` is what state dicts do not need: requires_grad, hooks (empty) and metadata.
    """
    if not isinstance(storage, Storage):
        raise FileFormatError("expected a tensor with a storage, received something else")
    if not (_is_count(offset) and _are_counts(shape) and len(shape) <= MAX_RANK):
        raise FileFormatError(
            f"expected a tensor of at most {MAX_RANK} sizes >= 0 and an offset >= 0"
        )
    if not _are_counts(strides) or len(strides) != len(shape):
        raise FileFormatError(
            f"expected {len(shape)} strides >= 0 for a tensor of shape {_listed(shape)}, "
            "received others"
        )
    tensor = Tensor(storage, offset, shape, strides)
    claim = (
        f"a tensor of shape {_listed(shape)}, strides {_listed(strides)} and offset "
        f"{_listed([offset])[1:-1]}"
    )
    if offset + tensor.extent > storage.count:
        raise FileFormatError(f"{claim} exceeds its storage of {storage.count} numbers")
    if tensor.size > tensor.extent:
        raise FileFormatError(f"{claim} has overlapping numbers. Save contiguous tensors")
    return tensor


def _rebuild_parameter(tensor: Any, requires_grad: Any, hooks: Any) -> Tensor:
    if not isinstance(tensor, Tensor):
        raise FileFormatError("expected a parameter with a tensor, received something else")
    return tensor


def _ordered_dict(pairs: Any = ()) -> OrderedDict[Any, Any]:
    """Return a dict; Python 2 passed its content as a list of lists."""
    result: OrderedDict[Any, Any] = OrderedDict()
    for pair in pairs if isinstance(pairs, (list, tuple)) else ():
        if not isinstance(pair, (list, tuple)) or len(pair) != 2 or not isinstance(pair[0], str):
            raise FileFormatError("expected pairs of name and value in an OrderedDict")
        if pair[0] in result:
            raise FileFormatError(f"the name {pair[0][:60]!r} occurs twice in one dict")
        result[pair[0]] = pair[1]
    return result


_TYPES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "BFloat16Storage": "<u2",  # the upper half of a float32
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "<i1",
    "ByteStorage": "<u1",
    "BoolStorage": "|b1",
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _ordered_dict,
    "torch._utils._rebuild_tensor": _rebuild_tensor,  # PyTorch before 0.4
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils._rebuild_parameter": _rebuild_parameter,
}
KNOWN: dict[str, Any] = {
    **{name: Function(name, call) for name, call in _FUNCTIONS.items()},
    **{f"torch.{name}": StorageType(name, dtype) for name, dtype in _TYPES.items()},
}


def read_tensor(file: BinaryIO, start: int, tensor: Tensor, name: str) -> np.ndarray:
    """Return the numbers of a tensor, in the machine's byte order; bfloat16 becomes float32.

    Parameters
    ----------
    file : binary file
    start : int
        Offset in bytes of the storage in the file.
    tensor : Tensor
    name : str
        Name for messages.
    """
    kind = tensor.storage.kind
    data = bytearray(tensor.span)  # mutable, so that the array is writable
    file.seek(start + tensor.offset * kind.itemsize)
    if file.readinto(data) != len(data):  # type: ignore[attr-defined]
        raise FileFormatError(f"truncated within tensor {name!r}; get the file again")
    strides = [s * kind.itemsize for s in tensor.strides]
    # The strides of axes with one element mean nothing; NumPy would check them all the same.
    strides = [s if n > 1 else 0 for n, s in zip(tensor.shape, strides, strict=True)]
    array: np.ndarray = np.ndarray(tensor.shape, kind.dtype, data, strides=strides)
    if kind.name == "BFloat16Storage":
        return widen_bfloat16(array)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _are_counts(values: Any) -> bool:
    return isinstance(values, tuple) and all(_is_count(n) for n in values)


def _listed(numbers: Any) -> str:
    """Return numbers in parentheses; a file may claim some of hundreds of digits."""
    shown = [str(n) if n < 10**19 else "a number of more than 19 digits" for n in numbers]
    return f"({', '.join(shown)})"
