"""``minidl train --base``: transfer learning from the command line."""

import json

import numpy as np
import pytest
from support.commands import refused, run

from minidl import load_model
from minidl.applications import InceptionV3

TRANSFER = ("--image-size", 75, "--batch-size", 8)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Random weights up to mixed1. The content decides the format, not the name."""
    path = tmp_path_factory.mktemp("weights") / "weights.bin"
    InceptionV3(weights=None, include_top=False, until="mixed1").save_weights(path)
    return path


def train(photos, weights, output, *more):
    return run(
        "train",
        photos,
        "--base",
        "inception_v3",
        "--weights",
        weights,
        "--until",
        "mixed1",
        *TRANSFER,
        "--epochs",
        2,
        "--output",
        output,
        *more,
    )


def test_transfer_model_is_trained_saved_used_and_resumed(photos, weights, tmp_path, capsys):
    output = tmp_path / "model.h5"
    assert train(photos, weights, output, "--test", photos) == 0
    assert "accuracy" in capsys.readouterr().out
    model = load_model(output)
    base = InceptionV3(weights=weights, include_top=False, until="mixed1")
    frozen = [p for p in model.weights if not p.trainable]
    for ours, theirs in zip(frozen, base.weights, strict=True):
        np.testing.assert_array_equal(ours.value, theirs.value)
    assert [p.path for p in model.trainable_weights] == ["dense/kernel", "dense/bias"]

    photo = sorted((photos / "cats").iterdir())[0]
    assert run("predict", output, photo, "--json") == 0
    (answer,) = json.loads(capsys.readouterr().out)
    assert answer["class"] in ("cats", "dogs")

    assert run("train", photos, "--output", output, "--resume", "--epochs", 3) == 0
    assert "Epoch 3/3" in capsys.readouterr().out
    assert load_model(output).epochs_seen == 3


def test_augmented_passes_add_augmentation_layers(photos, weights, tmp_path):
    assert train(photos, weights, tmp_path / "a.h5", "--augmented-passes", 2) == 0
    names = [layer.name for layer in load_model(tmp_path / "a.h5").layers]
    assert "random_flip" in names


def test_options_without_effect_are_refused(photos, weights, tmp_path, capsys):
    base = ("train", photos, "--base", "inception_v3", *TRANSFER, "--weights")
    assert "--no-augmentation" in refused(capsys, *base, weights, "--no-augmentation")
    assert "no layer with weights" in refused(capsys, *base, weights, "--until", "preprocessing")
    assert "--weights" in refused(capsys, *base, "")
    message = refused(capsys, *base, weights, "--output", tmp_path / "none" / "model.h5")
    assert "does not exist" in message


def test_options_of_a_base_need_one(photos, capsys):
    for option, value in (("--weights", "w.h5"), ("--until", "mixed8"), ("--augmented-passes", 2)):
        assert f"{option}: only valid with" in refused(
            capsys, "train", photos, "--base", "none", option, value
        )


def test_wrong_weights_are_refused_before_training(photos, weights, tmp_path, capsys):
    message = refused(
        capsys,
        "train",
        photos,
        "--base",
        "vgg16",
        "--weights",
        weights,
        *TRANSFER,
        "--output",
        tmp_path / "model.h5",
    )
    assert "block1_conv1" in message
    assert str(weights) in message
    message = refused(
        capsys,
        "train",
        photos,
        "--base",
        "inception_v3",
        "--weights",
        tmp_path / "none.h5",
        *TRANSFER,
    )
    assert "none.h5" in message
    message = refused(
        capsys,
        "train",
        photos,
        "--base",
        "inception_v3",
        "--weights",
        weights,
        "--until",
        "mixd1",
        *TRANSFER,
    )
    assert "mixed1" in message
    assert not (tmp_path / "model.h5").exists()


def test_other_weights_on_resume_are_refused(photos, weights, tmp_path, capsys):
    output = tmp_path / "model.h5"
    assert train(photos, weights, output) == 0
    capsys.readouterr()
    message = refused(capsys, "train", photos, "--output", output, "--resume", "--base", "vgg16")
    assert "--base inception_v3" in message
