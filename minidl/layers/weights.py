"""WeightsOwner: the weights API that layers and networks share.

>>> import numpy as np
>>> from minidl.layers import Dense
>>> layer = Dense(2, name="head")
>>> layer.build((None, 3))
>>> [parameter.path for parameter in layer.weights], layer.count_params()
(['head/kernel', 'head/bias'], 8)
>>> layer.set_weights([np.ones((3, 2)), np.zeros(2)])
>>> [array.shape for array in layer.get_weights()]
[(3, 2), (2,)]
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from minidl.common.errors import ShapeError

if TYPE_CHECKING:
    from minidl.layers.parameter import Parameter

__all__ = ["WeightsOwner"]


class WeightsOwner:
    """Mixin for objects that have `weights` and a `label` for error messages."""

    @property
    def label(self) -> str:
        """How error messages name this object."""
        raise NotImplementedError(f"{type(self).__name__}.label")

    @property
    def weights(self) -> list[Parameter]:
        """All parameters, in Keras' order."""
        raise NotImplementedError(f"{type(self).__name__}.weights")

    @property
    def trainable_weights(self) -> list[Parameter]:
        """The parameters that training changes."""
        return [parameter for parameter in self.weights if parameter.trainable]

    @property
    def non_trainable_weights(self) -> list[Parameter]:
        """Frozen parameters and statistics."""
        return [parameter for parameter in self.weights if not parameter.trainable]

    def get_weights(self) -> list[np.ndarray]:
        """Return copies of the arrays of all parameters, in the order of ``weights``."""
        return [parameter.value.copy() for parameter in self.weights]

    def set_weights(self, arrays: Iterable[ArrayLike]) -> None:
        """Set all parameters to copies of `arrays`.

        Parameters
        ----------
        arrays : iterable of array_like
            In the order of ``get_weights()``.

        Raises
        ------
        ShapeError
            If the number of arrays or a shape differs; then no parameter is changed.
        """
        given = [np.asarray(array) for array in arrays]
        parameters = self.weights
        expected = [parameter.shape for parameter in parameters]
        received = [array.shape for array in given]
        if len(given) != len(parameters):
            raise ShapeError(
                f"{self.label}: set_weights expected {len(expected)} arrays of shapes "
                f"{_shorten(expected)}, received {len(received)} of shapes {_shorten(received)}"
            )
        for parameter, array in zip(parameters, given, strict=True):
            if array.shape != parameter.shape:
                raise ShapeError(
                    f"{self.label}: set_weights expected shape {parameter.shape} for "
                    f"{parameter.path}, received {array.shape}"
                )
            parameter.check(array)
        for parameter, array in zip(parameters, given, strict=True):
            parameter.assign(array)

    def count_params(self) -> int:
        """Return the number of scalars in all parameters."""
        return sum(math.prod(parameter.shape) for parameter in self.weights)


def _shorten(shapes: list[tuple[int, ...]], limit: int = 6) -> str:
    shown = [str(shape) for shape in shapes[:limit]]
    return f"[{', '.join(shown + ['...'] * (len(shapes) > limit))}]"
