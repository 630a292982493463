"""HDF5 files of strangers: refused before they can read, claim or loop more than they should."""

import io
import struct

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


# Damage that the C library does not notice: without the check it reads for ever, or crashes


@pytest.fixture
def texts(tmp_path):
    """A file with texts, its content, and where its heap begins."""
    path = tmp_path / "a.h5"
    made(path, lambda f: f.attrs.__setitem__("names", ["first", "second", "x" * 5000]))
    content = bytearray(path.read_bytes())
    return path, content, content.index(b"GCOL")


@pytest.mark.parametrize("length", [0, 1, 300, 2**20, 2**40, 2**63, 2**64 - 1])
@pytest.mark.parametrize("which", [0, 1])
def test_a_text_with_a_wrong_length(texts, which, length):
    path, content, heap = texts
    place = content.index([b"first", b"second"][which], heap)
    struct.pack_into("<Q", content, place - 8, length)
    path.write_bytes(content)
    with refused(FileFormatError, "a.h5"), open_hdf5(path) as file:
        read_names(file, "names")


@pytest.mark.parametrize("claimed", [4, 6, 5000, 2**20])
def test_a_reference_that_claims_another_length_than_the_text(texts, claimed):
    path, content, heap = texts
    struct.pack_into("<I", content, content.index(struct.pack("<IQ", 5, heap)), claimed)
    path.write_bytes(content)
    with refused(FileFormatError, "a.h5"), open_hdf5(path) as file:
        read_names(file, "names")


@pytest.mark.parametrize("claimed", [2**27, 2**31, 2**32 - 1])
def test_a_reference_that_claims_gigabytes(texts, claimed):
    path, content, heap = texts
    struct.pack_into("<I", content, content.index(struct.pack("<IQ", 5, heap)), claimed)
    path.write_bytes(content)
    with refused(FileFormatError, "a.h5", "damaged"):
        walk(path)


def test_remains_of_older_references_do_no_harm(texts):
    """Attributes that are written again leave the old ones' bytes behind."""
    path, _, _ = texts
    with h5py.File(path, "a") as file:
        for i in range(20):
            file.attrs["names"] = [f"{'y' * (i % 7)}{j}" for j in range(i + 1)]
            file.attrs[f"more{i % 3}"] = ["z" * i] * 3
    with open_hdf5(path) as file:
        assert read_names(file, "names") == [f"{'y' * 5}{j}" for j in range(20)]


def test_a_list_of_names_whose_type_is_not_text(texts):
    """One bit makes h5py read texts as pointers."""
    path, content, _ = texts
    kind = content.index(b"\x19\x01", content.index(b"names\0"))
    for bit in range(1, 4):
        damaged = bytearray(content)
        damaged[kind + 1] ^= 1 << bit
        path.write_bytes(damaged)
        with refused(FileFormatError, "a.h5"), open_hdf5(path) as file:
            read_names(file, "names")


def test_the_mark_of_a_heap_across_the_border_of_two_blocks(tmp_path):
    (tmp_path / "a").write_bytes(b"xx.yyy.xx...xx.x" * 3)
    for block in range(2, 20):
        with open(tmp_path / "a", "rb") as file:
            found = list(hdf5._occurrences(file, b"xx", block))
        assert found == [i for i in range(48) if (b"xx.yyy.xx...xx.x" * 3)[i : i + 2] == b"xx"]


def test_bytes_that_look_like_a_reference_to_a_text_by_chance_do_no_harm(tmp_path):
    """Keras' own large files have the heap's address, shifted, among their tables."""
    path = tmp_path / "w.h5"
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = ["fc"]
        file.flush()
        address = path.read_bytes().index(b"GCOL\x01").to_bytes(8, "little")
        for shift in (1, 3, 7):
            reference = b"\xff" * (4 + shift) + address + b"\1\0\0\0"  # 4 GiB, text number 1
            file[f"fc{shift}"] = np.frombuffer(reference.ljust(64, b"\0"), "u1")
    with open_hdf5(path) as file:
        assert read_names(file, "layer_names") == ["fc"]
