"""Shapes of the convolutions in minidl's networks, and the algorithms for each.

``python layer_shapes.py BATCH VGG16 224 ResNet50 224`` prints them as JSON.
"""

from __future__ import annotations

import json
import math
import sys
from typing import Any

import numpy as np

from minidl import applications
from minidl.kernels.convolution.dispatch import ALGORITHMS, choose_algorithm, supports_winograd
from minidl.kernels.geometry import Convolution
from minidl.layers import Conv2D, ZeroPadding2D

__all__ = ["layer_shapes"]


def layer_shapes(networks: dict[str, int], batch: int) -> list[dict[str, Any]]:
    """Return each distinct convolution of several networks, in the order of the layers.

    Parameters
    ----------
    networks : dict of str to int
        Name of the application -> height and width of its images in pixels.
    batch : int
        The batch size for which minidl chooses an algorithm.

    Returns
    -------
    list of dict
        "input" (H, W, C), "kernel" (KH, KW, C, K), "strides", "pads" (top, bottom, left, right),
        "output" (OH, OW, K), "gflop" per image by the definition, "layer" (name of the first
        such layer), "count" (per network), "algorithms" and "chosen" (of minidl).
    """
    found: dict[str, dict[str, Any]] = {}
    for name, size in networks.items():
        network = getattr(applications, name)
        model = network(
            weights=None,
            include_top=False,
            input_shape=(size, size, 3),
            include_preprocessing=False,
        )
        for node in model.nodes:
            if type(node.layer) is Conv2D:
                shape = _shape(model.nodes, node, batch)
                key = json.dumps(shape)
                layer = f"{name} {node.layer.name}"
                entry = found.setdefault(key, {**shape, "layer": layer, "count": {}})
                entry["count"][name] = entry["count"].get(name, 0) + 1
    return list(found.values())


def _shape(nodes, node, batch: int) -> dict[str, Any]:
    before = nodes[node.inputs[0]]
    window = node.layer.window
    pads = window.pads(*before.shape[1:3])
    if type(before.layer) is ZeroPadding2D and not any(pads):
        pads = sum(before.layer.padding, ())
        before = nodes[before.inputs[0]]
    kernel = node.layer.kernel.shape
    convolution = Convolution(window.kernel_size, window.strides, pads)
    x_shape = (batch, *before.shape[1:])
    chosen = choose_algorithm(x_shape, kernel, convolution, np.dtype(np.float32))
    return {
        "input": before.shape[1:],
        "kernel": kernel,
        "strides": window.strides,
        "pads": pads,
        "output": node.shape[1:],
        "gflop": 2e-9 * math.prod(node.shape[1:3]) * math.prod(kernel),
        "algorithms": [
            name for name in ALGORITHMS if name != "winograd" or supports_winograd(convolution)
        ],
        "chosen": chosen,
    }


if __name__ == "__main__":
    pairs = zip(sys.argv[2::2], map(int, sys.argv[3::2]), strict=True)
    print(json.dumps(layer_shapes(dict(pairs), int(sys.argv[1]))))
