"""NameScope: the rule by which layers without a name of their own are named.

As in Keras, a layer is named after its class, and layers of one class are numbered in the order
of their construction. Weight files of Keras tell layers apart by these numbers.

>>> from minidl import layers
>>> names = NameScope()
>>> pair = [layers.ReLU(), layers.ReLU()]
>>> names.resolve("Model 'pets'", pair)
>>> [layer.name for layer in pair]
['re_lu', 're_lu_1']
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from minidl.layers.base import Layer

__all__ = ["NameScope", "layer_names", "snake_case"]


class NameScope:
    """Gives names to layers.

    A layer has a provisional name, for error messages, until a network contains it. The network
    then gives it the first free name, which is final unless two networks are joined that use one
    name for different layers.
    """

    def __init__(self) -> None:
        self._provisional: Counter[str] = Counter()  # provisional names given, by class
        self._highest: Counter[str] = Counter()  # highest number given in a network, by class

    def provisional(self, layer_class: type) -> str:
        """Return a name for a layer that no network contains yet."""
        base = snake_case(layer_class.__name__)
        number = self._provisional[base]
        self._provisional[base] += 1
        return f"{base}_{number}" if number else base

    def keep(self, layer: Layer, name: str) -> None:
        """Give `layer` a name as if a network had chosen it: it may change at a collision."""
        layer.name = layer.resolved_name = name
        layer.auto_named = True

    def resolve(self, where: str, layers: Iterable[Layer]) -> None:
        """Give the layers of a network unique names.

        Parameters
        ----------
        where : str
            Label of the network, for error messages.
        layers : iterable of Layer

        Raises
        ------
        ValueError
            If a user gave two layers the same name.
        """
        taken: set[str] = set()
        unnamed: list[Layer] = []
        for layer in layers:
            if layer.auto_named:
                unnamed.append(layer)
            elif layer.name in taken:
                raise ValueError(
                    f"{where}: expected unique layer names, received {layer.name!r} twice. "
                    "Rename one of the two layers."
                )
            else:
                taken.add(layer.name)
        # Names that another network has resolved are known to its user: those layers come first.
        unnamed.sort(key=lambda layer: (layer.resolved_name is None, layer.construction_number))
        for layer in unnamed:
            name = self._free_name(layer, taken)
            taken.add(name)
            self.keep(layer, name)

    def _free_name(self, layer: Layer, taken: set[str]) -> str:
        base = snake_case(type(layer).__name__)
        name = layer.resolved_name or base
        if name in taken:
            # A layer that must be renamed gets a number no network has given yet: a smaller one
            # would be ambiguous in the other networks that contain the layer.
            first = self._highest[base] + 1 if layer.resolved_name else 1
            candidates = (f"{base}_{number}" for number in itertools.count(first))
            name = next(candidate for candidate in candidates if candidate not in taken)
        number = name.removeprefix(f"{base}_")
        self._highest[base] = max(self._highest[base], int(number) if number.isdigit() else 0)
        return name


layer_names = NameScope()  # of this process


def snake_case(name: str) -> str:
    """Turn ``MaxPooling2D`` into ``max_pooling2d``, as Keras names layers."""
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()
