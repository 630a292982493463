"""The choice of an algorithm, and that all of them compute the same."""

import numpy as np
import pytest

from minidl.kernels.convolution.dispatch import (
    ALGORITHMS,
    choose_algorithm,
    convolve,
    convolve_backward,
    fits_winograd,
    prepare_kernel,
)
from minidl.kernels.geometry import Convolution

THREE = Convolution((3, 3), padding="same")


@pytest.mark.parametrize(
    ("x_shape", "w_shape", "convolution", "dtype", "expected"),
    [
        ((8, 56, 56, 64), (1, 1, 64, 256), Convolution((1, 1)), np.float32, "direct"),
        ((8, 56, 56, 64), (1, 1, 64, 256), Convolution((1, 1)), np.float64, "pointwise"),
        ((8, 56, 56, 64), (1, 1, 64, 256), Convolution((1, 1), (2, 2)), np.float64, "im2col"),
        ((8, 56, 56, 64), (3, 3, 64, 64), THREE, np.float32, "winograd"),
        ((8, 56, 56, 64), (3, 3, 64, 64), THREE, np.float64, "im2col"),
        ((1, 7, 7, 512), (3, 3, 512, 512), THREE, np.float32, "direct"),
        ((8, 56, 56, 64), (3, 3, 64, 64), Convolution((3, 3), (2, 2)), np.float32, "direct"),
        ((8, 9, 9, 64), (3, 3, 64, 64), Convolution((3, 3), dilation=(2, 2)), np.float32, "direct"),
        ((8, 56, 56, 64), (3, 3, 32, 64), Convolution((3, 3), groups=2), np.float32, "direct"),
        ((8, 17, 17, 128), (1, 7, 128, 128), Convolution((1, 7)), np.float32, "winograd"),
        ((8, 17, 17, 128), (1, 5, 128, 128), Convolution((1, 5)), np.float32, "direct"),
    ],
)
def test_the_rule(x_shape, w_shape, convolution, dtype, expected):
    assert choose_algorithm(x_shape, w_shape, convolution, np.dtype(dtype)) == expected


@pytest.mark.parametrize(
    ("x_shape", "kernel_size", "expected"),
    [
        ((8, 7, 7, 512), (3, 3), "winograd"),
        ((8, 14, 14, 512), (1, 1), "pointwise"),
        ((8, 17, 17, 512), (1, 7), "im2col"),
    ],
)
def test_gradients_have_rules_of_their_own(x_shape, kernel_size, expected):
    w_shape, convolution = (*kernel_size, 512, 512), Convolution(kernel_size, padding="same")
    chosen = choose_algorithm(x_shape, w_shape, convolution, np.dtype(np.float32), backward=True)
    assert chosen == expected


@pytest.mark.parametrize("padding", ["same", "valid", (2, 0, 1, 3)])
@pytest.mark.parametrize(
    ("algorithm", "dtype"),
    [(name, np.float32) for name in ALGORITHMS]
    + [(name, np.float64) for name in ALGORITHMS if name != "direct"],
)
def test_each_algorithm_computes_the_same(algorithm, dtype, padding):
    rng = np.random.default_rng(0)
    convolution = Convolution((3, 3), padding=padding)
    assert fits_winograd(convolution)
    x, w, bias = rng.normal(size=(2, 11, 9, 5)), rng.normal(size=(3, 3, 5, 4)), rng.normal(size=4)
    exact = convolve(x, w, bias, convolution, relu=True, algorithm="im2col")
    dy = rng.normal(size=exact.shape)
    exact = [exact, *convolve_backward(x, w, dy, convolution, exact, algorithm="im2col")]
    x, w, bias, dy = (a.astype(dtype) for a in (x, w, bias, dy))
    prepared = prepare_kernel(w, algorithm)
    y = convolve(x, w, bias, convolution, True, algorithm=algorithm, prepared=prepared)
    ours = [y, *convolve_backward(x, w, dy, convolution, y, algorithm=algorithm)]
    # Sums of some hundred products of numbers up to 4, and Winograd's matrices: see its own tests.
    for a, b in zip(ours, exact, strict=True):
        assert a.dtype == dtype
        np.testing.assert_allclose(a, b, atol=1e4 * np.finfo(dtype).eps)
