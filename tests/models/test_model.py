"""Model: compile, fit, evaluate and predict, and the errors of each."""

import copy
import pickle
import threading

import numpy as np
import pytest
import threadpoolctl
from support.tiny import (
    assert_same_arrays,
    blobs,
    classifier,
    picture_net,
    pictures,
    refused,
    two_by_two,
)

import minidl
from minidl import Input, Model, Sequential, layers, losses, metrics, optimizers
from minidl.applications import small_cnn
from minidl.common.errors import DataError, ShapeError
from minidl.graph.inference import convolution_steps
from minidl.kernels.convolution.dispatch import prepare_kernel

X, Y = blobs()


def test_training_improves_the_evaluation():
    model = classifier()
    before = model.evaluate(X, Y, return_dict=True)
    model.compile(optimizers.Adam(0.05), "binary_crossentropy", metrics=["accuracy"])
    model.fit(X, Y, epochs=20, verbose=0)
    loss, accuracy = model.evaluate(X, Y)
    assert loss < before["loss"] / 2
    assert accuracy > 0.9


def test_return_values_of_evaluate():
    model = classifier()
    as_list = model.evaluate(X, Y)
    assert model.evaluate(X, Y, return_dict=True) == dict(
        zip(["loss", "accuracy"], as_list, strict=True)
    )
    model.compile("sgd", "mse")
    assert isinstance(model.evaluate(X, Y), float)
    assert model.test_on_batch(X, Y) == pytest.approx(model.evaluate(X, Y), rel=1e-6)


@pytest.mark.parametrize("method", ["evaluate", "predict"])
def test_verbose_selects_nothing_a_bar_or_a_line(method, capsys):
    model = classifier()

    def shown(verbose):
        data = (X, Y) if method == "evaluate" else (X,)
        getattr(model, method)(*data, batch_size=8, verbose=verbose)
        captured = capsys.readouterr()
        return captured.out, captured.err

    assert shown(0) == ("", "")
    assert shown("auto") == ("", "")  # not a terminal
    out, bar = shown(1)
    assert out == ""
    assert "5/5" in bar
    line, err = shown(2)
    assert err == ""
    assert line.count("\n") == 1
    assert ("loss" in line) == ("loss" in bar) == (method == "evaluate")
    with refused(ValueError, "verbose", "7"):
        shown(7)


def test_auto_shows_a_bar_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    classifier().predict(X, batch_size=8, steps=2)
    assert "2/2" in capsys.readouterr().err


def test_evaluate_weighs_batches_by_their_size():
    model = classifier()
    whole = model.evaluate(X, Y, batch_size=len(X))
    np.testing.assert_allclose(model.evaluate(X, Y, batch_size=7), whole, rtol=1e-6)
    first = model.evaluate(X[:14], Y[:14])
    np.testing.assert_allclose(model.evaluate(X, Y, batch_size=7, steps=2), first, rtol=1e-6)


def test_evaluate_counts_samples_by_their_weights():
    model = classifier()
    chosen = np.zeros(len(X))
    chosen[:10] = 1
    weighted = model.evaluate(X, Y, batch_size=8, sample_weight=chosen, return_dict=True)["loss"]
    alone = model.evaluate(X[:10], Y[:10], return_dict=True)["loss"]
    assert weighted == pytest.approx(alone * 10 / len(X), rel=1e-5)


def test_train_on_batch_makes_one_step_and_reports_the_loss_before_it():
    model = classifier()
    untrained = model.test_on_batch(X, Y, return_dict=True)
    before = model.get_weights()
    assert model.train_on_batch(X, Y, return_dict=True) == pytest.approx(untrained, rel=1e-6)
    assert model.optimizer.iterations == 1
    assert all((a != b).any() for a, b in zip(before, model.get_weights(), strict=True))
    model.test_on_batch(X, Y)
    assert model.optimizer.iterations == 1
    loss, _ = model.train_on_batch(X, Y)
    assert loss < untrained["loss"]


