"""The training loop: what it reports, what it trains, and that it can be repeated and resumed."""

import itertools
import signal
import warnings

import numpy as np
import pytest
from support.tiny import (
    assert_same_arrays,
    assert_same_training,
    blobs,
    classifier,
    picture_net,
    pictures,
    refused,
)

import minidl
from minidl import Input, Model, Sequential, callbacks, layers, losses, metrics, optimizers
from minidl.data import Dataset
from minidl.layers.regularizers import L1, L2
from minidl.optimizers.schedules import CosineDecay

X, Y = blobs()


# What is reported


def test_history_has_a_number_for_each_epoch():
    history = classifier().fit(X, Y, epochs=3, validation_split=0.25, verbose=0)
    assert list(history.history) == ["loss", "accuracy", "val_loss", "val_accuracy"]
    assert {len(values) for values in history.history.values()} == {3}
    assert history.epoch == [0, 1, 2]
    assert not history.interrupted


def test_the_epochs_numbers_are_means_over_samples_not_over_batches():
    model = classifier()
    model.optimizer.learning_rate = 0.0  # so that all batches see the same weights
    history = model.fit(X, Y, batch_size=7, validation_data=(X, Y), verbose=0).history
    loss, accuracy = model.evaluate(X, Y, batch_size=len(X))
    for prefix in ("", "val_"):
        assert history[f"{prefix}loss"] == [pytest.approx(loss, rel=1e-6)]
        assert history[f"{prefix}accuracy"] == [pytest.approx(accuracy, rel=1e-6)]


def test_validation_split_takes_the_end_and_never_trains_on_it():
    marked = X.copy()
    marked[30:] = 1e3
    seen = []

    class Look(layers.Layer):
        def forward(self, x, training=False, rng=None):
            seen.append((training, float(x.max())))
            return x, None

        def backward(self, dy, cache, need_dx=True):
            return dy, []

    model = Sequential([Input((4,)), Look(), layers.Dense(1)])
    model.compile(optimizers.SGD(0.0), "mse")
    model.fit(marked, Y, validation_split=0.25, epochs=2, batch_size=10, verbose=0)
    assert all(largest < 1e3 for training, largest in seen if training)
    assert sum(training for training, _ in seen) == 6
    assert all(largest == 1e3 for training, largest in seen if not training)


@pytest.mark.parametrize("kind", ["tuple", "list", "weighted", "dataset", "batches"])
def test_validation_data_in_each_form(kind):
    data = {
        "tuple": (X[:9], Y[:9]),
        "list": [X[:9], Y[:9]],
        "weighted": (X[:9], Y[:9], np.ones(9)),
        "dataset": minidl.data.ArrayDataset(X[:9], Y[:9]),
        "batches": [(X[:5], Y[:5]), (X[5:9], Y[5:9])],
    }[kind]
    model = classifier()
    history = model.fit(X, Y, validation_data=data, verbose=0).history
    expected = model.evaluate(X[:9], Y[:9], return_dict=True)
    assert history["val_loss"] == [pytest.approx(expected["loss"], rel=1e-6)]
    assert history["val_accuracy"] == [pytest.approx(expected["accuracy"])]


def test_a_batch_size_is_for_arrays():
    model, data = classifier(), minidl.data.ArrayDataset(X, Y)
    for method in (model.fit, model.evaluate, model.predict):
        with refused(ValueError, "batch_size", "ArrayDataset"):
            method(data, batch_size=8)
    assert model.optimizer.iterations == 0
    model.fit(X, Y, batch_size=8, validation_data=data, verbose=0)
    assert model.optimizer.iterations == 5


def test_costly_metrics_are_computed_once_an_epoch():
    asked = []

    class Counting(metrics.AUC):
        def result(self):
            asked.append(len(self.batches))
            return super().result()

    batch_logs = []
    look = callbacks.LambdaCallback(on_train_batch_end=lambda b, logs: batch_logs.append([*logs]))
    model = classifier()
    model.compile("sgd", "binary_crossentropy", metrics=["accuracy", Counting()])
    history = model.fit(X, Y, batch_size=8, epochs=2, callbacks=[look], verbose=0)
    assert asked == [5, 5]
    assert batch_logs == [["loss", "accuracy"]] * 10
    assert len(history.history["auc"]) == 2
    assert len(model.train_on_batch(X, Y)) == 3


