"""Reader of Keras' legacy HDF5 files: weights or whole models of Keras 1, 2 and 3.

All versions store a list of layers (``layer_names``), one group for each layer, and in it a list
of tensors (``weight_names``). They name tensors differently: ``fc_W_1:0`` in Keras 1,
``fc/kernel:0`` in Keras 2, ``sequential/fc/kernel`` in Keras 3. A model inside the model is one
group with the tensors of all its layers, whose order depends on whether it was frozen. Tensors are
therefore assigned to layers by their names, never by their order.

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

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minidl.common.errors import FileFormatError
from minidl.formats.file_errors import StrPath, file_errors
from minidl.formats.hdf5 import read_names, read_tensor, read_text
from minidl.formats.keras.configuration import (
    inner_layers,
    is_model,
    layer_name,
    parse_configuration,
    texts_of,
)
from minidl.formats.weight_file import LayerTable, WeightFile, clean_name, role_of

if TYPE_CHECKING:
    import h5py

__all__ = ["read_legacy"]

# States of the random generators of dropout and augmentation: not weights.
_RANDOM_STATE = re.compile(r"StateVar|seed_generator_state")
_FLAT = re.compile(r"(.+)_(?:W|b|kernel|bias|gamma|beta|(?:running|moving)_\w+?)(?:_\d+)?(?::\d+)?")
_TOP_LEVEL = "top_level_model_weights"


def read_legacy(file: h5py.File, path: StrPath) -> WeightFile:
    """Return the layers of an open file, and the architecture if it has one.

    Parameters
    ----------
    file : h5py.File
        With the attribute ``layer_names``, or with the group ``model_weights`` that has it.
    path : str or Path
        Name of the file, for messages.

    Returns
    -------
    WeightFile

    Raises
    ------
    FileFormatError
        If a tensor belongs to no layer, or the file has Theano's layout.
    """
    path = Path(path)
    with file_errors(path):
        root, prefix, content = file, "", "weights"
        if "model_weights" in file:
            root, prefix, content = file["model_weights"], "model_weights/", "model"
        if not _is_group(root):
            raise FileFormatError("expected a group 'model_weights', received a tensor")
        text = read_text(file, "model_config")
        architecture = None if text is None else parse_configuration(text, "model_config")
        _refuse_theano(root, architecture, path)
        names = read_names(root, "layer_names")
        if names is None:
            raise FileFormatError(
                "the list of layers (layer_names) is missing; save the model in Keras again"
            )
        version = (read_text(root, "keras_version") or "1").split(".")[0]
        reader = _Reader(architecture)
        _refuse_duplicates(names, "layer_names")
        for name in names:
            if not _is_group(root.get(name)):
                raise FileFormatError(f"the group of layer {name!r} is missing")
            reader.read_group(root[name], name, prefix, _listed_below(name, names))
        _refuse_unlisted(root, prefix, names)
        if _TOP_LEVEL in root:
            reader.read_group(root[_TOP_LEVEL], _TOP_LEVEL, prefix)
        dialect = (
            f"Keras {version} {content}" if version in ("1", "2") else f"Keras 3 legacy {content}"
        )
        return WeightFile(path, dialect, reader.table.layers, architecture)


class _Reader:
    """Reads one group after the other and assigns the tensors to layers."""

    def __init__(self, architecture: dict[str, Any] | None):
        # With an architecture: the names of all layers, and of the top-level layers.
        self.known = set(texts_of(architecture, ("name",)))
        layers = inner_layers(architecture)
        self.simple = {layer_name(item) for item in layers if not is_model(item)}
        self.table = LayerTable()

    def read_group(
        self, group: h5py.Group, name: str, prefix: str, others: tuple[str, ...] = ()
    ) -> None:
        """Read the tensors of the layer, or of the inner model, called `name`.

        The group also contains the groups `others` of layers whose names begin with "name/".
        """
        listed = read_names(group, "weight_names")
        datasets = {path: item for path, item in _datasets(group) if not path.startswith(others)}
        if listed is None and name != _TOP_LEVEL:
            raise FileFormatError(
                f"layer {name!r}: the list of its tensors (weight_names) is missing"
            )
        listed = listed or []
        place = f"{prefix}{name}"
        _refuse_duplicates(listed, f"weight_names of {name!r}")
        for tensor in listed:
            if tensor not in datasets:
                raise FileFormatError(
                    f"the listed tensor {f'{place}/{tensor}'!r} is missing; get the file again"
                )
        for tensor in datasets.keys() - set(listed):
            raise FileFormatError(
                f"tensor {f'{place}/{tensor}'!r} is not listed in weight_names; it may be a "
                "second version of another"
            )
        listed = [tensor for tensor in listed if not _RANDOM_STATE.search(tensor)]
        for tensor, (scope, owner) in self._owners(name, listed).items():
            role = role_of(tensor) or clean_name(tensor)
            place = f"{prefix}{name}/{tensor}"
            owner = owner.replace("/", "_")  # as the layer is called here
            self.table.add(scope, owner, role, read_tensor(datasets[tensor], place), place)

    def _owners(self, name: str, listed: list[str]) -> dict[str, tuple[str, str]]:
        """Return scope and name of each tensor's layer: `name`, or a layer of an inner model."""
        parts = {tensor: _owner(tensor, name) for tensor in listed}
        # A layer that TensorFlow called twice is "fc_1" in the names of its tensors only.
        own = re.compile(rf"{re.escape(name)}(_\d+)?")
        is_own = len(set(parts.values())) < 2 and all(
            own.fullmatch(p[-1]) or own.fullmatch("/".join(p)) for p in parts.values()
        )
        if name in self.simple or is_own:
            return dict.fromkeys(listed, ("", name))
        owners = {}
        for tensor, (*scope, last) in parts.items():
            if name in scope:
                scope = scope[scope.index(name) + 1 :]
            owners[tensor] = "/".join([name, *scope]), self._own_name(last)
        return owners

    def _own_name(self, name: str) -> str:
        """Return the layer's name without the number that TensorFlow gave to a second call."""
        shorter = re.sub(r"_\d+$", "", name)
        return shorter if name not in self.known and shorter in self.known else name


