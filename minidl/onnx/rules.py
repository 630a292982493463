"""The table of rules: how each layer of minidl is written as operators of ONNX.

A rule adds nodes to a graph and returns the value of the layer's output. A custom layer brings its
own rule as a method, which works on names of values in minidl's layout:

>>> import numpy as np
>>> from minidl import layers
>>> from minidl.onnx.graph_builder import GraphBuilder, Value
>>> from minidl.onnx.rules import Call, apply_rule
>>> class Double(layers.Layer):
...     def forward(self, x, training=False, rng=None):
...         return 2 * x, None
...     def to_onnx(self, graph, inputs):
...         return graph.add("Mul", [inputs[0], graph.constant("two", np.float32(2))])
>>> graph = GraphBuilder(opset=17)
>>> apply_rule(graph, Call(Double(), [Value("x", (None, 3))], (None, 3))).name
'Mul'
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minidl import layers
from minidl.common.errors import MinidlError
from minidl.layers.activation import Linear
from minidl.layers.base import Layer
from minidl.onnx import activation_rules, image_rules, tensor_rules
from minidl.onnx.call import Call
from minidl.onnx.graph_builder import GraphBuilder, Value

__all__ = ["RULES", "Call", "apply_rule", "has_rule"]

Rule = Callable[[GraphBuilder, Call], Value]


def identity(graph: GraphBuilder, call: Call) -> Value:
    """Write a layer that changes nothing in inference."""
    return call.input


RULES: dict[type[Layer], Rule] = {
    layers.Activation: activation_rules.activation,
    layers.Add: tensor_rules.add,
    layers.AffineChain: identity,
    layers.AveragePooling2D: image_rules.pooling,
    layers.BatchNormalization: tensor_rules.batch_normalization,
    layers.Concatenate: tensor_rules.concatenate,
    layers.Conv2D: image_rules.convolution,
    layers.Dense: tensor_rules.dense,
    layers.DepthwiseConv2D: image_rules.depthwise_convolution,
    layers.Dropout: identity,
    layers.Flatten: tensor_rules.flatten,
    layers.GELU: activation_rules.gelu,
    layers.GlobalAveragePooling2D: image_rules.global_pooling,
    layers.GlobalMaxPooling2D: image_rules.global_pooling,
    layers.HardSiLU: activation_rules.hard_silu,
    layers.HardSigmoid: activation_rules.hard_sigmoid,
    layers.ImageNetPreprocessing: tensor_rules.imagenet_preprocessing,
    layers.InputLayer: identity,
    layers.LeakyReLU: activation_rules.relu,
    Linear: identity,
    layers.LocalResponseNormalization: tensor_rules.local_response_normalization,
    layers.MaxPooling2D: image_rules.pooling,
    layers.Multiply: tensor_rules.multiply,
    layers.Normalization: tensor_rules.normalization,
    layers.PReLU: activation_rules.prelu,
    layers.Permute: tensor_rules.permute,
    layers.RandomBrightness: identity,
    layers.RandomContrast: identity,
    layers.RandomCrop: image_rules.random_crop,
    layers.RandomFlip: identity,
    layers.RandomRotation: identity,
    layers.RandomShear: identity,
    layers.RandomTranslation: identity,
    layers.RandomZoom: identity,
    layers.ReLU: activation_rules.relu,
    layers.Rescaling: tensor_rules.rescaling,
    layers.Reshape: tensor_rules.reshape,
    layers.SiLU: activation_rules.silu,
    layers.Sigmoid: activation_rules.sigmoid,
    layers.Softmax: activation_rules.softmax,
    layers.Tanh: activation_rules.tanh,
    layers.ZeroPadding2D: image_rules.zero_padding,
}


def apply_rule(graph: GraphBuilder, call: Call) -> Value:
    """Write one call of a layer, and the activation that the layer contains.

    Raises
    ------
    MinidlError
        If neither the table nor the layer has a rule.
    """
    layer: Any = call.layer
    if hasattr(type(layer), "to_onnx"):
        inputs = [graph.plain(value).name for value in call.inputs]
        return Value(layer.to_onnx(graph, inputs), call.shape)
    value = _rule_of(layer)(graph, call)
    activation = getattr(layer, "activation", None)
    if activation is None:
        return value
    return apply_rule(graph, Call(activation, [value], call.shape))


def has_rule(layer: Layer) -> bool:
    """Return whether a layer can be written."""
    return hasattr(type(layer), "to_onnx") or _find(type(layer)) is not None


def _rule_of(layer: Layer) -> Rule:
    rule = _find(type(layer))
    if rule is None:
        raise MinidlError(
            f"{layer.label}: expected a layer with an ONNX rule, {type(layer).__name__} has none. "
            "Give the class a method to_onnx(graph, inputs); see docs/onnx.md."
        )
    return rule


def _find(cls: type[Layer]) -> Rule | None:
    """Return the rule of a class, or of the base class whose computation it inherits."""
    for base in cls.__mro__:
        if base in RULES:
            computes = ("forward", "infer", "compute", "activate")
            same = all(getattr(cls, name, None) is getattr(base, name, None) for name in computes)
            return RULES[base] if same else None
    return None
