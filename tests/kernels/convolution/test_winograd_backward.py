"""Gradients of a Winograd convolution against loops over every product."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.checks import thorough
from support.convolution_cases import (
    SAME,
    VALID,
    assert_close_to_exact,
    winograd_case,
    winograd_cases,
)
from support.reference import naive_conv2d_backward

from minidl.kernels.convolution import winograd_backward as module
from minidl.kernels.convolution.im2col_gemm import convolve_im2col_backward
from minidl.kernels.convolution.winograd_backward import convolve_winograd_backward
from minidl.kernels.runtime import thread_pool

# Several vectors of channels, the last one partial; more threads than images.
MANY_CHANNELS = SAME, *winograd_case(n=1, height=5, width=5, c=130, k=2)
MANY_FILTERS = VALID, *winograd_case(VALID, n=1, height=7, width=5, c=2, k=131)


@thorough
@given(
    winograd_cases(),
    st.booleans(),
    st.sampled_from([1, 2, 3]),
    st.sampled_from([1, 2, 3, 7, 1000]),
)
@example(MANY_CHANNELS, True, 2, 1)
@example(MANY_CHANNELS, True, 1, 2)
@example(MANY_FILTERS, True, 3, 1000)
def test_backward_equals_the_naive_gradients(case, relu, threads, tiles_per_block):
    window, x, w, _, _, dy = case
    thread_pool.set_num_threads(threads)
    y = np.random.default_rng(0).integers(0, 3, dy.shape).astype(x.dtype) if relu else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "TILES_PER_BLOCK", tiles_per_block)
        dx, dw, dbias = convolve_winograd_backward(x, w, dy, window, y)
    dz = np.where(y > 0, dy, 0) if relu else dy
    exact_dx, exact_dw = naive_conv2d_backward(x, w, dz, window)
    x_size, w_size, dy_size = (np.abs(a).max() for a in (x, w, dy))
    assert_close_to_exact(dx, exact_dx, w_size * dy_size, w[:, :, 0].size)
    padded_to_tiles = 16 * dy[..., 0].size  # at most, where the map is one pixel
    assert_close_to_exact(dw, exact_dw, x_size * dy_size, padded_to_tiles)
    exact_dbias = np.float64(dz).sum(axis=(0, 1, 2))
    assert_close_to_exact(dbias, exact_dbias, dy_size, padded_to_tiles)


@pytest.mark.parametrize("window", [SAME, VALID])
def test_the_rounding_error_is_below_1e_5_of_the_largest_gradient(window):
    # Sizes of a real layer, and its distribution in a ReLU network with He's initialization.
    x, w, _, _, dy = winograd_case(window, 2, 30, 29, 64, 64)
    x, w = np.maximum(x, 0), w * np.float32(np.sqrt(2 / (9 * 64)))
    exact = convolve_im2col_backward(*(a.astype(np.float64) for a in (x, w, dy)), window)
    for found, expected in zip(convolve_winograd_backward(x, w, dy, window), exact, strict=True):
        assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()  # half is typical


@pytest.mark.parametrize("window", [SAME, VALID])
@pytest.mark.parametrize("threads", [1, 2])
def test_results_do_not_depend_on_earlier_calls(window, threads):
    thread_pool.set_num_threads(threads)
    x, w, _, y, dy = winograd_case(window)
    expected = convolve_winograd_backward(x, w, dy, window, y)
    large = winograd_case(window, 5, 13, 14, 12, 12)
    large[0][:] = large[4][:] = np.nan
    convolve_winograd_backward(large[0], large[1], large[4], window)  # fills the buffers with NaN
    for now, then in zip(convolve_winograd_backward(x, w, dy, window, y), expected, strict=True):
        np.testing.assert_array_equal(now, then)


@pytest.mark.parametrize("images", [1, 2, 8])
@pytest.mark.parametrize("channels", [3, 200])
def test_tasks_cover_images_and_panels_once(images, channels):
    thread_pool.set_num_threads(2)
    shards = module._image_spans(images, 9, channels, 32)
    assert [edge for shard in shards for edge in shard][:: 2 * len(shards) - 1] == [0, images]
    panels = -(-channels // 32)
    parts = module._panel_parts(panels, len(shards))
    assert [parts[0][0], parts[-1][1]] == [0, panels]
    assert min(len(shards), len(parts)) == 1  # the threads share images or channels
