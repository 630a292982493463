"""fine_tune: head first, then the base's upper layers at a lower rate."""

import numpy as np
import pytest

from minidl import Input, Model, Sequential, callbacks, layers, load_model
from minidl.data import ArrayDataset
from minidl.training import fine_tune

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 5)).astype(np.float32)
Y = (X[:, 0] * X[:, 1] > 0).astype(int)


def make_model(optimizer="sgd"):
    x = Input((5,))
    y = layers.Dense(6, activation="tanh", name="low")(x)
    y = layers.BatchNormalization(name="norm")(y)
    base = Model(x, layers.Dense(4, activation="tanh", name="high")(y), name="base")
    model = Sequential([base, layers.Dense(1, activation="sigmoid", name="top")])
    model.compile(optimizer, "binary_crossentropy", metrics=["accuracy"])
    return model


class Snapshots(callbacks.Callback):
    """Notes all weights at the end of each epoch."""

    def __init__(self):
        super().__init__()
        self.epochs = []

    def on_epoch_end(self, epoch, logs=None):
        self.epochs.append({p.path: p.value.copy() for p in self.model.weights})


def changed(a, b):
    return {path.split("/")[0] for path in a if not np.array_equal(a[path], b[path])}


def test_who_learns_when():
    model, notes = make_model(), Snapshots()
    fine_tune(model, (X, Y), None, 2, 2, "high", 0.1, 0.5, callbacks=[notes], verbose=0)
    assert changed(notes.epochs[0], notes.epochs[1]) == {"top"}
    assert changed(notes.epochs[1], notes.epochs[3]) == {"top", "high"}


def test_batch_normalization_of_the_base_stays_as_it_was():
    model, notes = make_model(), Snapshots()
    fine_tune(model, (X, Y), epochs=2, head_epochs=1, callbacks=[notes], verbose=0)
    assert changed(notes.epochs[0], notes.epochs[2]) == {"top", "high", "low"}


def test_the_base_learns_at_the_lower_rate():
    steps = []
    for multiplier in (1.0, 0.01):
        model, notes = make_model(), Snapshots()
        model.set_weights([np.full(w.shape, 0.3) for w in model.get_weights()])
        fine_tune(
            model, (X, Y), head_epochs=0, epochs=1, learning_rate_multiplier=multiplier,
            batch_size=60, callbacks=[notes], verbose=0,
        )  # fmt: skip
        steps.append(notes.epochs[0]["high/kernel"] - np.float32(0.3))
        top = notes.epochs[0]["top/kernel"]
    np.testing.assert_allclose(steps[1], steps[0] * 0.01, rtol=1e-2)
    assert np.abs(top - 0.3).max() > 1e-4


def test_the_history_is_that_of_both_parts():
    data = ArrayDataset(X, Y, batch_size=20)
    history = fine_tune(make_model("adam"), data, data, 3, 2, verbose=0)
    assert history.epoch == [0, 1, 2, 3, 4]
    assert len(history.history["val_accuracy"]) == 5


def test_epochs_are_counted_from_the_initial_one():
    first = fine_tune(make_model(), (X, Y), head_epochs=1, epochs=2, initial_epoch=4, verbose=0)
    assert first.epoch == [4, 5, 6]


def test_without_a_model_within_the_frozen_layers_are_the_base():
    names = ("low", "high", "top")
    model = Sequential([Input((5,)), *[layers.Dense(1, name=name) for name in names]])
    model.compile("sgd", "mse")
    model.freeze(until="high")
    fine_tune(model, (X, Y), epochs=1, head_epochs=1, from_layer="high", verbose=0)
    multipliers = {layer.name: layer.learning_rate_multiplier for layer in model.layers}
    assert multipliers == {"low": 0.1, "high": 0.1, "top": 1.0}
    assert [layer.trainable for layer in model.layers] == [False, True, True]


def test_a_second_call_begins_with_the_head_again():
    model = make_model()
    fine_tune(model, (X, Y), head_epochs=1, epochs=1, from_layer="high", verbose=0)
    notes = Snapshots()
    fine_tune(model, (X, Y), head_epochs=2, epochs=0, callbacks=[notes], verbose=0)
    assert changed(*notes.epochs) == {"top"}


def test_a_loaded_model_has_its_base(tmp_path):
    make_model().save(tmp_path / "m.h5")
    model, notes = load_model(tmp_path / "m.h5"), Snapshots()
    fine_tune(model, (X, Y), head_epochs=2, epochs=0, callbacks=[notes], verbose=0)
    assert changed(*notes.epochs) == {"top"}


def test_a_head_layer_that_the_user_froze_stays_frozen():
    model = make_model()
    model.add(layers.Dense(1, activation="sigmoid", name="last"))
    model.compile("sgd", "binary_crossentropy")
    model.get_layer("top").trainable = False
    fine_tune(model, (X, Y), epochs=1, head_epochs=1, from_layer="high", verbose=0)
    assert not model.get_layer("top").trainable
    assert model.get_layer("high").trainable


def test_weighted_samples():
    history = fine_tune(make_model(), (X, Y, np.ones(60)), head_epochs=1, epochs=1, verbose=0)
    assert len(history.epoch) == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"from_layer": "top"}, "layer of the base"),
        ({"from_layer": "base"}, "layer of the base"),
        ({"learning_rate_multiplier": float("nan")}, "learning_rate_multiplier"),
        ({"learning_rate_multiplier": -3}, "learning_rate_multiplier"),
        ({"epochs": -1}, "epochs"),
        ({"head_epochs": "a"}, "head_epochs"),
        ({"resume": True}, "resume"),
        ({"initial_epoch": -1}, "initial_epoch"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_trained(arguments, words):
    model = make_model()
    before = model.get_weights()
    with pytest.raises((ValueError, TypeError), match=words):
        fine_tune(model, (X, Y), **arguments, verbose=0)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_is_wrong_is_said_before_anything_is_trained():
    model = make_model()
    before = model.get_weights()
    with pytest.raises(ValueError, match="nothing"):
        fine_tune(model, (X, Y), from_layer="nothing", verbose=0)
    plain = Sequential([Input((5,)), layers.Dense(1)])
    plain.compile("sgd", "mse")
    with pytest.raises(ValueError, match="no base"):
        fine_tune(plain, (X, Y))
    plain.trainable = False
    with pytest.raises(ValueError, match="no head"):
        fine_tune(plain, (X, Y))
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_keywords_of_version_0_1_mean_the_same():
    histories = []
    for keywords in (
        {"validation_data": (X, Y), "from_layer": "high", "learning_rate_multiplier": 0.5},
        {"val": (X, Y), "unfreeze_from": "high", "lr_multiplier": 0.5},
    ):
        model = make_model()
        model.seed = 1
        model.set_weights([np.full(w.shape, 0.3) for w in model.get_weights()])
        history = fine_tune(model, (X, Y), head_epochs=1, epochs=1, verbose=0, **keywords)
        histories.append(history.history)
        assert model.get_layer("high").learning_rate_multiplier == 0.5
    assert histories[0] == histories[1]
    assert "val_loss" in histories[0]
