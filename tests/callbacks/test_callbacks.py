"""Callbacks, driven by losses that the test chooses."""

import csv
import math
import sys
import warnings

import numpy as np
import pytest
from support.tiny import assert_same_arrays, blobs, classifier, refused

import minidl
from minidl import Input, Sequential, callbacks, layers, optimizers
from minidl.callbacks import (
    Callback,
    CSVLogger,
    EarlyStopping,
    LambdaCallback,
    LearningRateScheduler,
    ModelCheckpoint,
    ReduceLROnPlateau,
    TerminateOnNaN,
)
from minidl.optimizers.schedules import CosineDecay

X, Y = blobs()


class Script(Callback):
    """Puts the given numbers into the logs: epoch after epoch, before the other callbacks."""

    def __init__(self, **numbers):
        super().__init__()
        self.numbers = numbers

    def on_epoch_end(self, epoch, logs):
        logs.update({name: values[epoch] for name, values in self.numbers.items()})


def fit(*given, model=None, epochs=None, **numbers):
    """Train with scripted numbers; return the model and the history."""
    model = model or classifier()
    epochs = epochs or len(next(iter(numbers.values()), [0]))
    history = model.fit(
        X, Y, epochs=epochs, batch_size=20, callbacks=[Script(**numbers), *given], verbose=0
    )
    return model, history


# EarlyStopping


@pytest.mark.parametrize(
    ("arguments", "numbers", "epochs"),
    [
        ({"patience": 0}, [3, 2, 2, 1, 0], 3),
        ({"patience": 2}, [3, 2, 2, 1, 1, 1, 0], 6),
        ({"patience": 1, "min_delta": 0.5}, [3, 2.6, 2, 1], 2),
        ({"patience": 2, "mode": "max"}, [1, 2, 3, 2, 2, 9], 5),
        ({"patience": 1, "start_from_epoch": 3}, [1, 2, 3, 4, 3, 2, 2, 1], 7),
        ({"patience": 2, "baseline": 1.0}, [3, 2.5, 2.5, 0.5], 3),
        ({"patience": 2, "baseline": 2.2}, [3, 2, 1.5, 1.5, 1.5, 0.5], 5),
        ({"patience": 2}, [3, math.nan, math.nan, 0], 3),
        ({"patience": 9}, [3, 3, 3, 3], 4),
    ],
)
def test_early_stopping_stops_when_it_should(arguments, numbers, epochs):
    stop = EarlyStopping("watched", **arguments)
    _, history = fit(stop, watched=numbers)
    assert len(history.epoch) == epochs
    assert stop.stopped_epoch == (epochs - 1 if epochs < len(numbers) else 0)


@pytest.mark.parametrize("numbers", [[3, 1, 2, 2, 2], [3, 2, 1], [1, 2, 3]])
@pytest.mark.parametrize("restore", [True, False])
def test_early_stopping_restores_the_best_weights(numbers, restore):
    each = []
    keep = LambdaCallback(on_epoch_end=lambda e, logs: each.append(keep.model.get_weights()))
    stop = EarlyStopping("watched", patience=2, restore_best_weights=restore)
    model, history = fit(keep, stop, watched=numbers)
    best = int(np.argmin(numbers)) if restore else len(history.epoch) - 1
    assert_same_arrays(model.get_weights(), each[best])


def test_early_stopping_guesses_the_direction():
    for name, rises in (("val_loss", False), ("accuracy", True), ("val_auc", True), ("mse", False)):
        _, history = fit(EarlyStopping(name, patience=1), **{name: [1, 2, 3, 4]})
        assert len(history.epoch) == (4 if rises else 2)


def test_early_stopping_can_be_used_for_a_second_training():
    stop = EarlyStopping("watched", patience=1)
    assert len(fit(stop, watched=[1, 2, 3])[1].epoch) == 2
    assert len(fit(stop, watched=[9, 8, 7])[1].epoch) == 3


def test_early_stopping_says_what_it_does(capsys):
    fit(EarlyStopping("watched", verbose=1, restore_best_weights=True), watched=[1, 2, 3])
    assert capsys.readouterr().out == (
        "Epoch 2: early stopping\nRestoring the weights of epoch 1\n"
    )


