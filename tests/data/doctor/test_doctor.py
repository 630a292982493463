"""The dataset doctor: every kind of finding, by its name, on damaged copies of drawn pictures."""

import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image
from support.damaged import COPIES, RUINS, encoded, half, textured

import minidl.data.doctor.doctor
from minidl.common.errors import DataError
from minidl.data import CheckReport, Finding, check
from minidl.data.doctor.doctor import find_leaks
from minidl.data.doctor.examine import examine, examine_bytes


@pytest.fixture
def photos(tmp_path):
    """Return a healthy folder with 6 cats and 6 dogs."""
    return write(tmp_path / "photos", textured(12))


def write(root, images):
    for i, image in enumerate(images):
        put(root / ("cats", "dogs")[i % 2] / f"{i}.jpg", encoded(image))
    return root


def put(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def open_image(path):
    return Image.open(path).convert("RGB")


def single(report, kind):
    """Return the only finding of a kind."""
    (found,) = [finding for finding in report.findings if finding.kind == kind]
    return found


def test_healthy_photos_are_counted_and_nothing_is_found(photos):
    report = check(photos)
    assert isinstance(report, CheckReport)
    assert report.classes == {"cats": 6, "dogs": 6}
    assert report.test_classes == {}
    assert report.findings == report.groups == report.files_to_drop() == []
    assert not report.spoils_results
    assert str(report) == f"{photos}: 12 photos (cats 6, dogs 6)\n\nnothing found"


@pytest.mark.parametrize("kind", COPIES)
def test_a_near_duplicate_is_called_by_its_name(kind, photos):
    relation, damage = COPIES[kind]
    original = photos / "cats" / "4.jpg"
    copy = put(photos / "cats" / "copy.jpg", damage(open_image(original)))
    report = check(photos)
    found = single(report, "near-duplicate")
    assert found.severity == "warning"
    assert found.message == f"cats/4.jpg and cats/copy.jpg show the same photo: {relation}"
    assert found.files == (str(original), str(copy))
    assert not report.spoils_results
    assert len(report.findings) == (2 if kind in ("gray", "as PNG") else 1)


def test_a_renamed_file_is_an_exact_duplicate(photos):
    shutil.copy(photos / "dogs" / "1.jpg", photos / "dogs" / "other name.jpg")
    report = check(photos)
    assert single(report, "exact duplicate").message == (
        "dogs/1.jpg and dogs/other name.jpg show the same photo: exact copy"
    )
    assert report.files_to_drop() == [str(photos / "dogs" / "other name.jpg")]


def test_plain_pictures_are_duplicates_only_by_content(photos):
    for i, value in enumerate((40, 40, 41)):
        image = Image.new("RGB", (60 + i // 2, 60), (value,) * 3)
        put(photos / "cats" / f"plain{i}.png", encoded(image, "PNG"))
    report = check(photos)
    (finding,) = report.findings
    assert finding.kind == "exact duplicate"
    assert [os.path.basename(file) for file in finding.files] == ["plain0.png", "plain1.png"]


@pytest.mark.parametrize("kind", RUINS)
def test_a_ruined_file_is_called_by_its_name_and_not_counted(kind, photos):
    name, damage = RUINS[kind]
    path = photos / "dogs" / "3.jpg"
    path.write_bytes(damage(path.read_bytes()))
    report = check(photos)
    (finding,) = report.findings
    assert (finding.kind, finding.severity) == (name, "warning")
    assert finding.files == (str(path),)
    assert finding.message.startswith("dogs/3.jpg: ")
    assert report.classes == {"cats": 6, "dogs": 5}
    assert report.files_to_drop() == [str(path)]


@pytest.mark.parametrize(
    ("kind", "options"),
    [("PNG", {}), ("GIF", {}), ("BMP", {}), ("WEBP", {}), ("TIFF", {}), ("JPEG", {"quality": 80})],
)
def test_a_file_that_was_cut_off_is_truncated_in_every_format(kind, options):
    data = encoded(textured(1)[0], kind, **options)
    assert examine_bytes("x", data).readable
    photo = examine_bytes("x", data[: len(data) // 2])
    assert photo.problem == "truncated", photo.reason


def test_damage_inside_of_a_file_is_unreadable():
    data = bytearray(encoded(textured(1)[0], "PNG"))
    data[50:60] = bytes(10)
    assert examine_bytes("x.png", bytes(data)).problem == "unreadable"
    floats = Image.fromarray(np.zeros((40, 40), np.float32))
    assert examine_bytes("x.tif", encoded(floats, "TIFF")).problem == "unreadable"


def test_what_cannot_be_opened_is_unreadable_and_not_to_be_dropped(photos, monkeypatch):
    (photos / "cats" / "gone.jpg").symlink_to("nowhere.jpg")
    if hasattr(os, "mkfifo"):
        os.mkfifo(photos.parent / "pipe")
        (photos / "cats" / "pipe.jpg").symlink_to(photos.parent / "pipe")
    real = open

    def refuse(file, *arguments, **options):
        if str(file).endswith("11.jpg"):
            raise PermissionError(13, "Permission denied", str(file))
        return real(file, *arguments, **options)

    monkeypatch.setattr("builtins.open", refuse)
    report = check(photos)
    assert {finding.kind for finding in report.findings} == {"unreadable"}
    messages = " ".join(finding.message for finding in report.findings)
    assert "gone.jpg: cannot be opened (No such file" in messages
    assert "11.jpg: cannot be opened (Permission denied)" in messages
    assert "pipe.jpg: is a folder or a device" in messages
    assert report.classes == {"cats": 6, "dogs": 5}
    assert report.files_to_drop() == []


def test_links_to_files_are_exact_duplicates(photos):
    (photos / "cats" / "link.jpg").symlink_to(photos / "cats" / "0.jpg")
    assert check(photos).findings[0].kind == "exact duplicate"


def test_dropping_links_loses_no_photo(photos):
    """Linked files are dropped as links; through a linked folder there is nothing to drop."""
    before = set((photos / "cats").iterdir())
    link = photos / "cats" / "000.jpg"
    link.symlink_to(photos / "cats" / "0.jpg")
    assert check(photos).files_to_drop() == [str(link)]
    (photos / "cats again").symlink_to(photos / "cats")
    report = check(photos)
    assert "contradicting labels" in {finding.kind for finding in report.findings}
    for file in report.files_to_drop():
        os.remove(file)
    assert set((photos / "cats").iterdir()) == before


def test_a_test_photo_that_is_a_link_is_dropped_rather_than_the_photo(photos, held_out):
    shutil.rmtree(held_out / "cats")
    (held_out / "cats").mkdir()
    (held_out / "cats" / "link.jpg").symlink_to(photos / "cats" / "0.jpg")
    put(held_out / "cats" / "own.jpg", encoded(textured(1, seed=77)[0]))
    report = check(photos, held_out)
    assert str(held_out / "cats" / "link.jpg") in report.files_to_drop()
    assert str(photos / "cats" / "0.jpg") not in report.files_to_drop()


def test_one_class_is_nothing_to_tell_apart(tmp_path):
    for i, image in enumerate(textured(3, seed=8)):
        put(tmp_path / "cats" / f"{i}.jpg", encoded(image))
    (finding,) = check(tmp_path).findings
    assert (finding.kind, finding.severity) == ("imbalance", "error")
    assert "cats" in finding.message


def test_contradicting_labels_are_an_error_and_all_copies_are_to_be_dropped(photos):
    image = open_image(photos / "cats" / "2.jpg")
    copy = put(photos / "dogs" / "copy.jpg", encoded(half(image)))
    report = check(photos)
    (finding,) = report.findings
    assert (finding.kind, finding.severity) == ("contradicting labels", "error")
    assert "resized copy" in finding.message
    assert finding.message.endswith("its labels are cats and dogs")
    assert report.spoils_results
    assert report.files_to_drop() == [str(photos / "cats" / "2.jpg"), str(copy)]


@pytest.fixture
def held_out(photos, tmp_path):
    """Return a folder to test on, with a copy of cats/0, and one of dogs/1 renamed."""
    folder = write(tmp_path / "test", textured(4, seed=9))
    put(folder / "cats" / "leaked.jpg", encoded(half(open_image(photos / "cats" / "0.jpg"))))
    shutil.copy(photos / "dogs" / "1.jpg", folder / "dogs" / "leaked.jpg")
    return folder


def test_leaks_are_errors_and_the_training_copies_are_to_be_dropped(photos, held_out):
    put(photos / "cats" / "more.jpg", encoded(open_image(photos / "cats" / "0.jpg"), quality=60))
    report = check(photos, held_out)
    assert report.test_classes == {"cats": 3, "dogs": 3}
    assert [(f.kind, f.severity) for f in report.findings] == [("leak", "error")] * 2
    first, second = (f.message for f in report.findings)
    assert first.startswith("photos/cats/0.jpg, photos/cats/more.jpg and test/cats/leaked.jpg show")
    assert "resized copy" in first
    assert second == (
        "photos/dogs/1.jpg and test/dogs/leaked.jpg show the same photo, to train on and to test "
        "on: exact copy"
    )
    dropped = [os.path.relpath(file, photos) for file in report.files_to_drop()]
    assert sorted(dropped) == ["cats/0.jpg", "cats/more.jpg", "dogs/1.jpg"]
    alone = check(photos)
    assert [finding.kind for finding in alone.findings] == ["near-duplicate"]


def test_a_leak_under_another_label_is_both(photos, held_out):
    shutil.move(held_out / "cats" / "leaked.jpg", held_out / "dogs" / "wrong.jpg")
    errors = [f.kind for f in check(photos, held_out).findings if f.severity == "error"]
    assert sorted(errors) == ["contradicting labels", "leak", "leak"]


def test_find_leaks_names_the_training_files_of_each_test_file(photos, held_out):
    ours = sorted(str(file) for file in photos.glob("*/*"))
    theirs = sorted(str(file) for file in held_out.glob("*/*"))
    assert find_leaks(ours, theirs) == {
        str(held_out / "cats" / "leaked.jpg"): [str(photos / "cats" / "0.jpg")],
        str(held_out / "dogs" / "leaked.jpg"): [str(photos / "dogs" / "1.jpg")],
    }
    put(photos / "cats" / "0.jpg", b"")
    assert [os.path.basename(file) for file in find_leaks(ours, theirs)] == ["leaked.jpg"]
    assert find_leaks(ours, []) == find_leaks([], theirs) == {}
    assert find_leaks(theirs, theirs) == {file: [file] for file in theirs}


def test_the_same_folder_to_test_on_is_one_leak(photos):
    report = check(photos, photos)
    assert single(report, "leak").message == f"{photos}: trained on and tested on alike"
    assert report.spoils_results
    assert report.test_classes == report.classes
    assert report.files_to_drop() == []


def test_dropping_the_files_leaves_a_healthy_folder(photos, held_out):
    for name, (_, damage) in COPIES.items():
        put(photos / "cats" / f"{name}.jpg", damage(open_image(photos / "cats" / "4.jpg")))
    put(photos / "dogs" / "a.jpg", encoded(half(open_image(photos / "dogs" / "5.jpg"))))
    put(photos / "cats" / "b.jpg", encoded(half(open_image(photos / "dogs" / "7.jpg"))))
    put(held_out / "dogs" / "c.jpg", encoded(half(open_image(held_out / "dogs" / "1.jpg"))))
    put(held_out / "dogs" / "d.jpg", b"no photo")
    report = check(photos, held_out)
    assert report.spoils_results
    assert len(report.groups) == 6
    dropped = report.files_to_drop()
    assert len(dropped) == len(set(dropped)) == len(COPIES) + 1 + 2 + 2 + 2
    assert str(photos / "dogs" / "5.jpg") not in dropped  # larger than its copy
    for file in dropped:
        os.remove(file)
    left = check(photos, held_out)
    assert left.groups == left.files_to_drop() == []
    assert [finding.kind for finding in left.findings] == ["wrong extension"]  # the PNG was kept


# Single photos and classes


def test_tiny_long_and_oddly_coloured_photos_are_named_together(photos):
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
    ("CMYK", "JPEG", "CMYK"), ("P", "PNG", "palette"), ("RGBA", "PNG", "transparency"),
    ("LA", "PNG", "transparency"), ("1", "PNG", "black and white"), ("I;16", "PNG", "8 bits"),
]  # fmt: skip


@pytest.mark.parametrize(("mode", "kind", "word"), MODES)
def test_odd_colour_modes_are_named(mode, kind, word, photos):
    image = textured(1, seed=4)[0]
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    else:
        image = image.convert(mode)
    path = put(photos / "cats" / f"odd.{kind.lower()}", encoded(image, kind))
    (finding,) = check(photos).findings
    assert (finding.kind, finding.severity) == ("odd colour mode", "warning")
    assert word in finding.message
    assert finding.files == (str(path),)


def test_grayscale_is_a_note(photos):
    put(photos / "cats" / "gray.jpg", encoded(textured(1, seed=4)[0].convert("L")))
    (finding,) = check(photos).findings
    assert (finding.kind, finding.severity) == ("grayscale", "note")


def test_wrong_extensions_are_a_note_unless_the_photo_is_left_out(photos):
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
    stray, lost, note = report.findings
    assert stray.files == (str(photos / "stray.jpg"),)
    assert "cats/photo.jpg_large: JPEG by content, but it is left out" in lost.message
    assert "PNG by content" in note.message
    assert report.classes == {"cats": 7, "dogs": 6}


@pytest.mark.parametrize(("brand", "name"), [(b"avif", "AVIF"), (b"heic", "HEIC")])
def test_photos_of_formats_that_are_not_read_are_named(brand, name, photos):
    put(photos / "cats" / f"a.{name.lower()}", b"\0\0\0\x20ftyp" + brand + b"\0" * 40)
    (finding,) = check(photos).findings
    assert (finding.kind, finding.severity) == ("left out", "warning")
    assert f"reads no {name}" in finding.message


@pytest.mark.parametrize(("cats", "severity"), [(3, None), (5, "note"), (10, "warning")])
def test_imbalance(cats, severity, tmp_path):
    images = textured(cats + 3, seed=2)
    for i, image in enumerate(images):
        put(tmp_path / ("cats" if i < cats else "dogs") / f"{i}.jpg", encoded(image))
    findings = check(tmp_path).findings
    assert [(f.kind, f.severity) for f in findings] == (
        [("imbalance", severity)] if severity else []
    )
    if severity:
        assert f"{cats} photos of cats, 3 of dogs" in findings[0].message


def test_a_class_without_readable_photos_and_other_classes_to_test_on_are_errors(photos, tmp_path):
    put(photos / "owls" / "1.jpg", b"")
    report = check(photos)
    assert single(report, "imbalance").message == f"{photos}: the class owls has no readable photo"
    assert report.spoils_results
    report = check(photos, write(tmp_path / "test", textured(4, seed=9)))
    finding = single(report, "different classes")
    assert finding.severity == "error"
    assert "cats, dogs, owls" in finding.message


def test_folders_that_cannot_be_checked(tmp_path, photos):
    with pytest.raises(DataError, match="nothing there"):
        check(tmp_path / "none")
    with pytest.raises(DataError, match="nothing there"):
        check(photos, tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no images"):
        check(tmp_path / "empty")
    shutil.copytree(photos, tmp_path / "all" / "train" / "deeper")
    shutil.copytree(photos, tmp_path / "all" / "Validation" / "deeper")
    with pytest.raises(DataError, match=r"check .*train with --test .*Validation"):
        check(tmp_path / "all")


# The report


def test_the_report_is_json_and_names_the_files_of_each_group(photos):
    third = put(photos / "cats" / "again.jpg", (photos / "cats" / "0.jpg").read_bytes())
    small = put(photos / "cats" / "z.jpg", encoded(half(open_image(third))))
    answer = json.loads(json.dumps(check(photos).to_dict()))
    (group,) = answer["groups"]
    assert group["files"] == [str(photos / "cats" / "0.jpg"), str(third), str(small)]
    assert sorted(pair["relation"] for pair in group["pairs"]) == ["exact copy", "resized copy"]
    (finding,) = answer["findings"]
    assert finding["kind"] == "near-duplicate"
    assert finding["files"] == group["files"]
    assert answer["classes"] == {"cats": 8, "dogs": 6}
    assert answer["spoils_results"] is False
    assert sorted(answer["files_to_drop"]) == [str(third), str(small)]


def test_many_findings_of_one_kind_are_not_all_printed():
    many = [Finding("truncated", "warning", f"{i}.jpg: is cut off", (f"{i}.jpg",))
            for i in range(100)]  # fmt: skip
    text = str(CheckReport("photos", classes={"cats": 1}, findings=many))
    assert text.count("is cut off") == 30
    assert "warning  truncated  ... and 70 more" in text
    assert text.endswith("0 errors, 100 warnings, 0 notes")


def test_files_are_read_in_their_order_and_a_progress_bar_is_drawn(photos, capsys):
    files = sorted(str(file) for file in photos.glob("*/*"))
    assert [photo.file for photo in minidl.data.doctor.doctor._examine(files, False)] == files
    assert capsys.readouterr().err == ""
    check(photos, progress=True)
    assert "12/12" in capsys.readouterr().err


def test_examine_never_raises(tmp_path):
    for name in (str(tmp_path), "zero\0character", str(tmp_path / "none")):
        assert examine(name).problem == "unreadable"


# Real photos


def test_the_pairs_in_real_photos_are_found_and_no_others(shared_data):
    photos = shared_data / "data" / "seed_pets"
    report = check(photos / "train", photos / "test")
    assert report.classes == {"cats": 233, "dogs": 233}
    assert report.test_classes == {"cats": 59, "dogs": 59}
    stems = [
        sorted(os.path.splitext(os.path.basename(file))[0] for file in group.files)
        for group in report.groups
    ]
    assert len(stems) == 25
    assert all(len(pair) == 2 for pair in stems)
    leaks = [finding for finding in report.findings if finding.kind == "leak"]
    assert sorted(
        sorted(os.path.basename(file).removesuffix(".jpg") for file in leak.files)
        for leak in leaks
    ) == [
        ["cat_137", "cat_49"], ["cat_21", "cat_540"], ["cat_263", "cat_78"], ["cat_536", "cat_93"],
        ["dog_266", "dog_596"], ["dog_305", "dog_525"], ["dog_44", "dog_7"], ["dog_514", "dog_77"],
    ]  # fmt: skip
    assert all("resized copy" in leak.message for leak in leaks)
    near = [finding for finding in report.findings if finding.kind == "near-duplicate"]
    assert sorted("/test/" in finding.files[0] for finding in near) == [False] * 16 + [True]


@pytest.fixture(scope="module")
def real_photos(tmp_path_factory):
    """Return the function that copies some real photos into a folder of its own."""

    def build(shared):
        root = tmp_path_factory.mktemp("real")
        for folder in ("cats", "dogs"):
            files = sorted((shared / "data" / "kaggle_pets" / "train" / folder).iterdir())
            for file in files[:: len(files) // 40][:40]:
                (root / folder).mkdir(exist_ok=True)
                shutil.copy(file, root / folder)
        return root

    return build


def test_damaged_copies_of_real_photos_are_called_by_their_names(shared_data, real_photos):
    root = real_photos(shared_data)
    assert check(root).findings == []
    originals = sorted((root / "cats").iterdir())
    expected = {}
    for i, (name, (relation, damage)) in enumerate(COPIES.items()):
        copy = put(root / "cats" / f"{name}.jpg", damage(open_image(originals[i])))
        # These photos are 128 x 128 already.
        expected[str(copy)] = "recompressed copy" if name == "squeezed" else relation
    ruined = sorted((root / "dogs").iterdir())
    for file, (_, damage) in zip(ruined, RUINS.values(), strict=False):
        file.write_bytes(damage(file.read_bytes()))
    shutil.copy(originals[-1], root / "cats" / "renamed.jpg")
    shutil.copy(originals[-2], root / "dogs" / "wrong.jpg")
    report = check(root)
    found = {
        next(file for file in finding.files if file in expected): finding.message.split(": ")[-1]
        for finding in report.findings
        if finding.kind == "near-duplicate"
    }
    assert found == expected
    assert single(report, "exact duplicate").files[1].endswith("renamed.jpg")
    assert single(report, "contradicting labels").files[1].endswith("wrong.jpg")
    kinds = [finding.kind for finding in report.findings if finding.files[0] in map(str, ruined)]
    assert sorted(kinds) == sorted(kind for kind, _ in RUINS.values())
    assert len(report.groups) == len(COPIES) + 2
