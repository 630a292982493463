"""Procedural cartoon pets: drawing primitives, random appearance, one head and tail per species.

A new species needs a function for its head, one for its tail, and an entry in ``SPECIES``.

>>> import numpy as np
>>> from PIL import Image
>>> from minidl.datasets.drawing import Appearance, Pen, draw_pet
>>> rng = np.random.default_rng(0)
>>> page = Image.new("RGB", (96, 96), "white")
>>> appearance, center = Appearance(rng), (48, 40)
>>> draw_pet("cat", Pen(page, center, 24), Pen(page, center, 24, tilt=0.2), appearance, rng)
>>> page.getpixel((0, 0)), page.getpixel((48, 40)) == (255, 255, 255)
((255, 255, 255), False)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image, ImageDraw

__all__ = [
    "SPECIES",
    "Appearance",
    "Color",
    "Pen",
    "draw_pet",
    "mix",
    "pick",
    "random_color",
    "smooth",
]

Color = tuple[int, int, int]
T = TypeVar("T")

FURS = [
    *[(226, 142, 66), (240, 196, 132), (250, 240, 226), (196, 160, 120), (134, 88, 58)],
    *[(100, 64, 48), (150, 152, 162), (178, 186, 198), (92, 96, 108), (52, 48, 52)],
]
EYES = [(112, 176, 84), (222, 176, 52), (96, 158, 214), (124, 78, 42), (84, 140, 120)]
PINK = (242, 160, 160)
GOLD = (250, 206, 70)
WHITE = (255, 252, 246)
INK = (38, 30, 34)


def draw_pet(
    species: str, body: Pen, head: Pen, look: Appearance, rng: np.random.Generator
) -> None:
    """Draw a sitting pet; both pens have the head's center as their origin, and differ in tilt."""
    draw_head, draw_tail = SPECIES[species]
    draw_tail(body, look, rng)
    _draw_body(body, look, rng)
    draw_head(head, look, rng)


class Appearance:
    """Random colors, coat pattern and position of the face, distributed alike for all species."""

    def __init__(self, rng: np.random.Generator):
        fur = self.fur = _jitter(pick(FURS, rng), rng)
        other = _jitter(pick(FURS, rng), rng)
        shade = mix(fur, pick([INK, WHITE], rng), 0.3)
        self.patch = other if rng.random() < 0.4 else shade  # ears, stripes, patches
        self.light = mix(fur, WHITE, pick([0.35, 0.6, 0.9], rng))  # muzzle, chest, paws
        ink = pick([INK, INK, INK, WHITE, WHITE], rng)
        self.outline = mix(fur, ink if sum(fur) < 600 else INK, 0.8)  # visible on white fur as well
        self.inner_ear = pick([PINK, mix(fur, INK, 0.4), mix(fur, WHITE, 0.5)], rng)
        self.eye = pick(EYES, rng)
        self.nose = pick([INK, (94, 60, 56), (214, 120, 122)], rng)
        self.pattern = pick(["plain", "stripes", "patch", "mask", "spots"], rng)
        self.face = rng.uniform((-0.2, -0.08), (0.2, 0.1))  # position on the head


