"""What VGG16, ResNet50 and InceptionV3 have in common around their layers.

A network file describes its layers in an :class:`Architecture`; :func:`assemble` checks the
arguments, puts the preprocessing before them, a classifier or a pooling behind them, and loads
the weights.

>>> from minidl.applications import VGG16
>>> VGG16(weights=None, include_top=False, until="block1_pool").output_shape
(None, None, None, 64)
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from minidl import layers
from minidl.applications import imagenet
from minidl.layers.base import Layer, Shape
from minidl.layers.names import layer_names
from minidl.layers.parameter import Parameter
from minidl.layers.symbolic import Input, SymbolicTensor
from minidl.models.model import Model

__all__ = ["Architecture", "assemble", "without_memory"]

POOLINGS = {"avg": layers.GlobalAveragePooling2D, "max": layers.GlobalMaxPooling2D}


@dataclass(frozen=True)
class Architecture:
    """The description of a network.

    Attributes
    ----------
    key : str
        Its name in the registry of weight files.
    body : callable
        ``body(x, conv)`` connects all layers up to the top to `x` and returns their output;
        `conv` is Conv2D.
    top : callable
        ``top(classes, activation, dense)`` returns the classifier's layers, of which each reads
        the one before; `dense` is Dense.
    default_size, minimum_size : int
        Height and width of the images.
    mode : str
        Of the preprocessing.
    features : (H, W, C)
        The body's output for images of the default size.
    pooling_names : dict
        How Keras calls the pooling layers, where they have names.
    any_size : bool
        Whether the top, too, takes images of any size by default.
    """

    key: str
    body: Callable[[SymbolicTensor, Callable[..., Layer]], SymbolicTensor]
    top: Callable[[int, Any, Callable[..., Layer]], list[Layer]]
    default_size: int
    minimum_size: int
    mode: str
    features: tuple[int, int, int]
    pooling_names: dict[str, str] = field(default_factory=dict)
    any_size: bool = False


def assemble(
    architecture: Architecture, weights, include_top: bool, input_shape, pooling: str | None,
    classes: int, classifier_activation, include_preprocessing: bool, until: str | None, name: str,
) -> Model:  # fmt: skip
    """Return the network that the arguments ask for; :func:`VGG16` explains them.

    Raises
    ------
    ValueError
        For arguments that are wrong or contradict one another.
    FileNotFoundError
        If there is no weight file of that name.
    FileFormatError
        If the weights are not those of this network.
    """
    conv, dense = layers.Conv2D, layers.Dense
    if weights is not None:
        conv, dense = without_memory(conv), without_memory(dense)
    top = architecture.top(classes, classifier_activation, dense)
    kept = _kept_top(name, top, include_top, until)
    _check_pooling(name, pooling, bool(kept))
    shape = _checked_shape(architecture, name, input_shape, bool(kept))
    if isinstance(weights, str) and weights == "imagenet":
        _check_imagenet(architecture, name, kept, shape, classes, classifier_activation)
    elif weights is not None:
        weights = _checked_path(name, weights)

    inputs = Input(shape)
    x = _preprocessing(architecture.mode)(inputs) if include_preprocessing else inputs
    x = architecture.body(x, conv)
    for layer in kept:
        x = layer(x)
    # All layers get their names here, so that a part of the network calls them as the whole does.
    whole = Model(inputs, x, name=name)
    if until is not None:
        x = _cut(whole, until)
    if pooling is not None:
        x = POOLINGS[pooling](name=architecture.pooling_names.get(pooling))(x)
    model = Model(inputs, x, name=name)

    if weights is not None and not model.weights:
        raise ValueError(f"{name}: until={until!r} leaves no layer with weights; cut higher up")
    if weights is not None:
        missing = top[len(kept) :]
        _build_apart(missing, whole.output_shape if kept else (None, *architecture.features))
        _load(architecture, model, weights, [*whole.layers, *missing])
        if classes == 1000 and model.layers[-1] is top[-1]:
            model.metadata["class_names"] = imagenet.class_names()
    return model


def without_memory(kind: type[Layer]) -> Callable[..., Layer]:
    """Return what makes layers of this class whose parameters take neither time nor memory.

    They have names and shapes: numbers that a file replaces are not worth drawing.
    """

    def make(*arguments, **options) -> Layer:
        layer = kind(*arguments, **options)
        layer.add_weight = partial(_add_empty_weight, layer)
        return layer

    return make


def _preprocessing(mode: str) -> Layer:
    layer = layers.ImageNetPreprocessing(mode, name="preprocessing")
    # Like a name that minidl chose itself, it gives way where two networks are joined.
    layer_names.keep(layer, layer.name)
    return layer


def _cut(whole: Model, until: str) -> SymbolicTensor:
    """Return the output of the layer called `until`."""
    names = [layer.name for layer in whole.layers]
    if until not in names:
        raise ValueError(
            f"{whole.name}: there is no layer {until!r} to cut the network at; "
            f"names like it: {_similar(until, names)}"
        )
    return whole.tap(until).output


def _similar(name: str, names: list[str]) -> str:
    close = difflib.get_close_matches(str(name), names, n=5, cutoff=0.4)
    return ", ".join(close or [names[0], "...", names[-1]])


def _kept_top(name: str, top: list[Layer], include_top: bool, until: str | None) -> list[Layer]:
    """Return the layers of the classifier that the network needs."""
    names = [layer.name for layer in top]
    if until in names and not include_top:
        raise ValueError(
            f"{name}: the layer {until!r} belongs to the top; pass include_top=True to cut there"
        )
    if until is None:
        return top if include_top else []
    return top[: names.index(until) + 1] if until in names else []


def _checked_shape(architecture: Architecture, name: str, shape, with_top: bool):
    """Return the shape of one image."""
    size, minimum = architecture.default_size, architecture.minimum_size
    with_top = with_top and not architecture.any_size
    if shape is None:
        return (size, size, 3) if with_top else (None, None, 3)
    sizes = shape[:2] if isinstance(shape, (tuple, list)) and len(shape) == 3 else [0]
    if not all(n is None or (_is_int(n) and n >= minimum) for n in sizes) or shape[2] != 3:
        raise ValueError(
            f"{name}: expected input_shape (height, width, 3) with a height and a width of at "
            f"least {minimum}, received {shape!r}"
        )
    if with_top and None in sizes:
        raise ValueError(
            f"{name}: the top needs images of a known size, received input_shape {shape!r}; "
            "pass numbers, or include_top=False"
        )
    return tuple(shape)


def _is_int(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _check_pooling(name: str, pooling: str | None, with_top: bool) -> None:
    if pooling not in (None, *POOLINGS):
        raise ValueError(f"{name}: expected pooling None, 'avg' or 'max', received {pooling!r}")
    if pooling is not None and with_top:
        raise ValueError(
            f"{name}: pooling={pooling!r} is for a network without its top; pass include_top=False "
            "or pooling=None"
        )


def _check_imagenet(architecture, name, kept, shape, classes, activation) -> None:
    """Refuse what the official weights cannot do, before anything is downloaded."""
    kept_names = [layer.name for layer in kept]
    size = architecture.default_size
    if "predictions" in kept_names and classes != 1000:
        raise ValueError(
            f"{name}: the ImageNet weights have 1000 classes, received classes={classes!r}; for "
            "classes of your own pass include_top=False and put a Dense layer on top"
        )
    if "predictions" in kept_names and activation not in (None, "linear", "softmax"):
        raise ValueError(
            f"{name}: the ImageNet weights were trained with softmax, received "
            f"classifier_activation={activation!r}; None gives the numbers before it"
        )
    if "fc1" in kept_names and shape != (size, size, 3):
        raise ValueError(
            f"{name}: the top of the ImageNet weights fits images of ({size}, {size}, 3) only, "
            f"received input_shape {shape!r}; pass include_top=False"
        )


def _checked_path(name: str, weights) -> Path:
    if not isinstance(weights, (str, Path)):
        raise TypeError(
            f"{name}: expected weights None, 'imagenet' or a path, received {weights!r}"
        )
    path = Path(weights).expanduser()
    if path.is_dir():
        raise IsADirectoryError(f"{name}: expected a weight file, found the folder {path}")
    if not path.is_file():
        raise FileNotFoundError(
            f"{name}: there is no weight file {str(path)!r}; pass None, 'imagenet' or the path of "
            "a file"
        )
    return path


def _load(architecture: Architecture, model: Model, weights, whole: list[Layer]) -> None:
    from minidl.formats.matching import load_weights

    if weights == "imagenet":
        from minidl.formats.downloads.registry import fetch

        # The larger file is only needed for the weights of the classifier.
        top = any(layer.parameters and isinstance(layer, layers.Dense) for layer in model.layers)
        weights = fetch(architecture.key if top else f"{architecture.key}-notop")
    load_weights(model, weights, whole=whole)
    for layer in model.layers:
        vars(layer).pop("add_weight", None)  # from here on a layer like any other


def _add_empty_weight(layer: Layer, name, shape, *arguments, trainable=True, **options):
    nothing = np.broadcast_to(np.float32(0), shape)
    layer.parameters.append(Parameter(name, nothing, trainable, layer=layer))
    return layer.parameters[-1]


def _build_apart(missing: list[Layer], shape: Shape) -> None:
    """Give the layers that were left out their parameters, for the importer to compare with."""
    for layer in missing:
        layer.ensure_built(shape)
        shape = layer.compute_output_shape(shape)
