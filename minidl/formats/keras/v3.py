"""Readers of Keras 3 files: weights in HDF5 (``.weights.h5``) and models (``.keras``).

Such a file numbers the tensors of a layer: ``layers/conv2d_1/vars/0``. The group is named after
the layer's class and a number in Keras' own order; the layer's name is an attribute of ``vars``.
The meaning of each number follows from the class and the shapes. A ``.keras`` file, a zip archive,
also contains the model's configuration, so that nothing is guessed.

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
import re
import shutil
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from minidl.common.errors import FileFormatError
from minidl.formats.file_errors import StrPath, check_file, file_errors
from minidl.formats.hdf5 import is_count, open_hdf5, read_tensor, read_text
from minidl.formats.keras.architecture import keras_order
from minidl.formats.keras.configuration import inner_layers, layer_name, parse_configuration
from minidl.formats.weight_file import LayerTable, WeightFile
from minidl.graph.network import Network
from minidl.layers.names import snake_case

if TYPE_CHECKING:
    import h5py

__all__ = ["UNNAMED", "name_layers", "read_archive", "read_v3"]

MAX_CONFIG, MAX_WEIGHTS = 64 * 2**20, 8 * 2**30  # bytes
# Trained numbers hardly shrink in a zip archive; a small file of zeros does.
SMALL, MAX_EXPANSION = 64 * 2**20, 20
IN_MEMORY = 32 * 2**20
UNNAMED = " without layer names"

_CONTAINERS = ("layers", "_layer_checkpoint_dependencies")  # lists of a model's layers
_NO_LAYERS = re.compile(r"vars|optimizer|metrics|_?(seed|random)_generator(_\d+)?")
_NORMALIZATION = ("gamma", "beta", "moving_mean", "moving_variance")
_STATISTICS = ("mean", "variance", "count")  # of Normalization
_KERNEL_RANKS = {"conv2d": 4, "depthwise_conv2d": 4, "dense": 2}

_Config = dict[str, Any]


def read_v3(file: h5py.File, path: StrPath, architecture: _Config | None = None) -> WeightFile:
    """Return the layers of an open ``.weights.h5``.

    Parameters
    ----------
    file : h5py.File
    path : str or Path
        Name of the file, for messages.
    architecture : dict, optional
        The model's configuration as Keras writes it: it determines names and roles.

    Returns
    -------
    WeightFile

    Raises
    ------
    FileFormatError
        If a tensor belongs to no layer, or is quantized, bfloat16, or part of a sharded model.
    """
    path = Path(path)
    with file_errors(path):
        _refuse_shard(path)
        reader = _Reader()
        if len(file.get("vars", ())):
            raise FileFormatError("the model has variables outside its layers (vars)")
        reader.visit(file, "", (), inner_layers(architecture))
        dialect = f"Keras 3 weights (.weights.h5){'' if reader.is_named else UNNAMED}"
        return WeightFile(path, dialect, reader.table.layers, architecture)


def read_archive(path: StrPath) -> WeightFile:
    """Return the layers and the architecture of a ``.keras`` file.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    WeightFile

    Raises
    ------
    FileNotFoundError, IsADirectoryError
    FileFormatError
        If the archive is damaged, incomplete, or would unpack to an absurd size.
    """
    check_file(path)
    with (
        file_errors(path, "the archive is damaged; get it again"),
        zipfile.ZipFile(path) as archive,
    ):
        with _member(archive, "config.json", MAX_CONFIG) as file:
            architecture = parse_configuration(file.read(), "config.json")
        with (
            _member(archive, "model.weights.h5", MAX_WEIGHTS) as file,
            open_hdf5(file, path) as weights,
        ):
            found = read_v3(weights, path, architecture)
    return replace(found, dialect="Keras 3 model (.keras)")


def name_layers(file: WeightFile, network: Network) -> WeightFile:
    """Return `file` with the names of the network's layers, if it was written without names.

    Older versions of Keras identify the layers of a ``.weights.h5`` by class and number, in the
    order in which Keras lists a model's layers. Files with names are returned unchanged.

    Parameters
    ----------
    file : WeightFile
    network : Network

    Returns
    -------
    WeightFile

    Raises
    ------
    FileFormatError
        If the network has no layer of that class and number, or contains inner models.
    """
    if not file.dialect.endswith(UNNAMED):
        return file
    ordered = keras_order(network)
    names = dict(
        zip(
            _numbered([snake_case(type(layer).__name__) for layer in ordered]), ordered, strict=True
        )
    )
    for layer in file.layers:
        if layer.scope or layer.name not in names:
            raise FileFormatError(
                f"{file.label}: {layer.scope}/{layer.name} has no counterpart in {network.label}; "
                "load it in Keras and save it with a newer version, or as .keras"
            )
    return replace(
        file, layers=[replace(layer, name=names[layer.name].name) for layer in file.layers]
    )


class _Reader:
    """Traverses the groups and collects the layers that have tensors."""

    def __init__(self) -> None:
        self.table = LayerTable()
        self.read: set[tuple[str, ...]] = set()  # scope and name of each layer with tensors
        self.is_named = True

    def visit(
        self, group: h5py.Group, prefix: str, scope: tuple[str, ...], configs: list[_Config]
    ) -> None:
        """Read everything in `group`; `configs` are the configurations of its layers."""
        by_group = dict(zip(_numbered([_kind(item) for item in configs]), configs, strict=True))
        by_name = {layer_name(item): item for item in configs}
        for key in sorted(group, key=_natural):
            place = f"{prefix}{key}"
            if _NO_LAYERS.fullmatch(key):
                continue
            item = group[key]
            if not _is_group(item):
                raise FileFormatError(f"the tensor {place} belongs to no layer")
            if "vars" not in item and prefix.rstrip("/").rpartition("/")[2] not in _CONTAINERS:
                self.visit(item, f"{place}/", scope, configs)  # a list of layers
                continue
            config = by_group.get(key)
            name = self._name_of(item, place) or (layer_name(config) if config else key)
            config = by_name.get(name)
            if len(item.get("vars", ())):
                self._read_layer(item["vars"], f"{place}/vars", (*scope, name), config)
            self.visit(item, f"{place}/", (*scope, name), inner_layers(config))

    def _name_of(self, group: h5py.Group, place: str) -> str | None:
        """Return the name that is stored with a layer's tensors, if any."""
        if "vars" not in group:
            return None
        if not _is_group(group["vars"]):
            raise FileFormatError(f"{place}/vars is not a group of tensors")
        name = read_text(group["vars"], "name")
        self.is_named = self.is_named and bool(name or not len(group["vars"]))
        return name

    def _read_layer(
        self, variables: h5py.Group, place: str, names: tuple[str, ...], config: _Config | None
    ) -> None:
        """Read the tensors of one layer; `names` ends with its own, after its scope."""
        *scope, name = names
        keys = sorted(variables, key=_natural)
        if keys != [str(i) for i in range(len(keys))]:
            raise FileFormatError(
                f"expected tensors 0 to {len(keys) - 1} in {place}, received {keys[:5]}"
            )
        for key in keys:
            _check_storage(variables[key], f"{place}/{key}")
        shapes = [variables[key].shape for key in keys]
        kind = _kind(config) if config else re.sub(r"_\d+$", "", place.split("/")[-2])
        roles = _roles(kind, shapes, config)
        if roles is None:
            raise FileFormatError(
                f"layer {name!r} ({config['class_name'] if config else kind}) has tensors of "
                f"shapes {', '.join(map(str, shapes))} in {place}, which fit no layer of minidl; "
                "merge quantized layers and adapters (LoRA) before saving"
            )
        if names in self.read:
            raise FileFormatError(f"two layers are called {name!r} (one in {place})")
        self.read.add(names)
        name = name.replace("/", "_")  # as the layer is called here
        for key, role in zip(keys, roles, strict=True):
            tensor = read_tensor(variables[key], f"{place}/{key}")
            self.table.add("/".join(scope), name, role, tensor, f"{place}/{key}")


