"""Assignment of a file's tensors to a model's parameters: all of them, or none.

Layers are identified by their names, never by their order in a file. Names that Keras chose
itself (``conv2d_17``) depend on what else was built before. For these the rank decides: the third
convolution of the file, by number, is the third that the model created.

>>> import tempfile
>>> from minidl import Input, Sequential, layers
>>> from minidl.formats.matching import load_weights
>>> first, second = (Sequential([Input((2,)), layers.Dense(1, name="fc")]) for _ in range(2))
>>> path = tempfile.mkdtemp() + "/weights.h5"
>>> first.save_weights(path)
>>> load_weights(second, path)
>>> bool((first.get_weights()[0] == second.get_weights()[0]).all())
True
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from minidl.common.errors import FileFormatError
from minidl.formats.file_errors import StrPath
from minidl.formats.keras.v3 import UNNAMED, name_layers
from minidl.formats.pytorch.layout import fit_to_layer, flattened_features
from minidl.formats.pytorch.renaming import ambiguity
from minidl.formats.reading import read_weight_file
from minidl.formats.weight_file import (
    LayerTensors,
    WeightFile,
    guess_network,
    kind_and_number,
    modern_names,
)
from minidl.graph.network import Network
from minidl.layers.base import Layer
from minidl.layers.names import snake_case
from minidl.layers.parameter import Parameter

__all__ = ["load_weights", "match"]

_Pairs = dict[int, LayerTensors]  # id of a layer -> the file's layer


def load_weights(network: Network, path: StrPath, whole: Sequence[Layer] | None = None) -> None:
    """Read a file of any dialect into a network; if anything does not fit, nothing changes.

    Parameters
    ----------
    network : Network
    path : str or Path
    whole : list of Layer, optional
        The layers of the complete network that this one is a part of. The file may have theirs.

    Raises
    ------
    FileNotFoundError, IsADirectoryError
    FileFormatError
        If the file is damaged or unknown, or its tensors are not exactly those of the network.

    Warns
    -----
    UserWarning
        If another network has tensors of the same names and shapes.
    """
    file = read_weight_file(path)
    pairs = match(network.layers, file, whole, network=network)
    caution = ambiguity(entry.name for entry in file.layers)
    if caution:
        warnings.warn(f"{file.label}: {caution}", UserWarning, stacklevel=3)
    for parameter, array in pairs:
        parameter.array = array  # all arrays are ready: nothing can fail from here on


def match(
    layers: Sequence[Layer],
    file: WeightFile,
    whole: Sequence[Layer] | None = None,
    *,
    network: Network | None = None,
) -> list[tuple[Parameter, np.ndarray]]:
    """Return each parameter of `layers` with its tensor, in the parameter's dtype.

    Parameters
    ----------
    layers : list of Layer
        The model's layers, built.
    file : WeightFile
    whole : list of Layer, optional
        The layers of the complete network that the model is a part of. Only their tensors may
        be left out.
    network : Network, optional
        The model itself: its name is for messages, and the names of its inner models distinguish
        layers of one name.

    Returns
    -------
    list of (Parameter, array)

    Raises
    ------
    FileFormatError
        If a tensor is missing, unexpected, of another shape, or too large for the dtype.
    """
    matcher = _Matcher(layers, file, whole or (), network)
    file = matcher.file  # with names
    matcher.refuse_inception_of_2016()
    pairs = matcher.pairs()
    missing = [layer for layer in matcher.layers if id(layer) not in pairs]
    used = {id(entry) for entry in pairs.values()}
    surplus = [entry for entry in file.layers if id(entry) not in used]
    if missing or surplus or matcher.problems:
        raise matcher.error(_differences(missing, surplus, matcher.problems))
    # Layers outside the model are compared only if their rank was used.
    compared = matcher.layers + [layer for layer in matcher.others if layer.auto_named]
    if file.channels_first:
        flattened = {} if network is None else flattened_features(network)
        pairs |= {
            id(layer): fit_to_layer(layer, pairs[id(layer)], flattened)
            for layer in compared
            if id(layer) in pairs
        }
    problems = [p for layer in compared if id(layer) in pairs for p in _misfits(layer, pairs)]
    if problems:
        more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
        raise matcher.error("; ".join(problems[:3]) + more)
    return [
        (parameter, _converted(parameter, pairs[id(layer)], file))
        for layer in matcher.layers
        for parameter in layer.parameters
    ]


class _Matcher:
    """Pairs the layers of a model that have parameters with the layers of a file."""

    def __init__(
        self,
        layers: Sequence[Layer],
        file: WeightFile,
        whole: Sequence[Layer],
        network: Network | None,
    ):
        names = {layer.name for layer in layers}
        self.label = "the model" if network is None else network.label
        self.layers = [layer for layer in layers if layer.parameters]
        self.others = [layer for layer in whole if layer.parameters and layer.name not in names]
        self.file = _named(file, network)
        self.scopes: dict[int, set[str]] = defaultdict(set)  # enclosing models of each layer
        inlined = {} if network is None else network.inlined
        for name, record in inlined.items():
            for layer in record.network.layers:
                self.scopes[id(layer)].add(name)
        self.is_joined = bool(inlined)
        self.problems: list[str] = []

    def error(self, problem: str) -> FileFormatError:
        """Return the error that refuses the file."""
        guess = guess_network(self.file.layers)
        hint = f" (it seems to hold {guess})" if guess else ""
        return FileFormatError(f"{self.file.label}: does not fit {self.label}: {problem}{hint}")

    def pairs(self) -> _Pairs:
        """Return the file's layer for each layer's id, where there is one."""
        known = [*self.layers, *self.others]
        if self._has_exact_names(known):
            return self._pairs_by_name(known)
        pairs = self._pairs_by_name([layer for layer in known if not layer.auto_named])
        used = {id(entry) for entry in pairs.values()}
        by_kind: dict[str, list[LayerTensors]] = defaultdict(list)
        for entry in self.file.layers:
            if id(entry) not in used:
                by_kind[kind_and_number(entry.name)[0]].append(entry)
        for kind in {_kind(layer): None for layer in known if layer.auto_named}:
            pairs |= self._pairs_by_rank(kind, by_kind[kind])
        return pairs

    def _has_exact_names(self, known: list[Layer]) -> bool:
        """Return whether the file has minidl's names for all layers, and no others."""
        if not self.file.dialect.startswith("minidl") and not self.file.dialect.endswith(UNNAMED):
            return False
        in_file = {entry.name for entry in self.file.layers}
        return {layer.name for layer in self.layers} <= in_file <= {layer.name for layer in known}

    def _pairs_by_name(self, layers: list[Layer]) -> _Pairs:
        by_name: dict[str, list[LayerTensors]] = defaultdict(list)
        own = {layer.name for layer in layers}
        for entry, modern in zip(self.file.layers, modern_names(self.file.layers), strict=True):
            by_name[entry.name if entry.name in own else modern].append(entry)
        pairs = {}
        for layer in layers:
            found = by_name[layer.name]
            if found:
                pairs[id(layer)] = found[0] if len(found) == 1 else self._in_scope(layer, found)
        return pairs

    def _in_scope(self, layer: Layer, found: list[LayerTensors]) -> LayerTensors:
        """Return the one of several layers of one name that is in the same inner model."""
        scope = self.scopes[id(layer)]
        inside = [entry for entry in found if entry.scope and set(entry.scope.split("/")) <= scope]
        inside = inside or [entry for entry in found if not entry.scope and not scope]
        if len(inside) != 1:
            scopes = _listed(entry.scope or "the model" for entry in found)
            raise self.error(
                f"expected one layer {_shown(layer.name)!r}, received {len(found)} (in {scopes}); "
                "give the layers different names"
            )
        return inside[0]

    def _pairs_by_rank(self, kind: str, entries: list[LayerTensors]) -> _Pairs:
        """Pair the automatically named layers of one class by their numbers."""
        layers, others = (
            [layer for layer in some if layer.auto_named and _kind(layer) == kind]
            for some in (self.layers, self.others)
        )
        groups = self._by_inner_model(layers, entries) if not others else None
        numbers = [_number(entry) for entry in entries]
        if groups is None and len(set(numbers)) < len(numbers):
            self.problems.append(
                f"the file has several {kind} layers of one number in inner models, whose names "
                "differ from those of the model's inner models"
            )
            return {}
        pairs: _Pairs = {}
        for own, available in groups or [(layers, entries)]:
            if available and not self._is_ordered([*own, *others]):
                self.problems.append(
                    f"the numbers of the {kind} layers differ from the order of construction, by "
                    "which Keras numbers them; give these layers names"
                )
                continue
            found = _by_rank(own, others, available)
            if found is None and available and own:
                self.problems.append(
                    f"expected tensors for {len(own)} {kind} layers without names, received "
                    f"{len(available)} ({_listed(entry.name for entry in available)})"
                )
            pairs |= found or {}
        return pairs

    def _is_ordered(self, layers: list[Layer]) -> bool:
        """Return whether the order of construction of automatically named layers is certain.

        Keras numbers layers in the order of construction. The order is lost if the model came
        from a file whose layers had been called in another order; then the numbers in the names
        differ from it. Joined networks have new numbers without meaning.
        """
        return self.is_joined or sorted(layers, key=_number) == sorted(layers, key=_construction)

    def _by_inner_model(
        self, layers: list[Layer], entries: list[LayerTensors]
    ) -> list[tuple[list[Layer], list[LayerTensors]]] | None:
        """Return one group for each inner model, if both sides have the same counts."""
        theirs: dict[str, list[LayerTensors]] = defaultdict(list)
        for entry in entries:
            theirs[entry.scope].append(entry)
        ours: dict[str, list[Layer]] = defaultdict(list)
        for layer in layers:
            scope = self.scopes[id(layer)]
            fitting = [name for name in theirs if name and set(name.split("/")) <= scope]
            ours[max(fitting, key=len, default="")].append(layer)
        if len(theirs) < 2 or any(len(ours[scope]) != len(theirs[scope]) for scope in theirs):
            return None
        return [(ours[scope], theirs[scope]) for scope in theirs]

    def refuse_inception_of_2016(self) -> None:
        """Refuse a file with gamma in its batch normalizations if the model's have none."""
        kind = "batch_normalization"
        ours = [layer for layer in self.layers if layer.auto_named and _kind(layer) == kind]
        theirs = [e for e in self.file.layers if kind_and_number(e.name)[0] == kind]
        if not ours or not theirs or any(p.name == "gamma" for bn in ours for p in bn.parameters):
            return
        if all("gamma" in entry.tensors for entry in theirs):
            raise FileFormatError(
                f"{self.file.label}: does not fit {self.label}: its batch normalizations "
                f"({_listed(e.name for e in theirs)}) have a gamma: this is the 2016 InceptionV3 "
                "checkpoint, a different architecture; use the 2017 file"
            )


