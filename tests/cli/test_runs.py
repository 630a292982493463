"""Run folders of ``minidl train``, and the table of ``minidl runs``."""

import json

import pytest
from support.commands import SMALL
from support.tiny import assert_same_arrays, make_photos

import minidl
from minidl.cli.main import main
from minidl.cli.run_folder import find_runs
from minidl.training.trainer import Trainer


@pytest.fixture
def photos(tmp_path):
    return make_photos(tmp_path / "photos", count=10)


def train(photos, tmp_path, *more):
    output = tmp_path / "model.h5"
    arguments = [str(photos), *SMALL, "--output", str(output), "--runs", str(tmp_path / "runs")]
    return main(["train", *arguments, *map(str, more)])


def only_run(tmp_path):
    (run,), others = find_runs(tmp_path / "runs")
    assert others == []
    return run


def test_training_writes_options_metrics_models_and_report(photos, tmp_path, capsys):
    assert train(photos, tmp_path, "--epochs", 2, "--test", photos, "--seed", 3) == 0
    run = only_run(tmp_path)
    assert str(run.folder) in capsys.readouterr().out
    assert run.config["seed"] == 3
    assert run.config["photos"] == {"cats": 8, "dogs": 8}
    assert "--epochs 2" in run.config["command"]
    assert [row["epoch"] for row in run.metrics] == [0, 1]
    last, output = (minidl.load_model(p) for p in (run.folder / "last.h5", tmp_path / "model.h5"))
    assert_same_arrays(last.get_weights(), output.get_weights())
    assert minidl.load_model(run.folder / "best.h5").epochs_seen in (1, 2)
    assert "<html" in run.report.read_text()
    assert run.result["state"] == "finished"
    assert set(run.result["test"]) == {"loss", "accuracy"}


def test_resumed_training_continues_in_its_folder(photos, tmp_path, monkeypatch):
    def interrupted(self, *arguments, **options):
        if self.model.epochs_seen == 1:
            raise KeyboardInterrupt
        return step(self, *arguments, **options)

    step = Trainer.train_step
    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "train_step", interrupted)
        assert train(photos, tmp_path, "--epochs", 3) == 1
    row = only_run(tmp_path).summary()
    assert (row["state"], row["epochs"], row["planned"]) == ("interrupted", 1, 3)
    assert train(photos, tmp_path, "--resume", "--epochs", 4) == 0
    row = only_run(tmp_path).summary()
    assert (row["state"], row["epochs"], row["planned"]) == ("finished", 4, 4)


def test_resuming_discards_the_earlier_test_result(photos, tmp_path):
    assert train(photos, tmp_path, "--epochs", 1, "--test", photos) == 0
    assert only_run(tmp_path).summary()["test_accuracy"] is not None
    assert train(photos, tmp_path, "--epochs", 2, "--resume") == 0
    assert only_run(tmp_path).summary()["test_accuracy"] is None


def test_no_run_creates_no_folder(photos, tmp_path):
    assert train(photos, tmp_path, "--epochs", 1, "--no-run") == 0
    assert not (tmp_path / "runs").exists()
    assert (tmp_path / "model.h5").exists()


def test_requested_report_is_copied_to_the_run(photos, tmp_path):
    report = tmp_path / "out.html"
    assert train(photos, tmp_path, "--epochs", 1, "--report", report) == 0
    assert only_run(tmp_path).report.read_bytes() == report.read_bytes()


def test_unusable_runs_folder_is_refused_before_training(photos, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert train(photos, tmp_path, "--epochs", 1, "--runs", tmp_path / "file") == 1
    assert "file" in capsys.readouterr().err
    assert not (tmp_path / "model.h5").exists()


def test_table_compares_runs(photos, tmp_path, capsys):
    for epochs in (1, 2):
        assert train(photos, tmp_path, "--epochs", epochs) == 0
    (tmp_path / "runs" / "holiday").mkdir()
    capsys.readouterr()
    assert main(["runs", str(tmp_path / "runs"), "--sort", "val_accuracy"]) == 0
    out, err = capsys.readouterr()
    header, *lines = out.splitlines()
    assert header.split()[:3] == ["run", "network", "size"]
    assert sorted(line.split()[3] for line in lines) == ["1/1", "2/2"]
    column = header.split().index("val_accuracy")
    values = [float(line.split()[column]) for line in lines]
    assert values == sorted(values, reverse=True)
    assert "holiday" in err

    assert main(["runs", str(tmp_path / "runs"), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["epochs"] for row in rows] == [1, 2]


def test_folder_without_runs_exits_with_1(tmp_path, capsys):
    assert main(["runs", str(tmp_path)]) == 1
    assert "no runs" in capsys.readouterr().err
    assert main(["runs", str(tmp_path / "nowhere")]) == 1
    assert "no such folder" in capsys.readouterr().err


def test_results_overwrite_neither_photos_nor_each_other(photos, tmp_path, capsys):
    photo = next((photos / "cats").iterdir())
    before = photo.read_bytes()
    for options, word in (
        (("--output", photo), "--output"),
        (("--report", tmp_path / "model.h5"), "--report"),
        (("--plot", tmp_path / "a.png", "--report", tmp_path / "a.png"), "--report"),
        (("--plot", tmp_path / "a.xyz"), "ends in .png"),
        (("--plot", tmp_path / "none" / "a.png"), "does not exist"),
    ):
        assert train(photos, tmp_path, "--epochs", 1, *options) == 1
        assert word in capsys.readouterr().err
    assert photo.read_bytes() == before
    assert not (tmp_path / "runs").exists()


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
def test_diverged_run_keeps_no_model_of_another_run(photos, tmp_path, capsys):
    assert train(photos, tmp_path, "--epochs", 1, "--no-run") == 0
    assert train(photos, tmp_path, "--epochs", 2, "--learning-rate", 1e30) == 1
    assert "diverged" in capsys.readouterr().err
    run = only_run(tmp_path)
    assert run.result["state"] == "diverged"
    assert not (run.folder / "last.h5").exists()


def test_training_is_resumed_from_another_working_directory(photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = ["train", "photos", *SMALL, "--output", "model.h5", "--runs", "runs", "--epochs"]
    assert main([*command, "1"]) == 0
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    command = ["train", "../photos", "--output", "../model.h5", "--resume", "--epochs", "2"]
    assert main([*command, "--runs", "runs"]) == 0
    assert only_run(tmp_path).summary()["epochs"] == 2


def test_environment_variable_sets_the_folder_of_runs(photos, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MINIDL_RUNS", str(tmp_path / "elsewhere"))
    command = ["train", str(photos), *SMALL, "--epochs", "1", "--output", str(tmp_path / "m.h5")]
    assert main(command) == 0
    capsys.readouterr()
    assert main(["runs", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 1
