"""Assertions that several test modules share."""

import numpy as np
from hypothesis import settings

# For quick tests with much to draw: some times as many examples as the profile asks for.
thorough = settings(max_examples=5 * settings.default.max_examples)


def assert_sums_agree(actual, exact, magnitude, terms):
    """Assert that `actual` are sums of `terms` products, rounded in some order.

    A sum of n terms in any order is off by at most n roundings of the sum of the absolute
    terms (`magnitude`); the slow twin in float64 may be off as much in its own precision.
    """
    assert actual.shape == exact.shape
    allowed = (terms + 2) * (np.finfo(actual.dtype).eps + np.finfo(np.float64).eps) * magnitude
    excess = np.abs(np.float64(actual) - exact) - allowed
    assert excess.size == 0 or excess.max() <= 0, f"off by {excess.max():.3g} more than roundings"