def _is_group(item: Any) -> bool:
    return hasattr(item, "keys")


def _check_storage(dataset: h5py.Dataset, place: str) -> None:
    """Refuse quantized numbers and bfloat16, which Keras stores as raw bytes with a note."""
    if not hasattr(dataset, "shape"):
        raise FileFormatError(f"{place} is not a tensor")
    noted = read_text(dataset, "dtype")
    if noted or (dataset.dtype.kind != "f" and not is_count(dataset)):
        raise FileFormatError(
            f"{place}: expected floating-point numbers, received {noted or dataset.dtype}; set "
            "the model's dtype to float32 in Keras (no quantization, no bfloat16) and save it again"
        )


def _roles(
    kind: str, shapes: Sequence[tuple[int, ...]], config: _Config | None
) -> tuple[str, ...] | None:
    """Return the roles of a layer's tensors, or None if they fit no layer."""
    ranks = [len(shape) for shape in shapes]
    is_flat = set(ranks) == {1}
    if kind == "batch_normalization":
        roles = _normalization_roles(len(shapes), config)
        return roles if is_flat and len(roles) == len(shapes) else None
    if kind == "normalization":
        return _STATISTICS if len(shapes) == 3 and shapes[2] == () else None
    if kind not in _KERNEL_RANKS and is_flat and len(shapes) == 4 and len(set(shapes)) == 1:
        return _NORMALIZATION
    if config is not None and len(shapes) != 1 + bool(config["config"].get("use_bias", True)):
        return None
    roles = ("kernel", "bias")[: len(shapes)]
    expected = [_KERNEL_RANKS.get(kind, max(ranks[0], 2)), 1][: len(shapes)]
    return roles if ranks == expected else None


