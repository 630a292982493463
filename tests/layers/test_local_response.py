"""LocalResponseNormalization beside a loop over the channels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minidl.layers import LocalResponseNormalization


def slow(x, size, alpha, beta, bias):
    """Compute the formula of the ONNX operator LRN channel by channel."""
    y = np.empty_like(x)
    for c in range(x.shape[-1]):
        low, high = max(0, c - (size - 1) // 2), min(x.shape[-1] - 1, c + -(-(size - 1) // 2))
        energy = (x[..., low : high + 1] ** 2).sum(axis=-1)
        y[..., c] = x[..., c] / (bias + alpha / size * energy) ** beta
    return y


@given(size=st.integers(1, 12), channels=st.integers(1, 7), seed=st.integers(0, 99))
def test_it_equals_the_loop(size, channels, seed):
    x = np.random.default_rng(seed).normal(size=(2, 3, channels))
    layer = LocalResponseNormalization(size, alpha=0.3, beta=0.7, bias=1.5)
    np.testing.assert_allclose(layer(x), slow(x, size, 0.3, 0.7, 1.5), rtol=1e-12)


@pytest.mark.parametrize("size", [0, 2.5, None])
def test_a_wrong_size_is_refused(size):
    with pytest.raises(ValueError, match="expected size"):
        LocalResponseNormalization(size)
