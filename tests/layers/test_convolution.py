"""Conv2D, DepthwiseConv2D and ZeroPadding2D: small cases by hand, shapes, rejected arguments."""

import numpy as np
import pytest

from minidl.common.errors import ShapeError
from minidl.layers import Conv2D, DepthwiseConv2D, ZeroPadding2D

IMAGE = np.arange(16.0).reshape(1, 4, 4, 1)
EDGE = np.array([[1.0, 0.0], [0.0, -1.0]]).reshape(
    2, 2, 1, 1
)  # a pixel minus its diagonal neighbor


def with_kernel(layer, kernel, channels, bias=None):
    layer.build((None, None, None, channels))
    layer.set_weights([kernel] if bias is None else [kernel, bias])
    return layer


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, np.full((3, 3), -5)),
        ({"strides": 2}, np.full((2, 2), -5)),
        ({"strides": (1, 3)}, np.full((3, 1), -5)),
        ({"dilation_rate": 2}, np.full((2, 2), -10)),
        # The padding of an even window is at the bottom and right: nothing is subtracted there.
        (
            {"padding": "same"},
            [[-5, -5, -5, 3], [-5, -5, -5, 7], [-5, -5, -5, 11], [12, 13, 14, 15]],
        ),
        ({"padding": "SAME", "strides": 3}, [[-5, 3], [12, 15]]),
        ({"activation": "relu", "padding": "same", "strides": 3}, [[0, 3], [12, 15]]),
    ],
)
def test_conv2d_by_hand(arguments, expected):
    layer = with_kernel(Conv2D(1, 2, use_bias=False, **arguments), EDGE, 1)
    y = layer(IMAGE)
    np.testing.assert_array_equal(y[0, :, :, 0], expected)
    assert layer.compute_output_shape(IMAGE.shape) == y.shape


def test_conv2d_adds_a_bias_per_filter():
    layer = with_kernel(Conv2D(2, 1), np.array([1.0, 2.0]).reshape(1, 1, 1, 2), 1, [10, 20])
    np.testing.assert_array_equal(layer(IMAGE)[..., 0], IMAGE[..., 0] + 10)
    np.testing.assert_array_equal(layer(IMAGE)[..., 1], 2 * IMAGE[..., 0] + 20)


def test_groups_are_independent():
    layer = with_kernel(Conv2D(2, 1, groups=2, use_bias=False), np.ones((1, 1, 2, 2)), 4)
    x = np.array([1.0, 2.0, 30.0, 40.0]).reshape(1, 1, 1, 4)
    assert layer(x).ravel().tolist() == [3, 70]


def test_depthwise_conv2d_by_hand():
    # Channel 0 with kernels 1 and 2, channel 1 with kernels 3 and 4: outputs in that order.
    kernel = np.array([[1.0, 2.0], [3.0, 4.0]]).reshape(1, 1, 2, 2)
    layer = with_kernel(DepthwiseConv2D(1, depth_multiplier=2), kernel, 2, [0, 0, 0, 1])
    assert layer(np.array([10.0, 100.0]).reshape(1, 1, 1, 2)).ravel().tolist() == [10, 20, 300, 401]
    edge = with_kernel(DepthwiseConv2D(2, padding="same", use_bias=False), EDGE, 1)
    other = with_kernel(Conv2D(1, 2, padding="same", use_bias=False), EDGE, 1)
    np.testing.assert_array_equal(edge(IMAGE), other(IMAGE))


def test_kernels_have_keras_shapes_and_defaults():
    conv = Conv2D(6, (3, 2), groups=2)
    conv.build((None, 8, 8, 4))
    assert [w.shape for w in conv.get_weights()] == [(3, 2, 2, 6), (6,)]
    limit = np.sqrt(6 / (3 * 2 * 2 + 3 * 2 * 6))  # Glorot, over the window
    assert 0.9 * limit < np.abs(conv.kernel.value).max() <= limit
    assert (conv.bias.value == 0).all()
    depthwise = DepthwiseConv2D((3, 2), depth_multiplier=5)
    depthwise.build((None, 8, 8, 4))
    assert [w.shape for w in depthwise.get_weights()] == [(3, 2, 4, 5), (20,)]
    assert (conv.window.strides, conv.window.padding) == ((1, 1), "valid")
    assert conv.activation is None


def test_multiply_adds_count_each_product_once():
    conv = Conv2D(6, 3, strides=2, padding="same", groups=2)
    conv.build((None, 8, 8, 4))
    assert conv.multiply_adds((None, 8, 8, 4), (None, 4, 4, 6)) == 16 * 9 * 2 * 6
    depthwise = DepthwiseConv2D(3, depth_multiplier=2)
    depthwise.build((None, 8, 8, 4))
    assert depthwise.multiply_adds((None, 8, 8, 4), (None, 6, 6, 8)) == 36 * 9 * 8


