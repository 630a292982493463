"""Convolution steps: folding into kernel and bias, epilogues and cached transforms."""

import numpy as np
import pytest
from support.inference import randomize, run_layers

from minidl import Input, Sequential, layers
from minidl.common.errors import ShapeError
from minidl.graph.inference import convolution_steps
from minidl.graph.inference.convolution_steps import ConvolutionStep, DepthwiseStep

RNG = np.random.default_rng(0)


X = RNG.normal(size=(2, 6, 6, 3))


def built(layer, shape=(None, 6, 6, 3)):
    layer.dtype = np.dtype("float64")
    layer.build(shape)
    for parameter in layer.parameters:
        parameter.assign(RNG.uniform(0.5, 1.5, parameter.shape))
    return layer


def run(step, *xs):
    return step.run(list(xs), np.empty(step.output_shape([x.shape for x in xs])))


@pytest.mark.parametrize(
    ("step_class", "layer"),
    [(ConvolutionStep, layers.Conv2D(4, 3)), (DepthwiseStep, layers.DepthwiseConv2D(3))],
)
def test_a_normalization_is_folded_into_copies(step_class, layer):
    built(layer)
    channels = layer.compute_output_shape((None, 6, 6, 3))[-1]
    norm = built(layers.BatchNormalization(), (None, 4, 4, channels))
    before = layer.get_weights()
    step = step_class(layer, number=1, x=0)
    step.fuse_normalization(norm)
    expected = norm.forward(layer.forward(X)[0])[0]
    np.testing.assert_allclose(run(step, X), expected, rtol=1e-12)
    for now, then in zip(layer.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)
    assert step.parameters == [*layer.parameters, *norm.parameters]


def test_rescaling_padding_addition_and_relu_are_fused():
    layer = built(layers.Conv2D(4, 3))
    rescaling = layers.Rescaling([0.5, 1.0, 2.0], offset=[-3.0, 0.0, 1.0], dtype="float64")
    residual = RNG.normal(size=(2, 4, 4, 4))
    step = ConvolutionStep(layer, number=1, x=0)
    step.fuse_rescaling(rescaling)
    step.fuse_addition(layers.Add(), other=2)
    step.fuse_relu(layers.ReLU())
    expected = np.maximum(layer.forward(rescaling.forward(X)[0])[0] + residual, 0)
    np.testing.assert_allclose(run(step, X, residual), expected, rtol=1e-12, atol=1e-12)
    assert step.inputs == (0, 2)


def test_a_padding_is_fused():
    layer, padding = built(layers.Conv2D(4, 3)), layers.ZeroPadding2D(((1, 0), (2, 1)))
    step = ConvolutionStep(layer, number=1, x=0)
    step.fuse_padding(padding)
    expected = layer.forward(padding.forward(X)[0])[0]
    np.testing.assert_allclose(run(step, X), expected, rtol=1e-12)


def test_other_activations_are_applied_after_the_kernel():
    layer = built(layers.Conv2D(4, 3, activation="tanh"))
    step = ConvolutionStep(layer, number=1, x=0)
    np.testing.assert_allclose(run(step, X), layer.forward(X)[0], rtol=1e-12)
    assert not step.writes_slices


def test_an_addition_of_another_shape_is_refused():
    step = ConvolutionStep(built(layers.Conv2D(4, 3)), number=1, x=0)
    step.fuse_addition(layers.Add(name="sum"), other=2)
    with pytest.raises(ShapeError, match=r"'sum'.*\(2, 4, 4, 4\), \(2, 6, 6, 3\)"):
        step.output_shape([X.shape, X.shape])


def test_large_transforms_of_kernels_are_made_for_each_call(monkeypatch):
    monkeypatch.setattr(convolution_steps, "MAX_CACHED_TRANSFORM", 1)
    stack = [Input((24, 24, 64)), layers.Conv2D(64, 3), layers.Conv2D(70, 3), layers.ReLU()]
    model = randomize(Sequential(stack))
    x = RNG.normal(size=(8, 24, 24, 64)).astype(np.float32)
    y = model.infer(x)
    np.testing.assert_allclose(y, run_layers(model, x), rtol=1e-4, atol=1e-4 * y.max())
    assert all(not step.prepared for step in model._plan.prepare([x.shape]).graph.steps)
