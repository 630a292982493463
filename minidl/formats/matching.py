"""Which tensor of a file belongs to which parameter of a model: every one of them, or none.

Layers are told by their names, never by their order in a file. Names that Keras chose itself
(``conv2d_17``) depend on what else was built before; there, rank decides: the third convolution
of the file, by number, is the third that the model made.

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

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from minidl.common.errors import FileFormatError
from minidl.formats.keras.v3 import UNNAMED, name_layers
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


def load_weights(network: Network, path, whole: Sequence[Layer] | None = None) -> None:
    """Read a file of any dialect into a network; where anything does not fit, nothing changes.

    Parameters
    ----------
    network : Network
    path : str or Path
    whole : list of Layer, optional
        The layers of the complete network that this one was cut from: the file may have theirs.

    Raises
    ------
    FileNotFoundError, IsADirectoryError
    FileFormatError
        If the file is damaged or unknown, or its tensors are not exactly those of the network.
    """
    file = read_weight_file(path)
    for parameter, array in match(network.layers, file, whole, network=network):
        parameter.array = array  # all are ready: from here on nothing can fail


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
        Of the model; built.
    file : WeightFile
    whole : list of Layer, optional
        The layers of the complete network that the model was cut from. What the file has for
        them may be left out, nothing else.
    network : Network, optional
        The model itself: its name is for messages, and the names of models inside it tell
        layers of one name apart.

    Raises
    ------
    FileFormatError
        If a tensor is missing, left over, of another shape, or too large for the dtype.
    """
    sides = _Sides(layers, file, whole or (), network)
    _refuse_inception_of_2016(sides)
    pairs = sides.pairs()
    missing = [layer for layer in sides.wanted if id(layer) not in pairs]
    used = {id(entry) for entry in pairs.values()}
    surplus = [entry for entry in file.layers if id(entry) not in used]
    if missing or surplus or sides.notes:
        raise FileFormatError(sides.complaint(_differences(missing, surplus, sides.notes)))
    # Of layers that are left out only those are compared whose place in the file was counted.
    compared = sides.wanted + [layer for layer in sides.extras if layer.auto_named]
    pairs = {id(layer): (layer, pairs[id(layer)]) for layer in compared if id(layer) in pairs}
    problems = [p for layer, entry in pairs.values() for p in _misfits(layer, entry)]
    if problems:
        more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
        raise FileFormatError(sides.complaint("; ".join(problems[:3]) + more))
    return [
        (parameter, _converted(parameter, pairs[id(layer)][1], file))
        for layer in sides.wanted
        for parameter in layer.parameters
    ]


