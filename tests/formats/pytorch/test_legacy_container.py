"""The legacy form: pickles and storages follow one another to the last byte of the file."""

import struct

import numpy as np
import pytest
from support.pytorch_files import Pickler, Raw, legacy_bytes, rebuild, storage_id, torch_bytes
from support.tiny import refused

from minidl.common.errors import FileFormatError
from minidl.formats.pytorch.legacy_container import MAGIC
from minidl.formats.reading import read_weight_file

WEIGHTS = {"a.weight": np.arange(6, dtype="f4").reshape(2, 3), "b.bias": np.ones(2, "f8")}
GOOD = torch_bytes(WEIGHTS, legacy=True)


@pytest.fixture
def read(tmp_path):
    def read(content):
        path = tmp_path / "model.pth"
        path.write_bytes(content)
        return read_weight_file(path)

    return read


def test_the_magic_number_is_pytorchs():
    assert GOOD.startswith(MAGIC)
    assert len(MAGIC) == 15


def test_a_big_endian_file_is_refused(read):
    with refused(FileFormatError, "little-endian"):
        read(torch_bytes(WEIGHTS, legacy=True, little_endian=False))


def test_another_version_is_refused(read):
    with refused(FileFormatError, "version 1001"):
        read(torch_bytes(WEIGHTS, legacy=True, version=1002))


@pytest.mark.parametrize("length", range(len(MAGIC), len(GOOD), 19))
def test_truncated_files_are_refused(read, length):
    with refused(FileFormatError, "model.pth", "again"):
        read(GOOD[:length])


def test_bytes_after_the_last_storage_are_refused(read):
    with refused(FileFormatError, f"expected {len(GOOD)} bytes, received {len(GOOD) + 1}"):
        read(GOOD + b"x")


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (["0"], "differs"),
        (["0", "1", "2"], "differs"),
        (["0", "0", "1"], "differs"),
        (["0", 1], "damaged"),
        ("01", "damaged"),
    ],
)
def test_the_list_of_storages_must_be_that_of_the_tensors(read, keys, words):
    pickler = Pickler(legacy=True)
    pickle = pickler.dumps(WEIGHTS)
    content = legacy_bytes(pickle, pickler.storages)
    dumps = Pickler().dumps
    with refused(FileFormatError, words):
        read(content.replace(dumps(["0", "1"]), dumps(keys)))


@pytest.mark.parametrize("count", [7, 0, -1, 2**62])
def test_the_count_of_numbers_is_checked_twice(read, count):
    at = GOOD.index(struct.pack("<q", 6) + WEIGHTS["a.weight"].tobytes())
    with refused(FileFormatError, "storage '0'"):
        read(GOOD[:at] + struct.pack("<q", count) + GOOD[at + 8 :])


def test_a_storage_has_one_type(read):
    first = rebuild(storage_id("Float", "0", 6, True), 0, (6,), (1,))
    second = rebuild(storage_id("Int", "0", 6, True), 0, (6,), (1,))
    pickle = Pickler(legacy=True).dumps({"a.bias": Raw(first), "b.bias": Raw(second)})
    with refused(FileFormatError, "two types"):
        read(legacy_bytes(pickle, {"0": (bytes(24), 6)}))


def test_views_of_storages_are_refused(read):
    """Files of 2017 could hold storages that are parts of others."""
    storage = storage_id("Float", "0", 6)[:-2] + b"(K\x00K\x00K\x06ttQ"
    pickle = Pickler(legacy=True).dumps({"a.bias": Raw(rebuild(storage, 0, (6,), (1,)))})
    with refused(FileFormatError, "persistent id"):
        read(legacy_bytes(pickle, {"0": (bytes(24), 6)}))


def test_a_storage_before_the_state_dict_is_refused(read):
    with refused(FileFormatError, "before the state dict"):
        read(MAGIC + b"\x80\x02" + b"NQ.")


def test_other_pickles_are_refused_by_their_kind(read):
    with refused(FileFormatError, "a pickle, which can run arbitrary code"):
        read(b"\x80\x02}." + bytes(600))
