"""A Keras model's configuration becomes a graph of minidl: for the layers that minidl has.

All generations of Keras are read: lists or dictionaries of layers, and three ways of writing who
reads whom. A model within the model is inlined, as minidl does. Nothing of the file is executed.

>>> from minidl import Model
>>> from minidl.formats.keras.architecture import rebuild_keras
>>> dense = {"name": "head", "units": 2, "batch_input_shape": [None, 3], "activation": "relu"}
>>> config = {"class_name": "Sequential", "config": [{"class_name": "Dense", "config": dense}]}
>>> inputs, outputs, name, kind = rebuild_keras(config, "a.h5")
>>> Model(inputs, outputs).count_params()
8
"""

from __future__ import annotations

import heapq
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from minidl.common.errors import FileFormatError
from minidl.formats.keras.layers import input_sizes, make_layer, parameter_count, plain
from minidl.graph.network import Network
from minidl.layers.base import Layer
from minidl.layers.names import layer_names, snake_case
from minidl.layers.symbolic import Input, SymbolicTensor

__all__ = ["keras_order", "rebuild_keras"]

MAX_DEPTH, MAX_LAYERS = 32, 20_000
MAX_PARAMETERS = 500_000_000  # 2 GB; VGG16 has 138 million

_MODELS = ("Functional", "Model", "Sequential")

_Key = tuple[str, int]  # a layer's name, and which of its calls


def rebuild_keras(
    config: dict[str, Any], path, *, model_class: type[Network] = Network,
    max_parameters: int = MAX_PARAMETERS,
) -> tuple[Any, Any, str, str]:  # fmt: skip
    """Return ``(inputs, outputs, name, class_name)`` of the model that `config` describes.

    Parameters
    ----------
    config : dict
        ``{"class_name": ..., "config": ...}``, as ``model_config`` of an HDF5 file or
        ``config.json`` of a ``.keras`` file.
    path : str or Path
        For messages.
    model_class : type
        What models inside the model become.
    max_parameters : int
        More numbers than this are not allocated: how many the file holds, if that is known.

    Raises
    ------
    FileFormatError
        For layers, arguments or operations that minidl does not have, and for damage.
    """
    try:
        rebuilder = _Rebuilder(Path(path), model_class, max_parameters)
        rebuilder.names.update(_layer_names(config))
        network = rebuilder.network(config, None, 0)
        return network.input, network.output, network.name, config["class_name"]
    except FileFormatError as error:
        message = str(error)
        raise FileFormatError(message if str(path) in message else f"{path}: {error}") from error
    except (AttributeError, IndexError, KeyError, OverflowError, RecursionError, TypeError,
            ValueError) as error:  # fmt: skip
        detail = f"it lacks {error}" if isinstance(error, KeyError) else error
        raise FileFormatError(f"{path}: its model cannot be rebuilt: {detail}") from error


def keras_order(network: Network) -> list[Layer]:
    """Return the layers of a network in the order in which Keras lists (and numbers) them.

    Those farthest from the outputs come first; among equals, the first met on the way back from
    the outputs.
    """
    nodes = network.nodes
    met: dict[int, int] = {}  # id of a layer -> when it was first met
    seen: set[int] = set()
    finished: list[int] = []
    for output in network.output_numbers:
        stack = [(output, False)]
        while stack:
            i, inputs_done = stack.pop()
            if inputs_done:
                finished.append(i)
            elif i not in seen:
                seen.add(i)
                met.setdefault(id(nodes[i].layer), len(met))
                stack.append((i, True))
                stack.extend((j, False) for j in reversed(nodes[i].inputs))
    depths: Counter[int] = Counter()
    layer_depths: Counter[int] = Counter()
    for i in reversed(finished):
        layer = id(nodes[i].layer)
        depths[i] = layer_depths[layer] = max(depths[i], layer_depths[layer])
        for j in nodes[i].inputs:
            depths[j] = max(depths[j], depths[i] + 1)
    known = [layer for layer in network.layers_of_nodes if id(layer) in met]
    return sorted(known, key=lambda layer: (-layer_depths[id(layer)], met[id(layer)]))


