"""Functional models: branches, shared layers, inlined models, names, freezing, messages."""

import numpy as np
import pytest

from minidl import Input, layers
from minidl.common.errors import ShapeError
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


def test_branches_meet_again():
    x = Input((4,))
    a, b = layers.Dense(3), layers.Dense(3, activation="tanh")
    network = Network(x, layers.Concatenate()([layers.Add()([a(x), b(x)]), x]))
    expected = np.concatenate([a(X) + b(X), X], axis=1)
    np.testing.assert_array_equal(network(X), expected)
    np.testing.assert_array_equal(network.infer(X), expected)
    np.testing.assert_array_equal(network.forward(X)[0], expected)
    assert network.output_shape == (None, 7)


def test_several_inputs_and_outputs():
    x, z = Input((4,), name="x"), Input((2,), name="z")
    dense = layers.Dense(2)
    network = Network([x, z], [layers.Add()([dense(x), z]), z])
    second = np.ones((5, 2), "float32")
    y = network([X, second])
    np.testing.assert_array_equal(y[0], dense(X) + second)
    np.testing.assert_array_equal(y[1], second)
    assert network.input_shape == [(None, 4), (None, 2)]
    assert network.output_shape == [(None, 2), (None, 2)]
    _, cache = network.forward([X, second])
    dxs, (dw, db) = network.backward([np.ones((5, 2)), np.full((5, 2), 10.0)], cache)
    np.testing.assert_allclose(dxs[0], np.ones((5, 2)) @ dense.kernel.value.T, rtol=1e-5)
    np.testing.assert_array_equal(dxs[1], np.full((5, 2), 11))  # from both outputs
    np.testing.assert_allclose(dw, X.T @ np.ones((5, 2)), rtol=1e-5)
    np.testing.assert_array_equal(db, [5, 5])


def test_an_output_without_gradient_is_left_out():
    x = Input((4,))
    one, other = layers.Dense(1, name="one"), layers.Dense(1, name="other")
    network = Network(x, [one(x), other(x)])
    _, cache = network.forward(X)
    _, gradients = network.backward([np.ones((5, 1)), None], cache)
    assert [bool(g.any()) for g in gradients] == [True, True, False, False]
    assert [g.shape for g in gradients] == [p.shape for p in network.trainable_weights]


def test_a_shared_layer_has_its_weights_once_and_sums_its_gradients():
    x, z = Input((4,)), Input((4,))
    dense = layers.Dense(2)
    network = Network([x, z], layers.Concatenate()([dense(x), dense(z)]))
    assert len(network.weights) == 2
    assert network.count_params() == 10
    _, cache = network.forward([X, 10 * X])
    _, (dw, db) = network.backward(np.ones((5, 4)), cache)
    np.testing.assert_allclose(dw, 11 * X.T @ np.ones((5, 2)), rtol=1e-5)
    np.testing.assert_array_equal(db, [10, 10])


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


def test_tap_stops_at_a_named_activation():
    network = chain("a", "b", "c")
    tapped = network.tap("b")
    assert names(tapped) == ["in", "a", "b"]
    a, b = network.get_layer("a"), network.get_layer("b")
    np.testing.assert_array_equal(tapped(X), b(a(X)))
    assert tapped.get_layer("a") is a
    assert names(network) == ["in", "a", "b", "c"]  # the network itself is as before


def test_tap_reaches_into_inlined_models():
    base = chain("a", "b")
    x = Input((4,))
    network = Network(x, layers.Dense(1)(base(x)))
    np.testing.assert_array_equal(network.tap("a")(X), base.get_layer("a")(X))


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


def test_freeze_and_unfreeze_by_name():
    network = chain("a", "b", "c")

    def trainable():
        return "".join(layer.name for layer in network.layers[1:] if layer.trainable)

    network.freeze(until="b")
    assert trainable() == "c"
    network.freeze()
    assert trainable() == ""
    assert not network.trainable
    network.unfreeze(from_layer="b")
    assert trainable() == "bc"
    network.unfreeze()
    assert trainable() == "abc"


def test_freeze_until_takes_only_what_the_layer_depends_on():
    x = Input((4,))
    a, b, c = (layers.Dense(4, name=name) for name in "abc")
    network = Network(x, layers.Add()([b(a(x)), c(x)]))
    network.freeze(until="b")
    assert (a.trainable, b.trainable, c.trainable) == (False, False, True)
    network.freeze()
    network.unfreeze(from_layer="b")
    assert (a.trainable, b.trainable, c.trainable) == (False, True, True)


def test_weights_in_order_and_all_or_nothing():
    network = chain("a", "b")
    assert [p.path for p in network.weights] == ["a/kernel", "a/bias", "b/kernel", "b/bias"]
    twin = chain("a", "b")
    twin.set_weights(network.get_weights())
    np.testing.assert_array_equal(twin(X), network(X))
    before = twin.get_weights()
    wrong = [w + 1 for w in before]
    wrong[-1] = np.zeros(5)
    with pytest.raises(ShapeError, match=r"expected shape \(4,\) for b/bias, received \(5,\)"):
        twin.set_weights(wrong)
    with pytest.raises(ShapeError, match="set_weights expected 4 arrays .* received 3"):
        twin.set_weights(before[:3])
    assert all(np.array_equal(a, b) for a, b in zip(twin.get_weights(), before, strict=True))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_data_are_taken_in_the_models_dtype(dtype):
    network = chain("a", dtype=dtype)
    assert network.dtype == dtype
    for x in (X, X.astype("float64"), (X * 10).astype("int32"), (X > 0)):
        y, cache = network.forward(x)
        assert y.dtype == dtype
        dx, gradients = network.backward(np.ones(y.shape, "float64"), cache)
        assert {a.dtype for a in (dx, *gradients)} == {np.dtype(dtype)}


