"""Dense steps compute what the layer computes, on few and on many samples."""

import numpy as np
import pytest

from minidl import layers
from minidl.graph.inference.dense_steps import DenseStep
from minidl.kernels.runtime import thread_pool

RNG = np.random.default_rng(0)


def step_of(units=300, inputs=270, **options):
    layer = layers.Dense(units, bias_initializer="glorot_uniform", **options)
    layer.build((None, inputs))
    return DenseStep(layer, number=1, inputs=(0,))


@pytest.mark.parametrize("activation", [None, "relu", "softmax"])
@pytest.mark.parametrize("samples", [0, 1, 8, 16, 17])
def test_any_number_of_samples_and_any_activation(activation, samples):
    step = step_of(activation=activation)
    x = RNG.normal(size=(samples, 270)).astype(np.float32)
    assert step.describe(x.shape) == ("direct" if 0 < samples <= 16 else "layer")
    y = step.run([x])
    assert y.shape == (samples, 300)
    np.testing.assert_allclose(y, step.layer.forward(x)[0], rtol=1e-5, atol=1e-5)


def test_the_number_of_threads_does_not_change_a_bit():
    step, x = step_of(use_bias=False), RNG.normal(size=(3, 270)).astype(np.float32)
    outputs = []
    for threads in (1, 2, 3):
        thread_pool.set_num_threads(threads)
        outputs.append(step.run([x]))
    np.testing.assert_array_equal(outputs[0], outputs[1])
    np.testing.assert_array_equal(outputs[0], outputs[2])


def test_other_shapes_sizes_and_types_are_left_to_the_layer():
    assert step_of().describe((1, 4, 270)) == "layer"
    assert step_of(units=2).describe((1, 270)) == "layer"
    assert step_of(dtype="float64").describe((1, 270)) == "layer"
    assert step_of(dtype="float64").run([RNG.normal(size=(1, 270))]).dtype == np.float64
