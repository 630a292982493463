"""Reading the files of Keras 3: weights in HDF5 (``.weights.h5``) and models (``.keras``).

Such a file numbers the tensors of a layer, ``layers/conv2d_1/vars/0``, and the group's name is
the layer's class with a number that follows Keras' own order, not the layer's name: that one is
an attribute of ``vars``. What the numbers mean follows from the class and the shapes; a ``.keras``
file, a zip archive, has the model's configuration as well, which leaves nothing to guess.

>>> import io, h5py, numpy as np
>>> from minidl.formats.keras.v3 import read_v3
>>> with h5py.File(io.BytesIO(), "w") as file:
...     group = file.create_group("layers/dense_1/vars")
...     group.attrs["name"] = "head"
...     group["0"], group["1"] = np.ones((3, 2)), np.zeros(2)
...     [layer] = read_v3(file, "a.weights.h5").layers
>>> layer.name, list(layer.tensors), layer.places["bias"]
('head', ['kernel', 'bias'], 'layers/dense_1/vars/1')
"""

from __future__ import annotations

import contextlib
import json
import lzma
import re
import shutil
import tempfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from minidl.common.errors import FileFormatError
from minidl.formats.hdf5 import open_hdf5, read_tensor, read_text
from minidl.formats.keras.architecture import keras_order
from minidl.formats.weight_file import LayerTensors, WeightFile
from minidl.graph.network import Network
from minidl.layers.names import snake_case

__all__ = ["name_layers", "read_archive", "read_v3"]

MAX_CONFIG = 64 * 2**20
MAX_WEIGHTS = 8 * 2**30
# Numbers hardly shrink when they are compressed; a small file of zeros may.
SMALL, MAX_EXPANSION = 64 * 2**20, 20
IN_MEMORY = 32 * 2**20
UNNAMED = " without layer names"

_CONTAINERS = ("layers", "_layer_checkpoint_dependencies")  # lists of a model's layers
_BOOKKEEPING = re.compile(r"optimizer|metrics|_?(seed|random)_generator(_\d+)?")
_NORMALIZATION = ("gamma", "beta", "moving_mean", "moving_variance")
_KERNEL_RANKS = {"conv2d": 4, "depthwise_conv2d": 4, "dense": 2}


def read_v3(file, path, architecture: dict[str, Any] | None = None) -> WeightFile:
    """Return the layers of an open ``.weights.h5``.

    Parameters
    ----------
    file : h5py.File
    path : str or Path
        For messages.
    architecture : dict, optional
        The model's configuration as Keras writes it: tells names and roles for sure.

    Raises
    ------
    FileFormatError
        If a tensor cannot be accounted for: quantised, bfloat16, one of several shards, ...
    """
    path = Path(path)
    _refuse_shard(path)
    reader = _Reader(path)
    own = file.get("vars")
    if own is not None and len(own):
        raise FileFormatError(f"{path}: the model has variables outside its layers (vars)")
    reader.visit(file, "", (), _inner_layers(architecture))
    dialect = f"Keras 3 weights (.weights.h5){'' if reader.named else UNNAMED}"
    return WeightFile(path, dialect, list(reader.found.values()), architecture)


def read_archive(path) -> WeightFile:
    """Return the layers and the architecture of a ``.keras`` file.

    Raises
    ------
    FileFormatError
        If the archive is damaged, lacks a part, or would unpack to an absurd size.
    """
    path = Path(path)
    with _archive(path) as archive:
        with _member(archive, path, "config.json", MAX_CONFIG) as file:
            architecture = _parse(file.read(), path)
        with (
            _member(archive, path, "model.weights.h5", MAX_WEIGHTS) as file,
            open_hdf5(file, path) as weights,
        ):
            found = read_v3(weights, path, architecture)
    found.dialect = "Keras 3 model (.keras)"
    return found


def name_layers(file: WeightFile, network: Network) -> WeightFile:
    """Return `file` with the names of the network's layers, where it was written without names.

    Older versions of Keras tell the layers of a ``.weights.h5`` by class and number only; these
    follow the order in which Keras lists a model's layers. Files with names come back unchanged.

    Raises
    ------
    FileFormatError
        If the network has no layer of that class and number, or has models inside.
    """
    if not file.dialect.endswith(UNNAMED):
        return file
    listed = [{"class_name": type(layer).__name__, "config": {}} for layer in keras_order(network)]
    groups = dict(zip(_numbered(listed), keras_order(network), strict=True))
    for layer in file.layers:
        if layer.scope or layer.name not in groups:
            raise FileFormatError(
                f"{file.path}: {file.dialect}; {layer.scope}/{layer.name} has no counterpart in "
                f"{network.label}: load it in Keras and save it with a newer version, or as .keras"
            )
    layers = [replace(layer, name=groups[layer.name].name) for layer in file.layers]
    return replace(file, layers=layers)


