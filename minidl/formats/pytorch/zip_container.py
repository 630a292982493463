"""The zip form of PyTorch's files, which ``torch.save`` writes since version 1.6.

An archive holds ``<folder>/data.pkl``, the pickle of the state dict, and one uncompressed member
``<folder>/data/<key>`` for each storage. Compressed, encrypted, repeated, overlapping and unknown
members are refused, therefore nothing can expand.

>>> from minidl.formats.pytorch.zip_container import is_pytorch
>>> is_pytorch(["archive/data.pkl", "archive/data/0"]), is_pytorch(["config.json"])
(True, False)
"""

from __future__ import annotations

import re
import struct
import zipfile
import zlib
from collections.abc import Iterable
from typing import Any, BinaryIO

from minidl.common.errors import FileFormatError
from minidl.formats.pytorch.interpreter import interpret
from minidl.formats.pytorch.tensors import KNOWN, Storage, storage_of

__all__ = ["ZipContainer", "is_pytorch"]

MAX_PICKLE, MAX_MEMBERS = 16 * 2**20, 100_000
ENCRYPTED, UTF8 = 0x1, 0x800  # flags of a member
LOCAL_HEADER = struct.Struct("<4s22xHH")  # signature, lengths of the name and of the extra field
CHUNK = 2**20
_STORAGE = re.compile(r"data/[0-9A-Za-z_-]{1,60}")
_OTHERS = {
    "data.pkl",
    "version",
    "byteorder",
    ".format_version",
    ".storage_alignment",
    ".data/serialization_id",
}


def is_pytorch(names: Iterable[str]) -> bool:
    """Return whether the members of an archive are those of a PyTorch file."""
    return any(name == "data.pkl" or name.endswith("/data.pkl") for name in names)


class ZipContainer:
    """The members of an archive, checked.

    Parameters
    ----------
    file : binary file

    Raises
    ------
    FileFormatError
        If the archive is damaged or is not the plain archive that ``torch.save`` writes.
    """

    dialect = "PyTorch state dict"

    def __init__(self, file: BinaryIO):
        self.file = file
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
        if len(members) > MAX_MEMBERS:
            raise FileFormatError(f"expected at most {MAX_MEMBERS:,} members, received more")
        self.members = _checked(members)
        self.starts = _starts(file, members)

    def load(self) -> Any:
        """Return the pickled object; its tensors refer to storages."""
        order = self._small("byteorder")
        if order not in (None, b"little"):
            raise FileFormatError(
                f"expected numbers in little-endian order, received {order[:20]!r}. Save the file "
                "on a little-endian machine"
            )
        if "data.pkl" not in self.members:
            raise FileFormatError("the archive has no data.pkl in its folder; get the file again")
        if self.members["data.pkl"].file_size > MAX_PICKLE:
            raise FileFormatError(f"expected a data.pkl of at most {MAX_PICKLE} bytes")
        data = self._small("data.pkl") or b""
        result, end = interpret(data, KNOWN, self._storage)
        if end != len(data):
            raise FileFormatError("data.pkl has bytes after its end; get the file again")
        return result

    def start(self, storage: Storage) -> int:
        """Return the offset of a storage's first byte, after a check of the member's CRC-32."""
        name = f"data/{storage.key}"
        member, start = self.members[name], self.starts[name]
        if member.CRC:  # 0: written without, by torch.serialization.set_crc32_options(False)
            checksum, left = 0, member.file_size
            self.file.seek(start)
            while left > 0 and (chunk := self.file.read(min(CHUNK, left))):
                checksum, left = zlib.crc32(chunk, checksum), left - len(chunk)
            if left or checksum != member.CRC:
                raise FileFormatError(f"member {name!r} is damaged (CRC-32); get the file again")
        return start

    def _storage(self, identifier: Any) -> Storage:
        storage = storage_of(identifier)
        member = self.members.get(f"data/{storage.key}")
        if member is None:
            raise FileFormatError(f"the storage {storage.key[:60]!r} is missing in the archive")
        if member.file_size != storage.nbytes:
            raise FileFormatError(
                f"storage {storage.key!r}: expected {_shown(storage.nbytes)} bytes, received "
                f"{member.file_size}"
            )
        return storage

    def _small(self, name: str) -> bytes | None:
        """Return the content of a small member, or None if it is missing."""
        if name not in self.members:
            return None
        self.file.seek(self.starts[name])
        return self.file.read(min(self.members[name].file_size, MAX_PICKLE))


def _checked(members: list[zipfile.ZipInfo]) -> dict[str, zipfile.ZipInfo]:
    """Return the members by their names without the folder; refuse those of other files."""
    folder = members[0].filename.split("/")[0]
    found: dict[str, zipfile.ZipInfo] = {}
    for member in members:
        shown = ascii(member.filename[:60])
        top, _, name = member.filename.partition("/")
        if name in found and top == folder:
            raise FileFormatError(f"the archive has two members {shown}")
        if name.startswith("code/") or name == "constants.pkl":
            raise FileFormatError(
                "a TorchScript program, not a state dict. Save the weights with "
                "torch.save(module.state_dict(), path)"
            )
        is_known = name in _OTHERS or _STORAGE.fullmatch(name)
        if top != folder or top in ("", ".", "..") or not is_known:
            raise FileFormatError(
                f"expected the members of a state dict in one folder (data.pkl, data/0, ...), "
                f"received {shown}"
            )
        if member.flag_bits & ENCRYPTED:
            raise FileFormatError(f"member {shown} is encrypted. Decrypt the file first")
        if member.compress_type != zipfile.ZIP_STORED or member.compress_size != member.file_size:
            raise FileFormatError(
                f"member {shown} is compressed, which PyTorch never does. Save the file again"
            )
        found[name] = member
    return found


def _starts(file: BinaryIO, members: list[zipfile.ZipInfo]) -> dict[str, int]:
    """Return the offset of each member's first byte; members must not overlap."""
    starts: dict[str, int] = {}
    end = 0
    for member in sorted(members, key=lambda member: member.header_offset):
        if member.header_offset < end:
            raise FileFormatError("the members of the archive overlap; get the file again")
        file.seek(member.header_offset)
        header = file.read(LOCAL_HEADER.size).ljust(LOCAL_HEADER.size, b"\0")
        signature, name_length, extra_length = LOCAL_HEADER.unpack(header)
        name = file.read(name_length)
        encoding = "utf-8" if member.flag_bits & UTF8 else "cp437"
        if signature != b"PK\x03\x04" or name != member.orig_filename.encode(encoding):
            raise FileFormatError("the members of the archive are damaged; get the file again")
        start = member.header_offset + LOCAL_HEADER.size + name_length + extra_length
        starts[member.filename.partition("/")[2]] = start
        end = start + member.file_size
    if end > file.seek(0, 2):
        raise FileFormatError("the archive is truncated; get the file again")
    return starts


def _shown(number: int) -> str:
    return str(number) if number < 10**19 else "more than 10^19"
