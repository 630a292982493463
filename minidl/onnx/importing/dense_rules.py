"""Rules of matrix products and batch normalization.

A product with a flattened image needs no other order of the features: the rows of the kernel are
permuted instead.

>>> import numpy as np
>>> from minidl import Input
>>> from minidl.onnx.importing.builder import Builder
>>> from minidl.onnx.importing.layout import Axis, Value
>>> from minidl.onnx.importing.operation import Operation
>>> from minidl.onnx.messages import NodeProto
>>> n, c, h = Axis(None), Axis(2), Axis(3)
>>> x = Value(Input((3, 1, 2)), ((n,), (h,), (), (c,)), ((n,), (c, h)))
>>> w = np.arange(6.0).reshape(6, 1)
>>> y = DENSE_RULES["MatMul"](Builder(), Operation(NodeProto(op_type="MatMul"), 17, [x, w]))
>>> y.tensor.layer.kernel.value.ravel().tolist()
[0.0, 3.0, 1.0, 4.0, 2.0, 5.0]
"""

from __future__ import annotations

import numpy as np

from minidl import layers
from minidl.common.errors import FileFormatError
from minidl.onnx.importing.builder import Builder
from minidl.onnx.importing.layout import Value, axis_of, reorder, size_of
from minidl.onnx.importing.operation import Operation
from minidl.onnx.importing.view_rules import Rule

__all__ = ["DENSE_RULES"]


def gemm(builder: Builder, operation: Operation) -> Value:
    """Translate ``alpha * A @ B + beta * C``."""
    b, c = operation.constant(1), operation.constant_or_none(2)
    if operation.integer("transA", 0) or b.ndim != 2:
        raise FileFormatError("expected the product of a row of features with a constant matrix")
    kernel = b.T if operation.integer("transB", 0) else b
    alpha, beta = operation.number("alpha", 1.0), operation.number("beta", 1.0)
    if operation.opset < 7:
        operation.integer("broadcast", 0)
    bias = None
    if c is not None:
        if c.size not in (1, kernel.shape[1]) or (c.ndim > 1 and c.shape[-1] != c.size):
            raise FileFormatError(
                f"expected one bias for each of {kernel.shape[1]} outputs, received shape {c.shape}"
            )
        bias = np.broadcast_to(_scaled(c.reshape(-1), beta), kernel.shape[1:])
    return _dense(builder, operation, _scaled(kernel, alpha), bias)


def matmul(builder: Builder, operation: Operation) -> Value:
    kernel = operation.constant(1)
    if kernel.ndim != 2:
        raise FileFormatError(f"expected a constant matrix, received shape {kernel.shape}")
    return _dense(builder, operation, kernel, None)


def _scaled(array: np.ndarray, factor: float) -> np.ndarray:
    return array if factor == 1 else array * array.dtype.type(factor)


def _dense(
    builder: Builder, operation: Operation, kernel: np.ndarray, bias: np.ndarray | None
) -> Value:
    x = operation.value()
    last = len(x.view) - 1
    if last < 1 or 0 in kernel.shape or size_of(x.view[last]) not in (None, kernel.shape[0]):
        raise FileFormatError(
            f"expected {kernel.shape[0]} features, the rows of the matrix, received shape {x.shape}"
        )
    if last == 1:
        features = builder.stored_order(x, x.view[1])
        x = builder.arrange(x, (x.view[0], features))
    else:
        x = builder.channels(x, last)
    old, new = x.view[last], x.stored[-1]
    if kernel.flags.f_contiguous:  # a transposed matrix: short moves within its rows are faster
        kernel = reorder(kernel.T, old, new, axis=1).T
    else:
        kernel = reorder(kernel, old, new)
    layer = layers.Dense(
        kernel.shape[1],
        use_bias=bias is not None,
        name=builder.name(operation.node, operation.input_name(1)),
    )
    weights = {"kernel": kernel} if bias is None else {"kernel": kernel, "bias": bias}
    units = axis_of(kernel.shape[1])
    tensor = builder.connect(layer, x.tensor, weights)
    return Value(tensor, (*x.stored[:-1], units), (*x.view[:-1], units))


def batch_normalization(builder: Builder, operation: Operation) -> Value:
    x = operation.value()
    if len(x.view) < 2:
        raise FileFormatError(f"expected a value (N, C, ...), received shape {x.shape}")
    if operation.integer("training_mode", 0) or not operation.integer("spatial", 1):
        raise FileFormatError("expected the normalization of channels by moving statistics")
    x = builder.channels(x)
    arrays = [operation.constant(i) for i in range(1, 5)]
    channels = size_of(x.view[1])
    if any(array.shape != (channels,) for array in arrays):
        raise FileFormatError(
            f"expected 4 parameters for {channels} channels, received shapes "
            f"{[array.shape for array in arrays]}"
        )
    old, new = x.view[1], x.stored[-1]
    gamma, beta, mean, variance = (reorder(array, old, new) for array in arrays)
    if (variance < 0).any():
        raise FileFormatError("expected variances >= 0")
    layer = layers.BatchNormalization(
        momentum=operation.number("momentum", 0.9),
        epsilon=operation.number("epsilon", 1e-5),
        name=builder.name(operation.node, operation.input_name(1)),
    )
    weights = {"gamma": gamma, "beta": beta, "moving_mean": mean, "moving_variance": variance}
    return builder.apply(layer, x, weights)


DENSE_RULES: dict[str, Rule] = {
    "BatchNormalization": batch_normalization,
    "Gemm": gemm,
    "MatMul": matmul,
}
