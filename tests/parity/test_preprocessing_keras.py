"""The preprocessing layers draw the same pictures as Keras' for the same factors.

The tolerance is 1e-5 of the pixels' range, 255: Keras computes coordinates in float32, off by
up to 1e-5 of a pixel on these sizes, and neighboring random pixels differ by up to the range.
"""

import numpy as np
import pytest

from minidl.layers.augmentation import (
    RandomFlip,
    RandomRotation,
    RandomShear,
    RandomTranslation,
    RandomZoom,
)
from minidl.layers.preprocessing import RandomBrightness, RandomContrast, RandomCrop, Rescaling

keras = pytest.importorskip("keras", reason="Keras is not installed: parity is checked in CI")

ATOL = 1e-5 * 255
OURS = {
    layer.__name__: layer
    for layer in (
        RandomFlip,
        RandomRotation,
        RandomShear,
        RandomTranslation,
        RandomZoom,
        RandomBrightness,
        RandomContrast,
        RandomCrop,
        Rescaling,
    )
}


def photos(n=3, height=18, width=25, channels=3):
    return np.random.default_rng(0).uniform(0, 255, (n, height, width, channels)).astype("float32")


def both(name, x, *arguments, training=True, **options):
    """Return Keras' picture and ours."""
    theirs = getattr(keras.layers, name)(*arguments, **options)(x, training=training)
    ours = OURS[name](*arguments, **options)(x, training=training)
    return np.array(theirs), ours


FIXED = [
    ("RandomRotation", [(0.07, 0.07)]),
    ("RandomRotation", [(-0.2, -0.2)]),
    ("RandomZoom", [(0.31, 0.31)]),
    ("RandomZoom", [(-0.4, -0.4), (0.25, 0.25)]),
    ("RandomTranslation", [(0.13, 0.13), (-0.21, -0.21)]),
    ("RandomTranslation", [(-0.9, -0.9), (0.8, 0.8)]),
]


@pytest.mark.parametrize("fill_mode", ["reflect", "constant", "nearest"])
@pytest.mark.parametrize(("name", "factors"), FIXED)
def test_fixed_factors_give_the_same_picture(name, factors, fill_mode):
    theirs, ours = both(name, photos(), *factors, fill_mode=fill_mode, fill_value=50.0)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=ATOL)


@pytest.mark.parametrize(("name", "factors"), FIXED)
def test_nearest_picks_the_same_pixels(name, factors):
    theirs, ours = both(name, photos(), *factors, interpolation="nearest")
    assert np.mean(theirs != ours) < 0.005  # Keras' rounding may tip a pixel half-way between two


@pytest.mark.parametrize(("name", "factors"), FIXED)
def test_defaults_are_the_same(name, factors):
    theirs, ours = both(name, photos(), *factors)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=ATOL)


def test_wrap_by_whole_pixels():
    # Between the last pixel and the first, Keras on TensorFlow repeats the last one, ours
    # blends the two: only moves by whole pixels can agree.
    theirs, ours = both(
        "RandomTranslation", photos(), (1 / 3, 1 / 3), (-0.2, -0.2), fill_mode="wrap"
    )
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=ATOL)


@pytest.mark.parametrize(
    "factors", [((0.3, 0.3), 0.0), (0.0, (0.2, 0.2)), ((0.1, 0.1), (0.2, 0.2))]
)
def test_shear_goes_either_way(factors):
    x = np.tile(photos(1), (40, 1, 1, 1))
    theirs, ours = both("RandomShear", x, *factors)
    other = next(image for image in ours if not np.allclose(image, ours[0]))
    first = np.abs(theirs - ours[0]).max(axis=(1, 2, 3)) < ATOL
    second = np.abs(theirs - other).max(axis=(1, 2, 3)) < ATOL
    assert (first ^ second).all()
    assert first.any()
    assert second.any()


@pytest.mark.parametrize(("mode", "axis"), [("horizontal", 2), ("vertical", 1)])
def test_flip_mirrors_half_of_the_images(mode, axis):
    x = photos(1000, 3, 4)
    for y in both("RandomFlip", x, mode):
        flipped = (y == np.flip(x, axis)).all(axis=(1, 2, 3))
        kept = (y == x).all(axis=(1, 2, 3))
        assert (flipped ^ kept).all()
        assert abs(flipped.mean() - 0.5) < 5 * 0.5 / np.sqrt(len(x))


@pytest.mark.parametrize("factor", [(0.2, 0.2), (-0.3, -0.3)])
@pytest.mark.parametrize("value_range", [(0, 255), (10, 200)])
def test_brightness(factor, value_range):
    theirs, ours = both("RandomBrightness", photos(), factor, value_range=value_range)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4)


@pytest.mark.parametrize("factor", [(-0.4, 0.4), (-0.9, 0.9)])
@pytest.mark.parametrize("value_range", [(0, 255), (10, 200)])
def test_contrast(factor, value_range):
    theirs, ours = both("RandomContrast", photos(), factor, value_range=value_range)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-4)


def test_crop_in_training_is_one_window_for_the_batch():
    x = photos()
    windows = {
        x[:, top : top + 12, left : left + 20].tobytes() for top in range(7) for left in range(6)
    }
    for y in both("RandomCrop", x, 12, 20):
        assert y.tobytes() in windows


@pytest.mark.parametrize("size", [(12, 12), (40, 10), (18, 25), (30, 50)])
def test_crop_outside_training_is_a_resize_that_keeps_the_proportions(size):
    x = photos()
    theirs = keras.layers.Resizing(*size, crop_to_aspect_ratio=True)(x)
    ours = RandomCrop(*size)(x)
    np.testing.assert_allclose(ours, np.array(theirs), rtol=0, atol=ATOL)


@pytest.mark.parametrize("arguments", [(1 / 127.5, -1), ([0.1, 0.2, 0.3], [1.0, 2.0, 3.0])])
def test_rescaling(arguments):
    theirs, ours = both("Rescaling", photos(), *arguments)
    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("name", ["RandomRotation", "RandomZoom", "RandomBrightness"])
def test_layers_are_identity_outside_training(name):
    x = photos()
    for y in both(name, x, 0.5, training=False):
        assert np.array_equal(y, x)