class Pen:
    """A pen that draws smooth shapes in the coordinates of the pet.

    The origin is the center of the head, the unit is its radius, and y points down.

    Parameters
    ----------
    image : PIL.Image.Image
        The image to draw on.
    center : (float, float)
        Pixel of the origin.
    scale : float
        Pixels per unit.
    tilt : float
        Angle in radians.
    mirror : {1, -1}
        -1 exchanges left and right.
    """

    def __init__(
        self,
        image: Image.Image,
        center: ArrayLike,
        scale: float,
        tilt: float = 0.0,
        mirror: int = 1,
    ):
        self.image, self.draw = image, ImageDraw.Draw(image)
        self.center = np.asarray(center, float)
        self.scale, self.tilt, self.mirror = scale, tilt, mirror
        cos, sin = scale * math.cos(tilt), scale * math.sin(tilt)
        self.matrix = np.array([[mirror * cos, mirror * sin], [-sin, cos]])

    def moved(self, shift: ArrayLike = (0, 0), image: Image.Image | None = None) -> Pen:
        """Return a pen with its origin at this pen's point `shift`, on `image` if it is given."""
        center = self.center + np.asarray(shift) @ self.matrix
        return Pen(image or self.image, center, self.scale, self.tilt, self.mirror)

    def shape(
        self, points: ArrayLike, fill: Color, outline: Color | None = None, rounds: int = 3
    ) -> None:
        """Fill a closed shape after `rounds` rounds of corner cutting (Chaikin's algorithm)."""
        points = np.asarray(points, float)
        for _ in range(rounds):
            after = np.roll(points, -1, axis=0)
            pairs = np.stack([0.75 * points + 0.25 * after, 0.25 * points + 0.75 * after], 1)
            points = pairs.reshape(-1, 2)
        pixels = self._to_pixels(points)
        self.draw.polygon(pixels, fill)
        if outline is not None:
            self.draw.line(pixels + pixels[:2], outline, self._to_width(0.06), "curve")

    def ellipse(
        self,
        x: float,
        y: float,
        rx: float,
        ry: float,
        fill: Color,
        outline: Color | None = None,
    ) -> None:
        """Fill an ellipse with center (x, y) and radii rx and ry."""
        self.shape(CIRCLE * (rx, ry) + (x, y), fill, outline, rounds=0)

    def line(self, points: ArrayLike, fill: Color, width: float = 0.05) -> None:
        """Draw a smooth open line through `points`."""
        points = np.asarray(points, float)
        if len(points) > 2:
            points = smooth(points)
        self.draw.line(self._to_pixels(points), fill, self._to_width(width), "curve")

    def inside(self, points: np.ndarray, paint: Callable[[Pen], None]) -> None:
        """Call ``paint(pen)``, and clip what it draws to the shape `points`."""
        painted = self.image.copy()
        paint(self.moved(image=painted))
        mask = Image.new("L", painted.size)
        ImageDraw.Draw(mask).polygon(self._to_pixels(points), 255)
        self.image.paste(painted, mask=mask)

    def _to_pixels(self, points: np.ndarray) -> list[float]:
        return (points @ self.matrix + self.center).ravel().tolist()

    def _to_width(self, width: float) -> int:
        return max(2, round(width * self.scale))


def smooth(points: np.ndarray) -> np.ndarray:
    """Return points along the Catmull-Rom curve through `points`."""
    before = np.concatenate([points[:1], points[:-1]])
    after = np.concatenate([points[1:], points[-1:]])
    slope = (after - before) / 2
    p, q, u, v = points[:-1], points[1:], slope[:-1], slope[1:]
    t = np.linspace(0, 1, 7)[:-1, None, None]
    curve = p + t * u + t**2 * (3 * (q - p) - 2 * u - v) + t**3 * (2 * (p - q) + u + v)
    return np.concatenate([curve.swapaxes(0, 1).reshape(-1, 2), points[-1:]])


_angles = np.linspace(0, 2 * np.pi, 28, endpoint=False)
CIRCLE = np.stack([np.cos(_angles), np.sin(_angles)], axis=1)


def pick(items: list[T], rng: np.random.Generator) -> T:
    """Return one of `items` at random."""
    return items[rng.integers(len(items))]


def mix(a: Color, b: Color, share: float) -> Color:
    """Return a mixture of two colors, with a `share` of `b`."""
    red, green, blue = (round(p + (q - p) * share) for p, q in zip(a, b, strict=True))
    return red, green, blue


def random_color(rng: np.random.Generator, avoid: Color | None = None) -> Color:
    """Return a color of moderate saturation that differs from `avoid`."""
    while True:
        red, green, blue = rng.integers(20, 256, 3).tolist()
        gray = (red + green + blue) // 3
        color = mix((red, green, blue), (gray, gray, gray), 0.4)
        if avoid is None or np.abs(np.subtract(color, avoid)).sum() > 180:
            return color


def _jitter(color: Color, rng: np.random.Generator) -> Color:
    """Change the brightness and hue of a color slightly."""
    jittered = np.multiply(color, rng.uniform(0.85, 1.15)) + rng.normal(0, 5, 3)
    red, green, blue = np.clip(jittered, 0, 255).astype(int).tolist()
    return red, green, blue


def _draw_body(pen: Pen, look: Appearance, rng: np.random.Generator) -> None:
    side = np.array([(0.5, 0.3), (0.75, 1.2), (1.25, 2.1), (1.0, 2.9)])
    pen.shape([*(side * (-1, 1)), *side[::-1]], look.fur, look.outline)
    pen.ellipse(0, 1.5, 0.42, 0.62, look.light)
    for x in (-0.36, 0.36):
        pen.ellipse(x, 2.1, 0.3, 0.72, look.fur, look.outline)
        pen.ellipse(x, 2.68, 0.38, 0.22, look.light, look.outline)
    if rng.random() < 0.5:  # collar with a tag
        pen.line([(-0.62, 0.86), (0, 1.06), (0.62, 0.86)], random_color(rng, look.fur), 0.16)
        pen.ellipse(0, 1.17, 0.13, 0.13, GOLD, look.outline)


