"""Constant folding: operations whose operands are all constants, computed with NumPy.

Exporters compute shapes by operations, such as Shape, Gather and Concat before a Reshape. The
size of the batch is not known: :data:`BATCH` stands for it in arrays of shapes.

>>> import numpy as np
>>> from minidl.onnx.importing.operation import Operation
>>> from minidl.onnx.messages import NodeProto
>>> operands = [np.array([BATCH, 8, 4, 4], object), np.array(1)]
>>> fold(Operation(NodeProto(op_type="Gather"), 17, operands)).item()
8
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from minidl.common.errors import FileFormatError
from minidl.onnx.importing.operation import Operation, checked_axis
from minidl.onnx.tensors import dtype_of

__all__ = ["BATCH", "FOLDED", "MAX_CONSTANT", "MAX_FOLDED", "fold", "new_shape"]

MAX_CONSTANT = 2**28  # numbers of a constant filled with one value, which takes no memory
MAX_FOLDED = 2**26  # numbers of a computed constant
MAX_RANK = 8


class _Batch:
    """The unknown number of samples, in an array of sizes."""

    def __repr__(self) -> str:
        return "N"


BATCH = _Batch()


def fold(operation: Operation) -> np.ndarray:
    """Return the result of an operation on constants.

    Raises
    ------
    FileFormatError
        If the operation is not in :data:`FOLDED`, its operands do not fit, or the result is too
        large.
    """
    rule = FOLDED.get(operation.kind)
    if rule is None:
        raise FileFormatError("expected an input that depends on the model's input, not constants")
    result = np.asarray(rule(operation))
    if result.ndim > MAX_RANK:
        raise FileFormatError(f"expected a constant of at most {MAX_RANK} axes")
    return result


def new_shape(target: np.ndarray, old: tuple[Any, ...], keep_zeros: bool = False) -> list[Any]:
    """Return the sizes of a Reshape: 0 copies the old size, one -1 may remain.

    Parameters
    ----------
    target : array, shape (rank,)
        Integers, or BATCH.
    old : tuple
        The shape before.
    keep_zeros : bool
        Whether 0 is a size.
    """
    if target.ndim != 1 or target.dtype.kind not in "iO" or target.size > MAX_RANK:
        raise FileFormatError("expected the new shape as a list of at most 8 integers")
    sizes = target.tolist()
    for i, size in enumerate(sizes):
        if size is BATCH:
            continue
        if not isinstance(size, int) or not -1 <= size < 2**40:
            raise FileFormatError(f"expected a new shape of known sizes, received {sizes}")
        if size == 0 and not keep_zeros:
            if i >= len(old):
                raise FileFormatError(f"expected {i + 1} sizes to copy from, received {old}")
            sizes[i] = old[i]
    return sizes


def _constant(operation: Operation) -> np.ndarray:
    for name in ("value_float", "value_floats", "value_int", "value_ints"):
        if operation.has(name):
            item = operation.attributes[name]
            if name.startswith("value_float"):
                number = name == "value_float"
                floats = operation.number(name, 0) if number else operation.floats(name)
                return np.asarray(floats, np.float32)
            single = item.name == "value_int"
            return np.asarray(
                operation.integer(name, 0) if single else operation.integers(name), np.int64
            )
    array = operation.array("value")
    if array is None:
        raise FileFormatError("expected a value that is a tensor of numbers")
    return array


def _constant_of_shape(operation: Operation) -> np.ndarray:
    filling = operation.array("value")
    filling = np.zeros(1, np.float32) if filling is None else filling
    shape = operation.constant(0).reshape(-1).tolist()
    whole = all(isinstance(n, int) and n >= 0 for n in shape)
    if not whole or len(shape) > MAX_RANK or filling.size != 1 or math.prod(shape) > MAX_CONSTANT:
        raise FileFormatError(
            f"expected a shape of at most {MAX_CONSTANT} numbers and one value to fill it, "
            f"received {shape} and {filling.size} values"
        )
    return np.broadcast_to(filling.reshape(()), shape)


def _cast(operation: Operation) -> np.ndarray:
    dtype = dtype_of(operation.integer("to", 1), "to")
    x = operation.constant(0)
    if x.dtype == object:  # sizes stay what they are
        return x
    with np.errstate(all="ignore"):
        return x.astype(dtype)


def _reshape(operation: Operation) -> np.ndarray:
    x = operation.constant(0)
    target = operation.constant_or_none(1)
    if target is None:
        target = np.array(operation.integers("shape", []), np.int64)
    sizes = new_shape(target, x.shape, bool(operation.integer("allowzero", 0)))
    if BATCH in sizes:
        raise FileFormatError(f"expected a constant of known sizes, received {sizes}")
    return _small(x).reshape(sizes)


def _transpose(operation: Operation) -> np.ndarray:
    return operation.constant(0).transpose(operation.integers("perm"))


def _squeeze(operation: Operation) -> np.ndarray:
    x = operation.constant(0)
    axes = operation.axes("axes", 1, x.ndim)
    return np.squeeze(x, None if axes is None else tuple(axes))


def _unsqueeze(operation: Operation) -> np.ndarray:
    x = operation.constant(0)
    given = operation.integers("axes")
    count = len(given) if given is not None else operation.constant(1).size
    if x.ndim + count > MAX_RANK:
        raise FileFormatError(f"expected at most {MAX_RANK} axes")
    return np.expand_dims(x, tuple(operation.axes("axes", 1, x.ndim + count) or []))


def _concat(operation: Operation) -> np.ndarray:
    arrays = [operation.constant(i) for i in range(len(operation.operands))]
    _check_size(sum(array.size for array in arrays))
    return np.concatenate(arrays, operation.integer("axis", 1))


def _gather(operation: Operation) -> np.ndarray:
    x, indices = operation.constant(0), operation.constant(1)
    axis = checked_axis(operation.integer("axis", 0), x.ndim)
    _check_size(x.size // max(x.shape[axis], 1) * indices.size)
    if indices.dtype.kind != "i":
        raise FileFormatError("expected indices that are integers")
    return np.take(x, indices, axis)


def _slice(operation: Operation) -> np.ndarray:
    x = operation.constant(0)
    starts, ends = operation.integers("starts"), operation.integers("ends")
    steps: list[int] | None = None
    if starts is None or ends is None:
        starts, ends = (operation.constant(i).reshape(-1).tolist() for i in (1, 2))
        found = operation.constant_or_none(4)
        steps = None if found is None else found.reshape(-1).tolist()
    axes = operation.axes("axes", 3, x.ndim)
    axes = list(range(len(starts))) if axes is None else axes
    steps = [1] * len(axes) if steps is None else steps
    cuts = [slice(None)] * x.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        backwards_to_start = step < 0 and end < -x.shape[axis]
        cuts[axis] = slice(start, None if backwards_to_start else end, step)
    return x[tuple(cuts)]


def _flatten(operation: Operation) -> np.ndarray:
    x = operation.constant(0)
    axis = operation.integer("axis", 1)
    axis = axis if axis == x.ndim else checked_axis(axis, x.ndim)
    return _small(x).reshape(math.prod(x.shape[:axis]), -1)


def _shape(operation: Operation) -> np.ndarray:
    shape = operation.constant(0).shape
    end = operation.integer("end", len(shape))
    return np.array(shape, np.int64)[operation.integer("start", 0) : end]


def _arithmetic(function: Callable[..., Any]) -> Callable[[Operation], np.ndarray]:
    def compute(operation: Operation) -> np.ndarray:
        operands = [operation.constant(i) for i in range(len(operation.operands))]
        if any(x.dtype.kind not in "iuf" for x in operands):
            raise FileFormatError("expected numbers, received sizes that depend on the batch")
        _check_size(math.prod(np.broadcast_shapes(*(x.shape for x in operands))))
        with np.errstate(all="ignore"):
            return np.asarray(function(*operands)).astype(operands[0].dtype, copy=False)

    return compute


def _divide(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    if x.dtype.kind in "iu":
        return np.trunc(x / y)
    return x / y


def _check_size(size: int) -> None:
    if size > MAX_FOLDED:
        raise FileFormatError(f"expected a computed constant of at most {MAX_FOLDED} numbers")


def _small(x: np.ndarray) -> np.ndarray:
    """Return `x` after a check of its size, for operations that copy it."""
    if not x.flags.c_contiguous:
        _check_size(x.size)
    return x


FOLDED: dict[str, Callable[[Operation], np.ndarray]] = {
    "Add": _arithmetic(np.add),
    "Cast": _cast,
    "Concat": _concat,
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "Div": _arithmetic(_divide),
    "Exp": _arithmetic(np.exp),
    "Flatten": _flatten,
    "Floor": _arithmetic(np.floor),
    "Gather": _gather,
    "Identity": lambda operation: operation.constant(0),
    "Mul": _arithmetic(np.multiply),
    "Neg": _arithmetic(np.negative),
    "Pow": _arithmetic(np.power),
    "Reciprocal": _arithmetic(np.reciprocal),
    "Reshape": _reshape,
    "Shape": _shape,
    "Slice": _slice,
    "Sqrt": _arithmetic(np.sqrt),
    "Squeeze": _squeeze,
    "Sub": _arithmetic(np.subtract),
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
