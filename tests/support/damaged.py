"""Textured pictures, modified copies of them, and damaged files."""

import io

import numpy as np
from PIL import Image, ImageOps

from minidl.datasets.cartoon_pets import cartoon_pets


def textured(count, size=(120, 160), seed=0):
    """Return RGB images of cartoons, each blended with its own clouds."""
    cartoons, _ = cartoon_pets(count, size=size[0], seed=seed)
    images = []
    for i, cartoon in enumerate(cartoons):
        rng = np.random.default_rng([seed, i])
        coarse = rng.integers(0, 256, (9, 12, 3), np.uint8)
        clouds = Image.fromarray(coarse).resize(size[::-1], Image.Resampling.BICUBIC)
        pet = Image.fromarray(cartoon).resize(size[::-1])
        images.append(Image.blend(clouds, pet, 0.5))
    return images


def encoded(image, kind="JPEG", **options):
    """Return the content of an image file."""
    file = io.BytesIO()
    image.save(file, kind, **({"quality": 92} if kind == "JPEG" else {}) | options)
    return file.getvalue()


def half(image):
    """Return an image at half its size."""
    return image.resize((image.width // 2, image.height // 2), Image.Resampling.BICUBIC)


def cut(image, left=0.05, top=0.05, right=0.05, bottom=0.05):
    """Return an image without the given fractions at its edges."""
    width, height = image.size
    box = (left * width, top * height, (1 - right) * width, (1 - bottom) * height)
    return image.crop(tuple(round(edge) for edge in box))


# Kinds of copies: the relation that the doctor reports, and a function that makes the copy.
COPIES = {
    "at quality 40": ("recompressed copy", lambda image: encoded(image, quality=40)),
    "half": ("resized copy", lambda image: encoded(half(image))),
    "cut by 5 %": ("cropped copy", lambda image: encoded(cut(image))),
    "cut at the left": ("cropped copy", lambda image: encoded(cut(image, 0.05, 0, 0, 0))),
    "cut at a corner": ("cropped copy", lambda image: encoded(cut(image, 0, 0, 0.05, 0.05))),
    "mirrored": ("mirrored copy", lambda image: encoded(ImageOps.mirror(image))),
    "mirrored, cut, half": (
        "mirrored, cropped copy",
        lambda image: encoded(half(cut(ImageOps.mirror(image))), quality=70),
    ),
    "gray": ("grayscale copy", lambda image: encoded(image.convert("L"))),
    "as PNG": ("recompressed copy", lambda image: encoded(image, "PNG")),
    "squeezed": ("resized copy", lambda image: encoded(image.resize((128, 128)))),
}

# Kinds of damage: the problem that the doctor reports, and a function that damages a file.
RUINS = {
    "cut off": ("truncated", lambda data: data[: len(data) * 2 // 3]),
    "cut off early": ("truncated", lambda data: data[:100]),
    "text": ("not an image", lambda data: b"this is not a photo at all\n" * 20),
    "nothing": ("empty file", lambda data: b""),
}


def put(path, data):
    """Write a file, with its folder, and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def write_classes(root, images):
    """Write images as JPEG in turn into the class folders cats and dogs; return `root`."""
    for i, image in enumerate(images):
        put(root / ("cats", "dogs")[i % 2] / f"{i}.jpg", encoded(image))
    return root


def open_image(path):
    """Return the RGB image of a file."""
    return Image.open(path).convert("RGB")


def single(report, kind):
    """Return the only finding of a kind."""
    (found,) = [finding for finding in report.findings if finding.kind == kind]
    return found
