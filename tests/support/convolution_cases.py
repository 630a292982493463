"""Convolutions to test with: drawn by hypothesis, or one for all."""

import numpy as np
from hypothesis import strategies as st

from minidl.kernels.geometry import Convolution


@st.composite
def cases(draw, dtypes=(np.float32, np.float64)):
    """Return (x, w, bias, dy, convolution) with everything drawn, dtypes alike."""
    pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))
    convolution = Convolution(
        draw(pairs), draw(pairs), draw(st.sampled_from(["valid", "same"])), draw(pairs),
        draw(st.integers(1, 3)),
    )  # fmt: skip
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
