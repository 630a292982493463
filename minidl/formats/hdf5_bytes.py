"""Checks of the raw bytes of an HDF5 file, before the C library reads them.

HDF5 keeps strings in global heaps: sequences of strings with their lengths. A wrong length sends
the C library into an endless loop or makes it allocate gigabytes.

>>> import io, h5py
>>> from minidl.formats.hdf5_bytes import check_superblock, global_heaps
>>> raw = io.BytesIO()
>>> with h5py.File(raw, "w") as file:
...     file.attrs["names"] = ["first", "second"]
>>> check_superblock(raw, 0)
>>> [sorted(lengths.values()) for lengths in global_heaps(raw, len(raw.getvalue()), 0).values()]
[[5, 6]]
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO

from minidl.common.errors import FileFormatError

__all__ = [
    "MAX_ATTRIBUTE",
    "SIGNATURE",
    "check_references",
    "check_superblock",
    "global_heaps",
]

SIGNATURE = b"\x89HDF\r\n\x1a\n"
MAX_ATTRIBUTE = 64 * 2**20  # bytes
MAX_SEARCH = 16 * 2**30  # bytes to search for references to strings: some seconds
HEAP_MARK, HEAP_HEADER, OBJECT_HEADER, SMALLEST_HEAP = b"GCOL\x01", 16, 16, 4096
HEAP_DAMAGE = "the strings of the HDF5 file (global heap) are damaged; get it again"


def check_superblock(raw: BinaryIO, start: int) -> None:
    """Raise FileFormatError unless the file begins as HDF5 with addresses of 8 bytes."""
    raw.seek(start)
    head = raw.read(16)
    if not head.startswith(SIGNATURE):
        raise FileFormatError("not an HDF5 file (its signature is missing)")
    version = head[8] if len(head) == 16 else 255
    widths = {0: head[13:15], 1: head[13:15], 2: head[9:11], 3: head[9:11]}.get(version)
    if widths != b"\x08\x08":
        raise FileFormatError("the header of the HDF5 file is damaged; get it again")


def global_heaps(raw: BinaryIO, size: int, start: int) -> dict[int, dict[int, int]]:
    """Return the global heaps, in which HDF5 stores strings, by address.

    A heap is a sequence of strings with their lengths. A wrong length sends the C library into an
    endless loop.
    """
    heaps = {}
    for offset in _occurrences(raw, HEAP_MARK):
        raw.seek(offset + 8)
        length = int.from_bytes(raw.read(8), "little")
        if SMALLEST_HEAP <= length <= size - offset:  # otherwise HDF5 itself refuses the heap
            raw.seek(offset)
            heaps[offset - start] = _heap_objects(raw.read(length))
        if len(heaps) * size > MAX_SEARCH:
            raise FileFormatError("the file holds more strings than a weight file needs")
    return heaps


def check_references(raw: BinaryIO, heaps: dict[int, dict[int, int]], start: int) -> None:
    """Refuse references to strings of gigabytes, which HDF5 would allocate first.

    A reference is the string's length, the heap's address and the string's number. Only a length
    that no string has indicates damage, because files contain remains of former references. The
    older format, which Keras writes, aligns references; elsewhere the bytes occur by chance.
    """
    raw.seek(start + len(SIGNATURE))
    aligned = raw.read(1)[0] < 2  # version of the superblock
    for address, lengths in heaps.items():
        for offset in _occurrences(raw, address.to_bytes(8, "little")):
            if aligned and offset % 8 != 4:
                continue
            raw.seek(max(offset - 4, 0))
            claimed, _, number = struct.unpack("<IQI", raw.read(16).ljust(16, b"\xff"))
            if claimed > MAX_ATTRIBUTE and number in lengths:
                raise FileFormatError(HEAP_DAMAGE)


def _heap_objects(heap: bytes) -> dict[int, int]:
    """Return the lengths of a heap's strings by number."""
    lengths: dict[int, int] = {}
    offset = HEAP_HEADER
    while offset + OBJECT_HEADER <= len(heap):
        number, length = struct.unpack_from("<H6xQ", heap, offset)
        # Number 0 is the free rest, whose length includes the header; nothing refers to it.
        step = OBJECT_HEADER + -(-length // 8) * 8 if number else length
        if step < OBJECT_HEADER or offset + step > len(heap) or number in lengths:
            raise FileFormatError(HEAP_DAMAGE)
        if number:
            lengths[number] = length
        offset += step
    return lengths


def _occurrences(raw: BinaryIO, pattern: bytes, block: int = 16 * 2**20) -> Iterator[int]:
    """Yield the offsets of `pattern` in a file."""
    start, tail = 0, b""
    while True:
        raw.seek(start)
        data = raw.read(block)
        if not data:
            return
        text, first = tail + data, start - len(tail)
        found = text.find(pattern)
        while found >= 0:
            yield first + found
            found = text.find(pattern, found + 1)
        start, tail = start + len(data), text[-len(pattern) + 1 :]
