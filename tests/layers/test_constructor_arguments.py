"""Every argument of a layer's constructor is an attribute, normalized as in Keras."""

import inspect

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.layer_cases import CASES

from minidl import layers
from minidl.layers import initializers, regularizers

VARIABLE = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)


def arguments_of(cls):
    """Return the names of all constructor arguments, those of the base classes included."""
    names = set()
    for base in cls.__mro__[:-1]:
        if "__init__" in vars(base):
            parameters = inspect.signature(base.__init__).parameters.values()
            names |= {p.name for p in parameters if p.kind not in VARIABLE}
            if all(p.kind is not p.VAR_KEYWORD for p in parameters):
                break
    return names - {"self"}


def test_the_arguments_of_the_base_classes_are_found():
    assert arguments_of(layers.LeakyReLU) >= {"negative_slope", "max_value", "name", "input_shape"}


@pytest.mark.parametrize("cls", CASES, ids=lambda cls: cls.__name__)
@given(data=st.data())
def test_every_argument_is_an_attribute(cls, data):
    layer, _ = data.draw(CASES[cls])
    assert [name for name in arguments_of(cls) if name not in vars(layer)] == []


@pytest.mark.parametrize("module", [initializers, regularizers], ids=lambda m: m.__name__)
def test_every_argument_of_initializers_and_regularizers_is_an_attribute(module):
    for name in module.__all__:
        cls = getattr(module, name)
        if inspect.isclass(cls):
            assert [a for a in arguments_of(cls) if a not in vars(cls())] == []


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (
            lambda: layers.Conv2D(8, 3, strides=2, padding="SAME", groups=2),
            {
                "filters": 8,
                "kernel_size": (3, 3),
                "strides": (2, 2),
                "padding": "same",
                "data_format": "channels_last",
                "dilation_rate": (1, 1),
                "groups": 2,
                "activation": None,
                "use_bias": True,
                "input_shape": None,
            },
        ),
        (
            lambda: layers.DepthwiseConv2D([3, 5], depth_multiplier=2, dilation_rate=(1, 2)),
            {"kernel_size": (3, 5), "depth_multiplier": 2, "dilation_rate": (1, 2)},
        ),
        (
            lambda: layers.MaxPooling2D(3),
            {"pool_size": (3, 3), "strides": (3, 3), "padding": "valid"},
        ),
        (lambda: layers.AveragePooling2D((2, 4), 1), {"pool_size": (2, 4), "strides": (1, 1)}),
        (lambda: layers.ZeroPadding2D((1, 2)), {"padding": ((1, 1), (2, 2))}),
        (
            lambda: layers.ReLU(6),
            {"max_value": 6.0, "negative_slope": 0.0, "threshold": 0.0},
        ),
        (lambda: layers.ReLU(), {"max_value": None}),
        (lambda: layers.LeakyReLU(), {"negative_slope": 0.3}),
        (lambda: layers.Softmax(), {"axis": -1}),
        (lambda: layers.GELU(approximate=True), {"approximate": True}),
        (lambda: layers.BatchNormalization(axis=[3]), {"axis": 3, "momentum": 0.99}),
        (lambda: layers.Dense(2, input_shape=[4]), {"units": 2, "input_shape": (4,)}),
        (lambda: layers.GlobalMaxPooling2D(keepdims=True), {"keepdims": True}),
    ],
)
def test_arguments_are_normalized(make, expected):
    layer = make()
    assert {name: getattr(layer, name) for name in expected} == expected


def test_initializers_regularizers_and_activations_are_objects():
    layer = layers.Conv2D(2, 3, activation="tanh", kernel_regularizer="l2")
    assert isinstance(layer.kernel_initializer, initializers.GlorotUniform)
    assert isinstance(layer.bias_initializer, initializers.Zeros)
    assert isinstance(layer.kernel_regularizer, regularizers.L2)
    assert isinstance(layer.activation, layers.Tanh)
    assert isinstance(layers.Activation("tanh").activation, layers.Tanh)
    depthwise = layers.DepthwiseConv2D(3, depthwise_initializer="he_normal")
    assert isinstance(depthwise.depthwise_initializer, initializers.HeNormal)
    norm = layers.BatchNormalization(gamma_initializer="zeros", beta_regularizer="l1")
    assert isinstance(norm.gamma_initializer, initializers.Zeros)
    assert isinstance(norm.beta_regularizer, regularizers.L1)
    norm.build((None, 2))
    np.testing.assert_array_equal(norm.gamma.value, [0, 0])
    assert norm.beta.regularizer is norm.beta_regularizer


def test_wrong_names_are_refused_by_the_constructor():
    with pytest.raises(ValueError, match="initializer: expected one of .*received 'he'"):
        layers.Dense(2, kernel_initializer="he")
    with pytest.raises(ValueError, match="regularizer: expected one of .*received 'l3'"):
        layers.Conv2D(2, 3, bias_regularizer="l3")
