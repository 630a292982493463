"""Saliency maps of image classifiers: Grad-CAM and occlusion sensitivity.

Grad-CAM (Selvaraju et al., 2017) weights each channel of an inner layer by the mean gradient of
the class score, and sums the weighted channels. It takes one forward pass, and one backward pass
through the layers above. Occlusion sensitivity (Zeiler and Fergus, 2014) covers one square of the
image after the other and measures the drop of the class probability. It takes many forward passes.

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
from numpy.typing import ArrayLike

from minidl.common.argument_checks import check_fraction, check_integer, check_number
from minidl.common.errors import ShapeError
from minidl.evaluation.classifier import class_count, predicted_classes, probabilities
from minidl.graph.network import Network
from minidl.models.model import Model
from minidl.training.logits import LogitsNetwork

__all__ = ["grad_cam", "occlusion", "overlay"]

BATCH_SIZE = 16  # small, because the backward pass keeps all activations of a batch
# From dark to light, as matplotlib's "inferno": readable in grayscale and by color-blind people.
COLOR_RAMP = np.array(
    [(0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164)], np.float64
)


def grad_cam(
    model: Model,
    images: np.ndarray,
    layer: str | None = None,
    class_index: ArrayLike | None = None,
    resize: bool = True,
) -> np.ndarray:
    """Compute Grad-CAM maps: how much each location raises the score of a class.

    The score is the logit of the class. For a single sigmoid it is the logit for class 1, and its
    negative for class 0.

    Parameters
    ----------
    model : Model
        An image classifier with one input and one output (N, classes).
    images : ndarray, shape (N, H, W, C)
        Images in the range that the model expects.
    layer : str, optional
        Name of the layer whose channels are weighted; its output is (N, h, w, channels). The
        default is the last such layer with more than one pixel. Layers of an inlined base count.
    class_index : int or array of int, shape (N,), optional
        Class to explain, one for all images or one per image. Default: the predicted classes.
    resize : bool
        Whether to resize the maps to the size of the images, bilinearly.

    Returns
    -------
    ndarray of float32, shape (N, H, W), or (N, h, w) without `resize`
        Maps from 0 to 1, scaled by their maximum before resizing. A map without positive evidence
        for the class is all 0.

    Raises
    ------
    ValueError
        If the model is not an image classifier, or the layer or a class does not exist.
    ShapeError
        If the model does not accept the images.

    Examples
    --------
    >>> from minidl import Input, Sequential, layers
    >>> model = Sequential([Input((4, 4, 1)), layers.Conv2D(2, 1), layers.Flatten(),
    ...                     layers.Dense(3, activation="softmax")])
    >>> grad_cam(model, np.ones((2, 4, 4, 1)), class_index=[0, 2]).shape
    (2, 4, 4)
    """
    images = _checked_images(model, images)
    features, head = _split(model, _feature_node(model, layer))
    classes = _classes_to_explain(model, images, class_index)
    parts = [
        _class_activation(features, head, images[i : i + BATCH_SIZE], classes[i : i + BATCH_SIZE])
        for i in range(0, len(images), BATCH_SIZE)
    ]
    maps = np.maximum(np.concatenate(parts) if parts else np.empty((0, 1, 1), np.float32), 0)
    maximum = maps.max(axis=(1, 2), keepdims=True, initial=0)
    maps = np.divide(maps, maximum, out=np.zeros_like(maps), where=maximum > 0)
    return _resized(maps, images.shape[1:3]) if resize else maps


def occlusion(
    model: Model,
    images: np.ndarray,
    class_index: ArrayLike | None = None,
    patch: int | None = None,
    stride: int | None = None,
    fill: float | None = None,
) -> np.ndarray:
    """Compute occlusion sensitivity: the drop of a class probability where a square is covered.

    Parameters
    ----------
    model, images, class_index
        As in :func:`grad_cam`.
    patch : int, optional
        Side of the square in pixels. Default: a fifth of the images' shorter side.
    stride : int, optional
        Distance between squares in pixels, at most `patch`. Default: half of `patch`.
    fill : float, optional
        Value of the covered pixels. Default: the mean of each image.

    Returns
    -------
    ndarray of float32, shape (N, H, W)
        Mean drop over all squares that cover a pixel; negative where covering raises the
        probability.

    Raises
    ------
    ValueError
        If `patch`, `stride` or `fill` is out of range; otherwise as :func:`grad_cam`.

    Examples
    --------
    >>> from minidl import Input, Sequential, layers
    >>> model = Sequential([Input((4, 4, 1)), layers.Flatten(), layers.Dense(1, "sigmoid")])
    >>> occlusion(model, np.ones((1, 4, 4, 1)), patch=2).shape
    (1, 4, 4)
    """
    images = _checked_images(model, images)
    height, width = images.shape[1:3]
    side = min(height, width)
    patch = check_integer(
        "occlusion", "patch", max(1, side // 5) if patch is None else patch, 1, side
    )
    # A stride above the side of the square would skip pixels.
    stride = check_integer(
        "occlusion", "stride", max(1, patch // 2) if stride is None else stride, 1, patch
    )
    fill = fill if fill is None else check_number("occlusion", "fill", fill)
    classes = _classes_to_explain(model, images, class_index)
    squares = [
        (slice(y, y + patch), slice(x, x + patch))
        for y in _starts(height, patch, stride)
        for x in _starts(width, patch, stride)
    ]
    cover_count = np.zeros((height, width), np.float32)
    for square in squares:
        cover_count[square] += 1
    maps = np.zeros((len(images), height, width), np.float32)
    for image, index, drops in zip(images, classes, maps, strict=True):
        before = probabilities(model, model.infer(image[None]))[0, index]
        for i in range(0, len(squares), BATCH_SIZE):
            batch = squares[i : i + BATCH_SIZE]
            covered = np.repeat(image[None], len(batch), axis=0)
            for copy, square in zip(covered, batch, strict=True):
                copy[square] = image.mean() if fill is None else fill
            after = probabilities(model, model.infer(covered))[:, index]
            for square, drop in zip(batch, before - after, strict=True):
                drops[square] += drop
    return maps / cover_count


def overlay(image: np.ndarray, heatmap: np.ndarray, opacity: float = 0.5) -> np.ndarray:
    """Blend an image with the colors of a map, from dark (0) to light (1).

    Parameters
    ----------
    image : ndarray, shape (H, W, 3) or (H, W, 1)
        Values from 0 to 255.
    heatmap : ndarray, shape (H, W)
        From :func:`grad_cam`, or from :func:`occlusion` divided by its maximum.
    opacity : float
        Opacity of the colors, 0 to 1.

    Returns
    -------
    ndarray of uint8, shape (H, W, 3)

    Raises
    ------
    ShapeError
        If the image has another shape, or the map another size.
    ValueError
        If the opacity is out of range, or the image or the map contains NaN or infinity.

    Examples
    --------
    >>> overlay(np.full((1, 2, 3), 100), np.array([[0, 1]]), opacity=1)[0].tolist()
    [[0, 0, 4], [252, 255, 164]]
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
        raise ValueError("overlay: expected finite numbers, received NaN or infinity")
    opacity = check_fraction("overlay", "opacity", opacity)
    stops = np.linspace(0, 1, len(COLOR_RAMP))
    colors = np.stack([np.interp(heatmap, stops, channel) for channel in COLOR_RAMP.T], axis=-1)
    blended = (1 - opacity) * image.astype(np.float64) + opacity * colors
    return np.rint(blended.clip(0, 255)).astype(np.uint8)


