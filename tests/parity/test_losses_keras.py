import pytest

keras = pytest.importorskip("keras", reason="Keras is not installed: parity is checked in CI")
tf = pytest.importorskip("tensorflow", reason="Keras' gradients are taken with TensorFlow")

import numpy as np  # noqa: E402
from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from minidl import losses, metrics  # noqa: E402

KINDS = ("mse", "binary", "categorical", "sparse")


def keras_value_and_gradient(loss, y_true, y_pred, weights):
    """Keras' loss and gradient on a plain tensor: no softmax whose logits it could look up."""
    tensor = tf.constant(y_pred)
    with tf.GradientTape() as tape:
        tape.watch(tensor)
        value = loss(tf.constant(y_true), tensor, weights)
    return float(value), tape.gradient(value, tensor).numpy()


@pytest.mark.parametrize("logits", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@given(
    smoothing=st.sampled_from([0.0, 0.1, 0.4]),
    batch=st.integers(1, 6),
    classes=st.integers(1, 5),
    weighted=st.booleans(),
    normalized=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_losses_and_gradients(kind, logits, smoothing, batch, classes, weighted, normalized, seed):
    rng = np.random.default_rng(seed)
    classes = max(classes, 2) if kind in ("categorical", "sparse") else classes
    size = (batch, classes)
    y_pred = rng.normal(0, 3, size) if logits else rng.uniform(0.02, 0.98, size)
    if normalized and kind in ("categorical", "sparse") and not logits:
        y_pred /= y_pred.sum(axis=1, keepdims=True)
    y_pred = y_pred.astype("float32")
    integers = rng.integers(0, classes, batch)
    if kind == "mse":
        ours, theirs = losses.MeanSquaredError(), keras.losses.MeanSquaredError()
        y_true = rng.normal(size=(batch, classes)).astype("float32")
    elif kind == "binary":
        ours = losses.BinaryCrossentropy(logits, smoothing)
        theirs = keras.losses.BinaryCrossentropy(logits, smoothing)
        y_true = rng.integers(0, 2, (batch, classes)).astype("float32")
        if classes == 1 and normalized:
            y_true = y_true[:, 0]
    elif kind == "categorical":
        ours = losses.CategoricalCrossentropy(logits, smoothing)
        theirs = keras.losses.CategoricalCrossentropy(logits, smoothing)
        y_true = np.eye(classes, dtype="float32")[integers]
    else:
        ours = losses.SparseCategoricalCrossentropy(logits)
        theirs = keras.losses.SparseCategoricalCrossentropy(logits)
        y_true = integers
    weights = rng.uniform(0, 3, batch).astype("float32") if weighted else None
    value, gradient = ours.value_and_gradient(y_true, y_pred, weights)
    expected_value, expected_gradient = keras_value_and_gradient(theirs, y_true, y_pred, weights)
    assert value == pytest.approx(expected_value, rel=1e-5, abs=1e-5)
    largest = np.abs(expected_gradient).max()
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-4, atol=1e-4 * largest)


@pytest.mark.parametrize("name", ["binary_crossentropy", "categorical_crossentropy"])
def test_clipped_probabilities_have_keras_value_and_zero_gradient(name):
    y_pred = np.array([[0.0, 1.0], [1e-9, 1 - 1e-9], [0.3, 0.7]], "float32")
    y_true = np.array([[1, 0], [1, 0], [0, 1]], "float32")
    value, gradient = losses.get(name).value_and_gradient(y_true, y_pred)
    cls = {"b": "BinaryCrossentropy", "c": "CategoricalCrossentropy"}[name[0]]
    expected = keras_value_and_gradient(getattr(keras.losses, cls)(), y_true, y_pred, None)
    assert value == pytest.approx(expected[0], rel=1e-5)
    np.testing.assert_allclose(gradient, expected[1], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("BinaryAccuracy", {"threshold": 0.4}),
        ("CategoricalAccuracy", {}),
        ("SparseCategoricalAccuracy", {}),
        ("TopKCategoricalAccuracy", {"k": 2}),
        ("SparseTopKCategoricalAccuracy", {"k": 2}),
        ("Precision", {"thresholds": 0.4}),
        ("Recall", {"thresholds": 0.4, "class_id": 1}),
        ("MeanSquaredError", {}),
        ("BinaryCrossentropy", {"label_smoothing": 0.1}),
        ("CategoricalCrossentropy", {}),
        ("SparseCategoricalCrossentropy", {"from_logits": True}),
    ],
)
def test_metrics_over_batches(name, arguments, weighted):
    rng = np.random.default_rng(7)
    ours, theirs = (getattr(place, name)(**arguments) for place in (metrics, keras.metrics))
    assert ours.name == theirs.name.removesuffix("_1")
    for batch in (5, 3):
        y_pred = rng.uniform(size=(batch, 4)).astype("float32")
        y_true = rng.integers(0, 4, batch)
        if "Sparse" not in name:
            y_true = np.eye(4, dtype="float32")[y_true]
        weights = rng.uniform(0.5, 2, batch).astype("float32") if weighted else None
        ours.update_state(y_true, y_pred, weights)
        theirs.update_state(y_true, y_pred, weights)
    assert ours.result() == pytest.approx(float(theirs.result()), rel=1e-5)


def test_auc_agrees_with_enough_thresholds():
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 2, 400)
    scores = (rng.integers(0, 100, 400) / 100 * 0.7 + labels * 0.2).astype("float32")
    weights = rng.uniform(0.5, 2, 400).astype("float32")
    ours, theirs = metrics.AUC(), keras.metrics.AUC(num_thresholds=5000)
    ours.update_state(labels, scores, weights)
    theirs.update_state(labels, scores, weights)
    assert ours.result() == pytest.approx(float(theirs.result()), abs=1e-5)
