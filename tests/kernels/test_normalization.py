"""Batch normalization against its formulas, written with np.mean and np.var."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.checks import thorough
from support.reference import naive_batch_norm, naive_batch_norm_backward

from minidl.kernels import normalization as module
from minidl.kernels.activations import relu_backward
from minidl.kernels.normalization import (
    UNLIMITED,
    InputGradient,
    batch_statistics,
    gradient_sums,
    normalize,
    normalize_backward,
    scale_shift,
)
from minidl.kernels.runtime import thread_pool

EPSILON = 1e-3


@st.composite
def cases(draw):
    """Return (x, dy, gamma, beta); some columns far from zero, some without any spread."""
    rows, columns = draw(st.integers(1, 40)), draw(st.integers(1, 5))
    rng, dtype = (
        np.random.default_rng(draw(st.integers(0, 999))),
        draw(st.sampled_from([np.float32, np.float64])),
    )
    mean = draw(st.sampled_from([0.0, 3.0, -100.0]))
    x = rng.normal(mean, draw(st.sampled_from([0.0, 0.1, 2.0])), (rows, columns))
    dy, gamma, beta = (rng.normal(size=shape) for shape in ((rows, columns), columns, columns))
    return tuple(a.astype(dtype) for a in (x, dy, gamma, beta))


@thorough
@given(cases(), st.sampled_from([1, 3]))
def test_forward_and_backward_follow_the_formulas(case, threads):
    x, dy, gamma, beta = case
    thread_pool.set_num_threads(threads)
    mean, variance = batch_statistics(x)
    inverse_std = 1 / np.sqrt(variance + EPSILON)
    y = normalize(x, mean, inverse_std, gamma, beta)
    dx, dgamma, dbeta = normalize_backward(dy, x, mean, inverse_std, gamma)
    exact = naive_batch_norm_backward(dy, x, np.float64(gamma), EPSILON)
    # y and dx are computed as x * slope + offset: two large numbers that cancel, each rounded
    # to the dtype. |x| reaches 110, 1 / std reaches 32, and so does the slope of dx once more.
    unit = np.finfo(x.dtype).eps * (1 + np.abs(x).max()) * 32 * (1 + np.abs(gamma).max())
    assert y.dtype == dx.dtype == dgamma.dtype == dbeta.dtype == x.dtype
    np.testing.assert_allclose(y, naive_batch_norm(x, gamma, beta, EPSILON), rtol=0, atol=4 * unit)
    scale = 1 + np.abs(dy).max() * 32
    np.testing.assert_allclose(dx, exact[0], rtol=0, atol=4 * unit * scale)
    # The sums are in float64 over at most 40 rows; only the result is rounded to the dtype.
    rounding = np.finfo(x.dtype).eps
    np.testing.assert_allclose(dgamma, exact[1], rtol=rounding, atol=1e-9)
    np.testing.assert_allclose(dbeta, exact[2], rtol=rounding, atol=1e-12)


@thorough
@given(cases(), st.sampled_from([UNLIMITED, (0.0, np.inf), (0.0, 0.5)]), st.booleans())
def test_limits_act_like_a_relu_after_the_normalization(case, limits, uses_batch):
    x, dy, gamma, beta = case
    mean, variance = batch_statistics(x)
    statistics = mean, 1 / np.sqrt(variance + EPSILON), gamma, beta
    y = normalize(x, *statistics)
    np.testing.assert_array_equal(normalize(x, *statistics, limits), np.clip(y, *limits))
    d = dy if limits == UNLIMITED else relu_backward(dy, y, maximum=limits[1])
    gradient, plain = InputGradient(dy, x, *statistics, limits), InputGradient(d, x, *statistics)
    if uses_batch:
        for actual, expected in zip(
            gradient.through_statistics(), plain.through_statistics(), strict=True
        ):
            np.testing.assert_array_equal(actual, expected)
    np.testing.assert_array_equal(gradient.array(), plain.array())
    first, last = len(x) // 3, len(x) - len(x) // 4
    rows = gradient.rows(first, last, np.empty((last - first, x.shape[1]), x.dtype))
    np.testing.assert_array_equal(rows, plain.array()[first:last])


@thorough
@given(cases(), st.sampled_from([1, 3]))
def test_statistics_are_those_of_numpy_in_float64(case, threads):
    x, dy, _, _ = case
    thread_pool.set_num_threads(threads)
    mean, variance = batch_statistics(x)
    assert mean.dtype == variance.dtype == np.float64
    np.testing.assert_allclose(mean, x.mean(axis=0, dtype=np.float64), rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(variance, x.var(axis=0, dtype=np.float64), rtol=1e-10, atol=1e-13)
    dbeta, dgamma = gradient_sums(dy, x, mean, np.ones_like(mean))
    np.testing.assert_allclose(dbeta, np.float64(dy).sum(axis=0), atol=1e-12)
    np.testing.assert_allclose(dgamma, (np.float64(dy) * (x - mean)).sum(axis=0), atol=1e-11)


def test_a_large_mean_does_not_swallow_the_variance():
    x = np.random.default_rng(0).normal(1e7, 1, (10_000, 2))
    # E[x^2] - E[x]^2 in float64 would be off by about 1e14 * 1e-16 = 1 %
    np.testing.assert_allclose(batch_statistics(x)[1], x.var(axis=0), rtol=1e-9)


def test_a_constant_column_has_exactly_no_variance():
    x = np.full((1000, 2), 0.1)
    mean, variance = batch_statistics(x)
    assert (mean == 0.1).all()
    assert (variance == 0).all()


def test_float32_sums_do_not_drift_over_many_rows():
    x = np.full((2**20, 1), 0.1, np.float32)
    x[::2] = 0.3
    mean, variance = batch_statistics(x)
    np.testing.assert_allclose(mean, np.mean(x[:2], dtype=np.float64), rtol=1e-12)
    np.testing.assert_allclose(variance, 0.01, rtol=1e-6)  # 0.1 and 0.3 are rounded to float32


def test_scale_shift_cuts_the_rows_without_a_gap(monkeypatch):
    monkeypatch.setattr(module, "CHUNK_BYTES", 100)
    thread_pool.set_num_threads(3)
    x = np.random.default_rng(0).normal(size=(101, 3))
    scale, shift = np.array([1.0, 2.0, -3.0]), np.array([0.0, 1.0, 5.0])
    np.testing.assert_allclose(scale_shift(x, scale, shift), x * scale + shift, rtol=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_number_of_threads_does_not_change_a_bit(dtype, monkeypatch):
    monkeypatch.setattr(module, "CHUNK_BYTES", 100)
    rng = np.random.default_rng(0)
    x, dy = (rng.normal(size=(999, 7)).astype(dtype) for _ in range(2))
    ones = np.ones(7, dtype)

    def bits(threads):
        thread_pool.set_num_threads(threads)
        mean, variance = batch_statistics(x)
        arrays = [mean, variance, normalize(x, mean, variance, ones, ones)]
        arrays += normalize_backward(dy, x, mean, variance, ones)
        return [a.tobytes() for a in arrays]

    first = bits(1)
    assert all(bits(threads) == first for threads in (1, 2, 3, 8))
