"""Every layer of minidl, with random arguments, in ONNX Runtime."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.checks import thorough
from support.layer_cases import CASES
from support.onnx_files import assert_same_outputs
from support.tiny import refused

from minidl import Input, Model, layers
from minidl.common.errors import MinidlError
from minidl.onnx.export import to_onnx
from minidl.onnx.rules import RULES

WITHOUT_RULE: dict[type, str] = {}  # layer classes without a rule, and the reason


def model_around(layer, shapes, channels_first):
    """Return a model of one layer; its images come from and go to a convolution if asked for."""
    inputs = [Input(shape[1:], name=f"input_{i}") for i, shape in enumerate(shapes)]
    xs = inputs
    if channels_first:  # identities whose values are (N, C, H, W) in the file
        xs = [layers.MaxPooling2D(1)(x) if len(x.shape) == 4 else x for x in xs]
    y = layer(xs if layer.capabilities.accepts_list else xs[0])
    if channels_first and len(y.shape) == 4:
        y = layers.MaxPooling2D(1)(y)
    return Model(inputs if len(inputs) > 1 else inputs[0], y)


def test_every_layer_has_a_rule_or_a_reason():
    everything = (getattr(layers, name) for name in layers.__all__)
    public = {item for item in everything if isinstance(item, type)}
    public = {cls for cls in public if issubclass(cls, layers.Layer)} - {layers.Layer}
    assert public - set(RULES) == set(WITHOUT_RULE)


@pytest.mark.parametrize("cls", CASES, ids=lambda cls: cls.__name__)
@thorough
@given(data=st.data(), channels_first=st.booleans())
def test_layers_agree_with_onnx_runtime(cls, data, channels_first):
    layer, x = data.draw(CASES[cls])
    if cls is layers.InputLayer:
        layer = layers.Activation("linear")
    xs = [np.asarray(item, np.float32) for item in (x if isinstance(x, list) else [x])]
    if xs[0].ndim == 4 and xs[0].shape[-1] in (1, 3) and len(xs) == 1:
        xs = [np.round(np.abs(xs[0]) * 20).clip(0, 255).astype(np.uint8)]  # a photo
    model = model_around(layer, [x.shape for x in xs], channels_first)
    assert_same_outputs(model, *xs)


@thorough
@given(data=st.data(), cls=st.sampled_from([layers.BatchNormalization, layers.PReLU]))
def test_layers_on_flattened_images(data, cls):
    height, width, channels = (data.draw(st.integers(1, 4)) for _ in range(3))
    x = Input((height, width, channels + 3))
    y = layers.Flatten()(layers.MaxPooling2D(1)(x))
    arguments = {} if cls is layers.BatchNormalization else {"alpha_initializer": "random_normal"}
    z = cls(**arguments)(y)
    model = Model(x, [layers.Dense(3)(z), layers.Dense(2)(y), layers.Softmax()(y), z])
    for parameter in model.weights:
        parameter.assign(np.random.default_rng(0).uniform(0.5, 2, parameter.shape))
    photos = data.draw(st.integers(0, 99))
    images = np.random.default_rng(photos).normal(size=(2, height, width, channels + 3))
    assert_same_outputs(model, images.astype(np.float32))


def test_layers_of_open_sizes():
    x = Input((None, None, 4))
    y = layers.Conv2D(4, 3, padding="same", activation="relu")(x)
    y = layers.MaxPooling2D(3, 2, padding="same")(y)
    y = layers.Add()([y, layers.Conv2D(4, 3, padding="same")(y)])
    model = Model(x, layers.GlobalAveragePooling2D()(y))
    for size in ((9, 12), (16, 7)):
        images = np.random.default_rng(0).normal(size=(2, *size, 4)).astype(np.float32)
        assert_same_outputs(model, images)


class Scale(layers.Layer):
    """A custom layer without a rule."""

    def build(self, input_shape):
        self.factor = self.add_weight("factor", (input_shape[-1],), "ones")

    def forward(self, x, training=False, rng=None):
        return x * self.factor.value, x


class ExportedScale(Scale):
    """The same with a rule."""

    def to_onnx(self, graph, inputs):
        return graph.add("Mul", [inputs[0], graph.constant("factor", self.factor.value)])


class Doubled(layers.Conv2D):
    """A layer whose base class has a rule that would be wrong."""

    def forward(self, x, training=False, rng=None):
        y, cache = super().forward(x, training, rng)
        return 2 * y, cache


class Named(layers.Conv2D):
    """A layer that computes what its base class does."""


@pytest.mark.parametrize("layer", [Scale(name="mine"), Doubled(2, 1, name="mine")])
def test_a_layer_without_rule_is_refused_by_name(layer):
    x = Input((4, 4, 3))
    with refused(MinidlError, f"{type(layer).__name__} 'mine'", "to_onnx(graph, inputs)"):
        to_onnx(Model(x, layer(x)))


@pytest.mark.parametrize("layer", [ExportedScale(), Named(2, 1)])
def test_a_custom_layer_with_a_rule_of_its_own_or_of_its_base(layer):
    x = Input((4, 4, 5))
    y = layer(layers.Conv2D(3, 3)(x))
    layer.parameters[0].assign(np.random.default_rng(0).normal(size=layer.parameters[0].shape))
    images = np.random.default_rng(0).normal(size=(2, 4, 4, 5)).astype(np.float32)
    assert_same_outputs(Model(x, layers.Conv2D(2, 1)(y)), images)