def test_steps_per_epoch_cut_an_endless_source():
    batches = ((X[:8], Y[:8]) for _ in itertools.count())
    model = classifier()
    model.fit(batches, steps_per_epoch=3, epochs=2, verbose=0)
    assert model.optimizer.iterations == 6


def test_a_source_with_exactly_enough_batches_is_enough():
    batches = ((X[:8], Y[:8]) for _ in range(4))
    history = classifier().fit(batches, steps_per_epoch=2, epochs=2, verbose=0)
    assert len(history.epoch) == 2


def test_a_dataset_is_asked_for_each_epoch_and_closed():
    class Twice(Dataset):
        def __init__(self):
            self.epochs, self.closed = [], 0

        def batches(self, epoch=0):
            self.epochs.append(epoch)
            try:
                yield X[:8], Y[:8]
                yield X[8:16], Y[8:16], np.ones(8)
            finally:
                self.closed += 1

    data, model = Twice(), classifier()
    model.fit(data, epochs=3, steps_per_epoch=1, verbose=0)
    assert data.epochs == [0, 1, 2]
    assert data.closed == 3
    model.predict(data, steps=1)
    assert data.closed == 4


def test_a_loss_that_is_not_finite_is_said_out_loud():
    model = Sequential([Input((4,)), layers.Dense(1)])
    model.compile(optimizers.SGD(1e25), "mse")
    with pytest.warns(UserWarning, match=r"epoch 1, batch 1: the loss is (inf|nan).*learning rate"):
        history = model.fit(X, Y, batch_size=20, verbose=0)
    assert not np.isfinite(history.history["loss"][0])


# Weights of samples and classes


