"""Tensors: what a file claims of offsets, sizes and strides is checked before anything is read."""

import tracemalloc

import numpy as np
import pytest
from support.pytorch_files import Pickler, Raw, legacy_bytes, rebuild, storage_id, text, zip_bytes
from support.tiny import refused

from minidl.common.errors import FileFormatError
from minidl.formats.pytorch.state_dict import read_state_dict

FORMS = pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
DATA = np.arange(6, dtype="<f4").tobytes()


def write(path, tensor, legacy=False, data=DATA, count=6):
    """Write a state dict with one tensor, given by its opcodes, and one storage."""
    pickle = Pickler().dumps({"a.weight": Raw(tensor)})
    storages = {"0": (data, count)}
    path.write_bytes((legacy_bytes if legacy else zip_bytes)(pickle, storages))
    return path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.pth"


@FORMS
@pytest.mark.parametrize(
    ("offset", "shape", "strides", "words"),
    [
        (1, (2, 3), (3, 1), ["offset 1", "exceeds its storage of 6 numbers"]),
        (0, (2, 3), (4, 1), ["strides (4, 1)", "exceeds"]),
        (6, (1,), (1,), ["exceeds"]),
        (0, (2, 4), (4, 1), ["shape (2, 4)", "exceeds"]),
        (2**62, (2, 3), (3, 1), ["exceeds"]),
        (0, (2**40, 2**40), (0, 0), ["overlapping"]),
        (0, (1000,), (0,), ["overlapping"]),
        (0, (3, 3), (1, 1), ["overlapping"]),
        (-1, (2, 3), (3, 1), ["offset >= 0"]),
        (0, (-2, -3), (3, 1), ["sizes >= 0"]),
        (0, (2, 3), (-3, 1), ["strides >= 0"]),
        (5, (2, 3), (-3, -1), ["strides >= 0"]),
        (0, (2, 3), (1,), ["2 strides"]),
        (0, (2, 3), (1, 1, 1), ["2 strides"]),
        (0, [2, 3], (3, 1), ["sizes"]),
        (0, (2, 3), [3, 1], ["strides"]),
        (0, (2.0, 3), (3, 1), ["sizes"]),
        (0, (True, 3), (3, 1), ["sizes"]),
        (0.0, (2, 3), (3, 1), ["offset"]),
        (None, (2, 3), (3, 1), ["offset"]),
        (0, ("2", 3), (3, 1), ["sizes"]),
        (0, (1,) * 9, (1,) * 9, ["at most 8"]),
        (0, (0, 2**62), (1, 1), ["(0, 4611686018427387904)"]),
    ],
)
def test_wrong_claims_are_refused(path, legacy, offset, shape, strides, words):
    tensor = rebuild(storage_id("Float", "0", 6, legacy), offset, shape, strides)
    with refused(FileFormatError, "model.pth", *words):
        read_state_dict(write(path, tensor, legacy))


def test_numbers_of_hundreds_of_digits_are_refused_in_one_line(path):
    huge = b"\x8a\xff" + b"\x01" * 255  # an integer of 2033 bits
    storage = storage_id("Float", "0", 6)
    tensor = rebuild(storage, 0, Raw(b"(" + huge + huge + b"t"), (1, 1))
    with refused(FileFormatError, "more than 19 digits"):
        read_state_dict(write(path, tensor))
    with refused(FileFormatError, "storage '0'", "10^19"):
        read_state_dict(write(path, rebuild(storage_id("Float", "0", Raw(huge)), 0, (2,), (1,))))


