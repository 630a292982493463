"""ImageNet: preprocessing of images and names of the 1000 classes.

>>> import numpy as np
>>> from minidl.applications import imagenet
>>> imagenet.decode_predictions(np.eye(1000)[[281]], top=1)
[[('n02123045', 'tabby', 1.0)]]
"""

from __future__ import annotations

import functools
from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt

from minidl.common.argument_checks import check_integer
from minidl.common.errors import ShapeError
from minidl.layers.imagenet_preprocessing import ImageNetPreprocessing

__all__ = ["class_names", "decode_predictions", "preprocess_input"]

CLASSES = Path(__file__).with_name("imagenet_classes.csv")


def preprocess_input(x: npt.ArrayLike, mode: str = "caffe") -> np.ndarray:
    """Preprocess images for a network with ``include_preprocessing=False``.

    Parameters
    ----------
    x : array (..., 3)
        Raw RGB values from 0 to 255. The array is not changed.
    mode : {"caffe", "tf", "torch", "lite"}
        See :class:`~minidl.layers.ImageNetPreprocessing`: "caffe" for VGG16 and ResNet50,
        "tf" for InceptionV3, MobileNetV2 and MobileNetV3, "torch" for EfficientNetB0 and
        torchvision's networks, "lite" for EfficientNetLite0 to 2.

    Returns
    -------
    array
        A new array of the same shape: float64 if `x` is, otherwise float32.

    Raises
    ------
    ValueError
        For another mode, or if the last axis does not have 3 channels.

    Examples
    --------
    >>> import numpy as np
    >>> preprocess_input(np.full((1, 1, 1, 3), 255, "uint8"), mode="tf").ravel()
    array([1., 1., 1.], dtype=float32)
    """
    return ImageNetPreprocessing(mode, name="preprocess_input")(x)


def decode_predictions(p: npt.ArrayLike, top: int = 5) -> list[list[tuple[str, str, float]]]:
    """Return the most probable classes of each image.

    Parameters
    ----------
    p : array (N, 1000)
        Predictions of a network with the ImageNet weights.
    top : int
        Number of classes per image.

    Returns
    -------
    list of list of (wnid, name, probability)
        For each image, its classes by decreasing probability.

    Raises
    ------
    ShapeError
        If `p` does not have that shape.
    ValueError
        If `top` is not an integer from 1 to 1000.

    Examples
    --------
    >>> import numpy as np
    >>> decode_predictions(np.linspace(0, 1, 1000)[None], top=2)[0][0]
    ('n15075141', 'toilet_tissue', 1.0)
    """
    p = np.asarray(p)
    if p.ndim != 2 or p.shape[1] != 1000:
        hint = "; for one image: p[None]" if p.shape == (1000,) else ""
        raise ShapeError(
            f"decode_predictions: expected predictions of shape (N, 1000), received {p.shape}{hint}"
        )
    check_integer("decode_predictions", "top", top, 1, 1000)
    order = np.argsort(-p, axis=1, kind="stable")[:, :top]
    return [
        [(*_classes()[i], float(row[i])) for i in best] for row, best in zip(p, order, strict=True)
    ]


def class_names() -> list[str]:
    """Return the names of the 1000 classes in order.

    Names shared by two classes (a crane is a bird and a machine) end with the class's wnid.

    Examples
    --------
    >>> [class_names()[i] for i in (281, 134, 517)]
    ['tabby', 'crane_n02012849', 'crane_n03126707']
    """
    count = Counter(name for _, name in _classes())
    return [name if count[name] == 1 else f"{name}_{wnid}" for wnid, name in _classes()]


@functools.cache
def _classes() -> list[tuple[str, str]]:
    """Return (wnid, name) of each class; names as Keras spells them."""
    lines = CLASSES.read_text(encoding="utf-8").splitlines()
    return [(wnid, name) for wnid, name in (line.split(",") for line in lines)]
