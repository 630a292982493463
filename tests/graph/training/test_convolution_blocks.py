"""Merging of convolutions with their neighbors: which ones, and with the same gradients."""

import numpy as np
import pytest

from minidl import Input, layers
from minidl.graph.network import Network
from minidl.graph.training import frozen_segments
from minidl.kernels.runtime import thread_pool

IMAGES = np.random.default_rng(0).normal(size=(2, 9, 9, 3)).astype("float32")


def network_of(*parts, tapped=None):
    x = y = Input((9, 9, 3))
    tensors = [y := layer(y) for layer in parts]
    return Network(x, y if tapped is None else [y, tensors[tapped]])


def executed(network, training=True):
    """Return the names of the layers that each live node executes."""
    _, tape = network.forward(IMAGES, training=training)
    items = [item for item in tape.order.items if not hasattr(item, "plan")]
    return [
        "+".join(type(layer).__name__ for layer in getattr(node.layer, "layers", [node.layer]))
        for _, node in items
    ]


def pads():
    return layers.ZeroPadding2D(1)


def depthwise(**options):
    return layers.DepthwiseConv2D(3, **options)


CASES = {
    "convolution": (
        [layers.Conv2D(4, 1), layers.BatchNormalization(), layers.ReLU(max_value=6.0)],
        ["Conv2D+BatchNormalization+ReLU"],
    ),
    "padding": (
        [pads(), depthwise(), layers.BatchNormalization(), layers.Activation("relu")],
        ["ZeroPadding2D+DepthwiseConv2D+BatchNormalization+Activation"],
    ),
    "padding alone": ([pads(), depthwise(activation="tanh")], ["ZeroPadding2D+DepthwiseConv2D"]),
    "padding twice": ([pads(), depthwise(padding="same")], ["ZeroPadding2D", "DepthwiseConv2D"]),
    "activation before": (
        [layers.Conv2D(4, 1, activation="relu"), layers.BatchNormalization()],
        ["Conv2D", "BatchNormalization"],
    ),
    "other activation": (
        [layers.Conv2D(4, 1), layers.BatchNormalization(), layers.LeakyReLU()],
        ["Conv2D+BatchNormalization", "LeakyReLU"],
    ),
    "no convolution": (
        [layers.BatchNormalization(), layers.ReLU()],
        ["BatchNormalization", "ReLU"],
    ),
    "no normalization": ([layers.Conv2D(4, 1), layers.ReLU()], ["Conv2D", "ReLU"]),
}


@pytest.mark.parametrize("name", CASES)
def test_runs_of_layers_are_merged(name):
    parts, expected = CASES[name]
    assert executed(network_of(*parts)) == expected


def test_a_tensor_that_others_read_ends_a_run():
    parts = [layers.Conv2D(4, 1), layers.BatchNormalization(), layers.ReLU()]
    assert executed(network_of(*parts, tapped=1)) == ["Conv2D+BatchNormalization", "ReLU"]
    x = Input((9, 9, 3))
    y = layers.Conv2D(3, 1)(x)
    both = Network(x, layers.Add()([layers.BatchNormalization()(y), y]))
    assert executed(both) == ["Conv2D", "BatchNormalization", "Add"]


def test_frozen_layers_stay_in_their_segment():
    frozen = [layers.Conv2D(4, 1, trainable=False), layers.BatchNormalization(trainable=False)]
    network = network_of(*frozen, layers.Conv2D(2, 1), layers.BatchNormalization())
    _, tape = network.forward(IMAGES, training=True, need_dx=False)
    assert [hasattr(item, "plan") for item in tape.order.items] == [True, False]


def branches():
    """Return a network with a residual block, a shared layer and a frozen normalization."""
    x = Input((9, 9, 3))
    y = layers.BatchNormalization()(layers.Conv2D(8, 3, padding="same")(x))
    a = layers.ReLU(max_value=1.0)(y)
    b = layers.ZeroPadding2D(((1, 0), (0, 1)))(a)
    b = layers.ReLU()(layers.BatchNormalization(trainable=False)(layers.DepthwiseConv2D(2)(b)))
    shared = layers.Conv2D(8, 1)
    normalization = layers.BatchNormalization()
    b, a = normalization(shared(b)), normalization(shared(a))
    return Network(x, layers.Add()([layers.ReLU()(a), b]))


@pytest.mark.parametrize("training", [True, False])
def test_gradients_equal_those_of_single_layers(training, monkeypatch):
    network = branches()
    rng = np.random.default_rng(1)
    for parameter in network.weights:
        parameter.assign(rng.uniform(0.5, 1.5, parameter.shape))

    def gradients(network):
        y, tape = network.forward(IMAGES, training=training)
        dy = np.random.default_rng(2).normal(size=y.shape).astype(y.dtype)
        dx, learned = network.backward(dy, tape)
        return [y, dx, *learned]

    statistics = [p.value.copy() for p in network.weights]
    merged = gradients(network)
    for parameter, value in zip(network.weights, statistics, strict=True):
        parameter.assign(value)
    monkeypatch.setattr(frozen_segments, "merge_convolutions", lambda nodes, consumers: nodes)
    network._executor._orders.clear()
    for actual, expected in zip(merged, gradients(network), strict=True):
        scale = np.abs(expected).max()
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5 * scale)


def test_bits_do_not_depend_on_the_number_of_threads():
    network = branches()
    bits = set()
    for threads in (1, 2, 3):
        thread_pool.set_num_threads(threads)
        y, tape = network.forward(IMAGES, training=True)
        dx, learned = network.backward(np.ones_like(y), tape)
        bits.add(b"".join(a.tobytes() for a in (y, dx, *learned)))
    assert len(bits) == 1
