"""Rules of operators that change only the view of a value: Reshape, Transpose, Flatten and others.

None of them needs a layer: the value keeps its tensor.

>>> from minidl import Input
>>> from minidl.onnx.importing.builder import Builder
>>> from minidl.onnx.importing.layout import Axis, Value
>>> from minidl.onnx.importing.operation import Operation
>>> from minidl.onnx.messages import NodeProto
>>> n, c, h, w = Axis(None), Axis(3), Axis(8), Axis(8)
>>> image = Value(Input((8, 8, 3)), ((n,), (h,), (w,), (c,)), ((n,), (c,), (h,), (w,)))
>>> flat = VIEW_RULES["Flatten"](Builder(), Operation(NodeProto(op_type="Flatten"), 17, [image]))
>>> flat.shape, flat.tensor is image.tensor
((None, 192), True)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from minidl import layers
from minidl.common.errors import FileFormatError
from minidl.onnx.importing.builder import Builder
from minidl.onnx.importing.folding import BATCH, new_shape
from minidl.onnx.importing.layout import Group, Value, View, atoms, axis_of, size_of, split_to
from minidl.onnx.importing.operation import Operation, checked_axis
from minidl.onnx.messages import DataType

__all__ = ["VIEW_RULES", "Rule"]

Rule = Callable[[Builder, Operation], Value | np.ndarray]

_FLOATS = (DataType.FLOAT, DataType.FLOAT16, DataType.DOUBLE, DataType.BFLOAT16)


def identity(builder: Builder, operation: Operation) -> Value:
    return operation.value()


def cast(builder: Builder, operation: Operation) -> Value:
    """Layers compute in the dtype of the model; only a Cast to integers would change numbers."""
    target = operation.integer("to", DataType.FLOAT)
    if target not in _FLOATS:
        raise FileFormatError(f"expected a Cast to floating-point numbers, received type {target}")
    return operation.value()


def shape(builder: Builder, operation: Operation) -> np.ndarray:
    sizes: list[Any] = list(operation.value().shape)
    sizes[0] = BATCH
    end = operation.integer("end", len(sizes))
    kept = sizes[operation.integer("start", 0) : end]
    if all(isinstance(size, int) for size in kept):
        return np.array(kept, np.int64)
    array = np.empty(len(kept), object)
    array[:] = kept
    return array


def transpose(builder: Builder, operation: Operation) -> Value:
    x = operation.value()
    rank = len(x.view)
    order = operation.integers("perm", range(rank - 1, -1, -1)) or []
    if sorted(order) != list(range(rank)):
        raise FileFormatError(f"expected perm to be a permutation of {rank} axes, received {order}")
    return replace(x, view=tuple(x.view[axis] for axis in order))


def squeeze(builder: Builder, operation: Operation) -> Value:
    x = operation.value()
    axes = operation.axes("axes", 1, len(x.view))
    if axes is None:
        axes = [i for i, group in enumerate(x.view) if not group]
    if any(x.view[axis] for axis in axes):
        raise FileFormatError(f"expected axes of size 1, received axes {axes} of shape {x.shape}")
    return replace(x, view=tuple(group for i, group in enumerate(x.view) if i not in axes))


def unsqueeze(builder: Builder, operation: Operation) -> Value:
    x = operation.value()
    given = operation.integers("axes")
    count = len(given) if given is not None else operation.constant(1).size
    rank = len(x.view) + count
    if rank > 8:
        raise FileFormatError("expected at most 8 axes")
    axes = operation.axes("axes", 1, rank) or []
    groups = iter(x.view)
    if len(set(axes)) != count:
        raise FileFormatError(f"expected different axes, received {axes}")
    return replace(x, view=tuple(() if i in axes else next(groups) for i in range(rank)))


def flatten(builder: Builder, operation: Operation) -> Value:
    x = operation.value()
    axis = operation.integer("axis", 1)
    axis = axis if axis == len(x.view) else checked_axis(axis, len(x.view))
    return replace(x, view=(atoms(x.view[:axis]), atoms(x.view[axis:])))


def reshape(builder: Builder, operation: Operation) -> Value:
    x = operation.value()
    target = operation.constant_or_none(1)
    if target is None:
        target = np.array(operation.integers("shape", []), np.int64)
    keeps_zeros = bool(operation.integer("allowzero", 0))
    old: list[Any] = [BATCH if group == x.stored[0] else size_of(group) for group in x.view]
    sizes = new_shape(target, tuple(old), keeps_zeros)
    if x.view[0] != x.stored[0]:
        raise FileFormatError("expected the batch as first axis")
    if not sizes or BATCH in sizes[1:]:
        raise FileFormatError(f"expected a new shape that begins with the batch, received {sizes}")
    groups = x.view[1:]
    if sizes[1:] == [-1]:
        return replace(x, view=(x.view[0], atoms(groups)))
    if sizes[1:] == old[1:]:  # perhaps with open sizes
        return x
    total = size_of(atoms(groups))
    if total is None:
        raise FileFormatError(
            f"expected images of a fixed size for the new shape {sizes}, received shape {x.shape}"
        )
    rest = _completed(sizes[1:], total)
    # A file for one image may write 1 for the batch, and -1 stands for the size that remains.
    if rest is None or math.prod(rest) != total:
        raise FileFormatError(
            f"expected samples that stay apart, received the new shape {sizes} for {x.shape}"
        )
    regrouped = split_to(x, groups, rest)
    if regrouped is not None:
        return replace(regrouped, view=(x.view[0], *regrouped.view))
    ordered = builder.arrange(x, x.view)
    tensor = builder.connect(layers.Reshape(tuple(rest)), ordered.tensor)
    view: View = (x.view[0], *(axis_of(size) for size in rest))
    return Value(tensor, view, view)


def _completed(sizes: list[int], total: int) -> list[int] | None:
    """Return sizes with -1 replaced by what remains of the total; None if it does not divide."""
    if -1 not in sizes:
        return sizes
    known = math.prod(size for size in sizes if size != -1)
    if sizes.count(-1) > 1 or known == 0 or total % known:
        return None
    return [total // known if size == -1 else size for size in sizes]


def concat(builder: Builder, operation: Operation) -> Value:
    values = [operation.value(i) for i in range(len(operation.operands))]
    first = values[0]
    axis = checked_axis(operation.integer("axis", 1), len(first.view))
    if len(values) == 1:
        return first
    if axis == 0 or any(len(value.view) != len(first.view) for value in values):
        raise FileFormatError(
            f"expected values of one rank, and an axis other than the batch, received shapes "
            f"{[value.shape for value in values]} and axis {axis}"
        )
    values = [_stored_like_images(builder, value) for value in values]
    stored, view = values[0].stored, values[0].view
    position = stored_positions(len(view)).index(axis)
    layer = layers.Concatenate(position, name=builder.name(operation.node))
    tensor = builder.connect(layer, [value.tensor for value in values])
    joined: Group = axis_of(tensor.shape[position])
    return Value(
        tensor,
        tuple(joined if i == position else group for i, group in enumerate(stored)),
        tuple(joined if i == axis else group for i, group in enumerate(view)),
    )


def stored_positions(rank: int) -> list[int]:
    """Return the axes of a view in the order (N, H, W, C): the second one last, from rank 3 on."""
    return [0, *range(2, rank), 1] if rank > 2 else list(range(rank))


def _stored_like_images(builder: Builder, value: Value) -> Value:
    order = stored_positions(len(value.view))
    return builder.arrange(value, tuple(value.view[axis] for axis in order))


VIEW_RULES: dict[str, Rule] = {
    "Cast": cast,
    "Concat": concat,
    "Flatten": flatten,
    "Identity": identity,
    "Reshape": reshape,
    "Shape": shape,
    "Squeeze": squeeze,
    "Transpose": transpose,
    "Unsqueeze": unsqueeze,
}
