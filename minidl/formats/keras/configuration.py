"""Model configurations as Keras writes them: JSON parsing and access to the layers.

>>> from minidl.formats.keras.configuration import inner_layers, layer_name, parse_configuration
>>> layer = '{"class_name": "Dense", "config": {"name": "head"}}'
>>> text = '{"class_name": "Sequential", "config": {"layers": [' + layer + "]}}"
>>> [layer_name(item) for item in inner_layers(parse_configuration(text, "model_config"))]
['head']
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from minidl.common.errors import FileFormatError

__all__ = ["inner_layers", "is_model", "layer_name", "parse_configuration", "texts_of"]


def parse_configuration(text: str | bytes, source: str) -> dict[str, Any]:
    """Return the configuration of a model; `source` names its place in the file, for messages."""
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"{source} is not valid JSON") from error
    if not isinstance(config, dict) or "class_name" not in config:
        raise FileFormatError(f"{source} describes no model")
    return config


def inner_layers(config: Any) -> list[dict[str, Any]]:
    """Return the configurations of a model's layers; [] for other layers and for damaged ones."""
    inner = config.get("config") if isinstance(config, dict) else None
    items = inner.get("layers") if isinstance(inner, dict) else inner
    return [item for item in items if _is_layer(item)] if isinstance(items, list) else []


def _is_layer(item: Any) -> bool:
    has_class = isinstance(item, dict) and isinstance(item.get("class_name"), str)
    return has_class and isinstance(item.get("config"), (dict, list))


def is_model(config: Mapping[str, Any]) -> bool:
    """Return whether a layer's configuration is that of an inner model."""
    return isinstance(config["config"], list) or "layers" in config["config"]


def layer_name(config: Mapping[str, Any]) -> str:
    """Return the name in a layer's configuration, or ""."""
    inner = config["config"]
    return str(config.get("name") or (isinstance(inner, dict) and inner.get("name")) or "")


def texts_of(config: Any, keys: tuple[str, ...]) -> Iterator[str]:
    """Yield the strings under any of `keys` anywhere in a configuration."""
    stack = [config]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            yield from (item[key] for key in keys if isinstance(item.get(key), str))
            stack += item.values()
        elif isinstance(item, list):
            stack += item
