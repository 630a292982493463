"""Winograd convolution, forward and backward, against loops over every product."""

import contextlib

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.checks import thorough
from support.reference import naive_conv2d, naive_conv2d_backward

from minidl.kernels.convolution import winograd, winograd_backward
from minidl.kernels.convolution.im2col_gemm import convolve_gemm, convolve_gemm_backward
from minidl.kernels.convolution.winograd import (
    convolve_winograd,
    transform_kernel,
    winograd_is_faster,
)
from minidl.kernels.convolution.winograd_backward import convolve_winograd_backward
from minidl.kernels.geometry import Convolution
from minidl.kernels.runtime import thread_pool

SAME, VALID = Convolution((3, 3), padding="same"), Convolution((3, 3), padding="valid")
LINES = [
    Convolution(size, padding=padding) for size in ((1, 7), (7, 1)) for padding in ("same", "valid")
]


def one_case(window=SAME, n=3, height=9, width=10, c=4, k=6, dtype=np.float64, seed=0):
    """Return (x, w, bias, residual, dy): five arrays of normal numbers."""
    rng = np.random.default_rng(seed)
    oh, ow = window.output_size(height, width)
    shapes = (n, height, width, c), (*window.kernel_size, c, k), (k,), *[(n, oh, ow, k)] * 2
    return [rng.normal(size=shape).astype(dtype) for shape in shapes]


@st.composite
def cases(draw, dtypes=(np.float32, np.float64), windows=(SAME, VALID)):
    """Return (window, *arrays): from one clipped tile to nine tiles, few images and channels."""
    window = draw(st.sampled_from(windows))
    lows = (1, 1) if window.padding == "same" else window.kernel_size
    height, width = (draw(st.integers(low, low + 9)) for low in lows)
    n, c, k, seed = (draw(st.integers(1, most)) for most in (3, 3, 3, 999))
    return window, *one_case(window, n, height, width, c, k, draw(st.sampled_from(dtypes)), seed)


# Two runs of 128 channels, the second one short; more threads than images.
MANY_CHANNELS = SAME, *one_case(n=1, height=5, width=5, c=130, k=2)
MANY_FILTERS = VALID, *one_case(VALID, n=1, height=7, width=5, c=2, k=131)
LONG_LINES = LINES[0], *one_case(LINES[0], n=2, height=3, width=30, c=40, k=50, dtype=np.float32)

threads = st.sampled_from([1, 2, 3])
tiles = st.sampled_from([1, 2, 3, 7, 1000])


@contextlib.contextmanager
def cut_up(threads, tiles):
    """Compute on so many threads, so many tiles in a block."""
    thread_pool.set_num_threads(threads)
    with pytest.MonkeyPatch.context() as patch:
        for module in (winograd, winograd_backward):
            patch.setattr(module, "TILES_PER_BLOCK", tiles)
        yield


def forward(x, w, bias, window, *arguments, **named):
    return convolve_winograd(x, transform_kernel(w), bias, window, w.shape[3], *arguments, **named)


def assert_close(actual, exact, dtype, scale, terms):
    """Assert that Winograd sums of `terms` products, each at most `scale`, are rounded only.

    Multiplying the absolute values of the transforms' matrices shows that what is summed
    inside is up to 16 times larger than the result's own terms, for each of the two axes, and
    up to 100 times for the one axis of a line; the transforms themselves add some 40 roundings.
    """
    assert actual.dtype == dtype
    assert actual.shape == exact.shape
    allowed = 16**2 * (terms + 40) * np.finfo(dtype).eps * terms * scale
    np.testing.assert_allclose(actual, exact, rtol=0, atol=allowed)


