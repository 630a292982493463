"""The dataset doctor: findings about whole folders, leaks, and real photos."""

import os
import shutil

import pytest
from support.damaged import (
    COPIES,
    RUINS,
    encoded,
    half,
    open_image,
    put,
    single,
    textured,
    write_classes,
)

from minidl.common.errors import DataError
from minidl.data import CheckReport, check
from minidl.data.doctor.doctor import find_leaks


def test_photos_without_problems_are_counted_without_findings(photos):
    report = check(photos)
    assert isinstance(report, CheckReport)
    assert report.classes == {"cats": 6, "dogs": 6}
    assert report.test_classes == {}
    assert report.findings == report.groups == report.files_to_drop() == []
    assert not report.spoils_results
    assert str(report) == f"{photos}: 12 photos (cats 6, dogs 6)\n\nnothing found"


@pytest.mark.parametrize("kind", COPIES)
def test_near_duplicates_are_reported_with_their_relation(kind, photos):
    relation, modify = COPIES[kind]
    original = photos / "cats" / "4.jpg"
    copy = put(photos / "cats" / "copy.jpg", modify(open_image(original)))
    report = check(photos)
    found = single(report, "near-duplicate")
    assert found.severity == "warning"
    assert found.message == f"cats/4.jpg and cats/copy.jpg show the same photo: {relation}"
    assert found.files == (str(original), str(copy))
    assert not report.spoils_results
    assert len(report.findings) == (2 if kind in ("gray", "as PNG") else 1)


def test_renamed_files_are_exact_duplicates(photos):
    shutil.copy(photos / "dogs" / "1.jpg", photos / "dogs" / "other name.jpg")
    report = check(photos)
    assert single(report, "exact duplicate").message == (
        "dogs/1.jpg and dogs/other name.jpg show the same photo: exact copy"
    )
    assert report.files_to_drop() == [str(photos / "dogs" / "other name.jpg")]


