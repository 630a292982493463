"""Atomic files: complete or unchanged after failures, and nothing left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from minidl.common import atomic_files
from minidl.common.atomic_files import atomic_file, atomic_folder, write_file

posix = pytest.mark.skipif(os.name == "nt", reason="permissions and limits of POSIX systems")

# Writes `sys.argv[1]` under ever larger limits of the file size, like a disk that fills up.
FULL_DISK = """
import json, resource, sys
from minidl.common.atomic_files import write_file
messages = []
for limit in range(0, 5000, 10):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        write_file(sys.argv[1], b"n" * 5000)
    except OSError as error:
        messages.append(str(error))
print(json.dumps(messages))
"""
KILLED = """
import os, signal, sys
from minidl.common import atomic_files
if sys.argv[2] == "hidden":
    atomic_files.OPEN_FILES = atomic_files.Path("/missing")
with atomic_files.atomic_file(sys.argv[1]) as file:
    file.write(b"half")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(params=["unnamed", "hidden"])
def way(request, monkeypatch):
    """Both ways of writing: with an unnamed file, and with a hidden one."""
    if request.param == "hidden":
        monkeypatch.setattr(atomic_files, "OPEN_FILES", atomic_files.Path("/missing"))
    return request.param


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def run(code, *arguments):
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True
    )


@pytest.mark.usefixtures("way")
def test_a_new_file_appears_only_when_complete(tmp_path):
    path = tmp_path / "a.txt"
    with atomic_file(path) as file:
        file.write(b"text")
        assert not path.exists()
    assert path.read_bytes() == b"text"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("where", ["fsync", "replace"])
def test_a_failure_keeps_the_former_file_and_leaves_no_other(tmp_path, monkeypatch, where):
    path = tmp_path / "a.txt"
    path.write_text("former")

    def fail(*_, **__):
        raise OSError("device gone")

    monkeypatch.setattr(atomic_files.os, where, fail)
    with pytest.raises(OSError, match="device gone"):
        write_file(path, "new")
    assert path.read_text() == "former"
    assert names(tmp_path) == ["a.txt"]


@posix
def test_a_full_disk_is_reported_in_one_sentence_at_every_size(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"former")
    process = run(FULL_DISK, path)
    messages = json.loads(process.stdout)
    assert len(messages) == 500
    assert all("a.bin: cannot be written because the disk is full" in m for m in messages)
    assert all("5,000 bytes needed" in m and "bytes free" in m for m in messages)
    assert path.read_bytes() == b"former"
    assert names(tmp_path) == ["a.bin"]


@posix
def test_a_killed_writer_leaves_nothing_without_a_name(tmp_path):
    (tmp_path / "a.txt").write_text("former")
    assert run(KILLED, tmp_path / "a.txt", "unnamed").returncode < 0
    assert (tmp_path / "a.txt").read_text() == "former"
    assert names(tmp_path) == ["a.txt"]


@posix
def test_the_next_writer_removes_what_a_killed_one_left(tmp_path):
    path, other = tmp_path / "a.txt", tmp_path / ".b.txt.00000000.tmp"
    other.write_text("of another file")
    assert run(KILLED, path, "hidden").returncode < 0
    assert len(names(tmp_path)) == 2
    write_file(path, "new")
    assert names(tmp_path) == [other.name, "a.txt"]


@posix
def test_a_writer_leaves_the_hidden_file_of_a_running_one(tmp_path, monkeypatch):
    monkeypatch.setattr(atomic_files, "OPEN_FILES", atomic_files.Path("/missing"))
    path = tmp_path / "a.txt"
    with atomic_file(path) as file:
        file.write(b"slow")
        write_file(path, "quick")
    assert path.read_text() == "slow"


@posix
@pytest.mark.usefixtures("way")
def test_permissions_and_symbolic_links_stay(tmp_path):
    path, link = tmp_path / "a.txt", tmp_path / "link.txt"
    path.write_text("former")
    path.chmod(0o600)
    link.symlink_to(path)
    write_file(link, "new")
    assert link.is_symlink()
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o600


@posix
def test_a_device_is_written_directly():
    process = run(
        "from minidl.common.atomic_files import write_file; write_file('/dev/stdout', 'text')"
    )
    assert process.stdout == "text"


def test_a_folder_or_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(IsADirectoryError, match="expected a file name, received a folder"):
        write_file(tmp_path, "")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        write_file(tmp_path / "missing" / "a.txt", "")


def test_a_folder_appears_when_it_is_complete(tmp_path):
    with atomic_folder(tmp_path / "run") as folder:
        (folder / "a.txt").write_text("text")
        assert not (tmp_path / "run").exists()
    assert names(tmp_path) == ["run"]
    assert names(tmp_path / "run") == ["a.txt"]


def test_a_folder_that_fails_or_whose_name_is_taken_disappears(tmp_path):
    with pytest.raises(ZeroDivisionError), atomic_folder(tmp_path / "run"):
        raise ZeroDivisionError
    with pytest.raises(FileExistsError), atomic_folder(tmp_path / "run"):
        (tmp_path / "run").mkdir()
    assert names(tmp_path) == ["run"]


@posix
def test_the_next_folder_removes_what_a_killed_writer_left(tmp_path):
    code = KILLED.replace("atomic_file(", "atomic_folder(").split("    file.write")[0]
    code += "    os.kill(os.getpid(), signal.SIGKILL)"
    assert run(code, tmp_path / "run", "folder").returncode < 0
    assert len(names(tmp_path)) == 1
    with atomic_folder(tmp_path / "next"), atomic_folder(tmp_path / "second"):
        pass
    assert names(tmp_path) == ["next", "second"]