def test_sample_weight_zero_is_like_leaving_the_sample_out():
    weights = np.r_[np.ones(20), np.zeros(20)]
    weighted, alone = classifier(), classifier()
    alone.set_weights(weighted.get_weights())
    weighted.compile(optimizers.SGD(0.2), "binary_crossentropy")
    alone.compile(optimizers.SGD(0.1), "binary_crossentropy")  # the sum is divided by 40, not 20
    weighted.fit(X, Y, sample_weight=weights, batch_size=40, shuffle=False, verbose=0)
    alone.fit(X[:20], Y[:20], batch_size=40, shuffle=False, verbose=0)
    for a, b in zip(weighted.get_weights(), alone.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("one_hot", [False, True])
def test_class_weight_is_a_sample_weight_by_label(one_hot):
    labels = np.eye(3)[Y] if one_hot else Y
    loss = losses.CategoricalCrossentropy() if one_hot else losses.SparseCategoricalCrossentropy()
    by_class, by_sample = classifier(outputs=3), classifier(outputs=3)
    by_sample.set_weights(by_class.get_weights())
    for model in (by_class, by_sample):
        model.seed = 7
        model.compile("adam", loss)
    by_class.fit(X, labels, class_weight={0: 1.0, 1: 3.0, 2: 9.0}, verbose=0)
    by_sample.fit(X, labels, sample_weight=np.where(Y == 1, 3.0, 1.0), verbose=0)
    assert_same_training(by_class, by_sample)


def test_class_weight_multiplies_sample_weight():
    model = classifier()
    plain = model.test_on_batch(X, Y, return_dict=True)["loss"]
    weights, by_class = np.full(40, 2.0), {0: 3.0, 1: 3.0}
    loss = model.train_on_batch(X, Y, weights, by_class, return_dict=True)["loss"]
    assert loss == pytest.approx(6 * plain, rel=1e-6)


# Regularizers and multipliers


def regularized(**arguments):
    minidl.set_random_seed(1)
    stack = [layers.Dense(3, **arguments, name="first"), layers.Dense(1)]
    model = Sequential([Input((4,), dtype="float64"), *stack])
    model.compile(optimizers.SGD(0.1), "mse")
    return model


@pytest.mark.parametrize(
    ("regularizer", "penalty", "gradient"),
    [
        (L2(0.3), lambda w: 0.3 * (w**2).sum(), lambda w: 0.6 * w),
        (L1(0.3), lambda w: 0.3 * np.abs(w).sum(), lambda w: 0.3 * np.sign(w)),
    ],
)
def test_a_regularizer_adds_to_loss_and_gradient(regularizer, penalty, gradient):
    plain, model = regularized(), regularized(kernel_regularizer=regularizer)
    w = model.get_weights()[0]
    assert_same_arrays(plain.get_weights(), model.get_weights())
    assert model.evaluate(X, Y) == pytest.approx(plain.evaluate(X, Y) + penalty(w))
    loss = model.train_on_batch(X, Y)
    assert loss == pytest.approx(plain.train_on_batch(X, Y) + penalty(w))
    difference = plain.get_weights()[0] - model.get_weights()[0]
    np.testing.assert_allclose(difference, 0.1 * gradient(w), rtol=1e-9, atol=1e-12)


def test_a_frozen_layer_pays_no_penalty():
    plain, model = regularized(), regularized(kernel_regularizer=L2(0.3))
    model.get_layer("first").trainable = False
    assert model.evaluate(X, Y) == pytest.approx(plain.evaluate(X, Y))


@pytest.mark.parametrize("factor", [0.0, 0.5])
def test_a_layers_learning_rate_multiplier(factor):
    plain, model = regularized(), regularized(learning_rate_multiplier=factor)
    before = model.get_weights()
    for trained in (plain, model):
        trained.train_on_batch(X, Y)
    for a, b, old in zip(plain.get_weights()[:2], model.get_weights()[:2], before[:2], strict=True):
        np.testing.assert_allclose(b - old, factor * (a - old), rtol=1e-9, atol=1e-15)
    assert_same_arrays(plain.get_weights()[2:], model.get_weights()[2:])


# Frozen layers


@pytest.mark.parametrize("optimizer", ["SGD", "RMSprop", "Adam", "AdamW"])
def test_frozen_layers_get_no_update_no_decay_and_no_state(optimizer):
    model = Sequential(
        [Input((4,)), layers.Dense(5, name="a"), layers.BatchNormalization(name="norm"),
         layers.Dense(3, name="b"), layers.Dense(1, name="c")]
    )  # fmt: skip
    for name in ("a", "norm", "b"):
        model.get_layer(name).trainable = False
    cls = getattr(optimizers, optimizer)
    arguments = {"momentum": 0.9} if optimizer in ("SGD", "RMSprop") else {}
    model.compile(cls(0.1, weight_decay=0.5, **arguments), "mse")
    frozen = [layer.get_weights() for layer in model.layers[:3]]
    model.fit(X, Y, epochs=2, verbose=0)
    for layer, before in zip(model.layers, frozen, strict=False):
        assert_same_arrays(layer.get_weights(), before)
    assert {path.split("/")[0] for path in model.optimizer.get_state()["slots"]} == {"c"}
    model.get_layer("b").trainable = True  # without compiling again
    model.train_on_batch(X, Y)
    assert (model.get_layer("b").get_weights()[0] != frozen[2][0]).any()
    assert {path.split("/")[0] for path in model.optimizer.get_state()["slots"]} == {"b", "c"}
    model.get_layer("c").trainable = False
    kept = model.get_layer("c").get_weights()
    model.train_on_batch(X, Y)
    assert_same_arrays(model.get_layer("c").get_weights(), kept)


def test_a_layer_frozen_by_a_callback_stops_at_the_next_step():
    model, seen = classifier(), []
    first = model.layers[0]

    def freeze(batch, logs):
        first.trainable = batch < 2
        seen.append(first.get_weights()[0])

    watch = callbacks.LambdaCallback(on_train_batch_end=freeze)
    model.fit(X, Y, batch_size=8, callbacks=[watch], verbose=0)
    changed = [(a != b).any() for a, b in itertools.pairwise(seen)]
    assert changed == [True, True, False, False]


def test_nothing_trainable_is_no_error():
    model = classifier()
    model.trainable = False
    before = model.get_weights()
    model.fit(X, Y, verbose=0)
    assert_same_arrays(model.get_weights(), before)


# Ctrl-C


def test_ctrl_c_ends_training_cleanly_with_the_history_so_far(capsys):
    ended = []

    def interrupt(batch, logs):
        if model.optimizer.iterations == 8:
            signal.raise_signal(signal.SIGINT)

    model = classifier()
    watch = callbacks.LambdaCallback(
        on_train_batch_end=interrupt, on_train_end=lambda logs: ended.append(True)
    )
    stop = callbacks.EarlyStopping("loss", restore_best_weights=True)
    history = model.fit(X, Y, batch_size=8, epochs=9, callbacks=[watch, stop], verbose=0)
    assert history.interrupted
    assert history.epoch == [0]
    assert len(history.history["loss"]) == 1
    assert ended == [True]
    assert "after 1 whole epochs" in capsys.readouterr().out
    assert_same_arrays(model.get_weights(), stop.best_weights)
    assert len(model.fit(X, Y, epochs=2, verbose=0).epoch) == 2


def test_resuming_within_an_epoch_is_said_out_loud(tmp_path):
    def interrupt(batch, logs):
        if model.optimizer.iterations == 8:
            signal.raise_signal(signal.SIGINT)

    model = classifier()
    model.fit(X, Y, epochs=2, verbose=0)  # an earlier training does not matter
    watch = callbacks.LambdaCallback(on_train_batch_end=interrupt)
    model.optimizer.iterations = 0
    model.fit(X, Y, batch_size=8, epochs=4, callbacks=[watch], verbose=0)
    model.save(tmp_path / "a.h5")
    resumed = minidl.load_model(tmp_path / "a.h5")
    with pytest.warns(UserWarning, match="interrupted in epoch 2 after 3 batches.*once more"):
        history = resumed.fit(X, Y, batch_size=8, epochs=4, resume=True, verbose=0)
    assert history.epoch == [0, 1, 2, 3]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        resumed.fit(X, Y, epochs=5, resume=True, verbose=0)


def test_interrupted_in_the_first_epoch_of_a_second_training():
    def interrupt(batch, logs):
        raise KeyboardInterrupt

    model = classifier()
    model.fit(X, Y, epochs=3, verbose=0)
    watch = callbacks.LambdaCallback(on_train_batch_end=interrupt)
    model.fit(X, Y, epochs=3, callbacks=[watch], verbose=0)
    with pytest.warns(UserWarning, match="interrupted in epoch 1 after 1 batches"):
        history = model.fit(X, Y, epochs=3, resume=True, verbose=0)
    assert history.epoch == [0, 1, 2]


def test_an_error_in_a_callback_reaches_the_user():
    def fail(epoch, logs):
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        classifier().fit(X, Y, callbacks=[callbacks.LambdaCallback(on_epoch_end=fail)], verbose=0)


# The same bits again


def trained(epochs=2, threads=2, **compiled):
    minidl.set_random_seed(4)
    minidl.set_num_threads(threads)
    model = picture_net()
    model.compile(**{"optimizer": optimizers.Adam(0.01), "loss": "binary_crossentropy", **compiled})
    model.fit(*pictures(), epochs=epochs, batch_size=5, verbose=0)
    return model


def wide_net(dtype):
    """Return a network whose sums are long enough to be divided among threads."""
    x = Input((40, 40, 3), dtype=dtype)
    y = layers.RandomTranslation(0.1, 0.1)(layers.RandomFlip()(x))
    y = layers.Conv2D(32, 3, strides=2, use_bias=False)(y)
    y = layers.ReLU()(layers.BatchNormalization()(y))
    y = layers.Conv2D(64, 3, padding="same", activation="relu")(y)  # Winograd
    branches = [
        layers.Conv2D(32, 1, activation="relu")(y),
        layers.Conv2D(32, (7, 1), padding="same")(layers.Conv2D(32, (1, 7), padding="same")(y)),
        layers.DepthwiseConv2D(3, padding="same")(y),
        layers.AveragePooling2D(3, strides=1, padding="same")(y),
    ]
    y = layers.BatchNormalization()(layers.Concatenate()(branches))
    y = layers.Flatten()(layers.MaxPooling2D(3, strides=2)(y))
    y = layers.Dense(64, activation="relu", kernel_regularizer="l2")(y)
    y = layers.Dropout(0.5)(y)
    return Model(x, layers.Dense(4, activation="softmax")(y))


@pytest.mark.parametrize(
    ("optimizer", "dtype"),
    [
        (optimizers.SGD(0.01, momentum=0.9, nesterov=True), "float32"),
        (optimizers.RMSprop(0.001, centered=True, clipnorm=0.1), "float32"),
        (optimizers.Adam(0.001, global_clipnorm=0.5), "float32"),
        (optimizers.AdamW(0.001, amsgrad=True), "float64"),
    ],
    ids=["SGD", "RMSprop", "Adam", "AdamW in float64"],
)
def test_same_seed_same_bits_for_any_number_of_threads(optimizer, dtype):
    x = np.random.default_rng(0).uniform(size=(36, 40, 40, 3)).astype(dtype)
    y = np.arange(36) % 4

    def train(threads):
        minidl.set_random_seed(4)
        minidl.set_num_threads(threads)
        model = wide_net(dtype)
        copy = type(optimizer).from_config(optimizer.get_config())
        model.compile(copy, "sparse_categorical_crossentropy", metrics=["accuracy"])
        history = model.fit(x, y, batch_size=24, epochs=1, validation_data=(x, y), verbose=0)
        return model, history.history, model.predict(x)

    first, history, predictions = train(1)
    for threads in (2, 3, 8):
        model, other_history, other_predictions = train(threads)
        assert_same_training(first, model)
        assert_same_arrays([predictions], [other_predictions])
        assert history == other_history


def test_same_seed_and_thread_count_same_bits():
    assert_same_training(trained(), trained())


def test_looking_at_a_model_while_it_trains_changes_nothing():
    x, y = pictures()

    def look(batch, logs):
        minidl.common.seeding.as_generator(None).random(3)
        second.predict(x)
        second.evaluate(x, y)

    first = trained()
    minidl.set_random_seed(4)
    second = picture_net()
    second.compile(optimizers.Adam(0.01), "binary_crossentropy")
    watch = callbacks.LambdaCallback(on_train_batch_end=look)
    second.fit(x, y, epochs=2, batch_size=5, callbacks=[watch], verbose=0)
    assert_same_training(first, second)


def test_each_step_draws_its_own_randomness():
    dropped = []

    class Look(layers.Layer):
        def forward(self, x, training=False, rng=None):
            dropped.append(tuple((x == 0).ravel()) if training else None)
            return x, None

        def backward(self, dy, cache, need_dx=True):
            return dy, []

    stack = [layers.Dropout(0.5), Look(), layers.Dropout(0.5), Look(), layers.Dense(1)]
    model = Sequential([Input((32,)), *stack])
    model.compile("sgd", "mse")
    x = np.ones((8, 32))
    model.fit(x, np.zeros(8), batch_size=4, epochs=2, verbose=0)
    assert len(set(dropped)) == 8  # two layers in each of four steps


def test_each_epoch_has_its_own_order_and_shuffle_false_none():
    rows = np.arange(12.0, dtype=np.float32)[:, None]
    seen = []

    class Look(layers.Layer):
        def forward(self, x, training=False, rng=None):
            seen.extend(x.ravel().tolist() if training else [])
            return x, None

        def backward(self, dy, cache, need_dx=True):
            return dy, []

    model = Sequential([Input((1,)), Look(), layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(rows, rows, epochs=2, batch_size=5, verbose=0)
    first, second = seen[:12], seen[12:]
    assert sorted(first) == sorted(second) == rows.ravel().tolist()
    assert first != second
    seen.clear()
    model.fit(rows, rows, batch_size=5, shuffle=False, verbose=0)
    assert seen == rows.ravel().tolist()


def test_fit_in_a_loop_goes_on_with_new_orders(tmp_path):
    """Two times one epoch train as two epochs at once do, and a file keeps the count."""
    whole, steps = classifier(), classifier()
    steps.set_weights(whole.get_weights())
    steps.seed = whole.seed
    whole.fit(X, Y, epochs=3, batch_size=8, verbose=0)
    steps.fit(X, Y, batch_size=8, verbose=0)
    steps.fit(X, Y, batch_size=8, verbose=0)
    assert steps.epochs_seen == 2
    steps.save(tmp_path / "a.h5")
    steps = minidl.load_model(tmp_path / "a.h5")
    steps.fit(X, Y, batch_size=8, verbose=0)
    assert_same_training(whole, steps)


# A resumed training equals an uninterrupted one

RECIPES = {
    "plateau": (
        lambda: optimizers.Adam(0.05),
        lambda: [
            callbacks.ReduceLROnPlateau("loss", factor=0.5, patience=1, min_delta=10.0, cooldown=1),
            callbacks.EarlyStopping("val_loss", patience=9, restore_best_weights=True),
        ],
    ),
    "cosine": (
        lambda: optimizers.AdamW(CosineDecay(0.0, 16, warmup_target=0.05, warmup_steps=3)),
        lambda: [callbacks.EarlyStopping("val_loss", patience=9, restore_best_weights=True)],
    ),
    "momentum": (
        lambda: optimizers.SGD(0.05, momentum=0.9, nesterov=True, global_clipnorm=1.0),
        lambda: [callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.7)],
    ),
    "rmsprop": (lambda: optimizers.RMSprop(0.01, momentum=0.5, centered=True), list),
}


def fit_recipe(model, recipe, epochs, path, **more):
    return model.fit(
        *pictures(30), validation_split=0.2, batch_size=6, epochs=epochs, verbose=0,
        callbacks=[*RECIPES[recipe][1](), callbacks.ModelCheckpoint(path)], **more,
    )  # fmt: skip


def compiled_recipe(recipe):
    minidl.set_random_seed(11)
    model = picture_net()
    model.compile(RECIPES[recipe][0](), "binary_crossentropy", metrics=["accuracy", metrics.AUC()])
    return model


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_resumed_training_equals_an_uninterrupted_one(recipe, tmp_path):
    whole = compiled_recipe(recipe)
    whole_history = fit_recipe(whole, recipe, 4, tmp_path / "whole-{epoch}.h5")

    begun = compiled_recipe(recipe)
    fit_recipe(begun, recipe, 2, tmp_path / "begun.h5")
    for file in ("begun.h5", "whole-2.h5"):
        minidl.set_random_seed(999)  # what happens in between does not matter
        resumed = minidl.load_model(tmp_path / file)
        history = fit_recipe(resumed, recipe, 4, tmp_path / "resumed.h5", resume=True)
        assert history.history == whole_history.history
        assert history.epoch == [0, 1, 2, 3]
        assert_same_training(resumed, whole)
        last = minidl.load_model(tmp_path / "resumed.h5")
        assert_same_training(last, minidl.load_model(tmp_path / "whole-4.h5"))


def test_a_training_that_had_ended_early_is_not_prolonged(tmp_path):
    def early():
        return [
            callbacks.EarlyStopping("loss", patience=1, min_delta=9, restore_best_weights=True),
            callbacks.ModelCheckpoint(tmp_path / "last.h5"),
        ]

    model = classifier()
    history = model.fit(X, Y, epochs=9, callbacks=early(), verbose=0)
    assert history.epoch == [0, 1]
    resumed = minidl.load_model(tmp_path / "last.h5")
    again = resumed.fit(X, Y, epochs=9, callbacks=early(), resume=True, verbose=0)
    assert again.history == history.history
    assert_same_training(resumed, model)  # with the best weights restored
    assert len(resumed.fit(X, Y, epochs=2, verbose=0).epoch) == 2  # a new training is one


def test_resuming_a_finished_training_does_nothing(tmp_path):
    model = classifier()
    model.fit(X, Y, epochs=2, callbacks=[callbacks.ModelCheckpoint(tmp_path / "a.h5")], verbose=0)
    resumed = minidl.load_model(tmp_path / "a.h5")
    history = resumed.fit(X, Y, epochs=2, resume=True, verbose=0)
    assert len(history.history["loss"]) == 2
    assert_same_training(resumed, model)


def test_resume_in_the_same_process():
    straight, steps = classifier(), classifier()
    steps.set_weights(straight.get_weights())
    steps.seed = straight.seed
    straight.fit(X, Y, epochs=4, batch_size=8, verbose=0)
    steps.fit(X, Y, epochs=2, batch_size=8, verbose=0)
    history = steps.fit(X, Y, epochs=4, batch_size=8, resume=True, verbose=0)
    assert history.epoch == [0, 1, 2, 3]
    assert_same_training(straight, steps)


@pytest.mark.parametrize(
    ("units", "activation", "loss"),
    [
        (1, "sigmoid", "binary_crossentropy"),
        (2, "softmax", "sparse_categorical_crossentropy"),
        (2, "softmax", "categorical_crossentropy"),
    ],
)
@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.filterwarnings("ignore:the loss stayed")  # its value is clipped while z comes down
def test_an_output_that_is_certain_and_wrong_still_learns(units, activation, loss, fused):
    x = np.array([[1.0], [-1.0]], "float32")
    y = np.array([0, 1])
    stack = [Input((1,)), layers.Dense(units, activation=activation if fused else None, name="fc")]
    model = Sequential(stack if fused else [*stack, layers.Activation(activation)])
    kernel = [[1000.0]] if units == 1 else [[-500.0, 500.0]]  # as wrong as can be
    model.get_layer("fc").set_weights([np.array(kernel), np.zeros(units)])
    model.compile(optimizers.SGD(600.0), loss, metrics=["accuracy"])
    y = np.eye(2)[y] if loss == "categorical_crossentropy" else y
    model.fit(x, y, epochs=4, batch_size=2, verbose=0)
    assert model.evaluate(x, y, verbose=0, return_dict=True)["accuracy"] == 1.0


def test_the_best_weights_are_not_kept_twice_when_training_has_ended(tmp_path):
    def stop():
        return callbacks.EarlyStopping("loss", patience=9, restore_best_weights=True, mode="max")

    model = classifier()
    model.fit(X, Y, epochs=3, callbacks=[stop()], verbose=0)
    best = model.get_weights()  # those after the first epoch, as the loss falls
    model.save(tmp_path / "a.h5")
    assert "best_weights" not in model.training_state["callbacks"]["EarlyStopping"]
    resumed = minidl.load_model(tmp_path / "a.h5")
    again = stop()
    resumed.fit(X, Y, epochs=4, callbacks=[again], resume=True, verbose=0)
    assert again.best_epoch == 0
    assert_same_arrays(resumed.get_weights(), best)


def test_a_loss_derived_from_cross_entropy_keeps_its_own_gradient():
    class Still(losses.BinaryCrossentropy):
        def value_and_gradient(self, y_true, y_pred, sample_weight=None):
            return 1.0, np.zeros_like(y_pred)

    model = Sequential([Input((2,)), layers.Dense(1, activation="sigmoid")])
    before = model.get_weights()
    model.compile("sgd", Still())
    model.train_on_batch(np.ones((4, 2)), np.array([0, 1, 0, 0]))
    assert all((a == b).all() for a, b in zip(before, model.get_weights(), strict=True))


def test_a_layer_derived_from_dense_keeps_its_own_backward():
    class Deaf(layers.Dense):
        def backward(self, dy, cache, need_dx=True):
            dx, gradients = super().backward(dy, cache, need_dx)
            return dx, [np.zeros_like(g) for g in gradients]

    model = Sequential([Input((2,)), Deaf(1, activation="sigmoid")])
    before = model.get_weights()
    model.compile("sgd", "binary_crossentropy")
    model.train_on_batch(np.ones((4, 2)), np.array([0, 1, 0, 0]))
    assert all((a == b).all() for a, b in zip(before, model.get_weights(), strict=True))