def images(shape, *names):
    x = Input(shape, name="photos")
    return Network(x, layers.Conv2D(2, 3, name="conv")(x), name="net")


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (np.ones((8, 8, 3)), ShapeError, r"input 'photos' expected shape \(None, 8, 8, 3\), "
         r"received \(8, 8, 3\)\. For a single sample add the batch axis: x\[None\]"),
        (np.ones((1, 8, 8, 4)), ShapeError, r"input 'photos' .*received \(1, 8, 8, 4\)$"),
        (np.ones((1, 9, 8, 3)), ShapeError, r"input 'photos' .*received \(1, 9, 8, 3\)$"),
        (np.full((1, 8, 8, 3), "a"), TypeError, "expected numbers, received dtype <U1"),
        (np.full((1, 8, 8, 3), None), TypeError, "expected numbers, received dtype object"),
    ],
)  # fmt: skip
def test_wrong_data_are_refused(x, error, message):
    with pytest.raises(error, match="Network 'net': " + message):
        images((8, 8, 3)).forward(x)


def test_sizes_known_only_with_the_data_are_checked_with_the_data():
    network = images((None, None, 3))
    assert network(np.ones((1, 5, 4, 3))).shape == (1, 3, 2, 2)
    with pytest.raises(ShapeError, match=r"Conv2D 'conv': expected images .*\(1, 2, 9, 3\)"):
        network(np.ones((1, 2, 9, 3)))
    a, b = Input((None, 3)), Input((None, 3))
    network = Network([a, b], layers.Add(name="sum")([a, b]))
    with pytest.raises(ShapeError, match=r"Add 'sum'.*\(2, 4, 3\), \(2, 1, 3\)"):
        network([np.ones((2, 4, 3)), np.ones((2, 1, 3))])


def test_wrong_numbers_of_inputs_are_refused():
    x, z = Input((4,)), Input((4,))
    network = Network([x, z], layers.Add()([x, z]))
    with pytest.raises(ShapeError, match="expected 2 inputs, received 1"):
        network.forward([X])
    with pytest.raises(ShapeError, match="equal numbers of samples"):
        network.forward([X, X[:2]])
    with pytest.raises(ShapeError, match="expected 2 inputs, received 1"):
        network(Input((4,)))
    with pytest.raises(ShapeError, match=r"expected shape \(None, 4\), received \(None, 3\)"):
        network([Input((4,)), Input((3,))])


def test_a_gradient_of_the_wrong_shape_is_refused():
    network = chain("a")
    for wrong in (np.ones((5, 3)), np.ones((4, 4)), np.ones(4)):
        _, cache = network.forward(X)
        with pytest.raises(ShapeError, match=r"expected dy of shape \(5, 4\), received"):
            network.backward(wrong, cache)


def test_a_graph_with_a_missing_input_is_refused():
    x, z = Input((4,), name="x"), Input((4,), name="z")
    y = layers.Add()([x, z])
    with pytest.raises(ValueError, match="depends on InputLayer 'z'. Add it to the inputs"):
        Network(x, y)
    for wrong in (X, [], None, [x, X]):
        with pytest.raises(TypeError, match="expected inputs made by Input and layers"):
            Network(wrong, y)


def test_repr_counts():
    assert repr(chain("a")) == "<Network 'network' 2 layers, 20 parameters>"


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


def test_a_layer_that_returns_a_view_may_be_followed_by_a_kernel():
    class EverySecond(layers.Layer):
        def compute_output_shape(self, input_shape):
            return input_shape[0], input_shape[1] // 2, input_shape[2] // 2, input_shape[3]

        def forward(self, x, training=False, rng=None):
            return x[:, ::2, ::2], x.shape

    x = Input((8, 8, 2))
    y = Network(x, layers.Conv2D(3, 3)(EverySecond()(x))).infer(np.ones((1, 8, 8, 2)))
    assert y.shape == (1, 2, 2, 3)


def test_one_layer_may_compute_in_another_precision():
    x = Input((4, 4, 2))
    network = Network(x, layers.Flatten()(layers.Conv2D(3, 3, dtype="float64")(x)))
    y, cache = network.forward(np.ones((1, 4, 4, 2), "float32"))
    assert y.dtype == np.float64
    _, gradients = network.backward(np.ones_like(y), cache)
    assert [g.dtype for g in gradients] == [np.float64, np.float64]


def test_two_parts_of_one_name_can_both_be_got():
    x = Input((3,))
    parts = [Network(x, layers.Dense(3)(x), name="part") for _ in range(2)]
    whole = Network(x, parts[1](parts[0](x)))
    assert whole.get_layer("part") is parts[0]
    assert whole.get_layer("part_1") is parts[1]


def test_a_model_within_can_be_frozen_and_tapped_by_its_name():
    x = Input((4,))
    base = Network(x, layers.Dense(3, name="low")(x), name="base")
    network = Network(x, layers.Dense(2, name="top")(layers.ReLU()(base(x))))
    network.freeze(until="base")
    assert [layer.trainable for layer in network.layers] == [False, False, True, True]
    assert network.tap("base").output_shape == (None, 3)
    with pytest.raises(ValueError, match="expected from_layer to be a layer"):
        network.unfreeze(from_layer="base")
