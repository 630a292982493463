"""Gradient checker: compares ``backward`` with finite differences of ``forward``.

The check runs in float64. It compares directional derivatives of the scalar ``L = sum(y * g)``, for
a fixed random `g`, with those of ``backward``: along random directions and along single elements.
If they differ, the check distinguishes a wrong gradient from a kink, where no derivative exists (a
ReLU at 0, a tie in a maximum).

>>> import numpy as np
>>> from minidl import layers
>>> from minidl.training import gradcheck
>>> report = gradcheck(layers.Conv2D(2, 3), np.random.default_rng(0).normal(size=(2, 5, 5, 3)))
>>> report.passed, report.worst < 1e-6
(True, True)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minidl.common.errors import MinidlError, ShapeError
from minidl.layers.base import Layer

__all__ = ["Check", "GradientError", "GradientReport", "gradcheck"]

Change = Callable[[float], float]  # step along a direction -> change of L


class GradientError(MinidlError):
    """Raised if ``backward`` disagrees with finite differences of ``forward``."""


@dataclass(frozen=True)
class Check:
    """One comparison of directional derivatives.

    Attributes
    ----------
    name : str
        "x" or the path of a parameter, with the index if a single element was varied.
    analytic, numeric : float
        Derivative by ``backward`` and by finite differences.
    error : float
        Difference beyond rounding, relative to the derivative or to the gradient's root mean
        square.
    kink : bool
        Whether the function has no derivative at this point, so that the difference is no error.
    """

    name: str
    analytic: float
    numeric: float
    error: float
    kink: bool


@dataclass
class GradientReport:
    """All comparisons of one :func:`gradcheck`.

    Attributes
    ----------
    tolerance : float
    checks : list of Check
    """

    tolerance: float
    checks: list[Check] = field(default_factory=list)

    @property
    def wrong(self) -> list[Check]:
        """The checks that failed."""
        return [c for c in self.checks if not c.kink and not c.error <= self.tolerance]

    @property
    def passed(self) -> bool:
        """Whether no check failed."""
        return not self.wrong

    @property
    def kinks(self) -> int:
        """The number of checks at kinks."""
        return sum(check.kink for check in self.checks)

    @property
    def worst(self) -> float:
        """The largest relative error outside kinks."""
        return max((check.error for check in self.checks if not check.kink), default=0.0)


def gradcheck(
    layer_or_model: Any,
    x: Any,
    *,
    training: bool = True,
    directions: int = 3,
    elements: int = 8,
    epsilon: float = 1e-5,
    tolerance: float = 1e-6,
    seed: int = 0,
    raise_error: bool = True,
) -> GradientReport:
    """Check the gradients of a layer or model at the input `x`.

    Parameters
    ----------
    layer_or_model : Layer or Model
        A layer that is not built yet is built for `x`. All weights are restored afterwards.
    x : array or list of arrays
        Batch first; converted to float64.
    training : bool
        Whether to check the forward pass of training. Random layers draw the same numbers in
        each pass.
    directions, elements : int
        Number of random directions and of single elements to check for the input and for each
        trainable parameter.
    epsilon : float
        Step of the central differences.
    tolerance : float
        Largest relative error that passes.
    seed : int
        Seed of directions, elements, `g` and random layers.
    raise_error : bool
        Whether to raise GradientError for a wrong gradient.

    Returns
    -------
    GradientReport

    Raises
    ------
    GradientError
        If a gradient is wrong; the message names it with both values.

    Examples
    --------
    >>> import numpy as np
    >>> from minidl import layers
    >>> gradcheck(layers.Dense(2), np.ones((3, 4))).passed
    True
    """
    subject = _Subject(layer_or_model, x, training, seed)
    report = GradientReport(tolerance)
    rng = np.random.default_rng([seed, 1])
    with subject:
        for name, array, gradient in subject.gradients():
            for label, direction in _directions(array, directions, elements, rng):
                comparison = _Comparison(
                    subject.change_along(array, direction),
                    analytic=float(np.sum(gradient * direction)),
                    typical=float(np.sqrt(np.mean(gradient**2))),
                    resolution=subject.resolution,
                    epsilon=epsilon,
                )
                report.checks.append(comparison.check(name + label, tolerance))
    if raise_error and not report.passed:
        worst = max(report.wrong, key=lambda check: check.error)
        raise GradientError(
            f"{subject.label}: the gradient of {worst.name} is {worst.analytic:.9g} by backward "
            f"but {worst.numeric:.9g} by finite differences (relative error {worst.error:.2g}; "
            f"{len(report.wrong)} of {len(report.checks)} checks failed)"
        )
    return report


class _Subject:
    """The layer or model under test, converted to float64 within a ``with`` block."""

    def __init__(self, layer_or_model: Any, x: Any, training: bool, seed: int) -> None:
        self.target, self.training, self.seed = layer_or_model, training, seed
        self.label = layer_or_model.label
        self.is_layer = isinstance(layer_or_model, Layer)
        self.xs = [np.array(a, np.float64) for a in (x if isinstance(x, (list, tuple)) else [x])]
        if self.is_layer:
            self._build()
        else:
            layer_or_model.check_inputs(x)
        self.parameters = layer_or_model.weights
        self.layers = [self.target] if self.is_layer else self.target.layers_of_nodes
        self.g: list[np.ndarray] = []

    def _build(self) -> None:
        """Build the layer if necessary, and check the shapes of the inputs."""
        shapes = [a.shape for a in self.xs]
        if not self.target.capabilities.accepts_list and len(shapes) != 1:
            raise ShapeError(f"{self.label}: expected one array, received {len(shapes)}")
        shape = self.target.as_input(shapes)
        self.target.ensure_built(shape)
        self.target.compute_output_shape(shape)

    def __enter__(self) -> _Subject:
        self.original = [parameter.array for parameter in self.parameters]
        self.dtypes = [layer.dtype for layer in self.layers]
        try:
            self._prepare()
        except BaseException:  # forward failed: restore the subject
            self.__exit__()
            raise
        return self

    def _prepare(self) -> None:
        """Convert the subject to float64, and compute the outputs that differences start from."""
        for layer in self.layers:
            layer.dtype = np.dtype(np.float64)
        for parameter in self.parameters:
            parameter.array = parameter.array.astype(np.float64)
        self.start = [parameter.array.copy() for parameter in self.parameters]
        rng = np.random.default_rng([self.seed, 2])
        # Copies, because an output may be a view of its input.
        self.ys = [np.array(y) for y in self._forward()[0]]
        self.g = [rng.standard_normal(y.shape) for y in self.ys]
        squares = (np.sum((y * g) ** 2) for y, g in zip(self.ys, self.g, strict=True))
        self.resolution = float(np.finfo(np.float64).eps * np.sqrt(sum(squares)))  # of L

    def __exit__(self, *error: object) -> None:
        for parameter, value in zip(self.parameters, self.original, strict=True):
            parameter.array = value
        for layer, dtype in zip(self.layers, self.dtypes, strict=True):
            layer.dtype = dtype

    def gradients(self) -> list[tuple[str, np.ndarray, np.ndarray]]:
        """Return ``(name, array, gradient)`` for each input and trainable parameter."""
        _, cache = self._forward()
        if self.is_layer:
            dx, learned = self.target.backward(self.g[0], cache)
            dxs = dx if self.target.capabilities.accepts_list else [dx]
        else:
            dxs, by_id = self.target._executor.backward(self.g, cache)
            # The executor returns None for an input that no output depends on.
            dxs = [np.zeros_like(a) if d is None else d for d, a in zip(dxs, self.xs, strict=True)]
            learned = [by_id[id(p)] for p in self.target.trainable_weights]
        names = ["x"] if len(self.xs) == 1 else [f"x[{i}]" for i in range(len(self.xs))]
        inputs = zip(names, self.xs, dxs, strict=True)
        weights = (
            (p.path, p.array, g)
            for p, g in zip(self.target.trainable_weights, learned, strict=True)
        )
        found = [*inputs, *weights]
        for name, array, gradient in found:
            if np.shape(gradient) != array.shape:
                raise GradientError(
                    f"{self.label}: the gradient of {name} has shape {np.shape(gradient)}, "
                    f"expected {array.shape}"
                )
        return found

    def change_along(self, array: np.ndarray, direction: np.ndarray) -> Change:
        """Return the function ``t -> L(array + t * direction) - L(array)``."""

        def value(t: float) -> float:
            original = array.copy()
            np.add(array, t * direction, out=array)
            ys, _ = self._forward()
            changes = zip(ys, self.ys, self.g, strict=True)
            total = float(sum(np.sum((y - before) * g) for y, before, g in changes))
            array[...] = original  # not earlier, because an output may be a view of its input
            return total

        return value

    def _forward(self) -> tuple[list[np.ndarray], Any]:
        for parameter, value in zip(self.parameters, self.start, strict=True):
            if not parameter.learned:  # undo the update of moving statistics
                parameter.array = value.copy()
        rng = np.random.default_rng([self.seed, 3])
        if self.is_layer:
            x = self.target.as_input(self.xs)
            y, cache = self.target.forward(x, training=self.training, rng=rng)
            return [y], cache
        return self.target._executor.forward(self.xs, self.training, rng)


def _directions(
    array: np.ndarray, directions: int, elements: int, rng: np.random.Generator
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield labels and unit vectors: random directions, then single elements."""
    for _ in range(directions):
        direction = rng.standard_normal(array.shape)
        yield "", direction / np.linalg.norm(direction)
    for i in rng.permutation(array.size)[:elements]:
        direction = np.zeros(array.size)
        direction[i] = 1
        index = ", ".join(str(int(k)) for k in np.unravel_index(i, array.shape))
        yield f"[{index}]", direction.reshape(array.shape)


