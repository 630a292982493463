"""Reading Keras' legacy HDF5 files: weights alone or whole models, of Keras 1, 2 and 3.

All keep a list of layers (``layer_names``), one group for each, and in it a list of tensors
(``weight_names``). They differ in how a tensor is called: ``fc_W_1:0`` in Keras 1,
``fc/kernel:0`` in Keras 2, ``sequential/fc/kernel`` in Keras 3. A model that was a layer of
another is one group, in which the tensors of all its layers lie; frozen or not changes their
order. So nothing here goes by order: each tensor says by its name whose it is.

>>> import io, h5py, numpy as np
>>> from minidl.formats.keras.legacy import read_legacy
>>> with h5py.File(io.BytesIO(), "w") as file:
...     file.attrs["layer_names"], file.attrs["keras_version"] = ["fc"], "2.2.4"
...     group = file.create_group("fc")
...     group.attrs["weight_names"], group["fc/kernel:0"] = ["fc/kernel:0"], np.ones((3, 2))
...     found = read_legacy(file, "a.h5")
>>> found.dialect, found.layers[0].name, found.layers[0].places
('Keras 2 weights', 'fc', {'kernel': 'fc/fc/kernel:0'})
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from minidl.common.errors import FileFormatError
from minidl.formats.hdf5 import read_names, read_tensor, read_text
from minidl.formats.weight_file import LayerTensors, WeightFile, clean_name, role_of

__all__ = ["read_legacy"]

# Where a layer with dropout or augmentation keeps its random generator: no weights.
_RANDOM_STATE = re.compile(r"StateVar|seed_generator_state")
_FLAT = re.compile(r"(.+)_(?:W|b|kernel|bias|gamma|beta|(?:running|moving)_\w+?)(?:_\d+)?(?::\d+)?")
_TOP_LEVEL = "top_level_model_weights"


def read_legacy(file, path) -> WeightFile:
    """Return the layers of an open file, and the architecture if it has one.

    Parameters
    ----------
    file : h5py.File
        With the attribute ``layer_names``, or with the group ``model_weights`` that has it.
    path : str or Path
        For messages.

    Raises
    ------
    FileFormatError
        If a tensor cannot be accounted for, or the file is in Theano's order.
    """
    path = Path(path)
    root, prefix, what = file, "", "weights"
    if "model_weights" in file:
        root, prefix, what = file["model_weights"], "model_weights/", "model"
    if not hasattr(root, "keys"):
        raise FileFormatError(f"{path}: expected a group 'model_weights', found a tensor")
    architecture = _architecture(file, path)
    _refuse_theano(root, architecture, path)
    names = read_names(root, "layer_names", path)
    if names is None:
        raise FileFormatError(
            f"{path}: lacks the list of layers (layer_names); save the model in Keras again"
        )
    version = read_text(root, "keras_version", path) or "1"
    reader = _Reader(path, architecture)
    _refuse_doubled(names, "layer_names", path)
    for name in names:
        if not hasattr(root.get(name), "keys"):
            raise FileFormatError(f"{path}: lacks the group of layer {name!r}")
        reader.read_group(root[name], name, prefix)
    _refuse_unlisted(root, prefix, names, path)
    if _TOP_LEVEL in root:
        reader.read_group(root[_TOP_LEVEL], _TOP_LEVEL, prefix)
    layers = [layer for layer in reader.layers if layer.tensors]
    return WeightFile(path, _dialect(version, what), layers, architecture)


def _dialect(version: str, what: str) -> str:
    major = version.split(".")[0]
    return {"1": f"Keras 1 {what}", "2": f"Keras 2 {what}"}.get(major, f"Keras 3 legacy {what}")


class _Reader:
    """Collects the tensors of one group after the other by the layers that they belong to."""

    def __init__(self, path: Path, architecture: dict[str, Any] | None):
        self.path = path
        # Where the file has an architecture: all names in it, and those of layers at the top.
        self.known = set(_values(architecture, ("name",)))
        self.plain = set(_plain_layers(architecture))
        self.layers: list[LayerTensors] = []

    def read_group(self, group, name: str, prefix: str) -> None:
        """Read the tensors that belong to the layer, or the model, called `name`."""
        listed = read_names(group, "weight_names", self.path)
        datasets = dict(_datasets(group))
        if listed is None and name != _TOP_LEVEL:
            raise FileFormatError(
                f"{self.path}: layer {name!r} lacks the list of its tensors (weight_names)"
            )
        listed = listed or []
        place = f"{prefix}{name}"
        _refuse_doubled(listed, f"weight_names of {name!r}", self.path)
        for tensor in listed:
            if tensor not in datasets:
                raise FileFormatError(
                    f"{self.path}: lacks the tensor {f'{place}/{tensor}'!r} that it lists; get the "
                    "file again"
                )
        for tensor in datasets.keys() - set(listed):
            raise FileFormatError(
                f"{self.path}: holds the tensor {f'{place}/{tensor}'!r} that it does not list; "
                "it may be a second version of another"
            )
        listed = [tensor for tensor in listed if not _RANDOM_STATE.search(tensor)]
        owners = self._owners(name, listed)
        found: dict[tuple[str, str], LayerTensors] = {}
        for tensor in listed:
            scope, owner = owners[tensor]
            layer = found.setdefault((scope, owner), LayerTensors(owner, scope=scope))
            self._add(layer, tensor, f"{place}/{tensor}", datasets[tensor])
        self.layers += found.values()

    def _owners(self, name: str, listed: list[str]) -> dict[str, tuple[str, str]]:
        """Return scope and name of each tensor's layer: `name` itself, or one of the model."""
        if name in self.plain:
            return dict.fromkeys(listed, ("", name))
        parts = {tensor: _owner(tensor, name) for tensor in listed}
        # A layer called twice by TensorFlow is "fc_1" in the names of its tensors, not in its own.
        own = re.compile(rf"{re.escape(name)}(_\d+)?")
        if len(set(parts.values())) < 2 and all(own.fullmatch(p[-1]) for p in parts.values()):
            return dict.fromkeys(listed, ("", name))
        owners = {}
        for tensor, (*around, last) in parts.items():
            if name in around:
                around = around[around.index(name) + 1 :]
            owners[tensor] = "/".join([name, *around]), self._own_name(last)
        return owners

    def _own_name(self, name: str) -> str:
        """Return the layer's name, without a number that TensorFlow gave a second use of it."""
        shorter = re.sub(r"_\d+$", "", name)
        return shorter if name not in self.known and shorter in self.known else name

    def _add(self, layer: LayerTensors, tensor: str, place: str, dataset) -> None:
        role = role_of(tensor) or clean_name(tensor)
        if role in layer.tensors:
            raise FileFormatError(
                f"{self.path}: layer {layer.name!r} has two tensors for its {role}: "
                f"{layer.places[role]!r} and {place!r}"
            )
        layer.places[role] = place
        layer.tensors[role] = read_tensor(dataset, place, self.path)


