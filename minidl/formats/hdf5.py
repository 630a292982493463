"""Safe reading of HDF5 files from unknown sources.

An HDF5 file can link to other files and claim sizes that exceed the memory. A damaged file can
send the C library into an endless loop. Therefore the whole tree is checked before anything is
read. Only groups and plain arrays of numbers are accepted, each under one name.

>>> import tempfile, h5py, numpy as np
>>> from minidl.formats.hdf5 import open_hdf5, read_names, read_tensor
>>> path = tempfile.mkdtemp() + "/a.h5"
>>> with h5py.File(path, "w") as file:
...     file.attrs["layer_names"] = ["fc"]
...     file["fc"] = np.ones(2, "float32")
>>> with open_hdf5(path) as file:
...     read_names(file, "layer_names"), read_tensor(file["fc"], "fc")
(['fc'], array([1., 1.], dtype=float32))
"""

from __future__ import annotations

import contextlib
import itertools
import math
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO, cast

import numpy as np

from minidl.common.errors import FileFormatError
from minidl.formats.file_errors import StrPath, check_file, check_finite, file_errors
from minidl.formats.hdf5_bytes import (
    MAX_ATTRIBUTE,
    SIGNATURE,
    check_references,
    check_superblock,
    global_heaps,
)

if TYPE_CHECKING:
    import h5py

__all__ = [
    "SIGNATURE",
    "is_count",
    "open_hdf5",
    "read_arrays",
    "read_names",
    "read_string",
    "read_tensor",
    "read_text",
]

MAX_OBJECTS, MAX_DEPTH = 100_000, 32
# Zeros compress well: small files may claim 64 MiB, larger ones 64 times their size.
SMALL, MAX_EXPANSION = 64 * 2**20, 64
FILTERS = {1: "gzip", 2: "shuffle", 3: "fletcher32"}


@contextlib.contextmanager
def open_hdf5(
    source: StrPath | BinaryIO, path: StrPath | None = None, user_block: int = 0
) -> Iterator[h5py.File]:
    """Open an HDF5 file for reading, after all checks.

    Inside the ``with`` statement, too, every failure of h5py becomes a FileFormatError.

    Parameters
    ----------
    source : str, Path or binary file object
    path : str or Path, optional
        Name of a file object in messages.
    user_block : int
        Number of bytes before the HDF5 data, a multiple of 512. Addresses start after them.

    Yields
    ------
    h5py.File

    Raises
    ------
    FileNotFoundError, IsADirectoryError
    FileFormatError
        If the file is damaged, or holds what no weight file needs: links to other objects or
        files, virtual datasets, external storage, absurd sizes, one object under two names.
    """
    import h5py

    with contextlib.ExitStack() as stack:
        if isinstance(source, (str, os.PathLike)):
            check_file(source)
            raw: BinaryIO = stack.enter_context(open(source, "rb"))
            opened: str | BinaryIO = os.fspath(source)
        else:
            raw = opened = source
        stack.enter_context(file_errors(cast(StrPath, source) if path is None else path))
        size = raw.seek(0, os.SEEK_END)
        check_superblock(raw, user_block)
        heaps = global_heaps(raw, size, user_block)
        raw.seek(0)
        file = stack.enter_context(h5py.File(opened, "r"))
        _check_tree(file, size)
        check_references(raw, heaps, user_block)
        yield file


def read_tensor(dataset: h5py.Dataset, place: str) -> np.ndarray:
    """Return a copy of a floating-point dataset in the machine's byte order.

    A single integer, such as the count of Keras' Normalization, is converted to float64.

    Parameters
    ----------
    dataset : h5py.Dataset of float16, float32 or float64
    place : str
        Path of the dataset, for messages.

    Raises
    ------
    FileFormatError
        For other types, incomplete datasets, and NaN or infinity.
    """
    dtype = _float_type(dataset)
    if dtype is None and not is_count(dataset):
        raise FileFormatError(
            f"tensor {place!r}: expected float16, float32 or float64, received "
            f"{dataset.dtype}; set the model's dtype to float32 and save it again"
        )
    if not _is_complete(dataset):
        raise FileFormatError(f"tensor {place!r} is incomplete; get the file again")
    if is_count(dataset):
        return np.asarray(dataset[()], np.float64)
    array = np.empty(dataset.shape, dtype)
    if array.size:
        dataset.read_direct(array)
    check_finite(array, place)
    return array


def is_count(dataset: h5py.Dataset) -> bool:
    """Return whether a dataset is a single integer."""
    return dataset.shape == () and dataset.dtype.kind in "iu"