def test_predict_takes_what_holds_the_samples():
    model = classifier()
    expected = model.predict(X)
    assert expected.shape == (len(X), 1)
    assert expected.dtype == np.float32
    for same in ([X], X.tolist(), X.astype(np.float64), [(X[:30], Y[:30]), (X[30:], Y[30:])]):
        assert_same_arrays([model.predict(same)], [expected])
    np.testing.assert_allclose(model.predict(X, batch_size=7), expected, rtol=1e-5)
    assert_same_arrays([model.predict_on_batch(X)], [expected])
    assert model.predict(X, batch_size=8, steps=2).shape == (16, 1)
    whole = np.round(X)
    assert_same_arrays([model.predict(whole.astype(int))], [model.predict(whole)])


def test_steps_take_no_more_batches_than_they_use():
    model, batches = classifier(), ((X[:4], Y[:4]) for _ in range(6))
    model.predict(batches, steps=2)
    model.evaluate(batches, steps=2)
    model.fit(batches, steps_per_epoch=1, epochs=2, verbose=0)  # the last two of the six
    assert list(batches) == []


def test_float64_from_input_to_output():
    model = classifier(layers.BatchNormalization(), dtype="float64")
    model.fit(X, Y, verbose=0)
    assert {p.value.dtype for p in model.weights} == {np.dtype(np.float64)}
    assert model.predict(X).dtype == np.float64
    slots = model.optimizer.get_state()["slots"]
    assert len(slots) == len(model.trainable_weights)


# Several inputs and outputs


def test_several_inputs_and_outputs():
    model, b = two_by_two(), X[:, :2]
    kinds = np.arange(len(X)) % 3
    model.compile(
        optimizers.SGD(0.1), ["binary_crossentropy", "sparse_categorical_crossentropy"],
        metrics=[["accuracy"], []], loss_weights=[1.0, 0.5],
    )  # fmt: skip
    results = model.evaluate([X, b], [Y, kinds], return_dict=True)
    assert list(results) == ["loss", "yes_loss", "kind_loss", "yes_accuracy"]
    p, q = model.predict([X, b], batch_size=7)
    yes, kind = losses.BinaryCrossentropy()(Y, p), losses.SparseCategoricalCrossentropy()(kinds, q)
    assert results["yes_loss"] == pytest.approx(yes, rel=1e-5)
    assert results["kind_loss"] == pytest.approx(kind, rel=1e-5)
    assert results["loss"] == pytest.approx(yes + 0.5 * kind, rel=1e-5)
    history = model.fit(
        [X, b], [Y, kinds], epochs=5, validation_split=0.25, batch_size=8, verbose=0
    ).history
    assert history["loss"][-1] < history["loss"][0]
    assert history["val_loss"][-1] < history["val_loss"][0]


def test_a_loss_weight_of_zero_trains_only_the_other_output():
    model = two_by_two()
    model.compile("sgd", ["mse", "sparse_categorical_crossentropy"], loss_weights=[0, 1])
    yes, kind = model.get_layer("yes").get_weights(), model.get_layer("kind").get_weights()
    model.train_on_batch([X, X[:, :2]], [Y, Y])
    assert_same_arrays(model.get_layer("yes").get_weights(), yes)
    assert (model.get_layer("kind").get_weights()[0] != kind[0]).any()


def test_an_output_in_a_list_of_one_trains_like_the_output_alone():
    x = Input((4,))
    y = layers.Dense(1, activation="sigmoid")(x)
    alone, listed = Model(x, y), Model(x, [y])
    start = alone.get_weights()
    trained = []
    for model, labels in ((alone, Y), (listed, Y), (listed, [Y])):
        model.set_weights(start)
        model.compile("sgd", "binary_crossentropy", metrics=["accuracy"])
        model.train_on_batch(X, labels)
        trained.append(model.get_weights())
    assert_same_arrays(trained[0], trained[1])
    assert_same_arrays(trained[0], trained[2])


