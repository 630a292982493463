"""ModelCheckpoint, driven by scripted logs."""

import warnings

import numpy as np
import pytest
from support.scripted import Script, X, Y, fit
from support.tiny import assert_same_arrays, classifier, refused

import minidl
from minidl.callbacks import (
    LambdaCallback,
    ModelCheckpoint,
    ReduceLROnPlateau,
)


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