def _owner(tensor: str, group: str) -> tuple[str, ...]:
    """Return the names of the models around a tensor and of its layer."""
    *around, last = tensor.split("/")
    if around:
        return tuple(around)
    flat = _FLAT.fullmatch(last)
    return (flat[1] if flat else group,)


def _datasets(group, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield all tensors below a group with their names from there."""
    for key in group:
        item = group[key]
        if hasattr(item, "keys"):
            yield from _datasets(item, f"{prefix}{key}/")
        else:
            yield f"{prefix}{key}", item


def _refuse_doubled(names: list[str], what: str, path: Path) -> None:
    counts = Counter(names)
    doubled = [name for name, count in counts.items() if count > 1]
    if doubled:
        raise FileFormatError(f"{path}: {what} lists {doubled[0]!r} twice")


def _refuse_unlisted(root, prefix: str, names: list[str], path: Path) -> None:
    """Raise for tensors that lie beside the listed layers."""
    listed = {*names, _TOP_LEVEL}
    for key in root:
        # The optimizer of a whole model lies outside of the group `root`.
        item = root[key] if key not in listed else None
        if item is not None and (not hasattr(item, "keys") or any(_datasets(item))):
            raise FileFormatError(
                f"{path}: {f'{prefix}{key}'!r} holds tensors, but is not among the listed layers "
                "(layer_names)"
            )


def _architecture(file, path: Path) -> dict[str, Any] | None:
    text = read_text(file, "model_config", path)
    if text is None:
        return None
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"{path}: its model_config is not proper JSON") from error
    if not isinstance(config, dict) or "class_name" not in config:
        raise FileFormatError(f"{path}: its model_config describes no model")
    return config


def _refuse_theano(root, architecture: dict[str, Any] | None, path: Path) -> None:
    """Raise for kernels that are stored mirrored, or for channels that come first."""
    backend = read_text(root, "backend", path)
    if backend == "theano" or "th_kernels" in path.name or "th_dim_ordering" in path.name:
        raise FileFormatError(
            f"{path}: was written by Keras on Theano, whose kernels are mirrored; convert it in "
            "Keras (convert_all_kernels_in_model) on TensorFlow, or get the "
            "'tf_dim_ordering_tf_kernels' file"
        )
    values = set(_values(architecture, ("data_format", "dim_ordering", "image_data_format")))
    if values & {"channels_first", "th"}:
        raise FileFormatError(
            f"{path}: the model has its channels first (Theano order), minidl has them last; "
            "rebuild it in Keras with data_format='channels_last' and save it again"
        )


def _values(config: Any, keys: tuple[str, ...]) -> Iterator[str]:
    """Yield the texts that any of `keys` has anywhere in a JSON document."""
    waiting = [config]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            yield from (item[key] for key in keys if isinstance(item.get(key), str))
            waiting += item.values()
        elif isinstance(item, list):
            waiting += item


def _plain_layers(architecture: dict[str, Any] | None) -> Iterator[str]:
    """Yield the names of a model's layers that are no models themselves."""
    config = (architecture or {}).get("config")
    layers = config.get("layers") if isinstance(config, dict) else config
    for item in layers if isinstance(layers, list) else []:
        inner = item.get("config") if isinstance(item, dict) else None
        if isinstance(inner, dict) and "layers" not in inner:
            yield str(inner.get("name", item.get("name")))
