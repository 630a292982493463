"""Random flips, rotations, zooms, shifts and shears: new views of the same photo.

Each layer draws one 3x3 matrix per image, which maps pixels of the output to places in the
input (see ``minidl.kernels.warp``). Layers that follow each other are joined into an
:class:`AffineChain`: it multiplies their matrices and resamples once, which is quicker and
blurs less than resampling after each layer. Outside training they return their input itself.

>>> import numpy as np
>>> from minidl.layers.augmentation import RandomTranslation
>>> x = np.arange(4.0).reshape(1, 1, 4, 1)
>>> quarter_to_the_right = RandomTranslation(0, (0.25, 0.25), fill_mode="constant")
>>> quarter_to_the_right(x, training=True).ravel()
array([0., 0., 1., 2.])
"""

from __future__ import annotations

import math

import numpy as np

from minidl.common.seeding import as_generator, layer_generator
from minidl.common.serialization import lookup
from minidl.kernels.warp import FILL_MODES, INTERPOLATIONS, warp, warp_backward
from minidl.layers.capabilities import Capabilities
from minidl.layers.preprocessing import ImageLayer, factor_range

__all__ = [
    "AffineChain",
    "AffineLayer",
    "RandomFlip",
    "RandomRotation",
    "RandomShear",
    "RandomTranslation",
    "RandomZoom",
]


class AffineLayer(ImageLayer):
    """Base class: a layer of this kind only has to draw its matrices.

    Parameters
    ----------
    fill_mode : {"reflect", "constant", "nearest", "wrap"}
        What lies around the image: its reflection ``c b a | a b c | c b a``, `fill_value`,
        its border ``a a a | a b c | c c c``, or the image again ``a b c | a b c | a b c``.
    interpolation : {"bilinear", "nearest"}
    fill_value : float
    seed : int, optional
    **kwargs
        See :class:`Layer`.
    """

    capabilities = Capabilities(identity_in_inference=True)

    def __init__(
        self, fill_mode="reflect", interpolation="bilinear", fill_value=0.0, seed=None, **kwargs
    ):
        super().__init__(**kwargs)
        for name, value, known in (
            ("fill_mode", fill_mode, FILL_MODES),
            ("interpolation", interpolation, INTERPOLATIONS),
        ):
            if value not in known:
                raise ValueError(
                    f"{self.label}: expected {name} to be one of {known}, received {value!r}"
                )
        self.fill_mode, self.interpolation = fill_mode, interpolation
        self.fill_value, self.seed = float(fill_value), seed

    def sample_transforms(
        self, n: int, height: int, width: int, rng: np.random.Generator | None = None
    ) -> np.ndarray:
        """Draw (n, 3, 3) float64 matrices: output pixel (column, row, 1) -> input pixel."""
        raise NotImplementedError(f"{type(self).__name__}.sample_transforms")

    @property
    def resampling(self) -> tuple | None:
        """(fill_mode, fill_value, interpolation), or None where no pixel is ever made up."""
        return self.fill_mode, self.fill_value, self.interpolation

    def forward(self, x, training=False, rng=None):
        x = self.to_float(x)
        if not training:
            return x, None
        transforms = self.sample_transforms(len(x), *x.shape[1:3], rng)
        return warp(x, transforms, self.fill_mode, self.fill_value, self.interpolation), transforms

    def backward(self, dy, cache, need_dx=True):
        if cache is None or not need_dx:
            return (dy if need_dx else None), []
        return warp_backward(dy, cache, dy.shape[1:3], self.fill_mode, self.interpolation), []


class RandomFlip(AffineLayer):
    """In training, mirror each image with probability 1/2, exactly.

    Parameters
    ----------
    mode : {"horizontal", "vertical", "horizontal_and_vertical"}
        Left-right, top-bottom, or both, each drawn by itself. (Keras 3 flips both ways
        together or not at all, against its documentation.)
    seed : int, optional
    **kwargs
        See :class:`Layer`.
    """

    MODES = ("horizontal", "vertical", "horizontal_and_vertical")

    def __init__(self, mode="horizontal_and_vertical", seed=None, **kwargs):
        super().__init__("reflect", "bilinear", 0.0, seed, **kwargs)
        if mode not in self.MODES:
            raise ValueError(
                f"{self.label}: expected mode to be one of {self.MODES}, received {mode!r}"
            )
        self.mode = mode

    @property
    def resampling(self):
        return None

    def sample_transforms(self, n, height, width, rng=None):
        signs = layer_generator(rng, self.seed).choice([-1.0, 1.0], (n, 2))  # x, y
        if self.mode == "horizontal":
            signs[:, 1] = 1
        elif self.mode == "vertical":
            signs[:, 0] = 1
        return _around_centre(signs[:, :, None] * np.eye(2), height, width)


