"""Input validation: every mistake in the data is named, and Keras' forms are accepted."""

import numpy as np
import pytest
from support.tiny import refused

from minidl import Input, Model, Sequential, layers
from minidl.common.errors import DataError, ShapeError
from minidl.graph.input_checks import check_finite, check_inputs, full_shapes

X = np.ones((5, 4))


def one_input():
    return Sequential([Input((4,), name="x"), layers.Dense(2)], name="pets")


def two_inputs():
    a, b = Input((4,), name="a"), Input((None, None, 3), name="b")
    return Model([a, b], [layers.ReLU()(a), layers.ReLU()(b)], name="two")


@pytest.mark.parametrize("x", [X, X.tolist(), [X], (X,), X.astype(int), X > 0])
def test_accepted_forms_become_contiguous_float32(x):
    (array,) = check_inputs(one_input(), x)
    assert array.dtype == np.float32
    assert array.flags.c_contiguous
    np.testing.assert_array_equal(array, X)


def test_arrays_that_fit_are_not_copied():
    x = np.ones((5, 4), np.float32)
    assert check_inputs(one_input(), x)[0] is x


@pytest.mark.parametrize(
    ("x", "error", "words"),
    [
        ([X, X], ShapeError, ["'pets'", "one array", "list of 2", "np.stack"]),
        (5, ShapeError, ["(None, 4)", "()"]),
        (X[0], ShapeError, ["'x'", "(None, 4)", "(4,)", "x[None]"]),
        (X[:, :3], ShapeError, ["(None, 4)", "(5, 3)"]),
        (X * 1j, TypeError, ["numbers", "complex128"]),
        ([["a"] * 4], TypeError, ["numbers", "<U1"]),
    ],
)
def test_mistakes_are_named(x, error, words):
    with refused(error, *words):
        check_inputs(one_input(), x)


def test_several_inputs_are_counted_and_compared():
    images = np.ones((5, 6, 7, 3))
    assert len(check_inputs(two_inputs(), [X, images])) == 2
    with refused(ShapeError, "2 inputs", "received 1"):
        check_inputs(two_inputs(), [X])
    with refused(ShapeError, "'b'", "(None, None, None, 3)", "(5, 4)"):
        check_inputs(two_inputs(), [X, X])
    with refused(ShapeError, "equal numbers of samples", "[5, 2]"):
        check_inputs(two_inputs(), [X, images[:2]])


def test_finite_values_are_required_on_request():
    x = X.copy()
    x[2, 1] = np.nan
    assert np.isnan(check_inputs(one_input(), x)[0][2, 1])
    with refused(DataError, "sample 2", "NaN"):
        check_inputs(one_input(), x, require_finite=True)


def test_full_shapes_need_every_size():
    model = two_inputs()
    assert full_shapes(model, 2, [(4,), (6, 7, 3)]) == [(2, 4), (2, 6, 7, 3)]
    assert full_shapes(one_input(), 3, None) == [(3, 4)]
    assert full_shapes(one_input(), 3, (4,)) == [(3, 4)]
    with refused(ShapeError, "known sizes", "input_shape"):
        full_shapes(model, 2, None)
    with refused(ShapeError, "'x'", "(None, 4)", "(3, 5)"):
        full_shapes(one_input(), 3, (5,))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("bad", [[np.nan], [np.inf], [-np.inf], [np.inf, -np.inf]])
def test_the_first_sample_that_is_not_finite_is_named(dtype, bad):
    x = np.ones((5, 2, 2), dtype)
    x[3].flat[: len(bad)] = bad
    with refused(DataError, "sample 3", "NaN or infinite"):
        check_finite(x)
    with refused(DataError, "sample 3"):
        check_finite([np.ones((5, 1)), x])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_large_numbers_are_finite_though_their_sum_is_not(dtype):
    check_finite(np.full((4, 4), np.finfo(dtype).max))


def test_numbers_that_cannot_be_nan():
    check_finite(np.arange(5))
    check_finite(np.zeros((0, 3)))
