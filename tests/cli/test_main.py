"""The command line, as its user meets it: what it prints, where, and its exit codes."""

import argparse
import json
import os
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.tiny import assert_same_arrays, make_photos, pictures

import minidl
from minidl import Input, Sequential, datasets, layers
from minidl.cli.main import _parser, main
from minidl.data import ImageFolder
from minidl.training.trainer import Trainer

SMALL = ["--image-size", "32", "--batch-size", "8"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return make_photos(tmp_path_factory.mktemp("photos"), count=10)


@pytest.fixture(scope="module")
def trained(photos, tmp_path_factory):
    """A model file after two epochs."""
    path = tmp_path_factory.mktemp("trained") / "model.h5"
    assert main(["train", str(photos), "--epochs", "2", *SMALL, "--output", str(path)]) == 0
    return path


@pytest.fixture
def photo(photos):
    return sorted((photos / "cats").iterdir())[0]


def run(*arguments):
    return main([str(argument) for argument in arguments])


def refused(capsys, *arguments):
    """Run a command that fails for its data; return what it complains, which is one line."""
    assert run(*arguments) == 1
    out, err = capsys.readouterr()
    lines = [line for line in err.splitlines() if "warning" not in line]
    assert len(lines) == 1
    assert lines[0].startswith("minidl: ")
    assert "Traceback" not in out + err
    return lines[0]


def wrong_usage(capsys, *arguments):
    """Run a command that is wrong in itself; return the complaint."""
    with pytest.raises(SystemExit) as exit_:
        run(*arguments)
    assert exit_.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


# demo


def test_demo(tmp_path, monkeypatch, capsys):
    draw = datasets.cartoon_pets

    def few(n, size, seed):  # drawing thousands takes a while: draw a few again and again
        x, y = draw(20, size=size, seed=seed)
        return np.resize(x, (n, *x.shape[1:])), np.resize(y, n)

    monkeypatch.setattr(datasets, "cartoon_pets", few)
    folder = tmp_path / "demo"
    assert run("demo", "--epochs", 1, "--output", folder) == 0
    out, err = capsys.readouterr()
    assert "Epoch 1/1" in out
    assert "Test accuracy on 500 new pictures: " in out
    assert err == ""
    assert sorted(p.name for p in folder.iterdir()) == ["curves.png", "pets.h5", "predictions.png"]
    for name in ("curves.png", "predictions.png"):
        with Image.open(folder / name) as image:
            assert image.width > 300
    assert f"minidl predict {folder / 'pets.h5'}" in out
    x, _ = draw(1, size=64, seed=5)
    Image.fromarray(x[0]).save(tmp_path / "pet.png")
    assert run("predict", folder / "pets.h5", tmp_path / "pet.png") == 0


def test_demo_into_a_file_is_refused(tmp_path, capsys):
    (tmp_path / "taken").write_text("")
    assert "taken" in refused(capsys, "demo", "--output", tmp_path / "taken")


# train


def test_train_writes_a_model_and_curves_and_tests_it(photos, tmp_path, capsys):
    test = make_photos(tmp_path / "test", count=4, seed=1)
    model, curves = tmp_path / "m.h5", tmp_path / "curves.png"
    code = run(
        "train", photos, "--epochs", 1, *SMALL, "--test", test, "--output", model, "--plot", curves
    )
    assert code == 0
    out, err = capsys.readouterr()
    assert "16 photos of cats, dogs" in out  # 20, less a fifth for validation
    assert "Epoch 1/1" in out
    assert "val_accuracy" in out
    assert f"Model: {model}" in out
    assert f"{test}: loss " in out
    assert "as cats, " in out
    assert err == ""
    assert minidl.load_model(model).metadata["class_names"] == ["cats", "dogs"]
    with Image.open(curves) as image:
        assert image.width > 300


def weights(path):
    return minidl.load_model(path).get_weights()


def interrupt_at(monkeypatch, step):
    """Let the next training receive Ctrl-C at that step."""
    train_step = Trainer.train_step

    def interrupted(self, *arguments):
        if self.optimizer.iterations == step:
            raise KeyboardInterrupt
        return train_step(self, *arguments)

    monkeypatch.setattr(Trainer, "train_step", interrupted)


def test_train_resumes_after_ctrl_c_as_if_nothing_had_happened(
    photos, tmp_path, monkeypatch, capsys
):
    whole, parts = tmp_path / "whole.h5", tmp_path / "parts.h5"
    command = ["train", photos, "--epochs", 3, *SMALL]
    assert run(*command, "--output", whole) == 0
    interrupt_at(monkeypatch, step=5)  # of six: in the third epoch
    curves = tmp_path / "curves.png"
    assert run(*command, "--output", parts, "--plot", curves) == 1
    monkeypatch.undo()
    out = capsys.readouterr().out
    assert "stopped by Ctrl-C after 2 whole epochs" in out
    assert f"Model: {parts}" in out
    assert not curves.exists()
    assert run(*command, "--output", parts, "--plot", curves, "--resume") == 0
    out = capsys.readouterr().out
    assert "Epoch 3/3" in out
    assert "Epoch 2/3" not in out
    assert curves.exists()
    assert_same_arrays(weights(parts), weights(whole))


def test_train_interrupted_at_once_promises_no_model(photos, tmp_path, monkeypatch, capsys):
    interrupt_at(monkeypatch, step=0)
    assert run("train", photos, *SMALL, "--output", tmp_path / "m.h5", "--plot", "c.png") == 1
    assert "Model:" not in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_train_resume_with_more_epochs_goes_on_learning(photos, trained, tmp_path, capsys):
    """The schedule had ended with the epochs that were planned, at a learning rate of zero."""
    path = tmp_path / "model.h5"
    shutil.copy(trained, path)
    resume = ["train", photos, "--batch-size", 8, "--output", path, "--resume"]
    assert run(*resume, "--epochs", 2) == 0
    assert "Epoch" not in capsys.readouterr().out
    assert_same_arrays(weights(path), weights(trained))
    assert run(*resume, "--epochs", 6) == 0
    model = minidl.load_model(path)
    assert model.training_state["epoch"] == 6
    assert model.metadata["training"]["epochs"] == 6  # what the next --resume goes on to
    assert model.optimizer.learning_rate.decay_steps == 12
    assert model.optimizer.learning_rate.warmup_target == 2e-3
    changes = [np.abs(a - b).max() for a, b in zip(weights(path), weights(trained), strict=True)]
    assert min(changes) > 1e-4


def test_train_resumes_with_the_options_that_the_training_began_with(photos, tmp_path, monkeypatch):
    """Another seed would move photos between training and validation."""
    whole, parts = tmp_path / "whole.h5", tmp_path / "parts.h5"
    begin = ["train", photos, "--epochs", 3, *SMALL, "--seed", 3, "--validation-split", 0.3]
    begin += ["--learning-rate", 0.01, "--no-augmentation"]
    assert run(*begin, "--output", whole) == 0
    interrupt_at(monkeypatch, step=3)  # of six: in the second epoch
    assert run(*begin, "--output", parts) == 1
    monkeypatch.undo()
    assert run("train", photos, "--resume", "--output", parts) == 0
    model = minidl.load_model(parts)
    assert model.training_state["epoch"] == 3
    assert model.metadata == minidl.load_model(whole).metadata
    assert_same_arrays(weights(parts), weights(whole))


def test_train_resume_refuses_options_that_contradict(photos, trained, capsys):
    before = trained.read_bytes()
    for option, value, began in (
        ("--seed", 3, "with --seed 0"),
        ("--batch-size", 4, "with --batch-size 8"),
        ("--image-size", 48, "with --image-size 32"),
        ("--validation-split", 0, "with --validation-split 0.2"),
        ("--learning-rate", 0.1, "with --learning-rate 0.002"),
        ("--no-augmentation", None, "without --no-augmentation"),
    ):
        given = [option] if value is None else [option, value]
        command = ["train", photos, "--resume", "--output", trained, "--epochs", 3, *given]
        line = refused(capsys, *command)
        assert f"began {began}. Omit {option}" in line
    assert trained.read_bytes() == before


def test_train_resume_refuses_a_model_of_another_kind_of_training(photos, tmp_path, capsys):
    path = tmp_path / "m.h5"
    Sequential([Input((32, 32, 3)), layers.Flatten(), layers.Dense(1, "sigmoid")]).save(path)
    line = refused(capsys, "train", photos, "--resume", "--output", path)
    assert "was not created by `minidl train`" in line


def test_train_that_diverges_says_so_and_keeps_the_model_before(photos, tmp_path, capsys):
    path = tmp_path / "m.h5"
    diverging = ["train", photos, *SMALL, "--learning-rate", 1e30, "--output", path]
    line = refused(capsys, *diverging, "--plot", tmp_path / "curves.png")
    assert "training diverged" in line
    assert "--learning-rate below 1e+30" in line
    assert not (tmp_path / "curves.png").exists()
    assert list(tmp_path.iterdir()) == []
    command = ["train", photos, *SMALL, "--epochs", 1, "--output", path]
    assert run(*command) == 0
    capsys.readouterr()
    before = weights(path)
    model = minidl.load_model(path)
    model.optimizer.learning_rate = 1e30
    model.save(path)
    line = refused(capsys, *command[:-4], "--epochs", 3, "--output", path, "--resume")
    assert f"{path} keeps the model from before" in line
    assert_same_arrays(weights(path), before)


def test_train_takes_the_image_size_and_the_classes_of_a_resumed_model(
    photos, trained, tmp_path, capsys
):
    other = make_photos(tmp_path / "other", classes=("birds", "fish"))
    line = refused(capsys, "train", other, "--epochs", 3, "--resume", "--output", trained)
    assert "['cats', 'dogs']" in line
    assert "birds" in line


def test_train_goes_on_without_files_that_cannot_be_read(photos, tmp_path, capsys):
    broken = shutil.copytree(photos, tmp_path / "broken")
    (broken / "cats" / "note.jpg").write_text("not a picture")
    (broken / "dogs" / "empty.png").write_bytes(b"")
    code = run(
        "train",
        broken,
        "--epochs",
        1,
        *SMALL,
        "--validation-split",
        0,
        "--output",
        tmp_path / "m.h5",
    )
    assert code == 0
    out, err = capsys.readouterr()
    assert "22 photos" in out
    assert err.startswith("minidl: warning: 2 of 22 files could not be read")
    assert "note.jpg" in err
    assert "empty.png" in err
    assert len(err.splitlines()) == 1  # without Python's line of source code


def test_train_refuses_what_cannot_be_trained_on(photos, tmp_path, capsys):
    empty = tmp_path / "empty"
    empty.mkdir()
    one = make_photos(tmp_path / "one", classes=("cats",))
    unreadable = tmp_path / "unreadable"
    for name in ("cats", "dogs"):
        (unreadable / name).mkdir(parents=True)
        for i in range(3):
            (unreadable / name / f"{i}.jpg").write_text("text")
    output = ["--output", tmp_path / "m.h5"]
    assert "nothing there" in refused(capsys, "train", tmp_path / "nowhere", *output)
    assert "no images" in refused(capsys, "train", empty, *output)
    assert "only 'cats'" in refused(capsys, "train", one, *output)
    assert "no classes" in refused(capsys, "train", photos / "cats", *output)
    assert "none of the" in refused(capsys, "train", unreadable, *SMALL, *output)
    assert "window" in refused(capsys, "train", photos, "--image-size", 4, *output)
    assert not (tmp_path / "m.h5").exists()


def test_train_complains_before_training_and_not_after(photos, tmp_path, capsys):
    one = make_photos(tmp_path / "one", classes=("cats",))
    for options, words in (
        (["--output", tmp_path / "nowhere" / "m.h5"], ["nowhere", "does not exist"]),
        (["--test", tmp_path / "nowhere"], ["nowhere", "nothing there"]),
        (["--test", one], ["['cats', 'dogs']", "['cats']"]),
        (["--resume", "--output", tmp_path / "none.h5"], ["none.h5", "no such file"]),
    ):
        line = refused(capsys, "train", photos, *SMALL, "--epochs", 1, *options)
        assert all(word in line for word in words)


# evaluate


def test_evaluate(photos, trained, capsys):
    assert run("evaluate", trained, photos) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{photos}: loss ")
    assert [line.split(":")[0].strip() for line in lines[1:]] == ["cats", "dogs"]


def test_evaluate_as_json(photos, trained, capsys):
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


def test_evaluate_refuses_other_classes(trained, tmp_path, capsys):
    other = make_photos(tmp_path / "other", classes=("birds", "fish"))
    line = refused(capsys, "evaluate", trained, other)
    assert "['cats', 'dogs']" in line
    assert "birds" in line


def test_a_model_from_python_without_class_names(photos, photo, tmp_path, capsys):
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


def logits_model(path, outputs, scale=1.0):
    """Save a model whose loss takes logits, and return it."""
    dense = layers.Dense(outputs, use_bias=False)
    model = Sequential([Input((32, 32, 3)), layers.Rescaling(scale), layers.Flatten(), dense])
    name = "BinaryCrossentropy" if outputs == 1 else "SparseCategoricalCrossentropy"
    model.compile("sgd", getattr(minidl.losses, name)(from_logits=True), metrics=["accuracy"])
    model.save(path)
    return model


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


def test_outputs_that_are_no_probabilities_are_refused(photos, photo, tmp_path, capsys):
    path = tmp_path / "m.h5"
    model = logits_model(path, 1)
    model.compile("sgd", "mse", metrics=["accuracy"])
    model.save(path)
    for command in (["predict", path, photo], ["evaluate", path, photos]):
        line = refused(capsys, *command)
        assert "expected probabilities 0..1" in line
        assert "from_logits=True" in line


# predict


def test_predict(trained, photos, capsys):
    files = sorted((photos / "dogs").iterdir())[:3]
    assert run("predict", trained, *files) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[0] for line in lines] == [str(file) for file in files]
    assert all(line.endswith("%") for line in lines)