def test_a_shared_layer_learns_from_all_its_uses():
    shared = layers.Dense(1, use_bias=False, kernel_initializer="ones")
    a, b = Input((2,)), Input((2,))
    model = Model([a, b], layers.Add()([shared(a), shared(b)]))
    model.compile(optimizers.SGD(1.0), "mse")
    x = np.array([[1.0, 2.0]]), np.array([[3.0, 4.0]])
    model.train_on_batch(list(x), [[9.0]])  # prediction 10, error 1: the gradient is 2 (a + b)
    np.testing.assert_allclose(shared.get_weights()[0].ravel(), [1 - 8, 1 - 12])


# Nested models


def test_a_model_within_a_model_is_trained_frozen_and_reached_by_name():
    base = small_cnn((32, 32, 3), classes=2, filters=(2, 3, 4, 4, 4), augment=False, name="base")
    base.pop()
    model = Sequential([base, layers.Dense(1, activation="sigmoid", name="head")])
    model.compile("sgd", "binary_crossentropy")
    assert model.get_layer("base") is base
    assert model.get_layer("conv2d") is base.get_layer("conv2d")
    x, y = pictures(8, 32)
    base.trainable = False
    before = base.get_weights()
    model.fit(x, y, verbose=0)
    assert_same_arrays(base.get_weights(), before)  # the moving statistics too
    base.trainable = True
    model.fit(x, y, verbose=0)
    assert all((a != b).any() for a, b in zip(before, base.get_weights(), strict=True))


def test_summary_counts_parameters_and_names_layers(capsys):
    model = classifier(layers.BatchNormalization(name="norm"))
    model.get_layer("norm").trainable = False
    model.summary()
    text = capsys.readouterr().out
    assert "norm (BatchNormalization) frozen" in text
    assert f"Parameters: {4 * 6 + 6 + 4 * 6 + 6 + 1}" in text
    assert "Trainable: 37; frozen or statistics: 24" in text
    lines = []
    model.summary(print_fn=lines.append)
    assert lines == [text.rstrip("\n")]


def test_a_copy_of_a_model_is_another_model():
    model = classifier(layers.BatchNormalization())
    expected = model.predict(X)
    for copied in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert_same_arrays([copied.predict(X)], [expected])
        copied.fit(X, Y, verbose=0)
        assert (copied.predict(X) != expected).any()
        assert_same_arrays([model.predict(X)], [expected])


# Threads


def test_predicting_in_several_threads_gives_the_same_bits():
    model = picture_net()
    x, _ = pictures(40)
    expected, results = model.predict(x), {}

    def work(k):
        results[k] = model.predict(x, batch_size=32)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    for result in results.values():
        assert_same_arrays([result], [expected])


def blas_threads():
    return [item["num_threads"] for item in threadpoolctl.threadpool_info()]


@pytest.mark.parametrize("limit", [1, 2])
def test_the_users_blas_setting_is_given_back(limit):
    model, seen = picture_net(), []
    model.compile("sgd", "binary_crossentropy")
    x, y = pictures()
    with threadpoolctl.threadpool_limits(limit, user_api="blas"):
        before = blas_threads()
        model.predict(x)
        seen.append(blas_threads())
        model.fit(x, y, verbose=0)
        seen.append(blas_threads())
        with pytest.raises(DataError):
            model.fit(x, y + 5, verbose=0)
        seen.append(blas_threads())
    assert seen == [before] * 3


# A loss and a metric of one's own


class AbsoluteError(losses.Loss):
    def value_and_gradient(self, y_true, y_pred, sample_weight=None):
        error = y_pred - np.reshape(y_true, y_pred.shape)
        return float(np.abs(error).mean()), np.sign(error) / error.size


def test_a_loss_and_a_metric_of_ones_own():
    def worst(y_true, y_pred):
        return np.full(len(y_pred), np.abs(y_pred[:, 0] - y_true).max())

    model = classifier()
    model.compile(optimizers.SGD(0.5), AbsoluteError(), metrics=[worst, metrics.AUC()])
    p = model.predict(X)[:, 0]
    results = model.evaluate(X, Y, return_dict=True)
    assert results["loss"] == pytest.approx(np.abs(p - Y).mean(), rel=1e-5)
    wrong = np.abs(p - Y)
    assert results["worst"] == pytest.approx((32 * wrong[:32].max() + 8 * wrong[32:].max()) / 40)
    history = model.fit(X, Y, epochs=8, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]
    assert set(history) == {"loss", "worst", "auc"}


