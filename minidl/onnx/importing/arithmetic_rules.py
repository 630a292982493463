"""Rules of Add, Sub, Mul, Div and Sum.

An operation with a constant for each channel becomes a part of the layer before it where that is
an affine function of its weights (Conv2D, Dense, BatchNormalization, Rescaling), else Rescaling.

>>> import numpy as np
>>> from minidl import Input
>>> from minidl.onnx.importing.builder import Builder
>>> from minidl.onnx.importing.layout import Axis, Value
>>> from minidl.onnx.importing.operation import Operation
>>> from minidl.onnx.messages import NodeProto
>>> n, c = Axis(None), Axis(3)
>>> x = Value(Input((3,)), ((n,), (c,)), ((n,), (c,)))
>>> operation = Operation(NodeProto(op_type="Div"), 17, [x, np.array(4.0)])
>>> ARITHMETIC_RULES["Div"](Builder(), operation).tensor.layer.scale
array(0.25)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minidl import layers
from minidl.common.errors import FileFormatError
from minidl.onnx.importing.absorption import absorb
from minidl.onnx.importing.builder import Builder
from minidl.onnx.importing.layout import Value, permutation, reorder
from minidl.onnx.importing.operation import Operation
from minidl.onnx.importing.view_rules import Rule, stored_positions

__all__ = ["ARITHMETIC_RULES", "by_channel"]


def add(builder: Builder, operation: Operation) -> Value:
    return _binary(builder, operation)


def total(builder: Builder, operation: Operation) -> Value:
    """Translate Sum: any number of values of one shape."""
    if len(operation.operands) == 1:
        return operation.value()
    if any(isinstance(x, np.ndarray) for x in operation.operands):
        return _binary(builder, operation)
    return _merged(builder, operation, layers.Add)


def _binary(builder: Builder, operation: Operation) -> Value:
    if len(operation.operands) != 2:
        raise FileFormatError(f"expected two inputs, received {len(operation.operands)}")
    kind = operation.kind
    x, y = operation.operands
    axis = _former_axis(operation)
    if isinstance(x, Value) and isinstance(y, Value):
        return _of_two_values(builder, operation)
    first_is_constant = isinstance(x, np.ndarray)
    value = operation.value(1 if first_is_constant else 0)
    constant = operation.constant(0 if first_is_constant else 1).astype(np.float64)
    if kind == "Div" and (first_is_constant or not constant.all()):
        raise FileFormatError("expected a division by constants other than 0")
    scale = offset = np.array(1.0)
    if kind in ("Mul", "Div"):
        scale, offset = constant if kind == "Mul" else 1 / constant, np.array(0.0)
    elif kind == "Sub" and not first_is_constant:
        offset = -constant
    else:
        scale, offset = np.array(-1.0 if kind == "Sub" else 1.0), constant
    return _affine(builder, operation, value, scale, offset, axis)


def negative(builder: Builder, operation: Operation) -> Value:
    return _affine(builder, operation, operation.value(), np.array(-1.0), np.array(0.0), None)


def _former_axis(operation: Operation) -> int | None:
    """Return the axis at which versions below 7 align the second operand."""
    if operation.opset >= 7:
        return None
    operation.integer("broadcast", 0)
    return operation.integer("axis", 0) if operation.has("axis") else None


def _of_two_values(builder: Builder, operation: Operation) -> Value:
    if operation.kind == "Add":
        return _merged(builder, operation, layers.Add)
    if operation.kind == "Sub":
        operation.operands[1] = builder.apply(layers.Rescaling(-1.0), operation.value(1))
        return _merged(builder, operation, layers.Add)
    if operation.kind == "Mul":
        return _product(builder, operation)
    raise FileFormatError("expected one of the two inputs to be a constant")


def _product(builder: Builder, operation: Operation) -> Value:
    """Multiply two values of one shape, or images by one number for each channel."""
    x, y = operation.value(0), operation.value(1)
    gated = _gated(builder, operation, x, y) or _gated(builder, operation, y, x)
    if gated is not None:
        return gated
    if x.shape == y.shape:
        return _merged(builder, operation, layers.Multiply)
    if len(y.view) > len(x.view) or sum(map(bool, y.view)) > sum(map(bool, x.view)):
        x, y = y, x
    filled = [i for i, group in enumerate(y.view) if group and i]
    fits = len(x.view) == len(y.view) and len(filled) == 1 and y.view[0] == x.view[0]
    if not fits or x.shape[filled[0]] != y.shape[filled[0]]:
        raise FileFormatError(
            f"expected values of one shape, or one number for each channel, received {x.shape} "
            f"and {y.shape}"
        )
    (axis,) = filled
    x = builder.channels(x, axis)
    x = builder.arrange(x, (*x.stored[:-1], x.view[axis]))
    if len(y.stored) not in (2, len(x.stored)) or y.stored[-1] != y.view[axis]:
        y = builder.arrange(y, (y.view[0], y.view[axis]))
    layer = layers.Multiply(name=builder.name(operation.node))
    return Value(builder.connect(layer, [x.tensor, y.tensor]), x.stored, x.view)


def _gated(builder: Builder, operation: Operation, x: Value, gate: Value) -> Value | None:
    """Return ``x * sigmoid(x)`` as one activation, None for other products."""
    kinds: dict[type, Any] = {layers.Sigmoid: layers.SiLU, layers.HardSigmoid: layers.HardSiLU}
    kind = kinds.get(type(gate.tensor.layer))
    if kind is None or gate.tensor.inputs != (x.tensor,) or gate.stored != x.stored:
        return None
    if gate.view != x.view or not builder.is_private(gate.tensor):
        return None
    return builder.apply(kind(name=builder.name(operation.node)), x)


def _merged(builder: Builder, operation: Operation, kind: Any) -> Value:
    """Combine values element by element, in one layout."""
    values = [operation.value(i) for i in range(len(operation.operands))]
    if len({value.shape for value in values}) > 1:
        raise FileFormatError(
            f"expected values of one shape, received {[value.shape for value in values]}"
        )
    orders = {permutation(value) for value in values}
    if len(orders) > 1 or None in orders:
        order = stored_positions(len(values[0].view))
        values = [
            builder.arrange(value, tuple(value.view[axis] for axis in order)) for value in values
        ]
    layer = kind(name=builder.name(operation.node))
    tensor = builder.connect(layer, [value.tensor for value in values])
    return Value(tensor, values[0].stored, values[0].view)


def _affine(
    builder: Builder,
    operation: Operation,
    x: Value,
    scale: np.ndarray,
    offset: np.ndarray,
    axis: int | None,
) -> Value:
    """Return ``x * scale + offset``; both are numbers, or have one number for each channel."""
    x, (scale, offset) = by_channel(builder, x, [scale, offset], axis)
    if builder.is_private(x.tensor):
        absorbed = absorb(builder, x, scale, offset)
        if absorbed is not None:
            return absorbed
    layer = layers.Rescaling(scale, offset, name=builder.name(operation.node))
    return builder.apply(layer, x)


def by_channel(
    builder: Builder, x: Value, arrays: Sequence[np.ndarray], axis: int | None = None
) -> tuple[Value, list[np.ndarray]]:
    """Return constants of shape () or (C,) for the last axis of the returned value's tensor.

    Parameters
    ----------
    builder : Builder
    x : Value
    arrays : list of array
        Numbers, or with one number along one axis of `x` after broadcasting.
    axis : int, optional
        Position in `x` of the first axis of each array; by default its last axis is the last one.
    """
    aligned = [_aligned(array, x, axis) for array in arrays]
    wide = {i for array in aligned for i, size in enumerate(array.shape) if size != 1}
    if len(wide) > 1:
        shapes = [array.shape for array in arrays]
        raise FileFormatError(
            f"expected one number, or one for each channel of shape {x.shape}, received arrays "
            f"of shapes {shapes}"
        )
    for position in wide:
        x = builder.channels(x, position)
        old, new = x.view[position], x.stored[-1]
        aligned = [
            reorder(array.reshape(-1), old, new) if array.size > 1 else array for array in aligned
        ]
    return x, [array.reshape(-1 if array.size > 1 else ()) for array in aligned]


def _aligned(array: np.ndarray, x: Value, axis: int | None) -> np.ndarray:
    """Return a constant with as many axes as `x`; equal numbers become a single one."""
    rank = len(x.view)
    if axis is not None and 0 <= axis < rank:
        array = array.reshape(array.shape + (1,) * max(rank - axis - array.ndim, 0))
    if array.ndim <= rank:
        array = array.reshape((1,) * (rank - array.ndim) + array.shape)
    fits = array.ndim == rank and array.size > 0
    if not fits or any(n not in (1, size) for n, size in zip(array.shape, x.shape, strict=True)):
        raise FileFormatError(
            f"expected a constant that fits shape {x.shape}, received shape {array.shape}"
        )
    if (array == array.flat[0]).all():
        return array.reshape(-1)[:1].reshape((1,) * rank)
    return array


ARITHMETIC_RULES: dict[str, Rule] = {
    "Add": add,
    "Div": _binary,
    "Mul": _binary,
    "Neg": negative,
    "Sub": _binary,
    "Sum": total,
}
