"""Affine image augmentation: random flips, rotations, zooms, translations and shears.

Each layer draws one 3x3 matrix per image, which maps output pixels to positions in the input
(see ``minidl.kernels.warp``). Consecutive layers are merged into an :class:`AffineChain`: it
multiplies their matrices and resamples once, which is faster and blurs less than resampling
after each layer. In inference the layers return their input.

>>> import numpy as np
>>> from minidl.layers.augmentation import RandomTranslation
>>> x = np.arange(4.0).reshape(1, 1, 4, 1)
>>> quarter_to_the_right = RandomTranslation(0, (0.25, 0.25), fill_mode="constant")
>>> quarter_to_the_right(x, training=True).ravel()
array([0., 0., 1., 2.])
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from minidl.common.argument_checks import check_choice
from minidl.common.seeding import as_generator, layer_generator
from minidl.common.serialization import lookup
from minidl.kernels.warp import FILL_MODES, INTERPOLATIONS, warp, warp_backward
from minidl.layers.base import Gradients, Output, Rng
from minidl.layers.capabilities import Capabilities
from minidl.layers.preprocessing import Factor, ImageLayer, check_factor_range

__all__ = [
    "AffineChain",
    "AffineLayer",
    "RandomFlip",
    "RandomRotation",
    "RandomShear",
    "RandomTranslation",
    "RandomZoom",
]

Resampling = tuple[str, float, str]  # (fill_mode, fill_value, interpolation)


class AffineLayer(ImageLayer):
    """Base class; subclasses implement ``sample_transforms``.

    Parameters
    ----------
    fill_mode : {"reflect", "constant", "nearest", "wrap"}
        Values outside the image: its reflection ``c b a | a b c | c b a``, `fill_value`,
        its border ``a a a | a b c | c c c``, or its repetition ``a b c | a b c | a b c``.
    interpolation : {"bilinear", "nearest"}
    fill_value : float
    seed : int, optional
    **kwargs
        See :class:`Layer`.
    """

    capabilities = Capabilities(identity_in_inference=True)

    def __init__(
        self,
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        fill_value: float = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.fill_mode = check_choice(self.label, "fill_mode", fill_mode, FILL_MODES)
        self.interpolation = check_choice(
            self.label, "interpolation", interpolation, INTERPOLATIONS
        )
        self.fill_value, self.seed = float(fill_value), seed

    def sample_transforms(self, n: int, height: int, width: int, rng: Rng = None) -> np.ndarray:
        """Draw one matrix for each image.

        Parameters
        ----------
        n : int
            Number of images.
        height, width : int
            Size of the images in pixels.
        rng : numpy.random.Generator, optional

        Returns
        -------
        numpy.ndarray, shape (n, 3, 3), float64
            Maps an output pixel (column, row, 1) to its position in the input.
        """
        raise NotImplementedError(f"{type(self).__name__}.sample_transforms")

    @property
    def resampling(self) -> Resampling | None:
        """(fill_mode, fill_value, interpolation), or None if pixels are only permuted."""
        return self.fill_mode, self.fill_value, self.interpolation

    def forward(self, x: np.ndarray, training: bool = False, rng: Rng = None) -> Output:
        x = self.to_float(x)
        if not training:
            return x, None
        batch, height, width, _ = x.shape
        transforms = self.sample_transforms(batch, height, width, rng)
        return warp(x, transforms, self.fill_mode, self.fill_value, self.interpolation), transforms

    def backward(self, dy: np.ndarray, cache: Any, need_dx: bool = True) -> Gradients:
        if cache is None:
            return dy, []
        return warp_backward(dy, cache, dy.shape[1:3], self.fill_mode, self.interpolation), []


class RandomFlip(AffineLayer):
    """In training, mirror each image with probability 1/2, without interpolation.

    Parameters
    ----------
    mode : {"horizontal", "vertical", "horizontal_and_vertical"}
        Left-right, top-bottom, or both, each drawn independently. (Keras 3 flips both directions
        together or not at all, contrary to its documentation.)
    seed : int, optional
    **kwargs
        See :class:`Layer`.

    Examples
    --------
    >>> import numpy as np
    >>> RandomFlip("horizontal")(np.ones((1, 4, 4, 3)), training=True).shape
    (1, 4, 4, 3)
    """

    MODES = ("horizontal", "vertical", "horizontal_and_vertical")

    def __init__(
        self, mode: str = "horizontal_and_vertical", seed: int | None = None, **kwargs: Any
    ):
        super().__init__(seed=seed, **kwargs)
        self.mode = check_choice(self.label, "mode", mode, self.MODES)

    @property
    def resampling(self) -> None:
        return None

    def sample_transforms(self, n: int, height: int, width: int, rng: Rng = None) -> np.ndarray:
        signs = layer_generator(rng, self.seed).choice([-1.0, 1.0], (n, 2))  # x, y
        if self.mode == "horizontal":
            signs[:, 1] = 1
        elif self.mode == "vertical":
            signs[:, 0] = 1
        return _around_center(signs[:, :, None] * np.eye(2), height, width)


class RandomRotation(AffineLayer):
    """In training, rotate each image about its center.

    Parameters
    ----------
    factor : float or (float, float)
        Fraction of a full turn; positive is counterclockwise. One number f stands for (-f, f):
        0.1 is up to 36 degrees in each direction.
    fill_mode, interpolation, seed, fill_value
        See :class:`AffineLayer`.
    **kwargs
        See :class:`Layer`.

    Examples
    --------
    >>> import numpy as np
    >>> RandomRotation(0.1)(np.ones((1, 4, 4, 3)), training=True).shape
    (1, 4, 4, 3)
    """

    def __init__(
        self,
        factor: Factor,
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        seed: int | None = None,
        fill_value: float = 0.0,
        **kwargs: Any,
    ):
        super().__init__(fill_mode, interpolation, fill_value, seed, **kwargs)
        self.factor = check_factor_range(self, "factor", factor, -1, 1)

    def sample_transforms(self, n: int, height: int, width: int, rng: Rng = None) -> np.ndarray:
        angle = 2 * math.pi * layer_generator(rng, self.seed).uniform(*self.factor, n)
        cos, sin = np.cos(angle), np.sin(angle)
        rotations = np.array([[cos, -sin], [sin, cos]]).transpose(2, 0, 1)  # (n, 2, 2)
        return _around_center(rotations, height, width)


class RandomZoom(AffineLayer):
    """In training, zoom each image about its center.

    Parameters
    ----------
    height_factor : float or (float, float)
        Positive zooms out, negative zooms in: 0.2 shows 120 % of the image's height. One
        number f stands for (-f, f). Greater than -1, at most 1.
    width_factor : float or (float, float), optional
        The same for the width; None keeps the aspect ratio.
    fill_mode, interpolation, seed, fill_value
        See :class:`AffineLayer`.
    **kwargs
        See :class:`Layer`.

    Examples
    --------
    >>> import numpy as np
    >>> RandomZoom(0.2)(np.ones((1, 4, 4, 3)), training=True).shape
    (1, 4, 4, 3)
    """

    def __init__(
        self,
        height_factor: Factor,
        width_factor: Factor | None = None,
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        seed: int | None = None,
        fill_value: float = 0.0,
        **kwargs: Any,
    ):
        super().__init__(fill_mode, interpolation, fill_value, seed, **kwargs)
        self.height_factor = self._check_factor("height_factor", height_factor)
        self.width_factor = None
        if width_factor is not None:
            self.width_factor = self._check_factor("width_factor", width_factor)

    def _check_factor(self, name: str, factor: Factor) -> tuple[float, float]:
        lower, upper = check_factor_range(self, name, factor, -1, 1)
        if lower == -1:
            raise ValueError(
                f"{self.label}: expected {name} above -1 (which would show a single point), "
                f"received {factor!r}"
            )
        return lower, upper

    def sample_transforms(self, n: int, height: int, width: int, rng: Rng = None) -> np.ndarray:
        rng = layer_generator(rng, self.seed)
        y = 1 + rng.uniform(*self.height_factor, n)
        x = y if self.width_factor is None else 1 + rng.uniform(*self.width_factor, n)
        return _around_center(np.stack([x, y], axis=1)[:, :, None] * np.eye(2), height, width)


class RandomTranslation(AffineLayer):
    """In training, shift each image.

    Parameters
    ----------
    height_factor : float or (float, float)
        Fraction of the height; positive is down. One number f stands for (-f, f).
    width_factor : float or (float, float)
        Fraction of the width; positive is to the right.
    fill_mode, interpolation, seed, fill_value
        See :class:`AffineLayer`.
    **kwargs
        See :class:`Layer`.

    Examples
    --------
    >>> import numpy as np
    >>> RandomTranslation(0.1, 0.1)(np.ones((1, 4, 4, 3)), training=True).shape
    (1, 4, 4, 3)
    """

    def __init__(
        self,
        height_factor: Factor,
        width_factor: Factor,
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        seed: int | None = None,
        fill_value: float = 0.0,
        **kwargs: Any,
    ):
        super().__init__(fill_mode, interpolation, fill_value, seed, **kwargs)
        self.height_factor = check_factor_range(self, "height_factor", height_factor, -1, 1)
        self.width_factor = check_factor_range(self, "width_factor", width_factor, -1, 1)

    def sample_transforms(self, n: int, height: int, width: int, rng: Rng = None) -> np.ndarray:
        rng = layer_generator(rng, self.seed)
        transforms = np.tile(np.eye(3), (n, 1, 1))
        # Negative, because the matrix maps a pixel of the output to its origin in the input.
        transforms[:, 1, 2] = -height * rng.uniform(*self.height_factor, n)
        transforms[:, 0, 2] = -width * rng.uniform(*self.width_factor, n)
        return transforms


class RandomShear(AffineLayer):
    """In training, shear each image about its top left pixel, as in Keras.

    Parameters
    ----------
    x_factor : float or (float, float)
        Horizontal shift in pixels per row, 0 to 1; the direction is random. One number f stands
        for (0, f).
    y_factor : float or (float, float)
        Vertical shift in pixels per column.
    interpolation, fill_mode, fill_value, seed
        See :class:`AffineLayer`.
    **kwargs
        See :class:`Layer`.

    Examples
    --------
    >>> import numpy as np
    >>> RandomShear(0.2)(np.ones((1, 4, 4, 3)), training=True).shape
    (1, 4, 4, 3)
    """

    def __init__(
        self,
        x_factor: Factor = 0.0,
        y_factor: Factor = 0.0,
        interpolation: str = "bilinear",
        fill_mode: str = "reflect",
        fill_value: float = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(fill_mode, interpolation, fill_value, seed, **kwargs)
        self.x_factor = check_factor_range(self, "x_factor", x_factor, 0, 1)
        self.y_factor = check_factor_range(self, "y_factor", y_factor, 0, 1)

    def sample_transforms(self, n: int, height: int, width: int, rng: Rng = None) -> np.ndarray:
        rng = layer_generator(rng, self.seed)
        sign = rng.choice([-1.0, 1.0], n)  # one for both directions, as in Keras
        transforms = np.tile(np.eye(3), (n, 1, 1))
        transforms[:, 0, 1] = sign * rng.uniform(*self.x_factor, n)
        transforms[:, 1, 0] = sign * rng.uniform(*self.y_factor, n)
        return transforms


class AffineChain(AffineLayer):
    """Several affine layers merged into one, which multiplies their matrices and resamples once.

    A model merges consecutive affine layers automatically. The result is that of the single
    layers, but sharper, and pixels that one layer moves out of the image are not lost to the next.

    Parameters
    ----------
    layers : list of AffineLayer
        In the order of their application.
    **kwargs
        See :class:`Layer`.

    Raises
    ------
    ValueError
        If the layers differ in fill_mode, fill_value or interpolation.

    Examples
    --------
    >>> chain = AffineChain([RandomFlip("horizontal"), RandomRotation(0.1), RandomZoom(0.2)])
    >>> chain.sample_transforms(4, height=32, width=32).shape
    (4, 3, 3)
    """

    def __init__(self, layers: Sequence[AffineLayer], **kwargs: Any):
        kinds = (RandomFlip, RandomRotation, RandomShear, RandomTranslation, RandomZoom)
        known = {kind.__name__: kind for kind in (*kinds, AffineChain)}
        layers = [lookup("affine layer", layer, known, AffineLayer) for layer in layers]
        if not layers or not _resample_alike(layers):
            raise ValueError(
                f"AffineChain: expected layers with one fill_mode, fill_value and interpolation, "
                f"received {[(layer.label, layer.resampling) for layer in layers]}"
            )
        common = next((layer.resampling for layer in layers if layer.resampling), None)
        fill_mode, fill_value, interpolation = common or ("reflect", 0.0, "bilinear")
        super().__init__(fill_mode, interpolation, fill_value, **kwargs)
        self.layers = layers

    @staticmethod
    def can_follow(previous: object, layer: object) -> bool:
        """Return whether `layer` can be merged with the layers before it.

        Parameters
        ----------
        previous : layer, or list of layers
            All layers of the chain so far. (A flip fits all others, but its neighbors may differ
            from each other.)
        layer : layer
        """
        layers = [*previous] if isinstance(previous, (list, tuple)) else [previous]
        layers.append(layer)
        return all(isinstance(item, AffineLayer) for item in layers) and _resample_alike(layers)

    @property
    def resampling(self) -> Resampling | None:
        return super().resampling if any(layer.resampling for layer in self.layers) else None

    def sample_transforms(self, n: int, height: int, width: int, rng: Rng = None) -> np.ndarray:
        rng = as_generator(rng)
        # A matrix maps an output pixel to the input. The last layer's is therefore applied first:
        # it is the rightmost factor.
        transforms = self.layers[0].sample_transforms(n, height, width, rng)
        for layer in self.layers[1:]:
            transforms = transforms @ layer.sample_transforms(n, height, width, rng)
        return transforms


def _resample_alike(layers: Sequence[Any]) -> bool:
    return len({layer.resampling for layer in layers} - {None}) <= 1


def _around_center(linear: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return (n, 3, 3) matrices that apply `linear` (n, 2, 2) with the image's center fixed."""
    center = np.array([(width - 1) / 2, (height - 1) / 2])
    transforms = np.tile(np.eye(3), (len(linear), 1, 1))
    transforms[:, :2, :2] = linear
    transforms[:, :2, 2] = center - linear @ center
    return transforms
