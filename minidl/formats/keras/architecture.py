"""Reconstruction of a model from its Keras configuration, with minidl's layers.

All versions of Keras are supported: lists and dictionaries of layers, and three notations for
their inputs. Inner models are inlined. No code of the file is executed.

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
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from minidl.common.errors import FileFormatError
from minidl.formats.file_errors import StrPath, file_errors
from minidl.formats.keras.configuration import inner_layers, layer_name
from minidl.formats.keras.layers import input_sizes, make_layer, parameter_count, plain
from minidl.formats.keras.operations import as_layer
from minidl.graph.network import Network
from minidl.layers.base import Layer
from minidl.layers.names import layer_names, snake_case
from minidl.layers.symbolic import Input, SymbolicTensor

__all__ = ["keras_order", "rebuild_keras"]

MAX_DEPTH, MAX_LAYERS = 32, 20_000
MAX_PARAMETERS = 500_000_000  # 2 GB; VGG16 has 138 million

_MODELS = ("Functional", "Model", "Sequential")

_Config = Mapping[str, Any]
_Key = tuple[str, int]  # a layer's name and the number of its call
_Ends = SymbolicTensor | list[SymbolicTensor]  # inputs or outputs of a model


def rebuild_keras(
    config: _Config,
    path: StrPath,
    *,
    model_class: type[Network] = Network,
    max_parameters: int = MAX_PARAMETERS,
) -> tuple[_Ends, _Ends, str, str]:
    """Return ``(inputs, outputs, name, class_name)`` of the model that `config` describes.

    Parameters
    ----------
    config : dict
        ``{"class_name": ..., "config": ...}``, as ``model_config`` of an HDF5 file or
        ``config.json`` of a ``.keras`` file.
    path : str or Path
        Name of the file, for messages.
    model_class : type
        Class of inner models.
    max_parameters : int
        Upper limit of allocated parameters: the file's number of them, if known.

    Returns
    -------
    (inputs, outputs, name, class_name)

    Raises
    ------
    FileFormatError
        For layers, arguments or operations that minidl does not have, and for damage.
    """
    with file_errors(path, "the model cannot be rebuilt; load its weights only"):
        try:
            rebuilder = _Rebuilder(model_class, max_parameters)
            rebuilder.names.update(_layer_names(config))
            network = rebuilder.network(config, None, 0)
            return network.input, network.output, network.name, config["class_name"]
        except KeyError as error:
            raise FileFormatError(f"the model's configuration lacks {error}") from error


def keras_order(network: Network) -> list[Layer]:
    """Return the layers of a network in the order in which Keras lists and numbers them.

    Layers are sorted by decreasing depth, their distance from the outputs. Layers of equal depth
    keep the order of a depth-first search from the outputs.

    Parameters
    ----------
    network : Network

    Returns
    -------
    list of Layer
    """
    nodes = network.nodes
    found: dict[int, int] = {}  # id of a layer -> position in the search
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
                found.setdefault(id(nodes[i].layer), len(found))
                stack.append((i, True))
                stack.extend((j, False) for j in reversed(nodes[i].inputs))
    depths: Counter[int] = Counter()
    layer_depths: Counter[int] = Counter()
    for i in reversed(finished):
        layer = id(nodes[i].layer)
        depths[i] = layer_depths[layer] = max(depths[i], layer_depths[layer])
        for j in nodes[i].inputs:
            depths[j] = max(depths[j], depths[i] + 1)
    known = [layer for layer in network.layers_of_nodes if id(layer) in found]
    return sorted(known, key=lambda layer: (-layer_depths[id(layer)], found[id(layer)]))


class _Call(NamedTuple):
    """One call of a layer with its inputs."""

    layer: str
    inputs: list[_Key]
    as_list: bool


class _Rebuilder:
    """Creates the layers of a configuration and connects them."""

    def __init__(self, model_class: type[Network], max_parameters: int):
        self.model_class = model_class
        self.budget = max_parameters
        self.names: Counter[str] = Counter()

    def network(self, config: _Config, sizes: Any, depth: int) -> Network:
        """Return the model of `config`; `sizes` is a sample's shape if the model has none."""
        kind, inner = config["class_name"], config["config"]
        if depth > MAX_DEPTH:
            raise FileFormatError(f"expected at most {MAX_DEPTH} levels of inner models")
        if kind == "Sequential":
            inputs, outputs = self._sequential(config, sizes, depth)
        elif isinstance(inner, dict) and "input_layers" in inner:
            inputs, outputs = self._functional(inner, depth)
        else:
            raise FileFormatError(
                f"the code of the model's class {kind!r} is not in the file; build the model with "
                "minidl's layers and load its weights only"
            )
        name = config.get("name") or (isinstance(inner, dict) and inner.get("name"))
        return self.model_class(inputs, outputs, name=name or kind.lower())

    def _sequential(self, config: _Config, sizes: Any, depth: int) -> tuple[_Ends, _Ends]:
        inner = config["config"]
        items = inner if isinstance(inner, list) else inner["layers"]
        x = start = None
        for item in items:
            if item["class_name"] == "InputLayer":
                x = start = self._input(item["config"])
                continue
            if x is not None:
                layer = self._make(item, x.shape[1:], depth)
            else:
                sizes = _first_sizes(config, item) or sizes
                layer = self._make(item, sizes, depth)
                if isinstance(layer, Network):
                    sizes = layer.input_shape[1:]
                if sizes is None:
                    raise FileFormatError(
                        "the shape of the model's input is missing; call the model once on data in "
                        "Keras and save it again"
                    )
                x = start = Input(sizes, dtype=layer.dtype.name)
            x = self._call(layer, x)
        if x is None or start is None:
            raise FileFormatError("the model has no layers")
        return start, x

    def _functional(self, config: _Config, depth: int) -> tuple[_Ends, _Ends]:
        items = {item["name"]: as_layer(item) for item in config["layers"]}
        if len(items) != len(config["layers"]) or len(items) > MAX_LAYERS:
            raise FileFormatError(f"expected at most {MAX_LAYERS} layers with different names")
        tensors: dict[_Key, SymbolicTensor] = {}
        layers: dict[str, Layer | Network] = {}
        calls = {}
        for name, item in items.items():
            if item["class_name"] == "InputLayer":
                tensors[name, 0] = self._input({"name": name, **item["config"]})
                continue
            if item["class_name"] not in _MODELS:  # an inner model may need its input's shape
                layers[name] = self._make(item, None, depth)
            calls.update({(name, i): call for i, call in enumerate(_calls(name, item))})
        for key in _in_order(calls, set(tensors)):
            call = calls[key]
            x = [tensors[source] for source in call.inputs]
            if call.layer not in layers:
                layers[call.layer] = self._make(items[call.layer], x[0].shape[1:], depth)
            tensors[key] = self._call(layers[call.layer], x if call.as_list else x[0])
        inputs, outputs = (
            [tensors[key] for key in _ends(config[f"{end}_layers"])] for end in ("input", "output")
        )
        return _single(inputs), _single(outputs)

    def _make(self, item: _Config, sizes: Any, depth: int) -> Layer | Network:
        """Return a layer or an inner model."""
        kind, config = item["class_name"], item["config"]
        if kind in _MODELS:
            return self.network(item, sizes, depth + 1)
        _refuse_foreign(item)
        name = layer_name(item) or None
        try:
            # TensorFlow's networks have paths such as "expanded_conv/depthwise" as names.
            layer = make_layer(kind, {**config, "name": name and name.replace("/", "_")})
            if name and self.names[name] > 1 and re.fullmatch(rf"{snake_case(kind)}(_\d+)?", name):
                # Keras restarts the numbers of names in each session: a base from an older one
                # may share a name such as "dense" with the head. One of them is renamed.
                layer_names.keep(layer, name)
            return layer
        except FileFormatError:
            raise
        except (TypeError, ValueError) as error:
            raise FileFormatError(f"layer {name!r} ({kind}) cannot be created: {error}") from error

    def _call(self, layer: Layer | Network, x: Any) -> SymbolicTensor:
        if isinstance(layer, Layer) and not layer.built:
            self.budget -= parameter_count(layer, getattr(x, "shape", None))
            if self.budget < 0:
                raise FileFormatError(f"{layer.label} has more parameters than the file can hold")
        accepts_list = isinstance(layer, Layer) and layer.capabilities.accepts_list
        y = layer([x] if accepts_list and not isinstance(x, list) else x)
        if not isinstance(y, SymbolicTensor):
            raise FileFormatError(f"{layer.label} is used as a layer but has several outputs")
        return y

    def _input(self, config: _Config) -> SymbolicTensor:
        sizes = input_sizes(config)
        dtype = config.get("dtype") or config.get("input_dtype") or "float32"
        name = config.get("name")
        if sizes is None or config.get("sparse") or config.get("ragged"):
            raise FileFormatError(f"input {name!r}: expected a dense input with a shape")
        if dtype not in ("float32", "float64", "uint8"):  # float32 holds every uint8
            raise FileFormatError(
                f"input {name!r}: expected dtype float32 or float64, received {dtype!r}"
            )
        return Input(sizes, name=name, dtype="float64" if dtype == "float64" else "float32")


