"""The small questions that the training loop asks of each batch."""

import numpy as np
import pytest
from support.tiny import refused

from minidl import losses
from minidl.common.errors import DataError, ShapeError
from minidl.training.batches import (
    combined_weights,
    limit,
    sample_count,
    unpack,
)

X, Y, W = np.ones((4, 3)), np.array([0, 1, 1, 0]), np.array([1.0, 2.0, 3.0, 4.0])


def test_a_batch_has_up_to_three_parts():
    assert unpack((X, Y, W)) == (X, Y, W)
    for batch in ((X, Y), (X,), X):
        x, y, weight = unpack(batch)
        assert x is X
        assert y is (Y if len(batch) == 2 else None)
        assert weight is None


@pytest.mark.parametrize(
    ("batch", "word"), [((X, Y, W, 4), "tuple of 4"), ([X, Y], "list"), ("ab", "str"), ({}, "dict")]
)
def test_what_is_no_batch(batch, word):
    with refused(DataError, "(x, y)", word):
        unpack(batch)


def test_sample_count():
    assert sample_count(X) == sample_count([X, Y]) == 4


def test_limit_takes_no_more_than_asked_and_closes_the_source():
    closed = []

    def source():
        try:
            yield from range(10)
        finally:
            closed.append(True)

    numbers = source()
    assert list(limit(numbers, 3)) == [0, 1, 2]
    assert closed == [True]
    assert list(limit(source(), None)) == list(range(10))
    rest = iter(range(5))
    assert list(limit(rest, 2)) == [0, 1]
    assert list(rest) == [2, 3, 4]


def test_weights_of_classes_and_samples_multiply():
    loss, p = losses.BinaryCrossentropy(), np.zeros((4, 1))
    assert combined_weights(Y, p, loss, None, W) is W
    assert combined_weights(Y, p, loss, {0: 1, 1: 10}).tolist() == [1, 10, 10, 1]
    assert combined_weights(Y, p, loss, {0: 1, 1: 10}, W).tolist() == [1, 20, 30, 4]
    with refused(ShapeError, "sample_weight", "(4,)", "(3,)"):
        combined_weights(Y, p, loss, {0: 1, 1: 10}, W[:3])


def test_which_classes_there_are_depends_on_the_loss():
    with refused(DataError, "0..1", "7"):
        combined_weights(Y, np.zeros((4, 1)), losses.BinaryCrossentropy(), {0: 1, 1: 1, 7: 1})
    with refused(DataError, "class 2"):
        three = np.zeros((4, 3))
        combined_weights(Y, three, losses.SparseCategoricalCrossentropy(), {0: 1, 1: 1})
    labels = np.array([3, 8, 8, 3])  # numbers to be approached, not classes
    weights = combined_weights(labels, np.zeros((4, 1)), losses.MeanSquaredError(), {3: 1, 8: 2})
    assert weights.tolist() == [1, 2, 2, 1]