def _checked_images(model: Model, images: np.ndarray) -> np.ndarray:
    """Return the images in the model's dtype."""
    single = model.single_input and model.single_output
    if not single or len(model.input_shape) != 4 or len(model.output_shape) != 2:
        raise ValueError(
            f"{model.label}: expected a classifier of images, from (N, H, W, C) to (N, classes), "
            f"received one from {model.input_shape} to {model.output_shape}"
        )
    checked = model.check_inputs(images)[0]
    if not np.isfinite(checked).all():
        raise ValueError(f"{model.label}: expected finite images, received NaN or infinity")
    return checked


def _feature_node(model: Model, layer: str | None) -> int:
    """Return the index of the node whose channels Grad-CAM weights."""
    shapes = [tensor.shape for tensor in model.tensors]
    maps = [i for i, s in enumerate(shapes) if len(s) == 4 and i not in model.input_numbers]
    if layer is not None:
        index = model.node_number(layer)
        if index not in maps:
            raise ValueError(
                f"grad_cam: expected a layer with an output (N, h, w, channels), received "
                f"{layer!r} with {shapes[index]}"
            )
        return index
    maps = [i for i in maps if shapes[i][1:3] != (1, 1)]
    if not maps:
        raise ValueError(f"{model.label}: no layer has an output (N, h, w, channels) to explain")
    return maps[-1]