def test_a_monitor_that_is_not_there_is_said_and_training_goes_on():
    stop = EarlyStopping("val_losss")
    with pytest.warns(UserWarning, match="no 'val_losss' among the logs; available: loss, acc"):
        _, history = fit(stop, epochs=3)
    assert len(history.epoch) == 3


# ModelCheckpoint


def test_checkpoints_of_each_epoch_have_fields_in_their_names(tmp_path):
    path = tmp_path / "{epoch:02d}-{watched:.1f}.h5"
    each = []
    keep = LambdaCallback(on_epoch_end=lambda e, logs: each.append(keep.model.get_weights()))
    fit(keep, ModelCheckpoint(path), watched=[0.55, 0.25])
    assert sorted(file.name for file in tmp_path.iterdir()) == ["01-0.6.h5", "02-0.2.h5"]
    for name, weights in zip(["01-0.6.h5", "02-0.2.h5"], each, strict=True):
        assert_same_arrays(minidl.load_model(tmp_path / name).get_weights(), weights)


@pytest.mark.parametrize(("mode", "best"), [("min", 2), ("max", 4), ("auto", 2)])
def test_the_best_only(mode, best, tmp_path, capsys):
    path = tmp_path / "best.h5"
    save = ModelCheckpoint(path, "watched", save_best_only=True, mode=mode, verbose=1)
    fit(save, watched=[3.0, 1.0, 2.0, 4.0])
    assert minidl.load_model(path).training_state["epoch"] == best
    assert f"Epoch {best}: saved {path}" in capsys.readouterr().out.splitlines()[-1]


def test_weights_only(tmp_path):
    model, _ = fit(ModelCheckpoint(tmp_path / "w.h5", save_weights_only=True), epochs=1)
    other = classifier()
    other.load_weights(tmp_path / "w.h5")
    assert_same_arrays(other.get_weights(), model.get_weights())
    with pytest.raises(minidl.common.errors.FileFormatError, match="without an architecture"):
        minidl.load_model(tmp_path / "w.h5")


@pytest.mark.parametrize("last_first", [True, False])
def test_a_resumed_training_remembers_the_best_of_each_checkpoint(last_first, tmp_path):
    """The file of the best epoch must not be overwritten by a worse one after a restart."""

    def saving():
        last = ModelCheckpoint(tmp_path / "last.h5")
        best = ModelCheckpoint(tmp_path / "best.h5", "watched", save_best_only=True)
        return [last, best] if last_first else [best, last]

    numbers = [3.0, 1.0, 2.0, 2.0]
    fit(*saving(), epochs=2, watched=numbers)
    model = minidl.load_model(tmp_path / "last.h5")
    script = Script(watched=numbers)
    model.fit(X, Y, epochs=4, callbacks=[script, *saving()], resume=True, verbose=0)
    assert minidl.load_model(tmp_path / "best.h5").training_state["epoch"] == 2
    assert minidl.load_model(tmp_path / "last.h5").training_state["epoch"] == 4


def test_a_checkpoint_holds_what_callbacks_after_it_noted(tmp_path):
    plateau = ReduceLROnPlateau("watched", factor=0.5, patience=1)
    fit(ModelCheckpoint(tmp_path / "a.h5"), plateau, watched=[1.0, 1.0])
    saved = minidl.load_model(tmp_path / "a.h5")
    assert saved.optimizer.learning_rate == 0.005
    assert saved.training_state["callbacks"]["ReduceLROnPlateau"]["best"] == 1.0


def test_two_callbacks_of_one_class_keep_their_own_state(tmp_path):
    pair = [EarlyStopping("watched", patience=9), EarlyStopping("other", patience=9)]
    fit(*pair, ModelCheckpoint(tmp_path / "a.h5"), watched=[2.0, 1.0], other=[5.0, 7.0])
    model = minidl.load_model(tmp_path / "a.h5")
    again = [EarlyStopping("watched", patience=9), EarlyStopping("other", patience=9)]
    model.fit(X, Y, epochs=2, callbacks=again, resume=True, verbose=0)
    assert [(stop.best, stop.wait) for stop in again] == [(1.0, 0), (5.0, 1)]


