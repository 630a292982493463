"""Fusion: which layers become one step, and that the numbers stay the same."""

import numpy as np
import pytest
from support.inference import fused_names, randomize, residual_block, run_layers

from minidl import Input, Model, Sequential, layers
from minidl.graph.inference.fusion import fuse

RNG = np.random.default_rng(0)


def test_what_is_fused():
    model = Model(x := Input((9, 9, 2)), residual_block(x, 4))
    assert fused_names(model) == [
        ["zero_padding2d", "conv2d", "batch_normalization", "activation"],
        ["conv2d_2", "batch_normalization_2"],
        ["conv2d_1", "batch_normalization_1", "add", "re_lu"],
    ]


def stem(x, relu=True):
    """Return how ResNet50 and InceptionV3 begin."""
    y = layers.ImageNetPreprocessing("caffe")(x)
    y = layers.Conv2D(4, 3, activation="relu" if relu else None)(y)
    y = layers.Rescaling([1, 2, 3, 4], offset=[0.5, -1, 2, 0])(y)
    y = layers.BatchNormalization()(layers.Conv2D(5, 2, strides=2)(y))
    y = layers.ReLU()(y) if relu else y
    return layers.MaxPooling2D(3, 2)(layers.ZeroPadding2D(((1, 0), (2, 1)))(y))


@pytest.mark.parametrize("relu", [True, False])
def test_scaling_before_an_unpadded_convolution_and_padding_before_a_pooling(relu):
    x = Input((15, 14, 3), dtype="float64")
    model = randomize(Model(x, stem(x, relu)))
    first, second, *rest = fused_names(model)
    assert first[0] == "image_net_preprocessing"
    assert second[0] == "rescaling"
    # Zeros around negative numbers would win: then the padding stays a layer.
    assert rest == ([["zero_padding2d", "max_pooling2d"]] if relu else
                    [["zero_padding2d"], ["max_pooling2d"]])  # fmt: skip
    images = RNG.uniform(0, 255, (2, 15, 14, 3))
    np.testing.assert_allclose(model.infer(images), run_layers(model, images), rtol=1e-9)


def test_scaling_before_a_padded_convolution_stays_a_layer():
    """Zeros are padded after the scaling: folded into the kernel, the border would be wrong."""
    x = Input((6, 6, 3), dtype="float64")
    y = layers.Conv2D(2, 3, padding="same")(layers.Rescaling(1 / 127.5, -1)(x))
    model = randomize(Model(x, y))
    images = RNG.uniform(0, 255, (2, 6, 6, 3))
    np.testing.assert_allclose(model.infer(images), run_layers(model, images), rtol=1e-10)


def test_layers_that_do_nothing_in_inference_are_left_out():
    model = Sequential([Input((4,)), layers.Dropout(0.5), layers.Dense(2), layers.Dropout(0.1)])
    assert fused_names(model) == [["dense"]]


def test_what_others_read_is_not_fused_away():
    x = Input((6, 6, 2))
    conv = layers.Conv2D(3, 3)(x)
    norm = layers.BatchNormalization()(conv)
    model = randomize(Model(x, [conv, layers.ReLU()(norm), norm]))
    images = RNG.normal(size=(2, 6, 6, 2)).astype(np.float32)
    for y, expected in zip(model.infer(images), run_layers(model, images), strict=True):
        np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)


def test_a_layer_of_ones_own_is_called_as_it_is():
    class Louder(layers.Conv2D):
        def forward(self, x, training=False, rng=None):
            y, cache = super().forward(x, training, rng)
            return 10 * y, cache

    stack = [Input((5, 5, 1)), Louder(2, 3), layers.BatchNormalization(), layers.Flatten()]
    model = randomize(Sequential(stack))
    x = RNG.normal(size=(1, 5, 5, 1)).astype(np.float32)
    np.testing.assert_allclose(model.infer(x), run_layers(model, x), rtol=1e-5)


def test_an_addition_after_a_depthwise_convolution_is_made():
    x = Input((6, 6, 4))
    y = layers.BatchNormalization()(layers.DepthwiseConv2D(3, padding="same")(x))
    model = randomize(Model(x, layers.ReLU()(layers.Add()([x, y]))))
    images = RNG.normal(size=(2, 6, 6, 4)).astype(np.float32)
    np.testing.assert_allclose(model.infer(images), run_layers(model, images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("padding", [2, ((0, 2), (0, 0)), ((0, 0), (3, 0))])
def test_a_window_wholly_in_the_padding_has_its_zeros(padding):
    stack = [Input((6, 6, 2)), layers.Conv2D(2, 1), layers.ReLU()]
    model = randomize(Sequential([*stack, layers.ZeroPadding2D(padding), layers.MaxPooling2D(2)]))
    x = RNG.normal(size=(1, 6, 6, 2)).astype(np.float32)
    np.testing.assert_allclose(model.infer(x), run_layers(model, x), rtol=1e-5, atol=1e-6)


def test_layers_of_different_types_are_not_fused():
    x = Input((6, 6, 3))
    y = layers.Conv2D(2, 3)(layers.Rescaling(0.5, dtype="float64")(x))
    y = layers.BatchNormalization(dtype="float64")(layers.Conv2D(2, 1, dtype="float32")(y))
    model = randomize(Model(x, y))
    images = RNG.normal(size=(1, 6, 6, 3))
    ours, theirs = model.infer(images), run_layers(model, images)
    assert ours.dtype == theirs.dtype == np.float64
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_branches_are_interleaved():
    x = Input((9, 9, 2))
    one = layers.Conv2D(2, 1, name="stem")(x)
    long = layers.Conv2D(2, 1, name="long_2")(layers.Conv2D(2, 1, name="long_1")(one))
    short = layers.AveragePooling2D(3, 1, padding="same", name="short_1")(one)
    model = Model(x, layers.Concatenate(name="join")([long, short]))
    names = [step.layers[0].name for step in fuse(model.nodes, model.output_numbers).steps]
    assert names == ["stem", "long_1", "short_1", "long_2", "join"]
