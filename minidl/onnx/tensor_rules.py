"""Rules of Dense, reshaping, merging and normalization.

>>> from minidl import layers
>>> from minidl.onnx.call import Call
>>> from minidl.onnx.graph_builder import GraphBuilder, Value
>>> from minidl.onnx.tensor_rules import flatten
>>> graph = GraphBuilder(opset=17)
>>> image = Value("x", (None, 2, 3, 4), channels_first=True)
>>> flatten(graph, Call(layers.Flatten(), [image], (None, 24))).flattened_from
(2, 3, 4)
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from minidl.onnx.call import Call
from minidl.onnx.graph_builder import GraphBuilder, Value

__all__ = [
    "add",
    "batch_normalization",
    "concatenate",
    "dense",
    "flatten",
    "imagenet_preprocessing",
    "local_response_normalization",
    "multiply",
    "normalization",
    "permute",
    "rescaling",
    "reshape",
]


def dense(graph: GraphBuilder, call: Call) -> Value:
    """Write Dense: a matrix product, or for images a convolution with a 1 x 1 kernel."""
    kernel, bias = call.fold_affine(call.layer.kernel.array)  # (C, units)
    x = call.input
    if x.flattened_from is not None:
        kernel = _channels_first_order(kernel, x.flattened_from)
    if x.channels_first:
        weights = [graph.constant("kernel", kernel.T[:, :, None, None])]
        weights += [] if bias is None else [graph.constant("bias", bias)]
        return Value(graph.add("Conv", [x.name, *weights]), call.shape, channels_first=True)
    weights = [graph.constant("kernel", kernel)]
    weights += [] if bias is None else [graph.constant("bias", bias)]
    if len(call.shape) == 2:
        return Value(graph.add("Gemm", [x.name, *weights]), call.shape)
    y = graph.add("MatMul", [x.name, weights[0]])
    return Value(y if bias is None else graph.add("Add", [y, weights[1]]), call.shape)


def flatten(graph: GraphBuilder, call: Call) -> Value:
    """Write Flatten. Features of images (N, C, H, W) stay in that order."""
    x = call.input
    if len(x.shape) == 2:
        return x
    sizes = x.shape[1:]
    if None in sizes:
        x = graph.plain(x)
    y = Value(graph.add("Flatten", [x.name], axis=1), call.shape)
    differs = x.channels_first and sizes[0] * sizes[1] > 1 and sizes[2] > 1
    return replace(y, flattened_from=sizes) if differs else y


def reshape(graph: GraphBuilder, call: Call) -> Value:
    """Write Reshape. Images of one pixel need no transpose."""
    x, sizes = call.input, call.shape[1:]
    if x.channels_first and x.shape[1:3] == (1, 1) and len(sizes) == 1:
        return Value(graph.add("Flatten", [x.name], axis=1), call.shape)
    if len(x.shape) == 2 and len(sizes) == 3 and sizes[:2] == (1, 1):
        target = graph.sizes("shape", 0, sizes[2] or -1, 1, 1)
        y = graph.add("Reshape", [graph.plain(x).name, target])
        return Value(y, call.shape, channels_first=True)
    # 0: the batch of the input; -1: the size that follows from the others
    target = graph.sizes("shape", 0, *(-1 if size is None else size for size in sizes))
    return Value(graph.add("Reshape", [graph.plain(x).name, target]), call.shape)


def permute(graph: GraphBuilder, call: Call) -> Value:
    """Write Permute."""
    perm = (0, *call.layer.dims)
    return Value(graph.add("Transpose", [graph.plain(call.input).name], perm=perm), call.shape)


def add(graph: GraphBuilder, call: Call) -> Value:
    """Write Add."""
    return _merge(graph, call, "Add")


def multiply(graph: GraphBuilder, call: Call) -> Value:
    """Write Multiply. A tensor with fewer axes than another gets axes of size 1 after the batch."""
    rank = len(call.shape)
    images = any(x.channels_first for x in call.inputs)
    values = [_with_rank(graph, x, rank, images) for x in call.inputs]
    return _merge(graph, replace(call, inputs=values), "Mul")


def _with_rank(graph: GraphBuilder, x: Value, rank: int, images: bool) -> Value:
    missing = rank - len(x.shape)
    if not missing:
        return x
    shape = (x.shape[0], *[1] * missing, *x.shape[1:])
    as_images = images and len(x.shape) == 2  # (N, C) -> (N, C, 1, 1)
    axes = (2, 3) if as_images else range(1, 1 + missing)
    y = graph.add("Unsqueeze", [graph.plain(x).name, graph.sizes("axes", *axes)])
    return Value(y, shape, channels_first=as_images)


def _merge(graph: GraphBuilder, call: Call, op_type: str) -> Value:
    """Write an operator of two inputs for any number of them, in minidl's order."""
    values = _in_one_layout(graph, call.inputs)
    y = values[0].name
    for other in values[1:]:
        y = graph.add(op_type, [y, other.name])
    return replace(values[0], name=y, shape=call.shape)


