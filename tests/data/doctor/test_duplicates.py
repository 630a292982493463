"""Copies: each kind is found, and different pictures are not."""

import numpy as np
import pytest
from PIL import Image
from support.damaged import COPIES, cut, half, textured

from minidl.data import load_image
from minidl.data.doctor.duplicates import Copy, Groups, find_copies, reduce_pictures
from minidl.datasets.cartoon_pets import cartoon_pets


def thumbnails(images):
    return np.stack([load_image(image, 64) for image in images])


def copies(images, **options):
    return find_copies(*reduce_pictures(thumbnails(images)), **options)


@pytest.mark.parametrize("kind", COPIES)
def test_each_kind_of_copy_is_found(kind):
    relation, modify = COPIES[kind]
    images = textured(40)
    pixels = [load_image(image, 64) for image in images]
    again = [load_image(modify(images[i]), 64) for i in (3, 17, 31)]
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
def test_different_drawings_are_not_copies(size):
    pictures, _ = cartoon_pets(1000, size=size, seed=3)
    assert copies([Image.fromarray(picture) for picture in pictures]) == []


def test_plain_pictures_and_noise_are_not_copies():
    rng = np.random.default_rng(0)
    plain = [Image.new("RGB", (60, 40), (value,) * 3) for value in (0, 90, 90, 255)]
    faint = [Image.fromarray(rng.integers(99, 102, (40, 60, 3), np.uint8)) for _ in range(4)]
    noise = [Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8)) for _ in range(30)]
    assert copies(plain + faint + noise) == []


def test_photos_of_a_moving_object_are_not_copies():
    scene = textured(1, (240, 320))[0]
    target = Image.new("RGB", (40, 40), (240, 220, 40))
    frames = []
    for x in (60, 90, 120):
        frame = scene.copy()
        frame.paste(target, (x, 90))
        frames.append(frame)
    assert copies(frames) == []
    assert len(copies([*frames, half(frames[1])])) == 1


def test_pictures_of_other_colors_are_not_copies():
    mask = textured(1)[0].convert("L")
    red, blue = (
        Image.merge("RGB", [mask.point(lambda v, k=k: v * k // 9) for k in color])
        for color in ((9, 4, 4), (4, 5, 9))
    )
    assert copies([red, blue]) == []
    assert len(copies([red, half(red)])) == 1


def test_with_a_split_only_pairs_across_it_are_found():
    images = textured(6)
    found = copies([*images, half(images[0]), half(images[5])], split=5)
    assert [(copy.first, copy.second) for copy in found] == [(0, 6)]


def test_groups_are_connected_by_few_pairs_and_known_copies_are_not_compared():
    image, other = textured(2)
    many = [image, *[image.resize((120 + i, 90)) for i in range(11)], other]
    found = copies(many)
    groups = Groups(13)
    assert all(
        groups.join(copy.first, copy.second) for copy in found
    )  # every pair connects two groups
    assert groups.lists() == [list(range(12))]
    assert copies(many, joined=[(i, i + 1) for i in range(11)]) == []


def test_no_pictures_and_one_picture():
    empty = np.zeros((0, 64, 64, 3), np.uint8)
    assert find_copies(*reduce_pictures(empty)) == []
    assert copies(textured(1)) == []
    assert Copy(0, 1) == (0, 1, False, False, False)
