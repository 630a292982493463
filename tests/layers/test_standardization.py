"""Normalization: statistics from arguments, data and files; axes; rejected arguments."""

import numpy as np
import pytest

from minidl import Input, Sequential, load_model
from minidl.common.errors import ShapeError
from minidl.layers import Normalization

X = np.random.default_rng(0).normal(3, 2, (50, 4, 3)).astype("float32")


def test_without_data_it_is_the_identity():
    layer = Normalization()
    np.testing.assert_array_equal(layer(X), X)
    assert [p.name for p in layer.weights] == ["mean", "variance", "count"]
    assert layer.count_params() == 7  # as Keras counts
    assert layer.trainable_weights == []


@pytest.mark.parametrize(
    ("axis", "reduced"), [(-1, (0, 1)), (1, (0, 2)), ((1, 2), 0), (None, None)]
)
def test_adapt_gives_mean_0_and_variance_1_along_the_axes(axis, reduced):
    layer = Normalization(axis)
    layer.adapt(X)
    y = layer(X)
    np.testing.assert_allclose(y.mean(axis=reduced), 0, atol=1e-5)
    np.testing.assert_allclose(y.var(axis=reduced), 1, rtol=1e-4)
    inverse = Normalization(axis, invert=True)
    inverse.adapt(X)
    np.testing.assert_allclose(inverse(y), X, rtol=1e-4, atol=1e-5)


def test_statistics_as_arguments_are_broadcast():
    layer = Normalization(mean=[1.0, 2.0, 3.0], variance=4)
    np.testing.assert_allclose(layer(X), (X - [1, 2, 3]) / 2, rtol=1e-6, atol=1e-6)
    assert layer.weights == []
    with pytest.raises(ValueError, match="Leave mean and variance out to adapt"):
        layer.adapt(X)


def test_a_variance_of_zero_does_not_divide_by_zero():
    layer = Normalization()
    layer.adapt(np.ones((3, 2)))
    np.testing.assert_array_equal(layer(np.ones((1, 2), "float32")), [[0, 0]])


def test_integers_become_float32():
    assert Normalization()(np.ones((1, 2), "uint8")).dtype == np.float32


def test_saved_models_keep_the_statistics(tmp_path):
    layer = Normalization()
    layer.adapt(X)
    model = Sequential([Input((4, 3)), layer])
    model.save(tmp_path / "model.h5")
    np.testing.assert_array_equal(load_model(tmp_path / "model.h5").predict(X), model.predict(X))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mean": 1.0}, "expected mean and variance, or neither"),
        ({"mean": 1.0, "variance": -1.0}, "expected variance to be numbers >= 0"),
        ({"mean": "a", "variance": 1.0}, "expected mean to be numbers"),
    ],
)
def test_wrong_statistics_are_refused(arguments, message):
    with pytest.raises(ValueError, match="'n': " + message):
        Normalization(name="n", **arguments)


def test_inputs_that_do_not_fit_are_refused():
    with pytest.raises(ShapeError, match="axes 3 have known sizes"):
        Normalization(3)(X)
    with pytest.raises(ShapeError, match="known sizes"):
        Normalization(1)(Input((None, 3)))
    with pytest.raises(ShapeError, match="expected statistics for the axes -1"):
        Normalization(mean=[1.0, 2.0], variance=[1.0, 1.0])(X)
    layer = Normalization()
    layer(X)
    with pytest.raises(ShapeError, match=r"the sizes \(3,\)"):
        layer(X[..., :2])
