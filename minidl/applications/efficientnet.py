"""EfficientNet: inverted residual blocks whose width and depth are scaled together.

Tan and Le (2019), EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks,
https://arxiv.org/abs/1905.11946 (table 1)

>>> from minidl.applications import EfficientNetB0
>>> EfficientNetB0(weights=None, include_top=False, pooling="avg").count_params()
4049571
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from minidl import layers
from minidl.applications.mobile_blocks import MobileUnits, make_divisible
from minidl.applications.pretrained import Architecture, LayerFactory, NetworkOptions, assemble
from minidl.formats.file_errors import StrPath
from minidl.layers.base import Layer
from minidl.layers.initializers import VarianceScaling
from minidl.layers.names import layer_names
from minidl.layers.symbolic import SymbolicTensor
from minidl.models.model import Model

__all__ = ["EfficientNetB0", "Scaling", "classifier_with_dropout", "efficientnet_body"]

# Kernel size, number of blocks, output channels, expansion factor, stride of the first block.
STAGES = (
    (3, 1, 16, 1, 1),
    (3, 2, 24, 6, 2),
    (5, 2, 40, 6, 2),
    (3, 3, 80, 6, 2),
    (5, 3, 112, 6, 1),
    (5, 4, 192, 6, 2),
    (3, 1, 320, 6, 1),
)
SWISH = partial(layers.Activation, "swish")
STEM, HEAD = 32, 1280  # channels of the first and the last convolution
INITIALIZER = VarianceScaling(2.0, "fan_out", "truncated_normal")
# ImageNet's colors, from 0 to 1.
MEAN, DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def EfficientNetB0(
    weights: StrPath | None = "imagenet",
    include_top: bool = True,
    input_shape: tuple[int | None, int | None, int] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: Any = "softmax",
    *,
    include_preprocessing: bool = True,
    until: str | None = None,
    name: str = "efficientnetb0",
) -> Model:
    """Return the network of 0.4 billion multiply-adds, by default with its ImageNet weights.

    The parameters are those of :func:`~minidl.applications.VGG16`. As in Keras, the preprocessing
    has parameters: a Normalization, which is the identity without weights.

    Parameters
    ----------
    weights : {"imagenet"}, path or None
    include_top : bool
    input_shape : (H, W, 3), optional
        For images whose size is unknown, the layers pad as for even sizes.
    pooling : {None, "avg", "max"}
    classes : int
    classifier_activation : str or None
    include_preprocessing : bool
        False: the images are preprocessed by ``imagenet.preprocess_input(x, mode="torch")``.
    until : str, optional
        The last layer of a block has a name such as "block6c_add" or "block6a_project_bn".
    name : str

    Returns
    -------
    Model

    Raises
    ------
    ValueError
        For arguments that are wrong or contradict one another.
    FileNotFoundError
        If the weight file does not exist.
    FileFormatError
        If the file's weights are not those of this network.

    Notes
    -----
    Keras' official files hold standard deviations in the place of the variances, and Keras divides
    twice by their roots. Here they are squared when they are loaded.

    Examples
    --------
    >>> EfficientNetB0(weights=None, include_top=False, until="block4a_project_bn").output_shape
    (None, None, None, 80)
    """
    options = NetworkOptions(
        weights,
        include_top,
        input_shape,
        pooling,
        classes,
        classifier_activation,
        include_preprocessing,
        until,
        name,
    )
    return assemble(ARCHITECTURE, options)


@dataclass(frozen=True)
class Scaling:
    """What distinguishes the members of the family.

    Attributes
    ----------
    width, depth : float
        Factors on the numbers of channels and of blocks.
    fixed_ends : bool
        Leave stem, head, and the depth of the first and the last stage unscaled.
    activation : callable
        ``activation(name=...)`` returns the layer of the activation.
    squeeze : float
        Channels inside squeeze-and-excitation as a fraction of the block's input; 0 leaves it out.
    drop_rate : float
        Stochastic depth (Huang et al., 2016, https://arxiv.org/abs/1603.09382): rate at which
        training skips the last block; it grows linearly over the blocks. 0 leaves it out.
    pads_separately : bool
        Whether layers of their own pad before strides of 2, as in Keras' networks.
    """

    width: float = 1.0
    depth: float = 1.0
    fixed_ends: bool = False
    activation: Callable[..., Layer] = SWISH
    squeeze: float = 0.25
    drop_rate: float = 0.2
    pads_separately: bool = True

    def channels(self, channels: int, is_end: bool = False) -> int:
        """Return a scaled number of channels, a multiple of 8."""
        return channels if is_end and self.fixed_ends else make_divisible(channels * self.width)

    def blocks(self, stage: int) -> int:
        """Return the number of blocks of a stage, counted from 1."""
        blocks = STAGES[stage - 1][1]
        is_end = stage in (1, len(STAGES))
        return blocks if is_end and self.fixed_ends else math.ceil(blocks * self.depth)


def efficientnet_body(x: SymbolicTensor, conv: LayerFactory, scaling: Scaling) -> SymbolicTensor:
    """Append stem, blocks and head.

    Parameters
    ----------
    x : SymbolicTensor
    conv : callable
        Creates Conv2D layers.
    scaling : Scaling

    Returns
    -------
    SymbolicTensor
    """
    units = MobileUnits(conv, scaling.activation, initializer=INITIALIZER)
    stem, head = scaling.channels(STEM, is_end=True), scaling.channels(HEAD, is_end=True)
    pad_name = "stem_conv_pad" if scaling.pads_separately else None
    x = units.conv(x, stem, 3, 2, ("stem_conv", "stem_bn", "stem_activation"), pad_name=pad_name)
    depth = sum(scaling.blocks(stage) for stage in range(1, len(STAGES) + 1))
    number = 0
    for stage, (size, _, channels, expansion, stride) in enumerate(STAGES, start=1):
        for i in range(scaling.blocks(stage)):
            block = _Block(
                name=f"block{stage}{chr(ord('a') + i)}_",
                size=size,
                channels=scaling.channels(channels),
                expansion=expansion,
                strides=stride if i == 0 else 1,
                drop_rate=scaling.drop_rate * number / depth,
            )
            x = block.append_to(x, units, scaling)
            number += 1
    return units.conv(x, head, 1, 1, ("top_conv", "top_bn", "top_activation"))


@dataclass(frozen=True)
class _Block:
    """An inverted residual block: expand, filter each channel, gate, project."""

    name: str
    size: int
    channels: int
    expansion: int
    strides: int
    drop_rate: float

    def append_to(self, x: SymbolicTensor, units: MobileUnits, scaling: Scaling) -> SymbolicTensor:
        name, start = self.name, x
        if self.expansion != 1:
            names = (f"{name}expand_conv", f"{name}expand_bn", f"{name}expand_activation")
            x = units.conv(x, self.expansion * x.shape[-1], 1, 1, names)
        names = (f"{name}dwconv", f"{name}bn", f"{name}activation")
        pad_name = f"{name}dwconv_pad" if scaling.pads_separately else None
        x = units.depthwise(x, self.size, self.strides, names, pad_name)
        if scaling.squeeze:
            x = self._gate(x, units, max(1, int(start.shape[-1] * scaling.squeeze)))
        x = units.conv(x, self.channels, 1, 1, (f"{name}project_conv", f"{name}project_bn", None))
        if self.strides == 1 and self.channels == start.shape[-1]:
            if self.drop_rate > 0:
                x = layers.Dropout(self.drop_rate, (None, 1, 1, 1), name=f"{name}drop")(x)
            x = layers.Add(name=f"{name}add")([x, start])
        return x

    def _gate(self, x: SymbolicTensor, units: MobileUnits, squeezed: int) -> SymbolicTensor:
        name, channels = f"{self.name}se_", x.shape[-1]
        gate = layers.GlobalAveragePooling2D(name=f"{name}squeeze")(x)
        gate = layers.Reshape((1, 1, channels), name=f"{name}reshape")(gate)
        gate = units.gate(gate, squeezed, "swish", f"{name}reduce")
        gate = units.gate(gate, channels, "sigmoid", f"{name}expand")
        return layers.Multiply(name=f"{name}excite")([x, gate])


def classifier_with_dropout(
    classes: int, activation: Any, dense: LayerFactory, rate: float
) -> list[Layer]:
    """Return global average pooling, dropout and one dense layer.

    Parameters
    ----------
    classes : int
    activation : str or None
    dense : callable
        Creates Dense layers.
    rate : float
        Fraction of the features that training drops.
    """
    return [
        layers.GlobalAveragePooling2D(name="avg_pool"),
        layers.Dropout(rate, name="top_dropout"),
        dense(
            classes,
            activation=activation,
            kernel_initializer=VarianceScaling(1 / 3, "fan_out", "uniform"),
            name="predictions",
        ),
    ]


def _preprocessing() -> list[Layer]:
    """Return Keras' preprocessing, of which files hold the statistics."""
    rescaling, normalization = layers.Rescaling(1 / 255), layers.Normalization()
    layer_names.keep(rescaling, "rescaling")
    layer_names.keep(normalization, "normalization")
    return [rescaling, normalization]


def _square_deviations(model: Model) -> None:
    """Replace the standard deviations in official files by variances."""
    for layer in model.layers:
        if isinstance(layer, layers.Normalization):
            mean, variance, count = layer.get_weights()
            if np.allclose(mean, MEAN, atol=1e-3) and np.allclose(variance, DEVIATION, atol=1e-3):
                layer.set_weights([mean, variance**2, count])


ARCHITECTURE = Architecture(
    key="efficientnetb0",
    body=partial(efficientnet_body, scaling=Scaling()),
    top=partial(classifier_with_dropout, rate=0.2),
    default_size=224,
    minimum_size=32,
    mode="torch",
    features=(7, 7, 1280),
    pooling_names={"avg": "avg_pool", "max": "max_pool"},
    preprocessing=_preprocessing,
    after_loading=_square_deviations,
)
