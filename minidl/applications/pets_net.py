"""PetsNet: a small residual network for cats and dogs, with the weights that minidl trained.

Its weights are part of the package: no download, no network access. ``examples/
09_pets_from_scratch.py`` trained them, from random numbers; ``weights/PETS.md`` says on what,
how well they do, and what they were never shown.

>>> from minidl.applications import PetsNet
>>> model = PetsNet(weights=None)
>>> model.output_shape, model.count_params() < 1_500_000
((None, 1), True)

The blocks are those of He, Zhang, Ren and Sun (2015), https://arxiv.org/abs/1512.03385 (figure 2),
with the shortcut averaged where the image is halved (He and others, 2019, "Bag of Tricks",
https://arxiv.org/abs/1812.01187, ResNet-D).
"""

from __future__ import annotations

from pathlib import Path

from minidl import layers
from minidl.applications.pretrained import Architecture, assemble
from minidl.models.model import Model

__all__ = ["CLASS_NAMES", "IMAGE_SIZE", "PetsNet", "pets_file"]

CLASS_NAMES = ["cats", "dogs"]
IMAGE_SIZE = 128
# Channels and blocks of each stage; the first block of a stage halves height and width.
STAGES = {"stage1": (64, 1), "stage2": (128, 2), "stage3": (192, 1)}


def PetsNet(
    weights="pets", include_top=True, input_shape=None, pooling=None, classes=2, *,
    include_preprocessing=True, until=None, name="pets_net",
) -> Model:  # fmt: skip
    """Return the network, by default as it was trained on photos of cats and dogs.

    Parameters
    ----------
    weights : {"pets"}, path or None
        Those that come with minidl; a file; or random numbers.
    include_top : bool
        Whether the classifier is there. Without it, the network is a base for transfer learning.
    input_shape : (H, W, 3), optional
        By default images of any size from 32x32; it knows those of 128x128 best.
    pooling : {None, "avg", "max"}
        Without the top: None ends in a map (N, H/16, W/16, 192), the others in rows (N, 192).
    classes : int
        2 gives one sigmoid output (the probability of the second class), more a softmax.
    include_preprocessing : bool
        True: images are raw RGB, 0-255. False: they are scaled to -1..1 already.
    until : str, optional
        Cut the network there; a block's last layer is called "stage2_block2_out".
    name : str

    Raises
    ------
    ValueError
        For arguments that are wrong or contradict one another.
    FileNotFoundError
        If there is no weight file of that name.
    FileFormatError
        If the file's weights are not those of this network.

    Examples
    --------
    >>> from minidl.applications import PetsNet
    >>> PetsNet(weights=None, include_top=False, pooling="avg").output_shape
    (None, 192)
    """
    shipped = isinstance(weights, str) and weights == "pets"
    if shipped and include_top and classes != 2:
        raise ValueError(
            f"{name}: the weights of cats and dogs have 2 classes, received classes={classes!r}; "
            "for classes of your own pass include_top=False and put a Dense layer on top"
        )
    model = assemble(
        ARCHITECTURE, pets_file() if shipped else weights, include_top, input_shape, pooling,
        classes, None, include_preprocessing, until, name,
    )  # fmt: skip
    model.metadata["image_size"] = [IMAGE_SIZE, IMAGE_SIZE]
    if shipped and model.layers[-1].name == "predictions":
        model.metadata["class_names"] = list(CLASS_NAMES)
    return model


def pets_file() -> Path:
    """Return where the trained weights lie: in the package, or beside it in a checkout.

    Raises
    ------
    FileNotFoundError
        If the installation lacks them.
    """
    package = Path(__file__).parents[1]
    places = [package / "weights" / "pets.h5", package.parent / "weights" / "pets.h5"]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise FileNotFoundError(
            f"the weights of PetsNet are missing in this installation (looked for {places[0]}); "
            "install minidl anew, or pass weights=None or a file"
        )
    return found


def _body(x, conv):
    x = _normalized(conv(32, 3, strides=2, name="stem_conv", **CONVOLUTION)(x), "stem")
    x = layers.ReLU(name="stem_relu")(x)
    for stage, (channels, blocks) in STAGES.items():
        for i in range(1, blocks + 1):
            x = _block(x, conv, channels, f"{stage}_block{i}", halve=i == 1)
    return x


def _block(x, conv, channels, name, halve):
    """Add two convolutions, and around them `x` itself or, where it is halved, a projection."""
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


def _normalized(x, name):
    return layers.BatchNormalization(momentum=0.9, name=f"{name}_bn")(x)


def _top(classes, activation, dense):
    if classes == 2:
        last = dense(1, activation="sigmoid", name="predictions")
    else:
        last = dense(classes, activation="softmax", name="predictions")
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
