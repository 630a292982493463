"""Convolution by im2col and GEMM, forward and backward, against loops over every product."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.checks import assert_sums_agree, thorough
from support.convolution_cases import cases, one_case
from support.reference import naive_conv2d, naive_conv2d_backward

from minidl.kernels.convolution import im2col_gemm as module
from minidl.kernels.convolution.im2col_gemm import convolve_gemm, convolve_gemm_backward
from minidl.kernels.geometry import Convolution
from minidl.kernels.runtime import thread_pool

POINTWISE = (*one_case(Convolution((1, 1))), Convolution((1, 1)))


@thorough
@given(cases(), st.booleans(), st.booleans(), st.sampled_from([1, 3]))
@example(POINTWISE, True, True, 3)
def test_forward_equals_its_slow_twin(case, with_bias, relu, threads):
    x, w, bias, _, convolution = case
    thread_pool.set_num_threads(threads)
    y = convolve_gemm(x, w, bias if with_bias else None, convolution, relu)
    exact = naive_conv2d(x, w, convolution, convolution.groups)
    magnitude = naive_conv2d(np.abs(x), np.abs(w), convolution, convolution.groups)
    if with_bias:
        exact, magnitude = exact + bias, magnitude + np.abs(bias)
    assert y.dtype == x.dtype
    assert_sums_agree(y, np.maximum(exact, 0) if relu else exact, magnitude, w[..., 0].size + 1)


@thorough
@given(cases(), st.booleans(), st.sampled_from([1, 3]))
@example(POINTWISE, True, 3)
def test_backward_equals_its_slow_twin(case, relu, threads):
    x, w, _, dy, convolution = case
    thread_pool.set_num_threads(threads)
    y = np.random.default_rng(0).integers(0, 3, dy.shape).astype(x.dtype) if relu else None
    dx, dw, dbias = convolve_gemm_backward(x, w, dy, convolution, y)
    dz = np.where(y > 0, dy, 0) if relu else dy
    exact = naive_conv2d_backward(x, w, dz, convolution, convolution.groups)
    magnitude = naive_conv2d_backward(
        np.abs(x), np.abs(w), np.abs(dz), convolution, convolution.groups
    )
    assert dx.dtype == dw.dtype == dbias.dtype == x.dtype
    assert_sums_agree(dx, exact[0], magnitude[0], w[:, :, 0].size)
    assert_sums_agree(dw, exact[1], magnitude[1], dy[..., 0].size)
    exact, magnitude = np.float64(dz).sum(axis=(0, 1, 2)), np.abs(dz).sum(axis=(0, 1, 2))
    assert_sums_agree(dbias, exact, magnitude, dy[..., 0].size)


@thorough
@given(cases(dtypes=(np.float64,)), st.integers(1, 9), st.sampled_from([1, 3]))
@example(POINTWISE, 5, 3)
def test_many_small_blocks_give_what_one_block_gives(case, rows, threads):
    x, w, bias, dy, convolution = case
    y = convolve_gemm(x, w, bias, convolution)
    whole = convolve_gemm_backward(x, w, dy, convolution)
    thread_pool.set_num_threads(threads)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK_BYTES", 1)
        patch.setattr(module, "MINIMUM_ROWS", rows)
        np.testing.assert_allclose(convolve_gemm(x, w, bias, convolution), y, rtol=0, atol=1e-12)
        blocked = convolve_gemm_backward(x, w, dy, convolution)
    for one, many in zip(whole, blocked, strict=True):
        np.testing.assert_allclose(many, one, rtol=0, atol=1e-12)


@thorough
@given(cases(dtypes=(np.float64,)))
def test_backward_is_the_adjoint_in_both_factors(case):
    x, w, _, dy, convolution = (np.abs(a) if isinstance(a, np.ndarray) else a for a in case)
    y = convolve_gemm(x, w, None, convolution)
    dx, dw, _ = convolve_gemm_backward(x, w, dy, convolution)
    np.testing.assert_allclose(np.vdot(x, dx), np.vdot(y, dy), rtol=1e-12)
    np.testing.assert_allclose(np.vdot(w, dw), np.vdot(y, dy), rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kernel_size", [(1, 1), (3, 3)])
def test_same_threads_same_bits(kernel_size, dtype, monkeypatch):
    monkeypatch.setattr(module, "BLOCK_BYTES", 1)
    monkeypatch.setattr(module, "MINIMUM_ROWS", 7)
    thread_pool.set_num_threads(3)
    convolution = Convolution(kernel_size, padding="same")
    x, w, bias, dy = one_case(convolution, n=8, dtype=dtype)

    def bits():
        arrays = [
            convolve_gemm(x, w, bias, convolution),
            *convolve_gemm_backward(x, w, dy, convolution),
        ]
        return [a.tobytes() for a in arrays]

    first = bits()
    assert all(bits() == first for _ in range(5))


@pytest.mark.parametrize("kernel_size", [(1, 1), (3, 3)])
def test_only_the_gradients_asked_for_are_made(kernel_size):
    convolution = Convolution(kernel_size)
    x, w, _, dy = one_case(convolution)
    dx, dw, dbias = convolve_gemm_backward(x, w, dy, convolution)
    without_dx = convolve_gemm_backward(x, w, dy, convolution, need_dx=False)
    assert without_dx[0] is None
    np.testing.assert_array_equal(without_dx[1], dw)
    np.testing.assert_array_equal(without_dx[2], dbias)
    # Without dw only the shape of x matters.
    without_dw = convolve_gemm_backward(np.full_like(x, np.nan), w, dy, convolution, need_dw=False)
    assert without_dw[1:] == (None, None)
    np.testing.assert_array_equal(without_dw[0], dx)


def test_a_1x1_convolution_gathers_nothing(monkeypatch):
    def refuse(*arguments):
        raise AssertionError("the images are their own im2col matrix")

    monkeypatch.setattr(module, "im2col", refuse)
    monkeypatch.setattr(module, "col2im", refuse)
    convolution = Convolution((1, 1))
    x, w, bias, dy = one_case(convolution)
    np.testing.assert_allclose(
        convolve_gemm(x, w, bias, convolution), x @ w[0, 0] + bias, atol=1e-12
    )
    dx, dw, _ = convolve_gemm_backward(x, w, dy, convolution)
    np.testing.assert_allclose(dx, dy @ w[0, 0].T, atol=1e-12)
    np.testing.assert_allclose(dw[0, 0], np.tensordot(x, dy, ([0, 1, 2], [0, 1, 2])), atol=1e-12)


def test_the_im2col_buffer_never_holds_more_than_a_block(monkeypatch):
    monkeypatch.setattr(module, "BLOCK_BYTES", 2**14)
    monkeypatch.setattr(module, "MINIMUM_ROWS", 1)
    thread_pool.set_num_threads(1)  # so that this thread does it all
    monkeypatch.setattr(thread_pool._local, "scratch", {}, raising=False)
    convolution = Convolution((3, 3), padding="same")
    x, w, bias, dy = one_case(convolution, n=4, size=24)  # im2col of it all: 648 KiB
    convolve_gemm(x, w, bias, convolution)
    convolve_gemm_backward(x, w, dy, convolution)
    used = thread_pool._local.scratch
    assert 0 < used["cols"].nbytes <= 2**14
    assert 0 < used["dcols"].nbytes <= 2**14


@pytest.mark.parametrize("bias", [None, np.zeros(2)])
def test_relu_does_not_hide_nan(bias):
    x = np.ones((1, 2, 2, 1))
    x[0, 0, 0] = np.nan
    y = convolve_gemm(x, np.ones((1, 1, 1, 2)), bias, Convolution((1, 1)), relu=True)
    assert np.isnan(y[0, 0, 0]).all()
    assert (y[0, 1] == 1).all()


@pytest.mark.parametrize("convolution", [Convolution((1, 1)), Convolution((3, 3), groups=2)])
def test_inputs_are_left_alone(convolution):
    arrays = one_case(convolution)
    x, w, bias, dy = copies = [a.copy() for a in arrays]
    y = convolve_gemm(x, w, bias, convolution, relu=True)
    convolve_gemm_backward(x, w, dy, convolution, y)
    for before, after in zip(arrays, copies, strict=True):
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("kernel_size", [(1, 1), (3, 3)])
def test_an_empty_batch_gives_an_empty_output_and_no_gradient(kernel_size):
    convolution = Convolution(kernel_size)
    x, w, bias, dy = one_case(convolution, n=0)
    assert convolve_gemm(x, w, bias, convolution).shape == dy.shape
    dx, dw, dbias = convolve_gemm_backward(x, w, dy, convolution)
    assert dx.shape == x.shape
    assert (dw == 0).all()
    assert (dbias == 0).all()


@thorough
@given(cases(), st.booleans(), st.booleans(), st.integers(0, 3), st.sampled_from([1, 3]))
@example(POINTWISE, True, True, 2, 3)
def test_residual_and_a_place_in_a_wider_array(case, relu, residual, channel, threads):
    x, w, bias, dy, convolution = case
    thread_pool.set_num_threads(threads)
    wide = np.full((*dy.shape[:3], dy.shape[3] + channel + 1), 7, x.dtype)
    added = dy if residual else None
    y = convolve_gemm(x, w, bias, convolution, relu, added, wide, channel)
    assert y is wide
    expected = convolve_gemm(x, w, bias, convolution)
    expected = expected + dy if residual else expected
    expected = np.maximum(expected, 0) if relu else expected
    size = expected.shape[3]
    np.testing.assert_allclose(
        wide[..., channel : channel + size], expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max()
    )
    assert (wide[..., :channel] == 7).all()
    assert (wide[..., channel + size :] == 7).all()


@given(st.tuples(*[st.integers(0, 3)] * 4), st.integers(1, 2), st.integers(1, 3))
def test_explicit_padding_is_that_of_a_padded_image(pads, stride, kernel):
    x = np.random.default_rng(0).normal(size=(2, 6, 5, 2))
    w = np.random.default_rng(1).normal(size=(kernel, kernel, 2, 3))
    top, bottom, left, right = pads
    padded = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
    plain = Convolution((kernel, kernel), (stride, stride))
    explicit = Convolution((kernel, kernel), (stride, stride), pads)
    np.testing.assert_allclose(
        convolve_gemm(x, w, None, explicit), convolve_gemm(padded, w, None, plain), atol=1e-12
    )
