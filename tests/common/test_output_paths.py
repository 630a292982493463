"""Checks of output paths: they reject invalid ones and leave no file behind."""

import os

import pytest
from support.tiny import refused

from minidl.common.errors import DataError
from minidl.common.output_paths import check_output, require_writable


def test_a_check_creates_and_changes_no_file(tmp_path):
    check_output("--plot", str(tmp_path / "new.png"), (".png",))
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "old.png").write_bytes(b"old")
    check_output(
        "--plot", str(tmp_path / "old.png"), (".png",), [str(tmp_path / "other.png"), None]
    )
    assert (tmp_path / "old.png").read_bytes() == b"old"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("", "received an empty one"),
        (".", "folder"),
        ("none/a.png", "does not exist"),
        ("a.txt", "ends in .png"),
        ("cats/1.png", "also read"),
        ("cats/../model.png", "also read"),
    ],
)
def test_invalid_paths_are_rejected(name, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cats").mkdir()
    (tmp_path / "cats" / "1.png").write_bytes(b"a photo")
    with refused(DataError, "--plot: ", words):
        check_output("--plot", name, (".png",) * (name != "."), ["cats", "model.png"])
    assert (tmp_path / "cats" / "1.png").read_bytes() == b"a photo"


@pytest.mark.skipif(not os.path.isdir("/proc"), reason="needs a folder that takes no files")
def test_a_folder_without_write_access_is_rejected():
    with refused(DataError, "--report", "/proc/r.html", "cannot be written"):
        check_output("--report", "/proc/r.html")
    with refused(FileNotFoundError, "/proc/r.html"):
        require_writable("/proc/r.html")