class _Call(NamedTuple):
    """One call of a layer: which tensors it reads."""

    layer: str
    inputs: list[_Key]
    as_list: bool


class _Rebuilder:
    """Makes the layers of a file and connects them."""

    def __init__(self, path: Path, model_class: type[Network], max_parameters: int):
        self.path = path
        self.model_class = model_class
        self.budget = max_parameters
        self.names: Counter[str] = Counter()

    def network(self, config: dict[str, Any], sizes: Any, depth: int) -> Network:
        """Return the model of `config`; `sizes` of a sample are for one that tells none itself."""
        kind, inner = config["class_name"], config["config"]
        if depth > MAX_DEPTH:
            raise FileFormatError(f"{self.path}: models within models, more than {MAX_DEPTH} deep")
        if kind == "Sequential":
            inputs, outputs = self._sequential(config, sizes, depth)
        elif isinstance(inner, dict) and "input_layers" in inner:
            inputs, outputs = self._functional(inner, depth)
        else:
            raise FileFormatError(
                f"{self.path}: the model is of the class {kind!r}, whose program is not in the "
                "file; build it with minidl's layers and load its weights only"
            )
        name = config.get("name") or (isinstance(inner, dict) and inner.get("name"))
        return self.model_class(inputs, outputs, name=name or kind.lower())

    def _sequential(self, config: dict[str, Any], sizes: Any, depth: int):
        inner = config["config"]
        described = inner if isinstance(inner, list) else inner["layers"]
        x = start = None
        for item in described:
            if item["class_name"] == "InputLayer":
                x = start = self._input(item["config"])
                continue
            if x is None:
                sizes = _first_sizes(config, item) or sizes
                layer = self._make(item, sizes, depth)
                if isinstance(layer, Network):
                    x = start = Input(layer.input_shape[1:], dtype=layer.dtype.name)
                elif sizes is not None:
                    x = start = Input(sizes, dtype=layer.dtype.name)
                else:
                    raise FileFormatError(
                        f"{self.path}: the model was saved before it knew the shape of its input; "
                        "call it once on data in Keras and save again"
                    )
            else:
                layer = self._make(item, x.shape[1:], depth)
            x = self._call(layer, x)
        if x is None:
            raise FileFormatError(f"{self.path}: the model has no layers")
        return start, x

    def _functional(self, config: dict[str, Any], depth: int):
        described = {item["name"]: item for item in config["layers"]}
        if len(described) != len(config["layers"]) or len(described) > MAX_LAYERS:
            raise FileFormatError(f"{self.path}: two layers have one name, or there are too many")
        tensors: dict[_Key, SymbolicTensor] = {}
        made: dict[str, Layer | Network] = {}
        calls = {}
        for name, item in described.items():
            if item["class_name"] == "InputLayer":
                tensors[name, 0] = self._input({"name": name, **item["config"]})
                continue
            if item["class_name"] not in _MODELS:  # a model may need the shape of what it reads
                made[name] = self._make(item, None, depth)
            calls.update({(name, i): call for i, call in enumerate(_calls(name, item))})
        for key in _in_order(calls, set(tensors)):
            call = calls[key]
            x = [tensors[source] for source in call.inputs]
            if call.layer not in made:
                made[call.layer] = self._make(described[call.layer], x[0].shape[1:], depth)
            tensors[key] = self._call(made[call.layer], x if call.as_list else x[0])
        inputs, outputs = (
            [tensors[key] for key in _ends(config[f"{end}_layers"])] for end in ("input", "output")
        )
        return _single(inputs), _single(outputs)

    def _make(self, item: dict[str, Any], sizes: Any, depth: int) -> Layer | Network:
        """Return a layer, or a model inside the model."""
        kind, config = item["class_name"], item["config"]
        if kind in _MODELS:
            return self.network(item, sizes, depth + 1)
        _refuse_foreign(item)
        name = item.get("name") or config.get("name")
        try:
            layer = make_layer(kind, {**config, "name": name})
            if self.names[name] > 1 and re.fullmatch(rf"{snake_case(kind)}(_\d+)?", name):
                # Keras numbers names anew in each session, so that a base from an older one may
                # have a "dense" as the whole has. As of any two such layers, one is renamed.
                layer_names.keep(layer, name)
            return layer
        except FileFormatError:
            raise
        except (TypeError, ValueError) as error:
            raise FileFormatError(
                f"{self.path}: layer {name!r} ({kind}) cannot be made: {error}"
            ) from error

    def _call(self, layer: Layer | Network, x: Any) -> SymbolicTensor:
        if isinstance(layer, Layer) and not layer.built:
            self.budget -= parameter_count(layer, getattr(x, "shape", None))
            if self.budget < 0:
                raise FileFormatError(
                    f"{self.path}: {layer.label} needs more numbers than the file can hold"
                )
        listed = isinstance(layer, Layer) and layer.capabilities.accepts_list
        y = layer([x] if listed and not isinstance(x, list) else x)
        if not isinstance(y, SymbolicTensor):
            raise FileFormatError(
                f"{self.path}: {layer.label} is used as a layer but has several outputs"
            )
        return y

    def _input(self, config: dict[str, Any]) -> SymbolicTensor:
        sizes = input_sizes(config)
        dtype = config.get("dtype") or config.get("input_dtype") or "float32"
        name = config.get("name")
        if sizes is None or config.get("sparse") or config.get("ragged"):
            raise FileFormatError(f"{self.path}: the input {name!r} has no shape, or is sparse")
        if dtype not in ("float32", "float64", "uint8"):  # float32 holds every uint8
            raise FileFormatError(
                f"{self.path}: the input {name!r} is of dtype {dtype!r}, expected float32 or "
                "float64"
            )
        return Input(sizes, name=name, dtype="float64" if dtype == "float64" else "float32")


