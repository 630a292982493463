"""fit, evaluate and their arguments mean what they mean in Keras.

A small dense model and plain SGD: the arithmetic of single steps is compared elsewhere. After
some tens of float32 steps numbers agree within 1e-4.
"""

import pytest

keras = pytest.importorskip("keras", reason="Keras is not installed: parity is checked in CI")

import numpy as np  # noqa: E402
from parity.compare import assert_close, normal  # noqa: E402

import minidl  # noqa: E402

HISTORY = 1e-4
X = normal(0, 50, 4)
CLASSES = np.random.default_rng(1).integers(0, 3, 50)
ONE_HOT = np.eye(3, dtype="float32")[CLASSES]
BITS = (CLASSES > 0).astype("float32")


def models(units=3, activation="softmax", optimizer="sgd", **options):
    """Return minidl's and Keras' compiled model with the same weights."""
    both = []
    for lib in (minidl, keras):
        layers = [
            lib.layers.Dense(6, activation="tanh"),
            lib.layers.Dense(units, activation=activation),
        ]
        model = lib.Sequential([lib.Input((4,)), *layers])
        model.set_weights([normal(i, *w.shape, scale=0.5) for i, w in enumerate(model.weights)])
        model.compile(optimizer, **options, **({"jit_compile": False} if lib is keras else {}))
        both.append(model)
    return both


def classifiers(metrics=("accuracy",), **options):
    return models(loss="sparse_categorical_crossentropy", metrics=list(metrics), **options)


def check_same_training(pair, *data, **options):
    """Fit both models; compare histories by name and number, and the weights afterwards."""
    ours, theirs = pair
    options = {"verbose": 0, "shuffle": False, **options}
    callbacks = options.pop("callbacks", lambda lib: [])
    histories = [
        model.fit(*data, **options, callbacks=callbacks(lib))
        for model, lib in ((ours, minidl), (theirs, keras))
    ]
    mine, other = histories
    assert mine.epoch == other.epoch
    assert mine.history.keys() == other.history.keys()
    for name, values in other.history.items():
        assert mine.history[name] == pytest.approx(values, rel=HISTORY), name
    for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        assert_close(a, b, HISTORY, "weights after fit")
    return other.history