def _owner(tensor: str, group: str) -> tuple[str, ...]:
    """Return the names of the enclosing models and of the tensor's layer."""
    *scope, last = tensor.split("/")
    if scope:
        return tuple(scope)
    flat = _FLAT.fullmatch(last)
    return (flat[1] if flat else group,)


def _is_group(item: Any) -> bool:
    return hasattr(item, "keys")


def _datasets(group: h5py.Group, prefix: str = "") -> Iterator[tuple[str, h5py.Dataset]]:
    """Yield all tensors below a group with their paths."""
    for key in group:
        item = group[key]
        if _is_group(item):
            yield from _datasets(item, f"{prefix}{key}/")
        else:
            yield f"{prefix}{key}", item


def _refuse_duplicates(names: list[str], attribute: str) -> None:
    for name, count in Counter(names).items():
        if count > 1:
            raise FileFormatError(f"{attribute} lists {name!r} twice")


def _refuse_unlisted(root: h5py.Group, prefix: str, names: list[str]) -> None:
    """Refuse tensors outside the listed layers; the optimizer is outside of `root`."""
    for key in root.keys() - {*names, _TOP_LEVEL}:
        below = _listed_below(key, names)  # the key is a part of these layers' names
        if not _is_group(root[key]) or not all(
            path.startswith(below) for path, _ in _datasets(root[key])
        ):
            raise FileFormatError(
                f"{f'{prefix}{key}'!r} holds tensors, but is not listed in layer_names"
            )


def _listed_below(name: str, names: list[str]) -> tuple[str, ...]:
    """Return the paths inside the group `name` of layers whose names begin with "name/"."""
    return tuple(
        f"{other.removeprefix(f'{name}/')}/" for other in names if other.startswith(f"{name}/")
    )


def _refuse_theano(root: h5py.Group, architecture: dict[str, Any] | None, path: Path) -> None:
    """Refuse mirrored kernels and the layout with channels first."""
    is_theano = read_text(root, "backend") == "theano"
    if is_theano or "th_kernels" in path.name or "th_dim_ordering" in path.name:
        raise FileFormatError(
            "written by Keras on Theano, whose kernels are mirrored; convert it in Keras "
            "(convert_all_kernels_in_model) on TensorFlow, or get the "
            "'tf_dim_ordering_tf_kernels' file"
        )
    formats = set(texts_of(architecture, ("data_format", "dim_ordering", "image_data_format")))
    if formats & {"channels_first", "th"}:
        raise FileFormatError(
            "expected the layout channels_last, received channels_first (Theano); rebuild the "
            "model in Keras with data_format='channels_last' and save it again"
        )
