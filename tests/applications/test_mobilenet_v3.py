"""MobileNetV3: layer names, gates, widths, and the classifier of convolutions."""

import numpy as np
import pytest

from minidl import layers
from minidl.applications import MobileNetV3Large, MobileNetV3Small, imagenet


def names_of(network, ending):
    return [layer.name for layer in network.layers if layer.name.endswith(ending)]


def test_layer_names_of_a_block():
    names = [layer.name for layer in MobileNetV3Small(weights=None).layers]
    named = [name for name in names if name.startswith("expanded_conv_3_")]
    assert [name.removeprefix("expanded_conv_3_") for name in named] == [
        "expand",
        "expand_bn",
        "depthwise_pad",
        "depthwise",
        "depthwise_bn",
        "squeeze_excite_avg_pool",
        "squeeze_excite_conv",
        "squeeze_excite_conv_1",
        "squeeze_excite_mul",
        "project",
        "project_bn",
    ]
    assert names[2:4] == ["conv", "conv_bn"]
    assert names[5] == "expanded_conv_depthwise_pad"


@pytest.mark.parametrize(
    ("build", "gated", "added", "strided"),
    [
        (MobileNetV3Small, [0, 3, 4, 5, 6, 7, 8, 9, 10], [2, 4, 5, 7, 9, 10], [0, 1, 3, 8]),
        (
            MobileNetV3Large,
            [3, 4, 5, 10, 11, 12, 13, 14],
            [0, 2, 4, 5, 7, 8, 9, 11, 13, 14],
            [1, 3, 6, 12],
        ),
    ],
)
def test_gates_additions_and_strides(build, gated, added, strided):
    network = build(weights=None, include_top=False)
    for ending, blocks in [
        ("squeeze_excite_mul", gated),
        ("add", added),
        ("depthwise_pad", strided),
    ]:
        prefixes = [f"expanded_conv_{i}_" if i else "expanded_conv_" for i in blocks]
        assert names_of(network, ending) == [f"{prefix}{ending}" for prefix in prefixes]


def test_minimalistic_networks_have_neither_gates_nor_large_kernels():
    network = MobileNetV3Large(weights=None, minimalistic=True)
    assert names_of(network, "mul") == []
    depthwise = [d for d in network.layers if isinstance(d, layers.DepthwiseConv2D)]
    assert {d.kernel_size for d in depthwise} == {(3, 3)}
    assert not any(
        isinstance(a, layers.Activation) and a.name != "predictions" for a in network.layers
    )


def test_the_classifier_is_convolutional():
    network = MobileNetV3Small(weights=None, input_shape=(64, 64, 3), classes=7)
    assert [type(layer).__name__ for layer in network.layers[-7:]] == [
        "GlobalAveragePooling2D",
        "Conv2D",
        "Activation",
        "Dropout",
        "Conv2D",
        "Flatten",
        "Activation",
    ]
    assert network.get_layer("conv_2").filters == 1024
    y = network.predict(np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), "uint8"))
    assert y.shape == (2, 7)
    np.testing.assert_allclose(y.sum(axis=1), 1, rtol=1e-5)


def test_predictions_of_1000_classes_are_decoded():
    network = MobileNetV3Small(weights=None, input_shape=(32, 32, 3))
    [classes] = imagenet.decode_predictions(network.predict(np.zeros((1, 32, 32, 3))), top=3)
    assert len(classes) == 3
    assert all(wnid.startswith("n") for wnid, _, _ in classes)


@pytest.mark.parametrize("build", [MobileNetV3Small, MobileNetV3Large])
def test_invalid_widths_are_refused(build):
    with pytest.raises(ValueError, match="expected alpha to be a number > 0"):
        build(weights=None, alpha=0)


def test_official_weights_have_1000_classes():
    with pytest.raises(ValueError, match="the ImageNet weights have 1000 classes"):
        MobileNetV3Small(classes=3)
