"""Reading of weight files of every supported format; the content decides, not the name.

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
from minidl.common.optional_formats import format_of
from minidl.formats.checkpoint import MARK as OWN_MARK
from minidl.formats.checkpoint import SEAL_SIZE, read_checkpoint
from minidl.formats.file_errors import StrPath, check_file, check_finite, file_errors
from minidl.formats.hdf5 import SIGNATURE, open_hdf5
from minidl.formats.keras.legacy import read_legacy
from minidl.formats.pytorch.legacy_container import MAGIC
from minidl.formats.pytorch.zip_container import is_pytorch
from minidl.formats.weight_file import LayerTable, WeightFile, role_of

__all__ = ["read_weight_file"]

_SUPPORTED = (
    "minidl reads its own files, Keras' .h5, .weights.h5 and .keras, safetensors, and PyTorch's "
    "state dicts (.pth)"
)
# Other files that users take for weight files, by their first bytes.
_REFUSED = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself; run 'git lfs pull'"),
    (b"<", "a web page or XML, perhaps of a failed download; get the file again"),
    (b"\x1f\x8b", "compressed with gzip; decompress it first"),
    (b"\x93NUMPY", "a NumPy array; pass the array to set_weights"),
    (b"{", "a JSON document, such as the index of a sharded model; save the model as one file"),
    *(
        (b"\x80" + bytes([protocol]), "a pickle, which can run arbitrary code when it is read")
        for protocol in range(2, 6)
    ),
)


def read_weight_file(path: StrPath) -> WeightFile:
    """Return all layers and tensors of a file.

    Parameters
    ----------
    path : str or Path
        A file of minidl or Keras (``.h5``, ``.weights.h5``, ``.keras``), safetensors, a state
        dict of PyTorch (``.pth``), or an ONNX file, which needs its extension ``.onnx``.

    Returns
    -------
    WeightFile

    Raises
    ------
    FileNotFoundError, IsADirectoryError
    FileFormatError
        If the file is damaged, of another format, or has a tensor without a known role.
    """
    path = Path(path).expanduser()
    check_file(path)
    package = format_of(path)
    if package is not None:
        weights: WeightFile = package.read_weights(path)
        return weights
    with file_errors(path):
        with open(path, "rb") as file:
            head = file.read(SEAL_SIZE + len(SIGNATURE))
        if not head:
            raise FileFormatError("the file is empty; get it again")
        if head.startswith(OWN_MARK):
            return _read_native(path)
        if head.startswith(SIGNATURE):
            return _read_hdf5(path)
        if head.startswith(b"PK\x03\x04"):
            return _read_zip(path)
        if head.startswith(MAGIC):
            from minidl.formats.pytorch.state_dict import read_state_dict

            return read_state_dict(path)
        length = int.from_bytes(head[:8], "little")
        if head[8:9] == b"{" and 2 <= length <= os.path.getsize(path) - 8:
            from minidl.formats.safetensors import read_safetensors

            return read_safetensors(path)
        raise FileFormatError(f"{_unsupported(head)}; {_SUPPORTED}")


def _unsupported(head: bytes) -> str:
    """Return the kind of a file that minidl does not read."""
    if head[SEAL_SIZE:].startswith(SIGNATURE):
        return "not a minidl model file, or its header is damaged; restore it from a copy"
    for beginning, kind in _REFUSED:
        if head.startswith(beginning):
            return kind
    return "not a minidl model file, nor a weight file of another kind"


def _read_native(path: Path) -> WeightFile:
    """Return the weights of minidl's own file, without the state of training."""
    document, arrays = read_checkpoint(path)
    table = LayerTable()
    for key, array in arrays.items():
        kind, _, tensor_path = key.partition("/")
        if kind != "weights":
            continue
        if isinstance(array, np.floating):  # a tensor without axes
            array = np.asarray(array)
        if not (isinstance(array, np.ndarray) and array.dtype.kind == "f"):
            raise FileFormatError(f"tensor {tensor_path!r}: expected floating-point numbers")
        check_finite(array, tensor_path)
        scope, name, role = _split(tensor_path)
        table.add(scope, name, role, array, key)
    document = document if isinstance(document, dict) else {}
    kind, origin = document.get("kind", "weights"), document.get("converted_from")
    # A converted file keeps the order in which its network flattens features.
    channels_first = isinstance(origin, dict) and origin.get("channels_first") is True
    return WeightFile(path, f"minidl {kind}", table.layers, channels_first=channels_first)


def _split(path: str) -> tuple[str, str, str]:
    """Return scope, layer and role; files converted from Keras may have a scope."""
    *scope, name, role = ["", *path.split("/")]
    if len(scope) > 1 and role_of(role) == role:
        return "/".join(scope[1:]), name, role
    name, _, role = path.partition("/")
    return "", name, role


def _read_hdf5(path: Path) -> WeightFile:
    with open_hdf5(path) as file:
        attributes, members = set(file.attrs), set(file)
        if attributes & {"layer_names", "layer_names0"} or "model_weights" in members:
            return read_legacy(file, path)
        if "nb_layers" in attributes:
            raise FileFormatError(
                "written by Keras before 1.0 (2015), without names of layers; load it in a Keras "
                "of that time and save it in version 1.0 or later"
            )
        if members & {"layers", "_layer_checkpoint_dependencies", "vars"}:
            from minidl.formats.keras.v3 import read_v3

            return read_v3(file, path)
        raise FileFormatError(
            "an HDF5 file, but neither of minidl nor of Keras (expected layer_names, "
            "model_weights or layers in it)"
        )


def _read_zip(path: Path) -> WeightFile:
    with zipfile.ZipFile(path) as archive:
        members = archive.namelist()
    if "config.json" in members:
        from minidl.formats.keras.v3 import read_archive

        return read_archive(path)
    if is_pytorch(members):
        from minidl.formats.pytorch.state_dict import read_state_dict

        return read_state_dict(path)
    if any(name.endswith(".npy") for name in members):
        raise FileFormatError(f"NumPy arrays (.npz), not a weight file; {_SUPPORTED}")
    raise FileFormatError(f"a zip archive, but not of Keras (no config.json); {_SUPPORTED}")
