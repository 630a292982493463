"""Units of mobile networks: rounding of channels, and padding before strides."""

import numpy as np
import pytest

from minidl import Input, Model, layers
from minidl.applications.mobile_blocks import MobileUnits, make_divisible, strided_padding


@pytest.mark.parametrize(
    ("channels", "expected"),
    [(1, 8), (11.2, 16), (12, 16), (19, 24), (20, 24), (33.6, 32), (36, 40), (44.8, 48)],
)
def test_channels_are_rounded_to_multiples_of_8(channels, expected):
    assert make_divisible(channels) == expected
    assert expected >= 0.9 * channels


@pytest.mark.parametrize("size", [3, 5])
@pytest.mark.parametrize("shape", [(8, 8), (7, 8), (9, 5), (6, 7)])
def test_padding_layers_equal_same_for_known_sizes(size, shape):
    x = Input((*shape, 2))
    pad = layers.ZeroPadding2D(strided_padding(x, size))
    outside = Model(x, layers.DepthwiseConv2D(size, strides=2, name="c")(pad(x)))
    inside = Model(x, layers.DepthwiseConv2D(size, strides=2, padding="same", name="c")(x))
    inside.set_weights(outside.get_weights())
    images = np.random.default_rng(0).normal(size=(2, *shape, 2)).astype("float32")
    np.testing.assert_array_equal(outside.predict(images), inside.predict(images))


def test_unknown_sizes_count_as_even():
    assert strided_padding(Input((None, None, 3)), 5) == ((1, 2), (1, 2))


def test_normalization_and_activation_follow_each_convolution():
    units = MobileUnits(layers.Conv2D, layers.ReLU, epsilon=1e-2, momentum=0.9)
    x = Input((8, 8, 3))
    y = units.conv(x, 4, 1, 1, ("a", "a_bn", "a_relu"))
    model = Model(x, units.depthwise(y, 3, 2, ("b", "b_bn", None), pad_name="b_pad"))
    assert [layer.name for layer in model.layers[1:]] == [
        "a", "a_bn", "a_relu", "b_pad", "b", "b_bn",
    ]  # fmt: skip
    norms = [layer for layer in model.layers if isinstance(layer, layers.BatchNormalization)]
    assert {(norm.epsilon, norm.momentum) for norm in norms} == {(1e-2, 0.9)}
