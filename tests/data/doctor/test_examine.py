"""Examination of single files: properties of photos, and problems of other files."""

import os

import numpy as np
import pytest
from PIL import Image
from support.damaged import RUINS, encoded, put, textured

from minidl.data.doctor.examine import EXTENSIONS, examine, examine_bytes, format_of
from minidl.data.images import IMAGE_EXTENSIONS, IMAGE_FORMATS


def test_a_photo_has_its_properties(tmp_path):
    (image,) = textured(1)
    path = put(tmp_path / "a.png", encoded(image, "PNG"))
    photo = examine(str(path), "cats", 1)
    assert photo.readable
    assert (photo.file, photo.label, photo.subset) == (str(path), "cats", 1)
    assert (photo.format, photo.mode, photo.size) == ("PNG", "RGB", (160, 120))
    assert photo.file_size == os.path.getsize(path)
    assert [part.shape for part in photo.thumbnail] == [(64, 64), (8, 8, 3)]
    assert photo.digest == examine_bytes("b.jpg", path.read_bytes()).digest
    assert photo.digest != examine_bytes("b.jpg", encoded(image)).digest


@pytest.mark.parametrize("kind", RUINS)
def test_damaged_files_have_a_problem_and_a_reason(kind):
    problem, damage = RUINS[kind]
    photo = examine_bytes("x.jpg", damage(encoded(textured(1)[0])))
    assert not photo.readable
    assert photo.problem == problem
    assert photo.reason
    assert photo.opened


@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP", "WEBP", "TIFF", "JPEG"])
def test_half_a_file_is_truncated_in_every_format(kind):
    data = encoded(textured(1)[0], kind)
    assert examine_bytes("x", data).readable
    photo = examine_bytes("x", data[: len(data) // 2])
    assert photo.problem == "truncated", photo.reason


def test_damage_inside_a_file_is_unreadable():
    data = bytearray(encoded(textured(1)[0], "PNG"))
    data[50:60] = bytes(10)
    assert examine_bytes("x.png", bytes(data)).problem == "unreadable"
    floats = Image.fromarray(np.zeros((40, 40), np.float32))
    assert examine_bytes("x.tif", encoded(floats, "TIFF")).problem == "unreadable"


def test_missing_files_and_folders_are_unreadable_without_an_exception(tmp_path):
    for name in (str(tmp_path), "null\0character", str(tmp_path / "none")):
        photo = examine(name)
        assert photo.problem == "unreadable"
        assert not photo.opened
        assert name not in photo.reason


@pytest.mark.parametrize("kind", IMAGE_FORMATS)
def test_formats_are_recognized_by_their_signature(kind):
    data = encoded(textured(1)[0], kind)
    assert format_of(data) == ("" if kind == "PPM" else kind)  # "P6" may start any text
    assert format_of(b"RIFF\0\0\0\0WAVE") == ""


def test_every_extension_belongs_to_a_format():
    assert set(EXTENSIONS) == set(IMAGE_FORMATS)
    assert set(IMAGE_EXTENSIONS) <= {name for names in EXTENSIONS.values() for name in names}
