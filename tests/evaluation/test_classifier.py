"""Classes and probabilities from sigmoid, softmax and logits."""

import numpy as np
import pytest
from support.tiny import classifier, refused

from minidl import Input, Model, Sequential, layers, losses
from minidl.evaluation.classifier import (
    class_count,
    class_names,
    color_mode,
    image_size,
    predicted_classes,
    probabilities,
    threshold,
)

LOGITS = np.array([[-2.0, 0.5, 0.3], [0.2, 0.1, 0.4], [3.0, -1.0, 0.0]])


def model_with(units, activation, loss=None):
    model = Sequential([Input((4,)), layers.Dense(units, activation=activation)])
    if loss is not None:
        model.compile("sgd", loss)
    return model


def softmax(z):
    e = np.exp(z)
    return e / e.sum(axis=1, keepdims=True)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


@pytest.mark.parametrize("loss", [None, "compiled"])
def test_one_sigmoid_stands_for_two_classes(loss):
    model = model_with(1, "sigmoid", loss and "binary_crossentropy")
    outputs = np.array([[0.2], [0.5], [0.8]])
    np.testing.assert_allclose(
        probabilities(model, outputs), [[0.8, 0.2], [0.5, 0.5], [0.2, 0.8]], rtol=1e-15
    )
    assert predicted_classes(model, outputs).tolist() == [0, 0, 1]
    assert threshold(model) == 0.5


@pytest.mark.parametrize("loss", [None, losses.BinaryCrossentropy(from_logits=True)])
def test_one_logit_is_compared_with_zero(loss):
    """Logits within 0..1 are the case that a look at the numbers cannot tell."""
    model, outputs = model_with(1, None, loss), np.array([[-0.3], [0.2], [4.0]])
    p = sigmoid(outputs[:, 0])
    np.testing.assert_allclose(
        probabilities(model, outputs), np.stack([1 - p, p], axis=1), atol=1e-6
    )
    assert predicted_classes(model, outputs).tolist() == [0, 1, 1]
    assert threshold(model) == 0


@pytest.mark.parametrize("loss", [None, losses.SparseCategoricalCrossentropy(from_logits=True)])
def test_several_logits_go_through_softmax(loss):
    model = model_with(3, None, loss)
    np.testing.assert_allclose(probabilities(model, LOGITS), softmax(LOGITS), atol=1e-6)
    assert predicted_classes(model, LOGITS).tolist() == [1, 2, 0]


def test_independent_logits_go_through_sigmoid():
    model = model_with(3, None, losses.BinaryCrossentropy(from_logits=True))
    np.testing.assert_allclose(probabilities(model, LOGITS), sigmoid(LOGITS), atol=1e-6)


@pytest.mark.parametrize("outputs", [[[1.2, -0.2]], [[np.nan, 1.0]], [[np.inf, 0.0]]])
def test_outputs_that_are_not_probabilities_are_refused(outputs):
    with refused(ValueError, "expected probabilities 0..1", "from_logits=True"):
        probabilities(model_with(2, "softmax"), np.array(outputs))


def test_rounding_outside_0_to_1_is_clipped():
    p = probabilities(model_with(2, "softmax"), np.array([[1 + 1e-7, -1e-7]]))
    assert p.tolist() == [[1.0, 0.0]]


def test_prediction_agrees_with_the_accuracy_metric():
    for model in (classifier(), classifier(outputs=3)):
        x = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
        y = np.arange(50) % class_count(model)
        accuracy = (predicted_classes(model, model.predict(x, verbose=0)) == y).mean()
        evaluated = model.evaluate(x, y, return_dict=True, verbose=0)["accuracy"]
        assert evaluated == pytest.approx(accuracy)


def test_class_names():
    model = model_with(1, "sigmoid")
    assert class_names(model) == ["class_0", "class_1"]
    model.metadata["class_names"] = ["cats", "dogs"]
    assert class_names(model) == ["cats", "dogs"]
    model.metadata["class_names"] = ["cats", "dogs", "owls"]
    with refused(ValueError, "3 class names for 2 classes"):
        class_names(model)
    x = Input((4,))
    for outputs in ([layers.Dense(1)(x), layers.Dense(1)(x)], layers.Reshape((2, 2))(x)):
        with refused(ValueError, "not a classifier"):
            class_names(Model(x, outputs))


def test_image_size_and_color_mode():
    fixed = Sequential([Input((20, 30, 1)), layers.Flatten(), layers.Dense(1)])
    assert image_size(fixed) == (20, 30)
    assert color_mode(fixed) == "grayscale"
    flexible = Sequential([Input((None, None, 3)), layers.GlobalAveragePooling2D()])
    assert image_size(flexible) == (224, 224)
    flexible.metadata["image_size"] = (64, 48)
    assert image_size(flexible) == (64, 48)
    assert color_mode(flexible) == "rgb"
    for shape in ((4,), (8, 8, 2)):
        with refused(ValueError, "does not take images"):
            image_size(Sequential([Input(shape), layers.Flatten(), layers.Dense(1)]))
