"""Register tiles against matrix products in float64."""

import numpy as np
import pytest
from numba import njit
from support.checks import assert_sums_agree

from minidl.kernels.compiled.gemm_tile import (
    PANEL,
    SHORT,
    TALL,
    correlate,
    multiply_short,
    multiply_tall,
)

RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.normal(size=shape).astype(np.float32)


@njit
def _tall(x, offsets, shape, panel, bias, residual, y, bounds, columns, has_residual):
    source = (x.ctypes.data, offsets.ctypes.data, offsets.shape[1], shape.ctypes.data)
    addend = (residual.ctypes.data if has_residual else 0, residual.shape[1])
    target = (y.ctypes.data, y.shape[1])
    multiply_tall(source, panel.ctypes.data, bias.ctypes.data, addend, target, bounds, columns)


@njit
def _short(x, offsets, shape, panel, bias, residual, y, bounds, columns, has_residual):
    source = (x.ctypes.data, offsets.ctypes.data, offsets.shape[1], shape.ctypes.data)
    addend = (residual.ctypes.data if has_residual else 0, residual.shape[1])
    target = (y.ctypes.data, y.shape[1])
    multiply_short(source, panel.ctypes.data, bias.ctypes.data, addend, target, bounds, columns)


@njit
def _correlate(x, offsets, rows, dy, dw, add):
    pixels = (x.ctypes.data, offsets.ctypes.data, rows.ctypes.data)
    correlate(pixels, (dy.ctypes.data, dy.shape[1]), (dw.ctypes.data, dw.shape[1]), add)


@pytest.mark.parametrize(("kernel", "height"), [(_tall, TALL), (_short, SHORT)])
@pytest.mark.parametrize("bounds", [(-np.inf, np.inf), (0, np.inf), (-0.25, 0.5)])
@pytest.mark.parametrize("has_residual", [False, True])
@pytest.mark.parametrize(
    ("taps", "depth", "columns"), [(1, 1, 1), (1, 37, PANEL), (9, 5, PANEL - 3)]
)
def test_tiles_gather_rows_by_offsets(kernel, height, bounds, has_residual, taps, depth, columns):
    x, panel, bias = normal(500), normal(taps * depth, PANEL), normal(PANEL)
    residual, y = normal(height, PANEL + 3), np.full((height, PANEL + 5), 7, np.float32)
    offsets = RNG.integers(0, len(x) - depth, (taps, height + 2))
    limits = tuple(np.float32(bound) for bound in bounds)
    shape = np.array([taps, depth])
    kernel(x, offsets, shape, panel, bias, residual, y, limits, columns, has_residual)
    numbers = [(tap, c) for tap in range(taps) for c in range(depth)]
    rows = np.array([[x[offsets[tap, r] + c] for tap, c in numbers] for r in range(height)])
    added = residual[:, :PANEL] if has_residual else np.zeros((height, PANEL))
    exact = rows.astype(np.float64) @ panel + bias + added
    magnitude = np.abs(rows).astype(np.float64) @ np.abs(panel) + np.abs(bias) + np.abs(added)
    found, exact, magnitude = (a[:, :columns] for a in (y, np.clip(exact, *bounds), magnitude))
    assert_sums_agree(found, exact, magnitude, taps * depth + 2)
    assert (y[:, columns:] == 7).all()


def test_relu_keeps_nan():
    x = np.ones(TALL, np.float32)
    x[1] = np.nan
    y, bias = np.empty((TALL, PANEL), np.float32), np.zeros(PANEL, np.float32)
    panel, offsets = -np.ones((1, PANEL), np.float32), np.arange(TALL)[None]
    bounds = np.float32(0), np.float32(6)
    _tall(x, offsets, np.array([1, 1]), panel, bias, y, y, bounds, PANEL, False)
    assert np.isnan(y[1]).all()
    assert (np.delete(y, 1, axis=0) == 0).all()


@pytest.mark.parametrize("add", [False, True])
@pytest.mark.parametrize("rows", [1, 2, 50])
def test_correlate_sums_outer_products(rows, add):
    x, dy, dw = normal(rows * 20 + TALL), normal(rows, PANEL + 4), normal(TALL, PANEL + 1)
    offsets, before = RNG.permutation(rows) * 20, dw.copy()
    _correlate(x, offsets, np.array([rows]), dy, dw, add)
    gathered = np.array([x[offset : offset + TALL] for offset in offsets], np.float64)
    added = before[:, :PANEL] if add else np.zeros((TALL, PANEL))
    exact = gathered.T @ dy[:, :PANEL] + added
    magnitude = np.abs(gathered).T @ np.abs(dy[:, :PANEL]) + np.abs(added)
    assert_sums_agree(dw[:, :PANEL], exact, magnitude, rows + 1)
    np.testing.assert_array_equal(dw[:, PANEL:], before[:, PANEL:])