def _by_rank(
    layers: list[Layer], others: list[Layer], entries: list[LayerTensors]
) -> _Pairs | None:
    """Pair layers of one class with those of the file, or return None if the counts differ.

    The file may hold the complete network, the model itself, or a part in between. In the last
    case the numbers, counted from the first, are the ranks.
    """
    layers = sorted(layers, key=_construction)
    complete = sorted([*layers, *others], key=_construction)
    entries = sorted(entries, key=_number)
    ranks = [_number(entry) - _number(entries[0]) for entry in entries]
    if len(entries) == len(complete):
        ranks = list(range(len(entries)))
    if ranks and ranks[-1] < len(complete):
        pairs = {id(complete[i]): entry for i, entry in zip(ranks, entries, strict=True)}
        if all(id(layer) in pairs for layer in layers):
            return pairs
    if len(entries) == len(layers) and ranks == list(range(len(ranks))):
        return {id(layer): entry for layer, entry in zip(layers, entries, strict=True)}
    return None


def _named(file: WeightFile, network: Network | None) -> WeightFile:
    """Name the layers of a file without names by the order in which Keras lists them."""
    if not file.dialect.endswith(UNNAMED):
        return file
    if network is None:
        raise FileFormatError(
            f"{file.label}: the layers can be identified only with a model; build it and call its "
            "load_weights"
        )
    return name_layers(file, network)