class RandomRotation(AffineLayer):
    """In training, rotate each image about its centre.

    Parameters
    ----------
    factor : float or (float, float)
        Fraction of a full turn; positive is counter-clockwise. One number f means
        between -f and f: 0.1 is up to 36 degrees either way.
    fill_mode, interpolation, seed, fill_value
        See :class:`AffineLayer`.
    **kwargs
        See :class:`Layer`.
    """

    def __init__(
        self,
        factor,
        fill_mode="reflect",
        interpolation="bilinear",
        seed=None,
        fill_value=0.0,
        **kwargs,
    ):
        super().__init__(fill_mode, interpolation, fill_value, seed, **kwargs)
        self.factor = factor_range(self, "factor", factor, -1, 1)

    def sample_transforms(self, n, height, width, rng=None):
        angle = 2 * math.pi * layer_generator(rng, self.seed).uniform(*self.factor, n)
        cos, sin = np.cos(angle), np.sin(angle)
        turn = np.array([[cos, -sin], [sin, cos]]).transpose(2, 0, 1)  # (n, 2, 2)
        return _around_centre(turn, height, width)


class RandomZoom(AffineLayer):
    """In training, zoom each image about its centre.

    Parameters
    ----------
    height_factor : float or (float, float)
        Positive zooms out, negative zooms in: 0.2 shows 120 % of the image's height. One
        number f means between -f and f. More than -1, at most 1.
    width_factor : float or (float, float), optional
        The same for the width; None keeps the proportions.
    fill_mode, interpolation, seed, fill_value
        See :class:`AffineLayer`.
    **kwargs
        See :class:`Layer`.
    """

    def __init__(
        self,
        height_factor,
        width_factor=None,
        fill_mode="reflect",
        interpolation="bilinear",
        seed=None,
        fill_value=0.0,
        **kwargs,
    ):
        super().__init__(fill_mode, interpolation, fill_value, seed, **kwargs)
        self.height_factor = self._factor("height_factor", height_factor)
        self.width_factor = None
        if width_factor is not None:
            self.width_factor = self._factor("width_factor", width_factor)

    def _factor(self, name, factor):
        lower, upper = factor_range(self, name, factor, -1, 1)
        if lower == -1:
            raise ValueError(
                f"{self.label}: expected {name} above -1 (which would show nothing), "
                f"received {factor!r}"
            )
        return lower, upper

    def sample_transforms(self, n, height, width, rng=None):
        rng = layer_generator(rng, self.seed)
        y = 1 + rng.uniform(*self.height_factor, n)
        x = y if self.width_factor is None else 1 + rng.uniform(*self.width_factor, n)
        return _around_centre(np.stack([x, y], axis=1)[:, :, None] * np.eye(2), height, width)


class RandomTranslation(AffineLayer):
    """In training, shift each image.

    Parameters
    ----------
    height_factor : float or (float, float)
        Fraction of the height; positive is down. One number f means between -f and f.
    width_factor : float or (float, float)
        Fraction of the width; positive is to the right.
    fill_mode, interpolation, seed, fill_value
        See :class:`AffineLayer`.
    **kwargs
        See :class:`Layer`.
    """

    def __init__(
        self,
        height_factor,
        width_factor,
        fill_mode="reflect",
        interpolation="bilinear",
        seed=None,
        fill_value=0.0,
        **kwargs,
    ):
        super().__init__(fill_mode, interpolation, fill_value, seed, **kwargs)
        self.height_factor = factor_range(self, "height_factor", height_factor, -1, 1)
        self.width_factor = factor_range(self, "width_factor", width_factor, -1, 1)

    def sample_transforms(self, n, height, width, rng=None):
        rng = layer_generator(rng, self.seed)
        transforms = np.tile(np.eye(3), (n, 1, 1))
        # The output's pixel comes from where it was before the shift, hence the sign.
        transforms[:, 1, 2] = -height * rng.uniform(*self.height_factor, n)
        transforms[:, 0, 2] = -width * rng.uniform(*self.width_factor, n)
        return transforms


