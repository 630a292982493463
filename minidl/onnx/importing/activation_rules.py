"""Rules of activations, dropout and local response normalization.

>>> from minidl import Input
>>> from minidl.onnx.importing.builder import Builder
>>> from minidl.onnx.importing.layout import Axis, Value
>>> from minidl.onnx.importing.operation import Operation
>>> from minidl.onnx.messages import NodeProto
>>> n, c = Axis(None), Axis(3)
>>> x = Value(Input((3,)), ((n,), (c,)), ((n,), (c,)))
>>> node = NodeProto(op_type="Relu", name="act")
>>> ACTIVATION_RULES["Relu"](Builder(), Operation(node, 17, [x])).tensor
<SymbolicTensor (None, 3) float32 from ReLU 'act'>
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl import layers
from minidl.common.errors import FileFormatError
from minidl.onnx.importing.arithmetic_rules import by_channel
from minidl.onnx.importing.builder import Builder
from minidl.onnx.importing.layout import Value, atoms
from minidl.onnx.importing.operation import Operation, checked_axis
from minidl.onnx.importing.view_rules import Rule

__all__ = ["ACTIVATION_RULES"]


def _layer(kind: Any, **options: Any) -> Rule:
    """Return the rule of an activation without attributes."""

    def rule(builder: Builder, operation: Operation) -> Value:
        return builder.apply(kind(**options, name=builder.name(operation.node)), operation.value())

    return rule


def leaky_relu(builder: Builder, operation: Operation) -> Value:
    slope = operation.number("alpha", 0.01)
    layer = layers.LeakyReLU(slope, name=builder.name(operation.node))
    return builder.apply(layer, operation.value())


def clip(builder: Builder, operation: Operation) -> Value:
    x = operation.value()
    low, high = (_bound(operation, name, position) for name, position in (("min", 1), ("max", 2)))
    if low is not None and high is not None and low > high:
        raise FileFormatError(f"expected min <= max, received {low} and {high}")
    name = builder.name(operation.node)
    if low is None:
        return x if high is None else _limited(builder, x, high, name)
    if low != 0:
        x = builder.apply(layers.Rescaling(1.0, -low), x)
    x = builder.apply(layers.ReLU(None if high is None else high - low, name=name), x)
    return x if low == 0 else builder.apply(layers.Rescaling(1.0, low), x)


def _limited(builder: Builder, x: Value, high: float, name: str | None) -> Value:
    """Return ``min(x, high) = high - max(high - x, 0)``."""
    x = builder.apply(layers.Rescaling(-1.0, high), x)
    x = builder.apply(layers.ReLU(name=name), x)
    return builder.apply(layers.Rescaling(-1.0, high), x)


def _bound(operation: Operation, name: str, position: int) -> float | None:
    """Return a limit of Clip from an attribute or an input; None for no limit."""
    found: Any = operation.number(name, np.nan) if operation.has(name) else None
    if found is None:
        array = operation.constant_or_none(position)
        if array is None:
            return None
        if array.size != 1:
            raise FileFormatError(f"expected {name} as one number, received {array.size}")
        found = float(array.reshape(()))
    # float32 has limits that stand for none.
    return None if not abs(found) < 3.4e38 else float(found)


def hard_sigmoid(builder: Builder, operation: Operation) -> Value:
    """Translate ``max(0, min(1, alpha * x + beta))``."""
    alpha, beta = operation.number("alpha", 0.2), operation.number("beta", 0.5)
    name = builder.name(operation.node)
    if abs(alpha - 1 / 6) < 1e-7 and beta == 0.5:
        return builder.apply(layers.HardSigmoid(name=name), operation.value())
    x = builder.apply(layers.Rescaling(alpha, beta), operation.value())
    return builder.apply(layers.ReLU(1.0, name=name), x)


def prelu(builder: Builder, operation: Operation) -> Value:
    x, slope = operation.value(), operation.constant(1)
    # The first versions align a vector of slopes with the channels.
    axis = 1 if operation.opset < 7 and slope.ndim == 1 and slope.size > 1 else None
    x, [slope] = by_channel(builder, x, [slope], axis)
    rank = len(x.stored)
    shared = range(1, rank - slope.ndim)
    layer = layers.PReLU(
        shared_axes=list(shared), name=builder.name(operation.node, operation.input_name(1))
    )
    return builder.apply(layer, x, {"alpha": slope.reshape((1,) * (rank - 2) + (-1,))})


def softmax(builder: Builder, operation: Operation) -> Value:
    x = operation.value()
    axis = checked_axis(operation.integer("axis", -1 if operation.opset >= 13 else 1), len(x.view))
    if operation.opset >= 13 or not any(x.view[axis + 1 :]):
        x = builder.channels(x, axis)
    else:  # the former Softmax joins the axes from `axis` on
        joined = builder.stored_order(x, atoms(x.view[axis:]))
        x = builder.arrange(x, (*x.view[:axis], joined))
    return builder.apply(layers.Softmax(name=builder.name(operation.node)), x)


def dropout(builder: Builder, operation: Operation) -> Value:
    rate = operation.number("ratio", 0.5)
    operation.integer("seed", 0)
    if operation.has_operand(1):
        rate = float(operation.constant(1).reshape(()))
    if operation.has_operand(2) and operation.constant(2).any():
        raise FileFormatError("expected a Dropout for inference, received training_mode")
    layer = layers.Dropout(rate, name=builder.name(operation.node))
    return builder.apply(layer, operation.value())


def local_response_normalization(builder: Builder, operation: Operation) -> Value:
    x = builder.images(operation.value())
    layer = layers.LocalResponseNormalization(
        operation.integer("size", 0),
        alpha=operation.number("alpha", 1e-4),
        beta=operation.number("beta", 0.75),
        bias=operation.number("bias", 1.0),
        name=builder.name(operation.node),
    )
    return builder.apply(layer, x)


def gelu(builder: Builder, operation: Operation) -> Value:
    approximate = operation.text("approximate", "none") == "tanh"
    layer = layers.GELU(approximate, name=builder.name(operation.node))
    return builder.apply(layer, operation.value())


ACTIVATION_RULES: dict[str, Rule] = {
    "Clip": clip,
    "Dropout": dropout,
    "Gelu": gelu,
    "HardSigmoid": hard_sigmoid,
    "HardSwish": _layer(layers.HardSiLU),
    "LRN": local_response_normalization,
    "LeakyRelu": leaky_relu,
    "PRelu": prelu,
    "Relu": _layer(layers.ReLU),
    "Sigmoid": _layer(layers.Sigmoid),
    "Softmax": softmax,
    "Tanh": _layer(layers.Tanh),
}
