"""Gradients of small random graphs: branches, shared tensors, several outputs, frozen layers."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from support.checks import thorough

from minidl import Input, layers
from minidl.graph.network import Network
from minidl.training import gradcheck

ACTIVATIONS = st.sampled_from([None, "tanh", "sigmoid", "gelu", "relu"])
BIAS = {"bias_initializer": "random_normal"}  # no ReLU stands at exactly 0, whatever is below


@st.composite
def graphs(draw):
    """Return ``(network, x)``: some layers, each on one or two earlier tensors, all joined."""
    height, width, channels = (draw(st.integers(2, 4)) for _ in range(3))
    x = Input((height, width, channels))
    tensors = [x]
    for _ in range(draw(st.integers(1, 6))):
        below = draw(st.sampled_from(tensors))
        kind = draw(st.sampled_from(
            ["conv", "dense", "depthwise", "norm", "tanh", "silu", "add", "concatenate", "pool",
             "gate"]
        ))  # fmt: skip
        if kind == "conv":
            y = layers.Conv2D(3, 2, padding="same", activation=draw(ACTIVATIONS), **BIAS)(below)
        elif kind == "dense":
            y = layers.Dense(2, activation=draw(ACTIVATIONS), **BIAS)(below)
        elif kind == "depthwise":
            y = layers.DepthwiseConv2D(3, padding="same")(below)
        elif kind == "norm":
            y = layers.BatchNormalization(epsilon=0.1)(below)
        elif kind == "pool":
            y = layers.AveragePooling2D(2, 1, padding="same")(below)
        elif kind in ("tanh", "silu"):
            y = layers.Activation(kind)(below)
        elif kind == "gate":
            mean = layers.GlobalAveragePooling2D(keepdims=True)(below)
            y = layers.Multiply()([below, layers.Conv2D(below.shape[3], 1, **BIAS)(mean)])
        elif kind == "add":
            alike = [tensor for tensor in tensors if tensor.shape == below.shape]
            y = layers.Add()([below, draw(st.sampled_from(alike))])  # itself, perhaps
        else:
            y = layers.Concatenate()([below, draw(st.sampled_from(tensors))])
        tensors.append(y)
    outputs = [tensors[-1]]
    if draw(st.booleans()):
        outputs.append(layers.GlobalAveragePooling2D()(layers.Concatenate()(tensors)))
    network = Network(x, outputs)
    for layer in network.layers:
        layer.trainable = draw(st.booleans())
    batch = (draw(st.integers(1, 3)), height, width, channels)
    return network, np.random.default_rng(draw(st.integers(0, 999))).normal(size=batch)


@thorough
@given(graphs(), st.booleans())
def test_random_graphs_have_the_right_gradients(case, training):
    network, x = case
    report = gradcheck(network, x, training=training, elements=4)
    assert report.kinks <= len(report.checks) // 4


@given(graphs())
def test_gradients_do_not_depend_on_what_else_is_asked_for(case):
    network, x = case
    results = []
    for need_dx in (True, False):
        ys, cache = network.forward(x, need_dx=need_dx)
        results.append(network.backward([np.ones_like(y) for y in ys], cache, need_dx=need_dx)[1])
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)