def _layer_names(config: Any, depth: int = 0) -> Iterator[str]:
    """Yield the names of all layers, those of models inside the model among them."""
    inner = config["config"]
    items = inner.get("layers") if isinstance(inner, dict) else inner
    for item in items or [] if depth <= MAX_DEPTH else []:
        if item["class_name"] in _MODELS:
            yield from _layer_names(item, depth + 1)
        elif item["class_name"] != "InputLayer":
            yield str(item.get("name") or item["config"].get("name"))


def _first_sizes(config: dict[str, Any], item: dict[str, Any]) -> Any:
    """Return the sizes of a sample from a Sequential, or from its first layer."""
    inner, first = config["config"], item["config"]
    if isinstance(first, dict) and "layers" not in first:
        sizes = input_sizes(first)
        if sizes is not None:
            return sizes
    for place in (inner, config.get("build_config")):
        if isinstance(place, dict):
            shape = plain(place.get("build_input_shape", place.get("input_shape")))
            if isinstance(shape, list) and shape:
                return shape[1:]
    return None


def _refuse_foreign(item: dict[str, Any]) -> None:
    """Raise for operations and for classes of the author's own, which may share Keras' names."""
    kind, module = item["class_name"], item.get("module")
    name = item.get("name") or item["config"].get("name")
    if isinstance(module, str) and ".ops" in module:
        raise FileFormatError(
            f"layer {name!r} is the operation {kind!r} ({module}), not a layer; use layers such "
            "as Add, Concatenate or Rescaling in its place and save again"
        )
    known = module is None or (isinstance(module, str) and module.split(".")[-1] == "layers")
    if not known or ">" in str(item.get("registered_name")):
        raise FileFormatError(
            f"layer {name!r} is of the class {kind!r} of {module or item['registered_name']!r}, "
            "which minidl does not have"
        )


