"""Logits: networks without their final sigmoid or softmax, for numerically stable losses.

Cross-entropy of a saturated probability has no usable gradient: in float32 a sigmoid of 20 is
exactly 1. Computed from the logits, loss and gradient are exact, so training splits the final
activation off and gives the loss what goes into it.

>>> import numpy as np
>>> from minidl import Input, Sequential, layers
>>> from minidl.training.logits import LogitsNetwork, final_activation
>>> model = Sequential([Input((2,)), layers.Dense(1, "sigmoid", kernel_initializer="ones")])
>>> final_activation(model)
'sigmoid'
>>> LogitsNetwork(model).infer(np.array([[3.0, 4.0]]))
array([[7.]], dtype=float32)
"""

from __future__ import annotations

import copy
from collections.abc import Collection
from typing import Any

import numpy as np

from minidl.graph.network import Network
from minidl.layers.activation import Activation, ActivationLayer, Linear, Sigmoid, Softmax
from minidl.layers.base import Layer
from minidl.layers.convolution import Conv2D
from minidl.layers.dense import Dense
from minidl.layers.symbolic import SymbolicTensor

__all__ = ["LogitsNetwork", "final_activation"]


def final_activation(network: Network, output: int = 0) -> str | None:
    """Return the name of the activation that produces an output.

    Parameters
    ----------
    network : Network
    output : int
        Index of the output tensor.

    Returns
    -------
    str or None
        "sigmoid", "softmax", or None for any other layer or activation.
    """
    function = _activation_of(network.output_tensors[output].layer)
    return {Sigmoid: "sigmoid", Softmax: "softmax"}.get(type(function))


class LogitsNetwork(Network):
    """A network whose outputs are the logits of another one.

    Both share all parameters. A layer with a fused activation is replaced by a copy without
    activation, an activation layer by the identity. An output stays as it is where its last
    layer is used elsewhere, too, or is no sigmoid or softmax.

    Parameters
    ----------
    network : Network
    outputs : collection of int, optional
        Indices of the outputs to replace; by default all of them.

    Attributes
    ----------
    activations : list of ActivationLayer or None
        For each output the activation that was split off.
    """

    def __init__(self, network: Network, outputs: Collection[int] | None = None) -> None:
        self.original = network
        self.activations: list[ActivationLayer | None] = []
        tensors = []
        for k, tensor in enumerate(network.output_tensors):
            wanted = outputs is None or k in outputs
            splits = wanted and final_activation(network, k) and _is_only_use(network, tensor)
            activation = _activation_of(tensor.layer) if splits else None
            self.activations.append(activation)
            tensors.append(tensor if activation is None else _logits_of(tensor))
        super().__init__(
            network.input, tensors[0] if network.single_output else tensors, name=network.name
        )

    @property
    def label(self) -> str:
        """The original's label for error messages."""
        return self.original.label

    def check_inputs(self, x: object, require_finite: bool = False) -> list[np.ndarray]:
        """Return the inputs as a list of checked arrays, as the original does."""
        return self.original.check_inputs(x, require_finite)


def _activation_of(layer: Layer) -> ActivationLayer | None:
    """Return the activation that a layer applies last, if it can be split off."""
    if isinstance(layer, ActivationLayer):
        return layer
    if type(layer) is Activation:
        return layer.activation
    # A subclass may override forward or backward; then its activation is its own affair.
    splits = any(
        type(layer).forward is cls.forward and type(layer).backward is cls.backward
        for cls in (Dense, Conv2D)
    )
    return layer.activation if splits else None


def _is_only_use(network: Network, tensor: SymbolicTensor) -> bool:
    """Whether the tensor is read only as one output, and its layer is called only once."""
    readers = sum(tensor is t for other in network.tensors for t in other.inputs)
    outputs = sum(tensor is t for t in network.output_tensors)
    calls = sum(tensor.layer is node.layer for node in network.nodes)
    return (readers, outputs, calls) == (0, 1, 1)


def _logits_of(tensor: SymbolicTensor) -> SymbolicTensor:
    """Return the symbolic input of the final activation."""
    if isinstance(tensor.layer, (Activation, ActivationLayer)):
        logits = Linear(name=tensor.layer.name)(tensor.inputs[0])
    else:
        twin: Any = copy.copy(tensor.layer)
        twin.activation = None
        logits = SymbolicTensor(tensor.shape, tensor.dtype, twin, tensor.inputs)
    logits.serial = tensor.serial  # nodes keep their numbers, and so do their random generators
    return logits