def test_a_checkpoint_that_cannot_be_written_is_refused_before_the_first_epoch(tmp_path):
    model = classifier()
    before = model.get_weights()
    with refused(FileNotFoundError, "ModelCheckpoint", "nowhere"):
        fit(ModelCheckpoint(tmp_path / "nowhere" / "a.h5"), model=model)
    model.compile("sgd", "mse", metrics=[lambda y, p: p[:, 0]])
    with refused(TypeError, "cannot be saved", "function"):
        fit(ModelCheckpoint(tmp_path / "a.h5"), model=model)
    assert_same_arrays(model.get_weights(), before)


def test_a_field_that_is_not_there_is_named(tmp_path):
    with refused(ValueError, "ModelCheckpoint", "val_acc", "epoch, loss, accuracy"):
        fit(ModelCheckpoint(tmp_path / "{val_acc:.2f}.h5"), epochs=1)


def test_weights_that_are_not_finite_do_not_replace_the_good_file(tmp_path):
    def spoil(epoch, logs):
        if epoch >= 1:
            model.set_weights([np.full_like(w, np.nan) for w in model.get_weights()])

    model = classifier()
    path = tmp_path / "best.h5"
    save = ModelCheckpoint(path, "watched", save_best_only=True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(LambdaCallback(on_epoch_end=spoil), save, model=model, watched=[3.0, 2.0, 1.0])
    messages = [str(warning.message) for warning in caught]
    assert sum("epoch 2 left NaN or infinite weights" in message for message in messages) == 1
    assert sum("ModelCheckpoint" in message for message in messages) == 1
    assert minidl.load_model(path).training_state["epoch"] == 1
    assert save.best == 3.0


# Learning rates


def test_reduce_on_plateau():
    plateau = ReduceLROnPlateau("watched", factor=0.5, patience=2, min_lr=0.2)
    model = classifier()
    model.compile(optimizers.SGD(1.0), "mse")
    _, history = fit(plateau, model=model, watched=[3, 2, 2, 2, 2, 2, 2, 2, 2])
    rates = [1, 1, 1, 1, 0.5, 0.5, 0.25, 0.25, 0.2]  # those of the epoch itself
    assert history.history["learning_rate"] == rates
    assert model.optimizer.learning_rate == 0.2


def test_reduce_on_plateau_cools_down():
    plateau = ReduceLROnPlateau("watched", factor=0.5, patience=1, cooldown=2)
    model = classifier()
    model.compile(optimizers.SGD(1.0), "mse")
    _, history = fit(plateau, model=model, watched=[1] * 7)
    assert history.history["learning_rate"] == [1, 1, 0.5, 0.5, 0.25, 0.25, 0.125]


def test_reduce_on_plateau_says_what_it_does(capsys):
    fit(ReduceLROnPlateau("watched", 0.1, patience=1, verbose=1), watched=[1, 1])
    assert capsys.readouterr().out == "Epoch 2: learning rate reduced to 0.001\n"


def test_reduce_on_plateau_refuses_a_schedule_before_training():
    model = classifier()
    model.compile(optimizers.SGD(CosineDecay(0.1, 10)), "mse")
    with refused(ValueError, "ReduceLROnPlateau", "schedule"):
        fit(ReduceLROnPlateau("loss"), model=model)
    assert model.optimizer.iterations == 0


@pytest.mark.parametrize(
    "schedule", [lambda epoch: 0.1 / 2**epoch, lambda epoch, rate: rate / 2 if epoch else 0.1]
)
def test_learning_rate_scheduler(schedule, capsys):
    model = classifier()
    _, history = fit(LearningRateScheduler(schedule, verbose=1), model=model, epochs=3)
    assert history.history["learning_rate"] == [0.1, 0.05, 0.025]
    assert capsys.readouterr().out.splitlines()[-1] == "Epoch 3: learning rate 0.025"


def test_learning_rate_scheduler_refuses_what_is_no_rate():
    with refused(TypeError, "LearningRateScheduler", "function", "0.1"):
        LearningRateScheduler(0.1)
    with refused(TypeError, "LearningRateScheduler", "number", "'fast'"):
        fit(LearningRateScheduler(lambda epoch: "fast"))
    with refused(ValueError, "learning_rate", ">= 0", "-1"):
        fit(LearningRateScheduler(lambda epoch: -1))

    def fails(epoch, rate):
        return epoch + "1"

    with pytest.raises(TypeError, match="unsupported operand"):  # not hidden by a second try
        fit(LearningRateScheduler(fails))


# CSVLogger


def test_csv_logger_writes_a_line_for_each_epoch(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("an older log\n")
    _, history = fit(CSVLogger(path), watched=[0.5, 0.25])
    rows = list(csv.DictReader(path.open()))
    assert [row["epoch"] for row in rows] == ["0", "1"]
    assert [float(row["watched"]) for row in rows] == [0.5, 0.25]
    assert [float(row["loss"]) for row in rows] == history.history["loss"]


def test_csv_logger_appends(tmp_path):
    path = tmp_path / "log.csv"
    for _ in range(2):
        fit(CSVLogger(path, separator=";", append=True), epochs=2)
    lines = path.read_text().splitlines()
    assert lines[0] == "epoch;loss;accuracy"
    assert [line[0] for line in lines[1:]] == ["0", "1", "0", "1"]


def test_csv_logger_continues_with_the_training(tmp_path):
    path = tmp_path / "log.csv"
    model, _ = fit(CSVLogger(path), epochs=2)
    model.fit(X, Y, epochs=4, callbacks=[CSVLogger(path)], resume=True, verbose=0)
    assert [line[0] for line in path.read_text().splitlines()] == ["e", "0", "1", "2", "3"]


def test_csv_logger_needs_a_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        fit(CSVLogger(tmp_path / "nowhere" / "log.csv"))


# What is no number


def test_a_confusion_matrix_is_in_the_history_and_no_obstacle_elsewhere(tmp_path, capsys):
    model = classifier()
    model.compile("sgd", "binary_crossentropy", metrics=["accuracy", "confusion_matrix"])
    given = [CSVLogger(tmp_path / "log.csv"), ModelCheckpoint(tmp_path / "a.h5")]
    history = model.fit(X, Y, epochs=2, validation_data=(X, Y), callbacks=given, verbose=2).history
    assert [counts.sum() for counts in history["confusion_matrix"]] == [len(X)] * 2
    assert history["val_confusion_matrix"][1].shape == (2, 2)
    header = (tmp_path / "log.csv").read_text().splitlines()[0]
    assert header == "epoch,loss,accuracy,val_loss,val_accuracy"
    assert "confusion" not in capsys.readouterr().out
    resumed = minidl.load_model(tmp_path / "a.h5")
    again = resumed.fit(X, Y, epochs=3, resume=True, verbose=0).history["confusion_matrix"]
    assert len(again) == 3
    assert_same_arrays(again[:2], history["confusion_matrix"])


def test_what_is_no_number_cannot_be_watched():
    model = classifier()
    model.compile("sgd", "binary_crossentropy", metrics=["confusion_matrix"])
    with pytest.warns(UserWarning, match="no 'confusion_matrix' among the logs; available: loss"):
        fit(EarlyStopping("confusion_matrix"), model=model, epochs=2)


# TerminateOnNaN, LambdaCallback, callbacks of one's own


def test_terminate_on_nan(capsys):
    model = Sequential([Input((4,)), layers.Dense(1)])
    model.compile(optimizers.SGD(1e25), "mse")
    steps = []
    count = LambdaCallback(on_train_batch_end=lambda batch, logs: steps.append(batch))
    with pytest.warns(UserWarning, match="the loss is"):
        history = model.fit(
            X, Y, epochs=3, batch_size=10, callbacks=[count, TerminateOnNaN()], verbose=0
        )
    assert steps == [0, 1]
    assert len(history.epoch) == 1
    assert "Batch 1: the loss is" in capsys.readouterr().out


def test_lambda_callback_gets_each_event_as_in_keras():
    events = []

    def noting(event, *names):
        return lambda *arguments: events.append((event, *map(type, arguments)))

    every = {event: noting(event) for event in dir(Callback) if event.startswith("on_")}
    assert len(every) == 6
    classifier().fit(X, Y, batch_size=40, callbacks=[LambdaCallback(**every)], verbose=0)
    assert events == [
        ("on_train_begin", dict),
        ("on_epoch_begin", int, dict),
        ("on_train_batch_begin", int, dict),
        ("on_train_batch_end", int, dict),
        ("on_epoch_end", int, dict),
        ("on_train_end", dict),
    ]


def test_a_callback_knows_its_model_and_the_training():
    class Mine(Callback):  # without calling the base's constructor
        def __init__(self):
            self.seen = []

        def on_epoch_begin(self, epoch, logs=None):
            self.seen.append((self.model, self.params))

    mine = Mine()
    model = classifier()
    model.fit(X, Y, epochs=1, batch_size=16, callbacks=mine, verbose=0)
    params = {"epochs": 1, "steps": 3, "verbose": 0, "resume": False}
    assert mine.seen == [(model, params)]


def test_what_a_callback_adds_to_the_logs_is_in_the_history_and_in_files(tmp_path):
    _, history = fit(CSVLogger(tmp_path / "a.csv"), extra=[1.5, 2.5])
    assert history.history["extra"] == [1.5, 2.5]
    assert (tmp_path / "a.csv").read_text().startswith("epoch,loss,accuracy,extra\n")


def test_stop_training_ends_the_epoch_at_once():
    def stop(batch, logs):
        model.stop_training = batch == 1

    model = classifier()
    watch = LambdaCallback(on_train_batch_end=stop)
    history = model.fit(X, Y, epochs=5, batch_size=8, callbacks=[watch], verbose=0)
    assert model.optimizer.iterations == 2
    assert len(history.epoch) == 1


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: EarlyStopping(mode="up"), ValueError, ["EarlyStopping", "'up'"]),
        (lambda: ReduceLROnPlateau(factor=1.5), ValueError, ["factor", "1.5"]),
        (lambda: ModelCheckpoint("a", save_freq=100), ValueError, ["save_freq", "100"]),
        (lambda: ModelCheckpoint("a", save_freq="day"), ValueError, ["save_freq", "'day'"]),
        (lambda: LambdaCallback(on_epoch=print), TypeError, ["on_epoch"]),
        (lambda: LambdaCallback(on_epoch_end=5), TypeError, ["on_epoch_end", "5"]),
    ],
)
def test_wrong_arguments(make, error, words):
    with refused(error, *words):
        make()


def test_every_callback_is_public():
    made = {name for name, value in vars(callbacks).items() if isinstance(value, type)}
    assert made == set(callbacks.__all__)


def test_a_history_knows_its_time_and_draws_itself(tmp_path):
    _, history = fit(loss=[3.0, 2.0, 1.0], val_loss=[2.0, 1.0, 3.0])
    assert 0 < history.seconds < 60
    figure = history.plot(tmp_path / "curves" / "plot.svg", title="curves")
    assert "<svg" in (tmp_path / "curves" / "plot.svg").read_text()
    train, validation, best = figure.axes[0].lines
    assert (list(train.get_ydata()), list(validation.get_ydata())) == ([3, 2, 1], [2, 1, 3])
    assert set(best.get_xdata()) == {2}


def test_a_history_without_matplotlib_shows_its_table(monkeypatch):
    _, history = fit(loss=[3.0, 2.0], note=["<b>", "fine"])
    assert "<svg" in history._repr_html_()
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with refused(ImportError, "minidl[plot]"):
        history.plot()
    shown = history._repr_html_()
    assert "<svg" not in shown
    assert "<td>3</td>" in shown
    assert "<b>" not in shown
    assert "History 0 epochs" in callbacks.History()._repr_html_()
