"""HDF5 files of strangers: refused before they can read, claim or loop more than they should."""

import io

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.hostile_hdf5 import HOSTILE, half_written, never_written
from support.tiny import refused

from minidl.common.errors import FileFormatError
from minidl.formats import hdf5
from minidl.formats.hdf5 import open_hdf5, read_names, read_tensor, read_text


def walk(path):
    with open_hdf5(path):
        pass


def made(path, change, **options):
    with h5py.File(path, "w", **options) as file:
        change(file)
    return path


# What is read


@given(
    shape=st.lists(st.integers(0, 4), max_size=3),
    dtype=st.sampled_from(["<f2", ">f2", "<f4", ">f4", "<f8", ">f8"]),
    packed=st.booleans(),
)
def test_tensors_come_back_in_the_machines_byte_order(tmp_path_factory, shape, dtype, packed):
    path = tmp_path_factory.mktemp("numbers") / "a.h5"
    array = np.random.default_rng(0).normal(size=shape).astype(dtype)
    packing = {"compression": "gzip", "shuffle": True} if packed and array.size and shape else {}
    made(path, lambda f: f.create_dataset("a/b", data=array, **packing))
    with open_hdf5(path) as file:
        read = read_tensor(file["a/b"], "a/b")
    np.testing.assert_array_equal(read, array)
    assert read.dtype == array.dtype.newbyteorder("=")
    assert read.shape == array.shape
    assert read.flags.writeable
    assert read.flags.owndata


@pytest.mark.parametrize("libver", ["earliest", "latest"])
@pytest.mark.parametrize("kind", ["path", "text", "stream"])
def test_paths_and_file_objects(tmp_path, kind, libver):
    path = made(tmp_path / "a.h5", lambda f: f.__setitem__("x", np.ones(3)), libver=libver)
    source = {"path": path, "text": str(path), "stream": io.BytesIO(path.read_bytes())}[kind]
    with open_hdf5(source, "somewhere/a.h5") as file:
        assert read_tensor(file["x"], "x").sum() == 3


@pytest.mark.parametrize("names", [["a"], ["a", "bc"], ["ä", "日本"], ["x" * 300] * 3])
@pytest.mark.parametrize("text", ["str", "bytes"])
@pytest.mark.parametrize("chunked", [False, True])
def test_lists_of_names(tmp_path, names, text, chunked):
    values = names if text == "str" else np.array([name.encode() for name in names])
    pieces = {f"n{i}": values[i : i + 1] for i in range(len(names))} if chunked else {"n": values}
    made(tmp_path / "a.h5", lambda f: f.attrs.update(pieces))
    with open_hdf5(tmp_path / "a.h5") as file:
        assert read_names(file, "n") == names
        assert read_names(file, "m") is None


@pytest.mark.parametrize("empty", [np.zeros(0), np.zeros(0, "S1"), h5py.Empty("f4")])
def test_an_empty_list_of_names_may_be_of_any_type(tmp_path, empty):
    made(tmp_path / "a.h5", lambda f: f.attrs.__setitem__("n", empty))
    with open_hdf5(tmp_path / "a.h5") as file:
        assert read_names(file, "n") == []


@pytest.mark.parametrize("value", ["2.2.4", np.bytes_("2.2.4"), b"2.2.4"])
def test_one_text(tmp_path, value):
    made(tmp_path / "a.h5", lambda f: f.attrs.__setitem__("n", value))
    with open_hdf5(tmp_path / "a.h5") as file:
        assert read_text(file, "n") == "2.2.4"
        assert read_text(file, "m") is None


@pytest.mark.parametrize(
    "value", [3, np.ones(2), ["a", "b"], b"\xff\xfe", np.bytes_(b"\xff"), np.array([[b"a"]])]
)
def test_what_is_not_one_text_is_refused(tmp_path, value):
    made(tmp_path / "a.h5", lambda f: f.attrs.__setitem__("n", value))
    with refused(FileFormatError, "a.h5"), open_hdf5(tmp_path / "a.h5") as file:
        read_text(file, "n")


# What is refused


@pytest.mark.parametrize("libver", ["earliest", "latest"])
@pytest.mark.parametrize("how", HOSTILE)
def test_hostile_files_are_refused_before_anything_is_read(tmp_path, how, libver):
    change, word = HOSTILE[how]
    path = made(tmp_path / "a.h5", change, libver=libver)
    with refused(FileFormatError, "a.h5", word):
        walk(path)
    with refused(FileFormatError, "b.h5", word), open_hdf5(io.BytesIO(path.read_bytes()), "b.h5"):
        pass


def test_too_many_objects(tmp_path, monkeypatch):
    monkeypatch.setattr(hdf5, "MAX_OBJECTS", 20)
    path = made(tmp_path / "a.h5", lambda f: [f.create_group(f"{i}") for i in range(20)])
    with refused(FileFormatError, "a.h5", "too many"):
        walk(path)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (never_written, "incomplete"),
        (half_written, "incomplete"),
        (lambda f: f.__setitem__("x", np.arange(3)), "float32"),
        (lambda f: f.__setitem__("x", np.ones(3, complex)), "float32"),
        (lambda f: f.__setitem__("x", np.ones(3, bool)), "float32"),
        (lambda f: f.__setitem__("x", "text"), "float32"),
        (lambda f: f.__setitem__("x", h5py.Empty("f4")), "float32"),
        (lambda f: f.__setitem__("x", np.ones(3, np.longdouble)), "float32"),
        (lambda f: f.__setitem__("x", np.array([1, np.nan])), "NaN"),
        (lambda f: f.__setitem__("x", np.array([1, -np.inf])), "infinite"),
    ],
)
def test_arrays_that_are_no_weights_are_refused(tmp_path, change, word):
    path = made(tmp_path / "a.h5", change)
    with refused(FileFormatError, "a.h5", "'x'", word), open_hdf5(path) as file:
        read_tensor(file["x"], "x")


def test_failures_of_h5py_inside_the_statement_are_format_errors(tmp_path):
    path = made(tmp_path / "a.h5", lambda f: None)
    with refused(FileFormatError, "a.h5", "cannot be read"), open_hdf5(path) as file:
        file["nothing"]


def test_missing_files_and_folders(tmp_path):
    with refused(FileNotFoundError, "nowhere.h5", "no such file"):
        walk(tmp_path / "nowhere.h5")
    with refused(IsADirectoryError, str(tmp_path), "folder"):
        walk(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\x89HDF", b"\x89HDF\r\n\x1a\n", b"abc" * 900])
def test_other_files(tmp_path, content):
    (tmp_path / "a.h5").write_bytes(content)
    with refused(FileFormatError, "a.h5", "HDF5"):
        walk(tmp_path / "a.h5")
