"""Depthwise convolution by rows, with 1x1 convolutions around it, against naive convolutions."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.checks import assert_sums_agree, thorough
from support.reference import depthwise_as_grouped, naive_conv2d

from minidl.kernels.convolution.depthwise_rows import Pointwise, divide_depthwise, pack_depthwise
from minidl.kernels.convolution.dispatch import prepare_kernel
from minidl.kernels.convolution.pipeline import Pipeline, TensorLocation
from minidl.kernels.geometry import Convolution, Window
from minidl.kernels.runtime import thread_pool

ONE = Convolution((1, 1))


@st.composite
def cases(draw):
    """Return (x, w, bias, window, bounds) drawn at random."""
    pairs = st.tuples(st.integers(1, 5), st.integers(1, 5))
    few = st.tuples(st.integers(1, 3), st.integers(1, 3))
    explicit = st.tuples(*[st.integers(0, 6)] * 4)
    padding = draw(st.one_of(st.sampled_from(["valid", "same"]), explicit))
    window = Window(draw(pairs), draw(few), padding, draw(few))
    low = (1, 1) if window.padding == "same" else window.extent
    height, width = (draw(st.integers(n, n + 12)) for n in low)
    channels = draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    x = normal(rng, draw(st.integers(1, 3)), height, width, channels)
    w, bias = normal(rng, *window.kernel_size, channels, 1), normal(rng, channels)
    return x, w, bias, window, draw(st.sampled_from([(-np.inf, np.inf), (0, np.inf), (0, 0.5)]))


def normal(rng, *shape):
    return rng.normal(size=shape).astype(np.float32)


def naive(x, w, window):
    """Return the naive depthwise convolution."""
    if not isinstance(window.padding, str):
        top, bottom, left, right = window.padding
        x = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
        window = replace(window, padding="valid")
    return naive_conv2d(x, depthwise_as_grouped(w), window, x.shape[3])


def run(x, w, bias, window, bounds, filters, threads, **fused):
    """Return the output of a pipeline of one step, in the channels after the first two."""
    thread_pool.set_num_threads(threads)
    residual = fused.pop("residual", None)
    y = np.full((len(x), *window.output_size(*x.shape[1:3]), filters + 3), 7, np.float32)
    memories = [np.ascontiguousarray(x), y, *([] if residual is None else [residual])]
    source, target, *rest = (TensorLocation(i, 0, a.shape) for i, a in enumerate(memories))
    if rest:
        fused["residual"] = rest[0]
    pipeline = Pipeline(threads)
    kernel = pack_depthwise(w, window)
    pipeline.depthwise(source, kernel, bias, target, bounds, channel=2, **fused)
    pipeline.run(memories)
    assert (y[..., :2] == 7).all()
    assert (y[..., filters + 2 :] == 7).all()
    return y[..., 2 : filters + 2]


@thorough
@given(cases(), st.sampled_from([1, 3]))
def test_alone_it_equals_the_naive_convolution(case, threads):
    x, w, bias, window, bounds = case
    y = run(x, w, bias, window, bounds, x.shape[3], threads)
    exact = np.clip(naive(x, w, window) + bias, *bounds)
    magnitude = naive(np.abs(x), np.abs(w), window) + np.abs(bias)
    assert_sums_agree(y, exact, magnitude, w[:, :, 0, 0].size + 1)


@thorough
@given(cases(), st.integers(1, 70), st.integers(1, 70), st.booleans(), st.sampled_from([1, 3]))
def test_with_neighbors_it_equals_one_step_after_the_other(case, inputs, filters, adds, threads):
    x, w, bias, window, bounds = case
    rng = np.random.default_rng(inputs)
    x, channels = normal(rng, *x.shape[:3], inputs), x.shape[3]
    before, after = normal(rng, 1, 1, inputs, channels), normal(rng, 1, 1, channels, filters)
    shift, last = normal(rng, channels), (-1.0, 1.0)
    residual = None
    if adds:
        residual = normal(rng, len(x), *window.output_size(*x.shape[1:3]), filters)
    y = run(
        x,
        w,
        bias,
        window,
        bounds,
        filters,
        threads,
        expand=Pointwise(prepare_kernel(before, "direct", ONE), shift, bounds),
        project=Pointwise(prepare_kernel(after, "direct", ONE), None, last),
        residual=residual,
    )
    inner = np.clip(x.astype(np.float64) @ before[0, 0] + shift, *bounds)
    inner = np.clip(naive(inner, w, window) + bias, *bounds)
    exact = inner @ after[0, 0] + (residual if adds else 0)
    magnitude = np.abs(x).astype(np.float64) @ np.abs(before[0, 0]) + np.abs(shift)
    magnitude = naive(magnitude, np.abs(w), window) + np.abs(bias)
    magnitude = magnitude @ np.abs(after[0, 0]) + (np.abs(residual) if adds else 0)
    terms = inputs + w[:, :, 0, 0].size + channels + 4
    assert_sums_agree(y, np.clip(exact, *last), magnitude, terms)


@pytest.mark.parametrize("expands", [False, True])
def test_the_number_of_threads_does_not_change_a_bit(expands):
    rng, window = np.random.default_rng(0), Window((3, 3), (2, 2), "same")
    x, w = normal(rng, 2, 37, 29, 33), normal(rng, 3, 3, 33, 1)
    fused = {}
    if expands:
        kernel = prepare_kernel(normal(rng, 1, 1, 33, 33), "direct", ONE)
        fused["expand"] = Pointwise(kernel, None)
    outputs = [run(x, w, None, window, (0, 6), 33, threads, **fused) for threads in (1, 2, 5)]
    for other in outputs[1:]:
        np.testing.assert_array_equal(other, outputs[0])


@pytest.mark.parametrize(("n", "size"), [(1, 7), (8, 7), (1, 112), (3, 28)])
def test_jobs_cover_each_row_of_each_vector_once_and_keep_all_threads_busy(n, size):
    window, shape = Window((3, 3), padding="same"), (n, size, size)
    multiplications = n * size * size * 6 * 9 * 16
    jobs = divide_depthwise((*shape, 96), shape, (6, 9, 16), window, multiplications, 4)
    done = np.zeros((n * size, 6), int)
    for job in jobs:
        done[job["first"] : job["last"], job["begin"] : job["end"]] += 1
        assert job["first"] // size == (job["last"] - 1) // size  # one image
    assert (done == 1).all()
    assert len(jobs) >= 4