class RandomShear(AffineLayer):
    """In training, slant each image, about its top left pixel as in Keras.

    Parameters
    ----------
    x_factor : float or (float, float)
        Columns that a row is shifted by per row further down, 0 to 1; the direction is
        random. One number f means up to f.
    y_factor : float or (float, float)
        Rows that a column is shifted by per column further right.
    interpolation, fill_mode, fill_value, seed
        See :class:`AffineLayer`.
    **kwargs
        See :class:`Layer`.
    """

    def __init__(
        self,
        x_factor=0.0,
        y_factor=0.0,
        interpolation="bilinear",
        fill_mode="reflect",
        fill_value=0.0,
        seed=None,
        **kwargs,
    ):
        super().__init__(fill_mode, interpolation, fill_value, seed, **kwargs)
        self.x_factor = factor_range(self, "x_factor", x_factor, 0, 1)
        self.y_factor = factor_range(self, "y_factor", y_factor, 0, 1)

    def sample_transforms(self, n, height, width, rng=None):
        rng = layer_generator(rng, self.seed)
        sign = rng.choice([-1.0, 1.0], n)  # one for both directions, as in Keras
        transforms = np.tile(np.eye(3), (n, 1, 1))
        transforms[:, 0, 1] = sign * rng.uniform(*self.x_factor, n)
        transforms[:, 1, 0] = sign * rng.uniform(*self.y_factor, n)
        return transforms


class AffineChain(AffineLayer):
    """Several affine layers as one: their matrices are multiplied, the image is read once.

    A model makes these by itself where affine layers follow each other. The result is that
    of the layers one after another, only sharper, and nothing that one layer pushes out of
    the picture is lost to the next.

    Parameters
    ----------
    layers : list of AffineLayer
        In the order in which they would be applied.
    **kwargs
        See :class:`Layer`.

    Raises
    ------
    ValueError
        If the layers do not fill and interpolate alike.

    Examples
    --------
    >>> chain = AffineChain([RandomFlip("horizontal"), RandomRotation(0.1), RandomZoom(0.2)])
    >>> chain.sample_transforms(4, height=32, width=32).shape
    (4, 3, 3)
    """

    def __init__(self, layers, **kwargs):
        kinds = (
            RandomFlip,
            RandomRotation,
            RandomShear,
            RandomTranslation,
            RandomZoom,
            AffineChain,
        )
        known = {kind.__name__: kind for kind in kinds}
        layers = [lookup("affine layer", layer, known, AffineLayer) for layer in layers]
        if not layers or not _resample_alike(layers):
            raise ValueError(
                f"AffineChain: expected layers with one fill_mode, fill_value and interpolation, "
                f"received {[(layer.label, layer.resampling) for layer in layers]}"
            )
        common = next((layer.resampling for layer in layers if layer.resampling), None)
        fill_mode, fill_value, interpolation = common or ("reflect", 0.0, "bilinear")
        super().__init__(fill_mode, interpolation, fill_value, None, **kwargs)
        self.layers = layers

    @staticmethod
    def can_follow(previous, layer) -> bool:
        """Return whether `layer` can be joined to `previous`: a layer, or the list so far.

        Give the whole list where there is one: a flip goes with anything, but does not make
        its two neighbours alike.
        """
        layers = [*previous] if isinstance(previous, (list, tuple)) else [previous]
        layers.append(layer)
        return all(isinstance(item, AffineLayer) for item in layers) and _resample_alike(layers)

    @property
    def resampling(self):
        return super().resampling if any(layer.resampling for layer in self.layers) else None

    def sample_transforms(self, n, height, width, rng=None):
        rng = as_generator(rng)
        # A pixel of the last layer's output is looked up in that layer's input first, so the
        # first layer's matrix is applied last: it stands on the left.
        transforms = self.layers[0].sample_transforms(n, height, width, rng)
        for layer in self.layers[1:]:
            transforms = transforms @ layer.sample_transforms(n, height, width, rng)
        return transforms


def _resample_alike(layers) -> bool:
    return len({layer.resampling for layer in layers} - {None}) <= 1


def _around_centre(linear: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return (n, 3, 3) matrices that apply `linear` (n, 2, 2) with the image's centre fixed."""
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    transforms = np.tile(np.eye(3), (len(linear), 1, 1))
    transforms[:, :2, :2] = linear
    transforms[:, :2, 2] = centre - linear @ centre
    return transforms