def test_plain_pictures_are_duplicates_only_by_content(photos):
    for i, value in enumerate((40, 40, 41)):
        image = textured(1)[0].resize((60 + i // 2, 60))
        image.paste((value,) * 3, (0, 0, *image.size))
        put(photos / "cats" / f"plain{i}.png", encoded(image, "PNG"))
    (finding,) = check(photos).findings
    assert finding.kind == "exact duplicate"
    assert [os.path.basename(file) for file in finding.files] == ["plain0.png", "plain1.png"]


@pytest.mark.parametrize("kind", RUINS)
def test_damaged_files_are_reported_and_not_counted(kind, photos):
    problem, damage = RUINS[kind]
    path = photos / "dogs" / "3.jpg"
    path.write_bytes(damage(path.read_bytes()))
    report = check(photos)
    (finding,) = report.findings
    assert (finding.kind, finding.severity) == (problem, "warning")
    assert finding.files == (str(path),)
    assert finding.message.startswith("dogs/3.jpg: ")
    assert report.classes == {"cats": 6, "dogs": 5}
    assert report.files_to_drop() == [str(path)]


def test_files_that_cannot_be_opened_are_unreadable_but_not_dropped(photos, monkeypatch):
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
    assert "pipe.jpg: expected an image file, received a folder or a device" in messages
    assert report.classes == {"cats": 6, "dogs": 5}
    assert report.files_to_drop() == []


def test_one_class_is_an_error(tmp_path):
    for i, image in enumerate(textured(3, seed=8)):
        put(tmp_path / "cats" / f"{i}.jpg", encoded(image))
    (finding,) = check(tmp_path).findings
    assert (finding.kind, finding.severity) == ("imbalance", "error")
    assert "expected two classes or more, found cats" in finding.message


def test_contradicting_labels_are_an_error_and_all_copies_are_dropped(photos):
    image = open_image(photos / "cats" / "2.jpg")
    copy = put(photos / "dogs" / "copy.jpg", encoded(half(image)))
    report = check(photos)
    (finding,) = report.findings
    assert (finding.kind, finding.severity) == ("contradicting labels", "error")
    assert "resized copy" in finding.message
    assert finding.message.endswith("its labels are cats and dogs")
    assert report.spoils_results
    assert report.files_to_drop() == [str(photos / "cats" / "2.jpg"), str(copy)]


def test_leaks_are_errors_and_the_training_copies_are_dropped(photos, held_out):
    put(photos / "cats" / "more.jpg", encoded(open_image(photos / "cats" / "0.jpg"), quality=60))
    report = check(photos, held_out)
    assert report.test_classes == {"cats": 3, "dogs": 3}
    assert [(f.kind, f.severity) for f in report.findings] == [("leak", "error")] * 2
    first, second = (f.message for f in report.findings)
    assert first.startswith("photos/cats/0.jpg, photos/cats/more.jpg and test/cats/leaked.jpg show")
    assert "resized copy" in first
    assert second == (
        "photos/dogs/1.jpg and test/dogs/leaked.jpg show the same photo, for training and for "
        "testing: exact copy"
    )
    dropped = [os.path.relpath(file, photos) for file in report.files_to_drop()]
    assert sorted(dropped) == ["cats/0.jpg", "cats/more.jpg", "dogs/1.jpg"]
    assert [finding.kind for finding in check(photos).findings] == ["near-duplicate"]


def test_leaks_under_another_label_are_also_contradictions(photos, held_out):
    shutil.move(held_out / "cats" / "leaked.jpg", held_out / "dogs" / "wrong.jpg")
    errors = [f.kind for f in check(photos, held_out).findings if f.severity == "error"]
    assert sorted(errors) == ["contradicting labels", "leak", "leak"]


def test_find_leaks_returns_the_training_files_of_each_test_file(photos, held_out):
    training = sorted(str(file) for file in photos.glob("*/*"))
    test = sorted(str(file) for file in held_out.glob("*/*"))
    assert find_leaks(training, test) == {
        str(held_out / "cats" / "leaked.jpg"): [str(photos / "cats" / "0.jpg")],
        str(held_out / "dogs" / "leaked.jpg"): [str(photos / "dogs" / "1.jpg")],
    }
    put(photos / "cats" / "0.jpg", b"")
    assert [os.path.basename(file) for file in find_leaks(training, test)] == ["leaked.jpg"]
    assert find_leaks(training, []) == find_leaks([], test) == {}
    assert find_leaks(test, test) == {file: [file] for file in test}


def test_the_same_folder_for_training_and_testing_is_one_leak(photos):
    report = check(photos, photos)
    assert single(report, "leak").message == (
        f"{photos}: training and test photos are the same folder"
    )
    assert report.spoils_results
    assert report.test_classes == report.classes
    assert report.files_to_drop() == []


def test_no_problem_remains_without_the_files_to_drop(photos, held_out):
    for name, (_, modify) in COPIES.items():
        put(photos / "cats" / f"{name}.jpg", modify(open_image(photos / "cats" / "4.jpg")))
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


def test_classes_without_readable_photos_and_different_test_classes_are_errors(photos, tmp_path):
    put(photos / "owls" / "1.jpg", b"")
    report = check(photos)
    assert single(report, "imbalance").message == f"{photos}: the class owls has no readable photo"
    assert report.spoils_results
    report = check(photos, write_classes(tmp_path / "test", textured(4, seed=9)))
    finding = single(report, "different classes")
    assert finding.severity == "error"
    assert "cats, dogs, owls" in finding.message


def test_missing_empty_and_combined_folders_raise_data_error(tmp_path, photos):
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


def test_the_progress_bar_is_drawn_on_request_only(photos, capsys):
    check(photos)
    assert capsys.readouterr().err == ""
    check(photos, progress=True)
    assert "12/12" in capsys.readouterr().err


# Real photos


def test_duplicates_in_real_photos_are_found_without_false_positives(shared_data):
    photos = shared_data / "data" / "seed_pets"
    report = check(photos / "train", photos / "test")
    assert report.classes == {"cats": 233, "dogs": 233}
    assert report.test_classes == {"cats": 59, "dogs": 59}
    assert len(report.groups) == 25
    assert all(len(group.files) == 2 for group in report.groups)
    leaks = [finding for finding in report.findings if finding.kind == "leak"]
    stems = {
        " ".join(sorted(os.path.splitext(os.path.basename(file))[0] for file in leak.files))
        for leak in leaks
    }
    assert stems == {
        *("cat_137 cat_49", "cat_21 cat_540", "cat_263 cat_78", "cat_536 cat_93"),
        *("dog_266 dog_596", "dog_305 dog_525", "dog_44 dog_7", "dog_514 dog_77"),
    }
    assert all("resized copy" in leak.message for leak in leaks)
    near = [finding for finding in report.findings if finding.kind == "near-duplicate"]
    assert sorted("/test/" in finding.files[0] for finding in near) == [False] * 16 + [True]


@pytest.fixture
def real_photos(shared_data, tmp_path):
    """Return a folder with copies of 40 real photos per class."""
    for name in ("cats", "dogs"):
        files = sorted((shared_data / "data" / "kaggle_pets" / "train" / name).iterdir())
        (tmp_path / name).mkdir()
        for file in files[:: len(files) // 40][:40]:
            shutil.copy(file, tmp_path / name)
    return tmp_path


def test_copies_and_damage_of_real_photos_are_reported_by_kind(real_photos):
    assert check(real_photos).findings == []
    originals = sorted((real_photos / "cats").iterdir())
    expected = {}
    for i, (name, (relation, modify)) in enumerate(COPIES.items()):
        copy = put(real_photos / "cats" / f"{name}.jpg", modify(open_image(originals[i])))
        # The originals already have the size 128 x 128.
        expected[str(copy)] = "recompressed copy" if name == "squeezed" else relation
    ruined = sorted((real_photos / "dogs").iterdir())
    for file, (_, damage) in zip(ruined, RUINS.values(), strict=False):
        file.write_bytes(damage(file.read_bytes()))
    shutil.copy(originals[-1], real_photos / "cats" / "renamed.jpg")
    shutil.copy(originals[-2], real_photos / "dogs" / "wrong.jpg")
    report = check(real_photos)
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
