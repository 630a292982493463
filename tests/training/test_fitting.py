"""The epoch loop of ``Model.fit``: argument checks, validation data, and warnings."""

import numpy as np
import pytest
from support.tiny import assert_same_arrays, blobs, classifier, refused

import minidl
from minidl import Input, Sequential, callbacks, layers
from minidl.common.errors import DataError

X, Y = blobs()


def test_validation_data_take_precedence_over_validation_split():
    seen = []
    look = callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: seen.append(batch))
    model = classifier()
    history = model.fit(
        X,
        Y,
        validation_split=0.5,
        validation_data=(X[:9], Y[:9]),
        batch_size=8,
        callbacks=[look],
        verbose=0,
    ).history
    assert len(seen) == 5  # nothing is held back
    expected = model.evaluate(X[:9], Y[:9], return_dict=True)["loss"]
    assert history["val_loss"] == [pytest.approx(expected, rel=1e-6)]


def with_names(*names):
    data = minidl.data.ArrayDataset(X, Y)
    data.class_names = names
    return data


def test_fit_stores_the_class_names(tmp_path):
    model = classifier()
    model.fit(with_names("cat", "dog"), verbose=0)
    model.save(tmp_path / "a.h5")
    assert minidl.load_model(tmp_path / "a.h5").metadata == {"class_names": ["cat", "dog"]}
    model.fit(with_names("chat", "chien"), verbose=0)
    assert model.metadata["class_names"] == ["cat", "dog"]  # the first, or the user's own


def test_other_classes_in_the_validation_data_are_refused():
    model = classifier()
    before = model.get_weights()
    with refused(DataError, "validation_data", "['cat', 'dog']", "['dog', 'cat']"):
        model.fit(with_names("cat", "dog"), validation_data=with_names("dog", "cat"), verbose=0)
    assert_same_arrays(model.get_weights(), before)
    assert model.metadata == {}
    model.fit(with_names("cat", "dog"), validation_data=(X, Y), verbose=0)
    model.fit(with_names("cat", "dog"), validation_data=with_names("cat", "dog"), verbose=0)


def test_validation_freq():
    history = (
        classifier()
        .fit(X, Y, epochs=5, validation_data=(X, Y), validation_freq=2, verbose=0)
        .history
    )
    assert len(history["loss"]) == 5
    assert len(history["val_loss"]) == 2


def test_validation_steps():
    model = classifier()
    model.optimizer.learning_rate = 0.0
    history = model.fit(
        X, Y, validation_data=(X, Y), validation_batch_size=8, validation_steps=1, verbose=0
    ).history
    expected = model.evaluate(X[:8], Y[:8], return_dict=True)["loss"]
    assert history["val_loss"] == [pytest.approx(expected, rel=1e-6)]


def test_initial_epoch_is_the_first_epoch_number():
    seen = []
    watch = callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: seen.append(epoch))
    classifier().fit(X, Y, initial_epoch=2, epochs=5, callbacks=[watch], verbose=0)
    assert seen == [2, 3, 4]


def test_a_constant_loss_is_reported():
    model = Sequential([Input((2,)), layers.Dense(3, activation="relu"), layers.Dense(1)])
    model.layers[0].set_weights([np.zeros((2, 3)), -np.ones(3)])  # every ReLU is dead
    model.layers[1].set_weights([np.ones((3, 1)), np.zeros(1)])
    model.layers[1].trainable = False
    model.compile("sgd", "mse")
    with pytest.warns(UserWarning, match="stayed at exactly 1 for an epoch"):
        model.fit(np.ones((4, 2)), np.ones((4, 1)), epochs=2, verbose=0)


@pytest.mark.parametrize("name", ["epochs", "initial_epoch", "augmented_passes"])
@pytest.mark.parametrize("value", [-1, 1.5, "3"])
def test_counts_are_checked_before_training(name, value):
    model = classifier()
    with refused((TypeError, ValueError), "fit", name, repr(value)):
        model.fit(X, Y, **{name: value}, verbose=0)
    assert model.optimizer.iterations == 0


def test_validation_data_of_another_length_are_refused():
    with refused(DataError, "validation_data", "tuple of 1"):
        classifier().fit(X, Y, validation_data=(X,), verbose=0)


def test_a_source_without_batches_is_refused():
    with refused(DataError, "at least one batch"):
        classifier().fit(iter([]), verbose=0)
