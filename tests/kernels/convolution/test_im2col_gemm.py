"""Convolution by im2col and GEMM, forward and backward, against loops over every product."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.checks import assert_sums_agree, thorough
from support.convolution_cases import cases, one_case
from support.reference import naive_conv2d, naive_conv2d_backward

from minidl.kernels.convolution import im2col_gemm as module
from minidl.kernels.convolution.im2col_gemm import convolve_im2col, convolve_im2col_backward
from minidl.kernels.geometry import Convolution
from minidl.kernels.runtime import thread_pool

POINTWISE = (*one_case(Convolution((1, 1))), Convolution((1, 1)))


@thorough
@given(cases(), st.booleans(), st.sampled_from([1, 3]))
@example(POINTWISE, True, 3)
def test_forward_equals_the_naive_convolution(case, with_bias, threads):
    x, w, bias, _, convolution = case
    thread_pool.set_num_threads(threads)
    y = convolve_im2col(x, w, bias if with_bias else None, convolution)
    exact = naive_conv2d(x, w, convolution, convolution.groups)
    magnitude = naive_conv2d(np.abs(x), np.abs(w), convolution, convolution.groups)
    if with_bias:
        exact, magnitude = exact + bias, magnitude + np.abs(bias)
    assert y.dtype == x.dtype
    assert_sums_agree(y, exact, magnitude, w[..., 0].size + 1)


@thorough
@given(cases(), st.booleans(), st.sampled_from([1, 3]))
@example(POINTWISE, True, 3)
def test_backward_equals_the_naive_gradients(case, relu, threads):
    x, w, _, dy, convolution = case
    thread_pool.set_num_threads(threads)
    y = np.random.default_rng(0).integers(0, 3, dy.shape).astype(x.dtype) if relu else None
    dx, dw, dbias = convolve_im2col_backward(x, w, dy, convolution, y)
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
def test_many_blocks_give_the_result_of_one(case, rows, threads):
    x, w, bias, dy, convolution = case
    y = convolve_im2col(x, w, bias, convolution)
    whole = convolve_im2col_backward(x, w, dy, convolution)
    thread_pool.set_num_threads(threads)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK_BYTES", 1)
        patch.setattr(module, "MINIMUM_ROWS", rows)
        np.testing.assert_allclose(convolve_im2col(x, w, bias, convolution), y, rtol=0, atol=1e-12)
        blocked = convolve_im2col_backward(x, w, dy, convolution)
    for one, many in zip(whole, blocked, strict=True):
        np.testing.assert_allclose(many, one, rtol=0, atol=1e-12)


@thorough
@given(cases(dtypes=(np.float64,)))
def test_backward_is_the_adjoint_in_both_factors(case):
    x, w, _, dy, convolution = (np.abs(a) if isinstance(a, np.ndarray) else a for a in case)
    y = convolve_im2col(x, w, None, convolution)
    dx, dw, _ = convolve_im2col_backward(x, w, dy, convolution)
    np.testing.assert_allclose(np.vdot(x, dx), np.vdot(y, dy), rtol=1e-12)
    np.testing.assert_allclose(np.vdot(w, dw), np.vdot(y, dy), rtol=1e-12)


def test_a_1x1_convolution_gathers_nothing(monkeypatch):
    def refuse(*arguments):
        raise AssertionError("the images are their own im2col matrix")

    monkeypatch.setattr(module, "im2col", refuse)
    monkeypatch.setattr(module, "col2im", refuse)
    convolution = Convolution((1, 1))
    x, w, bias, dy = one_case(convolution)
    np.testing.assert_allclose(
        convolve_im2col(x, w, bias, convolution), x @ w[0, 0] + bias, atol=1e-12
    )
    dx, dw, _ = convolve_im2col_backward(x, w, dy, convolution)
    np.testing.assert_allclose(dx, dy @ w[0, 0].T, atol=1e-12)
    np.testing.assert_allclose(dw[0, 0], np.tensordot(x, dy, ([0, 1, 2], [0, 1, 2])), atol=1e-12)


def test_the_im2col_buffer_holds_at_most_one_block(monkeypatch):
    monkeypatch.setattr(module, "BLOCK_BYTES", 2**14)
    monkeypatch.setattr(module, "MINIMUM_ROWS", 1)
    thread_pool.set_num_threads(1)  # so that this thread computes everything
    monkeypatch.setattr(thread_pool._local, "scratch", {}, raising=False)
    convolution = Convolution((3, 3), padding="same")
    x, w, bias, dy = one_case(convolution, n=4, size=24)  # the whole im2col matrix: 648 KiB
    convolve_im2col(x, w, bias, convolution)
    convolve_im2col_backward(x, w, dy, convolution)
    used = thread_pool._local.scratch
    assert 0 < used["cols"].nbytes <= 2**14
    assert 0 < used["dcols"].nbytes <= 2**14


@given(st.tuples(*[st.integers(0, 3)] * 4), st.integers(1, 2), st.integers(1, 3))
def test_explicit_padding_equals_a_padded_image(pads, stride, kernel):
    x = np.random.default_rng(0).normal(size=(2, 6, 5, 2))
    w = np.random.default_rng(1).normal(size=(kernel, kernel, 2, 3))
    top, bottom, left, right = pads
    padded = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
    plain = Convolution((kernel, kernel), (stride, stride))
    explicit = Convolution((kernel, kernel), (stride, stride), pads)
    np.testing.assert_allclose(
        convolve_im2col(x, w, None, explicit), convolve_im2col(padded, w, None, plain), atol=1e-12
    )