class _Reader:
    """Walks through the groups and collects the layers that have tensors."""

    def __init__(self, path: Path):
        self.path = path
        self.found: dict[tuple[str, str], LayerTensors] = {}
        self.named = True

    def visit(self, group, place: str, scope: tuple[str, ...], known: list[dict]) -> None:
        """Read all that lies in `group`; `known` are the configurations of the layers there."""
        by_group, by_name = _numbered(known), {_name(item): item for item in known}
        for key in sorted(group, key=_natural):
            here = f"{place}{key}"
            if key == "vars" or _BOOKKEEPING.fullmatch(key):
                continue
            item = group[key]
            if not hasattr(item, "keys"):
                raise FileFormatError(f"{self.path}: the tensor {here} belongs to no layer")
            if "vars" not in item and place.rstrip("/").rpartition("/")[2] not in _CONTAINERS:
                self.visit(item, f"{here}/", scope, known)  # a list of layers
                continue
            config = by_group.get(key)
            name = self._name_of(item, here, key if config is None else _name(config))
            config = by_name.get(name)
            if "vars" in item:
                self._read_layer(item["vars"], f"{here}/vars", name, scope, config)
            self.visit(item, f"{here}/", (*scope, name), _inner_layers(config))

    def _name_of(self, group, place: str, otherwise: str) -> str:
        if "vars" not in group:
            return otherwise
        if not hasattr(group["vars"], "keys"):
            raise FileFormatError(f"{self.path}: {place}/vars is not a group of tensors")
        name = read_text(group["vars"], "name", self.path)
        if name:
            return name
        self.named = self.named and not len(group["vars"])
        return otherwise

    def _read_layer(self, variables, place: str, name: str, scope, config) -> None:
        if not len(variables):
            return
        keys = sorted(variables, key=_natural)
        if keys != [str(i) for i in range(len(keys))]:
            raise FileFormatError(
                f"{self.path}: expected tensors 0 to {len(keys) - 1} in {place}, found {keys[:5]}"
            )
        for key in keys:
            self._check_storage(variables[key], f"{place}/{key}")
        shapes = [variables[key].shape for key in keys]
        group_name = place.split("/")[-2]
        kind = re.sub(r"_\d+$", "", group_name) if config is None else _kind(config)
        class_name = kind if config is None else config["class_name"]
        roles = _roles(kind, shapes, config)
        if roles is None:
            raise FileFormatError(
                f"{self.path}: layer {name!r} ({class_name}) has tensors of shapes "
                f"{', '.join(map(str, shapes))} in {place}, which fit no layer of minidl; "
                "quantised layers and adapters (LoRA) have to be merged before saving"
            )
        layer = LayerTensors(name, scope="/".join(scope))
        if (layer.scope, name) in self.found:
            raise FileFormatError(f"{self.path}: two layers are called {name!r} (one in {place})")
        self.found[layer.scope, name] = layer
        for key, role in zip(keys, roles, strict=True):
            layer.places[role] = f"{place}/{key}"
            layer.tensors[role] = read_tensor(variables[key], layer.places[role], self.path)

    def _check_storage(self, dataset, place: str) -> None:
        if not hasattr(dataset, "shape"):
            raise FileFormatError(f"{self.path}: {place} is not a tensor")
        noted = read_text(dataset, "dtype", self.path)  # Keras hides bfloat16 in raw bytes
        if noted or dataset.dtype.kind != "f":
            raise FileFormatError(
                f"{self.path}: {place} is stored as {noted or dataset.dtype}; set the "
                "model's dtype to float32 in Keras (no quantisation, no bfloat16) and save it again"
            )


def _roles(kind: str, shapes: list[tuple], config: dict | None) -> tuple[str, ...] | None:
    """Return what the tensors of a layer are, or None where they fit no layer."""
    ranks, flat = [len(shape) for shape in shapes], all(len(shape) == 1 for shape in shapes)
    if kind == "batch_normalization":
        roles = _normalization_roles(len(shapes), config)
        return roles if flat and len(roles) == len(shapes) else None
    if kind not in _KERNEL_RANKS and flat and len(shapes) == 4 and len(set(shapes)) == 1:
        return _NORMALIZATION
    roles = ("kernel", "bias")[: len(shapes)]
    if config is not None and len(shapes) != 1 + bool(config["config"].get("use_bias", True)):
        return None
    expected = [_KERNEL_RANKS.get(kind, max(ranks[0], 2)), 1][: len(shapes)]
    return roles if ranks == expected else None


