"""Assembly of the pretrained networks: options, preprocessing, classifier and weights.

A network file describes its layers in an :class:`Architecture`. :func:`assemble` checks the
:class:`NetworkOptions`, adds preprocessing and a classifier or pooling, and loads the weights.

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
from typing import Any, cast

import numpy as np

from minidl import layers
from minidl.applications import imagenet
from minidl.common.argument_checks import check_choice
from minidl.formats.file_errors import StrPath, check_file
from minidl.layers.base import Layer, Shape
from minidl.layers.names import layer_names
from minidl.layers.parameter import Parameter
from minidl.layers.symbolic import Input, SymbolicTensor
from minidl.models.model import Model

__all__ = [
    "Architecture",
    "LayerFactory",
    "NetworkOptions",
    "assemble",
    "pooled_top",
    "without_memory",
]

POOLINGS = {"avg": layers.GlobalAveragePooling2D, "max": layers.GlobalMaxPooling2D}

# Layers of the classifiers that have parameters.
TOP_NAMES = {"fc1", "fc2", "predictions", "conv_2", "logits"}

LayerFactory = Callable[..., Layer]  # takes the arguments of a layer class


@dataclass(frozen=True)
class Architecture:
    """The description of a network.

    Attributes
    ----------
    key : str
        Name in the registry of weight files.
    body : callable
        ``body(x, conv)`` connects all layers below the top to `x` and returns their output;
        `conv` creates Conv2D layers.
    top : callable
        ``top(classes, activation, dense)`` returns the layers of the classifier in order;
        `dense` creates Dense layers.
    default_size, minimum_size : int
        Height and width of the images in pixels.
    mode : {"caffe", "tf", "torch", "lite"}
        Mode of :class:`~minidl.layers.ImageNetPreprocessing`.
    features : (H, W, C)
        Output shape of the body for images of the default size.
    pooling_names : dict of str to str
        Keras' names of the pooling layers by pooling, where they have names.
    any_size : bool
        Whether the network with its top accepts images of any size by default.
    preprocessing : callable, optional
        Returns the layers of a preprocessing with parameters in order; it replaces `mode`.
    after_loading : callable, optional
        ``after_loading(model)`` adapts loaded weights.
    """

    key: str
    body: Callable[[SymbolicTensor, LayerFactory], SymbolicTensor]
    top: Callable[[int, Any, LayerFactory], list[Layer]]
    default_size: int
    minimum_size: int
    mode: str
    features: tuple[int, int, int]
    pooling_names: dict[str, str] = field(default_factory=dict)
    any_size: bool = False
    preprocessing: Callable[[], list[Layer]] | None = None
    after_loading: Callable[[Model], None] | None = None

    def preprocessing_layers(self) -> list[Layer]:
        """Return the layers that turn raw RGB images into the input of the body."""
        if self.preprocessing is not None:
            return self.preprocessing()
        layer = layers.ImageNetPreprocessing(self.mode)
        layer_names.keep(layer, "preprocessing")
        return [layer]


@dataclass(frozen=True)
class NetworkOptions:
    """The arguments that all networks share; :func:`~minidl.applications.VGG16` documents them."""

    weights: StrPath | None
    include_top: bool
    input_shape: tuple[int | None, int | None, int] | None
    pooling: str | None
    classes: int
    classifier_activation: Any
    include_preprocessing: bool
    until: str | None
    name: str

    def kept_top(self, top: list[Layer]) -> list[Layer]:
        """Return the layers of the classifier that the network needs."""
        names = [layer.name for layer in top]
        if self.until in names and not self.include_top:
            raise ValueError(
                f"{self.name}: the layer {self.until!r} belongs to the top; pass include_top=True "
                "to cut there"
            )
        if self.until is None:
            return top if self.include_top else []
        return top[: names.index(self.until) + 1] if self.until in names else []

    def image_shape(self, architecture: Architecture, with_top: bool) -> Shape:
        """Return the shape of one image, checked."""
        size, minimum = architecture.default_size, architecture.minimum_size
        with_top = with_top and not architecture.any_size
        shape = self.input_shape
        if shape is None:
            return (size, size, 3) if with_top else (None, None, 3)
        sizes = shape[:2] if isinstance(shape, (tuple, list)) and len(shape) == 3 else ("",)
        if not all(n is None or _is_size(n, minimum) for n in sizes) or shape[2] != 3:
            raise ValueError(
                f"{self.name}: expected input_shape (height, width, 3) with a height and a width "
                f"of at least {minimum}, received {shape!r}"
            )
        if with_top and None in sizes:
            raise ValueError(
                f"{self.name}: the top needs images of a known size, received input_shape "
                f"{shape!r}; pass numbers, or include_top=False"
            )
        return tuple(shape)

    def check_pooling(self, with_top: bool) -> None:
        """Refuse an unknown pooling, and pooling before the classifier."""
        check_choice(self.name, "pooling", self.pooling, (None, *POOLINGS))
        if self.pooling is not None and with_top:
            raise ValueError(
                f"{self.name}: pooling={self.pooling!r} is for a network without its top; pass "
                "include_top=False or pooling=None"
            )

    def check_weights(self, kept: list[Layer], shape: Shape, size: int) -> None:
        """Check `weights` before anything is downloaded or built."""
        if isinstance(self.weights, str) and self.weights == "imagenet":
            self._check_imagenet([layer.name for layer in kept], shape, size)
        elif self.weights is not None:
            if not isinstance(self.weights, (str, Path)):
                raise TypeError(
                    f"{self.name}: expected weights None, 'imagenet' or a path, received "
                    f"{self.weights!r}"
                )
            try:
                check_file(Path(self.weights).expanduser())
            except OSError as error:
                raise type(error)(
                    f"{self.name}: expected weights None, 'imagenet' or a weight file; {error}"
                ) from None

    def _check_imagenet(self, kept: list[str], shape: Shape, size: int) -> None:
        """Refuse what the official weights do not support."""
        has_classes = "predictions" in kept or "logits" in kept
        if has_classes and self.classes != 1000:
            raise ValueError(
                f"{self.name}: the ImageNet weights have 1000 classes, received "
                f"classes={self.classes!r}; for other classes pass include_top=False and add a "
                "Dense layer"
            )
        if "predictions" in kept and self.classifier_activation not in (None, "linear", "softmax"):
            raise ValueError(
                f"{self.name}: the ImageNet weights were trained with softmax, received "
                f"classifier_activation={self.classifier_activation!r}; None gives the logits"
            )
        if "fc1" in kept and shape != (size, size, 3):
            raise ValueError(
                f"{self.name}: the top of the ImageNet weights fits images of ({size}, {size}, 3) "
                f"only, received input_shape {shape!r}; pass include_top=False"
            )


def assemble(architecture: Architecture, options: NetworkOptions) -> Model:
    """Return the network for the given options.

    Parameters
    ----------
    architecture : Architecture
    options : NetworkOptions

    Returns
    -------
    Model

    Raises
    ------
    ValueError
        For options that are wrong or contradict one another.
    FileNotFoundError
        If the weight file does not exist.
    FileFormatError
        If the weights are not those of this network.
    """
    conv: LayerFactory = layers.Conv2D
    dense: LayerFactory = layers.Dense
    if options.weights is not None:
        conv, dense = without_memory(conv), without_memory(dense)
    top = architecture.top(options.classes, options.classifier_activation, dense)
    kept = options.kept_top(top)
    options.check_pooling(bool(kept))
    shape = options.image_shape(architecture, bool(kept))
    options.check_weights(kept, shape, architecture.default_size)

    inputs = x = Input(shape)
    preprocessing = architecture.preprocessing_layers()
    for layer in preprocessing if options.include_preprocessing else []:
        x = layer(x)
    x = architecture.body(x, conv)
    for layer in kept:
        x = layer(x)
    # All layers are named here, so that a part of the network has the names of the whole.
    whole = Model(inputs, x, name=options.name)
    if options.until is not None:
        x = _cut(whole, options.until)
    if options.pooling is not None:
        x = POOLINGS[options.pooling](name=architecture.pooling_names.get(options.pooling))(x)
    model = Model(inputs, x, name=options.name)
    if options.weights is not None:
        left_out = top[len(kept) :]
        _build(left_out, whole.output_shape if kept else (None, *architecture.features))
        if not options.include_preprocessing:
            _build(preprocessing, (None, *shape))
            left_out += preprocessing
        _load(architecture, model, options, [*whole.layers, *left_out])
        if options.classes == 1000 and model.layers[-1] is top[-1]:
            model.metadata["class_names"] = imagenet.class_names()
    return model


def pooled_top(classes: int, activation: Any, dense: LayerFactory) -> list[Layer]:
    """Return global average pooling and one dense layer: the top of most networks."""
    return [
        layers.GlobalAveragePooling2D(name="avg_pool"),
        dense(classes, activation=activation, name="predictions"),
    ]


def _build(left_out: list[Layer], shape: Shape) -> None:
    """Build layers that the network leaves out, because a weight file may have their tensors."""
    for layer in left_out:
        layer.ensure_built(shape)
        shape = layer.compute_output_shape(shape)


def without_memory(kind: LayerFactory) -> LayerFactory:
    """Return a factory of layers whose parameters have names and shapes, but no memory.

    Drawing random numbers that a weight file replaces would waste time.
    """

    def create(*arguments: Any, **options: Any) -> Layer:
        layer = kind(*arguments, **options)
        vars(layer)["add_weight"] = partial(_add_empty_weight, layer)
        return layer

    return create


def _add_empty_weight(
    layer: Layer,
    name: str,
    shape: tuple[int, ...],
    *arguments: Any,
    trainable: bool = True,
    **options: Any,
) -> Parameter:
    empty = np.zeros(shape, np.float32)  # the system provides its memory when it is written
    layer.parameters.append(Parameter(name, empty, trainable, layer=layer))
    return layer.parameters[-1]


def _cut(whole: Model, until: str) -> SymbolicTensor:
    """Return the output of the layer called `until`."""
    names = [layer.name for layer in whole.layers]
    if until not in names:
        close = difflib.get_close_matches(str(until), names, n=5, cutoff=0.4)
        raise ValueError(
            f"{whole.name}: there is no layer {until!r} to cut the network at; similar names: "
            f"{', '.join(close or [names[0], '...', names[-1]])}"
        )
    return cast(SymbolicTensor, whole.tap(until).output)  # a single output


def _is_size(n: Any, minimum: int) -> bool:
    return isinstance(n, (int, np.integer)) and not isinstance(n, bool) and int(n) >= minimum


def _load(
    architecture: Architecture, model: Model, options: NetworkOptions, whole: list[Layer]
) -> None:
    """Load the weights into a model that is a part of the layers `whole`."""
    from minidl.formats.matching import load_weights

    if not model.weights:
        raise ValueError(
            f"{options.name}: until={options.until!r} leaves no layer with weights; cut at a later "
            "layer"
        )
    path = cast(StrPath, options.weights)  # not None
    if path == "imagenet":
        from minidl.formats.downloads.registry import fetch

        # Only the weights of the classifier need the larger file.
        top = any(layer.parameters and layer.name in TOP_NAMES for layer in model.layers)
        path = fetch(architecture.key if top else f"{architecture.key}-notop")
    load_weights(model, path, whole=whole)
    if architecture.after_loading is not None:
        architecture.after_loading(model)
    for layer in model.layers:
        vars(layer).pop("add_weight", None)  # from here on, an ordinary layer
