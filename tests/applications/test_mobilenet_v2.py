"""MobileNetV2: layer names, widths, padding and activation."""

import pytest

from minidl import layers
from minidl.applications import MobileNetV2


def test_layer_names():
    names = [layer.name for layer in MobileNetV2(weights=None).layers]
    assert names[:12] == [
        "input_layer",
        "preprocessing",
        "Conv1",
        "bn_Conv1",
        "Conv1_relu",
        "expanded_conv_depthwise",
        "expanded_conv_depthwise_BN",
        "expanded_conv_depthwise_relu",
        "expanded_conv_project",
        "expanded_conv_project_BN",
        "block_1_expand",
        "block_1_expand_BN",
    ]
    assert [name for name in names if name.endswith("_add")] == [
        f"block_{i}_add" for i in (2, 4, 5, 7, 8, 9, 11, 12, 14, 15)
    ]
    assert names[-5:-2] == ["Conv_1", "Conv_1_bn", "out_relu"]
    assert names[-1] == "predictions"


def test_strides_of_two_are_padded_by_a_layer_of_their_own():
    network = MobileNetV2(weights=None, input_shape=(75, 96, 3), include_top=False)
    strided = [
        layer.name
        for layer in network.layers
        if isinstance(layer, layers.DepthwiseConv2D) and layer.strides == (2, 2)
    ]
    assert strided == [f"block_{i}_depthwise" for i in (1, 3, 6, 13)]
    # 75x96 becomes 38x48, 19x24, 10x12 and 5x6: only odd sizes are padded on both sides.
    pads = {i: network.get_layer(f"block_{i}_pad").padding for i in (1, 3, 6, 13)}
    assert pads == {
        1: ((0, 1), (0, 1)),
        3: ((1, 1), (0, 1)),
        6: ((0, 1), (0, 1)),
        13: ((1, 1), (0, 1)),
    }
    assert network.output_shape == (None, 3, 3, 1280)


@pytest.mark.parametrize(
    ("alpha", "stem", "first", "last", "head"),
    [(0.35, 16, 8, 112, 1280), (1.0, 32, 16, 320, 1280), (1.4, 48, 24, 448, 1792)],
)
def test_alpha_scales_all_channels_but_those_of_a_small_head(alpha, stem, first, last, head):
    network = MobileNetV2(weights=None, alpha=alpha)
    assert network.get_layer("Conv1").filters == stem
    assert network.get_layer("expanded_conv_project").filters == first
    assert network.get_layer("block_16_project").filters == last
    assert network.get_layer("Conv_1").filters == head


@pytest.mark.parametrize("alpha", [0, -1, "1.0", True])
def test_invalid_widths_are_refused(alpha):
    with pytest.raises(ValueError, match="expected alpha to be a number > 0"):
        MobileNetV2(weights=None, alpha=alpha)
