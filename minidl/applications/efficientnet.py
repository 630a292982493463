"""EfficientNet: inverted residual blocks whose width and depth are scaled together.

Tan and Le (2019), EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks,
https://arxiv.org/abs/1905.11946 (table 1)

>>> from minidl import Input, layers
>>> from minidl.applications.efficientnet import Scaling, efficientnet_body
>>> efficientnet_body(Input((64, 64, 3)), layers.Conv2D, Scaling()).shape
(None, 2, 2, 1280)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from minidl import layers
from minidl.applications.mobile_blocks import MobileUnits, make_divisible
from minidl.applications.pretrained import LayerFactory
from minidl.layers.base import Layer
from minidl.layers.symbolic import SymbolicTensor

__all__ = ["Scaling", "classifier_with_dropout", "efficientnet_body"]

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
SWISH = partial(layers.Activation, "silu")
STEM, HEAD = 32, 1280  # channels of the first and the last convolution


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
    """

    width: float = 1.0
    depth: float = 1.0
    fixed_ends: bool = False
    activation: Callable[..., Layer] = SWISH

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
    units = MobileUnits(conv, scaling.activation)
    stem, head = scaling.channels(STEM, is_end=True), scaling.channels(HEAD, is_end=True)
    x = units.conv(x, stem, 3, 2, ("stem_conv", "stem_bn", "stem_activation"))
    for stage, (size, _, channels, expansion, stride) in enumerate(STAGES, start=1):
        for i in range(scaling.blocks(stage)):
            name = f"block{stage}{chr(ord('a') + i)}"
            strides = stride if i == 0 else 1
            x = _block(x, units, name, size, scaling.channels(channels), expansion, strides)
    return units.conv(x, head, 1, 1, ("top_conv", "top_bn", "top_activation"))


def _block(
    x: SymbolicTensor,
    units: MobileUnits,
    name: str,
    size: int,
    channels: int,
    expansion: int,
    strides: int,
) -> SymbolicTensor:
    """Append an inverted residual block: expand, filter each channel, project."""
    start, expanded = x, expansion * x.shape[-1]
    if expansion != 1:
        names = (f"{name}_expand_conv", f"{name}_expand_bn", f"{name}_expand_activation")
        x = units.conv(x, expanded, 1, 1, names)
    x = units.depthwise(x, size, strides, (f"{name}_dwconv", f"{name}_bn", f"{name}_activation"))
    x = units.conv(x, channels, 1, 1, (f"{name}_project_conv", f"{name}_project_bn", None))
    if strides == 1 and channels == start.shape[-1]:
        x = layers.Add(name=f"{name}_add")([x, start])
    return x


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
        dense(classes, activation=activation, name="predictions"),
    ]
