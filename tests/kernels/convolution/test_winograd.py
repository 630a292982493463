"""Winograd convolution forward: transformed kernels, its division into jobs, and its results."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.checks import thorough
from support.convolution_cases import (
    LINES,
    SAME,
    VALID,
    assert_close_to_exact,
    winograd_case,
    winograd_cases,
)
from support.reference import naive_conv2d

from minidl.kernels.compiled.gemm_tile import PANEL
from minidl.kernels.convolution import winograd as module
from minidl.kernels.convolution.dispatch import convolve
from minidl.kernels.convolution.im2col_gemm import convolve_im2col
from minidl.kernels.convolution.winograd import (
    divide_winograd,
    tile_grid,
    tile_shapes,
    transform_kernel,
    winograd_is_faster,
)
from minidl.kernels.runtime import thread_pool

# Several vectors of channels, the last one partial; more threads than images.
MANY_CHANNELS = SAME, *winograd_case(n=1, height=5, width=5, c=130, k=2)
MANY_FILTERS = VALID, *winograd_case(VALID, n=1, height=7, width=5, c=2, k=131)
LONG_LINES = LINES[0], *winograd_case(LINES[0], n=2, height=3, width=30, c=40, k=50)


def forward(x, w, bias, window, *epilogue):
    return convolve(x, w, bias, window, *epilogue, algorithm="winograd")


@thorough
@given(
    winograd_cases((SAME, VALID, *LINES)),
    *[st.booleans()] * 3,
    st.sampled_from([1, 2, 3]),
    st.sampled_from([1, 2, 3, 7, 1000]),
)
@example(LONG_LINES, True, True, True, 2, 7)
@example(MANY_CHANNELS, True, True, True, 2, 1)
@example(MANY_FILTERS, True, True, True, 2, 1000)
def test_forward_equals_the_naive_convolution(
    case, with_bias, with_residual, relu, threads, tiles_per_block
):
    window, x, w, bias, residual, _ = case
    thread_pool.set_num_threads(threads)
    bias = bias if with_bias else np.zeros_like(bias)
    residual = residual if with_residual else np.zeros_like(residual)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "TILES_PER_BLOCK", tiles_per_block)
        divide_winograd.cache_clear()
        y = forward(
            x, w, bias if with_bias else None, window, relu, residual if with_residual else None
        )
    divide_winograd.cache_clear()
    exact = naive_conv2d(x, w, window) + bias + residual
    exact = np.maximum(exact, 0) if relu else exact
    assert_close_to_exact(y, exact, np.abs(x).max() * np.abs(w).max(), w[..., 0].size)


@pytest.mark.parametrize("window", [SAME, VALID, *LINES])
def test_the_rounding_error_is_below_1e_5_of_the_largest_output(window):
    # Sizes of a real layer, and its distribution in a ReLU network with He's initialization.
    channels = 64 if window.kernel_size == (3, 3) else 192
    x, w, bias, _, _ = winograd_case(window, 2, 30, 29, channels, 64)
    x, w = np.maximum(x, 0), w * np.float32(np.sqrt(2 / w[..., 0].size))
    exact = convolve_im2col(*(a.astype(np.float64) for a in (x, w, bias)), window)
    found = forward(x, w, bias, window)
    assert np.abs(found - exact).max() < 1e-5 * np.abs(exact).max()  # half of it is typical


@pytest.mark.parametrize("transposed", [False, True])
def test_the_kernel_is_transformed_in_double_precision(transposed):
    rows = [[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]
    g = np.array(rows) / 24
    w = winograd_case(c=130, k=37)[1]
    exact = np.einsum("ia,jb,abck->ijck", g, g, np.float64(w)).reshape(36, 130, 37)
    u = transform_kernel(w, transposed=transposed)
    exact = exact.transpose(0, 2, 1) if transposed else exact  # (taps, rows, columns)
    flat = u.transpose(0, 2, 1, 3).reshape(36, exact.shape[1], -1)  # panels side by side
    columns = exact.shape[2]
    # One rounding, to float32, of numbers that are exact to 1e-15.
    eps = np.finfo(np.float32).eps
    np.testing.assert_allclose(flat[..., :columns], exact, rtol=eps, atol=1e-15)
    assert (flat[..., columns:] == 0).all()
    part = w[..., ::2]  # not contiguous
    np.testing.assert_array_equal(
        transform_kernel(part, transposed=transposed),
        transform_kernel(part.copy(), transposed=transposed),
    )


@thorough
@given(
    st.sampled_from([SAME, VALID, *LINES]),
    st.integers(1, 9),
    st.integers(7, 40),
    st.integers(7, 40),
    st.integers(1, 400),
    st.integers(1, 30),
    st.integers(1, 5),
)
def test_jobs_compute_each_tile_and_panel_once(window, n, height, width, c, panels, threads):
    inputs, _ = tile_shapes(window.kernel_size)
    x_shape, taps = (n, height, width, c), inputs[0] * inputs[1]
    jobs, v_size, m_size = divide_winograd(x_shape, (taps, panels, c, PANEL), window, threads)
    down, across, *_ = tile_grid(x_shape, window)
    computed = np.zeros((n * down * across, panels), int)
    for job in jobs:
        tiles, columns = job["last"] - job["first"], job["end"] - job["begin"]
        computed[job["first"] : job["last"], job["begin"] : job["end"]] += 1
        assert tiles * taps * c <= v_size
        assert tiles * taps * columns * PANEL <= m_size
    assert (computed == 1).all()
    assert len(jobs) >= min(threads, panels) or n * down * across >= threads


def test_tile_scratch_has_rows_for_whole_register_tiles():
    from minidl.kernels.compiled.gemm_tile import TALL

    rows, columns = module.tile_scratch("v", TALL + 1, 36).shape
    assert rows == 2 * TALL
    assert columns > 36


@pytest.mark.parametrize("window", [SAME, VALID])
@pytest.mark.parametrize("threads", [1, 2])
def test_results_do_not_depend_on_earlier_calls(window, threads):
    thread_pool.set_num_threads(threads)
    x, w, bias, _, _ = winograd_case(window)
    expected = forward(x, w, bias, window)
    large = winograd_case(window, 5, 13, 14, 12, 12)
    large[0][:] = np.nan
    forward(large[0], large[1], None, window)  # fills the buffers with NaN
    out = np.full_like(expected, np.nan)
    np.testing.assert_array_equal(forward(x, w, bias, window, False, None, out), expected)


@pytest.mark.parametrize(
    ("shape", "faster"),
    [
        ((1, 224, 224, 64, 64), True),
        ((4, 14, 14, 512, 512), True),
        ((4, 7, 7, 512, 512), False),  # U is read for 16 tiles
        ((8, 7, 7, 512, 512), True),
        ((1, 14, 14, 256, 256), False),
        ((2, 14, 14, 256, 256), True),
        ((16, 9, 9, 64, 64), False),  # nine tiles compute 144 pixels, of which 81 are used
        ((1, 17, 17, 192, 192, (1, 7)), True),
        ((1, 17, 17, 16, 16, (7, 1)), False),
        ((1, 7, 7, 512, 512), False),  # U is 38 MB, for four tiles
        ((8, 5, 5, 512, 512), False),  # four tiles compute 64 pixels, of which 25 are used
        ((8, 224, 224, 3, 64), False),  # three channels: the transforms dominate
        ((0, 224, 224, 64, 64), False),
    ],
)
def test_winograd_is_chosen_where_it_was_measured_to_be_faster(shape, faster):
    assert winograd_is_faster(*shape) is faster


def test_transforming_the_kernel_for_the_call_needs_larger_images():
    assert not winograd_is_faster(8, 7, 7, 512, 512, transform_cached=False)
    assert winograd_is_faster(8, 14, 14, 512, 512, transform_cached=False)


def test_gradients_need_fewer_tiles():
    assert winograd_is_faster(8, 7, 7, 512, 512, backward=True)
    assert not winograd_is_faster(1, 7, 7, 512, 512, backward=True)
