"""How a graph is run: what is called, what is kept, what is freed, what is merged."""

import threading
import weakref

import numpy as np
import pytest

from minidl import Input, layers
from minidl.common.errors import ShapeError
from minidl.graph.network import Network

X = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")


class Spy(layers.Layer):
    """Multiplies by a weight; notes its calls, and whose outputs are alive when it is called."""

    def __init__(self, log, **kwargs):
        super().__init__(**kwargs)
        self.log, self.output = log, lambda: None

    def build(self, input_shape):
        self.factor = self.add_weight("factor", (1,), "ones")

    def forward(self, x, training=False, rng=None):
        self.log.append(("forward", self.name))
        y = x * self.factor.value
        self.output = weakref.ref(y)
        return y, x

    def backward(self, dy, cache, need_dx=True):
        self.log.append(("backward", self.name, need_dx))
        gradients = [np.sum(dy * cache, keepdims=True).reshape(1)] if self.trainable else []
        return dy * self.factor.value if need_dx else None, gradients


def spies(count, log, *upper):
    x = y = Input((4,), name="in")
    for i in range(count):
        y = Spy(log, name=f"spy{i}")(y)
    for layer in upper:
        y = layer(y)
    return Network(x, y)


def backward_calls(network, log, need_dx):
    y, cache = network.forward(X, training=True, need_dx=need_dx)
    log.clear()
    result = network.backward(np.ones_like(y), cache, need_dx=need_dx)
    return [call[1:] for call in log], result


def test_backward_stops_at_the_lowest_trainable_layer():
    log = []
    network = spies(4, log)
    network.freeze(until="spy1")
    calls, (dx, gradients) = backward_calls(network, log, need_dx=False)
    assert calls == [("spy3", True), ("spy2", False)]
    assert dx is None
    assert len(gradients) == 2


def test_backward_passes_through_frozen_layers_above_a_trainable_one():
    log = []
    network = spies(3, log)
    network.get_layer("spy1").trainable = False
    calls, (_, gradients) = backward_calls(network, log, need_dx=False)
    assert calls == [("spy2", True), ("spy1", True), ("spy0", False)]
    assert len(gradients) == 2


def test_backward_reaches_the_input_where_its_gradient_is_wanted():
    log = []
    network = spies(3, log)
    network.freeze()
    calls, (dx, gradients) = backward_calls(network, log, need_dx=True)
    assert calls == [("spy2", True), ("spy1", True), ("spy0", True)]
    np.testing.assert_array_equal(dx, np.ones_like(X))
    assert gradients == []


def test_a_wholly_frozen_network_goes_nowhere_back():
    log = []
    network = spies(2, log)
    network.freeze()
    assert backward_calls(network, log, need_dx=False) == ([], (None, []))


def test_a_frozen_branch_is_left_out_of_backward():
    log = []
    x = Input((4,))
    live, dead = Spy(log, name="live")(x), Spy(log, name="dead")(x)
    network = Network(x, layers.Add()([live, dead]))
    network.get_layer("dead").trainable = False
    calls, _ = backward_calls(network, log, need_dx=False)
    assert calls == [("live", False)]


class Witness(layers.Layer):
    """Notes which of the spies' outputs are alive while it runs."""

    def __init__(self, network_spies, **kwargs):
        super().__init__(**kwargs)
        self.spies, self.alive = network_spies, None

    def forward(self, x, training=False, rng=None):
        self.alive = [spy.name for spy in self.spies if spy.output() is not None]
        return x + 1, None

    def backward(self, dy, cache, need_dx=True):
        return dy, []


def watched(count, frozen=0):
    chain = [Spy([], name=f"spy{i}") for i in range(count)]
    witness = Witness(chain, name="witness")
    x = y = Input((4,))
    for layer in (*chain, witness):
        y = layer(y)
    network = Network(x, y)
    for spy in chain[:frozen]:
        spy.trainable = False
    return network, witness


def test_inference_lets_an_activation_go_after_its_last_reader():
    network, witness = watched(4)
    network.infer(X)
    assert witness.alive == ["spy3"]  # its own input


def test_training_keeps_only_what_backward_needs():
    network, witness = watched(4, frozen=2)
    _, cache = network.forward(X, training=True, need_dx=False)
    # spy2 is the lowest trainable: it keeps its input, the output of spy1; spy3 that of spy2.
    assert witness.alive == ["spy1", "spy2", "spy3"]
    kept = [spy.output for spy in witness.spies]
    network.backward(np.ones_like(X), cache)
    assert all(output() is None for output in kept)  # though the cache object is still here


