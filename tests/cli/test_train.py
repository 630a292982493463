"""``minidl train``: results, resumed trainings, errors."""

import shlex
import shutil
import sys

import numpy as np
import pytest
from PIL import Image
from support.commands import SMALL, interrupt_at, refused, run
from support.pages import check_figures, read_report
from support.tiny import assert_same_arrays, make_photos

import minidl
from minidl import Input, Sequential, layers
from minidl.cli.main import main


def weights(path):
    return minidl.load_model(path).get_weights()


def test_train_writes_model_and_curves_and_evaluates(photos, tmp_path, capsys):
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


def test_resumed_training_equals_an_uninterrupted_one(photos, tmp_path, monkeypatch, capsys):
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


def test_interruption_before_the_first_epoch_writes_no_model(photos, tmp_path, monkeypatch, capsys):
    interrupt_at(monkeypatch, step=0)
    assert run("train", photos, *SMALL, "--output", tmp_path / "m.h5", "--plot", "c.png") == 1
    assert "Model:" not in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_resume_with_more_epochs_extends_the_schedule(photos, trained, tmp_path, capsys):
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
    assert model.metadata["training"]["epochs"] == 6  # the default of the next --resume
    assert model.optimizer.learning_rate.decay_steps == 12
    assert model.optimizer.learning_rate.warmup_target == 2e-3
    changes = [np.abs(a - b).max() for a, b in zip(weights(path), weights(trained), strict=True)]
    assert min(changes) > 1e-4


def test_resume_uses_the_original_options(photos, tmp_path, monkeypatch):
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


def test_resume_refuses_contradicting_options(photos, trained, capsys):
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


def test_resume_refuses_a_model_of_other_origin(photos, tmp_path, capsys):
    path = tmp_path / "m.h5"
    Sequential([Input((32, 32, 3)), layers.Flatten(), layers.Dense(1, "sigmoid")]).save(path)
    line = refused(capsys, "train", photos, "--resume", "--output", path)
    assert "was not created by `minidl train`" in line


def test_diverged_training_keeps_the_previous_model(photos, tmp_path, capsys):
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


def test_resume_refuses_other_classes(photos, trained, tmp_path, capsys):
    other = make_photos(tmp_path / "other", classes=("birds", "fish"))
    line = refused(capsys, "train", other, "--epochs", 3, "--resume", "--output", trained)
    assert "['cats', 'dogs']" in line
    assert "birds" in line


def test_unreadable_files_are_skipped_with_a_warning(photos, tmp_path, capsys):
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


def test_unusable_folders_are_refused(photos, tmp_path, capsys):
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
    assert "window" in refused(
        capsys, "train", photos, "--base", "none", "--image-size", 4, *output
    )
    assert not (tmp_path / "m.h5").exists()


def test_invalid_options_are_refused_before_training(photos, tmp_path, capsys):
    one = make_photos(tmp_path / "one", classes=("cats",))
    for options, words in (
        (["--output", tmp_path / "nowhere" / "m.h5"], ["nowhere", "does not exist"]),
        (["--test", tmp_path / "nowhere"], ["nowhere", "nothing there"]),
        (["--test", one], ["['cats', 'dogs']", "['cats']"]),
        (["--resume", "--output", tmp_path / "none.h5"], ["none.h5", "no such file"]),
    ):
        line = refused(capsys, "train", photos, *SMALL, "--epochs", 1, *options)
        assert all(word in line for word in words)


def test_ctrl_c_exits_with_1_and_no_traceback(photos, tmp_path, monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("minidl.data.ImageFolder", interrupted)
    assert run("train", photos, "--output", tmp_path / "m.h5") == 1
    assert capsys.readouterr().err == "minidl: stopped\n"


def test_report_contains_the_command_that_repeats_it(tmp_path, capsys, monkeypatch):
    folder = make_photos(tmp_path / "some photos", count=10)
    test = make_photos(tmp_path / "test", count=4, seed=1)
    monkeypatch.chdir(tmp_path)
    arguments = [
        "train",
        "some photos",
        "--test",
        "test",
        *SMALL,
        "--epochs",
        "2",
        "--report",
        "r.html",
        "--output",
        "m.h5",
    ]
    assert main(arguments) == 0
    assert "Report: r.html" in capsys.readouterr().out
    page, markup, figures = read_report(tmp_path / "r.html")
    check_figures(figures, minidl.load_model("m.h5"), test, (32, 32), 2)
    assert figures["part"] == "test"
    assert figures["counts"] == {"training": [8, 8], "validation": [2, 2], "test": [4, 4]}
    assert len(figures["history"]["val_loss"]) == 2
    (command,) = [w for w in markup.words if w.startswith("MINIDL_NUM_THREADS=")]
    threads, line = command.split(" ", 1)
    assert threads == f"MINIDL_NUM_THREADS={minidl.get_num_threads()}"
    name, *again = shlex.split(line)
    assert name == "minidl"
    assert main(again) == 0
    assert read_report(tmp_path / "r.html")[2] == figures
    assert str(folder.name) in page


def test_report_without_test_folder_uses_the_validation_photos(tmp_path):
    folder = make_photos(tmp_path / "photos", count=10)
    assert (
        main(
            [
                "train",
                str(folder),
                *SMALL,
                "--epochs",
                "1",
                "--report",
                str(tmp_path / "r.html"),
                "--output",
                str(tmp_path / "m.h5"),
            ]
        )
        == 0
    )
    page, _, figures = read_report(tmp_path / "r.html")
    assert figures["part"] == "validation"
    assert figures["samples"] == 4
    assert "Time" in page


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--report", "none/r.html"], ["none", "does not exist"]),
        (["--report", "photos"], ["folder"]),
        (["--report", "r.html", "--validation-split", "0"], ["--test DIR"]),
    ],
)
def test_unwritable_report_is_refused_before_training(more, words, tmp_path, monkeypatch, capsys):
    make_photos(tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    assert main(["train", "photos", *SMALL, *more]) == 1
    out, err = capsys.readouterr()
    assert "Epoch" not in out
    assert len(err.splitlines()) == 1
    assert all(word in err for word in words)


def test_missing_matplotlib_is_reported_before_training(tmp_path, monkeypatch, capsys):
    folder = make_photos(tmp_path / "photos")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.chdir(tmp_path)
    assert main(["train", str(folder), *SMALL, "--report", "r.html"]) == 1
    out, err = capsys.readouterr()
    assert "minidl[plot]" in err
    assert "Epoch" not in out


def test_report_of_a_transfer_model_on_real_photos(shared_data, tmp_path):
    weights = shared_data / "weights"
    file = weights / "inception_v3_weights_tf_dim_ordering_tf_kernels_notop_mixed8.h5"
    photos = shared_data / "data" / "seed_pets"
    path = tmp_path / "report.html"
    assert (
        main(
            [
                "train",
                str(photos / "train"),
                "--test",
                str(photos / "test"),
                "--base",
                "inception_v3",
                "--until",
                "mixed8",
                "--weights",
                str(file),
                "--image-size",
                "100",
                "--epochs",
                "3",
                "--output",
                str(tmp_path / "m.h5"),
                "--report",
                str(path),
            ]
        )
        == 0
    )
    page, markup, figures = read_report(path)
    check_figures(figures, minidl.load_model(tmp_path / "m.h5"), photos / "test", (100, 100), 2)
    assert sum(image.get("class") == "overlay" for image in markup.images) >= 12
    assert "frozen" in page
