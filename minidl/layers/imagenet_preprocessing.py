"""ImageNetPreprocessing: the input normalization of networks pretrained on ImageNet.

>>> import numpy as np
>>> from minidl.layers import ImageNetPreprocessing
>>> ImageNetPreprocessing("tf")(np.array([[0, 127.5, 255]]))
array([[-1.,  0.,  1.]])
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.common.argument_checks import check_choice
from minidl.common.errors import ShapeError
from minidl.layers.base import Gradients, Layer, Output, Rng, Shape
from minidl.layers.capabilities import Capabilities
from minidl.layers.preprocessing import float_dtype, scale_channels

__all__ = ["ImageNetPreprocessing"]


# (divisor, shift) of y = x / divisor - shift, for each channel of the output.
CONSTANTS = {
    "caffe": ([1, 1, 1], [103.939, 116.779, 123.68]),
    "tf": ([127.5, 127.5, 127.5], [1, 1, 1]),
    # Equal to (x / 255 - mean) / deviation.
    "torch": (
        [255 * 0.229, 255 * 0.224, 255 * 0.225],
        [0.485 / 0.229, 0.456 / 0.224, 0.406 / 0.225],
    ),
    "lite": ([128, 128, 128], [127 / 128] * 3),
}


class ImageNetPreprocessing(Layer):
    """Convert RGB values (0..255) to the input that a pretrained network expects.

    A network that receives another network's normalization runs, but predicts badly.

    Parameters
    ----------
    mode : {"caffe", "tf", "torch", "lite"}
        "caffe": channel order BGR, minus the mean color of ImageNet (VGG16, ResNet50);
        "tf": from -1 to 1 (InceptionV3);
        "torch": from 0 to 1, then mean 0 and standard deviation 1 over ImageNet;
        "lite": ``(x - 127) / 128`` (EfficientNet-Lite).
    **kwargs
        See :class:`Layer`.

    Raises
    ------
    ValueError
        For another mode.
    ShapeError
        When called: if the last axis does not have 3 channels.

    Examples
    --------
    >>> import numpy as np
    >>> ImageNetPreprocessing("caffe")(np.zeros((1, 1, 3))).ravel()
    array([-103.939, -116.779, -123.68 ])
    """

    capabilities = Capabilities(ignores_training=True, independent_samples=True)

    def __init__(self, mode: str, **kwargs: Any):
        super().__init__(**kwargs)
        self.mode = check_choice(self.label, "mode", mode, CONSTANTS)
        divisor, shift = CONSTANTS[mode]
        self.scale, self.offset = 1 / np.array(divisor), -np.array(shift)
        self.order = slice(None, None, -1 if mode == "caffe" else 1)  # of the channels

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        if not len(input_shape) or input_shape[-1] != 3:
            raise ShapeError(
                f"{self.label}: expected images with 3 channels (red, green, blue) on the last "
                f"axis, received shape {tuple(input_shape)}"
            )
        return input_shape

    def forward(self, x: np.ndarray, training: bool = False, rng: Rng = None) -> Output:
        dtype = float_dtype(x, self.dtype)
        return scale_channels(x[..., self.order], self.scale, self.offset, dtype), None

    def backward(self, dy: np.ndarray, cache: None, need_dx: bool = True) -> Gradients:
        dx = scale_channels(dy, self.scale, np.asarray(0.0), dy.dtype)
        return np.ascontiguousarray(dx[..., self.order]), []
