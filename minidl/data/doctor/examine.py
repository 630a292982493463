"""One file looked at: is it a photo that can be trained on, and of what kind?

>>> from minidl.data.doctor.examine import examine_bytes
>>> photo = examine_bytes("cat.jpg", b"to be or not to be")
>>> photo.readable, photo.problem
(False, 'not an image')
"""

from __future__ import annotations

import hashlib
import io
import os
from dataclasses import dataclass

import numpy as np
from PIL import Image

from minidl.common.errors import DataError
from minidl.data.doctor.duplicates import reduce_pictures
from minidl.data.images import IMAGE_FORMATS, load_image

__all__ = ["EXTENSIONS", "Photo", "examine", "examine_bytes", "format_of"]

SIDE = 64  # of the thumbnails
LARGEST_FILE = 2**30  # bytes; no photo of up to 80 million pixels needs more

EXTENSIONS = {
    "BMP": (".bmp",), "GIF": (".gif",), "JPEG": (".jpg", ".jpeg", ".jfif"), "PNG": (".png",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"), "TIFF": (".tif", ".tiff"), "WEBP": (".webp",),
}  # fmt: skip

_BEGINNINGS = {
    b"\xff\xd8\xff": "JPEG", b"\x89PNG": "PNG", b"GIF8": "GIF", b"RIFF": "WEBP", b"BM": "BMP",
    b"II*\0": "TIFF", b"MM\0*": "TIFF",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Photo:
    """What is known of a file.

    `problem` is empty, or says in two or three words why the file cannot be used, and `reason`
    in a sentence. `opened` tells whether the file had any content to judge. The others are set for
    readable photos: Pillow's names of `format` and `mode`, the size in pixels, a `digest` of the
    content, and the thumbnail of :func:`minidl.data.doctor.duplicates.reduce_pictures`.
    """

    file: str
    problem: str = ""
    reason: str = ""
    opened: bool = True
    format: str = ""
    mode: str = ""
    width: int = 0
    height: int = 0
    bytes: int = 0
    digest: bytes = b""
    gray: np.ndarray | None = None
    colors: np.ndarray | None = None

    @property
    def readable(self) -> bool:
        """Whether minidl can train on it."""
        return not self.problem


def examine(file: str) -> Photo:
    """Return what there is to know of a file; whatever it holds, nothing is raised."""
    try:
        status = os.stat(file)
        if not os.path.isfile(file):
            return Photo(file, "unreadable", "is a folder or a device", opened=False)
        if status.st_size > LARGEST_FILE:
            return Photo(file, "unreadable", f"is too large ({status.st_size:,} bytes)")
        with open(file, "rb") as stream:
            return examine_bytes(file, stream.read())
    except (OSError, ValueError) as error:  # ValueError: a zero character in the name
        reason = f"cannot be opened ({getattr(error, 'strerror', None) or error})"
        return Photo(file, "unreadable", reason, opened=False)


def examine_bytes(file: str, data: bytes) -> Photo:
    """Return what there is to know of a file that holds `data`."""
    if not data:
        return Photo(file, "empty file", "holds nothing (0 bytes)")
    try:
        pixels = load_image(data, SIDE)
        with Image.open(io.BytesIO(data), formats=IMAGE_FORMATS) as image:
            kind, mode, (width, height) = image.format or "", image.mode, image.size
    except DataError as error:
        reason = str(error).removeprefix("image in memory: ")
        return Photo(file, _problem(data, reason), reason)
    gray, colors = reduce_pictures(pixels[None])
    digest = hashlib.blake2b(data, digest_size=16).digest()
    return Photo(
        file, format=kind, mode=mode, width=width, height=height, bytes=len(data), digest=digest,
        gray=gray[0], colors=colors[0],
    )  # fmt: skip


def format_of(data: bytes) -> str:
    """Return the format that a file's first bytes tell, or an empty string."""
    for beginning, name in _BEGINNINGS.items():
        if data.startswith(beginning) and (name != "WEBP" or data[8:12] == b"WEBP"):
            return name
    return ""


def _problem(data: bytes, reason: str) -> str:
    """Name what is wrong with data that could not be decoded."""
    if "decompression bomb" in reason or "floating-point" in reason:
        return "unreadable"
    if _is_cut_off(data) or "truncated" in reason:
        return "truncated"
    return "not an image" if "not an image" in reason else "unreadable"


def _is_cut_off(data: bytes) -> bool:
    """Say whether an image file lacks its end; False where that cannot be told."""
    kind = format_of(data)
    if kind == "JPEG":
        return not data.rstrip(b"\0\r\n").endswith(b"\xff\xd9")
    if kind == "PNG":
        return b"IEND" not in data[-64:]
    if kind == "GIF":
        return not data.rstrip(b"\0").endswith(b";")
    if kind == "WEBP":
        return len(data) < int.from_bytes(data[4:8], "little") + 8
    if kind == "BMP":
        return len(data) < int.from_bytes(data[2:6], "little")
    return False
