"""Add, Multiply and Concatenate: small cases by hand, rejected shapes."""

import numpy as np
import pytest

from minidl.common.errors import ShapeError
from minidl.layers import Add, Concatenate, Multiply

A = np.arange(6.0).reshape(1, 2, 3)


@pytest.mark.parametrize("count", [2, 3, 4])
def test_add_sums_all_inputs_and_copies_the_gradient_to_each(count):
    layer, tensors = Add(), [A * 10**k for k in range(count)]
    y, cache = layer.forward(tensors)
    np.testing.assert_array_equal(y, A * sum(10**k for k in range(count)))
    dxs, gradients = layer.backward(y, cache)
    assert len(dxs) == count
    assert all(np.array_equal(dx, y) for dx in dxs)
    assert gradients == []


def test_multiply_by_one_number_for_each_channel():
    images, gates = np.ones((2, 2, 2, 3)), np.array([[1.0, 2, 3], [4, 5, 6]])
    for factors in (gates, gates[:, None, None]):  # (N, C) and (N, 1, 1, C)
        layer = Multiply()
        y, cache = layer.forward([images, factors])
        assert layer.compute_output_shape([images.shape, factors.shape]) == y.shape
        np.testing.assert_array_equal(y[1, 0, 1], [4, 5, 6])
        (dx, dfactors), gradients = layer.backward(np.ones_like(y), cache)
        np.testing.assert_array_equal(dx, y)
        np.testing.assert_array_equal(dfactors, np.full(factors.shape, 4.0))  # of 4 pixels
        assert gradients == []


def test_multiply_of_three_tensors_and_unknown_sizes():
    y = Multiply()([A, A, A])
    np.testing.assert_array_equal(y, A**3)
    shape = Multiply().compute_output_shape([(None, None, 5, 3), (None, 1, 1, 3), (None, 3)])
    assert shape == (None, None, 5, 3)


@pytest.mark.parametrize("shapes", [[(2, 3), (2, 4)], [(2, 3, 4), (2, 3)], [(2, 3), (4, 3)]])
def test_multiply_refuses_tensors_that_cannot_be_broadcast(shapes):
    with pytest.raises(ShapeError, match="'gate': expected tensors that can be broadcast"):
        Multiply(name="gate").compute_output_shape(shapes)
    with pytest.raises(ShapeError, match="expected a list of at least 2"):
        Multiply().compute_output_shape(shapes[:1])


@pytest.mark.parametrize("axis", [1, 2, -1, -2])
def test_concatenate_and_its_gradient(axis):
    layer, tensors = Concatenate(axis=axis), [A, A + 10, A + 20]
    y, cache = layer.forward(tensors)
    np.testing.assert_array_equal(y, np.concatenate(tensors, axis))
    assert layer.compute_output_shape([A.shape] * 3) == y.shape
    for dx, x in zip(layer.backward(y, cache)[0], tensors, strict=True):
        np.testing.assert_array_equal(dx, x)


def test_the_default_axis_is_the_channels():
    assert Concatenate().axis == -1
    assert Concatenate().compute_output_shape([(None, 4, 5), (None, 4, 1)]) == (None, 4, 6)
    assert Concatenate()([A]).shape == A.shape  # a single tensor is accepted, as in Keras


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ([(2, 3)], "expected a list of at least 2 tensors"),
        ((2, 3), r"expected a list of at least 2 tensors, received shape \(2, 3\)"),
        ([(2, 3), (2, 4)], r"expected tensors of one shape, received \(2, 3\), \(2, 4\)"),
        ([(2, 3), (2, 1)], r"expected tensors of one shape, received \(2, 3\), \(2, 1\)"),
        ([(2, 3), (2, 3, 1)], r"expected tensors of one shape, received \(2, 3\), \(2, 3, 1\)"),
    ],
)
def test_add_rejects_shapes_that_differ(shapes, message):
    with pytest.raises(ShapeError, match="Add 'sum': " + message):
        Add(name="sum").compute_output_shape(shapes)


@pytest.mark.parametrize(
    ("axis", "shapes", "message"),
    [
        (-1, [], "expected a list of at least 1 tensors"),
        (
            -1,
            [(2, 3, 4), (2, 5, 4)],
            r"differ along axis 2 only, received \(2, 3, 4\), \(2, 5, 4\)",
        ),
        (1, [(2, 3, 4), (2, 3, 5)], "differ along axis 1 only"),
        (1, [(2, 3), (2, 3, 4)], r"differ along axis 1 only, received \(2, 3\), \(2, 3, 4\)"),
        (3, [(2, 3), (2, 3)], r"an axis 3, received shape \(2, 3\)"),
        (-2, [(2, 3), (2, 3)], r"an axis -2, received shape \(2, 3\)"),
    ],
)
def test_concatenate_rejects_shapes_that_do_not_fit(axis, shapes, message):
    with pytest.raises(ShapeError, match="Concatenate 'join': .*" + message):
        Concatenate(axis, name="join").compute_output_shape(shapes)


def test_the_batch_cannot_be_concatenated():
    with pytest.raises(ValueError, match="other than 0, which is the batch"):
        Concatenate(axis=0)


def test_unknown_sizes_agree_with_any():
    assert Add().compute_output_shape([(None, None, 3), (None, 4, 3)])[2] == 3
    assert Concatenate().compute_output_shape([(None, 2), (None, None)]) == (None, None)
