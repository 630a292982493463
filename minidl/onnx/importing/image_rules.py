"""Rules of convolution, pooling and padding.

>>> padding, same = window_padding((0, 1, 0, 1), (3, 3), (2, 2), (1, 1), (8, 8))
>>> padding, same
(((0, 1), (0, 1)), True)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl import layers
from minidl.common.errors import FileFormatError
from minidl.kernels.geometry import Window
from minidl.onnx.importing.builder import Builder
from minidl.onnx.importing.layout import Value, atoms, axis_of, reorder, size_of
from minidl.onnx.importing.operation import Operation, checked_axis
from minidl.onnx.importing.view_rules import Rule

__all__ = ["IMAGE_RULES", "window_padding"]

Pair = tuple[int, int]
Sides = tuple[Pair, Pair]  # (top, bottom), (left, right)
OpenSize = tuple[Any, Any]  # height and width, or None
NO_PADDING: Sides = ((0, 0), (0, 0))
MAX_GATHERED = 4096  # channels whose order a Gather may change


def conv(builder: Builder, operation: Operation) -> Value:
    x, w = operation.value(), operation.constant(1)
    bias = operation.constant_or_none(2)
    groups = operation.integer("group", 1)
    if len(x.view) != 4 or w.ndim != 4 or 0 in w.shape or groups < 1:
        raise FileFormatError(
            f"expected a convolution of images with a kernel of 4 axes, received shape {x.shape} "
            f"and a kernel of shape {w.shape}"
        )
    channels = size_of(x.view[1])
    if channels not in (None, w.shape[1] * groups):
        raise FileFormatError(
            f"expected {channels} input channels, received a kernel of shape {w.shape} in "
            f"{groups} groups"
        )
    strides, dilations = _pair(operation, "strides"), _pair(operation, "dilations")
    is_depthwise = groups > 1 and w.shape[1] == 1 and w.shape[0] % groups == 0
    x = builder.images(x, ordered=not (groups == 1 or is_depthwise))
    name = builder.name(operation.node, operation.input_name(1))
    x, padding = _padded(builder, operation, x, Window(w.shape[2:], strides, dilation=dilations))
    options: dict[str, Any] = {
        "strides": strides,
        "padding": padding,
        "dilation_rate": dilations,
        "use_bias": bias is not None,
        "name": name,
    }
    old, new = x.view[1], x.stored[3]  # the order of the input channels in the file, and stored
    if is_depthwise:
        multiplier = w.shape[0] // groups
        kernel = reorder(w.reshape(groups, multiplier, *w.shape[2:]), old, new)  # (C, M, KH, KW)
        if bias is not None:
            bias = reorder(bias.reshape(groups, multiplier), old, new).reshape(-1)
        layer: layers.Layer = layers.DepthwiseConv2D(
            w.shape[2:], depth_multiplier=multiplier, **options
        )
        weights = _weights(kernel=kernel.transpose(2, 3, 0, 1), bias=bias)
        each = axis_of(multiplier)
        tensor = builder.connect(layer, x.tensor, weights)
        return builder.from_images(tensor, x.stored[0], (*new, *each), (*old, *each))
    kernel = w.transpose(1, 2, 3, 0)  # (C, KH, KW, K)
    kernel = reorder(kernel, old, new) if groups == 1 else kernel
    layer = layers.Conv2D(w.shape[0], w.shape[2:], groups=groups, **options)
    weights = _weights(kernel=kernel.transpose(1, 2, 0, 3), bias=bias)
    return builder.from_images(builder.connect(layer, x.tensor, weights), x.stored[0])


def gather(builder: Builder, operation: Operation) -> Value:
    """Translate another order of the channels, such as BGR: a convolution by a permutation."""
    x, indices = operation.value(), operation.constant(1)
    axis = checked_axis(operation.integer("axis", 0), len(x.view))
    count = size_of(x.view[axis]) or 0
    order = indices.reshape(-1).tolist()
    is_permutation = indices.ndim == 1 and sorted(order) == list(range(count))
    if len(x.view) != 4 or axis == 0 or not is_permutation or count > MAX_GATHERED:
        raise FileFormatError(
            f"expected indices that permute the channels of images, received shape {x.shape} and "
            f"indices of shape {indices.shape}"
        )
    x = builder.channels(x, axis)
    x = builder.arrange(x, (*x.stored[:-1], x.view[axis]))
    kernel = np.eye(len(order), dtype=np.float32)[order].T[None, None]  # (1, 1, C, C)
    layer = layers.Conv2D(
        len(order), 1, use_bias=False, trainable=False, name=builder.name(operation.node)
    )
    tensor = builder.connect(layer, x.tensor, {"kernel": kernel})
    new = axis_of(len(order))
    view = (new if i == axis else group for i, group in enumerate(x.view))
    return Value(tensor, (*x.stored[:-1], new), tuple(view))


def _weights(**arrays: np.ndarray | None) -> dict[str, np.ndarray]:
    return {name: array for name, array in arrays.items() if array is not None}


def max_pool(builder: Builder, operation: Operation) -> Value:
    return _pool(builder, operation, layers.MaxPooling2D, includes_padding=False)


def average_pool(builder: Builder, operation: Operation) -> Value:
    includes = bool(operation.integer("count_include_pad", 0))
    return _pool(builder, operation, layers.AveragePooling2D, includes)


def _pool(builder: Builder, operation: Operation, kind: Any, includes_padding: bool) -> Value:
    x = builder.images(operation.value(), ordered=False)
    size = _pair(operation, "kernel_shape", required=True)
    strides, dilations = _pair(operation, "strides"), _pair(operation, "dilations")
    ceil = bool(operation.integer("ceil_mode", 0))
    if dilations != (1, 1):
        raise FileFormatError(f"expected a window without dilation, received {dilations}")
    image = _image_size(x)
    name = builder.name(operation.node)
    if operation.text("auto_pad", "") == "SAME_UPPER" and not includes_padding:
        padding: Any = "same"  # for images of any size
    else:
        sides = _sides(operation, Window(size, strides), image)
        if sides == NO_PADDING and image == size and kind is layers.AveragePooling2D:
            return _global(builder, x, layers.GlobalAveragePooling2D(name=name))
        overhang = _overhang(sides, size, strides, image) if ceil else (0, 0)
        if includes_padding and sides != NO_PADDING:
            x = _zero_padded(builder, x, sides)
            image, sides = _image_size(x), NO_PADDING
        padding = _pool_padding(sides, overhang, size, strides, image)
    tensor = builder.connect(kind(size, strides, padding, name=name), x.tensor)
    return builder.from_images(tensor, x.stored[0], x.stored[3], x.view[1])


def _pool_padding(
    sides: Sides, overhang: Pair, size: Pair, strides: Pair, image: OpenSize
) -> str | Sides:
    """Return the `padding` of a pooling layer."""
    (top, bottom), (left, right) = sides
    pads = (top, bottom + overhang[0], left, right + overhang[1])
    padding, is_same = window_padding(pads, size, strides, (1, 1), image)
    return "valid" if padding == NO_PADDING else "same" if is_same else padding


def _overhang(sides: Sides, size: Pair, strides: Pair, image: OpenSize) -> Pair:
    """Return the rows and columns after the padding that the last windows of ceil_mode cover.

    A window that would begin behind the image is left out, as in PyTorch and ONNX Runtime.
    """
    extra = []
    for (before, after), k, stride, n in zip(sides, size, strides, image, strict=True):
        if n is None:
            raise FileFormatError("expected images of a fixed size for ceil_mode")
        padded = n + before + after
        count = -(-(padded - k) // stride) + 1
        if (count - 1) * stride >= n + before:
            count -= 1
        extra.append(max((count - 1) * stride + k - padded, 0))
    return extra[0], extra[1]


def global_average_pool(builder: Builder, operation: Operation) -> Value:
    return _reduce(builder, operation, layers.GlobalAveragePooling2D, range(2, 8), True)


def global_max_pool(builder: Builder, operation: Operation) -> Value:
    return _reduce(builder, operation, layers.GlobalMaxPooling2D, range(2, 8), True)


def reduce_mean(builder: Builder, operation: Operation) -> Value:
    axes = operation.axes("axes", 1, len(operation.value().view))
    operation.integer("noop_with_empty_axes", 0)
    keeps = bool(operation.integer("keepdims", 1))
    return _reduce(builder, operation, layers.GlobalAveragePooling2D, axes or (), keeps)


def _reduce(builder: Builder, operation: Operation, kind: Any, axes: Any, keeps: bool) -> Value:
    """Pool over axes: the values are arranged as images whose channels are the other axes."""
    x = operation.value()
    reduced = [i for i in axes if i < len(x.view)]
    kept = [i for i in range(1, len(x.view)) if i not in reduced]
    filled = [i for i in kept if x.view[i]]
    if not reduced or 0 in reduced or len(filled) > 1:
        raise FileFormatError(
            f"expected a mean over all axes but the batch and one other, received axes {axes} of "
            f"shape {x.shape}"
        )
    pooled = builder.stored_order(x, atoms(x.view[i] for i in reduced))
    channels = x.view[filled[0]] if filled else ()
    channels = builder.stored_order(x, channels)
    y = builder.arrange(x, (x.stored[0], pooled[:1], pooled[1:], channels))
    result = _global(builder, y, kind(name=builder.name(operation.node)))
    view = tuple(
        () if i in reduced else group for i, group in enumerate(x.view) if keeps or i not in reduced
    )
    return Value(result.tensor, result.stored, view)


def _global(builder: Builder, x: Value, layer: Any) -> Value:
    """Pool images over height and width."""
    tensor = builder.connect(layer, x.tensor)
    return Value(tensor, (x.stored[0], x.stored[3]), (x.stored[0], x.view[1], (), ()))


def pad(builder: Builder, operation: Operation) -> Value:
    x = operation.value()
    mode = operation.text("mode", "constant")
    rank = len(x.view)
    pads: Any = operation.integers("pads", operation.integers("paddings"))
    filling: Any = operation.number("value", 0.0)
    axes = list(range(rank))
    if pads is None:
        pads = operation.constant(1).reshape(-1).tolist()
        given = operation.constant_or_none(2)
        filling = 0.0 if given is None or given.size == 0 else given.reshape(-1)[0]
        chosen = operation.constant_or_none(3)
        if chosen is not None:
            axes = [checked_axis(axis, rank) for axis in chosen.reshape(-1).tolist()]
    if len(pads) != 2 * len(axes) or len(set(axes)) != len(axes):
        raise FileFormatError(f"expected two pads for each of the axes {axes}, received {pads}")
    sides: dict[int, Any] = {axis: (pads[i], pads[i + len(axes)]) for i, axis in enumerate(axes)}
    if all(not any(pair) for pair in sides.values()):
        return x
    if mode != "constant" or filling != 0:
        raise FileFormatError(f"expected padding by zeros, received mode {mode!r}, {filling}")
    if rank != 4 or any(any(sides.get(axis, ())) for axis in (0, 1)):
        raise FileFormatError(f"expected padding of the height and width, received {pads}")
    vertical, horizontal = (sides.get(axis, (0, 0)) for axis in (2, 3))
    return _zero_padded(builder, builder.images(x, ordered=False), (vertical, horizontal))


def _zero_padded(builder: Builder, x: Value, sides: Sides) -> Value:
    """Return images stored as (N, H, W, C) with zeros around them."""
    if min(*sides[0], *sides[1]) < 0:
        raise FileFormatError(f"expected pads >= 0, received {sides}")
    tensor = builder.connect(layers.ZeroPadding2D(sides), x.tensor)
    return builder.from_images(tensor, x.stored[0], x.stored[3], x.view[1])


def _padded(builder: Builder, operation: Operation, x: Value, window: Window) -> tuple[Value, str]:
    """Return the padded input of a convolution and the padding that is left to its layer."""
    if operation.text("auto_pad", "") == "SAME_UPPER":
        return x, "same"
    image = _image_size(x)
    sides = _sides(operation, window, image)
    if sides == NO_PADDING:
        return x, "valid"
    pads = (*sides[0], *sides[1])
    if window_padding(pads, window.kernel_size, window.strides, window.dilation, image)[1]:
        return x, "same"
    return _zero_padded(builder, x, sides), "valid"


def window_padding(
    pads: Any, size: Pair, strides: Pair, dilations: Pair, image: OpenSize
) -> tuple[Sides, bool]:
    """Return the padding by sides, and whether it is that of ``padding="same"``.

    For images of open size this is known only where the strides are 1.
    """
    top, bottom, left, right = (int(n) for n in pads)
    window = Window(size, strides, "same", dilations)
    if None in image and strides == (1, 1):
        image = window.extent  # any size gives the same padding
    is_same = None not in image and window.pads(*image) == (top, bottom, left, right)
    return ((top, bottom), (left, right)), is_same


def _sides(operation: Operation, window: Window, image: OpenSize) -> Sides:
    """Return the padding of an operation; ``auto_pad`` depends on the size of the images."""
    auto = operation.text("auto_pad", "NOTSET")
    pads = operation.integers("pads")
    if auto in ("", "NOTSET"):
        top, left, bottom, right = pads or [0, 0, 0, 0]
        return (top, bottom), (left, right)
    if auto == "VALID":
        return NO_PADDING
    if auto not in ("SAME_UPPER", "SAME_LOWER"):
        raise FileFormatError(f"expected a known auto_pad, received {auto!r}")
    if None in image and window.strides == (1, 1):
        image = window.extent  # any size gives the same padding
    if None in image:
        raise FileFormatError(f"expected images of a fixed size for auto_pad {auto}")
    same = Window(window.kernel_size, window.strides, "same", window.dilation)
    top, bottom, left, right = same.pads(*image)
    if auto == "SAME_UPPER":
        return (top, bottom), (left, right)
    return (bottom, top), (right, left)


def _image_size(x: Value) -> OpenSize:
    """Return height and width of images stored as (N, H, W, C)."""
    height, width = x.stored[1:3]
    return size_of(height), size_of(width)


def _pair(operation: Operation, name: str, required: bool = False) -> Pair:
    """Return a pair of positive integers."""
    found = operation.integers(name, None if required else (1, 1))
    if found is None or len(found) != 2 or not all(0 < n < 2**20 for n in found):
        raise FileFormatError(f"expected {name} as two integers >= 1, received {found}")
    return found[0], found[1]


IMAGE_RULES: dict[str, Rule] = {
    "AveragePool": average_pool,
    "Conv": conv,
    "Gather": gather,
    "GlobalAveragePool": global_average_pool,
    "GlobalMaxPool": global_max_pool,
    "MaxPool": max_pool,
    "Pad": pad,
    "ReduceMean": reduce_mean,
}
