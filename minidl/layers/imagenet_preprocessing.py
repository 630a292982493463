"""What networks trained on ImageNet do to an image before their first convolution.

>>> import numpy as np
>>> from minidl.layers import ImageNetPreprocessing
>>> ImageNetPreprocessing("tf")(np.array([[0, 127.5, 255]]))
array([[-1.,  0.,  1.]])
"""

from __future__ import annotations

import numpy as np

from minidl.common.errors import ShapeError
from minidl.layers.base import Layer
from minidl.layers.capabilities import Capabilities
from minidl.layers.preprocessing import float_dtype, scale_channels

__all__ = ["ImageNetPreprocessing"]


# (divisor, shift) of y = x / divisor - shift, for each channel of the output.
CONSTANTS = {
    "caffe": ([1, 1, 1], [103.939, 116.779, 123.68]),
    "tf": ([127.5, 127.5, 127.5], [1, 1, 1]),
    # That is (x / 255 - mean) / deviation.
    "torch": (
        [255 * 0.229, 255 * 0.224, 255 * 0.225],
        [0.485 / 0.229, 0.456 / 0.224, 0.406 / 0.225],
    ),
}


class ImageNetPreprocessing(Layer):
    """Turn raw RGB (0..255) into what a network was trained on.

    Networks differ in this, and one that is fed with another's numbers runs, but sees little.

    Parameters
    ----------
    mode : {"caffe", "tf", "torch"}
        "caffe": blue first, minus the mean colour of ImageNet (VGG16, ResNet50);
        "tf": from -1 to 1 (InceptionV3);
        "torch": from 0 to 1, then mean 0 and standard deviation 1 over ImageNet.
    **kwargs
        See :class:`Layer`.

    Raises
    ------
    ValueError
        For another mode.
    ShapeError
        If the last axis does not have 3 channels.

    Examples
    --------
    >>> import numpy as np
    >>> ImageNetPreprocessing("caffe")(np.zeros((1, 1, 3))).ravel()
    array([-103.939, -116.779, -123.68 ])
    """

    capabilities = Capabilities(ignores_training=True, independent_samples=True)

    def __init__(self, mode: str, **kwargs):
        super().__init__(**kwargs)
        if not isinstance(mode, str) or mode not in CONSTANTS:
            raise ValueError(
                f"{self.label}: expected mode 'caffe', 'tf' or 'torch', received {mode!r}"
            )
        self.mode = mode
        divisor, shift = CONSTANTS[mode]
        self.scale, self.offset = 1 / np.array(divisor), -np.array(shift)
        self.order = slice(None, None, -1 if mode == "caffe" else 1)  # red first, or blue first

    def compute_output_shape(self, input_shape):
        if not len(input_shape) or input_shape[-1] != 3:
            raise ShapeError(
                f"{self.label}: expected images with 3 channels (red, green, blue) on the last "
                f"axis, received shape {tuple(input_shape)}"
            )
        return input_shape

    def forward(self, x, training=False, rng=None):
        dtype = float_dtype(x, self.dtype)
        return scale_channels(x[..., self.order], self.scale, self.offset, dtype), None

    def backward(self, dy, cache, need_dx=True):
        if not need_dx:
            return None, []
        dx = scale_channels(dy, self.scale, np.asarray(0.0), dy.dtype)
        return np.ascontiguousarray(dx[..., self.order]), []
