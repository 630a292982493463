"""Arithmetic in Keras' configurations: sums and products of tensors and numbers as layers.

``x + 3`` in a model's code becomes an operation in its configuration, which Keras 3 writes as a
class of ``keras.ops`` and Keras 2 as a TFOpLambda with the name of a TensorFlow function. The
operations below are layers of minidl under another name; all others are left alone, and refused
later.

>>> from minidl.formats.keras.operations import as_layer
>>> node = ["x", 0, 0, {"y": 3.0, "name": None}]
>>> config = {"name": "plus", "function": "__operators__.add"}
>>> item = {"class_name": "TFOpLambda", "name": "plus", "config": config, "inbound_nodes": [node]}
>>> as_layer(item)["config"]
{'name': 'plus', 'scale': 1.0, 'offset': 3.0}
"""

from __future__ import annotations

from typing import Any

__all__ = ["as_layer"]

_FUNCTIONS = {
    "__operators__.add": "Add",
    "math.add": "Add",
    "math.multiply": "Multiply",
}

_Item = dict[str, Any]


def as_layer(item: _Item) -> _Item:
    """Return the configuration of the layer that equals an operation, or `item` itself.

    Parameters
    ----------
    item : dict
        A layer of a model's configuration, with its calls.

    Returns
    -------
    dict
        Rescaling for the sum or the product with a number, Add or Multiply for those of tensors.
    """
    nodes = item.get("inbound_nodes")
    if not isinstance(nodes, list) or len(nodes) != 1:
        return item
    if item["class_name"] == "TFOpLambda":
        return _from_keras_2(item, nodes[0])
    is_operation = ".ops" in str(item.get("module") or ".ops")  # HDF5 files have no modules
    if item["class_name"] in ("Add", "Multiply") and is_operation:
        return _from_keras_3(item, nodes[0])
    return item


def _from_keras_2(item: _Item, node: Any) -> _Item:
    """Translate ``[source, call, tensor, {"y": number, "name": None}]``."""
    config = item["config"]
    kind = _FUNCTIONS.get(str(config.get("function"))) if isinstance(config, dict) else None
    if kind is None or not isinstance(node, list) or len(node) != 4:
        return item
    *source, arguments = node
    if not isinstance(arguments, dict) or arguments.keys() - {"y", "name"}:
        return item
    number = arguments.get("y")
    if not _is_number(number):
        return item
    return _rescaling(item, kind, float(number), [source])  # type: ignore[arg-type]


def _from_keras_3(item: _Item, node: Any) -> _Item:
    """Translate ``{"args": [tensor, tensor or number], "kwargs": {}}``."""
    arguments = node.get("args") if isinstance(node, dict) else None
    if not isinstance(arguments, list) or len(arguments) != 2 or node.get("kwargs"):
        return item
    numbers = [value for value in arguments if _is_number(value)]
    tensors = [value for value in arguments if isinstance(value, dict)]
    if len(tensors) == 1 and len(numbers) == 1:
        call = {"args": tensors, "kwargs": {}}
        return _rescaling(item, item["class_name"], numbers[0], call)
    if len(tensors) == 2:
        nodes = [{"args": [tensors], "kwargs": {}}]
        return {**item, "module": "keras.layers", "registered_name": None, "inbound_nodes": nodes}
    return item


def _rescaling(item: _Item, kind: str, number: float, node: Any) -> _Item:
    scale, offset = (1.0, float(number)) if kind == "Add" else (float(number), 0.0)
    config = {"name": item["config"].get("name"), "scale": scale, "offset": offset}
    return {
        "class_name": "Rescaling",
        "module": "keras.layers",
        "name": item.get("name"),
        "config": config,
        "inbound_nodes": [node],
    }


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
