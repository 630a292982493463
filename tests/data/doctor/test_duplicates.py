"""Hashes, alignment and copies: each kind of copy is found, and different pictures are not."""

import numpy as np
import pytest
from PIL import Image
from support.damaged import COPIES, cut, half, textured

from minidl.data import load_image
from minidl.data.doctor.alignment import compare
from minidl.data.doctor.duplicates import Copy, Groups, find_copies, reduce_pictures
from minidl.data.doctor.fingerprint import WINDOWS, distances, mirror_hashes, perceptual_hashes
from minidl.datasets.cartoon_pets import cartoon_pets

WHOLE = np.array([[0.0, 1.0, 0.0, 1.0]])


def thumbnails(images):
    return np.stack([load_image(image, 64) for image in images])


def copies(images, **options):
    return find_copies(*reduce_pictures(thumbnails(images)), **options)


def test_a_hash_is_made_of_the_signs_of_the_cosine_transform():
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


def test_the_hash_of_a_window_is_the_hash_of_what_is_in_it():
    picture = np.random.default_rng(0).uniform(0, 255, (1, 40, 60))
    part = perceptual_hashes(picture, (0.1, 0.9, 0.0, 0.75))
    np.testing.assert_array_equal(part, perceptual_hashes(picture[:, 4:36, :45]))


def test_mirrored_hashes_and_distances():
    gray, _ = reduce_pictures(thumbnails(textured(20)))
    hashes = perceptual_hashes(gray)
    mirrored = perceptual_hashes(gray[:, :, ::-1])
    assert distances(mirror_hashes(hashes), mirrored).max() <= 1  # a coefficient near zero
    np.testing.assert_array_equal(mirror_hashes(mirror_hashes(hashes)), hashes)
    apart = distances(hashes[:, None], hashes)[np.triu_indices(20, 1)]
    assert apart.mean() > 25
    assert apart.max() <= 64


@pytest.mark.parametrize("edges", [(0.05, 0, 0, 0), (0.02, 0.05, 0.04, 0.01), (0.05,) * 4])
def test_alignment_finds_the_part_that_was_cut_out(edges):
    left, top, right, bottom = edges
    image = textured(1, (600, 800))[0]
    a, b = (load_image(x, 64, "grayscale")[None, ..., 0] for x in (image, cut(image, *edges)))
    match = compare(a, b, WHOLE)
    np.testing.assert_allclose(match.windows, [[top, 1 - bottom, left, 1 - right]], atol=0.006)
    assert match.residual[0] < 0.01
    assert match.edges[0] > 0.95
    back = compare(b, a, WHOLE)  # the part shows less than the whole: the window is larger
    assert (back.windows - WHOLE)[0, [0, 2]].max() < 0.006
    assert back.residual[0] < 0.01


def test_alignment_measures_contrast_brightness_and_plainness():
    gray = load_image(textured(1)[0], 64, "grayscale")[..., 0].astype(float)
    match = compare(np.stack([gray * 0.5 + 30, gray * 0 + 7]), np.stack([gray] * 2), WHOLE)
    assert match.contrast[0] == pytest.approx(0.5, abs=0.01)
    assert match.brightness[0] == pytest.approx(30 - gray.mean() / 2, abs=0.5)
    assert match.residual[0] < 1e-4
    assert match.deviation[1] < 1e-3


@pytest.mark.parametrize("kind", COPIES)
def test_each_copy_is_found_and_only_it(kind):
    relation, damage = COPIES[kind]
    images = textured(40)
    pixels = [load_image(image, 64) for image in images]
    again = [load_image(damage(images[i]), 64) for i in (3, 17, 31)]
    found = find_copies(*reduce_pictures(np.stack(pixels + again)))
    assert [(copy.first, copy.second) for copy in found] == [(3, 40), (17, 41), (31, 42)]
    for copy in found:
        assert copy.mirrored == ("mirrored" in relation)
        assert copy.cropped == ("cropped" in relation)
        assert copy.one_is_gray == ("grayscale" in relation)


def test_every_small_crop_is_found():
    rng = np.random.default_rng(0)
    images = textured(60, seed=5)
    parts = [cut(image, *rng.uniform(0, 0.05, 4)) for image in images]
    found = copies(images + parts)
    assert [(copy.first, copy.second) for copy in found] == [(i, 60 + i) for i in range(60)]


@pytest.mark.parametrize("size", [32, 64])
def test_different_drawings_are_no_copies(size):
    pictures, _ = cartoon_pets(1000, size=size, seed=3)
    assert copies([Image.fromarray(picture) for picture in pictures]) == []


def test_plain_pictures_and_noise_are_no_copies():
    rng = np.random.default_rng(0)
    plain = [Image.new("RGB", (60, 40), (value,) * 3) for value in (0, 90, 90, 255)]
    faint = [Image.fromarray(rng.integers(99, 102, (40, 60, 3), np.uint8)) for _ in range(4)]
    noise = [Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8)) for _ in range(30)]
    assert copies(plain + faint + noise) == []


def test_a_thing_that_moved_in_front_of_the_same_scene_makes_another_photo():
    scene = textured(1, (240, 320))[0]
    thing = Image.new("RGB", (40, 40), (240, 220, 40))
    frames = []
    for x in (60, 90, 120):
        frame = scene.copy()
        frame.paste(thing, (x, 90))
        frames.append(frame)
    assert copies(frames) == []
    assert len(copies([*frames, half(frames[1])])) == 1


def test_other_colours_make_another_picture():
    mask = textured(1)[0].convert("L")
    red, blue = (Image.merge("RGB", [mask.point(lambda v, k=k: v * k // 9) for k in color])
                 for color in ((9, 4, 4), (4, 5, 9)))  # fmt: skip
    assert copies([red, blue]) == []
    assert len(copies([red, half(red)])) == 1


def test_only_pairs_across_the_split_are_looked_for():
    images = textured(6)
    found = copies([*images, half(images[0]), half(images[5])], split=5)
    assert [(copy.first, copy.second) for copy in found] == [(0, 6)]


def test_groups_are_connected_with_few_pairs_and_known_ones_are_left_out():
    image, other = textured(2)
    many = [image, *[image.resize((120 + i, 90)) for i in range(11)], other]
    found = copies(many)
    groups = Groups(13)
    assert all(groups.join(copy.first, copy.second) for copy in found)  # none is superfluous
    assert groups.lists() == [list(range(12))]
    assert copies(many, joined=[(i, i + 1) for i in range(11)]) == []


def test_nothing_and_one_picture():
    empty = np.zeros((0, 64, 64, 3), np.uint8)
    assert find_copies(*reduce_pictures(empty)) == []
    assert copies(textured(1)) == []
    assert Copy(0, 1) == (0, 1, False, False, False)
    assert WINDOWS[0] == (0, 1, 0, 1)
