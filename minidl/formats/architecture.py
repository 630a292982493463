"""A model's architecture as a JSON document: layers, who reads whom, inputs and outputs.

>>> from minidl import Input, Sequential, layers
>>> from minidl.formats.architecture import describe
>>> model = Sequential([Input((4,)), layers.Dense(2)])
>>> [layer["class_name"] for layer in describe(model)["layers"]]
['InputLayer', 'Dense']
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from minidl import layers
from minidl.common.errors import FileFormatError
from minidl.graph.assembly import Inlined
from minidl.graph.network import Network
from minidl.layers.base import Layer
from minidl.layers.names import layer_names
from minidl.layers.symbolic import InputLayer, SymbolicTensor

__all__ = ["describe", "rebuild", "revive"]


def describe(network: Network) -> dict[str, Any]:
    """Return what :func:`rebuild` needs to make the same network again."""
    numbers = {id(layer): i for i, layer in enumerate(network.layers_of_nodes)}
    return {
        "class_name": type(network).__name__,
        "name": network.name,
        "layers": [
            {
                "class_name": type(layer).__name__,
                "config": layer.get_config(),
                "auto_named": layer.auto_named,
            }
            for layer in network.layers_of_nodes
        ],
        "nodes": [
            {"layer": numbers[id(node.layer)], "inputs": list(node.inputs)}
            for node in network.nodes
        ],
        "inputs": network.input_numbers,
        "outputs": network.output_numbers,
        "single_input": network.single_input,
        "single_output": network.single_output,
        "inlined": [_describe_inlined(network, record) for record in network.inlined.values()],
    }


def rebuild(
    description: dict[str, Any],
    custom_objects: dict[str, type] | None = None,
    model_class: type[Network] = Network,
) -> tuple[Any, Any]:
    """Return the symbolic inputs and outputs of a described network, its layers new.

    Networks that were inlined into it can be got by name again, as objects of `model_class`.

    Raises
    ------
    FileFormatError
        For a class that is neither minidl's nor among `custom_objects`.
    """
    made = [_make_layer(item, custom_objects or {}) for item in description["layers"]]
    for layer, item in zip(made, description["layers"], strict=True):
        if item.get("auto_named"):  # then it may be renamed where it meets a namesake
            layer_names.keep(layer, layer.name)
    tensors: list[SymbolicTensor] = []
    for node in description["nodes"]:
        layer = made[node["layer"]]
        x = [tensors[i] for i in node["inputs"]]
        if not x:
            tensors.append(SymbolicTensor(layer.shape, layer.dtype, layer))
        else:
            with _named_in_errors(layer.name):
                tensors.append(layer(layer.as_input(x)))
    for item in description["inlined"]:
        _restore_inlined(item, tensors, model_class)
    inputs = [tensors[i] for i in description["inputs"]]
    outputs = [tensors[i] for i in description["outputs"]]
    return (
        inputs[0] if description["single_input"] else inputs,
        outputs[0] if description["single_output"] else outputs,
    )


def _describe_inlined(network: Network, record: Inlined) -> dict[str, Any]:
    numbers = {id(tensor): i for i, tensor in enumerate(network.tensors)}
    return {
        "name": record.network.name,
        "inputs": [numbers[id(tensor)] for tensor in record.inputs],
        "outputs": [numbers[id(tensor)] for tensor in record.outputs],
        "single_input": record.network.single_input,
        "single_output": record.network.single_output,
    }


def _restore_inlined(item: dict[str, Any], tensors, model_class: type[Network]) -> None:
    inputs = tuple(tensors[i] for i in item["inputs"])
    outputs = tuple(tensors[i] for i in item["outputs"])
    network = model_class(
        inputs[0] if item["single_input"] else list(inputs),
        outputs[0] if item["single_output"] else list(outputs),
        name=item["name"],
    )
    for tensor in outputs:
        tensor.inlined += (Inlined(network, inputs, outputs),)


def revive(value: Any, custom_objects: dict[str, type]) -> Any:
    """Turn what was saved of the user's own classes into objects; minidl's are known by name."""
    if isinstance(value, list):
        return [revive(item, custom_objects) for item in value]
    if not isinstance(value, dict):
        return value
    value = {key: revive(item, custom_objects) for key, item in value.items()}
    if set(value) == {"class_name", "config"} and value["class_name"] in custom_objects:
        return custom_objects[value["class_name"]].from_config(value["config"])
    return value


def _make_layer(item: dict[str, Any], custom_objects: dict[str, type]) -> Layer:
    name = item["class_name"]
    if name == "InputLayer":
        config = dict(item["config"])
        return InputLayer(config.pop("shape"), **config)
    cls = custom_objects.get(name) or getattr(layers, name, None)
    if not (isinstance(cls, type) and issubclass(cls, Layer)):
        raise FileFormatError(
            f"the file needs the layer class {name!r}; pass it: "
            f"load_model(path, custom_objects={{{name!r}: {name}}})"
        )
    with _named_in_errors(item["config"].get("name")):
        return cls.from_config(revive(item["config"], custom_objects))


@contextlib.contextmanager
def _named_in_errors(layer: str | None) -> Iterator[None]:
    try:
        yield
    except (TypeError, ValueError) as error:
        raise FileFormatError(
            f"the file's layer {layer!r} cannot be made: {error}; classes of your own go into "
            "load_model(path, custom_objects={name: class})"
        ) from error