# Mistakes. Each ends in one sentence, and the model is as it was.

NAN = X.copy()
NAN[3, 1] = np.nan
INFINITE = X.copy()
INFINITE[3, 1], INFINITE[4, 0] = np.inf, -np.inf

BAD_FITS = {
    "no data": ((None,), {}, DataError, ["NoneType"]),
    "a path": (("photos/cats",), {}, DataError, ["photos/cats", "ImageFolder"]),
    "a dict": (({"x": X}, Y), {}, DataError, ["dict"]),
    "no samples": ((X[:0], Y[:0]), {}, DataError, ["at least one sample"]),
    "no labels": ((X,), {}, DataError, ["labels"]),
    "fewer labels": ((X, Y[:5]), {}, DataError, ["x has 40", "y has 5"]),
    "other features": ((X[:, :3], Y), {}, ShapeError, ["(None, 4)", "(32, 3)"]),
    "images": ((np.zeros((40, 8, 8, 3)), Y), {}, ShapeError, ["(None, 4)", "8, 8, 3"]),
    "a list of samples": ((list(X[:3]), Y[:3]), {}, DataError, ["np.stack"]),
    "text": ((X.astype(str), Y), {}, DataError, ["numbers", "U"]),
    "label 2": ((X, Y * 2), {}, DataError, ["0..1", "2", "Dense(3)"]),
    "label -1": ((X, Y * 2 - 1), {}, DataError, ["0..1", "-1"]),
    "label NaN": ((X, np.full(40, np.nan)), {}, DataError, ["finite"]),
    "label text": ((X, ["cat"] * 40), {}, DataError, ["y", "numbers"]),
    "one-hot labels": ((X, np.eye(2)[Y]), {}, ShapeError, ["(32, 1)", "(32, 2)"]),
    "NaN": ((NAN, Y), {"batch_size": 40}, DataError, ["sample", "NaN"]),
    "infinity": ((INFINITE, Y), {"batch_size": 40}, DataError, ["sample", "infinite"]),
    "class weight missing": ((X, Y), {"class_weight": {0: 1.0}}, DataError, ["class 1"]),
    "class weight 7": ((X, Y), {"class_weight": {0: 1, 1: 1, 7: 1}}, DataError, ["0..1", "7"]),
    "class weight name": ((X, Y), {"class_weight": {"cat": 1.0}}, DataError, ["'cat'"]),
    "class weight list": ((X, Y), {"class_weight": [1, 2]}, TypeError, ["dict", "list"]),
    "class weight NaN": ((X, Y), {"class_weight": {0: 1, 1: np.nan}}, DataError, ["nan"]),
    "sample weights": ((X, Y), {"sample_weight": np.ones(3)}, DataError, ["sample_weight has 3"]),
    "weight NaN": ((X, Y), {"sample_weight": np.full(40, np.nan)}, DataError, ["finite"]),
    "epochs -1": ((X, Y), {"epochs": -1}, ValueError, ["epochs", "-1"]),
    "epochs 1.5": ((X, Y), {"epochs": 1.5}, ValueError, ["epochs", "1.5"]),
    "epochs None": ((X, Y), {"epochs": None}, ValueError, ["epochs", "None"]),
    "batch size 0": ((X, Y), {"batch_size": 0}, ValueError, ["batch_size", "0"]),
    "no steps": ((X, Y), {"steps_per_epoch": 0}, ValueError, ["steps_per_epoch", "0"]),
    "frequency 0": ((X, Y), {"validation_freq": 0}, ValueError, ["validation_freq"]),
    "verbose 7": ((X, Y), {"verbose": 7}, ValueError, ["verbose", "7"]),
    "split 1.5": ((X, Y), {"validation_split": 1.5}, ValueError, ["> 0 and < 1", "1.5"]),
    "split all": ((X, Y), {"validation_split": 0.99}, DataError, ["40 samples"]),
    "validation x": ((X, Y), {"validation_data": (X,)}, DataError, ["(x, y)", "tuple of 1"]),
    "validation shape": ((X, Y), {"validation_data": (X[:, :2], Y)}, ShapeError, ["(32, 2)"]),
    "validation labels": ((X, Y), {"validation_data": (X, Y + 5)}, DataError, ["0..1", "6"]),
    "validation number": ((X, Y), {"validation_data": 5}, DataError, ["int 5"]),
    "callback class": ((X, Y), {"callbacks": [print]}, TypeError, ["Callback", "print"]),
    "callbacks 5": ((X, Y), {"callbacks": 5}, TypeError, ["list", "5"]),
}  # fmt: skip


