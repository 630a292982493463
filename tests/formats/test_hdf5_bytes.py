"""Damaged strings in HDF5 files: without the checks, the C library reads for ever, or crashes."""

import struct

import h5py
import numpy as np
import pytest
from support.tiny import refused

from minidl.common.errors import FileFormatError
from minidl.formats import hdf5_bytes
from minidl.formats.hdf5 import open_hdf5, read_names


@pytest.fixture
def texts(tmp_path):
    """A file with texts, its content, and where its heap begins."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.attrs["names"] = ["first", "second", "x" * 5000]
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
    with refused(FileFormatError, "a.h5", "damaged"), open_hdf5(path):
        pass


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
            found = list(hdf5_bytes._occurrences(file, b"xx", block))
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
