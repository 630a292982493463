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

PAIRS = st.tuples(st.integers(1, 3), st.integers(1, 3))
# One kernel row may take several sweeps, and channels several vectors with a rest.
SIZES = st.tuples(st.integers(1, 7), st.integers(1, 7))
PADDINGS = st.one_of(
    st.sampled_from(["valid", "same"]),
    st.tuples(*[st.integers(0, 3)] * 4),  # asymmetric, wide
)


@st.composite
def cases(draw):
    """Return (x, w, dy, window) drawn at random."""
    window = Window(draw(st.one_of(PAIRS, SIZES)), draw(PAIRS), draw(PADDINGS), draw(PAIRS))
    low = (1, 1) if window.padding == "same" else window.extent
    height, width = (draw(st.integers(n, n + 4)) for n in low)
    channels = draw(st.one_of(st.integers(1, 4), st.integers(1, 40)))
    multiplier = draw(st.integers(1, 3))
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
    dx, dw, dbias = depthwise_backward(x, w, dy, window, need_dx, with_bias=True)
    assert_sums_agree(
        dbias, np.float64(dy).sum((0, 1, 2)), np.abs(np.float64(dy)).sum((0, 1, 2)), dy[..., 0].size
    )
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
@pytest.mark.parametrize("images", [1, 2, 5])
def test_bits_do_not_depend_on_the_number_of_threads(dtype, images):
    rng = np.random.default_rng(0)
    x, dy = (rng.normal(size=(images, 9, 9, 70)).astype(dtype) for _ in range(2))
    w, window = rng.normal(size=(3, 3, 70, 1)).astype(dtype), Window((3, 3), padding="same")

    def bits(threads):
        thread_pool.set_num_threads(threads)
        arrays = [depthwise(x, w, window), *depthwise_backward(x, w, dy, window, with_bias=True)]
        return [a.tobytes() for a in arrays]

    first = bits(1)
    assert all(bits(threads) == first for threads in (2, 3, 3, 3))


def test_gradients_of_images_in_another_order_of_axes():
    rng = np.random.default_rng(0)
    x, dy = (rng.normal(size=(5, 9, 9, 2)).astype(np.float32).T for _ in range(2))
    w, window = rng.normal(size=(3, 3, 5, 1)).astype(np.float32), Window((3, 3), padding="same")
    copies = np.ascontiguousarray(x), w, np.ascontiguousarray(dy)
    for gradient, expected in zip(
        depthwise_backward(x, w, dy, window)[:2],
        depthwise_backward(*copies, window)[:2],
        strict=True,
    ):
        assert np.array_equal(gradient, expected)


def test_infinite_gradients_reach_the_weights_and_pixels_they_belong_to():
    x, dy = (np.zeros((1, 4, 4, 17), np.float32) for _ in range(2))
    x[0, 1, 1], dy[0, 1, 1, 16] = 1, np.inf
    w, window = np.ones((3, 3, 17, 1), np.float32), Window((3, 3), padding="same")
    dx, dw, _ = depthwise_backward(x, w, dy, window)
    assert np.isinf(dx[0, :3, :3, 16]).all()
    assert np.isinf(dw[1, 1, 16, 0])
    assert not dx[..., :16].any()
    assert not dw[:, :, :16].any()
