"""Networks of torch.nn, built from a workload's description.

The modules are called by a torch.fx graph: its generated code reads like a hand-written
``forward`` and frees each tensor after its last use.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import torch
from torch import fx, nn
from workload import Workload, pair

__all__ = ["build"]


def build(workload: Workload, training: bool = False) -> fx.GraphModule:
    """Return the network with the workload's weights, for images (N, C, H, W).

    Parameters
    ----------
    workload : Workload
    training : bool
        Leave out the last sigmoid or softmax: PyTorch's losses take what comes before it.
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


def _addition(workload: Workload, node: dict[str, Any], inputs: list) -> tuple[Any, tuple]:
    """Return the function and its arguments: in place where nothing else reads what is added to."""
    left, right = inputs
    first, second = (workload.readers[name] == 1 for name in node["inputs"])
    if second:  # a BatchNorm's output, which its gradient does not need
        return operator.iadd, (right, left)
    return (operator.iadd if first else operator.add), (left, right)


def _module(workload: Workload, node: dict[str, Any], with_activation: bool) -> nn.Module:
    module = MAKERS[node["class"]](workload, node)
    activation = node["config"].get("activation")
    if node["class"] != "Activation" and activation and with_activation:
        return nn.Sequential(module, ACTIVATIONS[activation]())
    return module


def _conv(workload, node):
    config, weights = node["config"], workload.weights(node)
    kernel = weights["kernel"]  # (KH, KW, C, K)
    module = nn.Conv2d(
        kernel.shape[2], kernel.shape[3], kernel.shape[:2], pair(config.get("strides", 1)),
        node["padding"], bias="bias" in weights,
    )  # fmt: skip
    _set(module.weight, kernel.transpose(3, 2, 0, 1))  # -> (K, C, KH, KW)
    if "bias" in weights:
        _set(module.bias, weights["bias"])
    return module


def _dense(workload, node):
    weights = workload.weights(node)
    kernel = weights["kernel"]  # (inputs, units)
    module = nn.Linear(*kernel.shape)
    before = workload.shape_before_flatten(node)
    if before is None:
        _set(module.weight, kernel.T)
    else:  # the map is flattened from (C, H, W) here
        kernel = kernel.reshape(*before, -1).transpose(3, 2, 0, 1)  # -> (units, C, H, W)
        _set(module.weight.view(kernel.shape), kernel)
    _set(module.bias, weights["bias"])
    return module


def _normalization(workload, node):
    config, weights = node["config"], workload.weights(node)
    module = nn.BatchNorm2d(
        node["shape"][-1], eps=config.get("epsilon", 1e-3),
        momentum=1 - config.get("momentum", 0.99),
    )  # fmt: skip
    if "gamma" in weights:
        _set(module.weight, weights["gamma"])
    _set(module.bias, weights["beta"])
    _set(module.running_mean, weights["moving_mean"])
    _set(module.running_var, weights["moving_variance"])
    return module


def _pooling(kind, **options):
    def make(workload, node):
        config = node["config"]
        size = pair(config.get("pool_size", 2))
        strides = pair(config.get("strides") or size)
        return kind(size, strides, node["padding"], **options)

    return make


class Rescaling(nn.Module):
    """``scale * x + offset``"""

    def __init__(self, scale: float, offset: float):
        super().__init__()
        self.scale, self.offset = scale, offset

    def forward(self, x):
        return x * self.scale + self.offset


def _set(parameter: torch.Tensor, array: np.ndarray) -> None:
    with torch.no_grad():
        parameter.copy_(torch.from_numpy(array))


ACTIVATIONS = {
    # What comes before a ReLU is read by nothing else in these networks.
    "relu": lambda: nn.ReLU(inplace=True),
    "softmax": lambda: nn.Softmax(dim=1),
    "sigmoid": nn.Sigmoid,
}

MAKERS = {
    "Conv2D": _conv,
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
