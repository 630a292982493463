"""Commands in several processes: one result, printed once, whatever the number of processes."""

import os
import sys

from support.commands import SMALL
from support.distributed_training import hash_of
from support.mpi import output_of_ranks, run_ranks
from support.tiny import make_photos

import minidl

CODE = "import sys; from minidl.cli.main import main; sys.exit(main(sys.argv[1:]))"


def test_training_on_two_ranks_equals_that_on_one(photos, tmp_path):
    test = make_photos(tmp_path / "test", count=3, seed=1)
    hashes, outputs = [], []
    for size in (1, 2):
        folder = tmp_path / str(size)
        folder.mkdir()
        lines = output_of_ranks(
            size, CODE, "train", photos, "--epochs", 2, *SMALL, "--shards", 2, "--test", test,
            "--output", folder / "m.h5", "--runs", folder / "runs", "--plot", folder / "curves.png",
        )  # fmt: skip
        hashes.append(hash_of(minidl.load_model(folder / "m.h5").get_weights()))
        assert (folder / "curves.png").is_file()
        runs = list((folder / "runs").iterdir())
        assert len(runs) == 1
        assert (runs[0] / "metrics.csv").is_file()
        outputs.append([line for line in lines if "loss" in line and "Epoch" not in line])
        assert len([line for line in lines if "Epoch" in line]) == 2
    assert hashes[0] == hashes[1]
    assert outputs[0] == outputs[1]  # the figures on the test photos


def test_evaluation_is_the_same_and_printed_once(photos, trained):
    arguments = "evaluate", trained, photos, "--batch-size", 3, "--json"
    single = output_of_ranks(1, CODE, *arguments)
    assert len(single) == 1
    assert output_of_ranks(4, CODE, *arguments) == single


def test_other_commands_run_once(photos, trained, photo):
    arguments = "predict", trained, photo
    assert output_of_ranks(3, CODE, *arguments) == output_of_ranks(1, CODE, *arguments)


def test_an_error_ends_all_ranks_without_a_traceback(trained, tmp_path):
    done = run_ranks(2, CODE, "evaluate", trained, tmp_path / "missing")
    assert done.returncode != 0
    assert "minidl: " in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_mpi4py_gets_one_sentence(photos, trained, monkeypatch, capsys):
    from minidl.cli.main import main
    from minidl.distributed import communicator

    monkeypatch.setenv("PMI_SIZE", "2")
    monkeypatch.setattr(communicator, "_world", None)
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    assert main(["evaluate", os.fspath(trained), os.fspath(photos)]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "pip install 'minidl[mpi]'" in err
