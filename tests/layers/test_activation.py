"""Activation layers: values, names, fusion into other layers, rejected arguments."""

import math

import numpy as np
import pytest

from minidl.layers import (
    GELU,
    Activation,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    HardSigmoid,
    HardSiLU,
    LeakyReLU,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Tanh,
)

X = np.array([[-2.0, -0.5, 0.0, 0.5, 7.0]])


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (ReLU(), [0, 0, 0, 0.5, 7]),
        (ReLU(max_value=6), [0, 0, 0, 0.5, 6]),
        (ReLU(negative_slope=0.1), [-0.2, -0.05, 0, 0.5, 7]),
        (ReLU(threshold=1, negative_slope=0.1), [-0.3, -0.15, -0.1, -0.05, 7]),
        (ReLU(6, 0.5, -1), [-0.5, -0.5, 0, 0.5, 6]),
        (LeakyReLU(), [-0.6, -0.15, 0, 0.5, 7]),
        (LeakyReLU(0.2), [-0.4, -0.1, 0, 0.5, 7]),
        (Sigmoid(), [1 / (1 + math.exp(-v)) for v in X[0]]),
        (Tanh(), [math.tanh(v) for v in X[0]]),
        (HardSigmoid(), [1 / 6, 2.5 / 6, 0.5, 3.5 / 6, 1]),
        (HardSiLU(), [-2 / 6, -1.25 / 6, 0, 1.75 / 6, 7]),
        (SiLU(), [v / (1 + math.exp(-v)) for v in X[0]]),
        (GELU(), [v * (1 + math.erf(v / math.sqrt(2))) / 2 for v in X[0]]),
        # The tanh formula differs from the exact one in the fourth digit.
        (GELU(approximate=True), [-0.04540231, -0.15428599, 0, 0.34571401, 7]),
        (Softmax(), np.exp(X[0]) / np.exp(X[0]).sum()),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_values_by_hand(layer, expected):
    np.testing.assert_allclose(layer(X), [expected], rtol=1e-7, atol=1e-12)


def test_softmax_works_on_each_row_of_the_last_axis():
    x = np.random.default_rng(0).normal(size=(2, 3, 4))
    y = Softmax()(x)
    np.testing.assert_allclose(y.sum(axis=-1), 1, rtol=1e-14)
    np.testing.assert_allclose(y, Softmax()(x + 1000), rtol=1e-10)
    np.testing.assert_array_equal(y[1, 2], Softmax()(x[1, 2]))


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("relu", ReLU()),
        ("relu6", ReLU(6)),
        ("leaky_relu", LeakyReLU(0.2)),
        ("sigmoid", Sigmoid()),
        ("tanh", Tanh()),
        ("softmax", Softmax()),
        ("gelu", GELU()),
        ("silu", SiLU()),
        ("swish", SiLU()),
        ("hard_sigmoid", HardSigmoid()),
        ("hard_silu", HardSiLU()),
        ("hard_swish", HardSiLU()),
        ("ReLU", ReLU()),
        (Tanh, Tanh()),
    ],
)
def test_an_activation_by_name(name, layer):
    np.testing.assert_array_equal(Activation(name)(X), layer(X))


@pytest.mark.parametrize("nothing", [None, "linear"])
def test_linear_is_the_identity(nothing):
    layer = Activation(nothing)
    y, cache = layer.forward(X)
    assert y is X
    assert layer.backward(X, cache)[0] is X
    assert Dense(1, activation=nothing).activation is None


ACTIVATIONS = [
    "relu",
    "relu6",
    "leaky_relu",
    "sigmoid",
    "tanh",
    "softmax",
    "gelu",
    "silu",
    "hard_sigmoid",
    "hard_silu",
    ReLU(threshold=0.5),
    GELU(approximate=True),
]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("activation", ACTIVATIONS, ids=str)
@pytest.mark.parametrize("make", [Dense, Conv2D, DepthwiseConv2D])
def test_a_fused_activation_equals_a_separate_layer(make, activation, training):
    arguments = {Dense: (3,), Conv2D: (3, 2), DepthwiseConv2D: (2,)}[make]
    x = np.random.default_rng(0).normal(size=(2, 4, 4, 3))
    fused, plain = make(*arguments, activation=activation), make(*arguments)
    separate = Activation(activation)
    for layer in (fused, plain):
        layer.ensure_built(x.shape, np.float64)
    rng = np.random.default_rng(1)
    weights = [rng.normal(size=a.shape) for a in plain.get_weights()]
    fused.set_weights(weights)
    plain.set_weights(weights)

    y, cache = fused.forward(x, training=training)
    z, plain_cache = plain.forward(x, training=training)
    expected, separate_cache = separate.forward(z, training=training)
    np.testing.assert_allclose(y, expected, rtol=1e-13, atol=1e-15)
    dy = rng.normal(size=y.shape)
    dx, gradients = fused.backward(dy, cache)
    dz, _ = separate.backward(dy, separate_cache)
    expected = plain.backward(dz, plain_cache)
    for found, other in zip([dx, *gradients], [expected[0], *expected[1]], strict=True):
        np.testing.assert_allclose(found, other, rtol=1e-12, atol=1e-13)


def test_the_gradient_at_a_kink_of_relu_is_that_of_the_lower_side():
    layer = ReLU(max_value=1, negative_slope=0.5)
    x = np.array([0.0, 1.0])
    _, cache = layer.forward(x)
    np.testing.assert_array_equal(layer.backward(np.ones(2), cache)[0], [0.5, 0])


def test_an_activation_object_is_restored_from_the_configuration():
    layer = Dense(2, activation=ReLU(max_value=3, name="cut"))
    copy = Dense.from_config(layer.get_config())
    assert isinstance(copy.activation, ReLU)
    assert copy.activation.max_value == 3


@pytest.mark.parametrize("make", [Activation, lambda name: Dense(1, activation=name)])
def test_an_unknown_name_is_rejected_with_the_known_ones(make):
    with pytest.raises(ValueError, match="unknown activation 'rleu'; known are: relu, .*linear"):
        make("rleu")


@pytest.mark.parametrize("wrong", [3, np.tanh, Dense(2), Dense, {"class_name": "Dense"}])
def test_other_objects_are_rejected(wrong):
    with pytest.raises(TypeError, match="Conv2D 'conv'"):
        Conv2D(1, 1, activation=wrong, name="conv")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ReLU(max_value=-1), "ReLU.*max_value to be a number >= 0, received -1"),
        (
            lambda: ReLU(negative_slope=-0.1),
            "ReLU.*negative_slope to be .* >= 0, received -0.1",
        ),
        (lambda: LeakyReLU(-1), "LeakyReLU.*negative_slope to be a number >= 0, received -1"),
        (lambda: Softmax(axis=1), "Softmax.*axis to be -1, received 1"),
    ],
)
def test_wrong_arguments_are_rejected(make, message):
    with pytest.raises(ValueError, match=message):
        make()
