"""Groups of duplicates: relations, leaks, and the files to drop."""

import os
import shutil

from support.damaged import encoded, half, open_image, put, textured

from minidl.data import check
from minidl.data.doctor.collection import DuplicateGroup, find_groups
from minidl.data.doctor.examine import Photo, examine_bytes


def examined(images, labels=None, subsets=None):
    """Return photos of JPEG files "0", "1", ..."""
    photos = []
    for i, image in enumerate(images):
        photo = examine_bytes(str(i), encoded(image))
        photos.append(
            Photo(
                **{
                    **vars(photo),
                    "label": labels[i] if labels else "cats",
                    "subset": subsets[i] if subsets else 0,
                }
            )
        )
    return photos


def names(group):
    return [photo.file for photo in group.photos]


def test_exact_and_near_copies_form_one_group():
    a, b = textured(2)
    photos = examined([a, b, a, half(a)])
    (group,) = find_groups(photos)
    assert names(group) == ["0", "2", "3"]
    assert group.describe().files == ("0", "2", "3")
    assert group.describe().pairs == (("0", "2", "exact copy"), ("0", "3", "resized copy"))


def test_unreadable_photos_are_ignored():
    (image,) = textured(1)
    broken = Photo("x", problem="empty file")
    assert find_groups([broken, *examined([image]), broken]) == []


def test_only_leaks_compares_training_with_test_photos():
    a, b = textured(2)
    photos = examined([a, half(a), b, half(b)], subsets=[0, 0, 0, 1])
    assert [names(group) for group in find_groups(photos)] == [["0", "1"], ["2", "3"]]
    (leak,) = find_groups(photos, only_leaks=True)
    assert names(leak) == ["2", "3"]
    assert leak.is_leak


def test_relations_combine_all_differences():
    (image,) = textured(1)
    mirrored = image.transpose(0).resize((80, 60)).convert("L").convert("RGB")
    (group,) = find_groups(examined([image, mirrored]))
    assert group.pairs[0][2] == "mirrored, grayscale, resized copy"


def test_a_photo_turned_by_exif_is_not_called_resized():
    (image,) = textured(1)
    a = examine_bytes("a", encoded(image))
    b = Photo(**{**vars(a), "file": "b", "size": a.size[::-1], "digest": b"b"})
    (group,) = find_groups([a, b])
    assert group.pairs[0][2] == "recompressed copy"


def photo(file, side, file_size=1, label="cats", subset=0):
    return Photo(file, label, subset, size=(side, side), file_size=file_size)


def test_the_test_photo_and_then_the_largest_is_kept():
    small, large, heavy = photo("a", 5), photo("b", 9), photo("c", 9, file_size=2)
    assert DuplicateGroup([small, large, heavy], []).files_to_drop() == ["a", "b"]
    assert DuplicateGroup([large, photo("d", 9)], []).files_to_drop() == ["d"]  # the first is kept
    tested = photo("t", 2, subset=1)
    assert DuplicateGroup([large, heavy, tested], []).files_to_drop() == ["b", "c"]


def test_all_photos_of_a_contradiction_are_dropped():
    group = DuplicateGroup([photo("a", 5), photo("b", 9, label="dogs")], [])
    assert group.labels == ["cats", "dogs"]
    assert group.files_to_drop() == ["a", "b"]


def test_links_to_files_are_exact_duplicates(photos):
    (photos / "cats" / "link.jpg").symlink_to(photos / "cats" / "0.jpg")
    assert check(photos).findings[0].kind == "exact duplicate"


def test_dropping_links_loses_no_photo(photos):
    """Linked files are dropped as links; files in a linked folder are not dropped."""
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


def test_a_test_photo_that_is_a_link_is_dropped_instead_of_its_target(photos, held_out):
    shutil.rmtree(held_out / "cats")
    (held_out / "cats").mkdir()
    (held_out / "cats" / "link.jpg").symlink_to(photos / "cats" / "0.jpg")
    put(held_out / "cats" / "own.jpg", encoded(textured(1, seed=77)[0]))
    report = check(photos, held_out)
    assert str(held_out / "cats" / "link.jpg") in report.files_to_drop()
    assert str(photos / "cats" / "0.jpg") not in report.files_to_drop()


def test_a_linked_test_folder_drops_no_photo(photos, tmp_path):
    (tmp_path / "linked").symlink_to(photos)
    copied = tmp_path / "copied"
    copied.mkdir()
    (copied / "cats").symlink_to(photos / "cats")
    shutil.copytree(photos / "dogs", copied / "dogs")
    assert check(photos, tmp_path / "linked").files_to_drop() == []
    dropped = check(photos, copied).files_to_drop()
    assert all(os.path.dirname(file) == str(photos / "dogs") for file in dropped)
    assert open_image(photos / "cats" / "0.jpg").size == (160, 120)
