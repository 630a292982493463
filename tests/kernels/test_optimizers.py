"""Optimizer kernels against the steps of single numbers; chunks, threads and norms."""

import numpy as np
import pytest
from support import reference_training as reference

from minidl.kernels import optimizers as kernels
from minidl.kernels.runtime import thread_pool

NONE = np.empty(0)


def arrays(count, size=7, dtype="float64"):
    """Return w and g, then `count` arrays of zeros for the state."""
    w, g = np.random.default_rng(0).normal(size=(2, size)).astype(dtype)
    return [w, g, *np.zeros((count, size), dtype)]


def step_all(optimizer, w, g):
    return [optimizer().step(value, gradient) for value, gradient in zip(w, g, strict=True)]


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd(momentum, nesterov):
    w, g, m = arrays(1)
    expected = step_all(
        lambda: reference.SGD(0.1, momentum=momentum, nesterov=nesterov, weight_decay=0.5), w, g
    )
    kernels.sgd([w, g, m if momentum else NONE], 0.1, 0.05, momentum, nesterov)
    np.testing.assert_allclose(w, expected, rtol=1e-12)


@pytest.mark.parametrize("centered", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_rmsprop(momentum, centered):
    w, g, v, m, a = arrays(3)
    expected = step_all(
        lambda: reference.RMSprop(
            0.1, rho=0.8, momentum=momentum, epsilon=1e-7, centered=centered, weight_decay=0.5
        ),
        w,
        g,
    )
    state = [v, m if momentum else NONE, a if centered else NONE]
    kernels.rmsprop([w, g, *state], 0.1, 0.05, 0.8, momentum, 1e-7)
    np.testing.assert_allclose(w, expected, rtol=1e-10)


@pytest.mark.parametrize("amsgrad", [False, True])
def test_adam(amsgrad):
    w, g, m, v, largest = arrays(3)
    kernels.adam([w.copy(), g, m, v, NONE], 0.1, 0.0, 0.9, 0.99, 1e-7)
    np.testing.assert_allclose(m, 0.1 * g, rtol=1e-12)
    np.testing.assert_allclose(v, 0.01 * g * g, rtol=1e-12)
    before = w.copy()
    largest[:] = 4.0  # larger than v
    kernels.adam([w, g, m, v, largest if amsgrad else NONE], 0.1, 0.05, 0.9, 0.99, 1e-7)
    root = 2.0 if amsgrad else np.sqrt(v)
    np.testing.assert_allclose(w, before * 0.95 - 0.1 * m / (root + 1e-7), rtol=1e-10)


def test_chunks_cover_large_arrays_for_any_number_of_threads(monkeypatch):
    monkeypatch.setattr(kernels, "CHUNK", 100)
    monkeypatch.setattr(kernels, "SERIAL", 0)
    results = []
    before = thread_pool.get_num_threads()
    try:
        for threads in (1, 3):
            thread_pool.set_num_threads(threads)
            w, g, m = arrays(1, size=1234, dtype="float32")
            expected = w - np.float32(0.1) * g
            kernels.sgd([w, g, m], 0.1, 0.0, 0.9, False)
            np.testing.assert_allclose(w, expected, rtol=1e-6, atol=1e-7)
            results.append((w.tobytes(), kernels.norm(g)))
    finally:
        thread_pool.set_num_threads(before)
    assert results[0] == results[1]


@pytest.mark.parametrize("size", [0, 1, 99, 100, 101, 1000])
def test_the_norm_sums_all_chunks(size, monkeypatch):
    monkeypatch.setattr(kernels, "CHUNK", 100)
    x = np.random.default_rng(1).normal(size=size).astype("float32")
    assert kernels.norm(x) == pytest.approx(np.linalg.norm(x.astype("float64")), rel=1e-12)


def test_the_norm_does_not_overflow():
    x = np.full((2, 2), 1e30, "float32")
    assert kernels.norm(x) == pytest.approx(2e30, rel=1e-6)
    assert kernels.norm(np.asfortranarray(x)) == pytest.approx(2e30, rel=1e-6)
