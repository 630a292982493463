"""Absorption: an affine function of each channel becomes a part of the layer before it.

Exporters write the bias after a matrix product, the scale and shift after a normalization, and the
steps of a preprocessing as operations of their own.

>>> import numpy as np
>>> from minidl import Input, layers
>>> from minidl.onnx.importing.builder import Builder
>>> from minidl.onnx.importing.layout import Axis, Value
>>> n, c = Axis(None), Axis(2)
>>> builder = Builder()
>>> tensor = builder.connect(layers.Rescaling(0.5, 1.0), Input((2,)))
>>> x = Value(tensor, ((n,), (c,)), ((n,), (c,)))
>>> y = absorb(builder, x, np.array([2.0, 4.0]), np.array(-1.0))  # (x / 2 + 1) * (2, 4) - 1
>>> y.tensor.layer.scale.tolist(), y.tensor.layer.offset.tolist()
([1.0, 2.0], [1.0, 3.0])
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minidl import layers
from minidl.onnx.importing.builder import Builder
from minidl.onnx.importing.layout import Value

__all__ = ["absorb"]

Weights = dict[str, np.ndarray]  # in float64


def absorb(builder: Builder, x: Value, scale: np.ndarray, offset: np.ndarray) -> Value | None:
    """Return ``x * scale + offset`` as the output of a changed copy of the layer that computes `x`.

    Parameters
    ----------
    builder : Builder
    x : Value
        No other operation may read it.
    scale, offset : array, shape () or (C,)
        For the last axis of the tensor.

    Returns
    -------
    Value or None
        None if the layer is no affine function of its weights.
    """
    layer: Any = x.tensor.layer
    if type(layer) is layers.Rescaling:
        merged = layers.Rescaling(
            layer.scale * scale, layer.offset * scale + offset, name=given_name(layer)
        )
        return Value(builder.connect(merged, x.tensor.inputs[0]), x.stored, x.view)
    if _reverses_colors(layer) and (scale == 1).all() and _subtracts_mean_color(offset):
        preprocessing = layers.ImageNetPreprocessing("caffe", name=given_name(layer))
        return Value(builder.connect(preprocessing, x.tensor.inputs[0]), x.stored, x.view)
    change = _CHANGES.get(type(layer))
    if change is None:
        return None
    config = layer.get_config() | {"name": given_name(layer)}
    if "use_bias" in config:
        config["use_bias"] = True
    weights = {p.name: p.value.astype(np.float64) for p in layer.parameters}
    changed = type(layer).from_config(config)
    builder.parameters_left += sum(array.size for array in weights.values())
    new = change(weights, scale, offset)
    return Value(builder.connect(changed, x.tensor.inputs[0], new), x.stored, x.view)


def given_name(layer: layers.Layer) -> str | None:
    """Return the name that a layer was given, None for an automatic one."""
    return None if layer.auto_named else layer.name


def _reverses_colors(layer: Any) -> bool:
    """Return whether a layer only converts RGB to BGR."""
    if type(layer) is not layers.Conv2D or layer.kernel.shape != (1, 1, 3, 3):
        return False
    return layer.bias is None and bool((layer.kernel.value[0, 0] == np.eye(3)[::-1]).all())


def _subtracts_mean_color(offset: np.ndarray) -> bool:
    expected = layers.ImageNetPreprocessing("caffe").offset
    return offset.shape == (3,) and np.allclose(offset, expected, rtol=1e-7, atol=0)


def _change_kernel(weights: Weights, scale: np.ndarray, offset: np.ndarray) -> Weights:
    kernel = weights["kernel"]
    bias = weights.get("bias", np.zeros(kernel.shape[-1]))
    return {"kernel": kernel * scale, "bias": bias * scale + offset}


def _change_depthwise(weights: Weights, scale: np.ndarray, offset: np.ndarray) -> Weights:
    kernel = weights["kernel"]  # (KH, KW, C, M)
    channels = kernel.shape[2] * kernel.shape[3]
    bias = weights.get("bias", np.zeros(channels))
    factors = np.broadcast_to(scale, channels).reshape(kernel.shape[2:])
    return {"kernel": kernel * factors, "bias": bias * scale + offset}


def _change_normalization(weights: Weights, scale: np.ndarray, offset: np.ndarray) -> Weights:
    gamma, beta = weights["gamma"] * scale, weights["beta"] * scale + offset
    return {**weights, "gamma": gamma, "beta": beta}


_CHANGES: dict[type, Callable[[Weights, np.ndarray, np.ndarray], Weights]] = {
    layers.BatchNormalization: _change_normalization,
    layers.Conv2D: _change_kernel,
    layers.Dense: _change_kernel,
    layers.DepthwiseConv2D: _change_depthwise,
}
