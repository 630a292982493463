"""Image decoding: upright orientation, color conversion, resizing.

The result is always uint8 of shape (H, W, C); a file that cannot be used raises DataError.

>>> import io
>>> from PIL import Image
>>> from minidl.data.images import load_image
>>> file = io.BytesIO()
>>> Image.new("RGB", (40, 30), "red").save(file, "JPEG")
>>> load_image(file.getvalue(), image_size=(8, 10)).shape
(8, 10, 3)
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from minidl.common.argument_checks import check_choice, check_pair
from minidl.common.errors import DataError
from minidl.common.image_extensions import IMAGE_EXTENSIONS

__all__ = [
    "COLOR_CHANNELS",
    "IMAGE_EXTENSIONS",
    "IMAGE_FORMATS",
    "MAX_PIXELS",
    "load_image",
    "read_file",
]

MAX_BYTES = 2**30  # no photo of MAX_PIXELS needs more
MAX_PIXELS = 80_000_000  # 240 MB as RGB; a file that declares more is treated as an attack

COLOR_CHANNELS = {"rgb": 3, "grayscale": 1}

# A closed list, because some of Pillow's other readers start external programs.
IMAGE_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")


def load_image(
    source: str | os.PathLike[str] | bytes | Image.Image,
    image_size: int | tuple[int, int] | None = None,
    color_mode: str = "rgb",
) -> np.ndarray:
    """Return an image as an array of uint8, shape (H, W, 3), or (H, W, 1) for "grayscale".

    EXIF orientation is applied. Transparent pixels are laid over white. 16-bit gray is scaled to
    8 bits; CMYK and palettes are converted. The first frame of an animation is used. A large JPEG
    is decoded at a reduced size, at least twice `image_size`.

    Parameters
    ----------
    source : str, path, bytes or PIL.Image.Image
        A file's name, a file's content, or an image that Pillow has opened.
    image_size : int or (height, width), optional
        Size in pixels to resize to; an int means a square. The resampling is bilinear with
        antialiasing, and the aspect ratio is not kept. By default the size stays.
    color_mode : {"rgb", "grayscale"}
        The channels of the result.

    Returns
    -------
    numpy.ndarray of uint8, shape (H, W, C)

    Raises
    ------
    DataError
        If the file is missing, empty, damaged, truncated, not an image, or declares more than
        ``MAX_PIXELS`` pixels.
    ValueError
        For a wrong `image_size` or `color_mode`.

    Examples
    --------
    >>> from PIL import Image
    >>> load_image(Image.new("L", (4, 2), 128), color_mode="grayscale").shape
    (2, 4, 1)
    """
    size = None if image_size is None else check_pair("load_image", "image_size", image_size)
    check_choice("load_image", "color_mode", color_mode, COLOR_CHANNELS)
    name = "image in memory"
    if isinstance(source, Image.Image):
        with _pillow_errors(name):
            return _to_array(source, size, color_mode)
    if isinstance(source, (str, os.PathLike)):
        name, source = str(source), read_file(source)
    if not isinstance(source, (bytes, bytearray, memoryview)):
        kind = type(source).__name__
        raise DataError(f"load_image: expected a path, bytes or a PIL image, received {kind}")
    if len(source) == 0:
        raise DataError(f"{name}: the file is empty (0 bytes)")
    with _pillow_errors(name), Image.open(io.BytesIO(source), formats=IMAGE_FORMATS) as image:
        _check_pixels(image)
        if size is not None:
            # The JPEG decoder halves sizes by itself. The larger side counts for both, because
            # the EXIF orientation may swap them.
            draft = 2 * max(size)
            image.draft("L" if color_mode == "grayscale" else "RGB", (draft, draft))
        return _to_array(image, size, color_mode)


def read_file(path: str | os.PathLike[str]) -> bytes:
    """Return the content of an image file, or raise DataError if it cannot be read."""
    try:
        size = os.stat(path).st_size
        is_file = os.path.isfile(path)
        if is_file and size <= MAX_BYTES:
            with open(path, "rb") as file:
                return file.read()
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path}: cannot be opened ({reason})") from None
    reason = f"too large ({size:,} bytes)" if is_file else "a folder or a device"
    raise DataError(f"{path}: expected an image file, received {reason}")


@contextlib.contextmanager
def _pillow_errors(name: str) -> Iterator[None]:
    """Turn any exception that Pillow raises for a bad file into a DataError."""
    try:
        yield
        return
    except DataError as error:
        reason = str(error)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        reason = f"declares more than {MAX_PIXELS:,} pixels (a decompression bomb?)"
    except UnidentifiedImageError:
        reason = f"is not an image of a known format ({', '.join(IMAGE_FORMATS)})"
    except MemoryError:
        reason = "does not fit in memory"
    # Pillow's readers raise almost any exception for a damaged file: OSError, SyntaxError,
    # struct.error, zlib.error, KeyError...
    except Exception as error:
        reason = f"is damaged or cut off ({error or type(error).__name__})"
    raise DataError(f"{name}: {reason}")


def _check_pixels(image: Image.Image) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise DataError(
            f"declares {width} x {height} pixels, more than {MAX_PIXELS:,} (a decompression bomb?)"
        )


def _to_array(image: Image.Image, size: tuple[int, int] | None, color_mode: str) -> np.ndarray:
    """Return an opened image as uint8, shape (H, W, C): upright, converted and resized."""
    _check_pixels(image)
    image.load()
    with contextlib.suppress(Exception):  # damaged EXIF data does not make an image unusable
        image = ImageOps.exif_transpose(image)
    image = _to_eight_bits(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    if color_mode == "grayscale" and image.mode not in ("L", "RGB"):
        image = image.convert("RGB")  # not every mode can be converted directly to gray
    image = image.convert("L" if color_mode == "grayscale" else "RGB")
    if size is not None and image.size != size[::-1]:
        image = image.resize(size[::-1], Image.Resampling.BILINEAR)
    pixels = np.array(image)  # (H, W) or (H, W, 3)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """Scale 16-bit gray to 0-255, which Pillow would clip instead."""
    if image.mode == "F":
        raise DataError("has floating-point pixels, whose range is not defined; save it as 8 bits")
    if not image.mode.startswith("I"):
        return image
    pixels = np.clip(np.asarray(image).astype(np.float32), 0, 65535)
    return Image.fromarray(np.rint(pixels / 257).astype(np.uint8))
