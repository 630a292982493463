"""Rules of convolution, pooling, padding and cropping of images (N, H, W, C).

>>> from minidl import layers
>>> from minidl.onnx.call import Call
>>> from minidl.onnx.graph_builder import GraphBuilder, Value
>>> from minidl.onnx.image_rules import pooling
>>> graph = GraphBuilder(opset=17)
>>> call = Call(layers.MaxPooling2D(), [Value("x", (None, 4, 4, 3))], (None, 2, 2, 3))
>>> pooling(graph, call).channels_first
True
>>> [node.op_type for node in graph.nodes]
['Transpose', 'MaxPool']
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl import layers
from minidl.common.errors import MinidlError
from minidl.kernels.geometry import Window
from minidl.layers.base import Shape
from minidl.onnx.call import Call
from minidl.onnx.graph_builder import GraphBuilder, Value

__all__ = [
    "convolution",
    "depthwise_convolution",
    "global_pooling",
    "pooling",
    "random_crop",
    "zero_padding",
]


def convolution(graph: GraphBuilder, call: Call) -> Value:
    """Write Conv2D."""
    kernel, bias = call.fold_affine(call.layer.kernel.array)  # (KH, KW, C / groups, K)
    return _convolve(graph, call, kernel, bias, call.layer.groups)


def depthwise_convolution(graph: GraphBuilder, call: Call) -> Value:
    """Write DepthwiseConv2D as a convolution with one group per channel."""
    kernel = call.layer.kernel.array  # (KH, KW, C, M)
    kernel, bias = call.fold_affine(kernel.reshape(*kernel.shape[:2], 1, -1))
    return _convolve(graph, call, kernel, bias, call.input.shape[-1])


def _convolve(
    graph: GraphBuilder, call: Call, kernel: np.ndarray, bias: np.ndarray | None, groups: int
) -> Value:
    x = graph.channels_first(call.input)
    inputs = [x.name, graph.constant("kernel", kernel.transpose(3, 2, 0, 1))]
    if bias is not None:
        inputs.append(graph.constant("bias", bias))
    y = graph.add(
        "Conv",
        inputs,
        **_window_attributes(call.layer.window, x.shape),
        dilations=call.layer.dilation_rate,
        group=groups,
    )
    return Value(y, call.shape, channels_first=True)


def pooling(graph: GraphBuilder, call: Call) -> Value:
    """Write MaxPooling2D and AveragePooling2D, which do not count the padding."""
    x = graph.channels_first(call.input)
    attributes = _window_attributes(call.layer.window, x.shape)
    if isinstance(call.layer, layers.MaxPooling2D):
        y = graph.add("MaxPool", [x.name], **attributes)
    else:
        y = graph.add("AveragePool", [x.name], **attributes, count_include_pad=0)
    return Value(y, call.shape, channels_first=True)


def global_pooling(graph: GraphBuilder, call: Call) -> Value:
    """Write GlobalAveragePooling2D and GlobalMaxPooling2D."""
    is_mean = isinstance(call.layer, layers.GlobalAveragePooling2D)
    x = graph.channels_first(call.input)
    y = graph.add("GlobalAveragePool" if is_mean else "GlobalMaxPool", [x.name])
    if call.layer.keepdims:
        return Value(y, call.shape, channels_first=True)  # (N, C, 1, 1)
    return Value(graph.add("Flatten", [y], axis=1), call.shape)


def zero_padding(graph: GraphBuilder, call: Call) -> Value:
    """Write ZeroPadding2D."""
    (top, bottom), (left, right) = call.layer.padding
    x = graph.channels_first(call.input)
    pads = graph.sizes("padding", 0, 0, top, left, 0, 0, bottom, right)
    y = graph.add("Pad", [x.name, pads], mode="constant")
    return Value(y, call.shape, channels_first=True)


def random_crop(graph: GraphBuilder, call: Call) -> Value:
    """Write RandomCrop as in inference: crop the center, and resize it if it has another size."""
    layer: Any = call.layer
    height, width = call.input.shape[1:3]
    if height is None or width is None:
        raise MinidlError(
            f"{layer.label}: expected a known image size for its ONNX rule, received "
            f"{call.input.shape}. Give the Input fixed sizes."
        )
    x = graph.channels_first(call.input)
    rows, columns = layer.center_region(height, width)
    starts = graph.sizes("starts", rows.start, columns.start)
    ends = graph.sizes("ends", rows.stop, columns.stop)
    y = graph.add("Slice", [x.name, starts, ends, graph.sizes("axes", 2, 3)])
    if (rows.stop - rows.start, columns.stop - columns.start) != (layer.height, layer.width):
        y = graph.resize(y, layer.height, layer.width)
    return Value(y, call.shape, channels_first=True)


def _window_attributes(window: Window, shape: Shape) -> dict[str, Any]:
    """Return kernel_shape, strides and the explicit padding of a window."""
    attributes: dict[str, Any] = {"kernel_shape": window.kernel_size, "strides": window.strides}
    height, width = shape[1:3]
    if window.padding == "valid":
        return attributes
    if window.strides == (1, 1) or window.padding != "same":  # independent of the size
        height, width = (size or 2**20 for size in (height, width))
    if height is None or width is None:  # ONNX's name of the same rule
        return attributes | {"auto_pad": "SAME_UPPER"}
    top, bottom, left, right = window.pads(height, width)
    return attributes | {"pads": (top, left, bottom, right)}
