"""Listings of image folders: visible images, classes, links, and wrong folders."""

import os

import pytest

from minidl.common.errors import DataError
from minidl.data.listing import find_classes, find_images


def make(root, *names):
    """Create empty files."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def relative(root, files):
    return [os.path.relpath(file, root).replace(os.sep, "/") for file in files]


def test_images_are_sorted_and_hidden_or_other_files_are_ignored(tmp_path):
    make(tmp_path, "b.png", "a/z.JPG", "a/deep/y.webp", ".hidden.png", ".trash/x.png", "notes.txt")
    assert relative(tmp_path, find_images(tmp_path)) == ["a/deep/y.webp", "a/z.JPG", "b.png"]


def test_classes_are_folders_and_subfolders_belong_to_their_class(tmp_path):
    make(tmp_path, "dogs/1.png", "cats/2.png", "cats/more/1.png", "stray.png", ".cache/x.png")
    found = find_classes(str(tmp_path))
    assert list(found) == ["cats", "dogs"]
    assert relative(tmp_path, found["cats"]) == ["cats/2.png", "cats/more/1.png"]


def test_without_class_folders_the_name_before_the_first_dot_is_the_class(tmp_path):
    make(tmp_path, "dog.1.png", "cat.2.png", "cat.10.png", "dog.x.y.png")
    found = {name: relative(tmp_path, files) for name, files in find_classes(str(tmp_path)).items()}
    assert found == {"cat": ["cat.10.png", "cat.2.png"], "dog": ["dog.1.png", "dog.x.y.png"]}


def test_links_are_followed_without_cycles_or_mixed_classes(tmp_path):
    root = make(tmp_path / "photos", "cats/1.png", "cats/2.png", "dogs/1.png", "cats/side/3.png")
    make(tmp_path / "elsewhere", "owls/1.png")
    cats = root / "cats"
    (cats / "up").symlink_to(root)
    (cats / "self").symlink_to(cats)
    (cats / "ring").symlink_to("ring")
    (cats / "side" / "back").symlink_to(cats / "side")
    (root / "linked").symlink_to(tmp_path / "elsewhere" / "owls")
    counts = {name: len(files) for name, files in find_classes(str(root)).items()}
    assert counts == {"cats": 3, "dogs": 1, "linked": 1}
    assert len(find_images(str(root))) == 5


def test_broken_links_count_as_files_and_pipes_do_not(tmp_path):
    make(tmp_path, "a.png")
    (tmp_path / "broken.png").symlink_to("nowhere.png")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    assert relative(tmp_path, find_images(str(tmp_path))) == ["a.png", "broken.png"]


@pytest.mark.parametrize("find", [find_images, find_classes])
def test_missing_empty_and_wrong_folders_raise_data_error(find, tmp_path):
    with pytest.raises(DataError, match="expected a folder of images, found nothing there"):
        find(str(tmp_path / "missing"))
    make(tmp_path, "photo.txt")
    with pytest.raises(DataError, match="found a file"):
        find(str(tmp_path / "photo.txt"))
    with pytest.raises(DataError, match=r"holds no images \(\.bmp"):
        find(str(tmp_path))


def test_images_without_classes_and_empty_classes_raise_data_error(tmp_path):
    make(tmp_path, "1.png", "cat.2.png")
    with pytest.raises(DataError, match="holds images but no classes; expected a folder for each"):
        find_classes(str(tmp_path))
    make(tmp_path, "cats/1.png", "zebras/notes.txt")
    with pytest.raises(DataError, match="zebras: this class folder holds no images"):
        find_classes(str(tmp_path))
