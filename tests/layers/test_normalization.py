"""BatchNormalization: batch statistics, moving statistics, frozen layers."""

import numpy as np
import pytest

from minidl.common.errors import ShapeError
from minidl.layers import BatchNormalization

RNG = np.random.default_rng(0)
X = RNG.normal([1, -20, 300], [1, 5, 0.1], (64, 3))


def built(**arguments):
    layer = BatchNormalization(**arguments)
    layer.ensure_built((None, 3), np.float64)
    return layer


def test_training_gives_each_channel_mean_beta_and_deviation_gamma():
    layer = built(epsilon=0)
    layer.gamma.assign([1, 2, 3])
    layer.beta.assign([0, 10, -10])
    y, _ = layer.forward(X, training=True)
    np.testing.assert_allclose(y.mean(axis=0), [0, 10, -10], atol=1e-10)
    np.testing.assert_allclose(y.std(axis=0), [1, 2, 3], rtol=1e-10)


def test_images_are_normalized_over_all_but_the_channels():
    x = RNG.normal(3, 2, (4, 5, 6, 3))
    y = BatchNormalization(epsilon=0)(x, training=True)
    np.testing.assert_allclose(y.mean(axis=(0, 1, 2)), 0, atol=1e-12)
    np.testing.assert_allclose(y.std(axis=(0, 1, 2)), 1, rtol=1e-12)


@pytest.mark.parametrize("momentum", [0.0, 0.9, 0.99, 1.0])
def test_moving_statistics_follow_the_batches(momentum):
    layer = built(momentum=momentum)
    mean, variance = np.zeros(3), np.ones(3)
    for scale in (1, 2, 3):
        layer.forward(scale * X, training=True)
        mean = momentum * mean + (1 - momentum) * (scale * X).mean(axis=0)
        variance = momentum * variance + (1 - momentum) * (scale * X).var(axis=0)  # biased
    np.testing.assert_allclose(layer.moving_mean.value, mean, rtol=1e-12)
    np.testing.assert_allclose(layer.moving_variance.value, variance, rtol=1e-10)


def statistics(layer):
    return layer.moving_mean.value.tolist(), layer.moving_variance.value.tolist()


@pytest.mark.parametrize(("training", "trainable"), [(False, True), (True, False), (False, False)])
def test_moving_statistics_are_used_and_kept_in_inference_or_if_frozen(training, trainable):
    layer = built(epsilon=0.5, trainable=trainable)
    layer.set_weights([[1, 2, 3], [4, 5, 6], [7, 8, 9], [1, 2, 4]])
    before = statistics(layer)
    y, cache = layer.forward(X, training=training)
    expected = np.array([1, 2, 3]) * (X - [7, 8, 9]) / np.sqrt([1.5, 2.5, 4.5]) + [4, 5, 6]
    np.testing.assert_allclose(y, expected, rtol=1e-12)
    dx, gradients = layer.backward(np.ones_like(y), cache)
    np.testing.assert_allclose(dx, np.ones_like(X) * [1, 2, 3] / np.sqrt([1.5, 2.5, 4.5]))
    assert len(gradients) == (2 if trainable else 0)
    assert statistics(layer) == before


def test_unfreezing_takes_effect_at_the_next_step():
    layer = built(trainable=False)
    layer.forward(X, training=True)
    assert statistics(layer) == ([0, 0, 0], [1, 1, 1])
    layer.trainable = True
    layer.forward(X, training=True)
    assert statistics(layer) != ([0, 0, 0], [1, 1, 1])


@pytest.mark.parametrize(
    ("center", "scale", "names"),
    [
        (True, True, ["gamma", "beta", "moving_mean", "moving_variance"]),
        (False, True, ["gamma", "moving_mean", "moving_variance"]),
        (True, False, ["beta", "moving_mean", "moving_variance"]),
        (False, False, ["moving_mean", "moving_variance"]),
    ],
)
def test_scale_and_center_are_optional(center, scale, names):
    layer = built(center=center, scale=scale)
    assert [p.name for p in layer.weights] == names
    y, cache = layer.forward(X, training=True)
    assert len(layer.backward(y, cache)[1]) == center + scale


def test_defaults_are_keras():
    layer = built()
    assert (layer.momentum, layer.epsilon) == (0.99, 1e-3)
    assert [w.tolist() for w in layer.get_weights()] == [[1] * 3, [0] * 3, [0] * 3, [1] * 3]


def test_float32_images_with_a_large_mean_are_normalized_accurately():
    x = (RNG.normal(size=(4096, 2)) + 1000).astype("float32")
    y = BatchNormalization(epsilon=0)(x, training=True)
    # x * scale + shift: two numbers near 1000 cancel, each rounded to some 1e-7 of itself.
    np.testing.assert_allclose(y, (x - np.mean(x, 0, "f8")) / np.std(x, 0, "f8"), atol=5e-4)


def test_the_axis_may_be_positive_or_negative_but_must_be_the_last():
    x = RNG.normal(size=(2, 3, 4, 5))
    expected = BatchNormalization()(x, training=True)
    for axis in (3, [3], (-1,)):
        np.testing.assert_array_equal(BatchNormalization(axis=axis)(x, training=True), expected)
    with pytest.raises(
        ShapeError, match=r"'bn': expected the last axis.*received axis 1.*\(2, 3, 4, 5\)"
    ):
        BatchNormalization(axis=1, name="bn")(x)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((3,), r"'bn': expected the last axis of \(N, ..., C\).*\(3,\)"),
        ((None, None), "'bn': expected a known number of channels"),
        ((2, 4), r"'bn': expected 3 channels, received 4 \(input shape \(2, 4\)\)"),
    ],
)
def test_shapes_that_do_not_fit_are_rejected(shape, message):
    with pytest.raises(ShapeError, match=message):
        built(name="bn").compute_output_shape(shape)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"momentum": 1.5}, "momentum to be a number from 0 to 1, received 1.5"),
        ({"epsilon": -1}, "epsilon to be a number >= 0"),
    ],
)
def test_wrong_arguments_are_rejected(arguments, message):
    with pytest.raises(ValueError, match="BatchNormalization '.*" + message):
        BatchNormalization(**arguments)
