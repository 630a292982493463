"""Network: a graph with weights that computes outputs and gradients.

>>> import numpy as np
>>> from minidl import Input, layers
>>> from minidl.graph.network import Network
>>> x = Input((4,))
>>> network = Network(x, layers.Dense(2, name="head")(x))
>>> network.infer(np.zeros((3, 4))).shape, network.count_params()
((3, 2), 10)
"""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np

from minidl.common.errors import ShapeError
from minidl.graph.assembly import Graph, Tensors
from minidl.graph.inference.plan import InferencePlan
from minidl.graph.inference.plan_summary import format_plan
from minidl.graph.input_checks import check_inputs, full_shapes
from minidl.graph.summary import format_summary, is_color_terminal, summary_html
from minidl.graph.training.executor import OnGradients, Tape, TrainingExecutor
from minidl.kernels.runtime import thread_pool
from minidl.layers.parameter import Parameter
from minidl.layers.symbolic import SymbolicTensor
from minidl.layers.weights import WeightsOwner

__all__ = ["Network"]


class Network(Graph, WeightsOwner):
    """Layers between input and output tensors; see :class:`minidl.graph.assembly.Graph`.

    Parameters
    ----------
    inputs, outputs : SymbolicTensor or list of SymbolicTensor
    name : str, optional
    """

    def _build(self, inputs: Tensors, outputs: Tensors) -> None:
        super()._build(inputs, outputs)
        self._executor = TrainingExecutor(self.nodes, self.input_numbers, self.output_numbers)
        self._plan = InferencePlan(
            dict(enumerate(self.nodes)), self.input_numbers, self.output_numbers
        )

    @classmethod
    def _functional(cls, inputs: Tensors, outputs: Tensors, name: str) -> Self:
        """Return a network of tensors; classes with another constructor override this."""
        return cls(inputs, outputs, name=name)

    def tap(self, name: str) -> Self:
        """Return a model from the same inputs to an inner activation. It shares the layers.

        Parameters
        ----------
        name : str
            Name of the layer, or of an inlined model, whose output the new model has.

        Raises
        ------
        ValueError
            If there is no such layer.

        Examples
        --------
        >>> from minidl import Input, Sequential, layers
        >>> model = Sequential([Input((4,)), layers.Dense(3, name="hidden"), layers.Dense(1)])
        >>> model.tap("hidden").output_shape
        (None, 3)
        """
        output = self.tensors[self.node_number(name)]
        return self._functional(self.input, output, f"{self.name}_{name}")

    # ------------------------------------------------------------------ weights

    @property
    def weights(self) -> list[Parameter]:
        """All parameters, layer by layer."""
        return [parameter for layer in self.layers for parameter in layer.weights]

    @property
    def trainable(self) -> bool:
        """Whether any layer with weights is trainable; setting it sets all layers."""
        return any(layer.trainable for layer in self.layers if layer.parameters)

    @trainable.setter
    def trainable(self, value: bool) -> None:
        for layer in self.layers:
            layer.trainable = bool(value)

    def freeze(self, until: str | None = None) -> None:
        """Freeze layers.

        Parameters
        ----------
        until : str, optional
            Name of a layer or inlined model: it and all layers that it depends on are frozen.
            By default all layers are.

        Examples
        --------
        >>> from minidl import Input, Sequential, layers
        >>> stack = [layers.Dense(3, name="low"), layers.Dense(2), layers.Dense(1)]
        >>> model = Sequential([Input((4,)), *stack])
        >>> model.freeze(until="low")
        >>> [layer.trainable for layer in model.layers]
        [False, True, True]
        """
        for layer in self.layers if until is None else self.layers_up_to(until):
            layer.trainable = False

    def unfreeze(self, from_layer: str | None = None) -> None:
        """Make layers trainable.

        Parameters
        ----------
        from_layer : str, optional
            Name of a layer: the layers that it depends on stay as they are. By default all
            layers become trainable.

        Raises
        ------
        ValueError
            If there is no such layer, or the name is that of an inlined model.

        Examples
        --------
        >>> from minidl import Input, Sequential, layers
        >>> stack = [layers.Dense(3), layers.Dense(2), layers.Dense(1, name="top")]
        >>> model = Sequential([Input((4,)), *stack])
        >>> model.freeze()
        >>> model.unfreeze(from_layer="top")
        >>> [layer.trainable for layer in model.layers]
        [False, False, True]
        """
        if from_layer in self.inlined and from_layer not in {layer.name for layer in self.layers}:
            raise ValueError(
                f"{self.label}: expected from_layer to be a layer, received the model "
                f"{from_layer!r}. Name its lowest layer to unfreeze, or set "
                f"get_layer({from_layer!r}).trainable = True."
            )
        below = [] if from_layer is None else self.layers_up_to(from_layer)[:-1]
        unchanged = {id(layer) for layer in below}
        for layer in self.layers:
            if id(layer) not in unchanged:
                layer.trainable = True

    # ------------------------------------------------------------------ computation

    def __call__(self, inputs: Any, training: bool = False) -> Any:
        """Inline the network into a larger one, or compute its outputs for arrays.

        Parameters
        ----------
        inputs : SymbolicTensor, array, or list of them
        training : bool
            For arrays: whether dropout, augmentation and batch statistics are active.

        Returns
        -------
        SymbolicTensor, array, or list of them
        """
        first = inputs[0] if isinstance(inputs, (list, tuple)) and len(inputs) else inputs
        if isinstance(first, SymbolicTensor):
            return self._inline(inputs)
        return self.forward(inputs, training=True)[0] if training else self.infer(inputs)

    def forward(
        self,
        x: Any,
        training: bool = False,
        rng: int | np.random.Generator | None = None,
        *,
        need_dx: bool = True,
    ) -> tuple[Any, Tape]:
        """Compute the outputs for one batch, and keep what the backward pass needs.

        Parameters
        ----------
        x : array or list of arrays
            One for each input, batch first.
        training : bool
            Whether dropout, augmentation and batch statistics are active.
        rng : int or numpy.random.Generator, optional
            Source of the numbers of random layers.
        need_dx : bool
            False saves time and memory if the gradients of the inputs are not needed.

        Returns
        -------
        y : array or list of arrays
        cache : Tape
            For one call of :meth:`backward`.

        Raises
        ------
        ShapeError, TypeError
            If `x` does not fit the inputs.

        Examples
        --------
        >>> import numpy as np
        >>> from minidl import Input, Sequential, layers
        >>> model = Sequential([Input((3,)), layers.Dense(2, kernel_initializer="ones")])
        >>> y, cache = model.forward(np.ones((1, 3)), training=True)
        >>> dx, (dw, dbias) = model.backward(np.ones((1, 2)), cache)
        >>> y.tolist(), dx.tolist(), dw.shape
        ([[3.0, 3.0]], [[2.0, 2.0, 2.0]], (3, 2))
        """
        xs = self.check_inputs(x)
        with thread_pool.computing():
            ys, tape = self._executor.forward(xs, training, rng, need_dx=need_dx)
        return ys[0] if self.single_output else ys, tape

    def backward(
        self, dy: Any, cache: Tape, need_dx: bool = True, on_gradients: OnGradients | None = None
    ) -> tuple[Any, list[np.ndarray]]:
        """Compute the gradients of the inputs and of the trainable weights.

        Parameters
        ----------
        dy : array, or list of arrays or None
            Gradient of each output; None for zero.
        cache : Tape
            From :meth:`forward`; can be used once.
        need_dx : bool
            Whether to compute the gradients of the inputs.
        on_gradients : callable, optional
            ``on_gradients(parameters, gradients)`` is called for each layer that a gradient has
            reached, while the layers below it are still to come.

        Returns
        -------
        dx : array or list of arrays
            None without `need_dx`.
        gradients : list of arrays
            In the order of ``trainable_weights``.

        Raises
        ------
        ShapeError
            If the shape of `dy` is not that of the outputs.
        RuntimeError
            If the cache was used before.
        """
        dys = [dy] if self.single_output else list(dy)
        dys = [None if d is None else np.ascontiguousarray(d, self.dtype) for d in dys]
        for d, shape in zip(dys, cache.output_shapes, strict=True):
            if d is not None and d.shape != shape:
                raise ShapeError(f"{self.label}: expected dy of shape {shape}, received {d.shape}")
        with thread_pool.computing():
            dxs, learned = self._executor.backward(dys, cache, need_dx, on_gradients)
        gradients = [
            learned[id(p)] if id(p) in learned else np.zeros_like(p.value)
            for p in self.trainable_weights
        ]
        return dxs[0] if self.single_input else dxs, gradients

    def infer(self, x: Any) -> Any:
        """Compute the outputs for one batch with the inference plan.

        Parameters
        ----------
        x : array or list of arrays
            One for each input, batch first.

        Returns
        -------
        array or list of arrays

        Raises
        ------
        ShapeError, TypeError
            If `x` does not fit the inputs.

        Examples
        --------
        >>> import numpy as np
        >>> from minidl import Input, Sequential, layers
        >>> Sequential([Input((3,)), layers.ReLU()]).infer(np.array([[-1, 0, 2]]))
        array([[0., 0., 2.]], dtype=float32)
        """
        return self.run_plan(self.check_inputs(x))

    def run_plan(self, xs: list[np.ndarray]) -> Any:
        """Return the outputs for checked inputs."""
        with thread_pool.computing():
            ys = self._plan.run(xs)
        return ys[0] if self.single_output else ys

    def check_inputs(self, x: Any, require_finite: bool = False) -> list[np.ndarray]:
        """Return checked inputs; see :func:`minidl.graph.input_checks.check_inputs`."""
        return check_inputs(self, x, require_finite)

    # ------------------------------------------------------------------ display

    def summary(self, print_fn: Callable[[str], Any] | None = None) -> None:
        """Print a table of the layers: output shapes, parameters, multiply-adds, frozen marks.

        On a terminal, frozen layers are dimmed and totals bold, unless the environment variable
        ``NO_COLOR`` is set.

        Parameters
        ----------
        print_fn : callable, optional
            Receives the text; by default ``print``.

        Examples
        --------
        >>> from minidl import Input, Sequential, layers
        >>> lines = []
        >>> Sequential([Input((4,)), layers.Dense(2)]).summary(print_fn=lines.append)
        >>> lines[0].splitlines()[-3]
        'Parameters: 10 (0.00 MiB)'
        """
        color = print_fn is None and is_color_terminal()
        (print_fn or print)(format_summary(self, color))

    def _repr_html_(self) -> str:
        """Return the summary as an HTML table, for notebooks."""
        return (
            f"<details open><summary>{html.escape(self.label)}, {len(self.layers)} layers"
            f"</summary>{summary_html(self)}</details>"
        )

    def plan_summary(
        self,
        batch_size: int = 1,
        input_shape: Sequence[Any] | None = None,
        profile: bool = False,
        print_fn: Callable[[str], Any] | None = print,
    ) -> str:
        """Print and return a table of the steps of the inference plan.

        Parameters
        ----------
        batch_size : int
        input_shape : tuple of int, or list of tuples for several inputs, optional
            Without the batch; required if the model has open sizes.
        profile : bool
            Also run the plan, and show milliseconds and GFLOP/s of each step.
        print_fn : callable or None
            Receives the text; None prints nothing.

        Returns
        -------
        str

        Raises
        ------
        ShapeError
            If a size is unknown.

        Examples
        --------
        >>> from minidl import Input, Sequential, layers
        >>> model = Sequential([Input((8, 8, 3)), layers.Conv2D(4, 1), layers.ReLU()])
        >>> model.plan_summary(print_fn=None).splitlines()[3].split("  ")[0]
        'conv2d + re_lu'
        """
        text = format_plan(self, self._plan, full_shapes(self, batch_size, input_shape), profile)
        if print_fn is not None:
            print_fn(text)
        return text

    def __repr__(self) -> str:
        return f"<{self.label} {len(self.layers)} layers, {self.count_params():,} parameters>"
