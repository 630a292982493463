"""Reading a weight file of any kind that minidl knows; its content decides, never its name.

>>> import tempfile
>>> from minidl import Input, Sequential, layers
>>> from minidl.formats.reading import read_weight_file
>>> path = tempfile.mkdtemp() + "/weights.txt"
>>> Sequential([Input((3,)), layers.Dense(1, name="fc")]).save_weights(path)
>>> file = read_weight_file(path)
>>> file.dialect, file.layers[0].name, file.layers[0].tensors["kernel"].shape
('minidl weights', 'fc', (3, 1))
"""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np

from minidl.common.errors import FileFormatError
from minidl.formats.checkpoint import MARK, SEAL_SIZE, read_checkpoint
from minidl.formats.hdf5 import SIGNATURE, as_format_errors, check_file, open_hdf5
from minidl.formats.keras.legacy import read_legacy
from minidl.formats.weight_file import LayerTensors, WeightFile, role_of

__all__ = ["read_weight_file"]

_KNOWN = "minidl reads its own files, Keras' .h5, .weights.h5 and .keras, and safetensors"
# What people have in place of a weight file, by its beginning.
_REFUSED = (
    (b"version https://git-lfs", "a pointer of Git LFS, not the file itself; run 'git lfs pull'"),
    (b"<", "a web page or XML, perhaps of a failed download; get the file again"),
    (b"\x1f\x8b", "packed with gzip; unpack it first"),
    (b"\x93NUMPY", "a NumPy array; set_weights takes arrays"),
    (b"{", "a JSON document, such as the list of a model's shards; save the model as one file"),
    *(
        (b"\x80" + bytes([protocol]), "a pickle, which can run any program when it is read")
        for protocol in range(2, 6)
    ),
)


def read_weight_file(path) -> WeightFile:
    """Return all layers and tensors of a file.

    Parameters
    ----------
    path : str or Path
        A file of minidl or Keras (``.h5``, ``.weights.h5``, ``.keras``), or safetensors.

    Raises
    ------
    FileNotFoundError, IsADirectoryError
    FileFormatError
        If the file is damaged, of another kind, or has a tensor that cannot be accounted for.
    """
    path = Path(path).expanduser()
    check_file(path)
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        head = file.read(SEAL_SIZE + len(SIGNATURE))
    if not head:
        raise FileFormatError(f"{path}: the file is empty; get it again")
    if head.startswith(MARK):
        return _read_native(path)
    if head.startswith(SIGNATURE):
        return _read_hdf5(path)
    if head.startswith(b"PK\x03\x04"):
        return _read_zip(path)
    length = int.from_bytes(head[:8], "little")
    if head[8:9] == b"{" and 2 <= length <= size - 8:
        from minidl.formats.safetensors import read_safetensors

        return read_safetensors(path)
    raise FileFormatError(f"{path}: {_what_else(head)}; {_KNOWN}")


def _what_else(head: bytes) -> str:
    if head[SEAL_SIZE:].startswith(SIGNATURE):
        return "not a minidl model file, or its beginning is damaged; restore it from a copy"
    for beginning, what in _REFUSED:
        if head.startswith(beginning):
            return what
    return "not a minidl model file, nor a weight file of another kind"


def _read_native(path: Path) -> WeightFile:
    """Return the weights in minidl's own file; what training needs is left out."""
    document, arrays = read_checkpoint(path)
    layers: dict[tuple[str, str], LayerTensors] = {}
    for key, array in arrays.items():
        kind, _, rest = key.partition("/")
        if kind != "weights":
            continue
        scope, name, role = _split(rest)
        if not (isinstance(array, np.ndarray) and array.dtype.kind == "f"):
            raise FileFormatError(f"{path}: {rest} does not hold floating-point numbers")
        if not np.isfinite(array).all():
            raise FileFormatError(f"{path}: {rest} contains NaN or infinite values")
        layer = layers.setdefault((scope, name), LayerTensors(name, scope=scope))
        layer.tensors[role], layer.places[role] = array, key
    kind = document.get("kind", "weights") if isinstance(document, dict) else "weights"
    return WeightFile(path, f"minidl {kind}", list(layers.values()))


def _split(path: str) -> tuple[str, str, str]:
    """Return scope, layer and role; files converted from Keras may have models around a layer."""
    *around, name, role = ["", *path.split("/")]
    if len(around) > 1 and role_of(role) == role:
        return "/".join(around[1:]), name, role
    name, _, role = path.partition("/")
    return "", name, role


def _read_hdf5(path: Path) -> WeightFile:
    with open_hdf5(path) as file:
        attributes, members = set(file.attrs), set(file)
        if attributes & {"layer_names", "layer_names0"} or "model_weights" in members:
            return read_legacy(file, path)
        if "nb_layers" in attributes:
            raise FileFormatError(
                f"{path}: written by Keras before 1.0 (2015), without the layers' names; load it "
                "in a Keras of that time and save it in one of 1.0 or later"
            )
        if members & {"layers", "_layer_checkpoint_dependencies", "vars"}:
            from minidl.formats.keras.v3 import read_v3

            return read_v3(file, path)
    raise FileFormatError(
        f"{path}: an HDF5 file, but not a minidl model file, nor one of Keras (no layer_names, "
        "model_weights or layers in it)"
    )


def _read_zip(path: Path) -> WeightFile:
    with as_format_errors(path), zipfile.ZipFile(path) as archive:
        members = archive.namelist()
    if "config.json" in members:
        from minidl.formats.keras.v3 import read_archive

        return read_archive(path)
    if any(name.endswith("data.pkl") for name in members):
        raise FileFormatError(
            f"{path}: a file of PyTorch (a pickle, which can run any program when it is read); "
            "save its tensors with safetensors"
        )
    if any(name.endswith(".npy") for name in members):
        raise FileFormatError(f"{path}: NumPy arrays (.npz), not a weight file; {_KNOWN}")
    raise FileFormatError(f"{path}: a zip archive, but not of Keras (no config.json); {_KNOWN}")
