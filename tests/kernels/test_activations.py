"""Activations, bias and softmax against Python's math module, number by number."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.checks import thorough
from support.reference import (
    NAIVE_FUNCTIONS,
    NAIVE_HARD_FUNCTIONS,
    each,
    naive_relu,
    naive_softmax,
    slope_of,
)

from minidl.kernels import activations
from minidl.kernels.runtime import thread_pool

NAMES = sorted(NAIVE_FUNCTIONS)
EVERY_FUNCTION = NAIVE_FUNCTIONS | NAIVE_HARD_FUNCTIONS
EXTREMES = [-math.inf, -1e30, -1000.0, -90.0, 0.0, 90.0, 1000.0, 1e30, math.inf]

numbers = st.lists(st.floats(-30, 30, width=32), min_size=1, max_size=40)
dtypes = st.sampled_from([np.float32, np.float64])


def saved_by(name, x):
    """Return what the gradient needs: the output of sigmoids and tanh, else the input."""
    return activations.apply(name, x) if name in ("sigmoid", "hard_sigmoid", "tanh") else x


@pytest.mark.parametrize("name", sorted(EVERY_FUNCTION))
@thorough
@given(numbers, dtypes)
def test_functions_equal_their_references(name, values, dtype):
    x = np.array(values, dtype)
    y = activations.apply(name, x)
    assert y.dtype == dtype
    # A handful of roundings each; near 0 of gelu's tail 1 + erf cancels to absolute roundings.
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(
        y, each(EVERY_FUNCTION[name], x), rtol=16 * eps, atol=8 * eps * (1 + np.abs(x).max())
    )


@pytest.mark.parametrize("name", NAMES)
@given(numbers, dtypes)
def test_gradients_equal_the_slopes_of_the_references(name, values, dtype):
    x = np.array(values, dtype)
    dy = np.linspace(-2, 2, x.size).astype(dtype)
    dx = activations.gradient(name, dy, saved_by(name, x))
    assert dx.dtype == dtype
    # Float32 functions of numbers up to 30 are off by some 1e-6; the differences by 1e-9.
    atol = 1e-5 if dtype == np.float32 else 1e-8
    np.testing.assert_allclose(dx, dy * slope_of(NAIVE_FUNCTIONS[name], x), rtol=0, atol=atol)


@pytest.mark.parametrize("name", sorted(NAIVE_HARD_FUNCTIONS))
@given(numbers, dtypes)
def test_gradients_beside_the_kinks(name, values, dtype):
    x = np.array([v for v in values if abs(abs(v) - 3) > 1e-3] or [0.0], dtype)
    dy = np.linspace(-2, 2, x.size).astype(dtype)
    dx = activations.gradient(name, dy, saved_by(name, x))
    assert dx.dtype == dtype
    slopes = slope_of(NAIVE_HARD_FUNCTIONS[name], x)
    np.testing.assert_allclose(dx, dy * slopes, rtol=0, atol=1e-5 if dtype == np.float32 else 1e-8)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_extreme_numbers_give_finite_results(dtype):
    x = np.array(EXTREMES[1:-1], dtype)
    for name in EVERY_FUNCTION:
        y = activations.apply(name, x)
        dx = activations.gradient(name, np.ones_like(x), saved_by(name, x))
        assert np.isfinite(y).all(), name
        assert np.isfinite(dx).all(), name
    x = np.array(EXTREMES, dtype)
    assert activations.apply("sigmoid", x)[[0, 1, -2, -1]].tolist() == [0, 0, 1, 1]
    assert activations.apply("tanh", x)[[0, 1, -2, -1]].tolist() == [-1, -1, 1, 1]
    assert activations.relu(x)[[0, 1, -2, -1]].tolist() == [0, 0, dtype(1e30), math.inf]


@thorough
@given(
    numbers,
    dtypes,
    st.sampled_from([0.0, 0.25, 1.5]),
    st.sampled_from([math.inf, 6.0, 0.5]),
    st.sampled_from([0.0, 0.375, -1.0]),
)
def test_relu_and_its_gradient(values, dtype, slope, maximum, threshold):
    x = np.array(values, dtype)
    y = activations.relu(x, None, slope, maximum, threshold)
    assert y.dtype == dtype
    twin = each(lambda v: naive_relu(v, slope, maximum, threshold), x)
    limits = np.finfo(dtype)
    np.testing.assert_allclose(y, twin, rtol=2 * limits.eps, atol=limits.tiny)
    dy = np.arange(1, x.size + 1).astype(dtype)
    dx = activations.relu_backward(dy, x, slope, maximum, threshold)
    expected = np.where(x <= threshold, slope, np.where(x >= maximum, 0, 1)) * dy
    np.testing.assert_allclose(dx, expected, rtol=np.finfo(dtype).eps)
    if threshold == 0:  # then the output says as much as the input
        np.testing.assert_array_equal(activations.relu_backward(dy, y, slope, maximum), dx)


@given(
    st.integers(1, 5), st.integers(1, 7), dtypes, st.sampled_from([1.0, 30.0, 1e4]),
    st.integers(0, 999),
)  # fmt: skip
def test_softmax_equals_its_slow_twin(rows, classes, dtype, spread, seed):
    x = np.random.default_rng(seed).normal(0, spread, (2, rows, classes)).astype(dtype)
    y = activations.softmax(x)
    eps = np.finfo(dtype).eps
    assert y.dtype == dtype
    np.testing.assert_allclose(y, naive_softmax(x), rtol=0, atol=(classes + 8) * eps)
    np.testing.assert_allclose(y.sum(axis=-1), 1, rtol=(classes + 2) * eps)
    dy = np.random.default_rng(seed + 1).normal(size=x.shape).astype(dtype)
    dx = activations.softmax_backward(dy, y)
    exact = np.zeros(x.shape)
    for i in np.ndindex(*x.shape[:-1]):
        p = np.float64(y[i])
        exact[i] = (np.diag(p) - np.outer(p, p)) @ dy[i]  # the Jacobian times dy
    np.testing.assert_allclose(dx, exact, rtol=0, atol=4 * (classes + 8) * eps)


@pytest.mark.parametrize("name", [*NAMES, "relu", "softmax"])
def test_the_output_may_be_the_input(name):
    functions = {"relu": activations.relu, "softmax": activations.softmax}
    function = functions.get(name, lambda x, out=None: activations.apply(name, x, out))
    x = np.random.default_rng(0).normal(size=(4, 5))
    before = x.copy()
    y = function(x)
    np.testing.assert_array_equal(x, before)
    assert function(x, x) is x
    np.testing.assert_allclose(x, y, rtol=1e-14)  # compiled code may sum in another order


@pytest.mark.parametrize("name", [*NAMES, "relu"])
def test_chunks_cover_the_whole_array(name, monkeypatch):
    monkeypatch.setattr(activations, "CHUNK", 7)
    thread_pool.set_num_threads(3)
    x = np.random.default_rng(0).normal(size=(5, 13))  # 65 = 9 * 7 + 2
    dy = np.ones_like(x)
    if name == "relu":
        y, dx = activations.relu(x), activations.relu_backward(dy, x)
        np.testing.assert_array_equal(y, np.maximum(x, 0))
        np.testing.assert_array_equal(dx, x > 0)
        return
    y, dx = activations.apply(name, x), activations.gradient(name, dy, saved_by(name, x))
    np.testing.assert_allclose(y, each(NAIVE_FUNCTIONS[name], x), atol=1e-14)
    np.testing.assert_allclose(dx, slope_of(NAIVE_FUNCTIONS[name], x), atol=1e-8)


def test_inputs_may_have_any_memory_layout():
    x = np.random.default_rng(0).normal(size=(4, 6))
    strided, transposed = np.repeat(x, 2, axis=1)[:, ::2], x.T.copy().T
    for other in (strided, transposed):
        np.testing.assert_array_equal(
            activations.apply("tanh", other), activations.apply("tanh", x)
        )
        np.testing.assert_array_equal(activations.relu(other), activations.relu(x))
        np.testing.assert_array_equal(activations.softmax(other), activations.softmax(x))
        np.testing.assert_array_equal(
            activations.relu_backward(other, other), activations.relu_backward(x, x)
        )


def test_nan_stays_visible():
    x = np.array([np.nan, 1.0, -1.0])
    for y in (activations.relu(x), *(activations.apply(name, x) for name in NAMES)):
        assert np.isnan(y).tolist() == [True, False, False]
    assert np.isnan(activations.softmax(x)).all()


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("with_bias", [False, True])
def test_add_bias_works_in_place(with_bias, relu):
    rows, bias = np.array([[1.0, -2.0], [np.nan, 3.0]]), np.array([-2.0, 1.0])
    expected = rows + bias if with_bias else rows
    expected = np.where(expected < 0, 0, expected) if relu else expected
    activations.add_bias(rows, bias if with_bias else None, relu)
    np.testing.assert_array_equal(rows, expected)


@given(numbers, dtypes)
def test_mask_relu_passes_the_gradient_where_the_output_is_positive(values, dtype):
    y = np.maximum(np.array(values, dtype), 0)
    dy = np.arange(1, y.size + 1).astype(dtype)
    out = np.full_like(y, np.nan)
    assert activations.mask_relu(dy, y, out) is out
    np.testing.assert_array_equal(out, np.where(y > 0, dy, 0))
