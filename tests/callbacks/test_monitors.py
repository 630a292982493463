"""Callbacks that monitor a number, driven by scripted logs."""

import math

import numpy as np
import pytest
from support.scripted import X, Y, fit
from support.tiny import assert_same_arrays, classifier, refused

from minidl import Input, Sequential, layers, optimizers
from minidl.callbacks import (
    EarlyStopping,
    LambdaCallback,
    ReduceLROnPlateau,
    TerminateOnNaN,
)
from minidl.optimizers.schedules import CosineDecay


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


def test_what_is_no_number_cannot_be_watched():
    model = classifier()
    model.compile("sgd", "binary_crossentropy", metrics=["confusion_matrix"])
    with pytest.warns(UserWarning, match="no 'confusion_matrix' among the logs; available: loss"):
        fit(EarlyStopping("confusion_matrix"), model=model, epochs=2)


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
