"""Winograd's transforms of one tile: each count of channels, and no write beyond it."""

import numpy as np
import pytest
from numba import njit

from minidl.kernels.compiled.simd import LANES
from minidl.kernels.compiled.winograd_tile import (
    input_gradient_tile,
    input_line,
    input_tile,
    kernel_line,
    kernel_tile,
    output_line,
    output_tile,
)
from minidl.kernels.convolution.winograd_matrices import input_matrix, kernel_matrix, output_matrix

COUNTS = [1, LANES - 1, LANES]


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def addresses(pixels):
    """Return the addresses of the rows of a matrix."""
    return pixels.ctypes.data + pixels.strides[0] * np.arange(len(pixels))


@njit
def _input_tile(pixels, channel, count, v, first, stride):
    input_tile(pixels, channel, count, v, first, stride)


@njit
def _input_line(pixels, channel, count, v, first, stride):
    input_line(pixels, channel, count, v, first, stride)


@njit
def _kernel_tile(weights, count, u, first, stride):
    kernel_tile(weights, count, u, first, stride)


@njit
def _kernel_line(weights, count, u, first, stride):
    kernel_line(weights, count, u, first, stride)


@njit
def _output_tile(m, first, stride, bias, pixels, residual, channel, count, has_residual, bounds):
    output_tile(m, first, stride, bias, pixels, residual, channel, count, has_residual, bounds)


@njit
def _output_line(m, first, stride, bias, pixels, residual, channel, count, has_residual, bounds):
    output_line(m, first, stride, bias, pixels, residual, channel, count, has_residual, bounds)


@njit
def _input_gradient_tile(dv, first, stride, pixels, channel, count, above, left):
    input_gradient_tile(dv, first, stride, pixels, channel, count, above, left)


def both_axes(matrix):
    return np.kron(matrix, matrix)


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize(
    ("kernel", "matrix"),
    [(_input_tile, both_axes(input_matrix(6))), (_input_line, input_matrix(10))],
)
def test_input_transforms(kernel, matrix, count):
    stride, pixels = LANES + 4, normal(len(matrix), LANES + 3)
    v = np.full(3 + len(matrix) * stride, 7, np.float32)
    kernel(addresses(pixels), 2, count, v, 3, stride)
    taps = v[3:].reshape(len(matrix), stride)
    # Up to 36 terms with factors up to 25.
    np.testing.assert_allclose(taps[:, :count], matrix @ pixels[:, 2 : 2 + count], atol=1e-4)
    assert (v[:3] == 7).all()
    assert (taps[:, count:] == 7).all()


@pytest.mark.parametrize("count", [0, *COUNTS])
@pytest.mark.parametrize(
    ("kernel", "matrix"),
    [(_kernel_tile, both_axes(kernel_matrix(6, 3))), (_kernel_line, kernel_matrix(10, 7))],
)
def test_kernel_transforms_write_zeros_beyond_the_kernels(kernel, matrix, count):
    weights, u = normal(matrix.shape[1], LANES), np.full(len(matrix) * LANES, 7, np.float32)
    kernel(addresses(weights), count, u, 0, LANES)
    taps, exact = u.reshape(-1, LANES), matrix @ np.float64(weights)
    # One rounding to float32 of the sum in double precision.
    eps = np.finfo(np.float32).eps
    np.testing.assert_allclose(taps[:, :count], exact[:, :count], rtol=eps, atol=1e-14)
    assert (taps[:, count:] == 0).all()


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("bounds", [(-np.inf, np.inf), (0, np.inf), (-0.25, 0.5)])
@pytest.mark.parametrize("has_residual", [False, True])
@pytest.mark.parametrize(
    ("kernel", "matrix"),
    [(_output_tile, both_axes(output_matrix(6, 4))), (_output_line, output_matrix(10, 4))],
)
def test_output_transforms(kernel, matrix, count, bounds, has_residual):
    m, bias = normal(matrix.shape[1], LANES), normal(LANES + 1)
    residual = normal(len(matrix), LANES + 1, seed=1)
    y = np.full((len(matrix), LANES + 2), 7, np.float32)
    limits = tuple(np.float32(bound) for bound in bounds)
    # Without a residual its addresses must not be read.
    sources = addresses(residual) if has_residual else np.zeros(len(matrix), np.int64)
    kernel(m.ravel(), 0, LANES, bias, addresses(y), sources, 1, count, has_residual, limits)
    exact = matrix @ np.float64(m[:, :count]) + bias[1 : 1 + count]
    exact = exact + residual[:, 1 : 1 + count] if has_residual else exact
    rounding = 1e-5 * max(1, np.abs(exact).max())
    np.testing.assert_allclose(y[:, 1 : 1 + count], np.clip(exact, *bounds), atol=rounding)
    assert (y[:, 0] == 7).all()
    assert (y[:, 1 + count :] == 7).all()


@pytest.mark.parametrize("above", [False, True])
@pytest.mark.parametrize("left", [False, True])
def test_input_gradients_are_added_to_shared_pixels_only(above, left):
    dv, dx = normal(36, LANES), normal(36, LANES, seed=1)
    shared = np.zeros((6, 6), bool)
    shared[:2] |= above
    shared[:, :2] |= left
    exact = both_axes(input_matrix(6).T) @ np.float64(dv) + np.where(shared.reshape(36, 1), dx, 0)
    _input_gradient_tile(dv.ravel(), 0, LANES, addresses(dx), 0, LANES, above, left)
    np.testing.assert_allclose(dx, exact, atol=1e-5 * np.abs(exact).max())