def _kind(layer: Layer) -> str:
    return snake_case(type(layer).__name__)


def _number(layer: Layer | LayerTensors) -> int:
    """Return the number in an automatic name."""
    return kind_and_number(layer.name)[1]


def _construction(layer: Layer) -> int:
    return layer.construction_number


def _converted(parameter: Parameter, entry: LayerTensors, file: WeightFile) -> np.ndarray:
    try:
        tensor = parameter.check(entry.tensors[parameter.name])
    except ValueError as error:
        place = entry.places.get(parameter.name, parameter.path)
        raise FileFormatError(f"{file.label}: {place}: {error}") from None
    return np.asarray(tensor, dtype=parameter.array.dtype, order="C")


# Messages


def _differences(missing: list[Layer], surplus: list[LayerTensors], problems: list[str]) -> str:
    """Describe the layers that have no counterpart on the other side."""
    if problems:  # a wrong count is one problem, not one for each layer
        return "; ".join(problems[:2])
    parts = []
    if missing:
        lacking = (
            f"{layer.name} ({', '.join(p.name for p in layer.weights)})" for layer in missing
        )
        parts.append(f"missing tensors for {_listed(lacking)}")
    if surplus:
        parts.append(f"unexpected layers in the file: {_listed(e.name for e in surplus)}")
    return "; ".join(parts)


def _misfits(layer: Layer, pairs: Mapping[int, LayerTensors]) -> Iterator[str]:
    """Yield a message for each tensor that is missing, unexpected, or of another shape."""
    entry = pairs[id(layer)]
    shapes = {parameter.name: parameter.shape for parameter in layer.parameters}
    where = f"layer {_shown(layer.name)!r}"
    if layer.name != entry.name:
        where += f" ({_shown(entry.name)!r} in the file)"
    for role in {**shapes, **entry.tensors}:
        if role not in entry.tensors:
            yield f"{where}: missing tensor {role!r} of shape {shapes[role]}"
            continue
        received = entry.tensors[role].shape
        if role not in shapes:
            yield f"{where}: unexpected tensor {_shown(role)!r} of shape {received}"
        elif shapes[role] != received:
            hint = ""
            if len(received) == 4 and shapes[role] == tuple(received[i] for i in (2, 3, 1, 0)):
                hint = " (Theano's layout; use the file for TensorFlow)"
            yield f"{where}: expected {role} of shape {shapes[role]}, received {received}{hint}"


def _listed(names: Iterable[str], most: int = 3) -> str:
    names = [_shown(name) for name in names]
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _shown(name: str) -> str:
    """Return a name on one line of at most 60 characters."""
    name = name if name.isprintable() else ascii(name)[1:-1]
    return name if len(name) <= 60 else f"{name[:57]}..."