def _calls(name: str, item: dict[str, Any]) -> list[_Call]:
    """Return the calls of one layer, as any generation of Keras writes them."""
    return [
        _call_of_keras_3(name, node) if isinstance(node, dict) else _call_of_list(name, item, node)
        for node in item["inbound_nodes"]
    ]


def _call_of_list(name: str, item: dict[str, Any], node: Any) -> _Call:
    """Keras 1: ``[[source, call, tensor], ...]``; Keras 2 adds a dict of other arguments."""
    if isinstance(node, list) and node and isinstance(node[0], str):
        node = [node]  # a single triple
    for source in node:
        other = source[3] if len(source) > 3 else {}
        random = str(item["class_name"]).startswith("Random")
        if any(value for key, value in other.items() if not (key == "training" and random)):
            raise FileFormatError(
                f"layer {name!r} is called with {other!r}, which minidl cannot do"
            )
    return _Call(name, [_source(name, source[:3]) for source in node], len(node) > 1)


def _call_of_keras_3(name: str, node: dict[str, Any]) -> _Call:
    """``{"args": [tensor or list of tensors], "kwargs": {...}}``."""
    args, kwargs = list(node["args"]), dict(node.get("kwargs") or {})
    if not args and "inputs" in kwargs:
        args = [kwargs.pop("inputs")]
    kwargs.pop("training", None)  # Keras 3 itself replaces it when it predicts
    if len(args) != 1 or any(value not in (None, [None] * 2) for value in kwargs.values()):
        raise FileFormatError(
            f"layer {name!r} is called with {len(args)} arguments and {kwargs!r}; it is an "
            "operation rather than a layer, which minidl cannot do"
        )
    [x] = args
    tensors = x if isinstance(x, list) else [x]
    return _Call(name, [_source(name, tensor) for tensor in tensors], isinstance(x, list))


def _source(name: str, tensor: Any) -> _Key:
    if isinstance(tensor, dict):
        tensor = tensor["config"]["keras_history"] if "config" in tensor else None
    if not (isinstance(tensor, list) and len(tensor) == 3 and isinstance(tensor[0], str)):
        raise FileFormatError(f"layer {name!r} is called on something that is no layer's output")
    source, call, number = tensor
    if number != 0:
        raise FileFormatError(
            f"layer {name!r} reads output {number} of {source!r}; minidl's layers have one"
        )
    return source, int(call)


def _in_order(calls: dict[_Key, _Call], ready: set[_Key]) -> list[_Key]:
    """Return the calls so that each follows those it reads; else in the file's order."""
    number = {key: i for i, key in enumerate(calls)}
    keys = list(calls)
    missing: Counter[_Key] = Counter()
    readers: dict[_Key, list[_Key]] = {}
    for key, call in calls.items():
        if not call.inputs:
            raise FileFormatError(f"layer {call.layer!r} reads no layer")
        for source in set(call.inputs) - ready:
            if source not in calls:
                raise FileFormatError(f"layer {call.layer!r} reads {source[0]!r}, which is missing")
            missing[key] += 1
            readers.setdefault(source, []).append(key)
    waiting = [i for i, key in enumerate(keys) if not missing[key]]  # ascending: a heap
    order = []
    while waiting:
        key = keys[heapq.heappop(waiting)]
        order.append(key)
        for reader in readers.get(key, ()):
            missing[reader] -= 1
            if not missing[reader]:
                heapq.heappush(waiting, number[reader])
    if len(order) < len(calls):
        circle = next(key for key in keys if missing[key])
        raise FileFormatError(f"layer {circle[0]!r} depends on its own output")
    return order


def _ends(value: Any) -> list[_Key]:
    """Return inputs or outputs: one ``[name, call, tensor]``, or a list of such."""
    if not isinstance(value, list) or not value:
        raise FileFormatError(f"expected a list of inputs or outputs, found {value!r}")
    return [_source("output", end) for end in ([value] if isinstance(value[0], str) else value)]


def _single(tensors: list[SymbolicTensor]) -> Any:
    return tensors[0] if len(tensors) == 1 else tensors
