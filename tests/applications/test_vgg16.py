"""VGG16: layer names and construction up to a layer of the top."""

from minidl.applications import VGG16


def test_layer_names():
    names = [layer.name for layer in VGG16(weights=None, input_shape=(32, 32, 3)).layers]
    assert names == [
        "input_layer",
        "preprocessing",
        "block1_conv1",
        "block1_conv2",
        "block1_pool",
        "block2_conv1",
        "block2_conv2",
        "block2_pool",
        "block3_conv1",
        "block3_conv2",
        "block3_conv3",
        "block3_pool",
        "block4_conv1",
        "block4_conv2",
        "block4_conv3",
        "block4_pool",
        "block5_conv1",
        "block5_conv2",
        "block5_conv3",
        "block5_pool",
        "flatten",
        "fc1",
        "fc2",
        "predictions",
    ]


def test_until_accepts_a_layer_of_the_top():
    network = VGG16(weights=None, until="fc1", input_shape=(32, 32, 3))
    assert network.output_shape == (None, 4096)
    assert network.layers[-1].name == "fc1"