def _draw_skull(pen: Pen, points: np.ndarray, look: Appearance, rng: np.random.Generator) -> None:
    """Fill the shape of the head, and draw the pattern of the coat on it."""
    side = pick([-1, 1], rng)

    def paint(inner: Pen) -> None:
        if look.pattern == "stripes":
            for x in (-0.28, 0, 0.28):
                wedge = [(x - 0.08, -1), (x * 0.7, -0.45), (x + 0.08, -1)]
                inner.shape(wedge, look.patch, rounds=0)
            for cheek, y in ((-1, 0.05), (-1, 0.3), (1, 0.05), (1, 0.3)):
                inner.line([(cheek * 1.1, y), (cheek * 0.68, y + 0.08)], look.patch, 0.09)
        elif look.pattern == "patch":
            inner.ellipse(side * 0.5, -0.25, 0.5, 0.55, look.patch)
        elif look.pattern == "mask":
            blaze = np.array([(0.2, -1), (0.35, 0.2), (0.8, 0.9)])
            inner.shape([*(blaze * (-1, 1)), *blaze[::-1]], look.light)
        elif look.pattern == "spots":
            for x, y in rng.uniform((-0.9, -0.8), (0.9, 0.8), (6, 2)):
                inner.ellipse(x, y, 0.13, 0.11, look.patch)

    pen.shape(points, look.fur, look.outline, rounds=0)
    pen.inside(points, paint)


def _draw_eyes(
    pen: Pen, look: Appearance, rng: np.random.Generator, apart: float, y: float, pupil: float
) -> None:
    happy = rng.random() < 0.15
    for x in (-apart, apart):
        if happy:  # closed
            pen.line([(x - 0.18, y + 0.04), (x, y - 0.1), (x + 0.18, y + 0.04)], INK, 0.08)
        else:
            pen.ellipse(x, y, 0.2, 0.22, look.eye, INK)
            pen.ellipse(x, y, pupil, 0.18, INK)
            pen.ellipse(x - 0.06, y - 0.08, 0.06, 0.06, WHITE)


def _draw_nose(pen: Pen, look: Appearance, y: float, width: float) -> None:
    corners = np.array([(-1, -0.75), (1, -0.75), (0.3, 0.75), (-0.3, 0.75)])
    pen.shape(corners * width + (0, y), look.nose, INK, rounds=2)


def _draw_cat(pen: Pen, look: Appearance, rng: np.random.Generator) -> None:
    flare = rng.uniform(-0.12, 0.12)
    for mirror in ((-1, 1), (1, 1)):
        ear = np.array([(0.98, -0.2), (0.78 + flare, -1.55), (0.18, -0.75)])
        inner = np.array([(0.85, -0.5), (0.75 + flare, -1.28), (0.4, -0.75)])
        pen.shape(ear * mirror, look.patch, look.outline, rounds=0)
        pen.shape(inner * mirror, look.inner_ear, rounds=0)
    _draw_skull(pen, CIRCLE * (1.04, 0.9), look, rng)
    face = pen.moved(look.face)
    _draw_eyes(face, look, rng, 0.42, -0.1, rng.uniform(0.06, 0.14))
    for x in (-0.15, 0.15):
        face.ellipse(x, 0.42, 0.2, 0.16, look.light)
    face.line([(-0.22, 0.46), (-0.1, 0.54), (0, 0.42), (0.1, 0.54), (0.22, 0.46)], INK)
    _draw_nose(face, look, 0.29, 0.11)
    whisker = WHITE if sum(look.fur) < 380 else INK
    droop = rng.uniform(-0.15, 0.2)
    for side in (-0.36, 0.36):
        for start, end in ((0.34, 0.2), (0.42, 0.45), (0.5, 0.7)):
            face.line([(side, start), (3.6 * side, end + droop)], whisker, 0.04)


def _draw_cat_tail(pen: Pen, look: Appearance, rng: np.random.Generator) -> None:
    points = [(0.9, 2.5), (1.6, 2.2), (1.5, 1.4), (1.9 + rng.uniform(-0.3, 0.3), 0.8)]
    for color, width in ((look.outline, 0.42), (look.fur, 0.3)):
        pen.line(points, color, width)
        pen.ellipse(*points[-1], width / 2, width / 2, color)


