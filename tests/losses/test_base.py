"""All losses: values and gradients against slow twins, lookup by name."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import reference_training as reference

from minidl import losses
from minidl.losses import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    Loss,
    MeanSquaredError,
    SparseCategoricalCrossentropy,
)

KINDS = [
    "mse",
    "binary",
    "binary logits",
    "categorical",
    "categorical logits",
    "sparse",
    "sparse logits",
]


@st.composite
def cases(draw, kind):
    """A loss, its labels and float64 predictions (away from the clipping), and weights."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    shape = tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=2)))
    classes = draw(st.integers(1 if kind.startswith(("mse", "binary")) else 2, 5))
    smoothing = draw(st.sampled_from([0.0, 0.1, 0.5]))
    logits = kind.endswith("logits")
    size = (*shape, classes)
    y_pred = rng.normal(0, 3, size) if logits else rng.uniform(0.05, 0.95, size)
    integers = rng.integers(0, classes, shape)
    one_hot = np.eye(classes)[integers]
    if kind == "mse":
        loss, y_true = MeanSquaredError(), rng.normal(size=y_pred.shape)
    elif kind.startswith("binary"):
        loss = BinaryCrossentropy(logits, smoothing)
        y_true = rng.integers(0, 2, y_pred.shape)
    elif kind.startswith("categorical"):
        loss, y_true = CategoricalCrossentropy(logits, smoothing), one_hot
    else:
        loss, y_true, smoothing = SparseCategoricalCrossentropy(logits), integers, 0.0
    weights = draw(st.sampled_from([None, shape[:1], shape]))
    if weights is not None:
        weights = rng.uniform(0, 3, weights)
    return loss, y_true, y_pred, weights, smoothing


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_gradients_match_central_differences(kind, data):
    loss, y_true, y_pred, weights, _ = data.draw(cases(kind))
    value, gradient = loss.value_and_gradient(y_true, y_pred, weights)
    assert gradient.shape == y_pred.shape
    assert gradient.dtype == y_pred.dtype
    assert loss(y_true, y_pred, weights) == value
    expected = reference.numerical_gradient(lambda p: loss(y_true, p, weights), y_pred)
    # Roundoff of the differences is about 1e-16 * |loss| / 1e-5.
    np.testing.assert_allclose(
        gradient, expected, atol=1e-6 * np.abs(expected).max() + 1e-10 * (1 + abs(value))
    )


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_values_match_the_obvious_formula(kind, data):
    loss, y_true, y_pred, weights, smoothing = data.draw(cases(kind))
    rows = y_pred.reshape(-1, y_pred.shape[-1])
    targets = np.eye(rows.shape[1])[y_true] if kind.startswith("sparse") else y_true
    targets = targets.reshape(rows.shape).tolist()
    if kind == "mse":
        expected = reference.mean_squared_error(targets, rows.tolist())
    else:
        name = "binary" if kind.startswith("binary") else "categorical"
        twin = getattr(reference, f"{name}_crossentropy")
        expected = twin(targets, rows.tolist(), loss.from_logits, smoothing)
    expected = np.reshape(expected, y_pred.shape[:-1])
    np.testing.assert_allclose(loss.per_row(y_true, y_pred), expected, rtol=1e-10, atol=1e-12)
    if weights is not None:
        expected = expected * weights.reshape(weights.shape + (1,) * (expected.ndim - weights.ndim))
    value = loss(y_true, y_pred, weights)
    np.testing.assert_allclose(value, expected.mean(), rtol=1e-10, atol=1e-12)


def test_arguments_are_not_changed():
    y_true, y_pred = np.array([[0.0, 1.0]]), np.array([[2.0, 6.0]])
    weights = np.array([2.0])
    for loss in (CategoricalCrossentropy(label_smoothing=0.1), MeanSquaredError()):
        loss.value_and_gradient(y_true, y_pred, weights)
    assert y_true.tolist() == [[0, 1]]
    assert y_pred.tolist() == [[2, 6]]
    assert weights.tolist() == [2]


@pytest.mark.parametrize(
    ("name", "cls"),
    [
        ("binary_crossentropy", BinaryCrossentropy),
        ("categorical_crossentropy", CategoricalCrossentropy),
        ("sparse_categorical_crossentropy", SparseCategoricalCrossentropy),
        ("mse", MeanSquaredError),
        ("mean_squared_error", MeanSquaredError),
        ("BinaryCrossentropy", BinaryCrossentropy),
    ],
)
def test_losses_are_found_by_name(name, cls):
    assert type(losses.get(name)) is cls
    assert losses.get(cls).name == losses.get(name).name


def test_unknown_losses_and_plain_functions_are_refused():
    with pytest.raises(
        ValueError, match="loss: expected one of binary_crossentropy.*received 'hinge'"
    ):
        losses.get("hinge")

    def my_loss(y_true, y_pred):
        return ((y_true - y_pred) ** 2).mean()

    with pytest.raises(TypeError, match=r"'my_loss'.*subclass minidl.losses.Loss"):
        losses.get(my_loss)
    with pytest.raises(NotImplementedError, match="expected a method value_and_gradient"):
        Loss()([0], [0.5])