def _layer_names(config: Any, depth: int = 0) -> Iterator[str]:
    """Yield the names of all layers, including those of inner models."""
    for item in inner_layers(config) if depth <= MAX_DEPTH else []:
        if item["class_name"] in _MODELS:
            yield from _layer_names(item, depth + 1)
        elif item["class_name"] != "InputLayer":
            yield layer_name(item)


def _first_sizes(config: _Config, item: _Config) -> Any:
    """Return the shape of a sample from a Sequential or from its first layer, or None."""
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


def _refuse_foreign(item: _Config) -> None:
    """Refuse operations and custom classes, which may have the name of a Keras layer."""
    kind, module, name = item["class_name"], item.get("module"), layer_name(item)
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


def _calls(name: str, item: _Config) -> list[_Call]:
    """Return the calls of one layer in the notation of any version of Keras."""
    return [
        _call_of_keras_3(name, node) if isinstance(node, dict) else _call_of_list(name, item, node)
        for node in item["inbound_nodes"]
    ]


def _call_of_list(name: str, item: _Config, node: Any) -> _Call:
    """Parse ``[[source, call, tensor], ...]`` of Keras 1; Keras 2 adds a dict of arguments."""
    if isinstance(node, list) and node and isinstance(node[0], str):
        node = [node]  # a single triple
    for source in node:
        other = source[3] if len(source) > 3 else {}
        random = str(item["class_name"]).startswith("Random")
        if any(value for key, value in other.items() if not (key == "training" and random)):
            raise FileFormatError(f"layer {name!r}: minidl does not support the call {other!r}")
    return _Call(name, [_source(name, source[:3]) for source in node], len(node) > 1)


