"""Convolution by register tiles against loops over every product."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.checks import assert_sums_agree, thorough
from support.convolution_cases import cases, one_case
from support.reference import naive_conv2d

from minidl.kernels.compiled import gemm_loops as tiled
from minidl.kernels.compiled.gemm_tile import PANEL, SHORT, TALL
from minidl.kernels.convolution import direct as module
from minidl.kernels.convolution.direct import convolve_direct, pack_kernel
from minidl.kernels.geometry import Convolution
from minidl.kernels.runtime import thread_pool

POINTWISE = (*one_case(Convolution((1, 1)), dtype=np.float32), Convolution((1, 1)))


def forward(x, w, bias, convolution, *epilogue):
    packed = pack_kernel(w, convolution.groups)
    return convolve_direct(x, packed, bias, convolution, w.shape[3], *epilogue)


def assert_exact(y, x, w, bias, convolution, relu=False):
    exact = naive_conv2d(x, w, convolution, convolution.groups)
    magnitude = naive_conv2d(np.abs(x), np.abs(w), convolution, convolution.groups)
    if bias is not None:
        exact, magnitude = exact + bias, magnitude + np.abs(bias)
    assert_sums_agree(y, np.maximum(exact, 0) if relu else exact, magnitude, w[..., 0].size + 1)


@thorough
@given(cases(dtypes=(np.float32,)), st.booleans(), st.booleans(), st.sampled_from([1, 3]))
@example(POINTWISE, True, True, 3)
def test_forward_equals_its_slow_twin(case, with_bias, relu, threads):
    x, w, bias, _, convolution = case
    thread_pool.set_num_threads(threads)
    bias = bias if with_bias else None
    y = forward(x, w, bias, convolution, relu)
    assert y.dtype == np.float32
    assert_exact(y, x, w, bias, convolution, relu)


@pytest.mark.parametrize("filters", [1, PANEL - 1, PANEL, PANEL + 1, 3 * PANEL + 5])
@pytest.mark.parametrize("pixels", [1, SHORT, SHORT + 1, TALL, TALL + 1, 2 * TALL + SHORT])
@pytest.mark.parametrize("groups", [1, 2])
def test_whole_tiles_and_what_hangs_over(filters, pixels, groups):
    rng = np.random.default_rng(0)
    convolution = Convolution((1, 3), padding="same", groups=groups)
    x = rng.normal(size=(1, 1, pixels, 6)).astype(np.float32)
    w = rng.normal(size=(1, 3, 6 // groups, groups * filters)).astype(np.float32)
    bias, residual = rng.normal(size=(2, groups * filters)).astype(np.float32)
    y = forward(x, w, bias, convolution)
    assert_exact(y, x, w, bias, convolution)
    residual = np.broadcast_to(residual, y.shape).copy()
    np.testing.assert_array_equal(forward(x, w, bias, convolution, False, residual), y + residual)


@thorough
@given(cases(dtypes=(np.float32,)), st.integers(1, 2**8), st.sampled_from([1, 3]))
@example(POINTWISE, 1, 3)
def test_however_the_work_is_cut_the_bits_are_the_same(case, size, threads):
    x, w, bias, _, convolution = case
    whole = forward(x, w, bias, convolution)
    thread_pool.set_num_threads(threads)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK_BYTES", 1)
        patch.setattr(module, "JOB_SIZE", size)
        patch.setattr(module, "JOBS_PER_THREAD", 100)
        patch.setattr(module, "layout", module.layout.__wrapped__)
        np.testing.assert_array_equal(forward(x, w, bias, convolution), whole)


@pytest.mark.parametrize("size", [5, 40])  # the threads share out the kernel; the image
def test_the_threads_share_the_larger_of_image_and_kernel(size):
    x, w, bias, _ = one_case(
        Convolution((3, 3)), n=1, size=size, channels=8, filters=6 * PANEL, dtype=np.float32
    )
    packed = pack_kernel(w)
    blocks, parts = module._blocks((size - 2) ** 2, x.shape, packed.shape, threads=2)
    assert (len(parts) > 1) == (packed.nbytes > x.nbytes)
    assert len(blocks) * len(parts) > 1
    assert_exact(forward(x, w, bias, Convolution((3, 3))), x, w, bias, Convolution((3, 3)))


def test_kernels_of_many_panels_are_read_some_at_a_time():
    depth = tiled.PANELS_BYTES // (4 * PANEL) // 2 + 1  # two panels are more than go together
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1, 2, TALL, depth)).astype(np.float32)
    w = rng.normal(size=(1, 1, depth, 3 * PANEL)).astype(np.float32)
    y = forward(x, w, None, Convolution((1, 1)))
    assert_exact(y, x, w, None, Convolution((1, 1)))


@thorough
@given(
    cases(dtypes=(np.float32,)), st.booleans(), st.booleans(), st.integers(0, 3),
    st.sampled_from([1, 3]),
)  # fmt: skip
@example(POINTWISE, True, True, 2, 3)
def test_residual_and_a_place_in_a_wider_array(case, relu, residual, channel, threads):
    x, w, bias, dy, convolution = case
    thread_pool.set_num_threads(threads)
    wide = np.full((*dy.shape[:3], dy.shape[3] + channel + 1), 7, np.float32)
    y = forward(x, w, bias, convolution, relu, dy if residual else None, wide, channel)
    assert y is wide
    expected = forward(x, w, bias, convolution)
    expected = expected + dy if residual else expected
    expected = np.maximum(expected, 0) if relu else expected
    size = expected.shape[3]
    np.testing.assert_array_equal(wide[..., channel : channel + size], expected)
    assert (wide[..., :channel] == 7).all()
    assert (wide[..., channel + size :] == 7).all()


@pytest.mark.parametrize("filters", [6, 2 * PANEL])
def test_the_residual_may_be_the_output(filters):
    convolution = Convolution((1, 1))
    x, w, bias, dy = one_case(convolution, filters=filters, dtype=np.float32)
    expected = forward(x, w, bias, convolution, True, dy)
    assert forward(x, w, bias, convolution, True, dy, dy) is dy
    np.testing.assert_array_equal(dy, expected)


@given(st.tuples(*[st.integers(0, 3)] * 4), st.integers(1, 2), st.integers(1, 3))
def test_explicit_padding_is_that_of_a_padded_image(pads, stride, kernel):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 6, 5, 2)).astype(np.float32)
    w = rng.normal(size=(kernel, kernel, 2, 3)).astype(np.float32)
    top, bottom, left, right = pads
    padded = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
    plain = Convolution((kernel, kernel), (stride, stride))
    explicit = Convolution((kernel, kernel), (stride, stride), pads)
    np.testing.assert_array_equal(forward(x, w, None, explicit), forward(padded, w, None, plain))


def test_images_that_are_not_contiguous_are_copied():
    convolution = Convolution((3, 3))
    x, w, bias, _ = one_case(convolution, dtype=np.float32)
    y = forward(x, w, bias, convolution)
    for order in (np.asfortranarray(x), np.repeat(x, 2, axis=2)[:, :, ::2]):
        np.testing.assert_array_equal(forward(order, w, bias, convolution), y)
    np.testing.assert_array_equal(forward(x, np.asfortranarray(w), bias, convolution), y)


@pytest.mark.parametrize("bias", [None, np.zeros(2, np.float32)])
def test_relu_does_not_hide_nan(bias):
    x = np.ones((1, 2, 2, 1), np.float32)
    x[0, 0, 0] = np.nan
    y = forward(x, np.ones((1, 1, 1, 2), np.float32), bias, Convolution((1, 1)), True)
    assert np.isnan(y[0, 0, 0]).all()
    assert (y[0, 1] == 1).all()


def test_a_number_that_is_not_read_spoils_nothing():
    """The rows of zeros outside the image are zeros, whatever lies beside the image."""
    x = np.full((3, 4, 4, 2), np.nan, np.float32)
    x[1] = 1
    y = forward(x, np.ones((3, 3, 2, 1), np.float32), None, Convolution((3, 3), padding="same"))
    assert y[1, 0, 0, 0] == 8
    assert np.isfinite(y[1]).all()


@pytest.mark.parametrize("convolution", [Convolution((1, 1)), Convolution((3, 3), groups=2)])
def test_inputs_are_left_alone(convolution):
    arrays = one_case(convolution, dtype=np.float32)
    x, w, bias, dy = copies = [a.copy() for a in arrays]
    forward(x, w, bias, convolution, True, dy)
    for before, after in zip(arrays, copies, strict=True):
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("kernel_size", [(1, 1), (3, 3)])
def test_an_empty_batch_gives_an_empty_output(kernel_size):
    x, w, bias, dy = one_case(Convolution(kernel_size), n=0, dtype=np.float32)
    assert forward(x, w, bias, Convolution(kernel_size)).shape == dy.shape


def test_other_numbers_than_float32_are_refused():
    x, w, _, _ = one_case(Convolution((1, 1)))
    with pytest.raises(TypeError, match="expected float32, received float64.*'im2col'"):
        pack_kernel(w)
    packed = pack_kernel(w.astype(np.float32))
    with pytest.raises(TypeError, match="expected float32, received float64"):
        convolve_direct(x, packed, None, Convolution((1, 1)), w.shape[3])
