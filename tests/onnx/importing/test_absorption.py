"""Absorption: every kind of layer that takes a scale and a shift into its weights."""

import numpy as np
import pytest

from minidl import Input, Model, layers
from minidl.onnx.importing.absorption import absorb
from minidl.onnx.importing.builder import Builder
from minidl.onnx.importing.layout import Axis, Value

SCALE, SHIFT = np.array([2.0, -0.5, 3.0, 1.0]), np.array([1.0, 0.0, -2.0, 4.0])
RNG = np.random.default_rng(0)
LAYERS = {
    "Conv2D": (layers.Conv2D(4, 2), {"kernel": RNG.normal(size=(2, 2, 2, 4)), "bias": np.ones(4)}),
    "DepthwiseConv2D": (
        layers.DepthwiseConv2D(2, depth_multiplier=2, use_bias=False),
        {"kernel": RNG.normal(size=(2, 2, 2, 2))},
    ),
    "Dense": (layers.Dense(4, use_bias=False), {"kernel": RNG.normal(size=(2, 4))}),
}


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("offset", [SHIFT, np.array(0.5)], ids=["channels", "number"])
def test_the_changed_layer_computes_the_affine_function(kind, offset):
    builder, x = Builder(), Input((3, 3, 2))
    template, weights = LAYERS[kind]
    layer = type(template).from_config(template.get_config())
    tensor = builder.connect(layer, x, weights)
    layout = tuple((Axis(n),) for n in tensor.shape)
    changed = absorb(builder, Value(tensor, layout, layout), SCALE, offset)
    images = RNG.normal(size=(2, 3, 3, 2)).astype(np.float32)
    expected = Model(x, tensor).infer(images) * SCALE + offset
    np.testing.assert_allclose(Model(x, changed.tensor).infer(images), expected, rtol=1e-4)
    assert type(changed.tensor.layer) is type(layer)


def test_other_layers_absorb_nothing():
    builder, x = Builder(), Input((4,))
    tensor = builder.connect(layers.ReLU(), x)
    layout = tuple((Axis(n),) for n in tensor.shape)
    assert absorb(builder, Value(tensor, layout, layout), SCALE, SHIFT) is None
