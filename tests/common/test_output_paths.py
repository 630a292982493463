"""What may be written where: refused before the work, and nothing is left behind or lost."""

import os

import pytest
from support.tiny import refused

from minidl.common.errors import DataError
from minidl.common.output_paths import check_output, require_writable


def test_a_free_name_leaves_no_file_and_an_older_file_stays_as_it_is(tmp_path):
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
        ("", "received none"),
        (".", "folder"),
        ("none/a.png", "does not exist"),
        ("a.txt", "ends in .png"),
        ("cats/1.png", "also read"),
        ("cats/../model.png", "also read"),
    ],
)
def test_what_is_refused_is_told_with_its_option(name, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cats").mkdir()
    (tmp_path / "cats" / "1.png").write_bytes(b"a photo")
    with refused(DataError, "--plot: ", words):
        check_output("--plot", name, (".png",) * (name != "."), ["cats", "model.png"])
    assert (tmp_path / "cats" / "1.png").read_bytes() == b"a photo"


@pytest.mark.skipif(not os.path.isdir("/proc"), reason="needs a folder that takes no files")
def test_a_place_that_takes_no_files_is_found_before_the_work():
    with refused(DataError, "--report", "/proc/r.html", "cannot be written"):
        check_output("--report", "/proc/r.html")
    with refused(FileNotFoundError, "/proc/r.html"):
        require_writable("/proc/r.html")
