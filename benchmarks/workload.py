"""Workloads of the benchmarks: networks described in a folder, and batches of images.

``python workload.py FOLDER SPECIFICATION`` (needs minidl) writes three files to the folder:

    network.json   layers with their Keras names and arguments, inputs and shapes
    weights.npz    random weights, "layer/parameter" -> array
    minidl.h5      the same weights as a minidl file

The peers build their networks from the first two, so topology, weights and outputs are equal. The
specification is JSON: ``{"network": "VGG16", "size": 224}``.
"""

from __future__ import annotations

import json
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:  # the peers' environments are without minidl
    from minidl import Model

__all__ = ["Workload", "build", "write"]

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


class Workload:
    """Description and weights of a network, read from its folder.

    Attributes
    ----------
    nodes : list of dict
        "name", "class", "config", "inputs" (names), "shape" (batch first), "weights" (names).
    readers : dict of str to int
        Number of layers that read each output.
    """

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        document = json.loads((self.folder / "network.json").read_text())
        self.specification = document["specification"]
        self.nodes = document["nodes"]
        self.readers: dict[str, int] = {}
        for node in self.nodes:
            for name in node["inputs"]:
                self.readers[name] = self.readers.get(name, 0) + 1
        self._weights = np.load(self.folder / "weights.npz")

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Shape (H, W, C) of one image."""
        return tuple(self.nodes[0]["shape"][1:])

    @property
    def is_binary(self) -> bool:
        """Whether the output is one probability per sample."""
        return self.nodes[-1]["shape"][-1] == 1

    def weights(self, node: dict[str, Any]) -> dict[str, np.ndarray]:
        """Return a layer's parameters by name."""
        return {name: self._weights[f"{node['name']}/{name}"] for name in node["weights"]}

    def shape_before_flatten(self, node: dict[str, Any]) -> tuple[int, int, int] | None:
        """Return (H, W, C) if the layer reads a flattened feature map, else None."""
        nodes = {item["name"]: item for item in self.nodes}
        before = nodes[node["inputs"][0]]
        if before["class"] != "Flatten":
            return None
        shape = nodes[before["inputs"][0]]["shape"]
        return tuple(shape[1:]) if len(shape) == 4 else None

    def without_padding(self) -> list[dict[str, Any]]:
        """Return the nodes with each ZeroPadding2D as "padding" of the node that reads it.

        "padding" is the number of rows or columns of zeros at the [top, left, bottom, right].

        Before max pooling this is equivalent, because the padded map is the output of a ReLU.
        """
        pads = {n["name"]: n for n in self.nodes if n["class"] == "ZeroPadding2D"}
        kept = []
        for node in self.nodes:
            if node["name"] in pads:
                continue
            padding = self._same_padding(node)
            for name in node["inputs"]:
                if name in pads:
                    (top, bottom), (left, right) = map(pair, pair(pads[name]["config"]["padding"]))
                    padding = [top, left, bottom, right]
            sources = [pads[n]["inputs"][0] if n in pads else n for n in node["inputs"]]
            kept.append({**node, "inputs": sources, "padding": padding})
        return kept

    def _same_padding(self, node: dict[str, Any]) -> list[int]:
        """Return the zeros for padding="same", which are those of TensorFlow."""
        config = node["config"]
        if config.get("padding", "valid") != "same":
            return [0, 0, 0, 0]
        window = pair(config.get("kernel_size") or config.get("pool_size"))
        strides = pair(config.get("strides") or config.get("pool_size") or 1)
        (source,) = (item for item in self.nodes if item["name"] == node["inputs"][0])
        totals = [
            max((-(-size // stride) - 1) * stride + extent - size, 0)
            for size, stride, extent in zip(source["shape"][1:3], strides, window, strict=True)
        ]
        return [total // 2 for total in totals] + [total - total // 2 for total in totals]

    def batch(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Return images (N, H, W, C), float32, and labels: int64 (N,) or float32 (N, 1)."""
        rng = np.random.default_rng(0)
        raw = any(node["class"] in ("Rescaling", "ImageNetPreprocessing") for node in self.nodes)
        x = rng.random((size, *self.input_shape), np.float32)
        x = x * np.float32(255) if raw else x * np.float32(2) - np.float32(1)
        if self.is_binary:
            return x, rng.integers(0, 2, (size, 1)).astype(np.float32)
        return x, rng.integers(0, self.nodes[-1]["shape"][-1], size)


def pair(value: int | Sequence[int]) -> list[int]:
    """Return an int or a pair as [height, width]."""
    return list(value) if isinstance(value, (list, tuple)) else [value, value]


def build(specification: dict[str, Any], weights: str | None = None) -> Model:
    """Return minidl's model.

    Parameters
    ----------
    specification : dict
        "network": "small_cnn" (of example 03), or a network of minidl.applications; "size":
        image size in pixels; "top", "pooling", "preprocessing": as in minidl.applications.
    weights : str, optional
        File to load.
    """
    from minidl import applications

    name, size = specification["network"], specification["size"]
    if name == "small_cnn":
        sys.path.insert(0, str(EXAMPLES))
        model = runpy.run_path(str(EXAMPLES / "03_small_cnn.py"))["build"](size)
        if weights is not None:
            model.load_weights(weights)
        return model
    return getattr(applications, name)(
        weights=weights,
        include_top=specification.get("top", True),
        input_shape=(size, size, 3),
        pooling=specification.get("pooling"),
        include_preprocessing=specification.get("preprocessing", False),
    )


def write(folder: str, specification: dict[str, Any]) -> None:
    """Write the description and random weights of a network."""
    model = build(specification)
    rng = np.random.default_rng(0)
    arrays = {}
    for layer in model.layers:
        for parameter in layer.weights:
            depthwise = type(layer).__name__ == "DepthwiseConv2D"
            parameter.assign(_random(rng, parameter.name, parameter.shape, depthwise))
            arrays[f"{layer.name}/{parameter.name}"] = parameter.value
    names = [node.layer.name for node in model.nodes]
    nodes = [
        {
            "name": node.layer.name,
            "class": type(node.layer).__name__,
            "config": node.layer.get_config(),
            "inputs": [names[i] for i in node.inputs],
            "shape": node.shape,
            "weights": [parameter.name for parameter in node.layer.weights],
        }
        for node in model.nodes
    ]
    target = Path(folder)
    document = {"specification": specification, "nodes": nodes}
    (target / "network.json").write_text(json.dumps(document))
    np.savez(target / "weights.npz", **arrays)
    model.save_weights(target / "minidl.h5")


def _random(
    rng: np.random.Generator, name: str, shape: tuple[int, ...], depthwise: bool
) -> np.ndarray:
    """Return weights that keep activations in the range of a trained network."""
    if name == "kernel":
        scale = np.float32(np.sqrt(2 / np.prod(shape[:2] if depthwise else shape[:-1])))
        return rng.standard_normal(shape, np.float32) * scale
    if name == "gamma":  # about 0.5, so that sums over sixteen residual blocks stay small
        return rng.uniform(0.4, 0.6, shape).astype(np.float32)
    if name == "moving_variance":
        return rng.uniform(0.8, 1.2, shape).astype(np.float32)
    return rng.normal(0, 0.1, shape).astype(np.float32)


if __name__ == "__main__":
    write(sys.argv[1], json.loads(sys.argv[2]))