class _Sides:
    """The two sides of a match: layers that want tensors, and a file's layers that have them."""

    def __init__(self, layers, file: WeightFile, whole, network: Network | None):
        names = {layer.name for layer in layers}
        self.label = "the model" if network is None else network.label
        self.wanted = [layer for layer in layers if layer.parameters]
        self.extras = [layer for layer in whole if layer.parameters and layer.name not in names]
        self.file = _named(file, network)
        self.scopes = _scopes(network)
        self.joined = bool(network and network.inlined)
        self.notes: list[str] = []

    def complaint(self, what: str) -> str:
        """Return the sentence that refuses the file."""
        guess = guess_network(self.file.layers)
        hint = f" (it seems to hold {guess})" if guess else ""
        return f"{self.file.path} ({self.file.dialect}): does not fit {self.label}: {what}{hint}"

    def pairs(self) -> dict[int, LayerTensors]:
        """Return the file's layer for each layer's id, as far as there is one."""
        known = [*self.wanted, *self.extras]
        if self._is_literal(known):
            return self._pairs_by_name(known, self.file.layers)
        named = [layer for layer in known if not layer.auto_named]
        pairs = self._pairs_by_name(named, self.file.layers)
        used = {id(entry) for entry in pairs.values()}
        rest = [entry for entry in self.file.layers if id(entry) not in used]
        by_kind = defaultdict(list)
        for entry in rest:
            by_kind[kind_and_number(entry.name)[0]].append(entry)
        for kind in {_kind(layer): None for layer in known if layer.auto_named}:
            pairs |= self._pairs_by_rank(kind, by_kind[kind])
        return pairs

    def _is_literal(self, known: list[Layer]) -> bool:
        """Say whether the file has minidl's names for all layers, and no others."""
        if not self.file.dialect.startswith("minidl") and not self.file.dialect.endswith(UNNAMED):
            return False
        in_file = {entry.name for entry in self.file.layers}
        return {layer.name for layer in self.wanted} <= in_file <= {layer.name for layer in known}

    def _pairs_by_name(self, layers: list[Layer], entries: list[LayerTensors]):
        called = defaultdict(list)
        own = {layer.name for layer in layers}
        for entry, other in zip(entries, modern_names(entries), strict=True):
            called[entry.name if entry.name in own else other].append(entry)
        pairs = {}
        for layer in layers:
            found = called[layer.name]
            if len(found) > 1:
                found = self._in_scope(layer, found)
            if found:
                pairs[id(layer)] = found[0]
        return pairs

    def _in_scope(self, layer: Layer, found: list[LayerTensors]) -> list[LayerTensors]:
        """Of several layers of one name, return the one that lies in the same inner model."""
        around = self.scopes[id(layer)]
        inside = [entry for entry in found if entry.scope and _parts(entry) <= around]
        inside = inside or [entry for entry in found if not entry.scope and not around]
        if len(inside) != 1:
            raise FileFormatError(
                self.complaint(
                    f"the file has {len(found)} layers for {_shown(layer.name)} (in "
                    f"{', '.join(_shown(entry.scope or 'the model') for entry in found[:3])}), "
                    "and nothing tells which is meant"
                )
            )
        return inside

    def _pairs_by_rank(self, kind: str, entries: list[LayerTensors]):
        """Pair the layers of a kind, those without a name of their own, by their numbers."""
        wanted = [layer for layer in self.wanted if layer.auto_named and _kind(layer) == kind]
        extras = [layer for layer in self.extras if layer.auto_named and _kind(layer) == kind]
        parts = self._by_inner_model(wanted, entries) if not extras else None
        numbers = [kind_and_number(entry.name)[1] for entry in entries]
        if parts is None and len(set(numbers)) < len(numbers):
            self.notes.append(
                f"the file has several {kind} layers of one number, in inner models whose names "
                "are not those of the model's"
            )
            return {}
        pairs = {}
        for some_wanted, some_entries in parts or [(wanted, entries)]:
            if some_entries and not self._is_ordered([*some_wanted, *extras]):
                self.notes.append(
                    f"the numbers of its {kind} layers are not in the order in which they were "
                    "made, by which Keras counts; give these layers names of their own"
                )
                continue
            found = _by_rank(some_wanted, extras, some_entries)
            if found is None and some_entries and some_wanted:
                self.notes.append(
                    f"{len(some_wanted)} {kind} layers without a name of their own want tensors, "
                    f"the file has {len(some_entries)} such layers "
                    f"({_listed(entry.name for entry in some_entries)})"
                )
            pairs |= found or {}
        return pairs

    def _is_ordered(self, layers: list[Layer]) -> bool:
        """Say whether it is certain which of some layers without names was made first.

        The order of construction is Keras' own. It is lost where a file was loaded whose layers
        had been called in another order; their numbers in the names then tell. Where networks
        were joined, some got new numbers that say nothing.
        """
        return self.joined or sorted(layers, key=_number) == sorted(layers, key=_made)

    def _by_inner_model(self, wanted: list[Layer], entries: list[LayerTensors]):
        """Return the layers in groups, one for each model inside the model, if both sides agree."""
        theirs = defaultdict(list)
        for entry in entries:
            theirs[entry.scope].append(entry)
        ours = defaultdict(list)
        for layer in wanted:
            around = self.scopes[id(layer)]
            fitting = [scope for scope in theirs if scope and set(scope.split("/")) <= around]
            ours[max(fitting, key=len, default="")].append(layer)
        if len(theirs) < 2 or any(len(ours[scope]) != len(theirs[scope]) for scope in theirs):
            return None
        return [(ours[scope], theirs[scope]) for scope in theirs]


def _by_rank(wanted, extras, entries) -> dict[int, LayerTensors] | None:
    """Pair layers of one kind with those of the file; None where the counts do not agree.

    The file may hold the complete network, the model itself, or a part in between: numbers then
    tell the places, counted from the first.
    """
    wanted, complete = (sorted(some, key=_made) for some in (wanted, [*wanted, *extras]))
    entries = sorted(entries, key=lambda entry: kind_and_number(entry.name)[1])
    if len(entries) == len(complete):
        return {id(layer): entry for layer, entry in zip(complete, entries, strict=True)}
    numbers = [kind_and_number(entry.name)[1] for entry in entries]
    places = [number - numbers[0] for number in numbers]
    if places and places[-1] < len(complete):
        pairs = {id(complete[i]): entry for i, entry in zip(places, entries, strict=True)}
        if all(id(layer) in pairs for layer in wanted):
            return pairs
    if len(entries) == len(wanted) and places == list(range(len(places))):
        return {id(layer): entry for layer, entry in zip(wanted, entries, strict=True)}
    return None


