"""``minidl evaluate``: metrics and confusion matrix of saved models."""

import json

import numpy as np
import pytest
from support.commands import refused, run
from support.tiny import make_photos

import minidl
from minidl import Input, Sequential, layers
from minidl.data import ImageFolder


def logits_model(path, outputs, scale=1.0):
    """Save a model whose loss takes logits, and return it."""
    dense = layers.Dense(outputs, use_bias=False)
    model = Sequential([Input((32, 32, 3)), layers.Rescaling(scale), layers.Flatten(), dense])
    name = "BinaryCrossentropy" if outputs == 1 else "SparseCategoricalCrossentropy"
    model.compile("sgd", getattr(minidl.losses, name)(from_logits=True), metrics=["accuracy"])
    model.save(path)
    return model


def test_evaluate_prints_metrics_and_confusion_matrix(photos, trained, capsys):
    assert run("evaluate", trained, photos) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{photos}: loss ")
    assert [line.split(":")[0].strip() for line in lines[1:]] == ["cats", "dogs"]


def test_evaluate_prints_json(photos, trained, capsys):
    assert run("evaluate", trained, photos, "--json") == 0
    results = json.loads(capsys.readouterr().out)
    assert list(results) == ["loss", "accuracy", "class_names", "confusion_matrix"]
    counts = np.array(results["confusion_matrix"])
    assert counts.sum(axis=1).tolist() == [10, 10]
    assert results["accuracy"] == pytest.approx(np.trace(counts) / 20)
    expected = minidl.load_model(trained).evaluate(
        ImageFolder(photos, (32, 32), shuffle=False), return_dict=True
    )
    assert results["loss"] == pytest.approx(expected["loss"], rel=1e-6)


def test_other_classes_are_refused(trained, tmp_path, capsys):
    other = make_photos(tmp_path / "other", classes=("birds", "fish"))
    line = refused(capsys, "evaluate", trained, other)
    assert "['cats', 'dogs']" in line
    assert "birds" in line


def test_model_without_class_names_is_evaluated(photos, photo, tmp_path, capsys):
    model = Sequential([Input((32, 32, 3)), layers.Flatten(), layers.Dense(2)])
    path = tmp_path / "m.h5"
    model.save(path)
    assert "compile" in refused(capsys, "evaluate", path, photos)
    loss = minidl.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss, metrics=["accuracy"])
    model.save(path)
    assert run("evaluate", path, photos) == 0
    assert "cats: " in capsys.readouterr().out
    assert run("predict", path, photo) == 0
    assert "class_" in capsys.readouterr().out


@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize("scale", [1.0, 1e-4])  # logits far outside 0..1, and all within
def test_logits_become_probabilities(outputs, scale, photos, tmp_path, capsys):
    minidl.set_random_seed(1)
    path = tmp_path / "m.h5"
    model = logits_model(path, outputs, scale)
    files = sorted((photos / "cats").iterdir()) + sorted((photos / "dogs").iterdir())
    assert run("predict", path, *files, "--json") == 0
    items = json.loads(capsys.readouterr().out)
    z = model.predict(np.stack([minidl.data.load_image(file) for file in files])).astype(float)
    difference = z[:, 0] if outputs == 1 else z[:, 1] - z[:, 0]
    expected = 1 / (1 + np.exp(-difference))
    p = [item["probabilities"]["class_1"] for item in items]
    # Logits of some hundreds, summed in float32, differ by 1e-5 with the size of the batch.
    np.testing.assert_allclose(p, expected, atol=1e-4)
    assert [item["class"] for item in items] == [f"class_{int(d > 0)}" for d in difference]
    assert run("evaluate", path, photos, "--json") == 0
    results = json.loads(capsys.readouterr().out)
    assert results["accuracy"] == pytest.approx(np.trace(results["confusion_matrix"]) / 20)
    assert np.sum(results["confusion_matrix"], axis=0)[1] == (difference > 0).sum()


def test_outputs_that_are_not_probabilities_are_refused(photos, photo, tmp_path, capsys):
    path = tmp_path / "m.h5"
    model = logits_model(path, 1)
    model.compile("sgd", "mse", metrics=["accuracy"])
    model.save(path)
    for command in (["predict", path, photo], ["evaluate", path, photos]):
        line = refused(capsys, *command)
        assert "expected probabilities 0..1" in line
        assert "from_logits=True" in line


def test_model_saved_without_a_loss_is_evaluated(photos, tmp_path, capsys):
    model = Sequential([Input((8, 8, 3)), layers.Flatten(), layers.Dense(1, "sigmoid")])
    model.save(tmp_path / "bare.h5")
    assert run("evaluate", tmp_path / "bare.h5", photos, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    counts = np.array(found["confusion_matrix"])
    assert found["accuracy"] == pytest.approx(np.trace(counts) / counts.sum())