@thorough
@given(cases(windows=(SAME, VALID, *LINES)), *[st.booleans()] * 3, threads, tiles)
@example(LONG_LINES, True, True, True, 2, 7)
@example(MANY_CHANNELS, True, True, True, 2, 1)
@example(MANY_FILTERS, True, True, True, 2, 1000)
def test_forward_equals_its_slow_twin(case, with_bias, with_residual, relu, threads, tiles):
    window, x, w, bias, residual, _ = case
    with cut_up(threads, tiles):
        y = forward(
            x, w, bias if with_bias else None, window, relu,
            residual if with_residual else None,
        )  # fmt: skip
    exact = naive_conv2d(x, w, window)
    exact = exact + bias if with_bias else exact
    exact = exact + residual if with_residual else exact
    exact = np.maximum(exact, 0) if relu else exact
    assert_close(y, exact, x.dtype, np.abs(x).max() * np.abs(w).max(), w[..., 0].size)


@thorough
@given(cases(), st.booleans(), threads, tiles)
@example(MANY_CHANNELS, True, 2, 1)
@example(MANY_CHANNELS, True, 1, 2)
@example(MANY_FILTERS, True, 3, 1000)
def test_backward_equals_its_slow_twin(case, relu, threads, tiles):
    window, x, w, _, _, dy = case
    y = np.random.default_rng(0).integers(0, 3, dy.shape).astype(x.dtype) if relu else None
    with cut_up(threads, tiles):
        dx, dw, dbias = convolve_winograd_backward(x, w, dy, window, y)
    dz = np.where(y > 0, dy, 0) if relu else dy
    exact_dx, exact_dw = naive_conv2d_backward(x, w, dz, window)
    x_size, w_size, dy_size = (np.abs(a).max() for a in (x, w, dy))
    assert_close(dx, exact_dx, x.dtype, w_size * dy_size, w[:, :, 0].size)
    padded_to_tiles = 16 * dy[..., 0].size  # at most, where the map is one pixel
    assert_close(dw, exact_dw, x.dtype, x_size * dy_size, padded_to_tiles)
    exact_dbias = np.float64(dz).sum(axis=(0, 1, 2))
    assert_close(dbias, exact_dbias, x.dtype, dy_size, padded_to_tiles)


@thorough
@given(cases(dtypes=(np.float64,)), threads, tiles)
def test_backward_is_the_adjoint_in_both_factors(case, threads, tiles):
    window, x, w, _, _, dy = (np.abs(a) if isinstance(a, np.ndarray) else a for a in case)
    with cut_up(threads, tiles):
        y = forward(x, w, None, window)
        dx, dw, dbias = convolve_winograd_backward(x, w, dy, window)
    np.testing.assert_allclose(np.vdot(x, dx), np.vdot(y, dy), rtol=1e-10)
    np.testing.assert_allclose(np.vdot(w, dw), np.vdot(y, dy), rtol=1e-10)
    np.testing.assert_allclose(dbias.sum(), dy.sum(), rtol=1e-10)


@pytest.mark.parametrize("window", LINES)
def test_lines_are_as_exact_as_squares(window):
    x, w, bias, _, _ = one_case(window, 2, 30, 29, 192, 64)
    x, w = np.maximum(x, 0), w * np.sqrt(2 / (7 * 192))
    exact = convolve_gemm(x, w, bias, window)
    found = forward(x.astype(np.float32), w.astype(np.float32), bias.astype(np.float32), window)
    assert np.abs(found - exact).max() < 1e-5 * np.abs(exact).max()  # half of it, here


