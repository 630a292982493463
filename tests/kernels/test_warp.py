"""Warp kernels: their reference, fill modes computed by hand, and the adjoint."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.reference_warp import naive_warp

from minidl.kernels.runtime import thread_pool
from minidl.kernels.warp import FILL_MODES, INTERPOLATIONS, warp, warp_backward

# Multiples of 1/64 are exact in every step, so both sides agree on which pixel is "nearest".
entries = st.integers(-128, 128).map(lambda k: k / 64)
offsets = st.integers(-512, 512).map(lambda k: k / 64)


@st.composite
def warps(draw, dtypes=(np.float32, np.float64)):
    """Return images of random size, a random affine transform for each, and the options."""
    n, height, width, channels = (draw(st.integers(1, most)) for most in (3, 6, 6, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    x = rng.uniform(0, 255, (n, height, width, channels)).astype(draw(st.sampled_from(dtypes)))
    row = st.tuples(entries, entries, offsets)
    transforms = [[draw(row), draw(row), (0, 0, 1)] for _ in range(n)]
    size = draw(st.none() | st.tuples(st.integers(1, 7), st.integers(1, 7)))
    modes = draw(st.sampled_from(FILL_MODES)), draw(st.sampled_from(INTERPOLATIONS))
    return x, np.array(transforms, np.float64), size, *modes


@settings(deadline=None)
@given(warps(), st.sampled_from([0.0, -3.5, 255.0]))
def test_warp_equals_its_reference(case, fill_value):
    x, transforms, size, fill_mode, interpolation = case
    y = warp(x, transforms, fill_mode, fill_value, interpolation, size)
    expected = naive_warp(x, transforms, fill_mode, fill_value, interpolation, size)
    assert y.dtype == x.dtype
    assert y.shape == expected.shape
    # float32: a few roundings of numbers up to 255, each half of 1.5e-5
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-4 if x.dtype == np.float32 else 1e-11)


@settings(deadline=None)
@given(warps(dtypes=(np.float64,)))
def test_backward_is_the_adjoint(case):
    x, transforms, size, fill_mode, interpolation = case
    y = warp(x, transforms, fill_mode, 0.0, interpolation, size)
    g = np.random.default_rng(0).uniform(0.5, 1.5, y.shape)  # positive: nothing cancels
    dx = warp_backward(g, transforms, x.shape[1:3], fill_mode, interpolation)
    assert dx.shape == x.shape
    np.testing.assert_allclose(np.vdot(x, dx), np.vdot(y, g), rtol=1e-12)


@pytest.mark.parametrize(
    ("fill_mode", "expected"),
    [
        ("constant", [9, 9, 9, 9, 1, 2, 3, 9, 9, 9, 9]),
        ("nearest", [1, 1, 1, 1, 1, 2, 3, 3, 3, 3, 3]),
        ("reflect", [3, 3, 2, 1, 1, 2, 3, 3, 2, 1, 1]),
        ("wrap", [3, 1, 2, 3, 1, 2, 3, 1, 2, 3, 1]),
    ],
)
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("vertical", [False, True])
def test_fill_modes_extend_a_row_as_documented(fill_mode, expected, interpolation, vertical):
    x = np.array([1.0, 2.0, 3.0]).reshape((1, 3, 1, 1) if vertical else (1, 1, 3, 1))
    transform = np.eye(3)[None]
    transform[0, 1 if vertical else 0, 2] = -4  # shifts by four pixels to the right (down)
    size = (11, 1) if vertical else (1, 11)  # of the output
    y = warp(x, transform, fill_mode, 9, interpolation, size)
    assert y.ravel().tolist() == expected


@pytest.mark.parametrize("fill_mode", FILL_MODES)
def test_bilinear_interpolation_uses_the_fill_mode_at_the_border(fill_mode):
    x = np.array([1.0, 2.0, 4.0]).reshape(1, 1, 3, 1)
    transform = np.eye(3)[None]
    transform[0, 0, 2] = 0.25  # everything a quarter of a pixel to the left
    last = {"constant": 8, "nearest": 4, "reflect": 4, "wrap": 1}[fill_mode]
    expected = [1.25, 2.5, 0.75 * 4 + 0.25 * last]
    assert warp(x, transform, fill_mode, 8)[0, 0, :, 0].tolist() == expected


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_whole_pixel_moves_copy_every_bit(interpolation, dtype):
    x = np.random.default_rng(0).normal(0, 1e20, (2, 5, 4, 3)).astype(dtype)
    x[0, 2, 1] = [np.nan, np.inf, -0.0]
    mirror = np.array([[-1.0, 0, 3], [0, 1, 0], [0, 0, 1]])
    y = warp(x, np.stack([np.eye(3), mirror]), "reflect", 0.0, interpolation)
    assert y[0].tobytes() == x[0].tobytes()
    assert y[1].tobytes() == x[1, :, ::-1].tobytes()


def test_the_fill_value_does_not_affect_inner_pixels():
    x = np.ones((1, 8, 8, 1), np.float32)
    shift = np.array([[[1, 0, -0.5], [0, 1, 0], [0, 0, 1]]])
    y = warp(x, shift, "constant", 1e30)
    assert (y[0, :, 0] > 1e29).all()
    assert (y[0, :, 1:] == 1).all()


def test_result_does_not_depend_on_the_threads():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(9, 12, 10, 3)).astype("float32")
    transforms = np.tile(np.eye(3), (9, 1, 1))
    transforms[:, :2] += rng.normal(0, 0.2, (9, 2, 3))
    before = thread_pool.get_num_threads()
    results = []
    try:
        for threads in (1, 2):
            thread_pool.set_num_threads(threads)
            y = warp(x, transforms, "reflect")
            results.append(y.tobytes() + warp_backward(y, transforms, (12, 10)).tobytes())
    finally:
        thread_pool.set_num_threads(before)
    assert results[0] == results[1]


def test_memory_layouts_and_empty_batches():
    x = np.random.default_rng(0).normal(size=(2, 4, 5, 3))
    transforms = np.tile(np.eye(3), (2, 1, 1))
    transforms[:, 0, 2] = 0.3
    y = warp(x, transforms)
    strided = np.asfortranarray(x)
    np.testing.assert_array_equal(warp(strided, transforms), y)
    dx = warp_backward(y, transforms, (4, 5))
    np.testing.assert_array_equal(warp_backward(np.asfortranarray(y), transforms, (4, 5)), dx)
    assert warp(x[:0], transforms[:0]).shape == (0, 4, 5, 3)
    assert warp_backward(x[:0], transforms[:0], (3, 3)).shape == (0, 3, 3, 3)
