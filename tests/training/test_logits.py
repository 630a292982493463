"""The final activation is split off for training, and only for training."""

import numpy as np
import pytest

from minidl import Input, Model, Sequential, layers
from minidl.layers.base import Layer
from minidl.losses import BinaryCrossentropy
from minidl.training.logits import LogitsNetwork, final_activation

RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 4)).astype(np.float32)


def model_with(*top: Layer) -> Sequential:
    return Sequential([Input((4,)), layers.Dense(5, "relu"), *top])


ENDS = {
    "fused sigmoid": (lambda: [layers.Dense(2, "sigmoid")], "sigmoid"),
    "fused softmax": (lambda: [layers.Dense(3, "softmax")], "softmax"),
    "activation": (lambda: [layers.Dense(3), layers.Activation("softmax")], "softmax"),
    "layer": (lambda: [layers.Dense(2), layers.Sigmoid()], "sigmoid"),
}


@pytest.mark.parametrize("end", ENDS)
def test_logits_are_what_goes_into_the_activation(end):
    make, name = ENDS[end]
    model = model_with(*make())
    assert final_activation(model) == name
    split = LogitsNetwork(model)
    logits, _ = split.forward(X)
    hidden = np.maximum(X @ model.layers[0].kernel.value + model.layers[0].bias.value, 0)
    dense = model.layers[1]
    expected = hidden @ dense.kernel.value + dense.bias.value
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-6)  # sums of 5 float32
    np.testing.assert_array_equal(split.infer(X), logits)
    np.testing.assert_allclose(split.activations[0](logits), model.predict(X), rtol=1e-6)


def test_a_convolution_with_a_fused_sigmoid_is_split():
    x = Input((6, 6, 3))
    model = Model(x, layers.Conv2D(1, 3, activation="sigmoid")(x))
    images = RNG.normal(size=(2, 6, 6, 3)).astype(np.float32)
    logits = LogitsNetwork(model).infer(images)
    assert logits.min() < 0
    np.testing.assert_allclose(1 / (1 + np.exp(-logits)), model.predict(images), rtol=1e-5)


@pytest.mark.parametrize("activation", ["relu", "tanh", None])
def test_other_activations_stay(activation):
    model = model_with(layers.Dense(2, activation))
    assert final_activation(model) is None
    split = LogitsNetwork(model)
    assert split.activations == [None]
    assert split.output_tensors[0] is model.output_tensors[0]


def test_an_output_that_another_layer_reads_stays():
    x = Input((4,))
    inner = layers.Dense(3, "softmax")(x)
    model = Model(x, [inner, layers.Dense(1, "sigmoid")(inner)])
    first, second = LogitsNetwork(model).activations
    assert first is None
    assert isinstance(second, layers.Sigmoid)


def test_a_layer_that_is_called_twice_stays():
    x, z = Input((4,)), Input((4,))
    shared = layers.Dense(1, "sigmoid")
    model = Model([x, z], [shared(x), shared(z)])
    assert LogitsNetwork(model).activations == [None, None]


def test_a_subclass_with_its_own_forward_keeps_its_activation():
    class Doubled(layers.Dense):
        def forward(self, x, training=False, rng=None):
            y, cache = super().forward(x, training, rng)
            return 2 * y, cache

    assert final_activation(model_with(Doubled(1, "sigmoid"))) is None


def test_the_copy_follows_the_original():
    """Weights, the trainable flag and learning rates belong to the model's own layer."""
    model = model_with(layers.Dense(2, "sigmoid"))
    split = LogitsNetwork(model)
    assert [id(p) for p in split.weights] == [id(p) for p in model.weights]
    model.layers[1].trainable = False
    assert len(split.trainable_weights) == 2
    y, tape = split.forward(X)
    _, gradients = split.backward(np.ones_like(y), tape)
    assert [g.shape for g in gradients] == [p.shape for p in model.trainable_weights]
    model.layers[1].set_weights([np.ones((5, 2)), np.zeros(2)])
    np.testing.assert_array_equal(split.infer(X)[:, 0], split.infer(X)[:, 1])


def test_random_layers_draw_the_same_numbers():
    """Nodes keep their numbers, even above an activation layer that became the identity."""
    x = Input((4,))
    first = layers.Activation("sigmoid")(layers.Dense(1)(x))
    second = layers.Dense(3, "softmax")(layers.Dropout(0.5)(x))
    model = Model(x, [first, second])
    split = LogitsNetwork(model)
    whole, _ = model.forward(X, training=True, rng=7)
    logits, _ = split.forward(X, training=True, rng=7)
    for output, activation, expected in zip(logits, split.activations, whole, strict=True):
        np.testing.assert_allclose(activation(output), expected, rtol=1e-6)


def test_a_saturated_and_wrong_model_learns():
    """In float32 sigmoid(-200) is 0, and its slope too: only the logits have a gradient."""
    model = Sequential([Input((1,)), layers.Dense(1, "sigmoid", kernel_initializer="ones")])
    model.compile("sgd", "binary_crossentropy")
    before = float(model.get_weights()[0][0, 0])
    loss = model.train_on_batch(np.full((1, 1), -200.0), np.ones(1))
    assert loss == pytest.approx(200.0)  # log(1 + exp(200))
    assert model.get_weights()[0][0, 0] == pytest.approx(before - 0.01 * 200)


def test_training_and_evaluation_agree_and_predictions_stay_probabilities():
    model = model_with(layers.Dense(1, "sigmoid"))
    model.compile("sgd", "binary_crossentropy", metrics=["accuracy"])
    y = (X[:, 0] > 0).astype(int)
    predicted = model.predict(X)
    loss, accuracy = model.evaluate(X, y, verbose=0)
    # From probabilities in float32: 1e-7 of rounding in p, at most 10 times that in log p.
    assert loss == pytest.approx(BinaryCrossentropy()(y, predicted), rel=1e-5)
    assert accuracy == np.mean((predicted[:, 0] > 0.5) == y)
    assert model.loss.from_logits is False
    assert ((predicted > 0) & (predicted < 1)).all()


def test_a_sequential_that_grows_is_split_anew():
    model = Sequential([Input((4,)), layers.Dense(1, "sigmoid")])
    model.compile("sgd", "binary_crossentropy")
    y = (X[:, 0] > 0).astype(int)
    model.train_on_batch(X, y)
    model.pop()
    model.add(layers.Dense(1, "sigmoid", kernel_initializer="zeros"))
    assert model.test_on_batch(X, y) == pytest.approx(np.log(2), rel=1e-6)
