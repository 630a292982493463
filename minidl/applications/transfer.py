"""A classifier on a pretrained base.

>>> from minidl.applications import VGG16
>>> from minidl.applications.transfer import transfer_classifier
>>> base = VGG16(weights=None, include_top=False, input_shape=(64, 64, 3), until="block2_pool")
>>> model = transfer_classifier(base, classes=3)
>>> [layer.name for layer in model.layers[-3:]], base.trainable
(['global_average_pooling2d', 'dropout', 'dense'], False)
"""

from __future__ import annotations

from minidl import layers
from minidl.applications.small_cnn import augmentation, classification_layer
from minidl.models.model import Model
from minidl.models.sequential import Sequential

__all__ = ["transfer_classifier"]


def transfer_classifier(
    base: Model,
    classes: int = 2,
    dropout: float = 0.3,
    augment: bool = False,
    name: str | None = None,
) -> Sequential:
    """Return a frozen base with pooling, dropout and one dense layer on top.

    Parameters
    ----------
    base : Model
        Its output is (N, H, W, C) or (N, C). It is frozen.
    classes : int
        2 gives one sigmoid output, more a softmax.
    dropout : float
        Rate before the dense layer.
    augment : bool
        Vary the images in training (see :func:`minidl.applications.small_cnn.augmentation`).
    name : str, optional

    Returns
    -------
    Sequential

    Raises
    ------
    ValueError
        If the base's output has another rank.
    """
    rank = len(base.output_shape)
    if rank not in (2, 4):
        raise ValueError(
            f"{base.label}: expected a base with output (N, H, W, C) or (N, C), received "
            f"{base.output_shape}"
        )
    base.trainable = False
    pooling = [layers.GlobalAveragePooling2D()] if rank == 4 else []
    head = [*pooling, layers.Dropout(dropout), classification_layer(classes)]
    stack = [*(augmentation() if augment else []), base, *head]
    start = layers.Input(base.input_shape[1:])
    return Sequential([start, *stack], name=name)
