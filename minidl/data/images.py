"""From an image file to an array: decode, turn upright, convert the colours, resize.

Whatever the file holds, the result is uint8 of shape (H, W, C), or one clear DataError.

>>> import io
>>> from PIL import Image
>>> from minidl.data.images import load_image
>>> file = io.BytesIO()
>>> Image.new("RGB", (40, 30), "red").save(file, "JPEG")
>>> load_image(file.getvalue(), image_size=(8, 10)).shape
(8, 10, 3)
"""

from __future__ import annotations

import io
import os

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from minidl.common.argument_checks import check_pair
from minidl.common.errors import DataError
from minidl.common.image_extensions import IMAGE_EXTENSIONS

__all__ = [
    "COLOR_CHANNELS",
    "IMAGE_EXTENSIONS",
    "IMAGE_FORMATS",
    "MAX_PIXELS",
    "as_image_size",
    "load_image",
]


MAX_PIXELS = 80_000_000  # a file that declares more is taken for an attack (240 MB as RGB)

COLOR_CHANNELS = {"rgb": 3, "grayscale": 1}

# A closed list: some of Pillow's other readers start external programs.
IMAGE_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def load_image(
    source: str | os.PathLike | bytes | Image.Image,
    image_size: int | tuple[int, int] | None = None,
    color_mode: str = "rgb",
) -> np.ndarray:
    """Return an image as an array of uint8, shape (H, W, 3), or (H, W, 1) for "grayscale".

    EXIF orientation is applied. Transparent pixels are laid over white. 16-bit grey is
    scaled to 8 bits, CMYK and palettes are converted. Of an animation, the first frame is
    taken. A large JPEG is decoded at a reduced size, at least twice that asked for.

    Parameters
    ----------
    source : str, path, bytes or PIL.Image.Image
        A file's name, a file's content, or an image that Pillow has opened.
    image_size : int or (height, width), optional
        Size to resize to (bilinear, antialiased; the aspect ratio is not kept). An int
        means a square. By default the size stays.
    color_mode : {"rgb", "grayscale"}
        Which channels the result has.

    Raises
    ------
    DataError
        If the file is missing, empty, damaged, cut off, no image, or declares more than
        ``MAX_PIXELS`` pixels.
    ValueError
        For a wrong `image_size` or `color_mode`.

    Examples
    --------
    >>> from PIL import Image
    >>> load_image(Image.new("L", (4, 2), 128), color_mode="grayscale").shape
    (2, 4, 1)
    """
    size = as_image_size(image_size)
    if color_mode not in COLOR_CHANNELS:
        known = ", ".join(map(repr, COLOR_CHANNELS))
        raise ValueError(f"color_mode: expected one of {known}, received {color_mode!r}")
    if isinstance(source, Image.Image):
        return _guarded(lambda: _to_array(source, size, color_mode), "image in memory")
    if isinstance(source, (bytes, bytearray, memoryview)):
        name, file, length = "image in memory", io.BytesIO(source), len(source)
    elif isinstance(source, (str, os.PathLike)):
        name, file, length = str(source), os.fspath(source), _file_length(source)
    else:
        kind = type(source).__name__
        raise DataError(f"load_image: expected a path, bytes or a PIL image, received {kind}")
    if length == 0:
        raise DataError(f"{name}: the file is empty (0 bytes)")

    def decode() -> np.ndarray:
        with Image.open(file, formats=IMAGE_FORMATS) as image:
            _check_pixels(image)
            if size is not None:
                # Half-sized steps of the JPEG decoder itself; the larger side counts for both,
                # since the EXIF orientation may swap them.
                draft = 2 * max(size)
                image.draft("L" if color_mode == "grayscale" else "RGB", (draft, draft))
            return _to_array(image, size, color_mode)

    return _guarded(decode, name)


def as_image_size(image_size) -> tuple[int, int] | None:
    """Return (height, width) for a pair or, as a square, for an int; None stays None."""
    if image_size is None:
        return None
    return check_pair("images", "image_size", image_size)


def _file_length(path) -> int:
    """Return the file's length in bytes, or raise DataError where there is no such file."""
    try:
        length = os.stat(path).st_size
    except (OSError, ValueError) as error:  # ValueError: a zero character in the name
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path}: cannot be opened ({reason})") from None
    if not os.path.isfile(path):
        raise DataError(f"{path}: expected an image file, found a folder or a device")
    return length


def _guarded(decode, name: str) -> np.ndarray:
    """Call `decode` and turn whatever Pillow raises for a bad file into a DataError."""
    try:
        return decode()
    except DataError as error:
        reason = str(error)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        reason = f"declares more than {MAX_PIXELS:,} pixels (a decompression bomb?)"
    except UnidentifiedImageError:
        reason = f"is not an image of a known format ({', '.join(IMAGE_FORMATS)})"
    except MemoryError:
        reason = "does not fit in memory"
    # A damaged file makes Pillow's readers raise almost anything: OSError, SyntaxError,
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
    _check_pixels(image)
    image.load()
    orientation = _orientation(image)
    image = _to_eight_bits(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    if color_mode == "grayscale" and image.mode not in ("L", "RGB"):
        image = image.convert("RGB")  # not every mode can be converted straight to grey
    image = image.convert("L" if color_mode == "grayscale" else "RGB")
    if orientation in _UPRIGHT:
        image = image.transpose(_UPRIGHT[orientation])
    if size is not None and image.size != size[::-1]:
        image = image.resize(size[::-1], Image.Resampling.BILINEAR)
    pixels = np.array(image)  # (H, W) or (H, W, 3)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # damaged EXIF data does not make the picture worthless
        return 1


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """Scale 16-bit grey to 0-255; Pillow's own conversion would clip it instead."""
    if image.mode == "F":
        raise DataError("has floating-point pixels, whose range is not defined; save it as 8 bits")
    if not image.mode.startswith("I"):
        return image
    pixels = np.clip(np.asarray(image).astype(np.float32), 0, 65535)
    return Image.fromarray(np.rint(pixels / 257).astype(np.uint8))
