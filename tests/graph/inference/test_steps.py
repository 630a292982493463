"""The steps of an inference plan against the layers that they compute."""

import numpy as np
import pytest

from minidl import layers
from minidl.graph.inference.steps import JoinStep, LayerStep, PaddedPoolStep

RNG = np.random.default_rng(0)
X = np.abs(RNG.normal(size=(2, 7, 6, 3))).astype(np.float32)


def test_a_layer_that_writes_its_output_gets_the_array():
    step = LayerStep(layers.ReLU(), number=1, inputs=(0,))
    out = np.empty_like(X)
    assert step.writes_out
    assert step.run([-X], out) is out
    assert (out == 0).all()


def test_other_layers_return_an_array():
    step = LayerStep(layers.Flatten(), number=1, inputs=(0,))
    assert not step.writes_out
    assert step.output_shape([X.shape]) == (2, 126)
    np.testing.assert_array_equal(step.run([X], None), X.reshape(2, -1))


def test_a_layer_with_several_inputs_gets_a_list():
    step = LayerStep(layers.Add(), number=2, inputs=(0, 1))
    assert step.output_shape([X.shape, X.shape]) == X.shape
    np.testing.assert_array_equal(step.run([X, X], np.empty_like(X)), 2 * X)


@pytest.mark.parametrize("padding", [1, ((0, 1), (1, 0))])
def test_a_padded_pooling_equals_padding_and_pooling(padding):
    pad, pool = layers.ZeroPadding2D(padding), layers.MaxPooling2D(3, 2)
    step = PaddedPoolStep(pad, pool, number=2, inputs=(0,))
    expected = pool(pad(X))
    shape = step.output_shape([X.shape])
    assert shape == expected.shape
    np.testing.assert_array_equal(step.run([X], np.empty(shape, np.float32)), expected)


def test_a_join_copies_only_the_inputs_that_are_not_in_place():
    step = JoinStep(layers.Concatenate(), number=2, inputs=(0, 1))
    step.in_place.add(0)
    shape = step.output_shape([X.shape, X.shape])
    out = np.full(shape, 9, np.float32)
    step.run([X, X], out)
    assert (out[..., :3] == 9).all()
    np.testing.assert_array_equal(out[..., 3:], X)
    assert step.describe(X.shape) == "join, 1 of 2 in place"
    assert not step.supports_pipeline(X.shape)
    step.in_place.add(1)
    assert step.supports_pipeline(X.shape)
