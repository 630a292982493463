"""Networks that are ready to use, and ImageNet's classes.

>>> from minidl import applications
>>> applications.VGG16(weights=None, input_shape=(64, 64, 3), classes=10).output_shape
(None, 10)
"""

from minidl.applications import imagenet
from minidl.applications.efficientnet import EfficientNetB0
from minidl.applications.efficientnet_lite import (
    EfficientNetLite0,
    EfficientNetLite1,
    EfficientNetLite2,
)
from minidl.applications.inception_v3 import InceptionV3
from minidl.applications.mobilenet_v2 import MobileNetV2
from minidl.applications.mobilenet_v3 import MobileNetV3Large, MobileNetV3Small
from minidl.applications.pets_net import PetsNet
from minidl.applications.resnet import ResNet18, ResNet34, ResNet50
from minidl.applications.small_cnn import augmentation, small_cnn
from minidl.applications.vgg16 import VGG16

__all__ = [
    "EfficientNetB0",
    "EfficientNetLite0",
    "EfficientNetLite1",
    "EfficientNetLite2",
    "InceptionV3",
    "MobileNetV2",
    "MobileNetV3Large",
    "MobileNetV3Small",
    "PetsNet",
    "ResNet18",
    "ResNet34",
    "ResNet50",
    "VGG16",
    "augmentation",
    "imagenet",
    "small_cnn",
]
