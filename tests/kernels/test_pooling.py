"""Max and average pooling against loops over every window."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.checks import assert_sums_agree, thorough
from support.reference import (
    naive_average_pool,
    naive_average_pool_backward,
    naive_max_pool,
    naive_max_pool_backward,
)

from minidl.kernels.geometry import Window
from minidl.kernels.pooling import (
    average_pool,
    average_pool_backward,
    max_pool,
    max_pool_backward,
)
from minidl.kernels.runtime import thread_pool

dtypes = st.sampled_from([np.float32, np.float64])
threads = st.sampled_from([1, 3])


@st.composite
def cases(draw):
    """Return (x, dy, window); x are small integers, none positive, with many ties."""
    pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))
    window = Window(draw(pairs), draw(pairs), draw(st.sampled_from(["valid", "same"])))
    low = (1, 1) if window.padding == "same" else window.kernel_size
    height, width = (draw(st.integers(n, n + 5)) for n in low)
    shape = (draw(st.integers(1, 3)), height, width, draw(st.integers(1, 4)))
    rng, dtype = np.random.default_rng(draw(st.integers(0, 999))), draw(dtypes)
    x = rng.integers(-9, 1, shape).astype(dtype)
    dy = rng.integers(-9, 10, (shape[0], *window.output_size(height, width), shape[3]))
    return x, dy.astype(dtype), window


@thorough
@given(cases(), threads)
def test_max_pool_equals_the_naive_pooling(case, count):
    x, dy, window = case
    thread_pool.set_num_threads(count)
    y, index = max_pool(x, window, with_index=True)
    assert y.dtype == x.dtype
    np.testing.assert_array_equal(y, naive_max_pool(x, window))
    np.testing.assert_array_equal(max_pool(x, window)[0], y)
    dx = max_pool_backward(dy, index, x.shape, window)
    assert dx.dtype == x.dtype
    # Integers: exact. In a tie the first pixel gets the gradient, as in the naive pooling.
    np.testing.assert_array_equal(dx, naive_max_pool_backward(x, dy, window))


@thorough
@given(cases(), threads)
def test_average_pool_equals_the_naive_pooling(case, count):
    x, dy, window = case
    thread_pool.set_num_threads(count)
    y = average_pool(x, window)
    terms = window.kernel_size[0] * window.kernel_size[1]
    assert y.dtype == x.dtype
    assert_sums_agree(y, naive_average_pool(x, window), naive_average_pool(-x, window), terms)
    dx = average_pool_backward(dy, x.shape, window)
    exact = naive_average_pool_backward(x, dy, window)
    assert dx.dtype == x.dtype
    assert_sums_agree(dx, exact, naive_average_pool_backward(x, np.abs(dy), window), terms)


@pytest.mark.parametrize("value", [-5.0, 5.0])
def test_padding_takes_no_part(value):
    x = np.full((1, 3, 3, 2), value)
    window = Window((3, 3), (2, 2), "same")
    assert (max_pool(x, window)[0] == value).all()
    assert (average_pool(x, window) == value).all()


def test_minus_infinity_can_be_the_maximum():
    x = np.full((1, 2, 2, 1), -np.inf)
    y, index = max_pool(x, Window((2, 2), (2, 2)), with_index=True)
    assert y.item() == -np.inf
    assert max_pool_backward(np.ones_like(y), index, x.shape, Window((2, 2), (2, 2))).sum() == 1


@pytest.mark.parametrize("with_index", [False, True])
@pytest.mark.parametrize("position", range(4))
def test_nan_is_propagated_from_any_position(position, with_index):
    x = np.arange(4.0)
    x[position] = np.nan
    y, _ = max_pool(x.reshape(1, 2, 2, 1), Window((2, 2), (2, 2)), with_index)
    assert np.isnan(y.item())


def test_the_index_of_a_window_of_more_than_256_pixels():
    x = np.zeros((1, 17, 17, 1))
    x[0, 16, 16] = 1
    window = Window((17, 17))
    y, index = max_pool(x, window, with_index=True)
    np.testing.assert_array_equal(max_pool_backward(y, index, x.shape, window), x)


def test_images_larger_than_one_task():
    x = np.random.default_rng(0).normal(size=(2, 40, 40, 64)).astype(np.float32)
    thread_pool.set_num_threads(3)
    blocks = x.reshape(2, 20, 2, 20, 2, 64)
    window = Window((2, 2), (2, 2))
    np.testing.assert_array_equal(max_pool(x, window)[0], blocks.max(axis=(2, 4)))
    np.testing.assert_allclose(average_pool(x, window), blocks.mean(axis=(2, 4)), atol=1e-6)


def test_the_index_of_a_window_of_more_than_65536_pixels():
    x = np.zeros((1, 300, 300, 1))
    x[0, 299, 298, 0] = 1.0
    window = Window((300, 300))
    y, index = max_pool(x, window, with_index=True)
    dx = max_pool_backward(np.ones_like(y), index, x.shape, window)
    assert np.argwhere(dx).tolist() == [[0, 299, 298, 0]]
