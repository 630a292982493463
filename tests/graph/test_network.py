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


def test_repr_counts():
    assert repr(chain("a")) == "<Network 'network' 2 layers, 20 parameters>"


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


def test_a_model_within_can_be_frozen_and_tapped_by_its_name():
    x = Input((4,))
    base = Network(x, layers.Dense(3, name="low")(x), name="base")
    network = Network(x, layers.Dense(2, name="top")(layers.ReLU()(base(x))))
    network.freeze(until="base")
    assert [layer.trainable for layer in network.layers] == [False, False, True, True]
    assert network.tap("base").output_shape == (None, 3)
    with pytest.raises(ValueError, match="expected from_layer to be a layer"):
        network.unfreeze(from_layer="base")