@pytest.mark.parametrize("window", [SAME, VALID])
def test_float32_is_as_exact_as_the_module_says(window):
    # Real sizes, in the distribution of a layer of a ReLU network with He's initialisation.
    x, w, bias, _, dy = one_case(window, 2, 30, 29, 64, 64)
    x, w = np.maximum(x, 0), w * np.sqrt(2 / (9 * 64))
    exact = convolve_gemm(x, w, bias, window), *convolve_gemm_backward(x, w, dy, window)
    x, w, bias, dy = (a.astype(np.float32) for a in (x, w, bias, dy))
    found = forward(x, w, bias, window), *convolve_winograd_backward(x, w, dy, window)
    for actual, expected in zip(found, exact, strict=True):
        assert np.abs(actual - expected).max() < 1e-5 * np.abs(expected).max()  # half of it, here


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_kernel_is_transformed_in_double_precision(dtype, transposed):
    rows = [[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]
    g = np.array(rows) / 24
    w = one_case(c=130, k=37)[1].astype(dtype)
    exact = np.einsum("ia,jb,abck->ijck", g, g, np.float64(w)).reshape(36, 130, 37)
    u = transform_kernel(w, transposed=transposed)
    assert u.dtype == dtype
    exact = exact.transpose(0, 2, 1) if transposed else exact  # (taps, rows, columns)
    flat = u.transpose(0, 2, 1, 3).reshape(36, exact.shape[1], -1)  # panels side by side
    columns = exact.shape[2]
    np.testing.assert_allclose(flat[..., :columns], exact, rtol=np.finfo(dtype).eps, atol=1e-15)
    assert (flat[..., columns:] == 0).all()
    # Strided, as a slice of a larger kernel is.
    part = w[..., ::2]
    np.testing.assert_array_equal(
        transform_kernel(part, transposed=transposed),
        transform_kernel(part.copy(), transposed=transposed),
    )


@pytest.mark.parametrize("threads", [1, 2])
def test_producers_of_a_concatenation_write_side_by_side(threads):
    thread_pool.set_num_threads(threads)
    x, w, bias, residual, _ = one_case()
    alone = forward(x, w, bias, SAME, True, residual)
    out = np.full((*alone.shape[:3], 17), np.nan)
    assert forward(x, w, bias, SAME, True, residual, out, offset=3) is out
    np.testing.assert_array_equal(out[..., 3:9], alone)
    assert np.isnan(out[..., :3]).all()
    assert np.isnan(out[..., 9:]).all()


def test_the_residual_may_be_the_output():
    x, w, bias, residual, _ = one_case()
    expected = forward(x, w, bias, SAME, True, residual)
    out = residual.copy()
    np.testing.assert_array_equal(forward(x, w, bias, SAME, True, out, out), expected)


@pytest.mark.parametrize("window", [SAME, VALID])
@pytest.mark.parametrize("threads", [1, 2])
def test_nothing_is_left_over_from_the_call_before(window, threads):
    thread_pool.set_num_threads(threads)
    big = one_case(window, 5, 13, 14, 12, 12)
    x, w, bias, _, dy = one_case(window)
    y, dx = forward(x, w, bias, window), np.empty_like(x)
    expected = [y, *convolve_winograd_backward(x, w, dy, window, y)]
    for array in (big[0], big[4]):
        array[:] = np.nan  # every buffer is full of NaN after this
    forward(big[0], big[1], None, window)
    convolve_winograd_backward(big[0], big[1], big[4], window)
    out, dx = np.full_like(y, np.nan), np.full_like(x, np.nan)
    forward(x, w, bias, window, out=out)
    found = [out, *convolve_winograd_backward(x, w, dy, window, y, out=dx)]
    assert found[1] is dx
    for now, then in zip(found, expected, strict=True):
        np.testing.assert_array_equal(now, then)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("tiles", [2, 1000])
def test_same_threads_same_bits(threads, dtype, tiles):
    x, w, bias, _, dy = one_case(n=8, dtype=dtype)

    def bits():
        y = forward(x, w, bias, SAME, True)
        return [a.tobytes() for a in (y, *convolve_winograd_backward(x, w, dy, SAME, y))]

    with cut_up(threads, tiles):
        first = bits()
        assert all(bits() == first for _ in range(5))


@pytest.mark.parametrize("images", [1, 8])
def test_only_the_gradients_asked_for_are_made(images):
    thread_pool.set_num_threads(2)
    x, w, _, _, dy = one_case(n=images)
    dx, dw, dbias = convolve_winograd_backward(x, w, dy, SAME)
    without_dx = convolve_winograd_backward(x, w, dy, SAME, need_dx=False)
    assert without_dx[0] is None
    np.testing.assert_array_equal(without_dx[1], dw)
    np.testing.assert_array_equal(without_dx[2], dbias)
    assert convolve_winograd_backward(x, w, dy, SAME, with_bias=False)[2] is None
    # Without dw only the shape of x matters.
    without_dw = convolve_winograd_backward(np.full_like(x, np.nan), w, dy, SAME, need_dw=False)
    assert without_dw[1:] == (None, None)
    np.testing.assert_array_equal(without_dw[0], dx)


def test_relu_does_not_hide_nan():
    x, w, bias, residual, _ = one_case(n=1)
    residual[0, 5, 5] = np.nan
    y = forward(x, w, bias, SAME, True, residual)
    np.testing.assert_array_equal(np.isnan(y), np.isnan(residual))


def test_inputs_are_left_alone():
    arrays = one_case()
    x, w, bias, residual, dy = copies = [a.copy() for a in arrays]
    y = forward(x, w, bias, SAME, True, residual)
    convolve_winograd_backward(x, w, dy, SAME, y)
    for now, then in zip(copies, arrays, strict=True):
        np.testing.assert_array_equal(now, then)


def test_an_empty_batch_gives_an_empty_output_and_no_gradient():
    x, w, bias, _, dy = one_case(n=0)
    assert forward(x, w, bias, SAME).shape == dy.shape
    dx, dw, dbias = convolve_winograd_backward(x, w, dy, SAME)
    assert dx.shape == x.shape
    assert (dw == 0).all()
    assert (dbias == 0).all()


@pytest.mark.parametrize(
    ("shape", "pays"),
    [
        ((1, 224, 224, 64, 64), True),
        ((4, 14, 14, 512, 512), True),
        ((4, 7, 7, 512, 512), False),  # U is read for 16 tiles
        ((8, 7, 7, 512, 512), True),
        ((1, 14, 14, 256, 256), False),
        ((2, 14, 14, 256, 256), True),
        ((16, 9, 9, 64, 64), False),  # nine tiles hold 144 pixels, of which 81 are wanted
        ((1, 17, 17, 192, 192, (1, 7)), True),
        ((1, 17, 17, 16, 16, (7, 1)), False),
        ((1, 7, 7, 512, 512), False),  # U is 38 MB, for four tiles
        ((8, 5, 5, 512, 512), False),  # four tiles hold 64 pixels, of which 25 are wanted
        ((8, 224, 224, 3, 64), False),  # three channels: most of a product is its transforms
        ((0, 224, 224, 64, 64), False),
    ],
)
def test_the_rule_takes_what_was_measured_to_pay(shape, pays):
    assert winograd_is_faster(*shape) is pays


def test_it_pays_later_where_the_kernel_is_transformed_for_the_call():
    assert not winograd_is_faster(8, 7, 7, 512, 512, kept=False)
    assert winograd_is_faster(8, 14, 14, 512, 512, kept=False)


def test_backward_it_pays_for_fewer_tiles():
    assert winograd_is_faster(8, 7, 7, 512, 512, backward=True)
    assert not winograd_is_faster(1, 7, 7, 512, 512, backward=True)


@pytest.mark.parametrize("tiles", [1, 7, 10, 14, 15])
def test_numbers_beyond_the_tiles_are_no_denormals_when_they_are_multiplied(tiles):
    # They are whatever the scratch memory held; a product of denormals takes very long.
    u = transform_kernel(np.ones((3, 3, 4, 4), np.float32))
    width = u.shape[3]  # of a panel: the processor's
    v = winograd.tile_scratch("v", tiles, 36 * 4, np.float32)
    m = winograd.tile_scratch("m", tiles, 36 * width, np.float32)
    v[...], m[...] = 1e-42, np.nan
    v[:tiles, : 36 * 4] = 1
    winograd.multiply(v, u, m, tiles, 0, 1)
    read = m[:, : 36 * width][~np.isnan(m[:, 0])]  # rows of register tiles
    assert len(read) >= tiles
    assert (read[tiles:] == 0).all()
