"""What is odd about single files: damaged, tiny, long, in strange colours, wrongly named.

>>> from minidl.data.doctor.examine import Photo
>>> from minidl.data.doctor.symptoms import file_findings
>>> photo = Photo("cat.jpg", format="PNG", mode="CMYK", width=300, height=200)
>>> for finding in file_findings([photo], str):
...     print(f"{finding.severity}: {finding.message}")
note: 1 photo PNG by content, not by extension (minidl goes by content): cat.jpg (300x200)
warning: 1 photo stored with CMYK, converted to RGB: cat.jpg (300x200)
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from minidl.data.doctor.examine import EXTENSIONS, Photo, examine, format_of
from minidl.data.doctor.findings import Finding
from minidl.data.images import IMAGE_EXTENSIONS

__all__ = ["Shorten", "file_findings", "join_names", "overlooked", "shortener"]

TINY = 32  # pixels; of smaller photos little can be seen
EXTREME = 3.0  # of the longer side to the shorter: resizing to a square distorts it badly
# Photos of telephones, by bytes 4 to 10 of their files.
FOREIGN = {b"ftypavi": "AVIF", b"ftyphei": "HEIC", b"ftypmif": "HEIF"}

_MODES = {
    "1": "black and white", "CMYK": "CMYK", "P": "a palette", "PA": "a palette",
    "RGBA": "transparency", "LA": "transparency", "La": "transparency", "RGBa": "transparency",
    "I": "more than 8 bits", "YCbCr": "YCbCr", "LAB": "LAB", "HSV": "HSV",
}  # fmt: skip

Shorten = Callable[[str], str]


def shortener(folders: list[str]):
    """Return a function that writes files without what all their folders have in common."""
    absolute = [os.path.abspath(folder) for folder in folders]
    try:
        common = os.path.commonpath(absolute)
    except ValueError:  # on different drives
        return str
    return lambda file: os.path.relpath(os.path.abspath(file), common)


def file_findings(photos: list[Photo], short) -> Iterator[Finding]:
    """Yield what is wrong with single files: the damaged one by one, the odd ones together."""
    for photo in photos:
        if not photo.readable:
            message = f"{short(photo.file)}: {photo.reason}; it is skipped"
            yield Finding(photo.problem, "warning", message, (photo.file,))
    photos = [photo for photo in photos if photo.readable]
    tiny = [p for p in photos if min(p.width, p.height) < TINY]
    yield from _together("tiny", "warning", tiny, f"smaller than {TINY} pixels", short)
    extreme = [p for p in photos if max(p.width, p.height) > EXTREME * min(p.width, p.height)]
    text = f"more than {EXTREME:g} times as long as wide, distorted when resized to a square"
    yield from _together("extreme aspect ratio", "warning", extreme, text, short)
    wrong = [p for p in photos if not p.file.lower().endswith(EXTENSIONS.get(p.format, ()))]
    for name in sorted({photo.format for photo in wrong}):
        some = [photo for photo in wrong if photo.format == name]
        text = f"{name} by content, not by extension (minidl goes by content)"
        yield from _together("wrong extension", "note", some, text, short)
    modes = {photo.mode: _mode(photo.mode) for photo in photos}
    for name in sorted({name for name in modes.values() if name}):
        some = [photo for photo in photos if modes[photo.mode] == name]
        if name == "grayscale":
            yield from _together("grayscale", "note", some, "without colours", short)
        else:
            text = f"stored with {name}, converted to RGB"
            yield from _together("odd colour mode", "warning", some, text, short)


def _mode(mode: str) -> str:
    """Return what is special about one of Pillow's modes, or an empty string."""
    if mode.startswith("I;"):
        return "more than 8 bits"
    return "grayscale" if mode == "L" else _MODES.get(mode, "")


def _together(kind: str, severity: str, photos: list[Photo], text: str, short) -> Iterator[Finding]:
    """Yield one finding of all `photos`, if there are any."""
    if photos:
        number = f"{len(photos):,} photo{'' if len(photos) == 1 else 's'}"
        named = join_names([f"{short(p.file)} ({p.width}x{p.height})" for p in photos])
        files = tuple(photo.file for photo in photos)
        yield Finding(kind, severity, f"{number} {text}: {named}", files)


def join_names(names: list[str], most: int = 5) -> str:
    """Return names as a text, of many the first ones."""
    if len(names) > most:
        return f"{', '.join(names[: most - 1])} and {len(names) - most + 1:,} more"
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def overlooked(directory: str, listed: set[str], short: Shorten) -> Iterator[Finding]:
    """Yield the images that minidl leaves out because of their names or their place."""
    for folder, folders, names in os.walk(directory):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(name for name in names if not name.startswith(".")):
            file = os.path.join(folder, name)
            if file in listed:
                continue
            if name.lower().endswith(IMAGE_EXTENSIONS):
                if folder == directory:
                    message = f"{short(file)}: it is left out, since it is in no class folder"
                    yield Finding("left out", "warning", message, (file,))
                continue
            beginning = _beginning_of(file)
            kind, foreign = format_of(beginning), FOREIGN.get(beginning[4:11])
            if foreign:
                message = f"{short(file)}: it is left out: minidl reads no {foreign}; convert it"
                yield Finding("left out", "warning", message, (file,))
            elif kind and examine(file).readable:
                message = (
                    f"{short(file)}: {kind} by content, but it is left out: its name should end "
                    f"in {EXTENSIONS[kind][0]}"
                )
                yield Finding("wrong extension", "warning", message, (file,))


def _beginning_of(file: str) -> bytes:
    try:
        if not os.path.isfile(file):
            return b""
        with open(file, "rb") as stream:
            return stream.read(16)
    except OSError:
        return b""