def test_an_activation_with_two_readers_lives_until_the_second():
    spy, later = Spy([], name="first"), Spy([], name="later")
    witnesses = [Witness([spy], name=f"witness{i}") for i in range(2)]
    x = Input((4,))
    start = spy(x)
    y = witnesses[0](later(start))
    network = Network(x, witnesses[1](layers.Add()([y, start])))
    network.infer(X)
    assert [witness.alive for witness in witnesses] == [["first"], []]


def test_outputs_in_the_middle_stay_alive():
    spy = Spy([], name="spy")
    x = Input((4,))
    y = spy(x)
    ys = Network(x, [y, layers.ReLU()(layers.ReLU()(y))]).infer(X)
    np.testing.assert_array_equal(ys[0], X)


def test_a_cache_serves_one_backward():
    network = spies(2, [])
    y, cache = network.forward(X)
    network.backward(y, cache)
    with pytest.raises(RuntimeError, match=r"expected an unused cache. Run forward again"):
        network.backward(y, cache)


def test_caches_of_several_forwards_do_not_disturb_each_other():
    x = Input((4,))
    network = Network(x, layers.Dense(3, activation="gelu")(layers.Dense(5, "relu")(x)))

    def gradients(scale):
        y, cache = network.forward(scale * X)
        return y, cache, lambda: network.backward(np.ones_like(y), cache)

    expected = [gradients(scale)[2]() for scale in (1, 2)]
    _, _, first = gradients(1)
    _, _, second = gradients(2)
    found = [second(), first()][::-1]
    for (dx, grads), (dx_found, grads_found) in zip(expected, found, strict=True):
        for a, b in zip([dx, *grads], [dx_found, *grads_found], strict=True):
            np.testing.assert_array_equal(a, b)


def test_one_network_runs_in_several_threads():
    x = Input((8, 8, 2))
    y = layers.Conv2D(4, 3, padding="same", activation="silu")(x)
    y = layers.GlobalAveragePooling2D()(layers.Dropout(0.5)(layers.MaxPooling2D()(y)))
    network = Network(x, layers.Dense(3)(y))
    batches = np.random.default_rng(0).normal(size=(4, 6, 8, 8, 2)).astype("float32")

    def step(k):
        y, cache = network.forward(batches[k], training=True, rng=np.random.default_rng(k))
        return [y, *network.backward(np.ones_like(y), cache)[1]]

    expected, found = [step(k) for k in range(4)], {}
    threads = [threading.Thread(target=lambda k=k: found.update({k: step(k)})) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for k in range(4):
        for a, b in zip(found[k], expected[k], strict=True):
            np.testing.assert_array_equal(a, b)


def test_random_layers_draw_by_themselves_and_repeat_with_the_generator():
    x = Input((1000,))
    network = Network(x, [layers.Dropout(0.5)(x), layers.Dropout(0.5)(x)])
    ones = np.ones((1, 1000), "float32")

    def draw(seed):
        return network.forward(ones, training=True, rng=np.random.default_rng(seed))[0]

    one, other = draw(0)
    assert not np.array_equal(one, other)
    np.testing.assert_array_equal(draw(0)[0], one)
    assert not np.array_equal(draw(1)[0], one)
    np.testing.assert_array_equal(network.forward(ones)[0][0], ones)


class Faulty(layers.Layer):
    def __init__(self, result, **kwargs):
        super().__init__(**kwargs)
        self.result = result

    def build(self, input_shape):
        self.w = self.add_weight("w", (2,))

    def forward(self, x, training=False, rng=None):
        return x, x

    def backward(self, dy, cache, need_dx=True):
        return self.result(dy)


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (lambda dy: (dy, []), "expected backward to return 1 gradients, .* received 0"),
        (
            lambda dy: (dy, [np.ones(2)] * 2),
            "expected backward to return 1 gradients, .* received 2",
        ),
        (lambda dy: (dy, [np.ones(3)]), r"gradient of shape \(2,\) for 'w', received \(3,\)"),
        (
            lambda dy: (None, [np.ones(2)]),
            "expected backward to return an input gradient, received NoneType",
        ),
    ],
)
def test_a_layer_whose_backward_is_wrong_is_named(result, message):
    x = Input((4,))
    network = Network(x, Faulty(result, name="mine")(x))
    y, cache = network.forward(X)
    with pytest.raises(ShapeError, match="Faulty 'mine': .*" + message):
        network.backward(y, cache)
