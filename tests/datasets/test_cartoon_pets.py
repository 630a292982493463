"""Cartoon pets: reproducible and balanced images that differ in shape only."""

import numpy as np
import pytest

from minidl.datasets.cartoon_pets import CARTOON_CLASSES, CARTOON_SPECIES, cartoon_pets


def test_images_are_uint8_rgb_and_balanced():
    x, y = cartoon_pets(n=21, size=32, seed=0)
    assert x.shape == (21, 32, 32, 3)
    assert x.dtype == np.uint8
    assert y.dtype == np.int64
    assert sorted(np.bincount(y).tolist()) == [10, 11]
    assert CARTOON_CLASSES == ["cat", "dog"]
    assert (x.std(axis=(1, 2, 3)) > 10).all()  # something is drawn


def test_the_seed_determines_every_bit():
    first, again, other = (cartoon_pets(4, 24, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert (first[0] != other[0]).mean() > 0.5


def test_images_stay_the_same_across_versions():
    x, y = cartoon_pets(2, 16, seed=3, species=("rabbit", "dog"))
    quarters = x.reshape(2, 2, 8, 2, 8, 3).mean(axis=(2, 4))  # of each image, per channel
    assert y.tolist() == [1, 0]
    # Versions of Pillow may round the edges of shapes differently.
    expected = [
        [[[90, 184, 148], [94, 174, 157]], [[116, 149, 140], [110, 141, 143]]],
        [[[137, 125, 153], [126, 120, 162]], [[131, 126, 160], [155, 145, 170]]],
    ]
    np.testing.assert_allclose(quarters, expected, rtol=0, atol=2)


def test_a_larger_set_starts_with_the_smaller_one():
    x, y = cartoon_pets(9, 16, seed=3, species=("dog", "bear", "cat"))
    more_x, more_y = cartoon_pets(14, 16, seed=3, species=("dog", "bear", "cat"))
    np.testing.assert_array_equal(more_x[:9], x)
    np.testing.assert_array_equal(more_y[:9], y)


def test_all_images_differ():
    x, _ = cartoon_pets(60, 16, seed=0)
    assert len(np.unique(x.reshape(60, -1), axis=0)) == 60


def test_labels_are_positions_in_species():
    x, y = cartoon_pets(8, 16, species=("cat", "dog"))
    other_x, other_y = cartoon_pets(8, 16, species=("cat", "bear"))
    np.testing.assert_array_equal(y, other_y)
    np.testing.assert_array_equal(x[y == 0], other_x[y == 0])
    assert all((a != b).any() for a, b in zip(x[y == 1], other_x[y == 1], strict=True))
    assert len(cartoon_pets(8, 16, species=CARTOON_SPECIES)[1]) == 8


def test_an_empty_set_and_no_seed():
    assert cartoon_pets(0, 16)[0].shape == (0, 16, 16, 3)
    assert (cartoon_pets(1, 16, seed=None)[0] != cartoon_pets(1, 16, seed=None)[0]).any()


def test_color_and_brightness_do_not_reveal_the_species():
    x, y = cartoon_pets(800, 16, seed=0)
    features = np.concatenate([x.mean(axis=(1, 2)), x.std(axis=(1, 2))], axis=1)
    features = (features - features.mean(axis=0)) / features.std(axis=0)
    features = np.concatenate([features, np.ones((800, 1))], axis=1)
    weights, *_ = np.linalg.lstsq(features[:500], 2.0 * y[:500] - 1, rcond=None)
    accuracy = ((features[500:] @ weights > 0) == y[500:]).mean()
    assert accuracy < 0.62  # chance is 0.5, with a standard deviation of 0.03


def test_a_linear_model_of_the_pixels_is_inaccurate():
    x, y = cartoon_pets(1500, 32, seed=0)
    pixels = x.reshape(1500, -1) / 255.0
    pixels -= pixels.mean(axis=0)
    targets = 2.0 * y - 1
    # Ridge regression in its dual form: a 1000 x 1000 system instead of 3072 x 3072.
    kernel = pixels[:1000] @ pixels[:1000].T + 100 * np.eye(1000)
    weights = pixels[:1000].T @ np.linalg.solve(kernel, targets[:1000])
    accuracy = ((pixels[1000:] @ weights > 0) == y[1000:]).mean()
    assert accuracy < 0.78  # measured 0.6-0.7; a small convolutional network reaches 0.99


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": -1}, "n to be an integer >= 0"),
        ({"n": 2.0}, "n to be an integer >= 0"),
        ({"size": 8}, "size to be an integer >= 16"),
        ({"seed": -1}, "seed to be an integer >= 0"),
        ({"species": ("cat", "dragon")}, "cat, dog, rabbit, bear"),
        ({"species": ()}, "species"),
        ({"species": ("cat", "cat")}, "species"),
    ],
)
def test_invalid_arguments_are_rejected(arguments, message):
    with pytest.raises(ValueError, match=message):
        cartoon_pets(**arguments)
