"""im2col and col2im against patches copied one by one, for any rows and channels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.checks import thorough
from support.reference import naive_col2im, naive_im2col, naive_output_size

from minidl.kernels.convolution.im2col import col2im, im2col
from minidl.kernels.geometry import Window


@st.composite
def cases(draw):
    """Return (x, window, first, rows, channel, depth): some patches of some channels."""
    pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))
    window = Window(draw(pairs), draw(pairs), draw(st.sampled_from(["valid", "same"])), draw(pairs))
    low = (1, 1) if window.padding == "same" else window.extent
    shape = (
        draw(st.integers(1, 3)),
        draw(st.integers(low[0], low[0] + 5)),
        draw(st.integers(low[1], low[1] + 5)),
        draw(st.integers(1, 4)),
    )
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    x = np.random.default_rng(draw(st.integers(0, 999))).normal(size=shape).astype(dtype)
    pixels = shape[0] * np.prod(naive_output_size(shape, window))
    first = draw(st.integers(0, pixels - 1))
    rows = draw(st.integers(1, pixels - first))
    channel = draw(st.integers(0, shape[3] - 1))
    return x, window, first, rows, channel, draw(st.integers(1, shape[3] - channel))


@thorough
@given(cases())
def test_im2col_copies_every_patch_bit_for_bit(case):
    x, window, first, rows, channel, depth = case
    patches = naive_im2col(x, window)[first : first + rows, ..., channel : channel + depth]
    cols = np.full((rows, patches[0].size), np.nan, x.dtype)
    im2col(x, cols, first, window, channel, depth)
    np.testing.assert_array_equal(cols, patches.reshape(cols.shape))


@thorough
@given(cases())
def test_col2im_adds_every_patch_to_its_pixels(case):
    x, window, first, rows, channel, depth = case
    # Sums of small integers are exact in any order, so all bits must agree.
    patches = np.zeros(naive_im2col(x, window).shape, x.dtype)
    some = patches[first : first + rows, ..., channel : channel + depth]
    some[...] = np.random.default_rng(1).integers(-9, 9, some.shape)
    dx = np.full(x.shape, 100, x.dtype)  # col2im adds to what is there
    col2im(np.ascontiguousarray(some.reshape(rows, -1)), dx, first, window, channel, depth)
    np.testing.assert_array_equal(dx, 100 + naive_col2im(patches, x.shape, window))


@thorough
@given(cases())
def test_col2im_is_the_adjoint_of_im2col(case):
    x, window, first, rows, channel, depth = case
    x = np.abs(x.astype(np.float64))  # positive, so that no sum is small by cancellation
    cols = np.empty((rows, window.kernel_size[0] * window.kernel_size[1] * depth))
    im2col(x, cols, first, window, channel, depth)
    g = np.random.default_rng(1).uniform(0.5, 1.5, cols.shape)
    dx = np.zeros(x.shape)
    col2im(g, dx, first, window, channel, depth)
    np.testing.assert_allclose(np.vdot(cols, g), np.vdot(x, dx), rtol=1e-13)


@pytest.mark.parametrize("channels", [1, 3])
def test_without_depth_all_channels_are_copied(channels):
    x = np.random.default_rng(0).normal(size=(2, 4, 4, channels))
    cols = np.empty((8, 9 * channels))
    im2col(x, cols, 0, Window((3, 3)))
    np.testing.assert_array_equal(cols, naive_im2col(x, Window((3, 3))).reshape(8, -1))
