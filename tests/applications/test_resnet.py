"""ResNet18, ResNet34 and ResNet50: layer names, strides, padding and epsilon in both forms."""

import pytest

from minidl import layers
from minidl.applications import ResNet18, ResNet34, ResNet50

TORCHVISION = {
    "resnet18": ResNet18,
    "resnet34": ResNet34,
    "resnet50": lambda **options: ResNet50(variant="torchvision", **options),
}


def convolutions(network):
    return [layer for layer in network.layers if isinstance(layer, layers.Conv2D)]


def test_layer_names():
    names = [layer.name for layer in ResNet50(weights=None).layers]
    assert len(names) == 178
    assert names[:8] == [
        "input_layer",
        "preprocessing",
        "conv1_pad",
        "conv1_conv",
        "conv1_bn",
        "conv1_relu",
        "pool1_pad",
        "pool1_pool",
    ]
    assert names[8:20] == [
        f"conv2_block1_{part}"
        for part in (
            "0_conv",
            "0_bn",
            "1_conv",
            "1_bn",
            "1_relu",
            "2_conv",
            "2_bn",
            "2_relu",
            "3_conv",
            "3_bn",
            "add",
            "out",
        )
    ]
    assert names[-3:] == ["conv5_block3_out", "avg_pool", "predictions"]
    blocks = [name.removesuffix("_out") for name in names if name.endswith("_out")]
    depths = {"conv2": 3, "conv3": 4, "conv4": 6, "conv5": 3}
    assert blocks == [f"{s}_block{i}" for s, n in depths.items() for i in range(1, n + 1)]
    assert [name for name in names if name.endswith("_0_conv")] == [
        f"{stage}_block1_0_conv" for stage in depths
    ]


def test_strides_and_epsilon():
    network = ResNet50(weights=None, include_top=False)
    strided = {c.name for c in convolutions(network) if c.window.strides == (2, 2)}
    assert strided == {"conv1_conv"} | {
        f"conv{s}_block1_{i}_conv" for s in (3, 4, 5) for i in (0, 1)
    }
    norms = [n for n in network.layers if isinstance(n, layers.BatchNormalization)]
    assert {n.epsilon for n in norms} == {1.001e-5}


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvisions_strides_epsilon_and_biases(name):
    network = TORCHVISION[name](weights=None, include_top=False)
    strided = {c.name for c in convolutions(network) if c.strides == (2, 2)}
    last = 2 if name == "resnet50" else 1
    assert strided == {"conv1_conv"} | {
        f"conv{s}_block1_{i}_conv" for s in (3, 4, 5) for i in (0, last)
    }
    norms = [n for n in network.layers if isinstance(n, layers.BatchNormalization)]
    assert {n.epsilon for n in norms} == {1e-5}
    assert not any(c.use_bias for c in convolutions(network))
    assert network.get_layer("preprocessing").mode == "torch"


@pytest.mark.parametrize("name", TORCHVISION)
def test_strided_kernels_are_padded_symmetrically(name):
    network = TORCHVISION[name](weights=None, include_top=False)
    names = [layer.name for layer in network.layers]
    for convolution in convolutions(network):
        if convolution.strides == (2, 2) and convolution.kernel_size != (1, 1):
            assert convolution.padding == "valid"
            pad = network.layers[names.index(convolution.name) - 1]
            side = convolution.kernel_size[0] // 2
            assert pad.padding == ((side, side), (side, side))


def test_blocks_of_two_convolutions_project_only_where_the_shape_changes():
    names = [layer.name for layer in ResNet34(weights=None).layers]
    assert [name for name in names if name.endswith("_0_conv")] == [
        f"conv{s}_block1_0_conv" for s in (3, 4, 5)
    ]
    assert not any(name.endswith("_3_conv") for name in names)
    assert sum(name.endswith("_out") for name in names) == 3 + 4 + 6 + 3


def test_other_variants_are_refused():
    with pytest.raises(ValueError, match="expected variant to be 'keras' or 'torchvision'"):
        ResNet50(weights=None, variant="torch")
