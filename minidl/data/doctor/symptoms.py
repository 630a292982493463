"""Findings about single files: damaged, tiny, elongated, in odd color modes, misnamed.

>>> from minidl.data.doctor.examine import Photo
>>> from minidl.data.doctor.symptoms import file_findings
>>> photo = Photo("cat.jpg", format="PNG", mode="CMYK", size=(300, 200))
>>> for finding in file_findings([photo], str):
...     print(f"{finding.severity}: {finding.message}")
warning: 1 photo stored as CMYK, converted to RGB: cat.jpg (300x200)
note: 1 photo in PNG format with another extension (minidl goes by the content): cat.jpg (300x200)
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterator

from minidl.data.doctor.examine import EXTENSIONS, Photo, examine, format_of
from minidl.data.doctor.findings import Finding
from minidl.data.images import IMAGE_EXTENSIONS

__all__ = ["Shorten", "file_findings", "ignored_files", "join_names", "path_shortener"]

MIN_SIDE = 32  # pixels; smaller photos show few details
MAX_ASPECT = 3.0  # longer side to shorter side; resizing such photos to a square distorts them

# Formats of phone cameras, by bytes 4 to 10 of their files.
UNSUPPORTED = {b"ftypavi": "AVIF", b"ftyphei": "HEIC", b"ftypmif": "HEIF"}

# Pillow's color modes other than RGB and L.
_MODES = {
    "black and white": ["1"],
    "a palette": ["P", "PA"],
    "transparency": ["RGBA", "LA", "La", "RGBa"],
    "more than 8 bits": ["I"],
    "CMYK": ["CMYK"],
    "YCbCr": ["YCbCr"],
    "LAB": ["LAB"],
    "HSV": ["HSV"],
}

Shorten = Callable[[str], str]


def path_shortener(folders: list[str]) -> Shorten:
    """Return a function that makes paths relative to the common parent of `folders`."""
    try:
        common = os.path.commonpath([os.path.abspath(folder) for folder in folders])
    except ValueError:  # on different drives
        return str
    return lambda file: os.path.relpath(os.path.abspath(file), common)


def file_findings(photos: list[Photo], shorten: Shorten) -> Iterator[Finding]:
    """Yield one finding per damaged file, and one per unusual property of readable photos."""
    unusual = defaultdict(list)
    for photo in photos:
        if not photo.readable:
            message = f"{shorten(photo.file)}: {photo.reason}; the file is skipped"
            yield Finding(photo.problem, "warning", message, (photo.file,))
            continue
        for symptom in _symptoms(photo):
            unusual[symptom].append(photo)
    for (kind, severity, text), members in sorted(unusual.items()):
        count = f"{len(members):,} photo{'s' * (len(members) != 1)}"
        names = join_names(
            ["{} ({}x{})".format(shorten(photo.file), *photo.size) for photo in members]
        )
        files = tuple(photo.file for photo in members)
        yield Finding(kind, severity, f"{count} {text}: {names}", files)


def _symptoms(photo: Photo) -> Iterator[tuple[str, str, str]]:
    """Yield kind, severity and description of each unusual property of a readable photo."""
    short, long = sorted(photo.size)
    if short < MIN_SIDE:
        yield "tiny", "warning", f"smaller than {MIN_SIDE} pixels"
    if long > MAX_ASPECT * short:
        text = f"with an aspect ratio above {MAX_ASPECT:g}, distorted when resized to a square"
        yield "extreme aspect ratio", "warning", text
    if not photo.file.lower().endswith(EXTENSIONS.get(photo.format, ())):
        text = f"in {photo.format} format with another extension (minidl goes by the content)"
        yield "wrong extension", "note", text
    if photo.mode == "L":
        yield "grayscale", "note", "without color"
    for name, modes in _MODES.items():
        if photo.mode.partition(";")[0] in modes:
            yield "odd color mode", "warning", f"stored as {name}, converted to RGB"


def join_names(names: list[str], limit: int = 5) -> str:
    """Return names as a list in prose; beyond `limit`, the rest are counted."""
    if len(names) > limit:
        names = [*names[: limit - 1], f"{len(names) - limit + 1:,} more"]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def ignored_files(directory: str, listed: set[str], shorten: Shorten) -> Iterator[Finding]:
    """Yield a finding for each image that minidl ignores because of its name or location."""
    for folder, subfolders, names in os.walk(directory):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in sorted(name for name in names if not name.startswith(".")):
            file = os.path.join(folder, name)
            if file in listed:
                continue
            if not name.lower().endswith(IMAGE_EXTENSIONS):
                kind, reason = _check_extension(file)
            elif folder == directory:
                kind, reason = "left out", "ignored because it is in no class folder"
            else:
                continue
            if reason:
                yield Finding(kind, "warning", f"{shorten(file)}: {reason}", (file,))


def _check_extension(file: str) -> tuple[str, str]:
    """Return kind and reason of a finding if a file of unknown extension is an image."""
    start = _read_start(file)
    image_format = format_of(start)
    if unsupported := UNSUPPORTED.get(start[4:11]):
        return "left out", f"ignored because minidl cannot read {unsupported}; convert it to JPEG"
    if image_format and examine(file).readable:
        extension = EXTENSIONS[image_format][0]
        reason = f"ignored because of its extension, though in {image_format} format"
        return "wrong extension", f"{reason}; rename it to {extension}"
    return "", ""


def _read_start(file: str) -> bytes:
    """Return the first 16 bytes of a file, or none if it cannot be read."""
    try:
        if os.path.isfile(file):
            with open(file, "rb") as stream:
                return stream.read(16)
    except OSError:
        pass
    return b""
