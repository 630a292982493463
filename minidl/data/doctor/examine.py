"""Examination of one file: whether it is a usable photo, and its properties.

>>> from minidl.data.doctor.examine import examine_bytes
>>> photo = examine_bytes("cat.jpg", b"to be or not to be")
>>> photo.readable, photo.problem
(False, 'not an image')
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from minidl.common.errors import DataError
from minidl.data.doctor.duplicates import reduce_pictures
from minidl.data.images import IMAGE_FORMATS, load_image, read_file

__all__ = ["EXTENSIONS", "Photo", "examine", "examine_bytes", "format_of"]

THUMBNAIL_SIZE = 64  # pixels

EXTENSIONS = {
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "JPEG": (".jpg", ".jpeg", ".jfif"),
    "PNG": (".png",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
}

_SIGNATURES = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG": "PNG",
    b"GIF8": "GIF",
    b"RIFF": "WEBP",
    b"BM": "BMP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
}


@dataclass(frozen=True, eq=False)
class Photo:
    """Properties of one examined file; those after `opened` are set for readable photos.

    Attributes
    ----------
    file : str
        The path.
    label : str
        The class.
    subset : int
        0 for training, 1 for test.
    problem : str
        Why the file cannot be used, in two or three words; empty for a readable photo.
    reason : str
        The same in a sentence.
    opened : bool
        Whether the content of the file could be read from the disk.
    format, mode : str
        Pillow's names of the file format and the color mode.
    size : (width, height)
        Size in pixels.
    file_size : int
        Size of the file in bytes.
    digest : bytes
        Hash of the content.
    thumbnail : (gray, colors)
        Arrays of :func:`minidl.data.doctor.duplicates.reduce_pictures`.
    """

    file: str
    label: str = ""
    subset: int = 0
    problem: str = ""
    reason: str = ""
    opened: bool = True
    format: str = ""
    mode: str = ""
    size: tuple[int, int] = (0, 0)
    file_size: int = 0
    digest: bytes = b""
    thumbnail: tuple[np.ndarray, ...] = ()

    @property
    def readable(self) -> bool:
        """Whether minidl can train on the file."""
        return not self.problem


def examine(file: str, label: str = "", subset: int = 0) -> Photo:
    """Return the properties of a file; no content of a file raises an exception."""
    try:
        photo = examine_bytes(file, read_file(file))
    except DataError as error:
        reason = str(error).removeprefix(f"{file}: ")
        photo = Photo(file, problem="unreadable", reason=reason, opened=False)
    return dataclasses.replace(photo, label=label, subset=subset)


def examine_bytes(file: str, data: bytes) -> Photo:
    """Return the properties of a file whose content is `data`."""
    try:
        pixels = load_image(data, THUMBNAIL_SIZE)
        with Image.open(io.BytesIO(data), formats=IMAGE_FORMATS) as image:
            file_format, mode, size = image.format or "", image.mode, image.size
    except DataError as error:
        reason = str(error).removeprefix("image in memory: ")
        return Photo(file, problem=_name_problem(data, reason), reason=reason)
    (gray,), (colors,) = reduce_pictures(pixels[None])
    return Photo(
        file,
        format=file_format,
        mode=mode,
        size=size,
        file_size=len(data),
        digest=hashlib.blake2b(data, digest_size=16).digest(),
        thumbnail=(gray, colors),
    )


def format_of(data: bytes) -> str:
    """Return the image format of a file from its first bytes; empty if unknown."""
    for signature, name in _SIGNATURES.items():
        if data.startswith(signature) and (name != "WEBP" or data[8:12] == b"WEBP"):
            return name
    return ""


def _name_problem(data: bytes, reason: str) -> str:
    """Return the problem of data that could not be decoded, in two or three words."""
    if not data:
        return "empty file"
    if "decompression bomb" in reason or "floating-point" in reason:
        return "unreadable"
    if _is_truncated(data) or "truncated" in reason:
        return "truncated"
    return "not an image" if "not an image" in reason else "unreadable"


def _is_truncated(data: bytes) -> bool:
    """Return whether the end of an image file is missing; False if that is not known."""
    match format_of(data):
        case "JPEG":
            return not data.rstrip(b"\0\r\n").endswith(b"\xff\xd9")
        case "PNG":
            return b"IEND" not in data[-64:]
        case "GIF":
            return not data.rstrip(b"\0").endswith(b";")
        case "WEBP":
            return len(data) < int.from_bytes(data[4:8], "little") + 8
        case "BMP":
            return len(data) < int.from_bytes(data[2:6], "little")
    return False
