"""Convolutions for tests: drawn by hypothesis, or one of a given geometry."""

import numpy as np
from hypothesis import strategies as st

from minidl.kernels.geometry import Convolution

SAME, VALID = Convolution((3, 3), padding="same"), Convolution((3, 3), padding="valid")
LINES = [
    Convolution(size, padding=padding) for size in ((1, 7), (7, 1)) for padding in ("same", "valid")
]


@st.composite
def cases(draw, dtypes=(np.float32, np.float64)):
    """Return (x, w, bias, dy, convolution), the arrays of one dtype."""
    pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))
    padding = st.sampled_from(["valid", "same"])
    fields = st.tuples(pairs, pairs, padding, pairs, st.integers(1, 3))
    convolution = Convolution(*draw(fields))
    groups, extent = convolution.groups, convolution.extent
    low = (1, 1) if convolution.padding == "same" else extent
    height, width = (draw(st.integers(n, n + 4)) for n in low)
    depth, filters = draw(st.integers(1, 3)), groups * draw(st.integers(1, 3))
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    x = rng.normal(size=(draw(st.integers(1, 3)), height, width, depth * groups))
    w = rng.normal(size=(*convolution.kernel_size, depth, filters))
    bias = rng.normal(size=filters)
    dy = rng.normal(size=(len(x), *convolution.output_size(height, width), filters))
    dtype = draw(st.sampled_from(dtypes))
    return *(a.astype(dtype) for a in (x, w, bias, dy)), convolution


def one_case(convolution, n=3, size=9, channels=4, filters=6, dtype=np.float64):
    """Return (x, w, bias, dy) of normal numbers."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, size, size, channels))
    w = rng.normal(size=(*convolution.kernel_size, channels // convolution.groups, filters))
    dy = rng.normal(size=(n, *convolution.output_size(size, size), filters))
    return (
        x.astype(dtype),
        w.astype(dtype),
        rng.normal(size=filters).astype(dtype),
        dy.astype(dtype),
    )


def winograd_case(window=SAME, n=3, height=9, width=10, c=4, k=6, seed=0):
    """Return (x, w, bias, residual, dy) of normal numbers in float32."""
    rng = np.random.default_rng(seed)
    oh, ow = window.output_size(height, width)
    shapes = (n, height, width, c), (*window.kernel_size, c, k), (k,), *[(n, oh, ow, k)] * 2
    return [rng.normal(size=shape).astype(np.float32) for shape in shapes]


@st.composite
def winograd_cases(draw, windows=(SAME, VALID)):
    """Return (window, *arrays): from one clipped tile to nine tiles, few images and channels."""
    window = draw(st.sampled_from(windows))
    lows = (1, 1) if window.padding == "same" else window.kernel_size
    height, width = (draw(st.integers(low, low + 9)) for low in lows)
    n, c, k, seed = (draw(st.integers(1, most)) for most in (3, 3, 3, 999))
    return window, *winograd_case(window, n, height, width, c, k, seed)


def assert_close_to_exact(actual, exact, scale, terms):
    """Assert that Winograd sums of `terms` products, each at most `scale`, are only rounded.

    The product of the absolute values of the transforms' matrices bounds the numbers inside: they
    are up to 16 times as large as the result's own terms for each of the two axes, and up to 100
    times for the single axis of a line. The transforms themselves add about 40 roundings.
    """
    assert actual.dtype == np.float32
    assert actual.shape == exact.shape
    allowed = 16**2 * (terms + 40) * np.finfo(np.float32).eps * terms * scale
    np.testing.assert_allclose(actual, exact, rtol=0, atol=allowed)