def check_same_results(pair, *data, **options):
    results = [model.evaluate(*data, verbose=0, return_dict=True, **options) for model in pair]
    assert results[0] == pytest.approx(results[1], rel=1e-5, abs=1e-7)
    lists = [model.evaluate(*data, verbose=0, **options) for model in pair]
    assert lists[0] == pytest.approx(lists[1], rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("name", ["accuracy", "acc"])
@pytest.mark.parametrize(
    ("units", "activation", "loss", "labels"),
    [
        (1, "sigmoid", "binary_crossentropy", BITS),
        (1, "sigmoid", "binary_crossentropy", BITS[:, None]),
        (1, "sigmoid", "binary_crossentropy", BITS.astype(int)),
        (1, None, "mse", BITS),
        (3, "softmax", "sparse_categorical_crossentropy", CLASSES),
        (3, "softmax", "sparse_categorical_crossentropy", CLASSES[:, None]),
        (3, "softmax", "sparse_categorical_crossentropy", CLASSES.astype("float32")),
        (3, "softmax", "categorical_crossentropy", ONE_HOT),
        (3, "softmax", "mse", ONE_HOT),
        (3, "sigmoid", "binary_crossentropy", ONE_HOT),
    ],
)
def test_accuracy_follows_the_output(name, units, activation, loss, labels):
    check_same_results(models(units, activation, loss=loss, metrics=[name]), X, labels)


@pytest.mark.parametrize(
    "metrics",
    [
        [],
        ["sparse_categorical_accuracy"],
        ["accuracy", "sparse_categorical_crossentropy"],
        ["sparse_top_k_categorical_accuracy"],
    ],
)
def test_metrics_by_name_for_classes(metrics):
    check_same_results(classifiers(metrics), X, CLASSES)


@pytest.mark.parametrize("metrics", [["categorical_accuracy", "mse"], ["mean_squared_error"]])
def test_metrics_by_name_for_one_hot_labels(metrics):
    check_same_results(models(loss="categorical_crossentropy", metrics=metrics), X, ONE_HOT)


@pytest.mark.parametrize("metrics", [["binary_accuracy"], ["mse", "accuracy"], ["Precision"]])
def test_metrics_by_name_for_bits(metrics):
    pair = models(1, "sigmoid", loss="binary_crossentropy", metrics=metrics)
    check_same_results(pair, X, BITS[:, None])


def test_metric_objects_keep_their_names():
    keras.backend.clear_session()  # or an earlier Precision makes this one "precision_1"
    ours, theirs = (
        [
            lib.metrics.Precision(),
            lib.metrics.Recall(thresholds=0.4, name="found"),
            lib.metrics.BinaryAccuracy(threshold=0.3),
        ]
        for lib in (minidl, keras)
    )
    pair = models(1, "sigmoid", loss="binary_crossentropy")
    for model, metrics in zip(pair, (ours, theirs), strict=True):
        model.compile("sgd", "binary_crossentropy", metrics=metrics)
    check_same_results(pair, X, BITS[:, None])


@pytest.mark.parametrize("batch_size", [None, 7, 50, 64])
def test_history_of_fit(batch_size):
    check_same_training(classifiers(), X, CLASSES, batch_size=batch_size, epochs=3)


def test_validation_split_takes_the_last_part():
    # 50 * (1 - 0.33) = 33.5: training gets 33 samples, rounded down.
    history = check_same_training(classifiers(), X, CLASSES, validation_split=0.33, epochs=3)
    assert list(history) == ["accuracy", "loss", "val_accuracy", "val_loss"]
    pair = classifiers()
    check_same_training(pair, X[:33], CLASSES[:33], validation_data=(X[33:], CLASSES[33:]))


def test_validation_split_with_sample_weights():
    weights = np.linspace(0.1, 2, 50, dtype="float32")
    check_same_training(
        classifiers(), X, CLASSES, validation_split=0.3, sample_weight=weights, epochs=2
    )


@pytest.mark.parametrize("options", [{"batch_size": 8}, {"validation_batch_size": 4}])
def test_validation_data_every_second_epoch(options):
    weights = np.linspace(2, 0, 20, dtype="float32")
    check_same_training(
        classifiers(),
        X,
        CLASSES,
        validation_data=(X[:20], CLASSES[:20], weights),
        validation_freq=2,
        epochs=4,
        **options,
    )


def test_initial_epoch():
    check_same_training(classifiers(), X, CLASSES, initial_epoch=2, epochs=4)


@pytest.mark.parametrize("labels", [CLASSES, CLASSES[:, None]])
def test_class_weight(labels):
    # All classes are named: minidl refuses a gap, in Keras it means a weight of 1.
    weights = {0: 0.2, 1: 1.0, 2: 3.0}
    check_same_training(classifiers(), X, labels, class_weight=weights, epochs=2)


def test_class_weight_of_one_hot_labels():
    pair = models(loss="categorical_crossentropy", metrics=["accuracy"])
    check_same_training(pair, X, ONE_HOT, class_weight={0: 0.2, 1: 1.5, 2: 3.0}, epochs=2)


@pytest.mark.parametrize("labels", [BITS, BITS[:, None]])
def test_class_weight_of_bits(labels):
    pair = models(1, "sigmoid", loss="binary_crossentropy", metrics=["accuracy"])
    check_same_training(pair, X, labels, class_weight={0: 0.3, 1: 2.0}, epochs=2)


def test_sample_weight():
    weights = np.random.default_rng(5).uniform(0, 3, 50).astype("float32")
    check_same_training(classifiers(), X, CLASSES, sample_weight=weights, epochs=3, batch_size=8)
    check_same_results(classifiers(), X, CLASSES, sample_weight=weights, batch_size=8)


def test_weights_of_single_batches():
    weights = np.linspace(0, 2, 50, dtype="float32")
    for arguments in ({"class_weight": {0: 1.0, 1: 4.0, 2: 0.0}}, {"sample_weight": weights}):
        ours, theirs = (model.train_on_batch(X, CLASSES, **arguments) for model in classifiers())
        assert ours == pytest.approx(theirs, rel=1e-5)
    ours, theirs = (m.test_on_batch(X, CLASSES, sample_weight=weights) for m in classifiers())
    assert ours == pytest.approx(theirs, rel=1e-5)


def test_early_stopping_restores_the_best_weights():
    def callbacks(lib):
        return [lib.callbacks.EarlyStopping("val_loss", patience=2, restore_best_weights=True)]

    # On the way to 5 the predictions come past 3, where the validation loss is least.
    history = check_same_training(
        models(1, None, loss="mse"),
        X,
        np.full((50, 1), 5.0),
        epochs=30,
        callbacks=callbacks,
        validation_data=(X, np.full((50, 1), 3.0)),
    )
    assert 0 < np.argmin(history["val_loss"]) == len(history["val_loss"]) - 3


def test_reduce_lr_on_plateau_logs_the_rate():
    def callbacks(lib):
        return [lib.callbacks.ReduceLROnPlateau("loss", factor=0.5, patience=1, min_delta=0.03)]

    history = check_same_training(classifiers(), X, CLASSES, epochs=6, callbacks=callbacks)
    assert history["learning_rate"][-1] < history["learning_rate"][0]


def test_learning_rate_scheduler():
    def callbacks(lib):
        return [lib.callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.5)]

    history = check_same_training(classifiers(), X, CLASSES, epochs=3, callbacks=callbacks)
    assert history["learning_rate"] == pytest.approx([0.005, 0.0025, 0.00125])


def test_learning_rate_schedule():
    rate = 0.1
    pair = models(loss="sparse_categorical_crossentropy")
    for model, lib in zip(pair, (minidl, keras), strict=True):
        schedule = lib.optimizers.schedules.ExponentialDecay(rate, decay_steps=3, decay_rate=0.5)
        model.compile(lib.optimizers.SGD(schedule), "sparse_categorical_crossentropy")
    check_same_training(pair, X, CLASSES, epochs=4, batch_size=16)
