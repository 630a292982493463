"""The interface of callbacks and the group that calls them."""

import pytest
from support.scripted import X, Y, fit
from support.tiny import classifier, refused

import minidl
from minidl import callbacks
from minidl.callbacks import (
    Callback,
    EarlyStopping,
    LambdaCallback,
    ModelCheckpoint,
    ReduceLROnPlateau,
)


def test_two_callbacks_of_one_class_keep_their_own_state(tmp_path):
    pair = [EarlyStopping("watched", patience=9), EarlyStopping("other", patience=9)]
    fit(*pair, ModelCheckpoint(tmp_path / "a.h5"), watched=[2.0, 1.0], other=[5.0, 7.0])
    model = minidl.load_model(tmp_path / "a.h5")
    again = [EarlyStopping("watched", patience=9), EarlyStopping("other", patience=9)]
    model.fit(X, Y, epochs=2, callbacks=again, resume=True, verbose=0)
    assert [(stop.best, stop.wait) for stop in again] == [(1.0, 0), (5.0, 1)]


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