def test_predict_shows_what_spoke_for_the_class(trained, photos, tmp_path, capsys):
    files = [*sorted((photos / "dogs").iterdir())[:3], tmp_path / "missing.jpg"]
    picture = tmp_path / "explained.png"
    assert run("predict", trained, *files, "--explain", picture) == 1
    assert "missing.jpg" in capsys.readouterr().err
    sheet = np.asarray(Image.open(picture))
    size = minidl.load_model(trained).input_shape[1]
    assert sheet.shape == (size + 28, 3 * 2 * size, 3)  # photo and map, beside one another
    photo = minidl.data.load_image(files[0], size)
    np.testing.assert_array_equal(sheet[28:, :size], photo)
    assert not np.array_equal(sheet[28:, size : 2 * size], photo)
    # Drawn anew over an older one, but not over what somebody else has made.
    assert run("predict", trained, files[0], "--explain", picture) == 0
    assert Image.open(picture).size == (2 * size, size + 28)


def test_an_explanation_destroys_no_photo(trained, photos, tmp_path, capsys):
    files = sorted((photos / "dogs").iterdir())
    Image.open(files[0]).save(tmp_path / "photo.png")
    before = (tmp_path / "photo.png").read_bytes()
    for place, word in (
        (tmp_path / "photo.png", "would be lost"),  # as the first of --explain *.png
        (tmp_path / "no" / "such.png", "does not exist"),
        (tmp_path / "new.jpg", "ends in .png"),
        ("", "expected the name"),
    ):
        assert word in refused(capsys, "predict", trained, files[0], "--explain", place)
    arguments = (tmp_path / "photo.png", "--explain", tmp_path / "photo.png")
    assert "also read" in refused(capsys, "predict", trained, *arguments)
    assert (tmp_path / "photo.png").read_bytes() == before


