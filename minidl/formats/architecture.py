"""A model's architecture as a JSON document: layers, connections, inputs and outputs.

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
    """Return the description from which :func:`rebuild` creates the same network.

    Parameters
    ----------
    network : Network

    Returns
    -------
    dict
        For JSON.
    """
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
        **_describe_ends(network, network.input_numbers, network.output_numbers),
        "inlined": [_describe_inlined(network, record) for record in network.inlined.values()],
    }


def rebuild(
    description: dict[str, Any],
    custom_objects: dict[str, type] | None = None,
    model_class: type[Network] = Network,
) -> tuple[Any, Any]:
    """Return the symbolic inputs and outputs of a described network with new layers.

    Parameters
    ----------
    description : dict
        From :func:`describe`.
    custom_objects : dict of str to class, optional
        Custom layer classes by name.
    model_class : type
        Class of the inner models, which stay available by name.

    Returns
    -------
    (inputs, outputs)
        Each one symbolic tensor, or a list of them.

    Raises
    ------
    FileFormatError
        For a class that is neither in minidl nor in `custom_objects`.
    """
    created = [_create_layer(item, custom_objects or {}) for item in description["layers"]]
    for layer, item in zip(created, description["layers"], strict=True):
        if item.get("auto_named"):  # such a layer is renamed if another has its name
            layer_names.keep(layer, layer.name)
    tensors: list[SymbolicTensor] = []
    for node in description["nodes"]:
        layer = created[node["layer"]]
        x = [tensors[i] for i in node["inputs"]]
        if not x:
            tensors.append(SymbolicTensor(layer.shape, layer.dtype, layer))
        else:
            with _named_in_errors(layer.name):
                tensors.append(layer(layer.as_input(x)))
    for item in description["inlined"]:
        inner = model_class(*_ends(item, tensors), name=item["name"])
        inputs, outputs = (tuple(tensors[i] for i in item[end]) for end in ("inputs", "outputs"))
        for tensor in outputs:
            tensor.inlined += (Inlined(inner, inputs, outputs),)
    return _ends(description, tensors)


def _describe_inlined(network: Network, record: Inlined) -> dict[str, Any]:
    numbers = {id(tensor): i for i, tensor in enumerate(network.tensors)}
    inputs, outputs = (
        [numbers[id(tensor)] for tensor in tensors] for tensors in (record.inputs, record.outputs)
    )
    return {"name": record.network.name, **_describe_ends(record.network, inputs, outputs)}


def _describe_ends(network: Network, inputs: list[int], outputs: list[int]) -> dict[str, Any]:
    return {
        "inputs": inputs,
        "outputs": outputs,
        "single_input": network.single_input,
        "single_output": network.single_output,
    }


def _ends(item: dict[str, Any], tensors: list[SymbolicTensor]) -> tuple[Any, Any]:
    """Return the inputs and the outputs of a described network."""
    inputs, outputs = ([tensors[i] for i in item[end]] for end in ("inputs", "outputs"))
    return (
        inputs[0] if item["single_input"] else inputs,
        outputs[0] if item["single_output"] else outputs,
    )


def revive(value: Any, custom_objects: dict[str, Any]) -> Any:
    """Create objects of custom classes from their saved configurations, at any depth."""
    if isinstance(value, list):
        return [revive(item, custom_objects) for item in value]
    if not isinstance(value, dict):
        return value
    value = {key: revive(item, custom_objects) for key, item in value.items()}
    if set(value) == {"class_name", "config"} and value["class_name"] in custom_objects:
        return custom_objects[value["class_name"]].from_config(value["config"])
    return value


def _create_layer(item: dict[str, Any], custom_objects: dict[str, type]) -> Layer:
    name = item["class_name"]
    if name == "InputLayer":
        config = dict(item["config"])
        return InputLayer(config.pop("shape"), **config)
    cls = custom_objects.get(name) or getattr(layers, name, None)
    if not (isinstance(cls, type) and issubclass(cls, Layer)):
        raise FileFormatError(
            f"unknown layer class {name!r}; pass it to "
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
            f"layer {layer!r} cannot be created: {error}; pass custom classes to "
            "load_model(path, custom_objects={name: class})"
        ) from error