@pytest.mark.parametrize("norm", [False, True], ids=["dense", "norm"])
@pytest.mark.parametrize("case", BAD_FITS)
def test_a_mistake_in_fit_is_named_and_costs_nothing(case, norm):
    arguments, options, error, words = BAD_FITS[case]
    model = classifier(*([layers.BatchNormalization()] if norm else []))
    model.fit(X, Y, verbose=0)
    before, state = model.get_weights(), model.optimizer.get_state()
    with refused(error, *words):
        model.fit(*arguments, **{"verbose": 0, **options})
    assert_same_arrays(model.get_weights(), before)  # moving statistics among them
    assert model.optimizer.get_state()["iterations"] == state["iterations"]
    model.fit(X, Y, verbose=0)  # and it goes on


def test_a_mistake_in_one_batch_is_named_and_costs_nothing():
    model = classifier(layers.BatchNormalization())
    before = model.get_weights()
    for method in (model.train_on_batch, model.test_on_batch):
        with refused(DataError, "sample 3", "NaN"):
            method(NAN, Y)
        with refused(DataError, "0..1", "3"):
            method(X, Y * 3)
        with refused(DataError, "labels"):
            method(X, None)
        with refused(DataError, "x has 40", "y has 3"):
            method(X, Y[:3])
        with refused(DataError, "x", "array"):
            method([[1, 2], [3]], Y)
    assert_same_arrays(model.get_weights(), before)


def test_a_mistake_in_evaluate_and_predict_is_named():
    model = classifier()
    for x, y, error, words in (
        (NAN, Y, DataError, ["sample 3", "NaN"]),
        (X[:0], Y[:0], DataError, ["at least one sample"]),
        (X[:, :3], Y, ShapeError, ["(None, 4)", "(32, 3)"]),
        (X * 1j, Y, DataError, ["numbers", "complex"]),
        ("cat.jpg", None, DataError, ["cat.jpg", "ImageFolder"]),
        (iter([]), None, DataError, ["at least one batch"]),
    ):
        with refused(error, *words):
            model.predict(x)
        with refused(error, *words):
            model.evaluate(x, y)
    with refused(ShapeError, "(None, 4)", "(4,)", "x[None]"):
        model(X[0])
    with refused(ShapeError, "one array", "list of 2", "np.stack"):
        model.predict_on_batch([X[:3], X[:3]])
    with refused(ShapeError, "(None, 4)", "()"):
        model.predict_on_batch(5)


def test_several_inputs_and_outputs_mixed_up():
    model, b = two_by_two(), X[:, :2]
    with refused(ValueError, "list of 2", "loss"):
        model.compile("sgd", "mse")
    with refused(ValueError, "list of 2", "metrics"):
        model.compile("sgd", ["mse", "mse"], metrics=["accuracy"])
    model.compile("sgd", ["mse", "sparse_categorical_crossentropy"])
    for x, y, error, words in (
        (X, [Y, Y], ShapeError, ["2 inputs"]),
        ([X, b, b], [Y, Y], ShapeError, ["2 inputs", "3"]),
        ([b, X], [Y, Y], ShapeError, ["'a'", "(None, 4)", "(32, 2)"]),
        ([X, b[:5]], [Y, Y], DataError, ["x[0] has 40", "x[1] has 5"]),
        ([X, b], Y, ShapeError, ["list of 2 label arrays"]),
        ([X, b], [Y, Y, Y], ShapeError, ["list of 2 label arrays"]),
        ([X, b], [Y, Y * 3], DataError, ["0..2", "3"]),
        ([X, np.full_like(b, np.nan)], [Y, Y], DataError, ["NaN"]),
    ):
        with refused(error, *words):
            model.fit(x, y, verbose=0)
    with refused(ValueError, "class_weight", "one output"):
        model.fit([X, b], [Y, Y], class_weight={0: 1, 1: 2}, verbose=0)


