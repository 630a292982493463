"""How layers, losses, optimizers and their like are written to a file and read back.

A :class:`Configurable` remembers the arguments of its own constructor, so none of them
(a user's own layer included) needs to write serialisation code.

>>> from minidl.layers import Dense
>>> Dense(3, activation="relu", name="fc").get_config()["units"]
3
"""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np

__all__ = ["Configurable", "lookup", "serialize"]


class Configurable:
    """Base class that records constructor arguments: ``get_config`` and ``from_config``."""

    def __new__(cls, *args, **kwargs):
        self = object.__new__(cls)
        # Partial, so that a wrong call fails in __init__ with Python's own clear message.
        try:
            bound = inspect.signature(cls.__init__).bind_partial(self, *args, **kwargs)
        except TypeError:
            self._arguments = {}
            return self
        arguments = dict(list(bound.arguments.items())[1:])
        for parameter in bound.signature.parameters.values():
            if parameter.kind is parameter.VAR_KEYWORD:
                arguments.update(arguments.pop(parameter.name, {}))
        self._arguments = arguments
        return self

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments as JSON can hold them.

        A number that was changed afterwards, such as ``dropout.rate = 0.1``, is given as it
        is now.
        """
        return {key: serialize(self._now(key, value)) for key, value in self._arguments.items()}

    def _now(self, key: str, given: Any) -> Any:
        """Return the attribute of the argument's name where both are plain numbers."""
        current = getattr(self, key, given)
        plain = all(isinstance(value, (bool, int, float)) for value in (given, current))
        return current if plain else given

    @classmethod
    def from_config(cls, config: dict[str, Any]):
        """Make a new object from what ``get_config`` returned."""
        return cls(**config)


def serialize(value: Any) -> Any:
    """Turn a constructor's argument into what JSON can hold; Configurables become dicts.

    Raises
    ------
    TypeError
        For a value that no file can hold, such as a function.
    """
    if isinstance(value, Configurable):
        return {"class_name": type(value).__name__, "config": value.get_config()}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (np.integer, np.floating, np.bool_, np.ndarray)):
        return value.tolist()
    if isinstance(value, (list, tuple)):
        return [serialize(item) for item in value]
    if isinstance(value, dict):
        return {str(key): serialize(item) for key, item in value.items()}
    if isinstance(value, np.dtype) or (isinstance(value, type) and issubclass(value, np.generic)):
        return np.dtype(value).name
    raise TypeError(f"cannot be saved: {value!r} (expected numbers, text, lists or minidl objects)")


def lookup(kind: str, identifier: Any, known: dict[str, Any], base: type) -> Any:
    """Turn a name, a saved dict, a class or an object into an object of class `base`.

    Parameters
    ----------
    kind : str
        What is looked up, for the error message: "optimizer", "loss", ...
    identifier : str, dict, type or base
        Names are case-insensitive; a dict has the keys ``class_name`` and ``config``.
    known : dict
        Name -> class or ready object.

    Raises
    ------
    ValueError
        For a name that is not known.
    TypeError
        For anything that is none of the above.
    """
    if isinstance(identifier, base):
        return identifier
    config: dict[str, Any] = {}
    if isinstance(identifier, dict) and "class_name" in identifier:
        config = identifier.get("config", {})
        identifier = identifier["class_name"]
    if isinstance(identifier, type) and issubclass(identifier, base):
        return identifier(**config)
    if not isinstance(identifier, str):
        raise TypeError(f"{kind}: expected a name or a {base.__name__}, received {identifier!r}")
    by_name = {name.lower(): value for name, value in known.items()}
    found = by_name.get(identifier.lower())
    if found is None:
        raise ValueError(f"unknown {kind} {identifier!r}; known are: {', '.join(known)}")
    return found(**config) if isinstance(found, type) else found
