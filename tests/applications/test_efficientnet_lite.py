"""EfficientNet-Lite: layer names, fixed ends, padding and activation."""

import numpy as np
import pytest

from minidl import layers
from minidl.applications import EfficientNetLite0, EfficientNetLite1, EfficientNetLite2

NETWORKS = [EfficientNetLite0, EfficientNetLite1, EfficientNetLite2]
each_network = pytest.mark.parametrize("build", NETWORKS, ids=lambda build: build.__name__)


def of_kind(network, kind):
    return [layer for layer in network.layers if type(layer) is kind]


def test_layer_names():
    names = [layer.name for layer in EfficientNetLite0(weights=None).layers]
    assert names[:11] == [
        "input_layer",
        "preprocessing",
        "stem_conv",
        "stem_bn",
        "stem_activation",
        "block1a_dwconv",
        "block1a_bn",
        "block1a_activation",
        "block1a_project_conv",
        "block1a_project_bn",
        "block2a_expand_conv",
    ]
    assert names[-6:] == [
        "top_conv", "top_bn", "top_activation", "avg_pool", "top_dropout", "predictions",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("build", "blocks", "channels", "dropout"),
    [
        (EfficientNetLite0, [1, 2, 2, 3, 3, 4, 1], [16, 24, 40, 80, 112, 192, 320], 0.2),
        (EfficientNetLite1, [1, 3, 3, 4, 4, 5, 1], [16, 24, 40, 80, 112, 192, 320], 0.2),
        (EfficientNetLite2, [1, 3, 3, 4, 4, 5, 1], [16, 24, 48, 88, 120, 208, 352], 0.3),
    ],
)
def test_depth_and_width_leave_the_ends_unscaled(build, blocks, channels, dropout):
    network = build(weights=None)
    depthwise = [layer.name for layer in of_kind(network, layers.DepthwiseConv2D)]
    assert depthwise == [
        f"block{s}{'abcde'[i]}_dwconv" for s, n in enumerate(blocks, 1) for i in range(n)
    ]
    assert channels == [network.get_layer(f"block{s}a_project_conv").filters for s in range(1, 8)]
    assert network.get_layer("stem_conv").filters == 32
    assert network.get_layer("top_conv").filters == 1280
    assert network.get_layer("top_dropout").rate == dropout
    # Every block but the first of its stage adds its input.
    assert len(of_kind(network, layers.Add)) == sum(blocks) - len(blocks)


def test_strides_padding_epsilon_and_activation():
    network = EfficientNetLite0(weights=None)
    depthwise = of_kind(network, layers.DepthwiseConv2D)
    strided = [layer.name for layer in depthwise if layer.strides == (2, 2)]
    assert strided == [f"block{s}a_dwconv" for s in (2, 3, 4, 6)]
    assert [d.kernel_size[0] for d in depthwise] == [3] * 3 + [5] * 2 + [3] * 3 + [5] * 7 + [3]
    convolutions = of_kind(network, layers.Conv2D) + depthwise
    assert {layer.padding for layer in convolutions} == {"same"}
    assert not any(layer.use_bias for layer in convolutions)
    assert {layer.epsilon for layer in of_kind(network, layers.BatchNormalization)} == {1e-3}
    assert {layer.max_value for layer in of_kind(network, layers.ReLU)} == {6}


@each_network
def test_features_of_the_default_size(build):
    network = build(weights=None)
    size = {EfficientNetLite0: 224, EfficientNetLite1: 240, EfficientNetLite2: 260}[build]
    assert network.input_shape == (None, size, size, 3)
    features = build(weights=None, include_top=False, input_shape=(size, size, 3))
    assert features.output_shape == (None, *[-(-size // 32)] * 2, 1280)


def test_plan_and_executor_agree():
    network = EfficientNetLite0(weights=None, include_top=False, pooling="avg")
    x = np.random.default_rng(0).integers(0, 256, (2, 64, 48, 3), "uint8")
    y = network.predict(x)
    assert y.std() > 0
    np.testing.assert_allclose(
        y, network.forward(x.astype("float32"))[0], rtol=0, atol=1e-5 * y.max()
    )