def concatenate(graph: GraphBuilder, call: Call) -> Value:
    """Write Concatenate."""
    values = [graph.plain(x) if x.flattened_from else x for x in call.inputs]
    values = _in_one_layout(graph, values)
    axis = call.layer.axis % len(call.shape)
    if values[0].channels_first:
        axis = (0, 2, 3, 1)[axis]
    y = graph.add("Concat", [x.name for x in values], axis=axis)
    return replace(values[0], name=y, shape=call.shape)


def batch_normalization(graph: GraphBuilder, call: Call) -> Value:
    """Write a BatchNormalization that no convolution has absorbed."""
    layer, x = call.layer, call.input
    if len(x.shape) not in (2, 4):
        scale, shift = layer.scale_and_shift()
        return _scale_and_shift(graph, graph.plain(x), scale, shift)
    if len(x.shape) == 4:
        x = graph.channels_first(x)
    count = layer.moving_mean.shape[0]
    parameters: dict[str, np.ndarray] = {
        "gamma": np.ones(count) if layer.gamma is None else layer.gamma.array,
        "beta": np.zeros(count) if layer.beta is None else layer.beta.array,
        "moving_mean": layer.moving_mean.array,
        "moving_variance": layer.moving_variance.array,
    }
    if x.flattened_from is not None:
        sizes = x.flattened_from
        parameters = {
            role: _channels_first_order(array[:, None], sizes)[:, 0]
            for role, array in parameters.items()
        }
    names = [graph.constant(role, array) for role, array in parameters.items()]
    y = graph.add("BatchNormalization", [x.name, *names], epsilon=float(layer.epsilon))
    return replace(x, name=y)


def normalization(graph: GraphBuilder, call: Call) -> Value:
    """Write Normalization."""
    return _scale_and_shift(graph, call.input, *call.layer.scale_and_shift(call.input.shape))


def local_response_normalization(graph: GraphBuilder, call: Call) -> Value:
    """Write LocalResponseNormalization. ONNX Runtime's operator takes images and odd sizes only."""
    layer, x = call.layer, call.input
    numbers = {name: float(getattr(layer, name)) for name in ("alpha", "beta", "bias")}
    if len(x.shape) == 4 and layer.size % 2:
        x = graph.channels_first(x)
        return replace(x, name=graph.add("LRN", [x.name], size=layer.size, **numbers))
    x = graph.plain(x)
    channels = np.arange(x.shape[-1])
    distance = channels[:, None] - channels  # of the channel that is read from the one that reads
    band = (distance >= -((layer.size - 1) // 2)) & (distance <= layer.size // 2)
    weights = graph.constant("band", numbers["alpha"] / layer.size * band)
    energy = graph.add("MatMul", [graph.add("Mul", [x.name, x.name]), weights])
    energy = graph.add("Add", [energy, graph.constant("bias", numbers["bias"])])
    divisor = graph.add("Pow", [energy, graph.constant("beta", numbers["beta"])])
    return replace(x, name=graph.add("Div", [x.name, divisor]))


def rescaling(graph: GraphBuilder, call: Call) -> Value:
    """Write Rescaling."""
    return _scale_and_shift(graph, call.input, call.layer.scale, call.layer.offset)


def imagenet_preprocessing(graph: GraphBuilder, call: Call) -> Value:
    """Write ImageNetPreprocessing."""
    layer, x = call.layer, call.input
    x = graph.plain(x) if x.flattened_from else x
    if layer.mode == "caffe":  # from RGB to BGR
        axis = 1 if x.channels_first else len(x.shape) - 1
        y = graph.add("Gather", [x.name, graph.sizes("bgr", 2, 1, 0)], axis=axis)
        x = replace(x, name=y)
    return _scale_and_shift(graph, x, layer.scale, layer.offset)


def _scale_and_shift(graph: GraphBuilder, x: Value, scale: Any, shift: Any) -> Value:
    """Write ``x * scale + shift``, which are broadcast against x; leave out 1 and 0."""
    scale, shift = np.asarray(scale, np.float32), np.asarray(shift, np.float32)
    if x.flattened_from is not None and max(scale.size, shift.size) > 1:
        x = graph.plain(x)
    y = x.name
    if (scale != 1).any():
        y = graph.add("Mul", [y, graph.broadcast("scale", scale, x)])
    if (shift != 0).any():
        y = graph.add("Add", [y, graph.broadcast("offset", shift, x)])
    return replace(x, name=y)


def _in_one_layout(graph: GraphBuilder, values: list[Value]) -> list[Value]:
    """Return values in a common layout: that of all, else (N, C, H, W) if one of them is in it."""
    layouts = {(x.channels_first, x.flattened_from) for x in values}
    if len(layouts) == 1:
        return values
    if any(x.channels_first for x in values) and all(len(x.shape) == 4 for x in values):
        return [graph.channels_first(x) for x in values]
    return [graph.plain(x) for x in values]


def _channels_first_order(rows: np.ndarray, sizes: tuple[int, int, int]) -> np.ndarray:
    """Return rows for features (H, W, C) in the order (C, H, W)."""
    return rows.reshape(*sizes, -1).transpose(2, 0, 1, 3).reshape(rows.shape)
