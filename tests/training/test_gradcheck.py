"""A test of the test: wrong gradients are caught, kinks are told from them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minidl import Input, layers
from minidl.common.errors import ShapeError
from minidl.graph.network import Network
from minidl.layers.initializers import Constant
from minidl.training import GradientError, gradcheck

RNG = np.random.default_rng(0)
X = RNG.normal(size=(4, 5))
IMAGES = RNG.normal(size=(2, 6, 6, 3))


def times(factor):
    """Break only dx, or all gradients of parameters, by a factor."""
    return lambda dx, gradients: (dx, [g * factor for g in gradients])


# What to do to a correct (dx, gradients); each is a mistake that people make.
MISTAKES = {
    "a factor of 1.001": times(1.001),
    "a factor of 1.00001": times(1.00001),
    "a swapped sign": times(-1),
    "a forgotten bias gradient": lambda dx, g: (dx, [*g[:-1], np.zeros_like(g[-1])]),
    "no gradient at all": times(0),
    "NaN": times(np.nan),
    "the batch's mean for its sum": times(0.25),
    "dx by a factor": lambda dx, g: (dx * 1.001, g),
    "dx zero": lambda dx, g: (np.zeros_like(dx), g),
    "dx sign": lambda dx, g: (-dx, g),
    "dx upside down": lambda dx, g: (dx[::-1], g),
    "dx without its last sample": lambda dx, g: (dx * (np.arange(len(dx)) < len(dx) - 1).reshape(
        -1, *[1] * (dx.ndim - 1)), g),
}  # fmt: skip


def broken(cls, mistake, *arguments, **kwargs):
    """Return a layer like `cls` whose backward makes a mistake."""

    class Broken(cls):
        def backward(self, dy, cache, need_dx=True):
            return mistake(*super().backward(dy, cache, need_dx))

    return Broken(*arguments, **kwargs)


@pytest.mark.parametrize("name", MISTAKES)
@pytest.mark.parametrize(
    ("cls", "arguments", "x"),
    [
        (layers.Dense, (3, "tanh"), X),
        (layers.Conv2D, (2, 3), IMAGES),
        (layers.DepthwiseConv2D, (3,), IMAGES),
        (layers.BatchNormalization, (), X),
    ],
)
def test_a_wrong_gradient_is_caught(cls, arguments, x, name):
    layer = broken(cls, MISTAKES[name], *arguments, name="mine")
    with pytest.raises(GradientError, match="Broken 'mine': the gradient of .* by backward but"):
        gradcheck(layer, x)
    report = gradcheck(layer, x, raise_error=False)
    assert not report.passed
    assert report.kinks == 0
    assert gradcheck(cls(*arguments), x).passed  # the same without the mistake


@given(
    st.sampled_from([1e-3, 1.0, 100.0]), st.sampled_from([0.0, 1.0, 300.0]), st.integers(0, 99),
    st.sampled_from([0.999, 1.001, 0.9, 0, -1]),
)  # fmt: skip
def test_a_wrong_gradient_is_caught_however_large_the_numbers(scale, bias, seed, factor):
    # The bias makes L large beside its slopes: rounding must not pass for a kink.
    layer = broken(layers.Dense, times(factor), 3, bias_initializer=Constant(bias))
    x = scale * np.random.default_rng(seed).normal(size=(16, 7))
    report = gradcheck(layer, x, seed=seed, raise_error=False)
    assert len(report.wrong) >= 11  # every check of the kernel
    assert report.kinks == 0


def test_a_missing_term_is_caught():
    class Forgetful(layers.SiLU):
        def gradient(self, dy, saved):
            return dy / (1 + np.exp(-saved))  # the sigmoid's own slope is missing

    with pytest.raises(GradientError, match="Forgetful"):
        gradcheck(Forgetful(), X)


def test_batch_statistics_taken_for_constants_are_caught():
    class Naive(layers.BatchNormalization):
        def backward(self, dy, cache, need_dx=True):
            _, gradients = super().backward(dy, cache)
            return dy * self.gamma.value * cache[2], gradients  # as if mean and std were fixed

    with pytest.raises(GradientError, match="gradient of x"):
        gradcheck(Naive(), X)
    assert gradcheck(Naive(), X, training=False).passed  # there they are


def test_padding_that_is_off_by_one_is_caught():
    class Shifted(layers.ZeroPadding2D):
        def backward(self, dy, cache, need_dx=True):
            return dy[:, 0:-2, 1:-1], []

    class ShiftedConv(layers.Conv2D):
        def backward(self, dy, cache, need_dx=True):
            dx, gradients = super().backward(dy, cache, need_dx)
            return np.roll(dx, 1, axis=1), gradients

    for layer in (Shifted(1), ShiftedConv(2, 3, padding="same", strides=2)):
        with pytest.raises(GradientError, match="gradient of x"):
            gradcheck(layer, IMAGES)


def test_a_gradient_in_the_wrong_place_of_a_network_is_caught_and_named():
    x = Input((5,))
    y = layers.Dense(4, name="below")(x)
    y = broken(layers.Dense, times(1.01), 3, "tanh", name="culprit")(y)
    with pytest.raises(GradientError, match="Network 'net': the gradient of culprit/"):
        gradcheck(Network(x, layers.Dense(2)(y), name="net"), X)


def test_gradients_of_the_wrong_shape_are_named():
    for mistake in (lambda dx, g: (dx, [g[0].T, g[1]]), lambda dx, g: (dx[0], g),
                    lambda dx, g: (None, g)):  # fmt: skip
        with pytest.raises(GradientError, match="the gradient of .* has shape .*, expected"):
            gradcheck(broken(layers.Dense, mistake, 3), X)


@pytest.mark.parametrize(
    ("layer", "x"),
    [
        (layers.ReLU(), np.zeros((2, 3))),
        (layers.ReLU(negative_slope=0.3), np.zeros((2, 3))),
        (layers.ReLU(max_value=1), np.ones((2, 3))),
        (layers.Dense(3, "relu", use_bias=False), np.zeros((2, 3))),
        (layers.MaxPooling2D(2), np.ones((1, 4, 4, 2))),
        (layers.GlobalMaxPooling2D(), np.ones((1, 3, 3, 2))),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_a_kink_is_reported_as_one_and_not_as_an_error(layer, x):
    report = gradcheck(layer, x)
    assert report.kinks > 0
    assert report.wrong == []
    assert report.worst <= report.tolerance
    assert all(check.error > report.tolerance for check in report.checks if check.kink)


@pytest.mark.parametrize("distance", [0.0, 1e-9, 3e-8, 3e-7, 2e-6, 9e-6])
@pytest.mark.parametrize("sign", [-1, 1])
def test_a_kink_nearby_is_one_too(distance, sign):
    # A single element moves by up to 1e-5 and meets the corner on one side.
    x = np.array([[sign * distance, 1.0, -1.0]])
    report = gradcheck(layers.ReLU(), x)
    assert [check.kink for check in report.checks if check.name == "x[0, 0]"] == [True]
    assert not any(check.kink for check in report.checks if check.name in ("x[0, 1]", "x[0, 2]"))


def test_a_kink_does_not_hide_a_wrong_gradient_elsewhere():
    x = np.array([[0.0, 1.0, -1.0, 2.0]])
    report = gradcheck(broken(layers.ReLU, lambda dx, g: (dx * 1.001, g)), x, raise_error=False)
    wrong = {check.name for check in report.wrong}
    assert {"x[0, 1]", "x[0, 3]"} <= wrong
    assert "x[0, 0]" not in wrong  # no derivative, so nothing between 0 and 1 is wrong


def test_beside_a_kink_a_wrong_gradient_is_still_wrong():
    x = np.full((2, 3), 3e-6)
    layer = broken(layers.ReLU, lambda dx, g: (dx * 0.5, g))
    assert not gradcheck(layer, x, raise_error=False).passed


def test_a_slope_of_nothing_but_rounding_is_no_error():
    # One sample: its mean is itself, so x has no influence; the differences show 1e-9 or so.
    report = gradcheck(layers.BatchNormalization(), RNG.normal(100, 50, (1, 4)))
    assert report.passed
    assert report.kinks == 0


def test_weights_and_statistics_are_as_before():
    x = Input((6, 6, 3))
    y = layers.BatchNormalization()(layers.Conv2D(4, 3, activation="relu")(x))
    network = Network(x, layers.GlobalAveragePooling2D()(y))
    parameters = network.weights
    before = [(p.array, p.value.copy()) for p in parameters]
    gradcheck(network, IMAGES)
    for parameter, (array, copy) in zip(parameters, before, strict=True):
        assert parameter.array is array
        assert parameter.value.dtype == np.float32
        np.testing.assert_array_equal(array, copy)


def test_weights_are_given_back_after_an_error_too():
    layer = broken(layers.Dense, times(2), 3)
    layer.build((None, 5))
    before = layer.kernel.array
    with pytest.raises(GradientError):
        gradcheck(layer, X)
    assert layer.kernel.array is before


def test_the_input_is_left_alone():
    before = X.copy()
    gradcheck(layers.Flatten(), X)  # its output is a view of its input
    gradcheck(layers.Activation("linear"), X)
    np.testing.assert_array_equal(X, before)


@pytest.mark.parametrize("training", [False, True])
def test_several_inputs_and_outputs(training):
    x, z = Input((5,)), Input((2,))
    h = layers.Dense(2, activation="tanh")(x)
    network = Network([x, z], [layers.Add()([h, z]), layers.Dropout(0.5)(h), z])
    report = gradcheck(network, [X, X[:, :2]], training=training)
    assert report.passed
    checked = {check.name.split("[")[0] for check in report.checks}
    assert checked == {"x", "dense/kernel", "dense/bias"}
    assert {check.name[:4] for check in report.checks if check.name[0] == "x"} == {"x[0]", "x[1]"}


def test_a_layer_with_several_inputs():
    names = {check.name for check in gradcheck(layers.Add(), [X, X, X]).checks}
    assert {"x[0]", "x[1]", "x[2]"} <= names


def test_an_input_that_nothing_depends_on_has_gradient_zero():
    x, unread = Input((5,)), Input((2,))
    network = Network([x, unread], layers.Dense(2)(x))
    assert gradcheck(network, [X, X[:, :2]]).passed


def test_frozen_parameters_are_not_checked():
    layer = broken(layers.Dense, lambda dx, g: (dx, g), 3, trainable=False)
    assert {check.name[0] for check in gradcheck(layer, X).checks} == {"x"}


def test_random_layers_draw_the_same_numbers_each_time():
    assert gradcheck(layers.Dropout(0.5), X).passed
    assert gradcheck(layers.RandomRotation(0.3), IMAGES).passed


def test_the_report_counts_what_was_asked_for():
    report = gradcheck(layers.Dense(3), X, directions=2, elements=4)
    # two directions and four elements each for x and kernel; the bias has three elements
    assert len(report.checks) == 6 + 6 + 5
    assert 0 < report.worst < 1e-7
    assert len({check.name for check in report.checks if "[" in check.name}) == 4 + 4 + 3
    same = gradcheck(layers.ReLU(), X, seed=3).checks
    assert same == gradcheck(layers.ReLU(), X, seed=3).checks
    assert same != gradcheck(layers.ReLU(), X, seed=4).checks


@pytest.mark.parametrize(
    ("make", "x", "message"),
    [
        (lambda: layers.Dense(2), [X, X], "Dense '.*': expected one array, received 2"),
        (lambda: layers.Conv2D(2, 3), X, r"Conv2D '.*': expected input \(N, H, W, C\)"),
        (lambda: layers.Add(), X, "Add '.*': expected a list of at least 2"),
    ],
)
def test_an_input_that_does_not_fit_is_refused(make, x, message):
    with pytest.raises(ShapeError, match=message):
        gradcheck(make(), x)


def test_an_input_that_does_not_fit_a_built_layer_or_model_is_refused():
    layer = layers.Dense(2)
    layer.build((None, 4))
    with pytest.raises(ShapeError, match="expected 4 input features, received 5"):
        gradcheck(layer, X)
    x = Input((4,))
    with pytest.raises(ShapeError, match=r"expected shape \(None, 4\), received \(4, 5\)"):
        gradcheck(Network(x, layer(x)), X)


def test_a_forward_that_fails_leaves_the_model_as_it_was():
    class Failing(layers.Layer):
        def forward(self, x, training=False, rng=None):
            raise RuntimeError("on purpose")

    x = Input((3,))
    model = Network(x, Failing()(layers.Dense(2)(x)))
    with pytest.raises(RuntimeError, match="on purpose"):
        gradcheck(model, np.ones((2, 3)))
    assert all(p.value.dtype == np.float32 for p in model.weights)
    assert all(layer.dtype == np.float32 for layer in model.layers)
