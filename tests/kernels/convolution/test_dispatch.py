"""The choice of an algorithm, and what all algorithms have in common."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.checks import thorough
from support.convolution_cases import cases, one_case

from minidl.kernels.compiled.gemm_tile import PANEL
from minidl.kernels.convolution.dispatch import (
    ALGORITHMS,
    choose_algorithm,
    convolve,
    convolve_backward,
    prepare_kernel,
    supports_winograd,
)
from minidl.kernels.geometry import Convolution
from minidl.kernels.runtime import thread_pool

THREE = Convolution((3, 3), padding="same")
POINTWISE = (*one_case(Convolution((1, 1)), dtype=np.float32), Convolution((1, 1)))


@pytest.mark.parametrize(
    ("x_shape", "w_shape", "convolution", "dtype", "expected"),
    [
        ((8, 56, 56, 64), (1, 1, 64, 256), Convolution((1, 1)), np.float32, "direct"),
        ((8, 56, 56, 64), (1, 1, 64, 256), Convolution((1, 1)), np.float64, "im2col"),
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
def test_choice_for_outputs(x_shape, w_shape, convolution, dtype, expected):
    assert choose_algorithm(x_shape, w_shape, convolution, np.dtype(dtype)) == expected


@pytest.mark.parametrize(
    ("x_shape", "kernel_size", "expected"),
    [
        ((8, 7, 7, 512), (3, 3), "winograd"),
        ((8, 14, 14, 512), (1, 1), "im2col"),
        ((8, 17, 17, 512), (1, 7), "im2col"),
    ],
)
def test_choice_for_gradients(x_shape, kernel_size, expected):
    w_shape, convolution = (*kernel_size, 512, 512), Convolution(kernel_size, padding="same")
    chosen = choose_algorithm(x_shape, w_shape, convolution, np.dtype(np.float32), backward=True)
    assert chosen == expected


@pytest.mark.parametrize("padding", ["same", "valid", (2, 0, 1, 3)])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_all_algorithms_compute_the_same(algorithm, padding):
    rng = np.random.default_rng(0)
    convolution = Convolution((3, 3), padding=padding)
    assert supports_winograd(convolution)
    x, w, bias = rng.normal(size=(2, 11, 9, 5)), rng.normal(size=(3, 3, 5, 4)), rng.normal(size=4)
    exact = convolve(x, w, bias, convolution, relu=True, algorithm="im2col")
    dy = rng.normal(size=exact.shape)
    exact = [exact, *convolve_backward(x, w, dy, convolution, exact, algorithm="im2col")]
    x, w, bias, dy = (a.astype(np.float32) for a in (x, w, bias, dy))
    prepared = prepare_kernel(w, algorithm, convolution)
    y = convolve(x, w, bias, convolution, True, algorithm=algorithm, prepared=prepared)
    found = [y, *convolve_backward(x, w, dy, convolution, y, algorithm=algorithm)]
    # Sums of some hundred products of numbers up to 4, and Winograd's matrices: see its own tests.
    for a, b in zip(found, exact, strict=True):
        assert a.dtype == np.float32
        np.testing.assert_allclose(a, b, atol=1e4 * np.finfo(np.float32).eps)


@thorough
@given(
    cases(),
    st.booleans(),
    st.booleans(),
    st.integers(0, 3),
    st.sampled_from([1, 3]),
    st.sampled_from(ALGORITHMS),
)
@example(POINTWISE, True, True, 2, 3, "direct")
def test_epilogue_and_channels_of_a_wider_array(case, relu, residual, channel, threads, algorithm):
    x, w, bias, dy, convolution = case
    thread_pool.set_num_threads(threads)
    if x.dtype != np.float32 or (algorithm == "winograd" and not supports_winograd(convolution)):
        algorithm = "im2col"
    wide = np.full((*dy.shape[:3], dy.shape[3] + channel + 1), 7, x.dtype)
    y = convolve(x, w, bias, convolution, relu, dy if residual else None, wide, channel, algorithm)
    assert y is wide
    expected = convolve(x, w, bias, convolution, algorithm=algorithm)
    expected = expected + dy if residual else expected
    expected = np.maximum(expected, 0) if relu else expected
    size = expected.shape[3]
    np.testing.assert_array_equal(wide[..., channel : channel + size], expected)
    assert (wide[..., :channel] == 7).all()
    assert (wide[..., channel + size :] == 7).all()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("filters", [6, 2 * PANEL])
def test_the_residual_may_be_the_output(filters, algorithm):
    x, w, bias, dy = one_case(THREE, filters=filters, dtype=np.float32)
    expected = convolve(x, w, bias, THREE, True, dy, algorithm=algorithm)
    assert convolve(x, w, bias, THREE, True, dy, dy, algorithm=algorithm) is dy
    np.testing.assert_array_equal(dy, expected)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_non_contiguous_inputs_are_copied(algorithm):
    x, w, bias, dy = one_case(THREE, dtype=np.float32)
    y = convolve(x, w, bias, THREE, True, dy, algorithm=algorithm)
    for order in (np.asfortranarray, lambda a: np.repeat(a, 2, axis=2)[:, :, ::2]):
        found = convolve(order(x), w, bias, THREE, True, order(dy), algorithm=algorithm)
        np.testing.assert_array_equal(found, y)
    found = convolve(x, np.asfortranarray(w), bias, THREE, True, dy, algorithm=algorithm)
    np.testing.assert_array_equal(found, y)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("with_bias", [False, True])
def test_relu_does_not_hide_nan(with_bias, algorithm):
    x, w, bias, residual = one_case(THREE, n=1, dtype=np.float32)
    residual[0, 5, 5] = np.nan
    y = convolve(x, w, bias if with_bias else None, THREE, True, residual, algorithm=algorithm)
    np.testing.assert_array_equal(np.isnan(y), np.isnan(residual))
    assert (y[~np.isnan(y)] >= 0).all()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_inputs_are_not_changed(algorithm):
    arrays = one_case(THREE, dtype=np.float32)
    x, w, bias, dy = copies = [a.copy() for a in arrays]
    y = convolve(x, w, bias, THREE, True, dy, algorithm=algorithm)
    convolve_backward(x, w, dy, THREE, y, algorithm=algorithm)
    for before, after in zip(arrays, copies, strict=True):
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_an_empty_batch_gives_an_empty_output_and_zero_gradients(algorithm):
    x, w, bias, dy = one_case(THREE, n=0, dtype=np.float32)
    assert convolve(x, w, bias, THREE, algorithm=algorithm).shape == dy.shape
    dx, dw, dbias = convolve_backward(x, w, dy, THREE, algorithm=algorithm)
    assert dx.shape == x.shape
    assert (dw == 0).all()
    assert (dbias == 0).all()


def _bits(arrays, convolution, algorithm=None):
    """Return the bits of the output and of all gradients."""
    x, w, bias, dy = arrays
    y = convolve(x, w, bias, convolution, True, algorithm=algorithm)
    gradients = convolve_backward(x, w, dy, convolution, y, algorithm=algorithm)
    return [a.tobytes() for a in (y, *gradients)]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("threads", [1, 3])
def test_equal_calls_give_equal_bits(threads, algorithm):
    thread_pool.set_num_threads(threads)
    case = one_case(THREE, n=8, dtype=np.float32)
    first = _bits(case, THREE, algorithm)
    assert all(_bits(case, THREE, algorithm) == first for _ in range(5))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("convolution", "images", "size", "channels", "filters"),
    [
        (THREE, 8, 28, 32, 64),  # Winograd's gradients, several sums
        (THREE, 3, 8, 160, 160),  # more input channels than tiles: one sum
        (THREE, 1, 40, 64, 64),
        (THREE, 20, 30, 3, 16),  # im2col
        (Convolution((3, 3), (2, 2), "same"), 8, 7, 256, 128),
        (Convolution((1, 1)), 8, 14, 256, 512),
        (Convolution((1, 7), padding="same"), 3, 17, 128, 128),
        (Convolution((5, 5), padding="same", groups=4), 6, 13, 48, 64),
    ],
)
def test_the_number_of_threads_does_not_change_a_bit(
    convolution, images, size, channels, filters, dtype
):
    case = one_case(convolution, images, size, channels, filters, np.dtype(dtype))

    def bits(threads):
        thread_pool.set_num_threads(threads)
        return _bits(case, convolution)

    first = bits(1)
    assert all(bits(threads) == first for threads in (2, 3, 8))


@pytest.mark.parametrize("algorithm", ["winograd", "im2col"])
@pytest.mark.parametrize("images", [1, 8])
def test_only_the_requested_gradients_are_computed(images, algorithm):
    thread_pool.set_num_threads(2)
    x, w, _, dy = one_case(THREE, n=images, dtype=np.float32)

    def gradients(x, **options):
        return convolve_backward(x, w, dy, THREE, algorithm=algorithm, **options)

    dx, dw, dbias = gradients(x)
    without_dx = gradients(x, need_dx=False)
    assert without_dx[0] is None
    np.testing.assert_array_equal(without_dx[1], dw)
    np.testing.assert_array_equal(without_dx[2], dbias)
    assert gradients(x, with_bias=False)[2] is None
    # Without dw only the shape of x is read.
    without_dw = gradients(np.full_like(x, np.nan), need_dw=False)
    assert without_dw[1:] == (None, None)
    np.testing.assert_array_equal(without_dw[0], dx)


@pytest.mark.parametrize("algorithm", ["direct", "winograd"])
def test_the_fast_algorithms_refuse_float64(algorithm):
    x, w, _, _ = one_case(THREE)
    expected = f"expected x of float32 for the algorithm '{algorithm}', received float64.*'im2col'"
    prepared = prepare_kernel(w.astype(np.float32), algorithm, THREE)
    with pytest.raises(TypeError, match=expected):
        convolve(x, w, None, THREE, prepared=prepared)
