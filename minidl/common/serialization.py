"""Serialization of layers, losses, optimizers and other configurable objects.

A :class:`Configurable` records the arguments of its constructor. Its subclasses, custom layers
included, therefore need no serialization code.

>>> from minidl.layers import Dense
>>> Dense(3, activation="relu", name="fc").get_config()["units"]
3
"""

from __future__ import annotations

import inspect
from typing import Any, Self

import numpy as np

__all__ = ["Configurable", "lookup", "serialize"]

NUMBERS = (bool, int, float)


class Configurable:
    """Base class with ``get_config`` and ``from_config``, from the constructor's arguments."""

    _arguments: dict[str, Any]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        self = object.__new__(cls)
        # bind_partial, so that __init__ raises Python's own message for missing arguments.
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
        """Return the constructor's arguments in a form that JSON can represent.

        Numbers that have changed since, such as after ``dropout.rate = 0.1``, have their present
        value.
        """
        config = {}
        for name, argument in self._arguments.items():
            current = getattr(self, name, argument)
            are_numbers = isinstance(argument, NUMBERS) and isinstance(current, NUMBERS)
            config[name] = serialize(current if are_numbers else argument)
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Create an object from the result of ``get_config``."""
        return cls(**config)


def serialize(value: Any) -> Any:
    """Convert a constructor's argument to a form that JSON can represent.

    A :class:`Configurable` becomes a dict of its class name and its configuration.

    Raises
    ------
    TypeError
        For a value without such a form, such as a function.
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
    raise TypeError(
        f"cannot be saved: expected numbers, text, lists or minidl objects, received {value!r}"
    )


def lookup(kind: str, identifier: Any, known: dict[str, Any], base: type) -> Any:
    """Return the object of class `base` for a name, a configuration, a class or an object.

    Parameters
    ----------
    kind : str
        The kind of object for the error message: "optimizer", "loss", ...
    identifier : str, dict, type or base
        Names are case-insensitive; a dict has the keys ``class_name`` and ``config``.
    known : dict
        Classes or objects by name.

    Raises
    ------
    ValueError
        For an unknown name.
    TypeError
        For any other type of identifier.
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
        raise ValueError(f"{kind}: expected one of {', '.join(known)}, received {identifier!r}")
    return found(**config) if isinstance(found, type) else found
