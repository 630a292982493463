"""Where a classifier looks: maps of the pixels that speak for a class.

Grad-CAM (Selvaraju et al., 2017) asks the gradient: it weights the channels of an inner layer by
how much each raises the class' score, and adds them up. It takes one pass forward and one backward
through the layers above. Occlusion (Zeiler and Fergus, 2014) tries it out: it covers one square
after the other and looks how far the probability falls. It takes many passes, and any model.

>>> import numpy as np
>>> from minidl import Input, Sequential, explain, layers
>>> model = Sequential([
...     Input((8, 8, 3)), layers.Conv2D(4, 3, activation="relu"),
...     layers.GlobalAveragePooling2D(), layers.Dense(2, activation="softmax"),
... ])
>>> images = np.random.default_rng(0).random((5, 8, 8, 3), "float32")
>>> maps = explain.grad_cam(model, images)
>>> maps.shape, float(maps.max()) <= 1
((5, 8, 8), True)
>>> explain.overlay(255 * images[0], maps[0]).shape
(8, 8, 3)
"""

from __future__ import annotations

import numpy as np

from minidl.common.argument_checks import check_fraction, check_integer, check_number
from minidl.common.errors import ShapeError
from minidl.graph.network import Network

__all__ = ["grad_cam", "occlusion", "overlay"]

BATCH = 16  # images at a time: what backward keeps of them is large
# Dark to light, as matplotlib's "inferno": it stays readable in grey and for the colour-blind.
_RAMP = np.array([(0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164)], float)


def grad_cam(
    model, images: np.ndarray, layer: str | None = None, class_index=None, resize: bool = True
) -> np.ndarray:
    """Return maps from 0 to 1 of what in each image raises the score of a class.

    The score is what goes into the model's sigmoid or softmax; of a model with one sigmoid,
    class 1 has that score and class 0 its negative.

    Parameters
    ----------
    model : Model
        A classifier of images: one input, one output (N, classes).
    images : (N, H, W, C)
        As the model takes them.
    layer : str, optional
        Name of the layer whose channels are weighted, with an output (N, h, w, channels); the
        last such layer of more than one pixel by default. Layers of an inlined base count.
    class_index : int or (N,) of int, optional
        The class to explain, for all images or for each; the predicted ones by default.
    resize : bool
        Whether to stretch the maps to the size of the images (bilinear).

    Returns
    -------
    (N, H, W) of float32, or (N, h, w) without `resize`
        The largest number of each map is 1, before it is stretched; it is all 0 where nothing
        speaks for the class.

    Raises
    ------
    ValueError
        For a model that is no classifier, an unknown layer or a class that there is not.
    ShapeError
        For images that the model does not take.
    """
    images = _checked(model, images)
    features, head = _split(model, _number(model, layer))
    classes = _classes(model, images, class_index)
    parts = [
        _class_activation(features, head, images[i : i + BATCH], classes[i : i + BATCH])
        for i in range(0, len(images), BATCH)
    ]
    maps = np.concatenate(parts) if parts else np.empty((0, 1, 1), np.float32)
    maps = np.maximum(maps, 0)
    largest = maps.max(axis=(1, 2), keepdims=True, initial=0)
    maps = np.divide(maps, largest, out=np.zeros_like(maps), where=largest > 0)
    return _resized(maps, images.shape[1:3]) if resize else maps


