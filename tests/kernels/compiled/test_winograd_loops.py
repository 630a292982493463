"""Winograd's transforms of whole images against the matrices that define them."""

import numpy as np
import pytest

from minidl.kernels.compiled.gemm_tile import PANEL
from minidl.kernels.compiled.winograd_loops import (
    add_input_gradient,
    transform_gradient,
    transform_input,
    transform_kernel,
    transform_output,
)
from minidl.kernels.convolution.winograd import tile_grid, tile_shapes
from minidl.kernels.convolution.winograd_matrices import input_matrix, kernel_matrix, output_matrix
from minidl.kernels.geometry import Window

WINDOWS = [Window(size, padding="same") for size in ((3, 3), (1, 7), (7, 1))]
SQUARE = WINDOWS[0]
# The matrices sum up to ten terms with factors up to 21; a transform applies them twice.
ROUNDING = 1e-4


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def matrices(make, sizes, *outputs):
    """Return a matrix for each axis of a tile; a single pixel is left as it is."""
    arguments = zip(sizes, *outputs, strict=True)
    return [make(*axis) if axis[0] > 1 else np.ones((1, 1)) for axis in arguments]


def tile_positions(shape, window):
    down, across, top, left, *_ = tile_grid(shape, window)
    _, (height, width) = tile_shapes(window.kernel_size)
    for n in range(shape[0]):
        for row in range(down):
            for column in range(across):
                yield n, row * height - top, column * width - left


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("transposed", [False, True])
def test_kernels_are_transformed_into_panels(window, transposed):
    kh, kw = window.kernel_size
    w, (inputs, _) = normal(kh, kw, 5, PANEL + 3), tile_shapes(window.kernel_size)
    down, across = matrices(kernel_matrix, inputs, window.kernel_size)
    exact = np.einsum("ia,jb,abck->ijck", down, across, w).reshape(-1, 5, PANEL + 3)
    exact = exact.transpose(0, 2, 1) if transposed else exact
    panels = -(-exact.shape[2] // PANEL)
    u = np.full((len(exact), panels, exact.shape[1], PANEL), 7, np.float32)
    transform_kernel(w.reshape(-1, 5, PANEL + 3), u, (0, exact.shape[1]), transposed)
    flat = u.transpose(0, 2, 1, 3).reshape(*exact.shape[:2], -1)
    np.testing.assert_allclose(flat[..., : exact.shape[2]], exact, atol=1e-6)
    assert (flat[..., exact.shape[2] :] == 0).all()


@pytest.mark.parametrize("window", WINDOWS)
def test_inputs_are_transformed_tile_by_tile(window):
    x, channels = normal(2, 7, 9, 21), (2, 20)
    (height, width), _ = tile_shapes(window.kernel_size)
    down, across = matrices(input_matrix, (height, width))
    padded = np.pad(x, ((0, 0), (16, 16), (16, 16), (0, 0)))
    exact = [
        np.einsum(
            "ia,jb,abc->ijc",
            down,
            across,
            padded[n, y + 16 : y + 16 + height, x0 + 16 : x0 + 16 + width, slice(*channels)],
        ).ravel()
        for n, y, x0 in tile_positions(x.shape, window)
    ]
    first, last = 1, len(exact)
    v = np.full((last - first, len(exact[0]) + 8), 7, np.float32)
    transform_input(x, v, channels, (first, last), tile_grid(x.shape, window))
    np.testing.assert_allclose(v[:, :-8], exact[first:], atol=ROUNDING)
    assert (v[:, -8:] == 7).all()


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize(("high", "has_residual"), [(np.inf, False), (0.5, True)])
def test_outputs_get_bias_residual_and_bounds(window, high, has_residual):
    filters, channel, shape = PANEL + 5, 2, (2, 7, 9, 1)
    inputs, outputs = tile_shapes(window.kernel_size)
    grid = tile_grid(shape, window)
    tiles, taps = shape[0] * grid[0] * grid[1], inputs[0] * inputs[1]
    m, bias = normal(tiles, taps * 2 * PANEL + 8), normal(filters, seed=1)
    residual = normal(*shape[:3], filters, seed=2)
    y = np.full((*shape[:3], filters + 3), 7, np.float32)
    low = np.float32(0 if has_residual else -np.inf)
    epilogue = (channel, has_residual, (low, np.float32(high)))
    transform_output(m, y, bias, residual, epilogue, (0, 2), (0, tiles), grid)
    down, across = matrices(output_matrix, inputs, outputs)
    exact = np.zeros((shape[0], 4 * grid[0] + 9, 4 * grid[1] + 9, filters))
    for t in range(tiles):
        n, row, column = t // (grid[0] * grid[1]), t // grid[1] % grid[0], t % grid[1]
        values = m[t, : taps * 2 * PANEL].reshape(*inputs, -1)[..., :filters]
        top, left = row * outputs[0], column * outputs[1]
        exact[n, top : top + outputs[0], left : left + outputs[1]] = np.einsum(
            "ia,jb,abk->ijk", down, across, values
        )
    exact = exact[:, : shape[1], : shape[2]] + bias + (residual if has_residual else 0)
    scale = np.abs(exact).max()
    exact = np.clip(exact, *epilogue[2])
    np.testing.assert_allclose(y[..., channel:-1], exact, atol=1e-5 * scale)
    assert (y[..., :channel] == 7).all()
    assert (y[..., -1] == 7).all()


@pytest.mark.parametrize("masked", [False, True])
def test_output_gradients_are_transformed(masked):
    dy, y = normal(2, 7, 9, 19), normal(2, 7, 9, 19, seed=1)
    grid = tile_grid(dy.shape, SQUARE)
    tiles = 2 * grid[0] * grid[1]
    dm = np.full((tiles, 36 * 19 + 8), 7, np.float32)
    transform_gradient(dy, y, dm, masked, (0, tiles), grid)
    dz = np.pad(np.where(y > 0, dy, 0) if masked else dy, ((0, 0), (0, 4), (0, 4), (0, 0)))
    matrix = output_matrix(6, 4).T
    for t in range(tiles):
        n, row, column = t // (grid[0] * grid[1]), t // grid[1] % grid[0], t % grid[1]
        tile = dz[n, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
        exact = np.einsum("ia,jb,abk->ijk", matrix, matrix, tile).ravel()
        # Factors up to 64: numbers up to some thousand.
        np.testing.assert_allclose(dm[t, :-8], exact, atol=1e-6 * 64**2)
    assert (dm[:, -8:] == 7).all()


def test_input_gradients_of_overlapping_tiles_are_added():
    shape = (2, 7, 9, PANEL + 3)
    grid = tile_grid(shape, SQUARE)
    tiles = 2 * grid[0] * grid[1]
    dv, dx = normal(tiles, 36 * 2 * PANEL + 8), np.full(shape, np.nan, np.float32)
    add_input_gradient(dv, dx, (0, 2), (0, tiles), grid)
    matrix, exact = input_matrix(6).T, np.zeros((2, 32, 32, shape[3]))
    for t, (n, y, x) in enumerate(tile_positions(shape, SQUARE)):
        values = dv[t, : 36 * 2 * PANEL].reshape(6, 6, -1)[..., : shape[3]]
        exact[n, y + 8 : y + 14, x + 8 : x + 14] += np.einsum(
            "ia,jb,abc->ijc", matrix, matrix, values
        )
    exact = exact[:, 8 : 8 + shape[1], 8 : 8 + shape[2]]
    np.testing.assert_allclose(dx, exact, atol=1e-5 * np.abs(exact).max())
