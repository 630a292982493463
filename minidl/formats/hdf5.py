"""Opening HDF5 files of strangers: looked through before anything is read.

An HDF5 file can point to other files, claim sizes that no memory holds, and, when it is damaged,
lead the C library around in circles. So the whole tree of names is walked first, and only
what a weight file needs is let through: groups and plain arrays of numbers, each under one name.

>>> import tempfile, h5py, numpy as np
>>> from minidl.formats.hdf5 import open_hdf5, read_names, read_tensor
>>> path = tempfile.mkdtemp() + "/a.h5"
>>> with h5py.File(path, "w") as file:
...     file.attrs["layer_names"] = ["fc"]
...     file["fc"] = np.ones(2, "float32")
>>> with open_hdf5(path) as file:
...     read_names(file, "layer_names", path), read_tensor(file["fc"], "fc", path)
(['fc'], array([1., 1.], dtype=float32))
"""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import numpy as np

from minidl.common.errors import FileFormatError, MinidlError

__all__ = [
    "SIGNATURE",
    "as_format_errors",
    "check_file",
    "open_hdf5",
    "read_names",
    "read_tensor",
    "read_text",
]

SIGNATURE = b"\x89HDF\r\n\x1a\n"
MAX_OBJECTS, MAX_DEPTH = 100_000, 32
MAX_TOTAL, MAX_ATTRIBUTE = 8 * 2**30, 64 * 2**20
MAX_SEARCH = 16 * 2**30  # bytes to look through for references to text, some seconds
# A small file of zeros may be compressed a lot; a large one that claims more than this lies.
SMALL, MAX_EXPANSION = 64 * 2**20, 64
FILTERS = {1: "gzip", 2: "shuffle", 3: "fletcher32"}
HEAP_MARK, HEAP_HEADER, OBJECT_HEADER, SMALLEST_HEAP = b"GCOL\x01", 16, 16, 4096


@contextlib.contextmanager
def open_hdf5(source, path=None) -> Iterator[Any]:
    """Open a file for reading, as an ``h5py.File`` in a ``with`` statement.

    Within the statement, too, every failure of h5py becomes a FileFormatError.

    Parameters
    ----------
    source : str, Path or binary file object
    path : str or Path, optional
        What messages call a file object.

    Raises
    ------
    FileNotFoundError, IsADirectoryError
    FileFormatError
        If the file is damaged, or holds what no weight file needs: links to other places or
        files, virtual datasets, external storage, absurd sizes, one object under two names.
    """
    import h5py

    is_stream = hasattr(source, "read")
    path = source if path is None else path
    if not is_stream:
        check_file(source)
    with contextlib.ExitStack() as stack:
        raw = source if is_stream else stack.enter_context(open(source, "rb"))
        stack.enter_context(as_format_errors(path))
        size = raw.seek(0, os.SEEK_END)
        _check_superblock(raw, path)
        heaps = _heaps(raw, size, path)
        raw.seek(0)
        file = stack.enter_context(h5py.File(raw if is_stream else os.fspath(source), "r"))
        _check_tree(file, size, path)
        _check_references(raw, heaps, path)
        yield file


def check_file(path) -> None:
    """Raise FileNotFoundError or IsADirectoryError, with the path, unless there is a file."""
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path}: expected a weight file, found a folder")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file")


def read_tensor(dataset, place: str, path) -> np.ndarray:
    """Return a copy of a dataset of float16, float32 or float64, in the machine's byte order.

    Raises
    ------
    FileFormatError
        For other types, for numbers that were never written, and for NaN or infinity; `place`
        and `path` are for the message.
    """
    with as_format_errors(path):
        dtype = _float_type(dataset)
        if dtype is None:
            raise FileFormatError(
                f"{path}: {place!r} holds no plain floating-point numbers; expected float32, "
                "float64 or float16: set the model's dtype to float32 and save it again"
            )
        if not _is_complete(dataset):
            raise FileFormatError(
                f"{path}: {place!r} was never written to the end; get the file again"
            )
        array = np.empty(dataset.shape, dtype)
        if array.size:
            dataset.read_direct(array)
    if not np.isfinite(array).all():
        raise FileFormatError(f"{path}: {place!r} contains NaN or infinite values")
    return array


def read_names(group, attribute: str, path) -> list[str] | None:
    """Return a list of names that Keras keeps as an attribute; None where there is none.

    A long list is in pieces: ``layer_names0``, ``layer_names1``, ...
    """
    names = _attribute(group, attribute, path)
    if names is not None:
        return names
    names = []
    for number in itertools.count():
        piece = _attribute(group, f"{attribute}{number}", path)
        if piece is None:
            return names if number else None
        names += piece
    return None