def _normalization_roles(count: int, config: dict | None) -> tuple[str, ...]:
    if config is not None:
        kept = {"gamma": config["config"].get("scale"), "beta": config["config"].get("center")}
        return tuple(role for role in _NORMALIZATION if kept.get(role) is not False)
    # Three are taken for beta and statistics (scale=False). Should it be center=False, the model
    # will miss a gamma, and say so.
    return _NORMALIZATION[-count:] if count >= 2 else ()


def _inner_layers(config: Any) -> list[dict[str, Any]]:
    """Return the configurations of a model's layers; [] for what is no model."""
    inner = config.get("config") if isinstance(config, dict) else None
    layers = inner.get("layers") if isinstance(inner, dict) else inner
    return [item for item in layers if _is_layer(item)] if isinstance(layers, list) else []


def _is_layer(item: Any) -> bool:
    named = isinstance(item, dict) and isinstance(item.get("class_name"), str)
    return named and isinstance(item.get("config"), (dict, list))


def _name(config: dict[str, Any]) -> str:
    inner = config["config"]
    return str(config.get("name") or (isinstance(inner, dict) and inner.get("name")) or "")


def _kind(config: dict[str, Any]) -> str:
    return snake_case(config["class_name"])


def _numbered(layers: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the layers by the group names that Keras gives them: class, and number within it."""
    counts: Counter[str] = Counter()
    groups = {}
    for config in layers:
        kind = _kind(config)
        groups[f"{kind}_{counts[kind]}" if counts[kind] else kind] = config
        counts[kind] += 1
    return groups


def _natural(key: str) -> list[tuple[int, Any]]:
    """Sort "conv2d_10" after "conv2d_9"."""
    parts = re.split(r"(\d+)", key)
    return [(1, int(part)) if part.isdecimal() else (0, part) for part in parts]


def _refuse_shard(path: Path) -> None:
    found = re.fullmatch(r"(.*)_\d{5}\.weights\.h5", path.name)
    if found and path.with_name(f"{found[1]}.weights.json").exists():
        raise FileFormatError(
            f"{path}: one of several shards of a model; save it in Keras with "
            "save_weights('name.weights.h5'), as one file"
        )


@contextlib.contextmanager
def _archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a zip archive; whatever is wrong with it becomes a FileFormatError."""
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except FileFormatError:
        raise
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: there is no such file") from None
    except (
        zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, OSError,
        OverflowError, RuntimeError, ValueError, KeyError, IndexError, MemoryError,
    ) as error:  # fmt: skip
        detail = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise FileFormatError(f"{path}: damaged archive ({detail}); get it again") from error


@contextlib.contextmanager
def _member(archive: zipfile.ZipFile, path: Path, name: str, limit: int) -> Iterator[BinaryIO]:
    """Unpack a member to a temporary file, which can be sought in, and check its checksum."""
    found = [info for info in archive.infolist() if info.filename == name]
    if not found:
        others = [n for n in archive.namelist() if n.startswith("model.weights.")]
        hint = f"; its weights are in {others[0]}: save it as one HDF5 file" if others else ""
        raise FileFormatError(f"{path}: not a complete .keras file, {name} is missing{hint}")
    if len(found) > 1:
        raise FileFormatError(f"{path}: {name} occurs {len(found)} times in the archive")
    size, packed = found[0].file_size, found[0].compress_size
    if size > limit or size > max(SMALL, MAX_EXPANSION * packed):
        raise FileFormatError(
            f"{path}: {name} would unpack from {packed} to {size} bytes, which is not believable"
        )
    with tempfile.SpooledTemporaryFile(IN_MEMORY) as target, archive.open(found[0]) as source:
        shutil.copyfileobj(source, target, 2**20)  # reads no more than file_size, checks the CRC
        target.seek(0)
        yield target


def _parse(text: bytes, path: Path) -> dict[str, Any]:
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"{path}: its config.json is not proper JSON") from error
    if not isinstance(config, dict) or "class_name" not in config:
        raise FileFormatError(f"{path}: its config.json describes no model")
    return config
