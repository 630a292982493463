import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import reference_training as reference

from minidl import losses
from minidl.common.errors import DataError, ShapeError
from minidl.losses import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    Loss,
    MeanSquaredError,
    SparseCategoricalCrossentropy,
)
from minidl.losses.labels import class_weights_to_sample_weights

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


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_huge_logits_stay_finite_and_exact(dtype):
    logits = np.array([[1e4, -1e4], [-1e4, 1e4]], dtype)
    value, gradient = SparseCategoricalCrossentropy(from_logits=True).value_and_gradient(
        [0, 0], logits
    )
    assert value == 1e4  # rows: 0 and 20000
    np.testing.assert_array_equal(gradient, [[0, 0], [-0.5, 0.5]])
    value, gradient = BinaryCrossentropy(from_logits=True).value_and_gradient(
        [[1, 0], [1, 0]], logits
    )
    assert value == 5e3
    np.testing.assert_array_equal(gradient, [[0, 0], [-0.25, 0.25]])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_certain_but_wrong_probabilities_stay_finite(dtype):
    wrong = np.array([[0.0, 1.0]], dtype)
    most = -math.log(1e-7)
    for loss, labels in [
        (BinaryCrossentropy(), [[1, 0]]),
        (CategoricalCrossentropy(), [[1, 0]]),
        (SparseCategoricalCrossentropy(), [0]),
    ]:
        value, gradient = loss.value_and_gradient(labels, wrong)
        assert value == pytest.approx(most, rel=2e-2)  # float32 has no 1 - 1e-7 exactly
        assert not gradient.any()  # the clipped loss is flat there


def test_a_nan_prediction_is_seen_in_the_loss():
    for loss in (CategoricalCrossentropy(), CategoricalCrossentropy(from_logits=True)):
        assert math.isnan(loss([[0, 1]], np.array([[np.nan, 0.5]])))
    for loss in (BinaryCrossentropy(), BinaryCrossentropy(from_logits=True)):
        assert math.isnan(loss([0, 1], np.array([[np.nan], [0.5]])))


def test_sample_weights_are_divided_by_the_number_of_samples():
    loss = MeanSquaredError()
    assert loss([[0.0], [0.0]], [[1.0], [2.0]], sample_weight=[4, 1]) == (4 * 1 + 1 * 4) / 2
    assert loss([[0.0], [0.0]], [[1.0], [2.0]], sample_weight=[[4], [1]]) == 4.0


def test_labels_may_lack_the_last_axis_of_one():
    y_pred = np.array([[0.1], [0.8], [0.6]])
    expected = BinaryCrossentropy()([[0], [1], [0]], y_pred)
    for labels in ([0, 1, 0], [False, True, False], np.array([0.0, 1.0, 0.0], "float32")):
        assert BinaryCrossentropy()(labels, y_pred) == expected
    assert BinaryCrossentropy()([0, 1, 0], y_pred[:, 0]) == expected
    assert BinaryCrossentropy().value_and_gradient([0, 1, 0], y_pred[:, 0])[1].shape == (3,)
    sparse = SparseCategoricalCrossentropy()
    two = np.hstack([1 - y_pred, y_pred])
    assert sparse([[0], [1], [0]], two) == sparse([0, 1, 0], two)


def test_arguments_are_not_changed():
    y_true, y_pred = np.array([[0.0, 1.0]]), np.array([[2.0, 6.0]])
    weights = np.array([2.0])
    for loss in (CategoricalCrossentropy(label_smoothing=0.1), MeanSquaredError()):
        loss.value_and_gradient(y_true, y_pred, weights)
    assert y_true.tolist() == [[0, 1]]
    assert y_pred.tolist() == [[2, 6]]
    assert weights.tolist() == [2]


P1, P3 = np.full((4, 1), 0.5), np.full((4, 3), 1 / 3)


