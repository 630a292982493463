"""Perceptual hashes: signs of the cosine transform, windows, mirroring, distances."""

import numpy as np
from support.damaged import textured

from minidl.data import load_image
from minidl.data.doctor.fingerprint import WINDOWS, distances, mirror_hashes, perceptual_hashes


def test_a_hash_consists_of_the_signs_of_the_cosine_transform():
    picture = np.random.default_rng(0).uniform(0, 255, (1, 16, 24))
    y, x = (np.arange(16) + 0.5) / 16, (np.arange(24) + 0.5) / 24
    expected = [
        (picture[0] * np.outer(np.cos(np.pi * u * y), np.cos(np.pi * v * x))).sum() > 0
        for u in range(8)
        for v in range(8)
    ]
    expected[0] = False
    bits = np.unpackbits(perceptual_hashes(picture).view(np.uint8))
    np.testing.assert_array_equal(bits.astype(bool), expected)


def test_the_hash_of_a_window_is_the_hash_of_the_cropped_picture():
    picture = np.random.default_rng(0).uniform(0, 255, (1, 40, 60))
    part = perceptual_hashes(picture, (0.1, 0.9, 0.0, 0.75))
    np.testing.assert_array_equal(part, perceptual_hashes(picture[:, 4:36, :45]))


def test_mirrored_hashes_and_distances():
    gray = np.stack([load_image(image, 64, "grayscale")[..., 0] for image in textured(20)])
    hashes = perceptual_hashes(gray)
    mirrored = perceptual_hashes(gray[:, :, ::-1])
    assert distances(mirror_hashes(hashes), mirrored).max() <= 1  # a coefficient near zero
    np.testing.assert_array_equal(mirror_hashes(mirror_hashes(hashes)), hashes)
    apart = distances(hashes[:, None], hashes)[np.triu_indices(20, 1)]
    assert apart.mean() > 25
    assert apart.max() <= 64


def test_the_first_window_is_the_whole_picture():
    assert WINDOWS[0] == (0, 1, 0, 1)
    picture = np.random.default_rng(0).integers(0, 256, (1, 64, 64))
    np.testing.assert_array_equal(
        perceptual_hashes(picture, WINDOWS[0]), perceptual_hashes(picture)
    )
