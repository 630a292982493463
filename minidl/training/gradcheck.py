"""A gradient checker: compares ``backward`` with finite differences of ``forward``.

The check runs in float64. It looks at the scalar ``L = sum(y * g)`` for a fixed random `g`,
and compares its slope along random directions, and along single elements, with what
``backward`` says. Where they differ it tells a kink (a ReLU at 0, a tie in a maximum: no
derivative exists) from a gradient that is wrong.

>>> import numpy as np
>>> from minidl import layers
>>> from minidl.training import gradcheck
>>> report = gradcheck(layers.Conv2D(2, 3), np.random.default_rng(0).normal(size=(2, 5, 5, 3)))
>>> report.passed, report.worst < 1e-6
(True, True)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minidl.common.errors import MinidlError, ShapeError
from minidl.layers.base import Layer

__all__ = ["Check", "GradientError", "GradientReport", "gradcheck"]

Slope = Callable[[float], float]  # step along a direction -> L


class GradientError(MinidlError):
    """A ``backward`` disagrees with finite differences of its ``forward``."""


@dataclass(frozen=True)
class Check:
    """One comparison.

    Attributes
    ----------
    name : str
        What was varied: "x" or a parameter's path, with the element's index if single.
    analytic, numeric : float
        The slope by ``backward`` and by finite differences.
    error : float
        The difference, beyond what rounding explains, relative to the slope or to the
        gradient's typical size.
    kink : bool
        True where the function has no derivative at this point, so that nothing is wrong.
    """

    name: str
    analytic: float
    numeric: float
    error: float
    kink: bool


@dataclass
class GradientReport:
    """All comparisons of one :func:`gradcheck`."""

    tolerance: float
    checks: list[Check] = field(default_factory=list)

    @property
    def wrong(self) -> list[Check]:
        return [c for c in self.checks if not c.kink and not c.error <= self.tolerance]

    @property
    def passed(self) -> bool:
        return not self.wrong

    @property
    def kinks(self) -> int:
        return sum(check.kink for check in self.checks)

    @property
    def worst(self) -> float:
        """The largest relative error, kinks left out."""
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
        A layer that is not built yet is built for `x`. Its weights, moving statistics among
        them, are the same afterwards.
    x : array or list of arrays
        Batch first; taken in float64.
    training : bool
        Which forward pass to check. Random layers draw the same numbers each time.
    directions, elements : int
        How many random directions, and how many single elements, to try for the input and
        for each trainable parameter.
    epsilon : float
        Step of the central differences.
    tolerance : float
        Largest relative error that passes.
    seed : int
    raise_error : bool
        False: only return the report.

    Returns
    -------
    GradientReport

    Raises
    ------
    GradientError
        If a gradient is wrong; the message names it with both values.
    """
    subject = _Subject(layer_or_model, x, training, seed)
    report = GradientReport(tolerance)
    rng = np.random.default_rng([seed, 1])
    with subject:
        for name, array, gradient in subject.gradients():
            for label, direction in _directions(array, directions, elements, rng):
                slope = subject.along(array, direction)
                analytic = float(np.sum(gradient * direction))
                typical = float(np.sqrt(np.mean(gradient**2)))
                comparison = _Comparison(slope, analytic, typical, subject.unit, epsilon)
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
    """The layer or model under test, in float64 while the ``with`` block lasts."""

    def __init__(self, layer_or_model, x, training, seed):
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
        """Build the layer if it is not, and complain about an `x` that does not fit."""
        shapes = [a.shape for a in self.xs]
        if not self.target.capabilities.accepts_list and len(shapes) != 1:
            raise ShapeError(f"{self.label}: expected one array, received {len(shapes)}")
        shape = self.target.as_input(shapes)
        self.target.ensure_built(shape)
        self.target.compute_output_shape(shape)

    def __enter__(self):
        self.kept = [parameter.array for parameter in self.parameters]
        self.dtypes = [layer.dtype for layer in self.layers]
        try:
            self._prepare()
        except BaseException:  # a forward that fails: the subject is given back as it was
            self.__exit__()
            raise
        return self

    def _prepare(self) -> None:
        """Turn the subject to float64, and note what the differences start from."""
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
        self.unit = float(np.finfo(np.float64).eps * np.sqrt(sum(squares)))  # of L's last place

    def __exit__(self, *exception):
        for parameter, value in zip(self.parameters, self.kept, strict=True):
            parameter.array = value
        for layer, dtype in zip(self.layers, self.dtypes, strict=True):
            layer.dtype = dtype

    def gradients(self):
        """Return ``(name, array, gradient)`` for each input and trainable parameter."""
        _, cache = self._forward()
        if self.is_layer:
            dx, learned = self.target.backward(self.g[0], cache)
            dxs = dx if self.target.capabilities.accepts_list else [dx]
        else:
            dxs, by_id = self.target._executor.backward(self.g, cache)
            # An input that no output depends on gets no gradient.
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

    def along(self, array: np.ndarray, direction: np.ndarray) -> Slope:
        """Return the function ``t -> L(array + t * direction) - L(array)``."""

        def value(t: float) -> float:
            kept = array.copy()
            np.add(array, t * direction, out=array)
            ys, _ = self._forward()
            changes = zip(ys, self.ys, self.g, strict=True)
            total = float(sum(np.sum((y - before) * g) for y, before, g in changes))
            array[...] = kept  # only now: an output may be a view of its input
            return total

        return value

    def _forward(self):
        for parameter, value in zip(self.parameters, self.start, strict=True):
            if not parameter.learned:  # a training pass moves statistics; undo that
                parameter.array = value.copy()
        rng = np.random.default_rng([self.seed, 3])
        if self.is_layer:
            x = self.target.as_input(self.xs)
            y, cache = self.target.forward(x, training=self.training, rng=rng)
            return [y], cache
        return self.target._executor.forward(self.xs, self.training, rng)


