"""The phases of ``minidl train``: class weights, early stopping, fine-tuning, resuming in each."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image
from support.commands import interrupt_at, refused, run
from support.tiny import assert_same_arrays

from minidl import load_model
from minidl.applications import PetsNet
from minidl.cli.run_folder import find_runs

HEAD = ["--base", "pets_net", "--image-size", 32, "--batch-size", 8]
TUNED = [*HEAD, "--epochs", 2, "--fine-tune-epochs", 2, "--fine-tune", "stage3_block1_2_conv"]


def changed_layers(path):
    """Return the layers of a model whose weights are not those of PetsNet."""
    model, original = load_model(path), PetsNet(include_top=False)
    return {
        layer.name
        for layer in original.layers
        if layer.parameters
        for a, b in zip(model.get_layer(layer.name).get_weights(), layer.get_weights(), strict=True)
        if not np.array_equal(a, b)
    }


@pytest.fixture(scope="module")
def tuned(photos, tmp_path_factory):
    """A model file after two epochs of its head and two of fine-tuning, with its run folder."""
    path = tmp_path_factory.mktemp("tuned") / "m.h5"
    assert run("train", photos, *TUNED, "--output", path, "--runs", path.parent / "runs") == 0
    return path


def test_fine_tuning_trains_the_convolutions_from_the_layer_upwards(tuned):
    # In the order of the model, the projection of the shortcut follows this layer.
    assert changed_layers(tuned) == {"stage3_block1_2_conv", "stage3_block1_0_conv"}
    model = load_model(tuned)
    assert model.get_layer("stage3_block1_2_conv").learning_rate_multiplier == 0.1
    assert model.optimizer.learning_rate == pytest.approx(1e-4)  # a hundredth of the head's


def test_both_phases_are_in_one_run(tuned):
    (found,), _ = find_runs(tuned.parent / "runs")
    assert [row["epoch"] for row in found.metrics] == [0, 1, 2, 3]
    assert (found.summary()["epochs"], found.summary()["planned"]) == (4, 4)
    losses = [row["val_loss"] for row in found.metrics]
    assert load_model(found.folder / "best.h5").epochs_seen == 1 + int(np.argmin(losses))


@pytest.mark.parametrize("step", [1, 3, 5], ids=["head", "fine-tuning 1", "fine-tuning 2"])
def test_training_resumes_in_the_phase_in_which_it_was_interrupted(
    step, photos, tuned, tmp_path, monkeypatch
):
    """Each epoch has two steps; the optimizer of the second phase counts its own."""
    path = tmp_path / "m.h5"
    if step == 1:
        interrupt_at(monkeypatch, step=3)
    else:
        interrupt_after(monkeypatch, epochs=step // 2 + 1)
    assert run("train", photos, *TUNED, "--output", path) == 1
    monkeypatch.undo()
    assert run("train", photos, "--resume", "--output", path) == 0
    assert_same_arrays(load_model(path).get_weights(), load_model(tuned).get_weights())


def interrupt_after(monkeypatch, epochs):
    """Interrupt the next training after a number of epochs of both phases."""
    from minidl.training.trainer import Trainer

    train_step = Trainer.train_step

    def interrupted(self, *arguments):
        if self.model.epochs_seen == epochs:
            raise KeyboardInterrupt
        return train_step(self, *arguments)

    monkeypatch.setattr(Trainer, "train_step", interrupted)


def test_fine_tuning_can_be_added_to_a_finished_training(photos, tuned, tmp_path, capsys):
    path = tmp_path / "m.h5"
    assert run("train", photos, *HEAD, "--epochs", 2, "--output", path) == 0
    assert changed_layers(path) == set()
    assert run("train", photos, "--resume", *TUNED[-4:], "--output", path) == 0
    assert_same_arrays(load_model(path).get_weights(), load_model(tuned).get_weights())
    assert run("train", photos, "--resume", "--fine-tune-epochs", 3, "--output", path) == 0
    assert "Epoch 5/5" in capsys.readouterr().out
    assert load_model(path).epochs_seen == 5


def test_without_a_layer_the_upper_fifth_is_trained(photos, tmp_path, capsys):
    command = ["train", photos, *HEAD, "--epochs", 1, "--fine-tune-epochs", 1, "--fine-tune"]
    assert run(*command, "--output", tmp_path / "m.h5") == 0
    assert "Fine-tuning from stage3_block1" in capsys.readouterr().out
    assert changed_layers(tmp_path / "m.h5") <= {f"stage3_block1_{i}_conv" for i in range(3)}


def test_impossible_fine_tuning_is_refused_before_training(photos, tuned, tmp_path, capsys):
    path = tmp_path / "m.h5"
    shutil.copy(tuned, path)
    before = path.read_bytes()
    for arguments, words in (
        (["--base", "none", "--fine-tune", "x"], "--fine-tune: only valid with a base"),
        (["--base", "none", "--fine-tune-epochs", 2], "--fine-tune-epochs: only valid with"),
        ([*HEAD, "--fine-tune", "conv9"], "received 'conv9'"),
        ([*HEAD, "--fine-tune", "dense"], "layer of the base"),
        (["--resume", "--fine-tune", "stage3_block1_1_conv"], "began with --fine-tune stage3"),
        (["--resume", "--epochs", 9], "fine-tuning has begun"),
    ):
        assert words in refused(capsys, "train", photos, *arguments, "--output", path)
    assert path.read_bytes() == before


def test_fine_tuning_from_scratch_is_refused_on_resume(photos, trained, tmp_path, capsys):
    shutil.copy(trained, tmp_path / "m.h5")
    command = ["train", photos, "--resume", "--output", tmp_path / "m.h5", "--fine-tune"]
    assert "one from scratch" in refused(capsys, *command)


def test_early_stopping_keeps_the_best_epoch(photos, tmp_path, capsys):
    path, runs = tmp_path / "m.h5", tmp_path / "runs"
    command = ["train", photos, *HEAD, "--epochs", 50, "--learning-rate", 0.5]
    assert run(*command, "--early-stopping", 2, "--output", path, "--runs", runs) == 0
    assert "early stopping" in capsys.readouterr().out
    (found,), _ = find_runs(runs)
    losses = [row["val_loss"] for row in found.metrics]
    assert len(losses) == int(np.argmin(losses)) + 3 < 50
    best, model = load_model(found.folder / "best.h5"), load_model(path)
    assert_same_arrays(best.get_weights(), model.get_weights())
    assert_same_arrays(load_model(found.folder / "last.h5").get_weights(), model.get_weights())
    # It had ended: a resumed training adds no epoch.
    assert run("train", photos, "--resume", "--output", path, "--runs", runs) == 0
    assert len(find_runs(runs)[0][0].metrics) == len(losses)


def test_early_stopping_needs_validation_photos(photos, tmp_path, capsys):
    command = ["train", photos, "--early-stopping", 2, "--validation-split", 0]
    assert "--validation-split 0" in refused(capsys, *command, "--output", tmp_path / "m.h5")


def test_balanced_class_weights_cancel_the_frequencies(tmp_path, capsys):
    """All photos are equal, so that a classifier can learn nothing but the share of a class."""
    photo = Image.fromarray(np.full((32, 32, 3), 128, np.uint8))
    for i in range(16):
        folder = tmp_path / "photos" / ("cats" if i < 12 else "dogs")
        folder.mkdir(parents=True, exist_ok=True)
        photo.save(folder / f"{i}.png")
    found = {}
    for given in ([], ["--class-weight", "balanced"]):
        path = tmp_path / "m.h5"
        command = ["train", tmp_path / "photos", *HEAD, "--epochs", 60, "--validation-split", 0]
        command += ["--learning-rate", 0.1]
        assert run(*command, *given, "--output", path) == 0
        capsys.readouterr()
        assert run("predict", path, tmp_path / "photos" / "cats" / "0.png", "--json") == 0
        (answer,) = json.loads(capsys.readouterr().out)
        found[len(given)] = answer["probabilities"]["dogs"]
    assert found[0] == pytest.approx(0.25, abs=0.08)
    assert found[2] == pytest.approx(0.5, abs=0.08)
