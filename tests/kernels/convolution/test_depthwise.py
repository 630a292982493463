"""Depthwise convolution against a grouped convolution with one group per channel."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.checks import assert_sums_agree, thorough
from support.reference import depthwise_as_grouped, naive_conv2d, naive_conv2d_backward

from minidl.kernels.convolution.depthwise import depthwise, depthwise_backward
from minidl.kernels.geometry import Window
from minidl.kernels.runtime import thread_pool


@st.composite
def cases(draw):
    """Return (x, w, dy, window) drawn at random."""
    pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))
    window = Window(draw(pairs), draw(pairs), draw(st.sampled_from(["valid", "same"])), draw(pairs))
    low = (1, 1) if window.padding == "same" else window.extent
    height, width = (draw(st.integers(n, n + 4)) for n in low)
    channels, multiplier = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    x = rng.normal(size=(draw(st.integers(1, 3)), height, width, channels))
    w = rng.normal(size=(*window.kernel_size, channels, multiplier))
    dy = rng.normal(size=(len(x), *window.output_size(height, width), channels * multiplier))
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    return *(a.astype(dtype) for a in (x, w, dy)), window


@thorough
@given(cases(), st.sampled_from([1, 3]))
def test_forward_equals_the_naive_convolution(case, threads):
    x, w, _, window = case
    thread_pool.set_num_threads(threads)
    y = depthwise(x, w, window)
    grouped, groups = depthwise_as_grouped(w), x.shape[3]
    exact = naive_conv2d(x, grouped, window, groups)
    magnitude = naive_conv2d(np.abs(x), np.abs(grouped), window, groups)
    assert y.dtype == x.dtype
    assert_sums_agree(y, exact, magnitude, w[:, :, 0, 0].size)


@thorough
@given(cases(), st.sampled_from([1, 3]), st.booleans())
def test_backward_equals_the_naive_gradients(case, threads, need_dx):
    x, w, dy, window = case
    thread_pool.set_num_threads(threads)
    dx, dw = depthwise_backward(x, w, dy, window, need_dx)
    grouped, groups = depthwise_as_grouped(w), x.shape[3]
    exact = naive_conv2d_backward(x, grouped, dy, window, groups)
    magnitude = naive_conv2d_backward(np.abs(x), np.abs(grouped), np.abs(dy), window, groups)
    assert dw.dtype == x.dtype
    assert_sums_agree(dw, exact[1].reshape(w.shape), magnitude[1].reshape(w.shape), dy[..., 0].size)
    if need_dx:
        assert dx.dtype == x.dtype
        assert_sums_agree(dx, exact[0], magnitude[0], w[:, :, 0].size)
    else:
        assert dx is None


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_equal_threads_give_equal_bits(dtype):
    thread_pool.set_num_threads(3)
    rng = np.random.default_rng(0)
    x, dy = (rng.normal(size=(8, 9, 9, 5)).astype(dtype) for _ in range(2))
    w, window = rng.normal(size=(3, 3, 5, 1)).astype(dtype), Window((3, 3), padding="same")

    def bits():
        arrays = [depthwise(x, w, window), *depthwise_backward(x, w, dy, window)]
        return [a.tobytes() for a in arrays]

    first = bits()
    assert all(bits() == first for _ in range(5))