def test_an_explanation_that_fails_does_not_cost_the_answers(photo, tmp_path, capsys):
    model = Sequential([Input((8, 8, 3)), layers.Flatten(), layers.Dense(1, "sigmoid")])
    model.save(tmp_path / "flat.h5")
    assert run("predict", tmp_path / "flat.h5", photo, "--explain", tmp_path / "e.png") == 1
    shown = capsys.readouterr()
    assert str(photo) in shown.out
    assert "no layer has an output" in shown.err


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_refused_rather_than_waited_for(photo, tmp_path, capsys):
    os.mkfifo(tmp_path / "pipe")
    assert run("predict", tmp_path / "pipe", photo) == 1
    shown = capsys.readouterr()
    assert "expected an image file" in shown.err
    assert str(photo) in shown.out


def test_a_model_that_was_saved_without_a_loss_is_evaluated(photos, tmp_path, capsys):
    model = Sequential([Input((8, 8, 3)), layers.Flatten(), layers.Dense(1, "sigmoid")])
    model.save(tmp_path / "bare.h5")
    assert run("evaluate", tmp_path / "bare.h5", photos, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    counts = np.array(found["confusion_matrix"])
    assert found["accuracy"] == pytest.approx(np.trace(counts) / counts.sum())


@pytest.mark.parametrize("outputs", [1, 3])
def test_predict_as_json(outputs, photo, tmp_path, capsys):
    activation = "sigmoid" if outputs == 1 else "softmax"
    stack = [layers.Rescaling(1 / 255), layers.Flatten(), layers.Dense(outputs, activation)]
    model = Sequential([Input((32, 32, 3)), *stack])
    names = ["cats", "dogs"] if outputs == 1 else ["cats", "dogs", "fish"]
    model.metadata["class_names"] = names
    model.save(tmp_path / "m.h5")
    assert run("predict", tmp_path / "m.h5", photo, "--json") == 0
    [item] = json.loads(capsys.readouterr().out)
    assert list(item) == ["file", "class", "probability", "probabilities"]
    p = model.predict(minidl.data.load_image(photo)[None])[0].astype(float)
    p = [1 - p[0], p[0]] if outputs == 1 else p
    assert item["file"] == str(photo)
    assert list(item["probabilities"]) == names
    assert list(item["probabilities"].values()) == pytest.approx(list(p), abs=1e-6)
    assert item["class"] == names[int(np.argmax(p))]
    assert item["probability"] == max(item["probabilities"].values())


def bomb():
    """Return a PNG of a few bytes that declares 3.6 billion pixels."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(100_000))
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def test_predict_goes_on_after_files_that_cannot_be_read(trained, photo, tmp_path, capsys):
    bad = {
        "text.jpg": (b"hello", "not an image"),
        "empty.jpg": (b"", "0 bytes"),
        "bomb.png": (bomb(), "pixels"),
        "cut.png": (photo.read_bytes()[:400], "cut off"),
    }
    for name, (data, _) in bad.items():
        (tmp_path / name).write_bytes(data)
    files = [photo, *(tmp_path / name for name in bad), tmp_path / "nowhere.jpg", tmp_path]
    assert run("predict", trained, *files, "--json") == 1
    out, err = capsys.readouterr()
    good, *others = json.loads(out)
    assert good["class"] in ("cats", "dogs")
    reasons = [*(reason for _, reason in bad.values()), "No such file", "folder"]
    for item, file, reason in zip(others, files[1:], reasons, strict=True):
        assert list(item) == ["file", "error"]
        assert item["file"] == str(file)
        assert reason in item["error"]
    assert len(err.splitlines()) == len(others)
    assert run("predict", trained, *files) == 1
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 1
    assert len(err.splitlines()) == len(others)


def test_predict_refuses_what_is_no_model(photo, trained, tmp_path, capsys):
    half = tmp_path / "half.h5"
    half.write_bytes(trained.read_bytes()[: trained.stat().st_size // 2])
    assert "damaged or cut off" in refused(capsys, "predict", half, photo)
    assert "no such file" in refused(capsys, "predict", tmp_path / "nowhere.h5", photo)
    (tmp_path / "note.h5").write_text("no model")
    assert "not a minidl" in refused(capsys, "predict", tmp_path / "note.h5", photo)
    assert "folder" in refused(capsys, "predict", tmp_path, photo)


def test_predict_refuses_a_model_that_takes_no_images_or_gives_no_classes(photo, tmp_path, capsys):
    path = tmp_path / "m.h5"
    Sequential([Input((3,)), layers.Dense(1)]).save(path)
    assert "does not take images" in refused(capsys, "predict", path, photo)
    Sequential([Input((32, 32, 3)), layers.Conv2D(2, 1)]).save(path)
    assert "not a classifier" in refused(capsys, "predict", path, photo)
    model = Sequential([Input((32, 32, 3)), layers.Flatten(), layers.Dense(3, "softmax")])
    model.metadata["class_names"] = ["cats", "dogs"]
    model.save(path)
    assert "2 class names for 3 classes" in refused(capsys, "predict", path, photo)


# info, usage


def test_info(capsys):
    assert run("info") == 0
    text = capsys.readouterr().out
    assert run("info", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["minidl"] == minidl.__version__
    assert facts["threads"] == minidl.get_num_threads()
    for name, value in facts.items():
        assert f"{name:13} {value}" in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["COMMAND"]),
        (["fly"], ["'fly'", "train"]),
        (["train"], ["DIR"]),
        (["predict", "model.h5"], ["IMAGE"]),
        (["train", "x", "--epochs", "0"], ["--epochs", "from 1", "'0'"]),
        (["train", "x", "--epochs", "many"], ["--epochs", "an integer", "'many'"]),
        (["train", "x", "--validation-split", "1.5"], ["--validation-split", "'1.5'"]),
        (["train", "x", "--learning-rate", "nan"], ["--learning-rate", "'nan'"]),
        (["train", "x", "--seed", "-1"], ["--seed", "'-1'"]),
        (["demo", "--colour", "red"], ["--colour"]),
    ],
)
def test_a_wrong_command_ends_with_2(arguments, words, capsys):
    message = wrong_usage(capsys, *arguments)
    assert "error" in message
    for word in words:
        assert word in message


@pytest.mark.parametrize("command", ["demo", "train", "evaluate", "predict", "check", "info"])
def test_each_command_has_help(command, capsys):
    with pytest.raises(SystemExit) as exit_:
        run(command, "--help")
    assert exit_.value.code == 0
    assert f"usage: minidl {command}" in capsys.readouterr().out


def test_each_option_is_explained_with_its_default():
    (commands,) = (a for a in _parser()._actions if isinstance(a, argparse._SubParsersAction))
    for name, command in commands.choices.items():
        for action in command._actions:
            if isinstance(action, argparse._SubParsersAction):
                assert all(choice.help for choice in action._choices_actions)
                continue
            assert action.help, f"{name} {action.option_strings or action.dest}"
            takes_number = action.type is not None
            told = "default: " in (action.help or "") or action.dest == "name"
            assert not takes_number or told, f"{name} {action.dest}"
    text = " ".join(commands.choices["train"].format_help().split())
    for default in ("30", "96", "32", "0.002", "0.2", "0", "model.h5"):
        assert f"(default: {default}" in text


def test_demo_interrupted(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(datasets, "cartoon_pets", lambda n, **_: pictures(n, 64))
    interrupt_at(monkeypatch, step=0)
    assert run("demo", "--output", tmp_path / "demo") == 1
    assert capsys.readouterr().err == "minidl: stopped\n"


def test_ctrl_c_ends_with_1_and_no_traceback(photos, tmp_path, monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("minidl.data.ImageFolder", interrupted)
    assert run("train", photos, "--output", tmp_path / "m.h5") == 1
    assert capsys.readouterr().err == "minidl: stopped\n"


def test_as_a_module():
    result = subprocess.run(
        [sys.executable, "-m", "minidl", "--help"], capture_output=True, text=True, check=True
    )
    for command in ("demo", "train", "evaluate", "predict", "info"):
        assert command in result.stdout


def test_the_console_script(trained, photo, tmp_path):
    script = Path(sys.executable).parent / ("minidl.exe" if os.name == "nt" else "minidl")
    if not script.exists():
        pytest.skip("minidl is not installed, only importable")
    result = subprocess.run(
        [script, "predict", trained, photo, tmp_path / "nowhere.png", "--json"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 1
    assert [sorted(item)[0] for item in json.loads(result.stdout)] == ["class", "error"]
    assert result.stderr.splitlines() == [
        f"minidl: {tmp_path / 'nowhere.png'}: cannot be opened (No such file or directory)"
    ]


def test_a_reader_that_has_seen_enough_is_no_error():
    command = [sys.executable, "-m", "minidl", "info"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