@pytest.mark.parametrize("layer", [Conv2D(5, 3, strides=2), DepthwiseConv2D(3, strides=2)])
def test_unknown_sizes_stay_unknown(layer):
    channels = 5 if isinstance(layer, Conv2D) else 3
    assert layer.compute_output_shape((None, None, 9, 3)) == (None, None, 4, channels)


@pytest.mark.parametrize(
    "make", [lambda **k: Conv2D(2, 3, **k), lambda **k: DepthwiseConv2D(3, **k)]
)
@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((8, 8, 3), r"'conv': expected input \(N, H, W, C\), received shape \(8, 8, 3\)"),
        ((1, 8, 8, None), "'conv': expected a known number of channels"),
        ((1, 2, 8, 3), r"'conv': expected images of at least \(3, 3\).*shape \(1, 2, 8, 3\)"),
        ((1, 8, 8, 4), r"'conv': expected 3 channels, received 4 \(input shape \(1, 8, 8, 4\)\)"),
    ],
)
def test_shapes_that_do_not_fit_are_rejected(make, shape, message):
    layer = make(name="conv")
    layer.build((None, 8, 8, 3))
    with pytest.raises(ShapeError, match=message):
        layer.compute_output_shape(shape)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Conv2D(0, 3), "filters to be an integer >= 1, received 0"),
        (lambda: Conv2D(2.0, 3), "filters to be an integer >= 1, received 2.0"),
        (lambda: Conv2D(2, 0), "kernel_size to be an integer >= 1 or a pair of them, received 0"),
        (
            lambda: Conv2D(2, None),
            "kernel_size to be an integer >= 1 or a pair of them, received None",
        ),
        (
            lambda: Conv2D(2, (3, 3, 3)),
            r"kernel_size to be an integer >= 1 or a pair of them, received \(3, 3, 3\)",
        ),
        (
            lambda: Conv2D(2, 3, strides=(1, -1)),
            "strides to be an integer >= 1 or a pair of them, received .1, -1",
        ),
        (lambda: Conv2D(2, 3, dilation_rate=1.5), "dilation_rate.*received 1.5"),
        (lambda: Conv2D(2, 3, padding="full"), "padding to be 'valid' or 'same', received 'full'"),
        (lambda: Conv2D(2, 3, padding=1), "padding to be 'valid' or 'same', received 1"),
        (lambda: Conv2D(3, 3, groups=2), "filters to be a multiple of groups, received 3 .* 2"),
        (lambda: Conv2D(2, 3, data_format="channels_first"), "data_format 'channels_last'"),
        (lambda: DepthwiseConv2D(3, depth_multiplier=0), "depth_multiplier.*received 0"),
        (lambda: ZeroPadding2D(-1), "padding to be an integer >= 0.*received -1"),
        (lambda: ZeroPadding2D((1, 2, 3)), r"padding to be.*received \(1, 2, 3\)"),
        (lambda: ZeroPadding2D(((1, 2), (3,))), "padding to be.*received"),
        (lambda: ZeroPadding2D(1.5), "padding to be.*received 1.5"),
    ],
)
def test_wrong_arguments_are_rejected(make, message):
    with pytest.raises(ValueError, match=r"(Conv2D|ZeroPadding2D) '.*" + message):
        make()


def test_channels_must_be_divisible_by_groups():
    with pytest.raises(ShapeError, match="'conv': expected .* 2 groups, received 3"):
        Conv2D(2, 1, groups=2, name="conv").compute_output_shape((None, 4, 4, 3))


@pytest.mark.parametrize(
    ("padding", "pads"),
    [(1, ((1, 1), (1, 1))), ((1, 2), ((1, 1), (2, 2))), (((0, 1), (2, 3)), ((0, 1), (2, 3)))],
)
def test_zero_padding_by_hand(padding, pads):
    layer = ZeroPadding2D(padding)
    y, cache = layer.forward(IMAGE + 1)
    (top, bottom), (left, right) = pads
    assert y.shape == (1, 4 + top + bottom, 4 + left + right, 1)
    assert y.shape == layer.compute_output_shape(IMAGE.shape)
    np.testing.assert_array_equal(y[:, top : top + 4, left : left + 4], IMAGE + 1)
    assert y.sum() == (IMAGE + 1).sum()
    np.testing.assert_array_equal(layer.backward(y, cache)[0], IMAGE + 1)


def test_backward_works_without_training():
    layer = with_kernel(Conv2D(1, 2, use_bias=False, activation="gelu"), EDGE, 1)
    results = []
    for training in (False, True):
        y, cache = layer.forward(IMAGE - 5, training=training)
        dx, (dw,) = layer.backward(np.ones_like(y), cache)
        results.append((dx, dw))
    np.testing.assert_array_equal(results[0][0], results[1][0])
    np.testing.assert_array_equal(results[0][1], results[1][1])
