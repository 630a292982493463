"""Archives: only the plain one that torch.save writes; nothing expands, overlaps or hides."""

import io
import tracemalloc
import warnings
import zipfile

import numpy as np
import pytest
from support.pytorch_files import Pickler, torch_bytes, zip_bytes
from support.tiny import refused

from minidl.common.errors import FileFormatError
from minidl.formats.pytorch import zip_container
from minidl.formats.reading import read_weight_file

WEIGHTS = {"a.weight": np.arange(6, dtype="f4").reshape(2, 3)}
GOOD = torch_bytes(WEIGHTS)


@pytest.fixture
def read(tmp_path):
    def read(content):
        path = tmp_path / "model.pth"
        path.write_bytes(content)
        return read_weight_file(path)

    return read


def rewritten(change=None, extra=(), compression=zipfile.ZIP_STORED):
    """Return the archive with further members, after `change` of the list of its members."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(GOOD)) as source, zipfile.ZipFile(buffer, "w") as target:
        for member in source.infolist():
            target.writestr(member.filename, source.read(member), compression)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of repeated names
            for name, content in extra:
                target.writestr(name, content)
        if change:
            change({member.filename: member for member in target.filelist})
    return buffer.getvalue()


def set_members(**attributes):
    def change(members):
        for name, value in attributes.items():
            setattr(members["archive/data/0"], name, value)

    return change


def test_the_archive_is_read(read):
    kernel = read(rewritten()).layers[0].tensors["kernel"]
    np.testing.assert_array_equal(kernel, WEIGHTS["a.weight"].T)


@pytest.mark.parametrize("folder", ["archive", "resnet18", "model.pth", "größe"])
def test_the_name_of_the_folder_is_free(read, folder):
    pickler = Pickler()
    pickle = pickler.dumps(WEIGHTS)
    assert read(zip_bytes(pickle, pickler.storages, folder=folder)).layers


@pytest.mark.parametrize("folder", ["", ".", "..", "/", "../..", "a/b", "C:/x"])
def test_absolute_and_outer_paths_are_refused(read, folder):
    pickler = Pickler()
    pickle = pickler.dumps(WEIGHTS)
    with refused(FileFormatError, "one folder"):
        read(zip_bytes(pickle, pickler.storages, folder=folder))


@pytest.mark.parametrize(
    "name",
    [
        "archive/data/../../../etc/passwd",
        "archive/data/..",
        "/archive/data/1",
        "../archive/data/1",
        "archive\\data\\1",
        "other/data/1",
        "other/data.pkl",
        "archive/data/inner/data.pkl",
        "archive/inner.zip",
        "archive/inner.pth",
        "archive/data/model.pth",
        "archive/__init__.py",
        "archive/",
        "data.pkl",
    ],
)
def test_members_of_other_names_are_refused(read, name):
    with refused(FileFormatError, "members of a state dict in one folder"):
        read(rewritten(extra=[(name, GOOD)]))


@pytest.mark.parametrize("name", ["archive/data/0", "archive/data.pkl", "archive/byteorder"])
def test_repeated_members_are_refused(read, name):
    with refused(FileFormatError, "two members", name):
        read(rewritten(extra=[(name, b"")]))


@pytest.mark.parametrize("name", ["archive/constants.pkl", "archive/code/__torch__.py"])
def test_torchscript_is_refused(read, name):
    with refused(FileFormatError, "TorchScript"):
        read(rewritten(extra=[(name, b"")]))


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressed_members_are_refused_unread(read, method):
    """A bomb: 200 MiB of zeros in 200 kB."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method, compresslevel=1) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}.", zipfile.ZIP_STORED)
        archive.writestr("archive/data/0", bytes(20 * 2**20))
    tracemalloc.start()
    with refused(FileFormatError, "compressed", "PyTorch never does"):
        read(buffer.getvalue())
    assert tracemalloc.get_traced_memory()[1] < 2 * 2**20
    tracemalloc.stop()


def test_encrypted_members_are_refused(read):
    with refused(FileFormatError, "encrypted"):
        read(rewritten(set_members(flag_bits=0x1)))


def test_sizes_that_the_directory_invents_are_refused(read):
    huge = set_members(file_size=2**50, compress_size=2**50)
    with refused(FileFormatError, "overlap"):
        read(rewritten(huge))
    with refused(FileFormatError, "compressed"):
        read(rewritten(set_members(file_size=2**50)))
    with refused(FileFormatError, "expected 24 bytes, received 20"):
        read(rewritten(set_members(file_size=20, compress_size=20)))


def test_overlapping_members_are_refused(read):
    """Members that share bytes are how an archive without compression would expand."""

    def overlap(members):
        members["archive/data/0"].header_offset = members["archive/version"].header_offset

    with refused(FileFormatError, "members of the archive"):
        read(rewritten(overlap))

    def longer(members):
        member = members["archive/data/0"]
        member.file_size = member.compress_size = member.file_size + 10

    with refused(FileFormatError, "overlap"):
        read(rewritten(longer))


def test_names_of_directory_and_member_must_agree(read):
    def rename(members):
        members["archive/data/0"].filename = "archive/data/1"

    with refused(FileFormatError, "members of the archive are damaged"):
        read(rewritten(rename))


def test_damaged_numbers_are_found_by_their_checksum(read):
    place = GOOD.index(WEIGHTS["a.weight"].tobytes()) + 5
    damaged = GOOD[:place] + bytes([GOOD[place] ^ 1]) + GOOD[place + 1 :]
    with refused(FileFormatError, "'data/0'", "CRC-32"):
        read(damaged)


def test_a_checksum_of_zero_means_none(read):
    assert read(rewritten(set_members(CRC=0))).layers


@pytest.mark.parametrize("order", [b"big", b"", b"BIG-ENDIAN" * 100])
def test_other_orders_of_bytes_are_refused(read, order):
    with refused(FileFormatError, "little-endian"):
        read(torch_bytes(WEIGHTS, byteorder=order))


def test_files_before_the_member_byteorder_are_read(read):
    assert read(torch_bytes(WEIGHTS, byteorder=None)).layers


@pytest.mark.parametrize("length", range(30, len(GOOD), 23))
def test_truncated_archives_are_refused(read, length):
    with refused(FileFormatError, "model.pth"):
        read(GOOD[:length])


def test_bytes_after_the_pickle_are_refused(read):
    with refused(FileFormatError, "bytes after its end"):
        read(zip_bytes(b"\x80\x02}.cos\nsystem\n", {}))


def test_limits(read, monkeypatch):
    monkeypatch.setattr(zip_container, "MAX_PICKLE", 10)
    with refused(FileFormatError, "data.pkl of at most 10 bytes"):
        read(GOOD)
    monkeypatch.setattr(zip_container, "MAX_MEMBERS", 3)
    with refused(FileFormatError, "at most 3 members"):
        read(GOOD)
