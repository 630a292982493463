import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import reference_training as reference

from minidl import losses, metrics
from minidl.common.errors import DataError, ShapeError
from minidl.metrics import AUC, ConfusionMatrix, Mean, Precision, Recall

# Three classes, six samples: the largest scores are 0, 1, 1, 2, 0, 2.
SCORES = np.array(
    [
        [0.7, 0.2, 0.1],
        [0.1, 0.6, 0.3],
        [0.2, 0.5, 0.3],
        [0.1, 0.2, 0.7],
        [0.4, 0.3, 0.3],
        [0.3, 0.1, 0.6],
    ]
)
LABELS = np.array([0, 1, 2, 2, 1, 0])  # right: samples 0, 1, 3
ONE_HOT = np.eye(3)[LABELS]
WEIGHTS = np.array([1.0, 2.0, 1.0, 1.0, 4.0, 1.0])


@pytest.mark.parametrize(
    ("metric", "y_true", "y_pred", "plain", "weighted"),
    [
        (metrics.SparseCategoricalAccuracy(), LABELS, SCORES, 3 / 6, 4 / 10),
        (metrics.SparseCategoricalAccuracy(), LABELS[:, None], SCORES, 3 / 6, 4 / 10),
        (metrics.CategoricalAccuracy(), ONE_HOT, SCORES, 3 / 6, 4 / 10),
        (metrics.SparseTopKCategoricalAccuracy(k=2), LABELS, SCORES, 6 / 6, 10 / 10),
        (metrics.TopKCategoricalAccuracy(k=1), ONE_HOT, SCORES, 3 / 6, 4 / 10),
        (metrics.Accuracy(), LABELS, SCORES.argmax(axis=1), 3 / 6, 4 / 10),
        (metrics.BinaryAccuracy(), LABELS == 0, SCORES[:, 0], 5 / 6, 9 / 10),
        (metrics.BinaryAccuracy(threshold=0.25), LABELS == 0, SCORES[:, :1], 5 / 6, 6 / 10),
        (Precision(), LABELS == 2, SCORES[:, 2], 1 / 2, 1 / 2),
        (Recall(), LABELS == 2, SCORES[:, 2:], 1 / 2, 1 / 2),
        (Precision(0.25, class_id=1), LABELS, SCORES, 2 / 3, 6 / 7),
        (Recall(0.25, class_id=1), ONE_HOT, SCORES, 2 / 2, 6 / 6),
        (metrics.MeanSquaredError(), np.zeros(6), LABELS[:, None], 10 / 6, 14 / 10),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_metrics_count_what_they_say(metric, y_true, y_pred, plain, weighted):
    assert metric.result() == 0.0
    metric.update_state(y_true, y_pred)
    assert metric.result() == pytest.approx(plain, rel=1e-12)
    metric.reset_state()
    for half in (slice(0, 2), slice(2, 6)):  # batches of different sizes
        metric.update_state(y_true[half], y_pred[half], WEIGHTS[half])
    assert metric.result() == pytest.approx(weighted, rel=1e-12)
    metric.reset_state()
    assert metric.result() == 0.0


def test_confusion_matrix_has_true_classes_in_rows():
    matrix = ConfusionMatrix()
    matrix.update_state(LABELS[:2], SCORES[:2])
    matrix.update_state(ONE_HOT[2:], SCORES[2:])
    expected = [[1, 0, 1], [1, 1, 0], [0, 1, 1]]
    assert matrix.result().tolist() == expected
    assert matrix.result().dtype == np.int64
    matrix.reset_state()
    matrix.update_state(LABELS, SCORES, WEIGHTS / 2)
    assert matrix.result().tolist() == [[0.5, 0, 0.5], [2, 1, 0], [0, 0.5, 0.5]]
    assert ConfusionMatrix(num_classes=3).result().tolist() == np.zeros((3, 3)).tolist()
    with pytest.raises(ShapeError, match=r"predictions of 4 classes, received shape \(6, 3\)"):
        ConfusionMatrix(num_classes=4)(LABELS, SCORES)


@given(
    seed=st.integers(0, 2**32),
    size=st.integers(2, 30),
    levels=st.integers(1, 8),
    weighted=st.booleans(),
)
def test_auc_is_exact_with_ties_and_weights(seed, size, levels, weighted):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, size)
    labels[:2] = [0, 1]
    scores = rng.integers(0, levels, size) / levels  # few levels: many ties
    weights = rng.integers(1, 4, size).astype(float) if weighted else np.ones(size)
    auc = AUC()
    for part in (slice(0, 1), slice(1, size)):
        auc.update_state(labels[part], scores[part, None], weights[part] if weighted else None)
    assert auc.result() == pytest.approx(reference.roc_auc(labels, scores, weights), abs=1e-12)
    if not weighted:
        expected = reference.average_precision(labels.tolist(), scores.tolist())
        assert AUC(curve="PR")(labels, scores) == pytest.approx(expected, abs=1e-12)


def test_auc_of_one_class_is_not_a_number():
    assert math.isnan(AUC()([1, 1], [0.2, 0.8]))
    assert math.isnan(AUC()([0, 1], [np.nan, 0.8]))


def test_mean_of_values():
    mean = Mean("loss")
    mean.update_state(2.0, sample_weight=3)
    mean.update_state([1.0, 5.0])
    assert mean.result() == pytest.approx(12 / 5)
    mean.reset_state()
    mean.update_state([[1.0, 3.0], [5.0, 7.0]], sample_weight=[3, 1])
    assert mean.result() == 3.0


def test_top_k_gives_ties_the_benefit_and_nan_none():
    top = metrics.SparseTopKCategoricalAccuracy(k=1)
    assert top([1], [[0.5, 0.5, 0.0]]) == 1.0
    top.reset_state()
    assert top([1], [[0.5, np.nan, 0.0]]) == 0.0


@pytest.mark.parametrize(
    ("output_shape", "loss", "y_true", "expected"),
    [
        ((4, 1), None, np.zeros(4), "BinaryAccuracy"),
        ((4, 1), "mse", np.zeros((4, 1)), "BinaryAccuracy"),
        ((4, 3), None, np.zeros(4, int), "SparseCategoricalAccuracy"),
        ((4, 3), None, np.zeros((4, 1)), "SparseCategoricalAccuracy"),
        ((4, 3), None, np.zeros((4, 3)), "CategoricalAccuracy"),
        ((None, 3), "sparse_categorical_crossentropy", None, "SparseCategoricalAccuracy"),
        ((None, 3), "categorical_crossentropy", None, "CategoricalAccuracy"),
        (None, "sparse_categorical_crossentropy", None, "SparseCategoricalAccuracy"),
    ],
)
def test_accuracy_is_chosen_as_keras_does(output_shape, loss, y_true, expected):
    metric = metrics.get("accuracy", output_shape, loss, y_true)
    assert type(metric).__name__ == expected
    assert metric.name == "accuracy"
    assert metrics.get("acc", output_shape, loss, y_true).name == "acc"


def test_names_cut_logits_at_zero():
    loss = losses.BinaryCrossentropy(from_logits=True)
    for name, value in [("accuracy", 1.0), ("binary_accuracy", 1.0), ("recall", 1.0)]:
        metric = metrics.get(name, (None, 1), loss)
        assert metric([0, 1, 1], [[-0.1], [0.1], [0.4]]) == value, name
        assert metric.name == name


@pytest.mark.parametrize(
    "name",
    ["auc", "AUC", "precision", "Recall", "mse", "confusion_matrix", "binary_crossentropy"],
)
def test_metrics_are_found_by_name(name):
    metric = metrics.get(name)
    assert metric.name == name
    assert np.ndim(metric([0, 1, 1], [[0.1], [0.6], [0.9]])) in (0, 2)


def test_functions_and_losses_can_be_metrics():
    def largest_error(y_true, y_pred):
        return np.abs(y_true - y_pred).max(axis=-1)

    metric = metrics.get(largest_error)
    assert metric.name == "largest_error"
    assert metric(np.zeros((2, 2)), np.array([[1.0, 2.0], [3.0, 0.0]])) == 2.5
    smoothed = metrics.get(losses.BinaryCrossentropy(label_smoothing=0.2))
    assert smoothed([1], [[0.9]]) == losses.BinaryCrossentropy(label_smoothing=0.2)([1], [[0.9]])


def test_a_loss_as_metric_divides_by_the_weights():
    metric = metrics.MeanSquaredError()
    assert metric([[0.0], [0.0]], [[1.0], [2.0]], sample_weight=[4, 1]) == (4 * 1 + 1 * 4) / 5

    class MeanOfErrors(losses.Loss):
        def value_and_gradient(self, y_true, y_pred, sample_weight=None):
            weights = 1.0 if sample_weight is None else np.asarray(sample_weight)
            return float((weights * (y_pred - y_true)[:, 0]).mean()), None

    own = metrics.get(MeanOfErrors())
    own.update_state(np.zeros((3, 1)), np.ones((3, 1)))
    own.update_state(np.zeros((1, 1)), np.full((1, 1), 5.0))
    assert own.result() == 2.0


@pytest.mark.parametrize(
    ("metric", "y_true", "y_pred", "error", "message"),
    [
        ("binary_accuracy", [0, 2], [[0.1], [0.2]], DataError, "BinaryAccuracy: expected labels 0"),
        ("auc", [0, 1], SCORES[:2], ShapeError, r"AUC: expected labels of shape \(2, 3\)"),
        ("categorical_accuracy", [0, 1], SCORES[:2], ShapeError, "CategoricalAccuracy: expected"),
        ("sparse_categorical_accuracy", [0, 3], SCORES[:2], DataError, "expected labels 0..2"),
        (Precision(class_id=3), [0, 1], SCORES[:2], ShapeError, "Precision: .* class 3"),
    ],
)
def test_wrong_labels_are_refused(metric, y_true, y_pred, error, message):
    with pytest.raises(error, match=message):
        metrics.get(metric).update_state(y_true, y_pred)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: metrics.get("f1"), "unknown metric 'f1'; known are: mse"),
        (lambda: AUC(curve="DET"), "AUC: expected curve to be 'ROC' or 'PR', received 'DET'"),
        (lambda: metrics.TopKCategoricalAccuracy(k=0), "k to be an integer >= 1, received 0"),
        (lambda: Precision(thresholds=[0.2, 0.5]), "Precision: expected thresholds to be a number"),
    ],
)
def test_wrong_arguments_are_refused(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()


def test_a_metric_survives_json():
    metric = metrics.Recall(0.3, class_id=1, name="found")
    config = json.loads(json.dumps({"class_name": "Recall", "config": metric.get_config()}))
    again = metrics.get(config)
    assert (again.threshold, again.class_id, again.name) == (0.3, 1, "found")
