"""Dense, Flatten and Reshape: small cases by hand, rejected arguments."""

import numpy as np
import pytest

from minidl.common.errors import ShapeError
from minidl.layers import Dense, Flatten, Reshape


def built_dense(activation=None, use_bias=True):
    layer = Dense(2, activation=activation, use_bias=use_bias)
    layer.build((None, 3))
    kernel = np.array([[1, 2], [0, -1], [1, 0]], "float32")
    layer.set_weights([kernel, np.array([0.5, -2], "float32")] if use_bias else [kernel])
    return layer


X = np.array([[1, 2, 3], [0, 1, 0]], "float32")


@pytest.mark.parametrize(
    ("activation", "use_bias", "expected"),
    [
        (None, True, [[4.5, -2], [0.5, -3]]),
        (None, False, [[4, 0], [0, -1]]),
        ("relu", True, [[4.5, 0], [0.5, 0]]),
        ("relu", False, [[4, 0], [0, 0]]),
        ("tanh", True, np.tanh([[4.5, -2], [0.5, -3]])),
    ],
)
def test_dense_by_hand(activation, use_bias, expected):
    y = built_dense(activation, use_bias)(X)
    np.testing.assert_allclose(y, np.array(expected, "float32"), rtol=1e-6)


def test_dense_backward_by_hand():
    layer = built_dense("relu")
    _, cache = layer.forward(X)
    dx, (dw, db) = layer.backward(np.array([[1, 5], [2, 5]], "float32"), cache)
    # The second unit is below zero in both rows: it has no gradient.
    np.testing.assert_array_equal(dx, [[1, 0, 1], [2, 0, 2]])
    np.testing.assert_array_equal(dw, [[1, 0], [4, 0], [3, 0]])
    np.testing.assert_array_equal(db, [3, 0])


def test_dense_works_on_the_last_axis_of_any_input():
    layer = built_dense()
    x = np.random.default_rng(0).normal(size=(2, 4, 5, 3)).astype("float32")
    assert layer.compute_output_shape((None, 4, None, 3)) == (None, 4, None, 2)
    np.testing.assert_allclose(layer(x)[1, 2], layer(x[1, 2]), rtol=1e-6)
    y, cache = layer.forward(x)
    dx, (dw, db) = layer.backward(y, cache)
    assert (dx.shape, dw.shape, db.shape) == (x.shape, (3, 2), (2,))


def test_dense_defaults_are_keras():
    layer = Dense(50)
    layer.build((None, 70))
    limit = np.sqrt(6 / 120)  # Glorot
    kernel = layer.kernel.value
    assert 0.95 * limit < np.abs(kernel).max() <= limit
    assert (layer.bias.value == 0).all()
    assert layer.activation is None
    assert layer.kernel.regularizer is None


def test_dense_multiply_adds_and_regularizers():
    layer = Dense(4, kernel_regularizer="l2", bias_regularizer="l1")
    layer.build((None, 7, 3))
    assert layer.multiply_adds((None, 7, 3), (None, 7, 4)) == 7 * 3 * 4
    assert layer.kernel.regularizer.l2 == 0.01
    assert layer.bias.regularizer.l1 == 0.01


@pytest.mark.parametrize("units", [0, -1, 2.5, "2", None, True])
def test_dense_rejects_wrong_units(units):
    with pytest.raises(ValueError, match=f"Dense 'fc': expected units.*>= 1, received {units!r}"):
        Dense(units, name="fc")


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((3,), r"Dense 'fc': expected input \(N, features\), received shape \(3,\)"),
        ((2, None), r"Dense 'fc': expected a known number of input features"),
        ((2, 4), r"Dense 'fc': expected 3 input features, received 4 \(input shape \(2, 4\)\)"),
    ],
)
def test_dense_rejects_wrong_shapes(shape, message):
    layer = Dense(2, name="fc")
    layer.build((None, 3))
    with pytest.raises(ShapeError, match=message):
        layer.compute_output_shape(shape)


def test_flatten_keeps_the_order_and_copies_nothing():
    x = np.arange(24.0).reshape(2, 3, 4)
    y, cache = Flatten().forward(x)
    np.testing.assert_array_equal(y, np.arange(24).reshape(2, 12))
    assert np.shares_memory(x, y)
    np.testing.assert_array_equal(Flatten().backward(y, cache)[0], x)
    assert Flatten().compute_output_shape((None, None, 4)) == (None, None)
    assert Flatten()(x[:0]).shape == (0, 12)
    assert Flatten()(np.zeros(5)).shape == (5, 1)


@pytest.mark.parametrize(
    ("target", "expected"),
    [((6,), (2, 6)), ((3, 2), (2, 3, 2)), ((-1, 2), (2, 3, 2)), ((1, -1, 3), (2, 1, 2, 3))],
)
def test_reshape(target, expected):
    x = np.arange(12.0).reshape(2, 2, 3)
    layer = Reshape(target)
    assert layer.compute_output_shape((None, 2, 3)) == (None, *expected[1:])
    np.testing.assert_array_equal(layer(x), x.reshape(expected))
    assert layer(x[:0]).shape == (0, *expected[1:])


def test_reshape_of_unknown_sizes_leaves_only_the_free_size_unknown():
    assert Reshape((-1, 4)).compute_output_shape((None, None, 4)) == (None, None, 4)


@pytest.mark.parametrize("target", [(-1, -1), (-2, 3), (1.5,), 6, "6", None])
def test_reshape_rejects_a_wrong_target(target):
    with pytest.raises(ValueError, match="Reshape 're': expected target_shape"):
        Reshape(target, name="re")


@pytest.mark.parametrize("target", [(5,), (-1, 4), (7, -1)])
def test_reshape_rejects_another_number_of_elements(target):
    with pytest.raises(ShapeError, match=r"'re': expected .* elements.*\(2, 3\) \(6 elements\)"):
        Reshape(target, name="re").compute_output_shape((None, 2, 3))
