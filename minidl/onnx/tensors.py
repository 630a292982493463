"""Conversion between NumPy arrays and ONNX tensors.

>>> import numpy as np
>>> from minidl.onnx.tensors import array_of, tensor_of
>>> tensor = tensor_of("bias", np.array([1, 2], "float32"))
>>> tensor.dims, bytes(tensor.raw_data).hex()
([2], '0000803f00000040')
>>> array_of(tensor)
array([1., 2.], dtype=float32)
"""

from __future__ import annotations

import math

import numpy as np

from minidl.common.errors import FileFormatError
from minidl.onnx.messages import DataType, TensorProto

__all__ = ["array_of", "data_type_of", "dtype_of", "tensor_of"]

MAX_RANK = 8
MAX_ELEMENTS = 2**31  # of one tensor

# NumPy's dtype of each data type, and the field that holds its numbers unless they are raw bytes.
_TYPES = {
    DataType.FLOAT: ("<f4", "float_data"),
    DataType.UINT8: ("u1", "int32_data"),
    DataType.INT8: ("i1", "int32_data"),
    DataType.UINT16: ("<u2", "int32_data"),
    DataType.INT16: ("<i2", "int32_data"),
    DataType.INT32: ("<i4", "int32_data"),
    DataType.INT64: ("<i8", "int64_data"),
    DataType.BOOL: ("?", "int32_data"),
    DataType.FLOAT16: ("<f2", "int32_data"),
    DataType.DOUBLE: ("<f8", "double_data"),
    DataType.UINT32: ("<u4", "uint64_data"),
    DataType.UINT64: ("<u8", "uint64_data"),
    DataType.BFLOAT16: ("<u2", "int32_data"),
}


def tensor_of(name: str, array: np.ndarray) -> TensorProto:
    """Return a tensor with the numbers of `array`, without a copy if they are C-contiguous.

    Raises
    ------
    TypeError
        If ONNX has no such data type.
    """
    array = np.asarray(array)
    data_type = data_type_of(array.dtype)
    flat = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(-1)
    return TensorProto(
        dims=list(array.shape), data_type=data_type, name=name, raw_data=flat.view(np.uint8).data
    )


def array_of(tensor: TensorProto) -> np.ndarray:
    """Return the numbers of a tensor in its shape; raw float32 numbers are a read-only view.

    bfloat16 becomes float32, which holds it exactly.

    Raises
    ------
    FileFormatError
        If the data type is unknown, the numbers do not fit the shape, or are in another file.
    """
    where = f"tensor {tensor.name!r}"
    if tensor.data_location or tensor.external_data:
        raise FileFormatError(f"{where}: expected its numbers in this file, not in another one")
    if tensor.segment is not None:
        raise FileFormatError(f"{where}: expected all its numbers, received a segment")
    shape, dtype = tuple(tensor.dims), dtype_of(tensor.data_type, where)
    count = math.prod(shape)
    if len(shape) > MAX_RANK or any(n < 0 for n in shape) or count > MAX_ELEMENTS:
        raise FileFormatError(f"{where}: expected at most {MAX_RANK} sizes >= 0, received {shape}")
    values = _raw(tensor, dtype, where) if tensor.raw_data is not None else _listed(tensor, dtype)
    if values.size != count:
        raise FileFormatError(
            f"{where}: expected {count} numbers for the shape {shape}, received {values.size}"
        )
    if tensor.data_type == DataType.BFLOAT16:  # the upper half of a float32
        values = (values.astype(np.uint32) << 16).view(np.float32)
    return values.astype(values.dtype.newbyteorder("="), copy=False).reshape(shape)


def data_type_of(dtype: np.dtype) -> int:
    """Return ONNX's number of a NumPy dtype; raise TypeError if there is none."""
    for number, (name, _) in _TYPES.items():
        if np.dtype(name) == dtype.newbyteorder("<") and number != DataType.BFLOAT16:
            return number
    raise TypeError(f"ONNX tensor: expected a dtype of numbers or bool, received {dtype}")


def dtype_of(data_type: int, where: str) -> np.dtype:
    """Return NumPy's dtype of ONNX's number; raise FileFormatError if there is none."""
    if data_type not in _TYPES:
        raise FileFormatError(f"{where}: expected a data type of numbers, received {data_type}")
    return np.dtype(_TYPES[data_type][0])


def _raw(tensor: TensorProto, dtype: np.dtype, where: str) -> np.ndarray:
    raw = tensor.raw_data or b""
    if len(raw) % dtype.itemsize:
        raise FileFormatError(
            f"{where}: expected numbers of {dtype.itemsize} bytes, received {len(raw)} bytes"
        )
    return np.frombuffer(raw, dtype)


def _listed(tensor: TensorProto, dtype: np.dtype) -> np.ndarray:
    values: np.ndarray = getattr(tensor, _TYPES[tensor.data_type][1])
    if dtype == np.float16:  # its bits stand in integers
        return values.astype(np.uint16).view(np.float16)
    return values.astype(dtype)
