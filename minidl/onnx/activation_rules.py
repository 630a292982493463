"""Rules of the activations. They keep the layout of their input.

>>> from minidl import layers
>>> from minidl.onnx.activation_rules import relu
>>> from minidl.onnx.call import Call
>>> from minidl.onnx.graph_builder import GraphBuilder, Value
>>> graph = GraphBuilder(opset=17)
>>> _ = relu(graph, Call(layers.ReLU(max_value=6), [Value("x", (None, 3))], (None, 3)))
>>> graph.nodes[0].op_type
'Clip'
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from minidl.onnx.call import Call
from minidl.onnx.graph_builder import GraphBuilder, Value

__all__ = [
    "activation",
    "gelu",
    "hard_sigmoid",
    "hard_silu",
    "prelu",
    "relu",
    "sigmoid",
    "silu",
    "softmax",
    "tanh",
]


def activation(graph: GraphBuilder, call: Call) -> Value:
    """Write nothing for the layer Activation: its function is written as that of any layer."""
    return call.input


def relu(graph: GraphBuilder, call: Call) -> Value:
    """Write ReLU and LeakyReLU: ``x`` from the threshold to the maximum, a slope below."""
    x, layer = call.input.name, call.layer
    slope, threshold, maximum = layer.negative_slope, layer.threshold, layer.max_value
    if slope == threshold == 0:
        if maximum is None:
            y = graph.add("Relu", [x])
        else:
            low, high = _number(graph, "zero", 0), _number(graph, "max_value", maximum)
            y = graph.add("Clip", [x, low, high])
    elif threshold == 0 and maximum is None:
        y = graph.add("LeakyRelu", [x], alpha=float(slope))
    else:
        limit = _number(graph, "threshold", threshold)
        below = graph.add("Mul", [graph.add("Sub", [x, limit]), _number(graph, "slope", slope)])
        above = x
        if maximum is not None:
            above = graph.add("Min", [x, _number(graph, "max_value", maximum)])
        y = graph.add("Where", [graph.add("Less", [x, limit]), below, above])
    return replace(call.input, name=y)


def prelu(graph: GraphBuilder, call: Call) -> Value:
    """Write PReLU; its slopes have the shape of one sample."""
    x, slopes = call.input, call.layer.alpha.array
    if x.channels_first:
        slopes = slopes.transpose(2, 0, 1)
    elif x.flattened_from is not None and slopes.size > 1:
        x = graph.plain(x)
    return replace(x, name=graph.add("PRelu", [x.name, graph.constant("alpha", slopes)]))


def sigmoid(graph: GraphBuilder, call: Call) -> Value:
    """Write Sigmoid."""
    return replace(call.input, name=graph.add("Sigmoid", [call.input.name]))


def tanh(graph: GraphBuilder, call: Call) -> Value:
    """Write Tanh."""
    return replace(call.input, name=graph.add("Tanh", [call.input.name]))


def silu(graph: GraphBuilder, call: Call) -> Value:
    """Write SiLU: ``x * sigmoid(x)``."""
    x = call.input.name
    return replace(call.input, name=graph.add("Mul", [x, graph.add("Sigmoid", [x])]))


def hard_sigmoid(graph: GraphBuilder, call: Call) -> Value:
    """Write HardSigmoid."""
    y = graph.add("HardSigmoid", [call.input.name], alpha=1 / 6, beta=0.5)
    return replace(call.input, name=y)


def hard_silu(graph: GraphBuilder, call: Call) -> Value:
    """Write HardSiLU, in ONNX HardSwish."""
    return replace(call.input, name=graph.add("HardSwish", [call.input.name]))


def gelu(graph: GraphBuilder, call: Call) -> Value:
    """Write GELU, exactly or with the formula with tanh; opset 17 has no operator for it."""
    x = call.input.name
    if call.layer.approximate:  # tanh(sqrt(2 / pi) * (x + 0.044715 x^3))
        cube = graph.add("Mul", [graph.add("Mul", [x, x]), x])
        sum_ = graph.add("Add", [x, graph.add("Mul", [cube, _number(graph, "cubic", 0.044715)])])
        scaled = graph.add("Mul", [sum_, _number(graph, "scale", math.sqrt(2 / math.pi))])
        z = graph.add("Tanh", [scaled])
    else:
        z = graph.add("Erf", [graph.add("Mul", [x, _number(graph, "scale", math.sqrt(0.5))])])
    share = graph.add("Add", [z, _number(graph, "one", 1)])
    half = graph.add("Mul", [x, _number(graph, "half", 0.5)])
    return replace(call.input, name=graph.add("Mul", [half, share]))


def softmax(graph: GraphBuilder, call: Call) -> Value:
    """Write Softmax over the channels."""
    axis = 1 if call.input.channels_first else -1
    return replace(call.input, name=graph.add("Softmax", [call.input.name], axis=axis))


def _number(graph: GraphBuilder, role: str, value: float) -> str:
    return graph.constant(role, np.float32(value))