def read_text(group, attribute: str, path) -> str | None:
    """Return an attribute that is one text; None where there is none."""
    values = _attribute(group, attribute, path)
    if values is not None and len(values) != 1:
        raise FileFormatError(f"{path}: expected one text in {attribute!r}, received {len(values)}")
    return None if values is None else values[0]


@contextlib.contextmanager
def as_format_errors(path) -> Iterator[None]:
    """Turn whatever a damaged file makes h5py raise into a FileFormatError of one sentence."""
    try:
        yield
    except MinidlError:
        raise
    except Exception as error:  # h5py has no error of its own: it may be of nearly any class
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise FileFormatError(
            f"{path}: cannot be read ({lines[0][:200]}); it is damaged or cut off: get it again"
        ) from error


def _attribute(group, name: str, path) -> list[str] | None:
    """Return a list of texts, or one text, as a list."""
    import h5py

    with as_format_errors(path):
        if name not in group.attrs:
            return None
        attribute = group.attrs.get_id(name)
        kind, shape = attribute.get_type(), attribute.shape
        if shape is None or 0 in shape:  # Keras writes no names as no numbers
            return []
        # Only of these two kinds of text is h5py sure not to run astray.
        is_text = kind.get_class() == h5py.h5t.STRING and isinstance(kind, h5py.h5t.TypeStringID)
        if not is_text or math.prod(shape) * kind.get_size() > MAX_ATTRIBUTE or len(shape) > 1:
            raise FileFormatError(f"{path}: expected names in the attribute {name!r}")
        return [_decoded(value) for value in np.atleast_1d(group.attrs[name]).tolist()]


def _decoded(value) -> str:
    text = value.decode() if isinstance(value, bytes) else str(value)
    text.encode()  # h5py has signs of its own for what is no UTF-8; they cannot be printed
    return text


# Before h5py opens the file


def _check_superblock(raw: BinaryIO, path) -> None:
    """Raise FileFormatError unless the file begins as HDF5 with addresses of 8 bytes."""
    raw.seek(0)
    head = raw.read(16)
    if not head.startswith(SIGNATURE):
        raise FileFormatError(f"{path}: not an HDF5 file (its beginning has no mark of one)")
    version = head[8] if len(head) == 16 else 255
    widths = {0: head[13:15], 1: head[13:15], 2: head[9:11], 3: head[9:11]}.get(version)
    if widths != b"\x08\x08":
        raise FileFormatError(f"{path}: the beginning of the HDF5 file is damaged; get it again")


def _heaps(raw: BinaryIO, size: int, path) -> dict[int, dict[int, int]]:
    """Return where HDF5 keeps texts: the addresses of its "global heaps" with their lengths.

    Texts lie there one after the other, each with its length. A wrong one sends the C library
    around for ever.
    """
    heaps = {}
    for address in _occurrences(raw, HEAP_MARK):
        raw.seek(address + 8)
        length = int.from_bytes(raw.read(8), "little")
        if SMALLEST_HEAP <= length <= size - address:  # else it is no heap, and HDF5 will say so
            raw.seek(address)
            heaps[address] = _heap_objects(raw.read(length), path)
        if len(heaps) * size > MAX_SEARCH:
            raise FileFormatError(f"{path}: holds more texts than a weight file needs")
    return heaps


def _check_references(raw: BinaryIO, heaps: dict[int, dict[int, int]], path) -> None:
    """Raise for references to texts that claim gigabytes: HDF5 would make room for them first.

    A reference is the text's length, the heap's address and the text's number. Remains of older
    ones lie about in a file, so that only a length that no text has tells of damage; and the
    same bytes stand elsewhere by chance, but not where the older format, Keras', aligns them.
    """
    raw.seek(len(SIGNATURE))
    aligned = raw.read(1)[0] < 2  # the version of the file's beginning
    for address, lengths in heaps.items():
        for place in _occurrences(raw, address.to_bytes(8, "little")):
            if aligned and place % 8 != 4:
                continue
            raw.seek(max(place - 4, 0))
            claimed, _, number = struct.unpack("<IQI", raw.read(16).ljust(16, b"\xff"))
            if claimed > MAX_ATTRIBUTE and number in lengths:
                _refuse_heap(path)


