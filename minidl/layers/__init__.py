"""All layers under Keras' names.

>>> from minidl import layers
>>> layers.Conv2D(32, 3, activation="relu").filters
32
"""

from minidl.layers.activation import (
    GELU,
    Activation,
    HardSigmoid,
    HardSiLU,
    LeakyReLU,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Tanh,
)
from minidl.layers.augmentation import (
    AffineChain,
    RandomFlip,
    RandomRotation,
    RandomShear,
    RandomTranslation,
    RandomZoom,
)
from minidl.layers.base import Layer
from minidl.layers.capabilities import Capabilities
from minidl.layers.convolution import Conv2D, DepthwiseConv2D, ZeroPadding2D
from minidl.layers.dense import Dense, Flatten, Reshape
from minidl.layers.dropout import Dropout
from minidl.layers.imagenet_preprocessing import ImageNetPreprocessing
from minidl.layers.local_response import LocalResponseNormalization
from minidl.layers.merging import Add, Concatenate, Multiply
from minidl.layers.normalization import BatchNormalization
from minidl.layers.parameter import Parameter
from minidl.layers.parametric_relu import PReLU
from minidl.layers.permute import Permute
from minidl.layers.pooling import (
    AveragePooling2D,
    GlobalAveragePooling2D,
    GlobalMaxPooling2D,
    MaxPooling2D,
)
from minidl.layers.preprocessing import RandomBrightness, RandomContrast, RandomCrop, Rescaling
from minidl.layers.standardization import Normalization
from minidl.layers.symbolic import Input, InputLayer

__all__ = [
    "Activation",
    "Add",
    "AffineChain",
    "AveragePooling2D",
    "BatchNormalization",
    "Capabilities",
    "Concatenate",
    "Conv2D",
    "Dense",
    "DepthwiseConv2D",
    "Dropout",
    "Flatten",
    "GELU",
    "GlobalAveragePooling2D",
    "GlobalMaxPooling2D",
    "HardSiLU",
    "HardSigmoid",
    "ImageNetPreprocessing",
    "Input",
    "InputLayer",
    "Layer",
    "LeakyReLU",
    "LocalResponseNormalization",
    "MaxPooling2D",
    "Multiply",
    "Normalization",
    "PReLU",
    "Parameter",
    "Permute",
    "RandomBrightness",
    "RandomContrast",
    "RandomCrop",
    "RandomFlip",
    "RandomRotation",
    "RandomShear",
    "RandomTranslation",
    "RandomZoom",
    "ReLU",
    "Rescaling",
    "Reshape",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Tanh",
    "ZeroPadding2D",
]