def _split(model: Model, index: int) -> tuple[Network, Network]:
    """Return the network up to a node and the network above it.

    The network above may read further tensors of the lower one, such as skip connections.
    """
    above = {index}
    for i, node in enumerate(model.nodes):
        if above.intersection(node.inputs):
            above.add(i)
    above.remove(index)
    if model.output_numbers[0] not in above:
        raise ValueError(
            f"grad_cam: the output of {model.label} does not depend on "
            f"{model.nodes[index].layer.name!r}"
        )
    read = {j for i in above for j in model.nodes[i].inputs} - above - {index}
    boundary = [model.tensors[i] for i in (index, *sorted(read))]
    head = LogitsNetwork(Network(boundary, model.output))
    return Network(model.input_tensors, boundary), head


def _class_activation(
    features: Network, head: Network, images: np.ndarray, classes: np.ndarray
) -> np.ndarray:
    """Return the channels' sum weighted by their mean gradients, shape (N, h, w)."""
    xs = features.infer([images])
    y, tape = head.forward(xs)
    dy = np.zeros_like(y)
    if y.shape[1] == 1:
        dy[:, 0] = np.where(classes == 1, 1, -1)
    else:
        dy[np.arange(len(y)), classes] = 1
    dxs, _ = head.backward(dy, tape)
    weights = dxs[0].mean(axis=(1, 2))  # (N, h, w, channels) -> (N, channels)
    return np.einsum("nhwc,nc->nhw", xs[0], weights).astype(np.float32)


def _classes_to_explain(
    model: Model, images: np.ndarray, class_index: ArrayLike | None
) -> np.ndarray:
    """Return one class index per image."""
    if class_index is None:
        parts = [
            predicted_classes(model, model.infer(images[i : i + BATCH_SIZE]))
            for i in range(0, len(images), BATCH_SIZE)
        ]
        return np.concatenate(parts) if parts else np.empty(0, np.int64)
    count = class_count(model)
    try:
        classes = np.asarray(class_index)
    except ValueError:  # rows of different lengths
        classes = np.empty(0)
    fits = classes.shape in ((), (len(images),)) and classes.dtype.kind in "iu"
    if not fits or ((classes < 0) | (classes >= count)).any():
        raise ValueError(
            f"class_index: expected one of 0 ... {count - 1}, or one for each of {len(images)} "
            f"images, received {class_index!r}"
        )
    return np.broadcast_to(classes, (len(images),))


def _starts(length: int, patch: int, stride: int) -> list[int]:
    """Return the first pixel of each square: every stride, and one that ends at the edge."""
    return sorted({*range(0, length - patch + 1, stride), length - patch})


def _resized(maps: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    from PIL import Image

    bilinear = Image.Resampling.BILINEAR
    resized = np.empty((len(maps), *size), np.float32)
    for target, heatmap in zip(resized, maps, strict=True):
        target[:] = Image.fromarray(heatmap).resize((size[1], size[0]), bilinear)
    return resized