# Names


def _kind(layer: Layer) -> str:
    return snake_case(type(layer).__name__)


def _number(layer: Layer) -> int:
    """Return the number in the name that a layer got by itself."""
    return kind_and_number(layer.name)[1]


def _made(layer: Layer) -> int:
    return layer.construction_number


def _parts(entry: LayerTensors) -> set[str]:
    return set(entry.scope.split("/"))


def _scopes(network: Network | None) -> dict[int, set[str]]:
    """Return the names of the models inside `network` that each layer belongs to."""
    scopes: dict[int, set[str]] = defaultdict(set)
    for name, record in ({} if network is None else network.inlined).items():
        for layer in record.network.layers:
            scopes[id(layer)].add(name)
    return scopes


def _named(file: WeightFile, network: Network | None) -> WeightFile:
    """Name the layers of a file that has no names, by the order in which Keras lists them."""
    if not file.dialect.endswith(UNNAMED):
        return file
    if network is None:
        raise FileFormatError(
            f"{file.path} ({file.dialect}): only a model can tell which layer is which; "
            "build it and call its load_weights"
        )
    return name_layers(file, network)


# Complaints


def _differences(missing: list[Layer], surplus: list[LayerTensors], notes: list[str]) -> str:
    """Say in words which layers have no counterpart on the other side."""
    if notes:  # a count that differs is one fault, not one for each layer
        return "; ".join(notes[:2])
    parts = []
    if missing:
        wants = (f"{layer.name} ({', '.join(p.name for p in layer.weights)})" for layer in missing)
        parts.append(f"no tensors for {_listed(wants)}")
    if surplus:
        verb = "are" if len(surplus) > 1 else "is"
        parts.append(f"the file's {_listed(e.name for e in surplus)} {verb} unknown to it")
    return "; ".join(parts)


def _misfits(layer: Layer, entry: LayerTensors) -> Iterator[str]:
    """Yield a sentence for each tensor that a layer lacks, does not know, or has another shape."""
    shapes = {parameter.name: parameter.shape for parameter in layer.parameters}
    where = layer.name if layer.name == entry.name else f"{layer.name} (the file's {entry.name})"
    where = _shown(where)
    for role in {**shapes, **entry.tensors}:
        if role not in entry.tensors:
            yield f"{where} wants {role} {shapes[role]}, which the file has not"
        elif role not in shapes:
            received = entry.tensors[role].shape
            yield f"{where} has no {_shown(role)}, the file has one of shape {received}"
        elif shapes[role] != (received := entry.tensors[role].shape):
            hint = ""
            if len(received) == 4 and shapes[role] == tuple(received[i] for i in (2, 3, 1, 0)):
                hint = " (Theano's order: take the file for TensorFlow)"
            yield f"{where} expected {role} of shape {shapes[role]}, received {received}{hint}"


def _refuse_inception_of_2016(sides: _Sides) -> None:
    """Raise where the file's batch normalizations have a gamma, and the model's have none."""
    kind = "batch_normalization"
    ours = [p for p in sides.wanted if p.auto_named and _kind(p) == kind]
    theirs = [e for e in sides.file.layers if kind_and_number(e.name)[0] == kind]
    if not ours or not theirs or any(p.name == "gamma" for bn in ours for p in bn.parameters):
        return
    if all("gamma" in entry.tensors for entry in theirs):
        raise FileFormatError(
            f"{sides.file.path} ({sides.file.dialect}): does not fit {sides.label}: its batch "
            f"normalizations ({_listed(e.name for e in theirs)}) have a gamma, the model's have "
            "none; such is the 2016 InceptionV3, different network: take the file of 2017 or later"
        )


def _converted(parameter: Parameter, entry: LayerTensors, file: WeightFile) -> np.ndarray:
    tensor = entry.tensors[parameter.name]
    with np.errstate(over="ignore"):
        array = np.asarray(tensor, dtype=parameter.array.dtype, order="C")
    if tensor.dtype.itemsize > array.dtype.itemsize and not np.isfinite(array).all():
        raise FileFormatError(
            f"{file.path} ({file.dialect}): {entry.places.get(parameter.name, parameter.path)} has "
            f"numbers too large for the model's {array.dtype}"
        )
    return array


def _listed(names: Iterable[str], most: int = 3) -> str:
    names = [_shown(name) for name in names]
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _shown(name: str) -> str:
    """Return a name as a message can show it: short, and in one line."""
    name = name if name.isprintable() else ascii(name)[1:-1]
    return name if len(name) <= 60 else f"{name[:57]}..."