class _Comparison:
    """Comparison of one analytic derivative with finite differences.

    Parameters
    ----------
    change : callable
        Change of L for a step along the direction.
    analytic : float
        Derivative by ``backward``.
    typical : float
        Root mean square of the gradient.
    resolution : float
        Rounding error of L.
    epsilon : float
        Step of the central differences.
    """

    def __init__(
        self, change: Change, analytic: float, typical: float, resolution: float, epsilon: float
    ) -> None:
        self.change, self.analytic = change, analytic
        self.resolution, self.epsilon = resolution, epsilon
        self.numeric = (change(epsilon) - change(-epsilon)) / (2 * epsilon)
        # A derivative that is small by cancellation is compared with the gradient's typical size.
        self.scale = max(abs(analytic), abs(self.numeric), 0.1 * typical) or 1.0
        self.difference = abs(analytic - self.numeric)

    def check(self, name: str, tolerance: float) -> Check:
        """Return the result; only a large difference is checked for rounding and kinks."""
        error = self.difference / self.scale
        kink = False
        if not error <= tolerance:
            rounding = self._rounding()
            beyond = self.difference - rounding / self.epsilon
            error = 0.0 if beyond <= 0 else beyond / self.scale  # NaN stays NaN
            kink = error > tolerance and self._is_kink(rounding, tolerance)
        return Check(name, self.analytic, self.numeric, error, kink)

    def _rounding(self) -> float:
        """Return a bound of L's rounding error, from its resolution and from tiny steps."""
        steps = [sign * size * self.epsilon for size in (1e-7, 2e-7) for sign in (-1, 1)]
        return 4 * self.resolution + max(abs(self.change(step)) for step in steps)

    def _is_kink(self, rounding: float, tolerance: float) -> bool:
        """Whether the difference comes from a kink of the function.

        The one-sided derivatives of a smooth function differ in proportion to the step; at a kink
        they differ for any step. (A correct ``backward`` need not lie between the two, because
        several kinks may coincide.) If a kink is only near, smaller steps do not reach it and
        agree with ``backward``.
        """
        gaps = []
        for step in (self.epsilon / 10, self.epsilon / 100, self.epsilon / 1000):
            if rounding / step > 0.1 * self.difference:  # rounding dominates such a step
                break
            noise = rounding / step
            right, left = self.change(step) / step, -self.change(-step) / step
            if abs((right + left) / 2 - self.analytic) <= tolerance * self.scale + noise:
                return True
            gaps.append(abs(right - left))
        # For a smooth function, a tenth of the step has a tenth of the gap.
        return len(gaps) > 1 and gaps[-1] > max(1e-3 * self.scale + 2 * noise, 0.2 * gaps[0])
