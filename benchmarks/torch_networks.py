"""Networks of torch.nn, built from the description of a workload.

A torch.fx graph calls the modules. Its generated code is equivalent to a hand-written ``forward``
and frees each tensor after its last use.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import fx, nn
from workload import Workload, pair

__all__ = ["build"]

Node = dict[str, Any]
Maker = Callable[[Workload, Node], nn.Module]


def build(workload: Workload, training: bool = False) -> fx.GraphModule:
    """Return the network with the workload's weights, for images (N, C, H, W).

    Parameters
    ----------
    workload : Workload
        Description and weights.
    training : bool
        Whether to omit the last sigmoid or softmax, because PyTorch's losses take logits.
    """
    graph, modules, values = fx.Graph(), {}, {}
    nodes = workload.without_padding()
    for node in nodes:
        inputs = [values[name] for name in node["inputs"]]
        name, kind = node["name"], node["class"]
        if kind == "InputLayer":
            values[name] = graph.placeholder("x")
        elif kind == "Add":
            values[name] = graph.call_function(*_addition(workload, node, inputs))
        elif kind == "Concatenate":
            values[name] = graph.call_function(torch.cat, (inputs, 1))
        else:
            last = training and node is nodes[-1]
            modules[name] = _module(workload, node, with_activation=not last)
            values[name] = graph.call_module(name, (inputs[0],))
    graph.output(values[nodes[-1]["name"]])
    return fx.GraphModule(modules, graph)


def _addition(workload: Workload, node: Node, inputs: list[fx.Node]) -> tuple[Any, tuple[Any, Any]]:
    """Return an addition and its arguments; it is in place if an operand has no other reader."""
    left, right = inputs
    first, second = (workload.readers[name] == 1 for name in node["inputs"])
    if second:  # the output of BatchNorm, which its gradient does not need
        return operator.iadd, (right, left)
    return (operator.iadd if first else operator.add), (left, right)


def _module(workload: Workload, node: Node, with_activation: bool) -> nn.Module:
    module = MAKERS[node["class"]](workload, node)
    activation = node["config"].get("activation")
    if node["class"] != "Activation" and activation and with_activation:
        return nn.Sequential(module, ACTIVATIONS[activation]())
    return module


def _conv(workload: Workload, node: Node) -> nn.Module:
    config, weights = node["config"], workload.weights(node)
    kernel = weights["kernel"]  # (KH, KW, C, K)
    groups = 1
    if node["class"] == "DepthwiseConv2D":
        groups = kernel.shape[2]
        kernel = kernel.transpose(0, 1, 3, 2)  # (KH, KW, C, 1) -> (KH, KW, 1, C)
    top, left, bottom, right = node["padding"]
    is_symmetric = (top, left) == (bottom, right)
    module = nn.Conv2d(
        kernel.shape[2] * groups,
        kernel.shape[3],
        kernel.shape[:2],
        pair(config.get("strides", 1)),
        (top, left) if is_symmetric else 0,
        groups=groups,
        bias="bias" in weights,
    )
    _set(module.weight, kernel.transpose(3, 2, 0, 1))  # -> (K, C, KH, KW)
    if "bias" in weights:
        _set(module.bias, weights["bias"])
    if is_symmetric:
        return module
    return nn.Sequential(nn.ZeroPad2d((left, right, top, bottom)), module)


def _dense(workload: Workload, node: Node) -> nn.Module:
    weights = workload.weights(node)
    kernel = weights["kernel"]  # (inputs, units)
    module = nn.Linear(*kernel.shape)
    before = workload.shape_before_flatten(node)
    if before is None:
        _set(module.weight, kernel.T)
    else:  # PyTorch flattens (C, H, W)
        kernel = kernel.reshape(*before, -1).transpose(3, 2, 0, 1)  # -> (units, C, H, W)
        _set(module.weight.view(kernel.shape), kernel)
    _set(module.bias, weights["bias"])
    return module


def _normalization(workload: Workload, node: Node) -> nn.Module:
    config, weights = node["config"], workload.weights(node)
    module = nn.BatchNorm2d(
        node["shape"][-1],
        eps=config.get("epsilon", 1e-3),
        momentum=1 - config.get("momentum", 0.99),
    )
    if "gamma" in weights:
        _set(module.weight, weights["gamma"])
    _set(module.bias, weights["beta"])
    _set(module.running_mean, weights["moving_mean"])
    _set(module.running_var, weights["moving_variance"])
    return module


def _pooling(kind: Callable[..., nn.Module], **options: Any) -> Maker:
    def make(workload: Workload, node: Node) -> nn.Module:
        config = node["config"]
        size = pair(config.get("pool_size", 2))
        strides = pair(config.get("strides") or size)
        top, left, bottom, right = node["padding"]
        if (top, left) != (bottom, right):
            raise ValueError(f"{node['name']}: expected symmetric padding, which PyTorch supports")
        return kind(size, strides, (top, left), **options)

    return make


class Rescaling(nn.Module):
    """The layer ``scale * x + offset``."""

    def __init__(self, scale: float, offset: float) -> None:
        super().__init__()
        self.scale, self.offset = scale, offset

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the rescaled images."""
        return x * self.scale + self.offset


def _relu(workload: Workload, node: Node) -> nn.Module:
    limit = node["config"].get("max_value")
    if limit is None:
        return nn.ReLU(inplace=True)
    return nn.Hardtanh(0, limit, inplace=True)  # as nn.ReLU6 does


def _set(parameter: torch.Tensor, array: np.ndarray) -> None:
    with torch.no_grad():
        parameter.copy_(torch.from_numpy(array))


ACTIVATIONS = {
    # No other layer of these networks reads the input of a ReLU.
    "relu": lambda: nn.ReLU(inplace=True),
    "softmax": lambda: nn.Softmax(dim=1),
    "sigmoid": nn.Sigmoid,
}

MAKERS = {
    "Conv2D": _conv,
    "DepthwiseConv2D": _conv,
    "ReLU": _relu,
    "Dense": _dense,
    "BatchNormalization": _normalization,
    "MaxPooling2D": _pooling(nn.MaxPool2d),
    "AveragePooling2D": _pooling(nn.AvgPool2d, count_include_pad=False),
    "GlobalAveragePooling2D": lambda workload, node: nn.Sequential(
        nn.AdaptiveAvgPool2d(1), nn.Flatten()
    ),
    "Flatten": lambda workload, node: nn.Flatten(),
    "Dropout": lambda workload, node: nn.Dropout(node["config"]["rate"]),
    "Activation": lambda workload, node: ACTIVATIONS[node["config"]["activation"]](),
    "Rescaling": lambda workload, node: Rescaling(
        node["config"]["scale"], node["config"].get("offset", 0)
    ),
    "ImageNetPreprocessing": lambda workload, node: Rescaling(1 / 127.5, -1),  # mode "tf"
}
