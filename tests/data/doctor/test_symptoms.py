"""Findings about single files, and about files that minidl ignores."""

import os

import numpy as np
import pytest
from PIL import Image
from support.damaged import encoded, put, single, textured

from minidl.data import check
from minidl.data.doctor.examine import Photo
from minidl.data.doctor.symptoms import file_findings, join_names, path_shortener


def test_tiny_and_elongated_photos_are_reported_together(photos):
    image = textured(1, seed=4)[0]
    put(photos / "cats" / "t1.png", encoded(image.resize((40, 20)), "PNG"))
    put(photos / "dogs" / "t2.png", encoded(textured(1, seed=5)[0].resize((16, 16)), "PNG"))
    long = textured(1, (100, 320), seed=6)[0]
    put(photos / "dogs" / "long.jpg", encoded(long))
    report = check(photos)
    tiny = single(report, "tiny")
    assert tiny.severity == "warning"
    assert tiny.message == (
        "2 photos smaller than 32 pixels: cats/t1.png (40x20) and dogs/t2.png (16x16)"
    )
    assert len(tiny.files) == 2
    assert single(report, "extreme aspect ratio").files == (str(photos / "dogs" / "long.jpg"),)
    assert not report.spoils_results


MODES = [
    ("CMYK", "JPEG", "CMYK"),
    ("P", "PNG", "palette"),
    ("RGBA", "PNG", "transparency"),
    ("LA", "PNG", "transparency"),
    ("1", "PNG", "black and white"),
    ("I;16", "PNG", "8 bits"),
]


@pytest.mark.parametrize(("mode", "kind", "word"), MODES)
def test_odd_color_modes_are_reported(mode, kind, word, photos):
    image = textured(1, seed=4)[0]
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    else:
        image = image.convert(mode)
    path = put(photos / "cats" / f"odd.{kind.lower()}", encoded(image, kind))
    (finding,) = check(photos).findings
    assert (finding.kind, finding.severity) == ("odd color mode", "warning")
    assert word in finding.message
    assert finding.files == (str(path),)


def test_grayscale_is_a_note(photos):
    put(photos / "cats" / "gray.jpg", encoded(textured(1, seed=4)[0].convert("L")))
    (finding,) = check(photos).findings
    assert (finding.kind, finding.severity) == ("grayscale", "note")


def test_wrong_extensions_are_a_note_unless_the_photo_is_ignored(photos):
    first, second, third = textured(3, seed=4)
    put(photos / "cats" / "really.jpg", encoded(first, "PNG"))
    put(photos / "cats" / "photo.jpg_large", encoded(second))
    put(photos / "stray.jpg", encoded(third))
    put(photos / "cats" / "notes.txt", b"notes")
    put(photos / "cats" / ".hidden", encoded(third))
    report = check(photos)
    assert [(f.kind, f.severity) for f in report.findings] == [
        ("left out", "warning"),
        ("wrong extension", "warning"),
        ("wrong extension", "note"),
    ]
    stray, ignored, note = report.findings
    assert stray.message == "stray.jpg: ignored because it is in no class folder"
    assert stray.files == (str(photos / "stray.jpg"),)
    assert ignored.message == (
        "cats/photo.jpg_large: ignored because of its extension, though in JPEG format; "
        "rename it to .jpg"
    )
    assert "1 photo in PNG format with another extension" in note.message
    assert report.classes == {"cats": 7, "dogs": 6}


@pytest.mark.parametrize(("brand", "name"), [(b"avif", "AVIF"), (b"heic", "HEIC")])
def test_photos_in_unsupported_formats_are_reported(brand, name, photos):
    put(photos / "cats" / f"a.{name.lower()}", b"\0\0\0\x20ftyp" + brand + b"\0" * 40)
    (finding,) = check(photos).findings
    assert (finding.kind, finding.severity) == ("left out", "warning")
    assert f"cannot read {name}" in finding.message


def test_the_reason_of_an_unreadable_file_is_part_of_the_message():
    photo = Photo("a.jpg", problem="truncated", reason="is cut off")
    (finding,) = file_findings([photo], str.upper)
    assert finding.message == "A.JPG: is cut off; the file is skipped"
    assert finding.files == ("a.jpg",)


def test_long_lists_of_names_are_shortened():
    assert join_names([]) == ""
    assert join_names(["a"]) == "a"
    assert join_names(["a", "b", "c"]) == "a, b and c"
    assert join_names(list("abcde")) == "a, b, c, d and e"
    assert join_names(list("abcdefg")) == "a, b, c, d and 3 more"


def test_paths_are_relative_to_the_common_folder():
    one = path_shortener([os.path.join("photos", "train")])
    assert one(os.path.join("photos", "train", "cats", "1.jpg")) == os.path.join("cats", "1.jpg")
    two = path_shortener([os.path.join("photos", "train"), os.path.join("photos", "test")])
    file = os.path.join("test", "cats", "1.jpg")
    assert two(os.path.join("photos", file)) == file
