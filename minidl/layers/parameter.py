"""Parameters: named arrays of a layer, with a version number that grows with every change.

>>> import numpy as np
>>> from minidl.layers import Parameter
>>> w = Parameter("kernel", np.zeros(2))
>>> with w.editing() as array:
...     array[0] = 5
>>> w.value, w.version
(array([5., 0.]), 1)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from minidl.common.errors import ShapeError

if TYPE_CHECKING:
    from minidl.layers.base import Layer
    from minidl.layers.regularizers import Regularizer

__all__ = ["Parameter"]


class Parameter:
    """A named array that belongs to a layer.

    Whoever caches something derived from a parameter compares versions to see whether it is out
    of date. Therefore all changes go through the parameter: :meth:`assign` or :meth:`editing`.

    Parameters
    ----------
    name : str
        Name within the layer: "kernel", "bias", "gamma", ...
    value : numpy.ndarray
        Initial numbers. The array is not copied if it is C-contiguous and writable.
    learned : bool
        False for statistics such as BatchNormalization's moving mean.
    regularizer : Regularizer, optional
        Penalty that training adds to the loss.
    layer : Layer, optional
        Owner, whose ``trainable`` decides together with `learned`.
    minimum : float, optional
        Smallest number that :meth:`assign` accepts: 0 for variances.

    Attributes
    ----------
    version : int
        Grows with each change of the numbers.
    """

    def __init__(
        self,
        name: str,
        value: np.ndarray,
        learned: bool = True,
        regularizer: Regularizer | None = None,
        layer: Layer | None = None,
        minimum: float | None = None,
    ):
        self.name = name
        self.version = -1  # setting the array raises it to 0
        self.array = value
        self.learned = learned
        self.regularizer = regularizer
        self.layer = layer
        self.minimum = minimum

    @property
    def value(self) -> np.ndarray:
        """The numbers as a read-only view."""
        view = self._array.view()
        view.flags.writeable = False
        return view

    @property
    def array(self) -> np.ndarray:
        """The writable C-contiguous array, for kernels and optimizers only.

        Code that writes into it raises `version`. Setting the attribute replaces the array
        without a check of its shape.
        """
        return self._array

    @array.setter
    def array(self, array: np.ndarray) -> None:
        self._array = np.require(array, requirements=["C", "W"])
        self.version += 1

    def assign(self, value: ArrayLike) -> None:
        """Replace the numbers by a copy of `value` in the parameter's dtype.

        Parameters
        ----------
        value : array_like
            Must have the parameter's shape.

        Raises
        ------
        ShapeError
            If the shapes differ.
        ValueError
            If `value` does not hold real numbers, or a number is too large for the dtype or
            smaller than `minimum`.

        Examples
        --------
        >>> import numpy as np
        >>> w = Parameter("bias", np.zeros(2))
        >>> w.assign([1, 2])
        >>> w.value
        array([1., 2.])
        """
        self.array = np.array(self.check(value), dtype=self._array.dtype, order="C")

    def check(self, value: ArrayLike) -> np.ndarray:
        """Return `value` as an array if :meth:`assign` accepts it, or raise its error."""
        value = np.asarray(value)
        if value.shape != self.shape:
            raise ShapeError(f"{self.path}: expected shape {self.shape}, received {value.shape}")
        if value.dtype.kind not in "biuf":
            raise ValueError(f"{self.path}: expected real numbers, received {value.dtype}")
        dtype = self._array.dtype
        if value.dtype.itemsize > dtype.itemsize and value.size:
            largest = np.abs(value[np.isfinite(value)]).max(initial=0)
            if largest > np.finfo(dtype).max:
                raise ValueError(f"{self.path}: {largest:g} is too large for {dtype}")
        if self.minimum is not None and (value < self.minimum).any():
            raise ValueError(
                f"{self.path}: expected numbers >= {self.minimum}, received {np.nanmin(value):g}"
            )
        return value

    @contextmanager
    def editing(self) -> Iterator[np.ndarray]:
        """Yield a writable view, which becomes read-only again at the end of the block.

        Examples
        --------
        >>> import numpy as np
        >>> w = Parameter("kernel", np.ones((2, 2)))
        >>> with w.editing() as array:
        ...     array[:, 0] *= 3
        >>> w.value
        array([[3., 1.],
               [3., 1.]])
        """
        view = self._array.view()
        try:
            yield view
        finally:
            view.flags.writeable = False
            self.version += 1

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return self._array.shape

    @property
    def trainable(self) -> bool:
        """Whether training changes the numbers."""
        return self.learned and (self.layer is None or self.layer.trainable)

    @property
    def path(self) -> str:
        """Unique name within a model: ``layer/parameter``."""
        return f"{self.layer.name}/{self.name}" if self.layer is not None else self.name

    def __repr__(self) -> str:
        kind = "trainable" if self.trainable else "frozen"
        return f"<Parameter {self.path} {self.shape} {self._array.dtype} {kind}>"