def occlusion(
    model, images: np.ndarray, class_index=None, patch: int | None = None,
    stride: int | None = None, fill: float | None = None,
) -> np.ndarray:  # fmt: skip
    """Return maps of how far the probability of a class falls where a square is covered.

    Parameters
    ----------
    model, images, class_index
        As in :func:`grad_cam`.
    patch : int, optional
        Side of the square in pixels; by default a fifth of the shorter side of the images.
    stride : int, optional
        Pixels from one square to the next, at most a side; by default half of it.
    fill : float, optional
        What the square is filled with; by default the mean of each image.

    Returns
    -------
    (N, H, W) of float32
        The mean fall over all squares that cover a pixel; negative where covering it helps.

    Raises
    ------
    ValueError
        For a patch or stride that does not fit; otherwise as :func:`grad_cam`.
    """
    images = _checked(model, images)
    height, width = images.shape[1:3]
    patch = max(1, min(height, width) // 5) if patch is None else patch
    check_integer("occlusion", "patch", patch, 1, min(height, width))
    stride = max(1, patch // 2) if stride is None else stride
    check_integer("occlusion", "stride", stride, 1, patch)  # a larger one would leave pixels out
    if fill is not None:
        check_number("occlusion", "fill", fill)
    classes = _classes(model, images, class_index)
    squares = [
        (y, x) for y in _starts(height, patch, stride) for x in _starts(width, patch, stride)
    ]
    covering = np.zeros((height, width), np.float32)
    for y, x in squares:
        covering[y : y + patch, x : x + patch] += 1
    maps = np.zeros((len(images), height, width), np.float32)
    for image, index, falls in zip(images, classes, maps, strict=True):
        before = _probability(model, image[None], index)[0]
        for i in range(0, len(squares), BATCH):
            some = squares[i : i + BATCH]
            covered = np.repeat(image[None], len(some), axis=0)
            for copy, (y, x) in zip(covered, some, strict=True):
                copy[y : y + patch, x : x + patch] = image.mean() if fill is None else fill
            for (y, x), after in zip(some, _probability(model, covered, index), strict=True):
                falls[y : y + patch, x : x + patch] += before - after
    return maps / covering


def overlay(image: np.ndarray, heatmap: np.ndarray, opacity: float = 0.5) -> np.ndarray:
    """Return an image with a map laid over it in colours, from dark (0) to light (1).

    Parameters
    ----------
    image : (H, W, 3) or (H, W, 1)
        Numbers from 0 to 255.
    heatmap : (H, W)
        From :func:`grad_cam`, or of :func:`occlusion` divided by its largest number.
    opacity : float
        Of the colours, 0 to 1.

    Returns
    -------
    (H, W, 3) of uint8

    Raises
    ------
    ShapeError
        If the image has another shape, or the map another size.
    ValueError
        If the opacity is out of range, or the image or the map holds NaN.
    """
    image, heatmap = np.asarray(image), np.asarray(heatmap)
    if image.ndim != 3 or image.shape[2] not in (1, 3):
        raise ShapeError(
            f"overlay: expected an image (H, W, 3) or (H, W, 1), received {image.shape}"
        )
    if image.shape[:2] != heatmap.shape:
        raise ShapeError(
            f"overlay: expected a map of the image's size {image.shape[:2]}, received "
            f"{heatmap.shape}"
        )
    if not (np.isfinite(image).all() and np.isfinite(heatmap).all()):
        raise ValueError("overlay: expected finite numbers, the image or the map has others")
    check_fraction("overlay", "opacity", opacity)
    places = np.linspace(0, 1, len(_RAMP))
    colours = np.stack([np.interp(heatmap, places, channel) for channel in _RAMP.T], axis=-1)
    mixed = (1 - opacity) * np.asarray(image, np.float64) + opacity * colours
    return np.rint(mixed.clip(0, 255)).astype(np.uint8)


def _checked(model, images) -> np.ndarray:
    """Return the images as floats; refuse what is no classifier of images."""
    classifies = model.single_input and model.single_output
    if not classifies or len(model.input_shape) != 4 or len(model.output_shape) != 2:
        raise ValueError(
            f"{model.label}: expected a classifier of images, from (N, H, W, C) to (N, classes); "
            f"it goes from {model.input_shape} to {model.output_shape}"
        )
    checked = model.check_inputs(images)[0]
    if not np.isfinite(checked).all():
        raise ValueError(f"{model.label}: expected images of finite numbers, they have others")
    return checked


def _number(model, layer: str | None) -> int:
    """Return which node of the graph to look at."""
    shapes = [tensor.shape for tensor in model.tensors]
    maps = [i for i, s in enumerate(shapes) if len(s) == 4 and i not in model.input_numbers]
    if layer is not None:
        number = model.node_number(layer)
        if number not in maps:
            raise ValueError(
                f"grad_cam: expected a layer with an output (N, h, w, channels), received "
                f"{layer!r} with {shapes[number]}"
            )
        return number
    large = [i for i in maps if shapes[i][1:3] != (1, 1)]
    if not large:
        raise ValueError(f"{model.label}: no layer has an output (N, h, w, channels) to look at")
    return large[-1]


def _split(model, number: int) -> tuple[Network, Network]:
    """Return the network up to a node, and the one above it, which may read others beside it."""
    above = {number}
    for i, node in enumerate(model.nodes):
        if above.intersection(node.inputs):
            above.add(i)
    above.remove(number)
    if model.output_numbers[0] not in above:
        raise ValueError(
            f"grad_cam: the output of {model.label} does not depend on "
            f"{model.nodes[number].layer.name!r}"
        )
    read = {j for i in above for j in model.nodes[i].inputs} - above - {number}
    between = [model.tensors[i] for i in (number, *sorted(read))]
    return Network(model.input_tensors, between), Network(between, model.output)


def _class_activation(features: Network, head: Network, images, classes) -> np.ndarray:
    """Return the sum of the channels, each weighted by its mean gradient: (N, h, w)."""
    xs = features.infer([images])
    y, tape = head.forward(xs)
    dy = np.zeros_like(y)
    if y.shape[1] == 1:
        dy[:, 0] = np.where(classes == 1, 1, -1)
    else:
        dy[np.arange(len(y)), classes] = 1
    score = (0,) if head.output_activations[0] in ("sigmoid", "softmax") else ()
    dxs, _ = head.backward(dy, tape, before_activation=score)
    weights = dxs[0].mean(axis=(1, 2))  # (N, channels)
    return np.einsum("nhwc,nc->nhw", xs[0], weights).astype(np.float32)


def _classes(model, images, class_index) -> np.ndarray:
    """Return the class to explain of each image."""
    outputs = model.output_shape[-1]
    count = 2 if outputs == 1 else outputs
    if class_index is None:
        parts = [model.infer(images[i : i + BATCH]) for i in range(0, len(images), BATCH)]
        y = np.concatenate(parts) if parts else np.empty((0, outputs))
        cut = 0.5 if model.output_activations[0] == "sigmoid" else 0
        return (y[:, 0] > cut).astype(int) if outputs == 1 else y.argmax(axis=1)
    try:
        classes = np.asarray(class_index)
    except ValueError:  # rows of several lengths
        classes = np.empty(0)
    fits = classes.shape in ((), (len(images),)) and classes.dtype.kind in "iu"
    if not fits or ((classes < 0) | (classes >= count)).any():
        raise ValueError(
            f"class_index: expected one of 0 ... {count - 1}, or one for each of {len(images)} "
            f"images, received {class_index!r}"
        )
    return np.broadcast_to(classes, (len(images),))


def _probability(model, images, index: int) -> np.ndarray:
    y = model.infer(images)
    if y.shape[1] == 1:
        return y[:, 0] if index == 1 else -y[:, 0]  # what it falls by is the same as for 1 - y
    return y[:, index]


def _starts(length: int, patch: int, stride: int) -> list[int]:
    """Return where squares begin: every stride, and one that ends at the edge."""
    starts = list(range(0, length - patch + 1, stride))
    return starts if starts[-1] + patch == length else [*starts, length - patch]


def _resized(maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    from PIL import Image

    if len(maps) == 0:
        return np.empty((0, *size), np.float32)
    stretched = [Image.fromarray(a).resize(size[::-1], Image.Resampling.BILINEAR) for a in maps]
    return np.stack([np.asarray(image) for image in stretched])