def _draw_dog(pen: Pen, look: Appearance, rng: np.random.Generator) -> None:
    _draw_skull(pen, CIRCLE * (0.92, 0.9) - (0, 0.04), look, rng)
    low, out = rng.uniform(0.6, 1.0), rng.uniform(-0.1, 0.2)
    outer = [(0.5, -0.88), (0.95, -0.95), (1.35 + out, -0.2), (1.4 + out, low)]
    inner = [(0.95 + out, low + 0.1), (0.85, 0.1), (0.62, -0.35)]
    for mirror in ((-1, 1), (1, 1)):
        pen.shape(np.array(outer + inner) * mirror, look.patch, look.outline)
    face = pen.moved(look.face)
    _draw_eyes(face, look, rng, 0.36, -0.22, rng.uniform(0.11, 0.15))
    if rng.random() < 0.5:
        tongue = [(-0.14, 0.8), (0.16, 0.8), (0.2, 1.2), (0.0, 1.35), (-0.14, 1.2)]
        face.shape(tongue, PINK, INK)
    face.ellipse(0, 0.52, 0.46, 0.5, look.light, look.outline)
    face.line([(0, 0.3), (0, 0.68)], INK)
    face.line([(-0.26, 0.66), (-0.12, 0.76), (0, 0.66), (0.12, 0.76), (0.26, 0.66)], INK)
    _draw_nose(face, look, 0.26, 0.2)


def _draw_dog_tail(pen: Pen, look: Appearance, rng: np.random.Generator) -> None:
    tip = 1.0 + rng.uniform(-0.3, 0.3)
    points = [(0.9, 2.1), (1.5, 2.0), (2.0, tip + 0.2), (1.7, tip), (1.3, 1.6), (0.8, 2.5)]
    pen.shape(points, look.fur, look.outline, rounds=2)


def _draw_rabbit(pen: Pen, look: Appearance, rng: np.random.Generator) -> None:
    for side in (-1, 1):
        root = np.array((side * 0.38, -0.6))
        tip = np.array((side * 0.5 + rng.uniform(-0.2, 0.2), -1.7))
        for wide, color, outline in ((0.26, look.fur, look.outline), (0.13, look.inner_ear, None)):
            across = np.array((wide, 0))
            ear = [root - across, tip - across, tip - (0, 0.5), tip + across, root + across]
            pen.shape(ear, color, outline)
    _draw_skull(pen, CIRCLE * (0.95, 0.86), look, rng)
    face = pen.moved(look.face)
    _draw_eyes(face, look, rng, 0.44, -0.1, 0.14)
    for x in (-0.16, 0.16):
        face.ellipse(x, 0.4, 0.22, 0.18, look.light)
    face.shape([(-0.11, 0.5), (0.11, 0.5), (0.1, 0.72), (-0.1, 0.72)], WHITE, INK, rounds=0)
    face.line([(0, 0.5), (0, 0.72)], INK, 0.04)
    _draw_nose(face, look, 0.27, 0.1)


def _draw_rabbit_tail(pen: Pen, look: Appearance, rng: np.random.Generator) -> None:
    pen.ellipse(1.15, 2.3, 0.38, 0.36, look.light, look.outline)


def _draw_bear(pen: Pen, look: Appearance, rng: np.random.Generator) -> None:
    for x in (-0.78, 0.78):
        pen.ellipse(x, -0.72, 0.38, 0.38, look.fur, look.outline)
        pen.ellipse(x, -0.72, 0.2, 0.2, look.inner_ear)
    _draw_skull(pen, CIRCLE * (1.08, 0.94), look, rng)
    face = pen.moved(look.face)
    _draw_eyes(face, look, rng, 0.42, -0.18, 0.14)
    face.ellipse(0, 0.38, 0.42, 0.34, look.light, look.outline)
    face.line([(-0.16, 0.5), (0, 0.58), (0.16, 0.5)], INK)
    _draw_nose(face, look, 0.26, 0.16)


def _draw_bear_tail(pen: Pen, look: Appearance, rng: np.random.Generator) -> None:
    pen.ellipse(1.1, 2.4, 0.25, 0.25, look.fur, look.outline)


SPECIES = {
    "cat": (_draw_cat, _draw_cat_tail),
    "dog": (_draw_dog, _draw_dog_tail),
    "rabbit": (_draw_rabbit, _draw_rabbit_tail),
    "bear": (_draw_bear, _draw_bear_tail),
}
