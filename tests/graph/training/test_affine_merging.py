"""Merging of affine augmentations: one resampling with the same random numbers."""

import numpy as np
import pytest

from minidl import Input, layers
from minidl.graph.network import Network

IMAGES = np.random.default_rng(0).uniform(0, 255, (4, 9, 9, 1)).astype("float32")


def augmenting(*augmentations, tapped=None):
    x = y = Input((9, 9, 1))
    tensors = []
    for layer in augmentations:
        y = layer(y)
        tensors.append(y)
    return Network(x, y if tapped is None else [y, tensors[tapped]])


def executed_layers(network):
    return [type(node.layer).__name__ for _, node in network._executor.nodes]


def test_consecutive_affine_layers_become_one_resampling():
    turn, zoom = layers.RandomRotation(0.1), layers.RandomZoom(0.2)
    network = augmenting(layers.RandomFlip(), turn, zoom, layers.Rescaling(2.0))
    assert executed_layers(network) == ["AffineChain", "Rescaling"]
    assert [type(layer).__name__ for layer in network.layers[1:]] == [
        "RandomFlip", "RandomRotation", "RandomZoom", "Rescaling",
    ]  # fmt: skip
    y = network.forward(IMAGES, training=True, rng=np.random.default_rng(0))[0]
    assert y.shape == IMAGES.shape
    assert not np.array_equal(y, 2 * IMAGES)
    np.testing.assert_array_equal(network.infer(IMAGES), 2 * IMAGES)


def test_a_merged_node_computes_the_affine_chain():
    layers_ = [layers.RandomRotation(0.1, seed=1), layers.RandomTranslation(0.2, 0.1, seed=2)]
    network = augmenting(*layers_)
    y = network.forward(IMAGES, training=True, rng=np.random.default_rng(5))[0]
    seed = int(np.random.default_rng(5).integers(2**63))
    number = network._executor.nodes[-1][0]
    rng = np.random.default_rng([seed, number])
    expected = layers.AffineChain(layers_).forward(IMAGES, training=True, rng=rng)[0]
    np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize(
    ("augmentations", "expected"),
    [
        # different fill modes
        ([layers.RandomRotation(0.1), layers.RandomZoom(0.1, fill_mode="constant")], 2),
        # a flip fits both, but does not connect different fill modes
        ([layers.RandomRotation(0.1), layers.RandomFlip(),
          layers.RandomZoom(0.1, fill_mode="nearest")], 2),
        # another layer in between
        ([layers.RandomRotation(0.1), layers.Rescaling(2.0), layers.RandomZoom(0.1)], 3),
        ([layers.RandomFlip(), layers.RandomFlip()], 1),
    ],
)  # fmt: skip
def test_only_layers_with_equal_resampling_are_merged(augmentations, expected):
    network = augmenting(*augmentations)
    assert len(executed_layers(network)) == expected
    assert network.forward(IMAGES, training=True)[0].shape == IMAGES.shape


def test_images_with_several_consumers_are_computed():
    turn, zoom = layers.RandomRotation(0.1), layers.RandomZoom(0.2)
    assert executed_layers(augmenting(turn, zoom, tapped=0)) == ["RandomRotation", "RandomZoom"]
    x = Input((9, 9, 1))
    between = turn(x)
    network = Network(x, layers.Add()([zoom(between), between]))
    assert executed_layers(network) == ["RandomRotation", "RandomZoom", "Add"]
