"""Graph assembly: reachable tensors, names of layers, inlined models."""

import numpy as np
import pytest

from minidl import Input, layers
from minidl.graph.network import Network

RNG = np.random.default_rng(0)
X = RNG.normal(size=(5, 4)).astype("float32")


def chain(*names, dtype="float32"):
    """A network of Dense layers, one below the other."""
    x = y = Input((4,), name="in", dtype=dtype)
    for name in names:
        y = layers.Dense(4, name=name)(y)
    return Network(x, y)


def names(network):
    return [layer.name for layer in network.layers]


def test_an_inlined_model_is_reachable_and_shares_weights_and_flags():
    base = chain("a", "b")
    x = Input((4,))
    network = Network(x, layers.Dense(1, name="head")(base(x)))
    assert names(network)[1:] == ["a", "b", "head"]
    assert network.get_layer("a") is base.get_layer("a")
    assert network.get_layer(base.name) is base
    before = network(X)
    base.get_layer("a").set_weights([np.zeros((4, 4)), np.zeros(4)])
    assert not np.array_equal(network(X), before)
    base.trainable = False
    assert [p.path for p in network.trainable_weights] == ["head/kernel", "head/bias"]
    assert network.trainable
    network.trainable = True
    assert base.trainable


def test_models_within_models_within_models_are_reachable():
    inner = chain("a")
    x = Input((4,))
    middle = Network(x, layers.Dense(4, name="b")(inner(x)), name="middle")
    z = Input((4,))
    outer = Network(z, layers.Dense(4, name="c")(middle(z)), name="outer")
    assert names(outer)[1:] == ["a", "b", "c"]
    assert outer.get_layer("middle") is middle
    assert outer.get_layer("network") is inner


def test_a_model_used_twice_counts_once():
    base = chain("a")
    x, z = Input((4,)), Input((4,))
    network = Network([x, z], layers.Add()([base(x), base(z)]))
    assert len(network.weights) == 2
    np.testing.assert_array_equal(network([X, 2 * X]), base(X) + base(2 * X))


def test_a_model_may_begin_at_an_inner_tensor():
    x = Input((4,))
    y = layers.Dense(3, name="a")(x)
    z = layers.Dense(2, name="b")(y)
    upper = Network(y, z)
    assert upper.input_shape == (None, 3)
    assert [p.path for p in upper.weights] == ["b/kernel", "b/bias"]
    inner = np.ones((2, 3), "float32")
    np.testing.assert_array_equal(upper(inner), upper.get_layer("b")(inner))


def test_an_input_that_is_an_output_and_one_that_nobody_reads():
    x, unread = Input((4,)), Input((2,))
    network = Network([x, unread], x)
    np.testing.assert_array_equal(network([X, X[:, :2]]), X)
    _, cache = network.forward([X, X[:, :2]])
    dxs, gradients = network.backward(X, cache)
    np.testing.assert_array_equal(dxs[0], X)
    assert dxs[1] is None
    assert gradients == []


def test_automatic_names_start_anew_in_each_model():
    for _ in range(2):
        x = Input((4,))
        y = x
        for units in (4, 3, 2):
            y = layers.Dense(units)(y)
        network = Network(x, layers.ReLU()(y))
        assert names(network) == ["input_layer", "dense", "dense_1", "dense_2", "re_lu"]


def test_automatic_names_are_numbered_in_the_order_of_construction():
    """As in Keras, whose weight files tell layers by these numbers."""
    second, first = (layers.Dense(2) for _ in range(2))
    x = Input((2,))
    network = Network(x, second(first(x)))
    assert names(network) == ["input_layer", "dense_1", "dense"]


def test_automatic_names_keep_clear_of_given_ones():
    x = Input((4,))
    y = layers.Dense(2, name="dense")(layers.Dense(3)(x))
    assert names(Network(x, y)) == ["input_layer", "dense_1", "dense"]


def test_an_inlined_model_keeps_its_automatic_names():
    x = Input((4,))
    y = layers.Dense(4)(x)
    base = Network(x, layers.Dense(3)(y))
    before = names(base)
    z = Input((4,))
    y = layers.Dense(4)(z)
    network = Network(z, layers.Dense(1)(base(y)))
    assert names(base) == before == ["input_layer", "dense", "dense_1"]
    assert names(network) == ["input_layer", "dense_2", "dense", "dense_1", "dense_3"]


def test_one_name_for_two_layers_is_refused():
    x = Input((4,))
    y = layers.Dense(2, name="twin")(layers.Dense(3, name="twin")(x))
    with pytest.raises(ValueError, match="Network 'mine': expected unique layer .* 'twin' twice"):
        Network(x, y, name="mine")


def test_a_layer_that_is_not_there_is_refused_with_those_that_are():
    network = chain("a", "b")
    for ask in (network.get_layer, network.tap, network.freeze, network.unfreeze):
        with pytest.raises(ValueError, match=r"name of a layer \(in, a, b\), received 'c'"):
            ask("c")
    assert network.get_layer(index=-1).name == "b"
    for wrong in ({}, {"index": 3}, {"index": -4}):
        with pytest.raises(ValueError, match="get_layer expected a name or an index"):
            network.get_layer(**wrong)


def test_a_graph_with_a_missing_input_is_refused():
    x, z = Input((4,), name="x"), Input((4,), name="z")
    y = layers.Add()([x, z])
    with pytest.raises(ValueError, match="depends on InputLayer 'z'. Add it to the inputs"):
        Network(x, y)
    for wrong in (X, [], None, [x, X]):
        with pytest.raises(TypeError, match="expected inputs made by Input and layers"):
            Network(wrong, y)


def test_joining_parts_never_gives_a_smaller_network_two_layers_of_one_name():
    x = Input((3,))
    a = Network(x, layers.Dense(3)(layers.Dense(3)(layers.Dense(3)(x))))
    b = Network(x, layers.Dense(3)(x))
    Network(x, a.tap("dense_1")(b(x)))
    for network in (a, b):
        names = [layer.name for layer in network.layers]
        assert len(set(names)) == len(names)


def test_inputs_and_outputs_build_larger_models():
    x = Input((3,))
    base = Network(x, layers.Dense(2, name="base")(x))
    larger = Network(base.input, layers.Dense(1)(base.output))
    assert larger.get_layer("base") is base.get_layer("base")
    assert larger.output_shape == (None, 1)
    assert base.inputs == [base.input]
    assert base.outputs == [base.output]


def test_two_parts_of_one_name_can_both_be_got():
    x = Input((3,))
    parts = [Network(x, layers.Dense(3)(x), name="part") for _ in range(2)]
    whole = Network(x, parts[1](parts[0](x)))
    assert whole.get_layer("part") is parts[0]
    assert whole.get_layer("part_1") is parts[1]