@pytest.mark.parametrize(
    ("loss", "y_true", "y_pred", "error", "message"),
    [
        ("bce", [0, 1, 2, 1], P1, DataError,
         r"BinaryCrossentropy: labels must be 0..1, received 2; "
         r"did you mean sparse_categorical_crossentropy with a Dense\(3\) output\?"),
        ("bce", [-1, 1, 1, -1], P1, DataError, "received -1; use 0 and 1"),
        ("bce", [0, np.nan, 1, 1], P1, DataError, "labels must be finite, but sample 1 has NaN"),
        ("bce", ["cat", "dog", "cat", "cat"], P1, DataError, "labels must be numbers"),
        ("bce", [0, 1, 1], P1, ShapeError, r"expected labels of shape \(4, 1\).*received \(3,\)"),
        ("bce", [0, 1, 1, 0], P3, ShapeError, "use sparse_categorical_crossentropy"),
        ("bce", [], np.empty((0, 1)), ShapeError, "at least one prediction"),
        ("mse", np.zeros(4), P3, ShapeError,
         r"MeanSquaredError: expected labels of shape \(4, 3\)"),
        ("categorical_crossentropy", [[0], [1], [1], [0]], P1, ShapeError,
         r"CategoricalCrossentropy: expected one output per class \(at least 2\), received a "
         r"prediction of shape \(4, 1\); for one sigmoid output use binary_crossentropy"),
        ("sparse_categorical_crossentropy", [0, 1, 1, 0], P1, ShapeError,
         "use binary_crossentropy"),
        ("categorical_crossentropy", [0, 1, 2, 0], P3, ShapeError,
         r"expected labels of shape \(4, 3\) like the prediction, received \(4,\); "
         "for integer labels use sparse_categorical_crossentropy"),
        ("categorical_crossentropy", np.eye(4)[:, :2], P3, ShapeError, r"received \(4, 2\)"),
        ("categorical_crossentropy", np.ones((4, 3)), P3, DataError,
         "row 0 sums to 3; for several"),
        ("categorical_crossentropy", 2 * np.eye(3)[[0, 1, 2, 0]], P3, DataError, "received 2"),
        ("sparse_categorical_crossentropy", [0, 1, 3, 0], P3, DataError,
         r"labels must be 0..2, received 3; did you mean a Dense\(4\) output\?"),
        ("sparse_categorical_crossentropy", [1, 2, 3, 1], P3, DataError, "start at 0: subtract 1"),
        ("sparse_categorical_crossentropy", [0, 1, -1, 0], P3, DataError, "received -1"),
        ("sparse_categorical_crossentropy", [0, 1, 0.5, 0], P3, DataError,
         "labels must be whole numbers, received 0.5"),
        ("sparse_categorical_crossentropy", [0, 1, np.nan, 0], P3, DataError, "sample 2 has NaN"),
        ("sparse_categorical_crossentropy", np.eye(3)[[0, 1, 2, 0]], P3, ShapeError,
         "use categorical_crossentropy"),
    ],
)  # fmt: skip
def test_wrong_labels_are_refused_in_one_clear_sentence(loss, y_true, y_pred, error, message):
    with pytest.raises(error, match=message):
        losses.get(loss)(y_true, y_pred)


@pytest.mark.parametrize(
    ("weights", "error", "message"),
    [
        ([1, 1, 1], ShapeError, r"expected sample_weight of shape \(4,\), received \(3,\)"),
        ([[1, 1]] * 4, ShapeError, "sample_weight"),
        ([1, np.nan, 1, 1], DataError, "sample_weight must be finite"),
    ],
)
def test_wrong_sample_weights_are_refused(weights, error, message):
    with pytest.raises(error, match=message):
        BinaryCrossentropy()([0, 1, 1, 0], P1, weights)


def test_class_weights_become_sample_weights():
    weight = {0: 1.0, 1: 2.5, 2: 0.0}
    expected = [2.5, 0.0, 1.0]
    for labels in ([1, 2, 0], [[1], [2], [0]], [1.0, 2.0, 0.0], np.eye(3)[[1, 2, 0]]):
        assert class_weights_to_sample_weights(labels, weight).tolist() == expected


@pytest.mark.parametrize(
    ("labels", "weight", "classes", "error", "message"),
    [
        ([0, 1, 2], {0: 1.0, 1: 2.0}, None, DataError, r"no weight for class 2, received .*\[0"),
        ([0, 1], {0: 1.0, 1: 2.0}, 3, DataError, "no weight for class 2; give each"),
        ([0, 1], {0: 1.0, 1: 2.0, 2: 1.0}, 2, DataError, "expected classes 0..1, received .* 2"),
        ([0, 1], {"cats": 1.0, "dogs": 2.0}, None, DataError, "received a weight for 'cats'"),
        ([0, 1], {0: 1.0, 1: -2.0}, None, DataError, "weight >= 0, received -2"),
        ([0, 1], [1.0, 2.0], None, TypeError, "expected a dict"),
        ([0.5, 1], {0: 1.0, 1: 2.0}, None, DataError, "no weight for class 0.5"),
        (np.ones((2, 3)), {0: 1.0, 1: 2.0, 2: 1.0}, None, DataError, "several labels per sample"),
    ],
)
def test_wrong_class_weights_are_refused(labels, weight, classes, error, message):
    with pytest.raises(error, match=message):
        class_weights_to_sample_weights(labels, weight, classes)


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
    with pytest.raises(ValueError, match="unknown loss 'hinge'; known are: binary_crossentropy"):
        losses.get("hinge")

    def my_loss(y_true, y_pred):
        return ((y_true - y_pred) ** 2).mean()

    with pytest.raises(TypeError, match=r"'my_loss'.*subclass minidl.losses.Loss"):
        losses.get(my_loss)
    with pytest.raises(NotImplementedError, match="expected a method value_and_gradient"):
        Loss()([0], [0.5])


@pytest.mark.parametrize("cls", [BinaryCrossentropy, CategoricalCrossentropy])
def test_wrong_arguments_are_refused(cls):
    with pytest.raises(
        ValueError, match=r"label_smoothing to be a number from 0 to 1, received 1.5"
    ):
        cls(label_smoothing=1.5)
    with pytest.raises(ValueError, match=r"axis=-1"):
        cls(axis=1)


def test_a_loss_survives_json():
    loss = CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)
    config = json.loads(
        json.dumps({"class_name": type(loss).__name__, "config": loss.get_config()})
    )
    again = losses.get(config)
    assert type(again) is CategoricalCrossentropy
    assert (again.from_logits, again.label_smoothing) == (True, 0.1)
