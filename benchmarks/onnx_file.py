"""Conversion of a workload to ONNX: ``python onnx_file.py FOLDER`` writes model.onnx."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from workload import Workload, pair

__all__ = ["write"]

OPSET = 18

Node = dict[str, Any]

ACTIVATIONS = {"relu": "Relu", "softmax": "Softmax", "sigmoid": "Sigmoid"}


def write(folder: str) -> None:
    """Write the network for images (N, C, H, W) with a dynamic N."""
    workload = Workload(folder)
    file = _File(workload)
    nodes = workload.without_padding()
    for node in nodes:
        file.add(node)
    height, width, channels = workload.input_shape
    result = nodes[-1]["name"]
    graph = helper.make_graph(
        file.operators,
        workload.specification["network"],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", channels, height, width])],
        [helper.make_tensor_value_info(result, TensorProto.FLOAT, None)],
        file.weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
    model.ir_version = 10
    onnx.save(model, str(workload.folder / "model.onnx"))


class _File:
    """Operators and weights of the file; each output is named after its layer."""

    def __init__(self, workload: Workload) -> None:
        self.workload = workload
        self.operators: list[Any] = []
        self.weights: list[Any] = []

    def add(self, node: dict[str, Any]) -> None:
        """Add the operators of one layer."""
        kind, config = node["class"], node["config"]
        activation = (
            config.get("activation") if kind in ("Conv2D", "DepthwiseConv2D", "Dense") else None
        )
        name = node["name"]
        before = f"{name}/linear" if activation else name
        inputs = [
            "x" if source == self.workload.nodes[0]["name"] else source for source in node["inputs"]
        ]
        if kind == "InputLayer":
            return
        getattr(self, f"_{kind}")(node, config, inputs, before)
        if activation:
            self._operator(ACTIVATIONS[activation], [before], name)

    def _operator(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> None:
        self.operators.append(helper.make_node(kind, inputs, [output], output, **attributes))

    def _constant(self, name: str, array: np.ndarray) -> str:
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def _Conv2D(self, node: Node, config: Node, inputs: list[str], output: str) -> None:
        weights = self.workload.weights(node)
        kernel = weights["kernel"].transpose(3, 2, 0, 1)  # (KH, KW, C, K) -> (K, C, KH, KW)
        inputs = [*inputs, self._constant(f"{output}/kernel", kernel)]
        if "bias" in weights:
            inputs.append(self._constant(f"{output}/bias", weights["bias"]))
        strides = pair(config.get("strides", 1))
        self._operator("Conv", inputs, output, strides=strides, pads=node["padding"])

    def _DepthwiseConv2D(self, node: Node, config: Node, inputs: list[str], output: str) -> None:
        weights = self.workload.weights(node)
        kernel = weights["kernel"].transpose(2, 3, 0, 1)  # (KH, KW, C, 1) -> (C, 1, KH, KW)
        inputs = [*inputs, self._constant(f"{output}/kernel", kernel)]
        if "bias" in weights:
            inputs.append(self._constant(f"{output}/bias", weights["bias"]))
        strides, groups = pair(config.get("strides", 1)), len(kernel)
        self._operator("Conv", inputs, output, strides=strides, pads=node["padding"], group=groups)

    def _ReLU(self, node: Node, config: Node, inputs: list[str], output: str) -> None:
        limit = config.get("max_value")
        if limit is None:
            self._operator("Relu", inputs, output)
        else:
            bounds = zip(("low", "high"), (0, limit), strict=True)
            names = [self._constant(f"{output}/{key}", np.float32(bound)) for key, bound in bounds]
            self._operator("Clip", [*inputs, *names], output)

    def _BatchNormalization(self, node: Node, config: Node, inputs: list[str], output: str) -> None:
        weights = self.workload.weights(node)
        weights.setdefault("gamma", np.ones(node["shape"][-1], np.float32))
        order = ("gamma", "beta", "moving_mean", "moving_variance")
        names = [self._constant(f"{output}/{key}", weights[key]) for key in order]
        epsilon = config.get("epsilon", 1e-3)
        self._operator("BatchNormalization", [*inputs, *names], output, epsilon=epsilon)

    def _Dense(self, node: Node, config: Node, inputs: list[str], output: str) -> None:
        weights = self.workload.weights(node)
        kernel = weights["kernel"]  # (inputs, units)
        before = self.workload.shape_before_flatten(node)
        if before is not None:  # ONNX flattens (C, H, W)
            kernel = kernel.reshape(*before, -1).transpose(2, 0, 1, 3).reshape(kernel.shape)
        names = [
            self._constant(f"{output}/kernel", kernel),
            self._constant(f"{output}/bias", weights["bias"]),
        ]
        self._operator("Gemm", [*inputs, *names], output)

    def _Activation(self, node: Node, config: Node, inputs: list[str], output: str) -> None:
        self._operator(ACTIVATIONS[config["activation"]], inputs, output)

    def _MaxPooling2D(self, node: Node, config: Node, inputs: list[str], output: str) -> None:
        self._operator("MaxPool", inputs, output, **_window(node, config))

    def _AveragePooling2D(self, node: Node, config: Node, inputs: list[str], output: str) -> None:
        self._operator("AveragePool", inputs, output, **_window(node, config))

    def _GlobalAveragePooling2D(
        self, node: Node, config: Node, inputs: list[str], output: str
    ) -> None:
        self._operator("GlobalAveragePool", inputs, f"{output}/map")
        self._operator("Flatten", [f"{output}/map"], output)

    def _Flatten(self, node: Node, config: Node, inputs: list[str], output: str) -> None:
        self._operator("Flatten", inputs, output)

    def _Dropout(self, node: Node, config: Node, inputs: list[str], output: str) -> None:
        self._operator("Identity", inputs, output)

    def _Add(self, node: Node, config: Node, inputs: list[str], output: str) -> None:
        self._operator("Add", inputs, output)

    def _Concatenate(self, node: Node, config: Node, inputs: list[str], output: str) -> None:
        self._operator("Concat", inputs, output, axis=1)

    def _Rescaling(self, node: Node, config: Node, inputs: list[str], output: str) -> None:
        scale = self._constant(f"{output}/scale", np.float32(config["scale"]))
        offset = self._constant(f"{output}/offset", np.float32(config.get("offset", 0)))
        self._operator("Mul", [*inputs, scale], f"{output}/scaled")
        self._operator("Add", [f"{output}/scaled", offset], output)

    def _ImageNetPreprocessing(
        self, node: Node, config: Node, inputs: list[str], output: str
    ) -> None:  # mode "tf"
        self._Rescaling(node, {"scale": 1 / 127.5, "offset": -1}, inputs, output)


def _window(node: Node, config: Node) -> dict[str, list[int]]:
    size = pair(config.get("pool_size", 2))
    strides = pair(config.get("strides") or size)
    return {"kernel_shape": size, "strides": strides, "pads": node["padding"]}


if __name__ == "__main__":
    write(sys.argv[1])