def _directions(array, directions, elements, rng):
    """Yield ``(label, direction)``: random unit vectors, then single elements."""
    for _ in range(directions):
        direction = rng.standard_normal(array.shape)
        yield "", direction / np.linalg.norm(direction)
    for i in rng.permutation(array.size)[:elements]:
        direction = np.zeros(array.size)
        direction[i] = 1
        index = ", ".join(str(int(k)) for k in np.unravel_index(i, array.shape))
        yield f"[{index}]", direction.reshape(array.shape)


class _Comparison:
    """One slope by ``backward`` beside finite differences of the function `slope`."""

    def __init__(self, slope: Slope, analytic, typical, unit, epsilon):
        self.slope, self.analytic = slope, analytic
        self.unit, self.epsilon = unit, epsilon
        self.numeric = (slope(epsilon) - slope(-epsilon)) / (2 * epsilon)
        # A slope that is small by cancellation is judged by the size of its neighbours.
        self.scale = max(abs(analytic), abs(self.numeric), 0.1 * typical) or 1.0
        self.difference = abs(analytic - self.numeric)

    def check(self, name: str, tolerance: float) -> Check:
        error = self.difference / self.scale
        kink = False
        if not error <= tolerance:
            rounding = self._rounding()
            beyond = self.difference - rounding / self.epsilon
            error = 0.0 if beyond <= 0 else beyond / self.scale  # NaN stays NaN
            kink = error > tolerance and self._is_kink(rounding, tolerance)
        return Check(name, self.analytic, self.numeric, error, kink)

    def _rounding(self) -> float:
        """How far L may be off: some units in its last place, or what the tiniest steps show."""
        steps = [sign * size * self.epsilon for size in (1e-7, 2e-7) for sign in (-1, 1)]
        return 4 * self.unit + max(abs(self.slope(step)) for step in steps)

    def _is_kink(self, rounding: float, tolerance: float) -> bool:
        """Tell whether the disagreement comes from a corner of the function.

        Of a smooth function the slopes to the left and to the right differ by a multiple of
        the step; at a corner they differ however small the step is. (A correct ``backward``
        need not be between the two: several corners may meet at one point.) And where the
        corner is only near, smaller steps no longer meet it and agree with ``backward``.
        """
        gaps = []
        for step in (self.epsilon / 10, self.epsilon / 100, self.epsilon / 1000):
            if rounding / step > 0.1 * self.difference:  # a step too small to tell anything
                break
            noise = rounding / step
            right, left = self.slope(step) / step, -self.slope(-step) / step
            if abs((right + left) / 2 - self.analytic) <= tolerance * self.scale + noise:
                return True
            gaps.append(abs(right - left))
        # A smooth function's gap is a tenth at a tenth of the step.
        return len(gaps) > 1 and gaps[-1] > max(1e-3 * self.scale + 2 * noise, 0.2 * gaps[0])