def _call_of_keras_3(name: str, node: _Config) -> _Call:
    """Parse ``{"args": [tensor or list of tensors], "kwargs": {...}}``."""
    args, kwargs = list(node["args"]), dict(node.get("kwargs") or {})
    if not args and "inputs" in kwargs:
        args = [kwargs.pop("inputs")]
    kwargs.pop("training", None)  # Keras 3 itself replaces it when it predicts
    if len(args) != 1 or any(value not in (None, [None] * 2) for value in kwargs.values()):
        raise FileFormatError(
            f"layer {name!r}: expected a call with one argument, received {len(args)} and "
            f"{kwargs!r}; minidl does not support operations"
        )
    [x] = args
    tensors = x if isinstance(x, list) else [x]
    return _Call(name, [_source(name, tensor) for tensor in tensors], isinstance(x, list))


def _source(name: str, tensor: Any) -> _Key:
    if isinstance(tensor, dict):
        tensor = tensor["config"]["keras_history"] if "config" in tensor else None
    if not (isinstance(tensor, list) and len(tensor) == 3 and isinstance(tensor[0], str)):
        raise FileFormatError(f"layer {name!r}: expected the output of a layer as input")
    source, call, number = tensor
    if number != 0:
        raise FileFormatError(
            f"layer {name!r} reads output {number} of {source!r}; layers of minidl have one output"
        )
    return source, int(call)


def _in_order(calls: dict[_Key, _Call], ready: set[_Key]) -> list[_Key]:
    """Return the calls in topological order, otherwise in the file's order."""
    number = {key: i for i, key in enumerate(calls)}
    keys = list(calls)
    missing: Counter[_Key] = Counter()
    readers: dict[_Key, list[_Key]] = {}
    for key, call in calls.items():
        if not call.inputs:
            raise FileFormatError(f"layer {call.layer!r} has no input")
        for source in set(call.inputs) - ready:
            if source not in calls:
                raise FileFormatError(f"layer {call.layer!r} reads {source[0]!r}, which is missing")
            missing[key] += 1
            readers.setdefault(source, []).append(key)
    heap = [i for i, key in enumerate(keys) if not missing[key]]  # ascending
    order = []
    while heap:
        key = keys[heapq.heappop(heap)]
        order.append(key)
        for reader in readers.get(key, ()):
            missing[reader] -= 1
            if not missing[reader]:
                heapq.heappush(heap, number[reader])
    if len(order) < len(calls):
        cyclic = next(key for key in keys if missing[key])
        raise FileFormatError(f"layer {cyclic[0]!r} depends on its own output")
    return order


def _ends(value: Any) -> list[_Key]:
    """Parse inputs or outputs: one ``[name, call, tensor]`` or a list of them."""
    if not isinstance(value, list) or not value:
        raise FileFormatError(f"expected a list of inputs or outputs, received {value!r}")
    return [_source("output", end) for end in ([value] if isinstance(value[0], str) else value)]


def _single(tensors: list[SymbolicTensor]) -> _Ends:
    return tensors[0] if len(tensors) == 1 else tensors