def _normalization_roles(count: int, config: _Config | None) -> tuple[str, ...]:
    if config is not None:
        kept = {"gamma": config["config"].get("scale"), "beta": config["config"].get("center")}
        return tuple(role for role in _NORMALIZATION if kept.get(role) is not False)
    # Three tensors are beta and statistics (scale=False). With center=False instead, matching
    # reports the missing gamma.
    return _NORMALIZATION[-count:] if count >= 2 else ()


def _kind(config: _Config) -> str:
    return snake_case(config["class_name"])


def _numbered(kinds: list[str]) -> list[str]:
    """Return Keras' group names: class, and number within the class from the second on."""
    counts: Counter[str] = Counter()
    names = []
    for kind in kinds:
        names.append(f"{kind}_{counts[kind]}" if counts[kind] else kind)
        counts[kind] += 1
    return names


def _natural(key: str) -> list[tuple[int, Any]]:
    """Return a sort key that puts "conv2d_10" after "conv2d_9"."""
    parts = re.split(r"(\d+)", key)
    return [(1, int(part)) if part.isdecimal() else (0, part) for part in parts]


def _refuse_shard(path: Path) -> None:
    found = re.fullmatch(r"(.*)_\d{5}\.weights\.h5", path.name)
    if found and path.with_name(f"{found[1]}.weights.json").exists():
        raise FileFormatError(
            "one of several shards of a model; save it in Keras with "
            "save_weights('name.weights.h5'), as one file"
        )


@contextlib.contextmanager
def _member(archive: zipfile.ZipFile, name: str, limit: int) -> Iterator[BinaryIO]:
    """Unpack a member to a seekable temporary file, and check size and checksum."""
    found = [info for info in archive.infolist() if info.filename == name]
    if not found:
        others = [n for n in archive.namelist() if n.startswith("model.weights.")]
        hint = f"; its weights are in {others[0]}: save it as one HDF5 file" if others else ""
        raise FileFormatError(f"not a complete .keras file, {name} is missing{hint}")
    if len(found) > 1:
        raise FileFormatError(f"expected one {name} in the archive, received {len(found)}")
    size, packed = found[0].file_size, found[0].compress_size
    if size > limit or size > max(SMALL, MAX_EXPANSION * packed):
        raise FileFormatError(
            f"{name} would unpack from {packed} to {size} bytes, which is refused"
        )
    with tempfile.SpooledTemporaryFile(IN_MEMORY) as target, archive.open(found[0]) as source:
        shutil.copyfileobj(source, target, 2**20)  # reads at most file_size, checks the CRC
        target.seek(0)
        yield cast(BinaryIO, target)