def read_arrays(group: h5py.Group) -> dict[str, np.ndarray]:
    """Return the arrays of integers, truth values or floats below a group, by path.

    Raises
    ------
    FileFormatError
        For other types and incomplete arrays.
    """
    import h5py

    arrays: dict[str, np.ndarray] = {}

    def add(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if not isinstance(item, h5py.Dataset):
            return
        if item.dtype.kind not in "biuf" or item.shape is None:
            raise FileFormatError(f"array {name!r}: expected numbers, received {item.dtype}")
        if not _is_complete(item):
            raise FileFormatError(f"array {name!r} is incomplete; get the file again")
        arrays[name] = item[()]

    group.visititems(add)
    return arrays


def read_string(dataset: h5py.Dataset, place: str) -> str:
    """Return a dataset that holds one string; raise FileFormatError for another one."""
    import h5py

    is_text = isinstance(dataset, h5py.Dataset) and dataset.dtype.kind == "O"
    if not is_text or dataset.shape != () or not h5py.check_string_dtype(dataset.dtype):
        raise FileFormatError(f"{place!r}: expected one string")
    return _decoded(dataset[()])


def read_names(group: h5py.Group, attribute: str) -> list[str] | None:
    """Return a list of names that Keras stores as an attribute, or None if it is missing.

    Keras splits long lists into ``layer_names0``, ``layer_names1``, ...
    """
    names = _strings(group, attribute)
    if names is not None:
        return names
    names = []
    for number in itertools.count():
        piece = _strings(group, f"{attribute}{number}")
        if piece is None:
            break
        names += piece
    return names if number else None


def read_text(group: h5py.Group | h5py.Dataset, attribute: str) -> str | None:
    """Return an attribute that is a single string, or None if it is missing."""
    values = _strings(group, attribute)
    if values is not None and len(values) != 1:
        raise FileFormatError(
            f"attribute {attribute!r}: expected one string, received {len(values)}"
        )
    return None if values is None else values[0]


def _strings(group: h5py.Group | h5py.Dataset, name: str) -> list[str] | None:
    """Return one string or a list of strings as a list, or None if it is missing."""
    import h5py

    if name not in group.attrs:
        return None
    attribute = group.attrs.get_id(name)
    kind, shape = attribute.get_type(), attribute.shape
    if shape is None or 0 in shape:  # Keras writes an empty list as an array of numbers
        return []
    # h5py is safe only for these two kinds of strings.
    is_text = kind.get_class() == h5py.h5t.STRING and isinstance(kind, h5py.h5t.TypeStringID)
    if not is_text or math.prod(shape) * kind.get_size() > MAX_ATTRIBUTE or len(shape) > 1:
        raise FileFormatError(f"attribute {name!r}: expected a list of names")
    return [_decoded(value) for value in np.atleast_1d(group.attrs[name]).tolist()]


def _decoded(value: str | bytes) -> str:
    text = value.decode() if isinstance(value, bytes) else str(value)
    text.encode()  # h5py marks invalid UTF-8 with surrogates, which cannot be printed
    return text


# Checks of the tree


def _check_tree(file: h5py.File, size: int) -> None:
    """Refuse anything but groups and plain arrays of plausible size."""
    import h5py

    stack, limit = [(file["/"], "", 0)], _limit(size)
    seen, total = {h5py.h5o.get_info(stack[0][0].id).addr}, 0
    while stack:
        group, prefix, depth = stack.pop()
        for name in group:
            place = f"{prefix}{name}"
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise FileFormatError(
                    f"{place!r} links to another object or file, which could expose other data; "
                    "copy the numbers into one file"
                )
            item = group[name]
            address = h5py.h5o.get_info(item.id).addr
            if address in seen:
                raise FileFormatError(f"{place!r} is a second name of another object")
            seen.add(address)
            if len(seen) > MAX_OBJECTS or depth >= MAX_DEPTH:
                raise FileFormatError(f"too many objects, or nested too deeply, at {place!r}")
            if isinstance(item, h5py.Dataset):
                total += _checked_size(item, place, size)
            elif isinstance(item, h5py.Group):
                stack.append((item, f"{place}/", depth + 1))
            else:
                raise FileFormatError(f"{place!r} is neither a group nor an array")
            if total > limit:
                raise FileFormatError(
                    f"claims to hold more than {limit} bytes, too many for a file of {size} bytes"
                )


def _limit(size: int) -> int:
    """Return the number of bytes that a file of `size` bytes may expand to."""
    return max(SMALL, MAX_EXPANSION * size)


def _checked_size(dataset: h5py.Dataset, place: str, size: int) -> int:
    """Return the bytes of an array, or refuse storage that plain numbers do not need."""
    import h5py

    storage = dataset.id.get_create_plist()
    if storage.get_layout() == h5py.h5d.VIRTUAL or storage.get_external_count():
        raise FileFormatError(
            f"{place!r} is stored in another file (virtual or external); copy the numbers into "
            "one file"
        )
    filters = [storage.get_filter(i)[0] for i in range(storage.get_nfilters())]
    if any(code not in FILTERS for code in filters) or len(filters) > len(FILTERS):
        raise FileFormatError(
            f"{place!r}: expected the filters gzip or shuffle, received {filters}"
        )
    width, limit = dataset.id.get_type().get_size(), _limit(size)
    chunk = storage.get_chunk() if storage.get_layout() == h5py.h5d.CHUNKED else ()
    for shape in (dataset.shape or (), chunk):
        if math.prod(shape) * width > limit:
            raise FileFormatError(
                f"{place!r} claims the shape {shape}, too large for a file of {size} bytes"
            )
    return math.prod(dataset.shape or ()) * width


def _float_type(dataset: h5py.Dataset) -> np.dtype | None:
    """Return the NumPy dtype in the machine's byte order, or None for other types."""
    import h5py

    if dataset.shape is None:
        return None
    kind = dataset.id.get_type()
    for width in (2, 4, 8):
        for order in "LB":
            if kind.equal(getattr(h5py.h5t, f"IEEE_F{8 * width}{order}E")):
                return np.dtype(f"f{width}")
    return None


def _is_complete(dataset: h5py.Dataset) -> bool:
    """Return whether all numbers are stored; HDF5 reads missing ones as zeros."""
    storage = dataset.id.get_create_plist()
    shape, chunk = dataset.shape, dataset.chunks
    if 0 in shape:
        return True
    if chunk is None:
        return dataset.id.get_storage_size() == dataset.nbytes and not storage.get_nfilters()
    count = math.prod(-(-n // c) for n, c in zip(shape, chunk, strict=True))
    return dataset.id.get_num_chunks() == count
