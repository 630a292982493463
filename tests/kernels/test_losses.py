"""Cross-entropy kernels against formulas for single numbers, and their numerical gradients."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import reference_training as reference

from minidl.kernels import losses as kernels

KERNELS = {
    "softmax_crossentropy": (reference.categorical_crossentropy, True),
    "categorical_crossentropy": (reference.categorical_crossentropy, False),
    "sigmoid_crossentropy": (reference.binary_crossentropy, True),
    "binary_crossentropy": (reference.binary_crossentropy, False),
}
every_kernel = pytest.mark.parametrize("name", KERNELS)


def make_case(name, rows, width, seed, dtype="float64"):
    """Return (predictions, targets, scale) for one of the kernels."""
    rng = np.random.default_rng(seed)
    from_logits = KERNELS[name][1]
    predictions = rng.normal(0, 3, (rows, width)) if from_logits else rng.random((rows, width))
    targets = rng.random((rows, width))
    if "binary" not in name and "sigmoid" not in name:
        targets /= targets.sum(axis=1, keepdims=True)
    scale = rng.uniform(0.1, 2, rows)
    return [a.astype(dtype) for a in (predictions, targets, scale)]


@every_kernel
@given(st.integers(1, 5), st.integers(1, 6), st.integers(0, 2**32))
def test_losses_equal_their_references(name, rows, width, seed):
    predictions, targets, scale = make_case(name, rows, width, seed)
    losses, _ = getattr(kernels, name)(predictions, targets, scale)
    naive, from_logits = KERNELS[name]
    expected = naive(targets.tolist(), predictions.tolist(), from_logits, 0)
    # The reference computes log(softmax) and log(1 - p) with cancellation, up to e^-20.
    np.testing.assert_allclose(losses, expected, rtol=1e-7, atol=1e-9)


@every_kernel
def test_gradients_equal_the_slopes_of_the_weighted_sum(name):
    predictions, targets, scale = make_case(name, 4, 3, seed=0)
    kernel = getattr(kernels, name)
    gradient = kernel(predictions, targets, scale)[1]
    step = 1e-6
    for i in np.ndindex(*predictions.shape):
        sums = []
        for sign in (1, -1):
            moved = predictions.copy()
            moved[i] += sign * step
            sums.append(kernel(moved, targets, scale)[0] @ scale)
        # Central differences: an error of step**2 and a rounding of 1e-16 / step.
        assert gradient[i] == pytest.approx((sums[0] - sums[1]) / (2 * step), rel=1e-6, abs=1e-8)


@every_kernel
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_dtype_is_that_of_the_predictions(name, dtype):
    losses, gradient = getattr(kernels, name)(*make_case(name, 3, 4, 0, dtype))
    assert losses.dtype == gradient.dtype == dtype
    assert (losses.shape, gradient.shape) == ((3,), (3, 4))


@pytest.mark.parametrize("name", ["softmax_crossentropy", "sigmoid_crossentropy"])
def test_extreme_logits_give_finite_losses(name):
    logits = np.array([[1000.0, -1000.0], [-1000.0, 1000.0]], "float32")
    targets = np.array([[1, 0], [1, 0]], "float32")
    losses, gradient = getattr(kernels, name)(logits, targets, np.ones(2, "float32"))
    assert losses[0] == 0
    assert 999 < losses[1] < 2001
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("name", ["categorical_crossentropy", "binary_crossentropy"])
def test_probabilities_are_clipped(name):
    probabilities, targets = np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])
    losses, _ = getattr(kernels, name)(probabilities, targets, np.ones(1))
    assert losses[0] == pytest.approx(-np.log(kernels.CLIP), rel=1e-6)


@every_kernel
def test_nan_stays_visible(name):
    predictions, targets, scale = make_case(name, 2, 3, 0)
    predictions[0, 1] = np.nan
    losses, gradient = getattr(kernels, name)(predictions, targets, scale)
    assert np.isnan(losses).tolist() == [True, False]
    assert np.isnan(gradient[0]).any()
    assert np.isfinite(gradient[1]).all()
