"""Drawing primitives: coordinates of the pen, shapes, clipping, colors, and all species."""

import math

import numpy as np
import pytest
from PIL import Image

from minidl.datasets.drawing import (
    SPECIES,
    Appearance,
    Pen,
    draw_pet,
    mix,
    pick,
    random_color,
    smooth,
)

RED, BLUE, WHITE = (255, 0, 0), (0, 0, 255), (255, 255, 255)


def page(size=64):
    return Image.new("RGB", (size, size), "white")


def center_of(image, color):
    """Return the mean (column, row) of the pixels of a color."""
    rows, columns = np.nonzero((np.asarray(image) == color).all(axis=2))
    return columns.mean(), rows.mean()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, (42, 32)),
        ({"mirror": -1}, (22, 32)),
        ({"tilt": math.pi / 2}, (32, 42)),  # clockwise, because y points down
        ({"tilt": math.pi / 2, "mirror": -1}, (32, 22)),
    ],
)
def test_a_pen_mirrors_and_tilts(options, expected):
    image = page()
    Pen(image, (32, 32), 20, **options).ellipse(0.5, 0, 0.1, 0.1, RED)
    assert center_of(image, RED) == pytest.approx(expected, abs=0.6)


def test_a_moved_pen_keeps_scale_and_tilt():
    image, other = page(), page()
    pen = Pen(image, (32, 32), 20, tilt=math.pi / 2)
    pen.moved((0.5, 0)).ellipse(0, 0, 0.1, 0.1, RED)
    assert center_of(image, RED) == pytest.approx((32, 42), abs=0.6)
    pen.moved(image=other).ellipse(0, 0, 0.1, 0.1, BLUE)
    assert center_of(other, BLUE) == pytest.approx((32, 32), abs=0.6)


def test_corner_cutting_shrinks_a_shape():
    square = [(-1, -1), (1, -1), (1, 1), (-1, 1)]
    areas = []
    for rounds in (0, 1, 3):
        image = page()
        Pen(image, (32, 32), 20).shape(square, RED, rounds=rounds)
        areas.append((np.asarray(image) == RED).all(axis=2).sum())
    # Each round cuts triangles with legs of a quarter of the side: 4 / 32 of the area at first.
    assert areas[0] > areas[1] > areas[2]
    assert areas[1] / areas[0] == pytest.approx(7 / 8, abs=0.03)


def test_an_outline_surrounds_the_shape():
    image = page()
    Pen(image, (32, 32), 20).ellipse(0, 0, 1, 1, RED, BLUE)
    pixels = np.asarray(image)
    assert pixels[32, 32].tolist() == list(RED)
    assert pixels[32, 12].tolist() == list(BLUE)
    assert pixels[32, 8].tolist() == list(WHITE)


def test_painting_inside_a_shape_is_clipped():
    image = page()
    square = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)])
    Pen(image, (32, 32), 10).inside(square, lambda pen: pen.ellipse(0, 0, 3, 3, RED))
    red = (np.asarray(image) == RED).all(axis=2)
    assert red[23:42, 23:42].all()
    assert not red[:21].any()
    assert not red[:, :21].any()


def test_a_smooth_curve_passes_through_its_points():
    points = np.array([(0.0, 0.0), (1.0, 2.0), (3.0, 1.0), (4.0, 4.0)])
    curve = smooth(points)
    assert len(curve) == 6 * 3 + 1
    np.testing.assert_allclose(curve[::6], points, atol=1e-12)


def test_mixtures_of_colors():
    assert mix(RED, BLUE, 0) == RED
    assert mix(RED, BLUE, 1) == BLUE
    assert mix((0, 100, 200), (100, 100, 0), 0.25) == (25, 100, 150)


def test_random_colors_differ_from_the_avoided_one():
    rng = np.random.default_rng(0)
    for _ in range(200):
        color = random_color(rng, avoid=(120, 130, 140))
        assert sum(abs(a - b) for a, b in zip(color, (120, 130, 140), strict=True)) > 180
        assert 0 <= min(color) <= max(color) <= 255


def test_pick_reaches_every_item():
    rng = np.random.default_rng(0)
    assert {pick([1, 2, 3], rng) for _ in range(100)} == {1, 2, 3}


@pytest.mark.parametrize("pattern", ["plain", "stripes", "patch", "mask", "spots"])
def test_every_species_is_drawn_with_every_pattern(pattern):
    images = []
    for species in SPECIES:
        rng = np.random.default_rng(0)
        appearance = Appearance(rng)
        appearance.pattern = pattern
        image = page(96)
        pens = (Pen(image, (48, 40), 20, tilt) for tilt in (0.0, 0.2))
        draw_pet(species, *pens, appearance, rng)
        images.append(np.asarray(image))
        drawn = (images[-1] != WHITE).any(axis=2)
        assert drawn[40, 48]
        assert 0.2 < drawn.mean() < 0.9
        assert not drawn[:2, :2].any()
    for i, image in enumerate(images):
        assert all((image != other).any(axis=2).mean() > 0.02 for other in images[:i])
