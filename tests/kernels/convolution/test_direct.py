"""Direct convolution: packed kernels, its division into jobs, and its results."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.checks import assert_sums_agree, thorough
from support.convolution_cases import cases, one_case
from support.reference import naive_conv2d

from minidl.kernels.compiled import gemm_loops
from minidl.kernels.compiled.gemm_tile import PANEL, SHORT, TALL
from minidl.kernels.convolution import direct as module
from minidl.kernels.convolution.direct import divide_direct, pack_kernel
from minidl.kernels.convolution.dispatch import convolve
from minidl.kernels.geometry import Convolution
from minidl.kernels.runtime import thread_pool

POINTWISE = (*one_case(Convolution((1, 1)), dtype=np.float32), Convolution((1, 1)))


def forward(x, w, bias, convolution, *epilogue):
    return convolve(x, w, bias, convolution, *epilogue, algorithm="direct")


def assert_exact(y, x, w, bias, convolution, relu=False):
    exact = naive_conv2d(x, w, convolution, convolution.groups)
    magnitude = naive_conv2d(np.abs(x), np.abs(w), convolution, convolution.groups)
    if bias is not None:
        exact, magnitude = exact + bias, magnitude + np.abs(bias)
    assert_sums_agree(y, np.maximum(exact, 0) if relu else exact, magnitude, w[..., 0].size + 1)


@thorough
@given(cases(dtypes=(np.float32,)), st.booleans(), st.booleans(), st.sampled_from([1, 3]))
@example(POINTWISE, True, True, 3)
def test_forward_equals_the_naive_convolution(case, with_bias, relu, threads):
    x, w, bias, _, convolution = case
    thread_pool.set_num_threads(threads)
    bias = bias if with_bias else None
    y = forward(x, w, bias, convolution, relu)
    assert y.dtype == np.float32
    assert_exact(y, x, w, bias, convolution, relu)


@pytest.mark.parametrize("filters", [1, PANEL - 1, PANEL, PANEL + 1, 3 * PANEL + 5])
@pytest.mark.parametrize("pixels", [1, SHORT, SHORT + 1, TALL, TALL + 1, 2 * TALL + SHORT])
@pytest.mark.parametrize("groups", [1, 2])
def test_whole_and_partial_register_tiles(filters, pixels, groups):
    rng = np.random.default_rng(0)
    convolution = Convolution((1, 3), padding="same", groups=groups)
    x = rng.normal(size=(1, 1, pixels, 6)).astype(np.float32)
    w = rng.normal(size=(1, 3, 6 // groups, groups * filters)).astype(np.float32)
    bias, residual = rng.normal(size=(2, groups * filters)).astype(np.float32)
    y = forward(x, w, bias, convolution)
    assert_exact(y, x, w, bias, convolution)
    residual = np.broadcast_to(residual, y.shape).copy()
    np.testing.assert_array_equal(forward(x, w, bias, convolution, False, residual), y + residual)


@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("filters", [1, PANEL, PANEL + 1])
def test_packed_kernels_hold_all_weights_and_zeros(filters, groups):
    w = np.random.default_rng(0).normal(size=(3, 2, 4, groups * filters)).astype(np.float32)
    packed = pack_kernel(w, groups)
    panels = -(-filters // PANEL)
    assert packed.shape == (groups, panels, 24, PANEL)
    columns = packed.transpose(2, 0, 1, 3).reshape(24, groups, panels * PANEL)
    np.testing.assert_array_equal(columns[..., :filters].reshape(w.shape), w)
    assert (columns[..., filters:] == 0).all()


@thorough
@given(
    st.tuples(st.integers(1, 4), st.integers(1, 30), st.integers(1, 30), st.integers(1, 300)),
    st.integers(1, 40),
    st.integers(1, 2),
    st.integers(1, 5),
)
def test_jobs_compute_each_output_once(x_shape, panels, groups, threads):
    convolution = Convolution((3, 3), padding="same", groups=groups)
    jobs = divide_direct(x_shape, (groups, panels, 9 * x_shape[3], PANEL), convolution, threads)
    computed = np.zeros((groups, np.prod(x_shape[:3]), panels), int)
    for job in jobs:
        group, pixels = job["group"], slice(job["first"], job["last"])
        computed[group, pixels, job["begin"] : job["end"]] += 1
        assert job["first"] % TALL == 0  # only the last block ends with a partial tile
    assert (computed == 1).all()


@thorough
@given(cases(dtypes=(np.float32,)), st.integers(1, 2**8), st.sampled_from([1, 3]))
@example(POINTWISE, 1, 3)
def test_results_do_not_depend_on_the_division_into_jobs(case, size, threads):
    x, w, bias, _, convolution = case
    whole = forward(x, w, bias, convolution)
    thread_pool.set_num_threads(threads)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK_BYTES", 1)
        patch.setattr(module, "JOB_SIZE", size)
        patch.setattr(module, "JOBS_PER_THREAD", 100)
        divide_direct.cache_clear()
        np.testing.assert_array_equal(forward(x, w, bias, convolution), whole)
    divide_direct.cache_clear()


@pytest.mark.parametrize("size", [5, 40])  # the threads share the kernel, then the image
def test_threads_share_the_larger_of_image_and_kernel(size):
    x, w, bias, _ = one_case(
        Convolution((3, 3)), n=1, size=size, channels=8, filters=6 * PANEL, dtype=np.float32
    )
    packed = pack_kernel(w)
    jobs = divide_direct(x.shape, packed.shape, Convolution((3, 3)), threads=2)
    assert (len({job["begin"] for job in jobs}) > 1) == (packed.nbytes > x.nbytes)
    assert len(jobs) > 1
    assert_exact(forward(x, w, bias, Convolution((3, 3))), x, w, bias, Convolution((3, 3)))


def test_kernels_with_more_panels_than_fit_into_the_cache():
    depth = gemm_loops.PANELS_BYTES // (4 * PANEL) // 2 + 1  # two panels exceed the limit
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1, 2, TALL, depth)).astype(np.float32)
    w = rng.normal(size=(1, 1, depth, 3 * PANEL)).astype(np.float32)
    y = forward(x, w, None, Convolution((1, 1)))
    assert_exact(y, x, w, None, Convolution((1, 1)))


@given(st.tuples(*[st.integers(0, 3)] * 4), st.integers(1, 2), st.integers(1, 3))
def test_explicit_padding_equals_a_padded_image(pads, stride, kernel):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 6, 5, 2)).astype(np.float32)
    w = rng.normal(size=(kernel, kernel, 2, 3)).astype(np.float32)
    top, bottom, left, right = pads
    padded = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
    plain = Convolution((kernel, kernel), (stride, stride))
    explicit = Convolution((kernel, kernel), (stride, stride), pads)
    np.testing.assert_array_equal(forward(x, w, None, explicit), forward(padded, w, None, plain))


def test_pixels_outside_the_image_are_zero_whatever_is_adjacent_in_memory():
    x = np.full((3, 4, 4, 2), np.nan, np.float32)
    x[1] = 1
    y = forward(x, np.ones((3, 3, 2, 1), np.float32), None, Convolution((3, 3), padding="same"))
    assert y[1, 0, 0, 0] == 8
    assert np.isfinite(y[1]).all()
