"""The form of PyTorch's files before version 1.6: pickles, then the numbers of all storages.

The pickles are a magic number, the version of the format, the writer's machine, the state dict,
and the keys of the storages. For each key follow 8 bytes with the count of numbers, and the
numbers.

>>> from minidl.formats.pytorch.legacy_container import MAGIC
>>> len(MAGIC), MAGIC[:4]
(15, b'\\x80\\x02\\x8a\\n')
"""

from __future__ import annotations

from typing import Any, BinaryIO

from minidl.common.errors import FileFormatError
from minidl.formats.pytorch.interpreter import interpret
from minidl.formats.pytorch.tensors import KNOWN, Storage, storage_of

__all__ = ["MAGIC", "LegacyContainer"]

MAGIC = b"\x80\x02\x8a\x0a" + 0x1950A86A20F9469CFC6C.to_bytes(10, "little") + b"."
VERSION = 1001
MAX_PICKLE = 16 * 2**20  # bytes of all pickles together


class LegacyContainer:
    """The pickles and storages of a file.

    Parameters
    ----------
    file : binary file
        It begins with :data:`MAGIC`.
    """

    dialect = "PyTorch state dict (legacy form)"

    def __init__(self, file: BinaryIO):
        self.file = file
        self.storages: dict[str, Storage] = {}
        self.starts: dict[str, int] = {}

    def load(self) -> Any:
        """Return the pickled object; its tensors refer to storages."""
        self.file.seek(0)
        data = memoryview(self.file.read(MAX_PICKLE))
        version, offset = interpret(data, {}, offset=len(MAGIC))
        if version != VERSION:
            raise FileFormatError("expected version 1001 of the legacy form, received another")
        machine, offset = interpret(data, {}, offset=offset)
        if not isinstance(machine, dict) or machine.get("little_endian") is not True:
            raise FileFormatError(
                "expected numbers in little-endian order. Save the file on a little-endian machine"
            )
        result, offset = interpret(data, KNOWN, self._storage, offset)
        keys, offset = interpret(data, {}, offset=offset)
        self._locate(keys, offset)
        return result

    def start(self, storage: Storage) -> int:
        """Return the offset of a storage's first byte."""
        return self.starts[storage.key]

    def _storage(self, identifier: Any) -> Storage:
        storage = storage_of(identifier)
        if self.storages.setdefault(storage.key, storage) != storage:
            raise FileFormatError(f"storage {storage.key[:60]!r} has two types or sizes")
        return storage

    def _locate(self, keys: Any, offset: int) -> None:
        """Find the numbers of each storage; they must fill the file to its end."""
        if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
            raise FileFormatError("the list of storages is damaged; get the file again")
        if len(set(keys)) != len(keys) or set(keys) != set(self.storages):
            raise FileFormatError("the list of storages differs from the storages of the tensors")
        size = self.file.seek(0, 2)
        for key in keys:
            self.file.seek(offset)
            count = int.from_bytes(self.file.read(8), "little", signed=True)
            storage = self.storages[key]
            if count != storage.count or offset + 8 + storage.nbytes > size:
                raise FileFormatError(
                    f"storage {key[:60]!r} is truncated or has another size than its tensors "
                    "claim; get the file again"
                )
            self.starts[key] = offset + 8
            offset += 8 + storage.nbytes
        if offset != size:
            raise FileFormatError(f"expected {offset} bytes, received {size}; get the file again")
