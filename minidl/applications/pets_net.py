"""PetsNet: a small residual network for cats and dogs, with weights trained by minidl.

The weights are part of the package: no download is needed. ``examples/09_pets_from_scratch.py``
trained them from random initial weights; ``weights/PETS.md`` describes the training data, the
accuracy and the limits.

>>> from minidl.applications import PetsNet
>>> model = PetsNet(weights=None)
>>> model.output_shape, model.count_params() < 1_500_000
((None, 1), True)

The blocks are those of He, Zhang, Ren and Sun (2015), https://arxiv.org/abs/1512.03385 (figure 2).
Where a block halves the image, average pooling precedes the projection of the shortcut (He et al.
2019, "Bag of Tricks", https://arxiv.org/abs/1812.01187, ResNet-D).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from minidl import layers
from minidl.applications.pretrained import Architecture, LayerFactory, NetworkOptions, assemble
from minidl.applications.small_cnn import classification_layer
from minidl.formats.file_errors import StrPath
from minidl.layers.base import Layer
from minidl.layers.symbolic import SymbolicTensor
from minidl.models.model import Model

__all__ = ["CLASS_NAMES", "IMAGE_SIZE", "PetsNet", "pets_file"]

CLASS_NAMES = ["cats", "dogs"]
IMAGE_SIZE = 128
# Channels and blocks of each stage; the first block of a stage halves height and width.
STAGES = {"stage1": (64, 1), "stage2": (128, 2), "stage3": (192, 1)}


def PetsNet(
    weights: StrPath | None = "pets",
    include_top: bool = True,
    input_shape: tuple[int | None, int | None, int] | None = None,
    pooling: str | None = None,
    classes: int = 2,
    classifier_activation: Any = "auto",
    *,
    include_preprocessing: bool = True,
    until: str | None = None,
    name: str = "pets_net",
) -> Model:
    """Return the network, by default with its weights for photos of cats and dogs.

    The parameters are those of :func:`~minidl.applications.VGG16`, with these differences:

    Parameters
    ----------
    weights : {"pets"}, path or None
        "pets": the weights that ship with minidl; None: random weights.
    include_top : bool
    input_shape : (H, W, 3), optional
        By default images of any size from 32x32; the weights were trained on 128x128.
    pooling : {None, "avg", "max"}
        Without the top: None gives features (N, H/16, W/16, 192), the others (N, 192).
    classes : int
        2 gives one output, the probability of the second class.
    classifier_activation : str or None
        "auto": sigmoid for 2 classes, otherwise softmax. None gives the logits.
    include_preprocessing : bool
        True: images are raw RGB (0-255). False: they are scaled to -1..1.
    until : str, optional
        The last layer of a block has a name such as "stage2_block2_out".
    name : str

    Returns
    -------
    Model
        Its ``metadata["class_names"]`` are "cats" and "dogs" if it classifies with their weights.

    Raises
    ------
    ValueError
        For arguments that are wrong or contradict one another.
    FileNotFoundError
        If the weight file does not exist.
    FileFormatError
        If the file's weights are not those of this network.

    Examples
    --------
    >>> from minidl.applications import PetsNet
    >>> PetsNet(weights=None, include_top=False, pooling="avg").output_shape
    (None, 192)
    """
    is_shipped = isinstance(weights, str) and weights == "pets"
    if is_shipped and include_top and classes != 2:
        raise ValueError(
            f"{name}: the weights of cats and dogs have 2 classes, received classes={classes!r}; "
            "for other classes pass include_top=False and add a Dense layer"
        )
    options = NetworkOptions(
        pets_file() if is_shipped else weights,
        include_top,
        input_shape,
        pooling,
        classes,
        classifier_activation,
        include_preprocessing,
        until,
        name,
    )
    model = assemble(ARCHITECTURE, options)
    model.metadata["image_size"] = [IMAGE_SIZE, IMAGE_SIZE]
    if is_shipped and model.layers[-1].name == "predictions":
        model.metadata["class_names"] = list(CLASS_NAMES)
    return model


def pets_file() -> Path:
    """Return the path of the trained weights, in the package or beside it in a checkout.

    Raises
    ------
    FileNotFoundError
        If they are not installed.
    """
    package = Path(__file__).parents[1]
    candidates = [package / "weights" / "pets.h5", package.parent / "weights" / "pets.h5"]
    found = next((place for place in candidates if place.is_file()), None)
    if found is None:
        raise FileNotFoundError(
            f"PetsNet: the weight file {candidates[0]} is missing; reinstall minidl, or pass "
            "weights=None or a file"
        )
    return found


def _body(x: SymbolicTensor, conv: LayerFactory) -> SymbolicTensor:
    x = _normalized(conv(32, 3, strides=2, name="stem_conv", **CONVOLUTION)(x), "stem")
    x = layers.ReLU(name="stem_relu")(x)
    for stage, (channels, blocks) in STAGES.items():
        for i in range(1, blocks + 1):
            x = _block(x, conv, channels, f"{stage}_block{i}", halve=i == 1)
    return x


def _block(
    x: SymbolicTensor, conv: LayerFactory, channels: int, name: str, halve: bool
) -> SymbolicTensor:
    """Append a residual block; if it halves the image, its shortcut is a projection."""
    shortcut = x
    if halve:
        shortcut = layers.AveragePooling2D(2, padding="same", name=f"{name}_0_pool")(x)
        shortcut = conv(channels, 1, name=f"{name}_0_conv", **CONVOLUTION)(shortcut)
        shortcut = _normalized(shortcut, f"{name}_0")
    x = conv(channels, 3, strides=2 if halve else 1, name=f"{name}_1_conv", **CONVOLUTION)(x)
    x = layers.ReLU(name=f"{name}_1_relu")(_normalized(x, f"{name}_1"))
    x = conv(channels, 3, name=f"{name}_2_conv", **CONVOLUTION)(x)
    x = layers.Add(name=f"{name}_add")([shortcut, _normalized(x, f"{name}_2")])
    return layers.ReLU(name=f"{name}_out")(x)


def _normalized(x: SymbolicTensor, name: str) -> SymbolicTensor:
    return layers.BatchNormalization(momentum=0.9, name=f"{name}_bn")(x)


def _top(classes: int, activation: Any, dense: LayerFactory) -> list[Layer]:
    last = classification_layer(classes, dense, activation=activation, name="predictions")
    return [layers.GlobalAveragePooling2D(name="avg_pool"), layers.Dropout(0.2), last]


CONVOLUTION = {"padding": "same", "use_bias": False, "kernel_initializer": "he_normal"}
ARCHITECTURE = Architecture(
    key="pets",
    body=_body,
    top=_top,
    default_size=IMAGE_SIZE,
    minimum_size=32,
    mode="tf",
    features=(8, 8, 192),
    pooling_names={"avg": "avg_pool", "max": "max_pool"},
    any_size=True,
)
