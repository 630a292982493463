"""ConvolutionBlock against its layers, called one by one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.checks import thorough

from minidl.kernels.runtime import thread_pool
from minidl.layers import (
    Activation,
    BatchNormalization,
    Conv2D,
    DepthwiseConv2D,
    LeakyReLU,
    ReLU,
    ZeroPadding2D,
)
from minidl.layers.convolution_block import ConvolutionBlock, output_limits


@st.composite
def cases(draw):
    """Return (layers, x, training): a run of layers with random weights."""
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    dtype = draw(st.sampled_from(["float32", "float64"]))
    trainable = st.booleans()
    sides = st.tuples(st.integers(0, 2), st.integers(0, 2))
    padding = draw(st.none() | st.builds(ZeroPadding2D, st.tuples(sides, sides)))
    window = {
        "kernel_size": draw(st.sampled_from([1, 3])),
        "strides": draw(st.integers(1, 2)),
        "padding": "valid" if padding else draw(st.sampled_from(["valid", "same"])),
        "use_bias": draw(st.booleans()),
        "trainable": draw(trainable),
    }
    filters = draw(st.integers(1, 20))
    multiplier = draw(st.integers(1, 2))
    convolution = draw(
        st.sampled_from(
            [Conv2D(filters, **window), DepthwiseConv2D(depth_multiplier=multiplier, **window)]
        )
    )
    normalization = BatchNormalization(trainable=draw(trainable), scale=draw(st.booleans()))
    relu = draw(st.sampled_from([None, ReLU(), ReLU(max_value=0.5), Activation("relu6")]))
    layers = [padding, convolution, normalization, relu]
    x = rng.normal(size=(draw(st.integers(1, 3)), 7, 6, draw(st.integers(1, 20)))).astype(dtype)
    y = x
    for layer in filter(None, layers):
        y = layer(y)
        for parameter in layer.parameters:
            values = rng.uniform(0.5, 1.5, parameter.shape)
            sign = (
                1 if parameter.name == "moving_variance" else rng.choice([-1, 1], parameter.shape)
            )
            parameter.assign((values * sign).astype(dtype))
    return layers, x, draw(st.booleans())


def one_by_one(layers, x, dy, training):
    """Return y, dx and the gradients of all parameters."""
    layers, caches, gradients = [layer for layer in layers if layer is not None], [], []
    for layer in layers:
        x, cache = layer.forward(x, training=training)
        caches.append(cache)
    for layer, cache in zip(reversed(layers), reversed(caches), strict=True):
        dy, more = layer.backward(dy(x) if callable(dy) else dy, cache)
        gradients = [*more, *gradients]
    return x, dy, gradients


@thorough
@given(cases(), st.sampled_from([1, 3]))
def test_a_block_computes_what_its_layers_compute(case, threads):
    layers, x, training = case
    thread_pool.set_num_threads(threads)
    block = ConvolutionBlock(*layers)
    rng = np.random.default_rng(0)
    y, dx, gradients = one_by_one(
        layers, x, lambda y: rng.normal(size=y.shape).astype(y.dtype), training
    )
    statistics = [p.value.copy() for p in layers[2].parameters]
    dy = np.random.default_rng(0).normal(size=y.shape).astype(y.dtype)
    block_y, cache = block.forward(x, training=training)
    block_dx, block_gradients = block.backward(dy, cache)
    assert block_y.dtype == x.dtype
    assert block_dx.dtype == x.dtype
    # The same operations; rounding may differ where the compiler fuses them otherwise, and grows
    # with the inverse standard deviation, which BatchNormalization's epsilon limits to 32.
    tolerance = 2000 * np.finfo(x.dtype).eps
    np.testing.assert_allclose(block_y, y, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(block_dx, dx, rtol=tolerance, atol=tolerance * np.abs(dx).max())
    assert len(block_gradients) == len(block.trainable_weights)
    for parameter, actual, expected in zip(
        block.trainable_weights, block_gradients, gradients, strict=True
    ):
        assert actual.shape == parameter.shape
        size = max(1.0, np.abs(expected).max())
        np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance * size * 8)
    if training and layers[2].trainable:  # the block updated them a second time
        assert any(
            not np.array_equal(p.value, old)
            for p, old in zip(layers[2].parameters, statistics, strict=True)
        )


def test_settings_changed_after_the_block_was_created_count():
    padding, convolution, normalization = ZeroPadding2D(), Conv2D(2, 3), BatchNormalization()
    x = np.random.default_rng(0).normal(size=(2, 4, 4, 3)).astype("float32")
    normalization(convolution(padding(x)))
    block = ConvolutionBlock(padding, convolution, normalization)
    convolution.trainable = False
    y, cache = block.forward(x, training=True)
    _, gradients = block.backward(np.ones_like(y), cache)
    assert len(gradients) == len(block.trainable_weights) == 2
    convolution.kernel.assign(np.zeros(convolution.kernel.shape))
    assert not np.ptp(block.forward(x, training=True)[0])


def test_padding_without_a_normalization_keeps_the_activation():
    padding, convolution = ZeroPadding2D(1), Conv2D(2, 3, activation="relu")
    x = np.random.default_rng(0).normal(size=(2, 4, 4, 3)).astype("float32")
    y = convolution(padding(x))
    actual, cache = ConvolutionBlock(padding, convolution).forward(x)
    np.testing.assert_allclose(actual, y, rtol=1e-6, atol=1e-6)
    dy = np.ones_like(y)
    dz, expected = convolution.backward(dy, convolution.forward(padding(x))[1])
    dx, gradients = ConvolutionBlock(padding, convolution).backward(dy, cache)
    np.testing.assert_allclose(dx, dz[:, 1:-1, 1:-1], rtol=1e-5, atol=1e-5)
    for a, b in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("layer", "limits"),
    [
        (None, None),
        (ReLU(), (0, np.inf)),
        (ReLU(max_value=6), (0, 6)),
        (Activation("relu6"), (0, 6)),
        (ReLU(negative_slope=0.1), None),
        (ReLU(threshold=1.0), None),
        (LeakyReLU(), None),
        (Activation("tanh"), None),
    ],
)
def test_limits_of_activations(layer, limits):
    assert output_limits(layer) == limits