@FORMS
@pytest.mark.parametrize(
    ("storage", "words"),
    [
        (lambda s: storage_id("Float", "0", 7, s), "storage '0'"),
        (lambda s: storage_id("Double", "0", 6, s), "storage '0'"),
        (lambda s: storage_id("Float", "0", 2**61, s), "storage '0'"),
        (lambda s: storage_id("Float", "0", -6, s), "valid type, key and size"),
        (lambda s: storage_id("ComplexFloat", "0", 6, s), "torch.ComplexFloatStorage"),
        (lambda s: storage_id("QInt8", "0", 6, s), "torch.QInt8Storage"),
        (lambda s: text("0"), "expected a tensor with a storage"),
        (lambda s: b"(" + text("storage") + b"tQ", "persistent id"),
        (lambda s: text("0") + b"Q", "persistent id"),
        (lambda s: storage_id("Float", "0", 6, s).replace(b"storage", b"STORAGE"), "persistent id"),
    ],
)
def test_wrong_storages_are_refused(path, legacy, storage, words):
    with refused(FileFormatError, words):
        read_state_dict(write(path, rebuild(storage(legacy), 0, (2, 3), (3, 1)), legacy))


@pytest.mark.parametrize("key", ["1", "", "../version", "/etc/passwd", "..", "0/../0", "a" * 5000])
def test_a_storage_must_be_in_the_archive(path, key):
    with refused(FileFormatError, "storage", "missing in the archive"):
        read_state_dict(write(path, rebuild(storage_id("Float", key, 6), 0, (2, 3), (3, 1))))


@pytest.mark.parametrize(
    "call",
    [
        b"ctorch._utils\n_rebuild_parameter\nK\x01\x88}\x87R",
        b"ctorch._utils\n_rebuild_tensor_v2\n)R",
        b"ctorch._utils\n_rebuild_tensor_v2\nNNN\x87R",
        b"ccollections\nOrderedDict\n](]NNeae\x85R",
    ],
)
def test_calls_with_other_arguments_are_refused(path, call):
    with refused(FileFormatError):
        read_state_dict(write(path, call))


def test_parameters_and_tensors_of_former_versions_are_read(path):
    storage = storage_id("Float", "0", 6)
    tensor = rebuild(storage, 0, (2, 3), (3, 1))
    parameter = b"ctorch._utils\n_rebuild_parameter\n" + tensor + b"\x88}\x87R"
    former = b"ctorch._utils\n_rebuild_tensor\n(" + storage + b"K\x00K\x02K\x03\x86K\x03K\x01\x86tR"
    for code in (parameter, former):
        kernel = read_state_dict(write(path, code)).layers[0].tensors["kernel"]
        np.testing.assert_array_equal(kernel.T, np.arange(6, dtype="f4").reshape(2, 3))


def test_many_sparse_views_of_a_large_storage_are_refused(path):
    """Each view has two numbers, but spans the storage."""
    count = 2_000_000
    tensor = rebuild(storage_id("Float", "0", count), 0, (2,), (count - 1,))

    def write_views(views):
        content = {f"layer{i}.bias": Raw(tensor) for i in range(views)}
        path.write_bytes(zip_bytes(Pickler().dumps(content), {"0": (bytes(4 * count), count)}))

    write_views(3)
    tracemalloc.start()
    assert len(read_state_dict(path).layers) == 3
    assert tracemalloc.get_traced_memory()[0] < 2**20  # the spans are free again
    tracemalloc.stop()
    write_views(100)
    with refused(FileFormatError, "too many for a file of"):
        read_state_dict(path)


def test_a_storage_may_be_shared_but_not_without_limit(path):
    """A small file must not become many times its size in memory."""
    count = 2_000_000
    data = np.ones(count, "<f4").tobytes()
    tensor = rebuild(storage_id("Float", "0", count), 0, (2, count // 2), (count // 2, 1))

    def write_copies(copies):
        content = {f"layer{i}.weight": Raw(tensor) for i in range(copies)}
        path.write_bytes(zip_bytes(Pickler().dumps(content), {"0": (data, count)}))

    write_copies(2)
    assert len(read_state_dict(path).layers) == 2
    write_copies(10_000)  # 80 GB
    tracemalloc.start()
    with refused(FileFormatError, "too many for a file of"):
        read_state_dict(path)
    assert tracemalloc.get_traced_memory()[1] < 50 * 2**20
    tracemalloc.stop()
