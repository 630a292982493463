"""``minidl check``, and the leak warning of ``minidl train``."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from PIL import Image
from support.commands import SMALL
from support.damaged import encoded, half, textured

import minidl.data
from minidl.cli.main import main


def run(*arguments):
    return main([str(argument) for argument in arguments])


def write(root, images):
    for i, image in enumerate(images):
        path = root / ("cats", "dogs")[i % 2] / f"{i}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(image))
    return root


@pytest.fixture
def photos(tmp_path):
    return write(tmp_path / "photos", textured(8))


@pytest.fixture
def held_out(photos, tmp_path):
    """Return a test folder of six photos, one of them a smaller copy of cats/0.jpg."""
    folder = write(tmp_path / "held_out", textured(5, seed=9))
    leaked = half(Image.open(photos / "cats" / "0.jpg"))
    (folder / "cats" / "leaked.jpg").write_bytes(encoded(leaked))
    return folder


def test_photos_without_findings(photos, capsys):
    assert run("check", photos) == 0
    out, err = capsys.readouterr()
    assert out == f"{photos}: 8 photos (cats 4, dogs 4)\n\nnothing found\n"
    assert err == ""  # no progress bar without a terminal


def test_exit_code_is_1_for_errors_only(photos, held_out, capsys):
    shutil.copy(photos / "dogs" / "1.jpg", photos / "dogs" / "again.jpg")
    (photos / "cats" / "bad.jpg").write_text("no photo")
    assert run("check", photos) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].startswith("warning  exact duplicate  ")
    assert lines[2].index("dogs/1.jpg") == lines[3].index("cats/bad.jpg")  # aligned
    assert lines[-1] == "0 errors, 2 warnings, 0 notes"
    assert run("check", photos, "--test", held_out) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == f"{held_out}: 6 photos (cats 4, dogs 2)"
    assert lines[3].startswith(
        "error    leak             photos/cats/0.jpg and held_out/cats/leaked"
    )
    assert lines[-1].endswith("fix the errors before training")


def test_json_names_the_files_of_each_group(photos, held_out, capsys):
    assert run("check", photos, "--test", held_out, "--json") == 1
    answer = json.loads(capsys.readouterr().out)
    (group,) = answer["groups"]
    assert group["files"] == [
        str(photos / "cats" / "0.jpg"),
        str(held_out / "cats" / "leaked.jpg"),
    ]
    assert group["pairs"] == [{"files": group["files"], "relation": "resized copy"}]
    assert answer["spoils_results"] is True
    assert {finding["kind"] for finding in answer["findings"]} == {"leak", "imbalance"}


def test_fix_list_names_files_and_deletes_none(photos, held_out, tmp_path, capsys):
    (photos / "dogs" / "bad.jpg").write_bytes(b"")
    before = sorted(photos.glob("*/*")) + sorted(held_out.glob("*/*"))
    target = tmp_path / "drop.txt"
    arguments = ("check", photos, "--test", held_out, "--fix-list", target)
    assert run(*arguments) == 1
    assert f"Files to drop: {target} (2)" in capsys.readouterr().err
    files = target.read_text().splitlines()
    assert files == [str(photos / "cats" / "0.jpg"), str(photos / "dogs" / "bad.jpg")]
    assert sorted(photos.glob("*/*")) + sorted(held_out.glob("*/*")) == before
    for file in files:
        os.remove(file)
    assert run(*arguments) == 0
    assert target.read_text() == ""


def test_invalid_arguments_are_refused(photos, tmp_path, capsys):
    for arguments, words in (
        ((tmp_path / "none",), "nothing there"),
        ((photos / "cats" / "0.jpg",), "expected a folder"),
        ((photos, "--test", tmp_path / "none"), "nothing there"),
        ((photos, "--fix-list", tmp_path / "none" / "drop.txt"), "--fix-list"),
        ((photos, "--fix-list", tmp_path), "--fix-list"),
        ((photos, "--fix-list", ""), "--fix-list"),
    ):
        assert run("check", *arguments) == 1
        out, err = capsys.readouterr()
        assert out == ""
        (line,) = err.splitlines()
        assert words in line
    for arguments in ((), (photos, "--tset", photos), (photos, photos)):
        with pytest.raises(SystemExit) as caught:
            run("check", *arguments)
        assert caught.value.code == 2
        assert len(capsys.readouterr().err.splitlines()) <= 3


def test_fix_list_is_written_before_a_closed_pipe_ends_the_command(photos, held_out, tmp_path):
    target = tmp_path / "drop.txt"
    command = [sys.executable, "-u", "-m", "minidl", "check", str(photos), "--test", str(held_out)]
    with subprocess.Popen(
        [*command, "--fix-list", str(target)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert target.read_text().splitlines() == [str(photos / "cats" / "0.jpg")]


def test_fix_list_omits_names_with_line_breaks(photos, tmp_path, capsys):
    names = [b"\xff.jpg", "日.jpg".encode(), b"two\nlines.jpg"]
    for name in names:
        (photos / "dogs" / os.fsdecode(name)).write_bytes(b"")
    target = tmp_path / "drop.txt"
    assert run("check", photos, "--fix-list", target) == 0
    listed = {os.path.basename(line) for line in target.read_bytes().splitlines()}
    assert listed == set(names[:2])
    assert "line break" in capsys.readouterr().err


def test_fix_list_overwrites_no_photo(photos, capsys):
    photo = photos / "cats" / "0.jpg"
    before = photo.read_bytes()
    assert run("check", photos, "--fix-list", photo) == 1
    assert "also read" in capsys.readouterr().err
    assert photo.read_bytes() == before


def test_help_explains_errors_and_warnings(capsys):
    with pytest.raises(SystemExit):
        run("check", "--help")
    text = capsys.readouterr().out
    for word in ("errors", "leaks", "warnings", "truncated", "grayscale", "exit code is 1"):
        assert word in text


def test_ctrl_c_stops_the_check(photos, monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(minidl.data, "check", interrupted)
    assert run("check", photos) == 1
    assert capsys.readouterr().err == "minidl: stopped\n"


def train(photos, held_out, tmp_path):
    return run(
        "train",
        photos,
        "--test",
        held_out,
        "--epochs",
        1,
        *SMALL,
        "--output",
        tmp_path / "model.h5",
    )


def test_train_warns_of_leaks_and_continues(photos, held_out, tmp_path, capsys):
    assert train(photos, held_out, tmp_path) == 0
    out, err = capsys.readouterr()
    lines = [line for line in err.splitlines() if "test" in line]
    assert lines == [
        "minidl: warning: 1 of the 6 test photos is also among the training photos, such as "
        f"{held_out / 'cats' / 'leaked.jpg'}",
        "  Test accuracy will be overestimated. For the list: "
        f"minidl check {photos} --test {held_out}",
    ]
    assert "accuracy" in out


def test_train_reports_that_there_are_no_leaks(photos, held_out, tmp_path, capsys):
    os.remove(held_out / "cats" / "leaked.jpg")
    assert train(photos, held_out, tmp_path) == 0
    out, err = capsys.readouterr()
    assert "None of the 5 test photos is among the training photos\n" in out
    assert "leak" not in out + err
    assert run("train", photos, "--epochs", 1, *SMALL, "--output", tmp_path / "model.h5") == 0
    assert "None of" not in capsys.readouterr().out
