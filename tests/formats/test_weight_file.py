"""The common form of weight files: roles, numbered names, and names of former networks."""

import numpy as np
import pytest
from support.tiny import refused

from minidl.common.errors import FileFormatError
from minidl.formats.weight_file import (
    LayerTable,
    LayerTensors,
    guess_network,
    kind_and_number,
    modern_names,
    role_of,
)


def entries(*names):
    return [LayerTensors(name) for name in names]


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("dense/kernel:0", "kernel"),
        ("dense/bias_12:0", "bias"),
        ("conv/depthwise_kernel", "kernel"),
        ("a/gamma", "gamma"),
        ("a/beta:0", "beta"),
        ("bn_running_mean", "moving_mean"),
        ("bn_running_std:0", "moving_variance"),  # Keras 1 stored the variance under this name
        ("conv/pointwise_kernel:0", None),
        ("lstm/recurrent_kernel", None),
        ("kernel/seed", None),
    ],
)
def test_role_of(name, role):
    assert role_of(name) == role


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("conv2d", ("conv2d", 0)),
        ("conv2d_17", ("conv2d", 17)),
        ("convolution2d_3", ("conv2d", 3)),
        ("batch_normalization_v1_2", ("batch_normalization", 2)),
        ("block1_conv1", ("block1_conv1", 0)),
        ("_5", ("_5", 0)),
        ("a_12345678901", ("a_12345678901", 0)),
    ],
)
def test_kind_and_number(name, expected):
    assert kind_and_number(name) == expected


def test_layer_table_keeps_the_order_and_separates_scopes():
    table, tensor = LayerTable(), np.zeros(2)
    table.add("", "b", "kernel", tensor, "b/kernel")
    table.add("base", "b", "kernel", tensor, "base/b/kernel")
    table.add("", "b", "bias", tensor, "b/bias")
    found = [(layer.scope, layer.name, list(layer.tensors)) for layer in table.layers]
    assert found == [("", "b", ["kernel", "bias"]), ("base", "b", ["kernel"])]
    with refused(FileFormatError, "'b'", "b/bias", "b/again"):
        table.add("", "b", "bias", tensor, "b/again")


def test_modern_names_translate_the_resnet50_of_2016():
    former = entries("conv1", "bn_conv1", "res2a_branch1", "bn4f_branch2c", "fc1000")
    assert list(modern_names(former)) == [
        "conv1_conv",
        "conv1_bn",
        "conv2_block1_0_conv",
        "conv4_block6_3_bn",
        "predictions",
    ]
    assert list(modern_names(entries("conv1", "fc1000"))) == ["conv1", "fc1000"]


def test_guess_network():
    assert guess_network(entries("block1_conv1")) == "VGG16"
    assert guess_network(entries("block1_conv1", "block3_conv4")) == "VGG19"
    assert guess_network(entries("dense")) == ""
    numbered = [
        f"{kind}_{i}" if i else kind
        for kind in ("conv2d", "batch_normalization")
        for i in range(94)
    ]
    assert guess_network(entries(*numbered)) == "InceptionV3"
    assert guess_network(entries(*numbered[:-1])) == ""
