"""Loops around the register tiles: packing, and Winograd's matrix products."""

import numpy as np
import pytest
from support.checks import assert_sums_agree

from minidl.kernels.compiled.gemm_loops import correlate_taps, multiply_taps, pack_rows
from minidl.kernels.compiled.gemm_tile import PANEL, TALL
from minidl.kernels.convolution.winograd import tile_scratch

TAPS = 3
RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def test_pack_rows_fills_the_given_panels_and_pads_with_zeros():
    w, panels = normal(5, 30), np.full((3, 5, 8), 7, np.float32)
    pack_rows(w, panels, 4, 18, 1, 3)  # columns 4 ... 21, panels 1 and 2
    assert (panels[0] == 7).all()
    np.testing.assert_array_equal(panels[1], w[:, 12:20])
    np.testing.assert_array_equal(panels[2, :, :2], w[:, 20:22])
    assert (panels[2, :, 2:] == 0).all()


@pytest.mark.parametrize("tiles", [1, TALL // 2, TALL, 2 * TALL + 3])
@pytest.mark.parametrize("panels", [(0, 3), (1, 2)])
def test_multiply_taps_multiplies_each_tap(tiles, panels):
    depth, count = 6, panels[1] - panels[0]
    u = normal(TAPS, 3, depth, PANEL)
    v, m = tile_scratch("v", tiles, TAPS * depth), tile_scratch("m", tiles, TAPS * count * PANEL)
    numbers = normal(tiles, TAPS, depth)
    v[:tiles, : TAPS * depth] = numbers.reshape(tiles, -1)
    multiply_taps(v, u, m, tiles, panels)
    found = m[:tiles, : TAPS * count * PANEL].reshape(tiles, TAPS, count, PANEL)
    used = np.float64(u[:, panels[0] : panels[1]])
    exact = np.einsum("tac,apck->tapk", numbers, used)
    magnitude = np.einsum("tac,apck->tapk", np.abs(numbers), np.abs(used))
    assert_sums_agree(found, exact, magnitude, depth)


@pytest.mark.parametrize("tiles", [1, 7, 10, 14, 15])
def test_rows_beyond_the_tiles_are_cleared(tiles):
    # The buffer may hold denormal numbers there; their products take a hundred times as long.
    u = normal(36, 1, 4, PANEL)
    v, m = tile_scratch("v", tiles, 36 * 4), tile_scratch("m", tiles, 36 * PANEL)
    v[...], m[...] = 1e-42, np.nan
    v[:tiles, : 36 * 4] = 1
    multiply_taps(v, u, m, tiles, (0, 1))
    written = m[:, : 36 * PANEL][~np.isnan(m[:, 0])]  # rows of register tiles
    assert len(written) >= tiles
    assert (written[tiles:] == 0).all()


@pytest.mark.parametrize("channels", [(0, 5), (3, TALL + 4)])
@pytest.mark.parametrize("filters", [3, PANEL, 2 * PANEL + 1])
@pytest.mark.parametrize("add", [False, True])
def test_correlate_taps_computes_the_gradient_of_each_tap(channels, filters, add):
    tiles, depth = 9, channels[1] - channels[0]
    v, dm = tile_scratch("v", tiles, TAPS * depth), tile_scratch("m", tiles, TAPS * filters)
    x, dy = normal(tiles, TAPS, depth), normal(tiles, TAPS, filters)
    v[:tiles, : TAPS * depth] = x.reshape(tiles, -1)
    dm[:tiles, : TAPS * filters] = dy.reshape(tiles, -1)
    du = normal(TAPS, TALL + 6, filters)
    before = du.copy()
    correlate_taps(v, dm, du, tiles, channels, add)
    inside = slice(*channels)
    added = before[:, inside] if add else np.zeros((TAPS, depth, filters))
    exact = np.einsum("tac,tak->ack", np.float64(x), dy) + added
    magnitude = np.einsum("tac,tak->ack", np.abs(x), np.abs(dy)) + np.abs(added)
    assert_sums_agree(du[:, inside], exact, magnitude, tiles + 1)
    du[:, inside] = before[:, inside]
    np.testing.assert_array_equal(du, before)  # other channels are not touched
