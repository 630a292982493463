"""Run folders: unique names, results read back as written, errors for damaged files."""

import json

import pytest
from support.tiny import blobs, classifier, refused

from minidl.cli.main import main
from minidl.cli.run_folder import Run, find_runs
from minidl.common.errors import DataError, FileFormatError

X, Y = blobs()
CONFIG = {"epochs": 3, "image_size": 32, "base": None}


def trained(root, validated=True, epochs=2):
    run = Run.new(root, "small", {**CONFIG, "epochs": epochs})
    model = classifier()
    split = 0.25 if validated else 0.0
    callbacks = run.callbacks(validated)
    model.fit(X, Y, epochs=epochs, validation_split=split, callbacks=callbacks, verbose=0)
    return run, model


def test_runs_of_the_same_second_get_separate_folders(tmp_path):
    folders = [Run.new(tmp_path, "a", CONFIG).folder for _ in range(4)]
    assert len(set(folders)) == 4
    assert all((folder / "config.json").exists() for folder in folders)


def test_written_results_are_read_back(tmp_path):
    run, model = trained(tmp_path)
    model.save(tmp_path / "model.h5")
    run.keep(tmp_path / "model.h5")
    run.finish(2.5, test={"accuracy": 0.875})
    (found,), others = find_runs(tmp_path)
    assert others == []
    assert found.config["epochs"] == 2
    assert found.config["environment"]["numpy"]
    assert found.result == {"state": "finished", "seconds": 2.5, "test": {"accuracy": 0.875}}
    row = found.summary()
    history = found.metrics
    assert (row["epochs"], row["planned"], row["network"]) == (2, 2, "small_cnn")
    assert row["val_loss"] == min(line["val_loss"] for line in history)
    assert history[row["best"] - 1]["val_loss"] == row["val_loss"]
    assert row["test_accuracy"] == 0.875


@pytest.mark.parametrize("validated", [True, False])
def test_best_model_has_the_lowest_loss(tmp_path, validated):
    import minidl

    run, _ = trained(tmp_path, validated, epochs=4)
    best = minidl.load_model(run.folder / "best.h5")
    assert best.epochs_seen == run.summary()["best"]


def test_last_model_survives_overwriting_its_source(tmp_path):
    run, model = trained(tmp_path)
    model.save(tmp_path / "model.h5")
    run.keep(tmp_path / "model.h5")
    before = (run.folder / "last.h5").read_bytes()
    model.fit(X, Y, verbose=0)
    model.save(tmp_path / "model.h5")
    assert (run.folder / "last.h5").read_bytes() == before
    run.keep(tmp_path / "model.h5")
    assert (run.folder / "last.h5").read_bytes() == (tmp_path / "model.h5").read_bytes()


def test_state_without_result_is_unfinished_and_seconds_add_up(tmp_path):
    run, _ = trained(tmp_path)
    assert run.summary()["state"] == "unfinished"
    run.finish(2.0, state="interrupted")
    run.finish(3.0)
    assert run.summary()["state"] == "finished"
    assert run.summary()["seconds"] == 5


def test_repeated_epoch_counts_once(tmp_path):
    run, _ = trained(tmp_path)
    with (run.folder / "metrics.csv").open("a") as file:
        file.write("1,0.5,0.5,0.125,0.75\n")
    assert [row["epoch"] for row in run.metrics] == [0, 1]
    assert run.metrics[1]["val_loss"] == 0.125


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("config.json", "{", "config.json"),
        ("config.json", "[1]", "JSON object"),
        ("config.json", '{"kind": "other"}', "expected a file of `minidl train`"),
        ("config.json", '{"kind": "minidl run", "epochs": "many"}', "'epochs': expected int"),
        ("config.json", '{"kind": "minidl run", "base": ["vgg16"]}', "'base': expected str"),
        ("metrics.csv", "epoch,loss\n0,much\n", "metrics.csv"),
        ("metrics.csv", "loss\n0.5\n", "line 2: expected an integer epoch"),
        ("metrics.csv", "epoch,loss\n0,1\nnan,0.5\n", "line 3: expected an integer epoch"),
        ("metrics.csv", "epoch,loss\n0,0.5,7\n", "metrics.csv"),
        ("metrics.csv", "epoch,loss\n0,\0\n", "metrics.csv"),
        ("result.json", '{"test": [0.9]}', "'test': expected dict"),
        ("result.json", '{"test": {"accuracy": "good"}}', "'accuracy': expected int or float"),
        ("result.json", '{"seconds": "9"}', "'seconds': expected int or float"),
        ("result.json", "\x00", "result.json"),
    ],
)
def test_damaged_run_is_skipped_by_name(tmp_path, name, content, words):
    good, _ = trained(tmp_path)
    bad, _ = trained(tmp_path)
    (bad.folder / name).write_text(content)
    (tmp_path / "holiday").mkdir()
    runs, others = find_runs(tmp_path)
    assert [run.folder for run in runs] == [good.folder]
    assert len(others) == 2
    assert any(words in sentence and bad.folder.name in sentence for sentence in others)
    assert any("holiday" in sentence for sentence in others)


def test_diverged_run_gives_strict_json(tmp_path, capsys):
    run, _ = trained(tmp_path)
    (run.folder / "metrics.csv").write_text(
        "epoch,loss,val_loss\n0,0.5,0.4\n1,nan,nan\n2,inf,nan\n"
    )
    run.finish(1.0, state="diverged", test={"loss": float("nan"), "accuracy": 0.5})
    assert main(["runs", str(tmp_path), "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert (row["state"], row["epochs"], row["best"], row["loss"]) == ("diverged", 3, 1, 0.5)
    json.loads((run.folder / "result.json").read_text(), parse_constant=pytest.fail)

    (run.folder / "metrics.csv").write_text("epoch,loss\n0,nan\n")
    assert run.summary()["best"] is run.summary()["loss"] is None
    for column in ("loss", "best", "val_accuracy"):
        assert main(["runs", str(tmp_path), "--sort", column]) == 0
    assert "diverged" in capsys.readouterr().out


def test_invalid_folders_are_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with refused(DataError, "file", "cannot create a folder"):
        Run.new(tmp_path / "file", "a", CONFIG)
    with refused(DataError, "no such folder"):
        find_runs(tmp_path / "nowhere")
    with refused(FileFormatError, "was not created by `minidl train`"):
        Run(tmp_path)
    run = Run.new(tmp_path, "a", CONFIG)
    assert json.loads((run.folder / "config.json").read_text())["kind"] == "minidl run"
