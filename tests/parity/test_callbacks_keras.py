"""EarlyStopping and ReduceLROnPlateau decide as Keras' do, epoch by epoch.

Both are driven with made-up logs and a stand-in for the model. The monitored values are
multiples of 1/8, because Keras compares them in float32.
"""

import pytest

keras = pytest.importorskip("keras", reason="Keras is not installed: parity is checked in CI")

from types import SimpleNamespace  # noqa: E402

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from minidl import callbacks  # noqa: E402

EIGHTHS = st.integers(0, 16).map(lambda n: n / 8)
VALUES = st.lists(EIGHTHS, min_size=1, max_size=25)
DELTAS = st.sampled_from([0.0, 0.0625, 0.25])
MONITORS = st.sampled_from([("loss", "min"), ("val_loss", "auto"), ("accuracy", "max")])


class Stand:
    """What callbacks use of a model; its weights are the number of the epoch."""

    def __init__(self):
        self.optimizer = SimpleNamespace(learning_rate=1.0)
        self.optimizer.current_learning_rate = lambda: self.optimizer.learning_rate
        self.stop_training = False
        self.weights = None

    def get_weights(self):
        return self.weights

    def set_weights(self, weights):
        self.weights = weights


def attach(callback, model):
    """Tell a callback its model."""
    if isinstance(callback, keras.callbacks.Callback):
        callback.set_model(model)
    else:
        callback.model = model


def run(callback, values, observe):
    """Give the callback one value an epoch; return what `observe` saw, and the last weights."""
    model = Stand()
    attach(callback, model)
    callback.on_train_begin()
    seen = []
    for epoch, value in enumerate(values):
        model.weights = epoch
        logs = {callback.monitor: value}
        callback.on_epoch_end(epoch, logs)
        seen.append(observe(model, logs))
        if model.stop_training:
            break
    callback.on_train_end()
    return seen, model.weights


def check_same(name, options, values, observe):
    runs = [
        run(getattr(lib, name)(**options), values, observe) for lib in (callbacks, keras.callbacks)
    ]
    assert runs[0] == runs[1]


@settings(max_examples=300)
@given(
    values=VALUES,
    monitor=MONITORS,
    min_delta=DELTAS,
    patience=st.integers(0, 4),
    baseline=st.one_of(st.none(), EIGHTHS),
    restore=st.booleans(),
    start=st.integers(0, 3),
)
def test_early_stopping(values, monitor, min_delta, patience, baseline, restore, start):
    options = {
        "monitor": monitor[0],
        "mode": monitor[1],
        "min_delta": min_delta,
        "patience": patience,
        "baseline": baseline,
        "restore_best_weights": restore,
        "start_from_epoch": start,
    }
    check_same("EarlyStopping", options, values, lambda model, logs: model.stop_training)


@settings(max_examples=300)
@given(
    values=VALUES,
    monitor=MONITORS,
    min_delta=DELTAS,
    patience=st.integers(0, 4),
    factor=st.sampled_from([0.5, 0.25]),
    cooldown=st.integers(0, 3),
    min_lr=st.sampled_from([0.0, 0.1]),
)
def test_reduce_lr_on_plateau(values, monitor, min_delta, patience, factor, cooldown, min_lr):
    options = {
        "monitor": monitor[0],
        "mode": monitor[1],
        "min_delta": min_delta,
        "patience": patience,
        "factor": factor,
        "cooldown": cooldown,
        "min_lr": min_lr,
    }

    def observe(model, logs):
        return pytest.approx(model.optimizer.learning_rate), pytest.approx(logs["learning_rate"])

    check_same("ReduceLROnPlateau", options, values, observe)


@pytest.mark.parametrize("name", ["EarlyStopping", "ReduceLROnPlateau"])
@pytest.mark.parametrize("lib", [callbacks, keras.callbacks])
def test_a_missing_number_is_a_warning(lib, name):
    callback, model = getattr(lib, name)(monitor="val_loss"), Stand()
    attach(callback, model)
    with pytest.warns(UserWarning, match="vailable"):
        callback.on_epoch_end(0, {"loss": 1.0})
    assert not model.stop_training
    assert model.optimizer.learning_rate == 1.0
