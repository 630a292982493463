"""InceptionV3: numbering of the layers, module names and shapes."""

from minidl import layers
from minidl.applications import InceptionV3


def convolutions(network):
    return [layer for layer in network.layers if isinstance(layer, layers.Conv2D)]


# Kernel (height, width, in, out), "s2" for stride 2, "v" for valid padding: the convolutions of
# InceptionV3 in the order of their numbers in Keras' files.
STEM = "3 3 3 32 s2 v; 3 3 32 32 v; 3 3 32 64; 1 1 64 80 v; 3 3 80 192 v"
SMALL_WINDOWS = "1 1 {0} 64; 1 1 {0} 48; 5 5 48 64; 1 1 {0} 64; 3 3 64 96; 3 3 96 96; 1 1 {0} {1}"
TO_17X17 = "3 3 288 384 s2 v; 1 1 288 64; 3 3 64 96; 3 3 96 96 s2 v"
LONG_WINDOWS = (
    "1 1 768 192; 1 1 768 {0}; 1 7 {0} {0}; 7 1 {0} 192; 1 1 768 {0}; 7 1 {0} {0}; 1 7 {0} {0}; "
    "7 1 {0} {0}; 1 7 {0} 192; 1 1 768 192"
)
TO_8X8 = "1 1 768 192; 3 3 192 320 s2 v; 1 1 768 192; 1 7 192 192; 7 1 192 192; 3 3 192 192 s2 v"
WIDE = (
    "1 1 {0} 320; 1 1 {0} 384; 1 3 384 384; 3 1 384 384; 1 1 {0} 448; 3 3 448 384; 1 3 384 384; "
    "3 1 384 384; 1 1 {0} 192"
)
CREATION_ORDER = "; ".join(
    [
        STEM,
        SMALL_WINDOWS.format(192, 32),
        SMALL_WINDOWS.format(256, 64),
        SMALL_WINDOWS.format(288, 64),
        TO_17X17,
        LONG_WINDOWS.format(128),
        LONG_WINDOWS.format(160),
        LONG_WINDOWS.format(160),
        LONG_WINDOWS.format(192),
        TO_8X8,
        WIDE.format(1280),
        WIDE.format(2048),
    ]
).split("; ")


def test_layers_are_numbered_in_the_order_of_keras_files():
    network = InceptionV3(weights=None)
    assert len(CREATION_ORDER) == 94
    found = []
    for i in range(94):
        conv = network.get_layer(f"conv2d_{i}" if i else "conv2d")
        stride = " s2" if conv.window.strides == (2, 2) else ""
        valid = " v" if conv.window.padding == "valid" else ""
        found.append(" ".join(map(str, conv.kernel.shape)) + stride + valid)
        assert conv.bias is None
        norm = network.get_layer(f"batch_normalization_{i}" if i else "batch_normalization")
        assert [p.name for p in norm.weights] == ["beta", "moving_mean", "moving_variance"]
        assert norm.moving_mean.shape == (conv.filters,)
        assert norm.epsilon == 1e-3
    assert found == CREATION_ORDER


def test_module_names_and_shapes():
    network = InceptionV3(weights=None)
    names = [n.name for n in network.layers if isinstance(n, layers.Concatenate)]
    assert names == [
        *(f"mixed{i}" for i in range(9)),
        "mixed9_0",
        "concatenate",
        "mixed9",
        "mixed9_1",
        "concatenate_1",
        "mixed10",
    ]
    assert len(network.layers) == 314
    sizes = [network.tap(f"mixed{i}").output_shape[1:] for i in range(11)]
    assert sizes == [
        (35, 35, 256),
        (35, 35, 288),
        (35, 35, 288),
        *[(17, 17, 768)] * 5,
        (8, 8, 1280),
        (8, 8, 2048),
        (8, 8, 2048),
    ]


def test_until_inside_a_module_keeps_the_layer_names():
    # The branch beside it is left out: convolution 76, counted from 0.
    names = {c.name for c in convolutions(InceptionV3(weights=None, until="mixed9_0"))}
    assert names == {f"conv2d_{i}" if i else "conv2d" for i in range(80)} - {"conv2d_76"}