def _heap_objects(heap: bytes, path) -> dict[int, int]:
    """Return the lengths of a heap's texts by number."""
    lengths: dict[int, int] = {}
    place = HEAP_HEADER
    while place + OBJECT_HEADER <= len(heap):
        number, length = struct.unpack_from("<H6xQ", heap, place)
        # Number 0 is the free rest, whose length includes the header; nothing refers to it.
        step = OBJECT_HEADER + -(-length // 8) * 8 if number else length
        if step < OBJECT_HEADER or place + step > len(heap) or number in lengths:
            _refuse_heap(path)
        if number:
            lengths[number] = length
        place += step
    return lengths


def _refuse_heap(path) -> NoReturn:
    raise FileFormatError(f"{path}: damaged where HDF5 keeps texts (global heap); get it again")


def _occurrences(raw: BinaryIO, pattern: bytes, block: int = 16 * 2**20) -> Iterator[int]:
    """Yield the places of `pattern` in a file."""
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


# The tree of names


def _check_tree(file, size: int, path) -> None:
    """Raise FileFormatError for anything but groups and plain arrays of believable size."""
    import h5py

    waiting = [(file["/"], "", 0)]
    seen, total = {h5py.h5o.get_info(waiting[0][0].id).addr}, 0
    while waiting:
        group, prefix, depth = waiting.pop()
        for name in group:
            place = f"{prefix}{name}"
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise FileFormatError(
                    f"{path}: {place!r} is a link to another place or file; a weight file needs "
                    "none, and following one could read what it should not"
                )
            item = group[name]
            address = h5py.h5o.get_info(item.id).addr
            if address in seen:
                raise FileFormatError(f"{path}: {place!r} is another name of an object seen before")
            seen.add(address)
            if len(seen) > MAX_OBJECTS or depth >= MAX_DEPTH:
                raise FileFormatError(f"{path}: too many objects or too deep at {place!r}")
            if isinstance(item, h5py.Dataset):
                total += _checked_size(item, place, size, path)
            elif isinstance(item, h5py.Group):
                waiting.append((item, f"{place}/", depth + 1))
            else:
                raise FileFormatError(f"{path}: {place!r} is neither a group nor an array")
            if total > MAX_TOTAL:
                raise FileFormatError(f"{path}: claims to hold more than {MAX_TOTAL} bytes")


def _checked_size(dataset, place: str, size: int, path) -> int:
    """Return how many bytes the array takes, unless its storage is not that of plain numbers."""
    import h5py

    storage = dataset.id.get_create_plist()
    if storage.get_layout() == h5py.h5d.VIRTUAL or storage.get_external_count():
        raise FileFormatError(
            f"{path}: {place!r} lies in another file (virtual or external storage); copy the "
            "numbers into one file"
        )
    filters = [storage.get_filter(i)[0] for i in range(storage.get_nfilters())]
    if any(code not in FILTERS for code in filters) or len(filters) > len(FILTERS):
        raise FileFormatError(
            f"{path}: {place!r} is packed with filter {filters}, expected gzip, shuffle or none"
        )
    width, limit = dataset.id.get_type().get_size(), max(SMALL, MAX_EXPANSION * size)
    chunk = storage.get_chunk() if storage.get_layout() == h5py.h5d.CHUNKED else ()
    for shape in (dataset.shape or (), chunk):
        if math.prod(shape) * width > limit:
            raise FileFormatError(
                f"{path}: {place!r} claims the shape {shape}, too much for a file of {size} bytes"
            )
    return math.prod(dataset.shape or ()) * width


def _float_type(dataset) -> np.dtype | None:
    """Return the type as NumPy has it, in the machine's byte order; None for all others."""
    import h5py

    if dataset.shape is None:
        return None
    kind = dataset.id.get_type()
    for width in (2, 4, 8):
        for order in "LB":
            if kind.equal(getattr(h5py.h5t, f"IEEE_F{8 * width}{order}E")):
                return np.dtype(f"f{width}")
    return None


def _is_complete(dataset) -> bool:
    """Say whether all numbers are in the file; for those that are not HDF5 returns zeros."""
    storage = dataset.id.get_create_plist()
    shape, chunk = dataset.shape, dataset.chunks
    if 0 in shape:
        return True
    if chunk is None:
        return dataset.id.get_storage_size() == dataset.nbytes and not storage.get_nfilters()
    count = math.prod(-(-n // c) for n, c in zip(shape, chunk, strict=True))
    return dataset.id.get_num_chunks() == count