@pytest.mark.parametrize("method", ["fit", "evaluate", "train_on_batch", "test_on_batch"])
def test_training_needs_compile(method):
    model = Sequential([Input((4,)), layers.Dense(1)])
    with refused(RuntimeError, "compile", method):
        getattr(model, method)(X, Y)
    assert model.predict(X).shape == (40, 1)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (("adamm", "mse"), ValueError, ["optimizer", "'adamm'", "Adam"]),
        ((None, "mse"), TypeError, ["optimizer", "None"]),
        (("adam", "msee"), ValueError, ["loss", "'msee'", "mse"]),
        (("adam", None), TypeError, ["loss", "None"]),
        (("adam", 5), TypeError, ["loss", "5"]),
        (("adam", lambda y, p: 0), TypeError, ["function", "value_and_gradient"]),
        (("adam", ["mse", "mse"]), TypeError, ["loss"]),
        (("adam", "mse", 5), TypeError, ["metric", "5"]),
    ],
)
def test_wrong_names_in_compile(arguments, error, words):
    model = Sequential([Input((4,)), layers.Dense(1)])
    with refused(error, *words):
        model.compile(*arguments)
    with refused(RuntimeError, "compile"):
        model.fit(X, Y)


def test_an_unknown_metric_is_refused_by_compile_and_not_after_a_step():
    with pytest.raises(
        ValueError, match=r"metric: expected one of .*binary_accuracy.*received 'acuracy'"
    ):
        classifier().compile("sgd", "mse", metrics=["acuracy"])


def test_a_metric_that_does_not_fit_the_labels_costs_nothing():
    model = classifier(outputs=3)
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["precision"])
    before = model.get_weights()
    with refused(ShapeError, "Precision", "(32, 3)", "(32,)"):
        model.fit(X, Y, verbose=0)
    assert_same_arrays(model.get_weights(), before)


def test_same_seed_same_network():
    def made():
        minidl.set_random_seed(5)
        return picture_net().get_weights()

    assert_same_arrays(made(), made())


def test_evaluation_and_prediction_share_their_prepared_weights(monkeypatch):
    prepared = []

    def count(*arguments):
        prepared.append(arguments)
        return prepare_kernel(*arguments)

    monkeypatch.setattr(convolution_steps, "prepare_kernel", count)
    model = Sequential(
        [
            Input((8, 8, 3)),
            layers.Conv2D(4, 3),
            layers.GlobalAveragePooling2D(),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile("sgd", "binary_crossentropy")
    x, y = np.random.default_rng(0).normal(size=(6, 8, 8, 3)), np.arange(6) % 2
    model.evaluate(x, y, verbose=0)
    model.predict(x, verbose=0)
    assert len(prepared) == 1


@pytest.mark.parametrize(
    ("units", "activation", "loss"),
    [
        (1, "sigmoid", "binary_crossentropy"),
        (3, "softmax", "sparse_categorical_crossentropy"),
        (1, None, "mse"),
    ],
)
def test_compile_changes_no_prediction(units, activation, loss):
    model = Sequential([Input((5,)), layers.Dense(4, "tanh"), layers.Dense(units, activation)])
    x = np.random.default_rng(0).normal(size=(7, 5))
    before = model.predict(x, verbose=0)
    model.compile("sgd", loss)
    np.testing.assert_array_equal(model.predict(x, verbose=0), before)
