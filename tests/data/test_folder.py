"""ImageFolder: labels, splits, unreadable files, memory."""

import os
import threading
import time
import warnings

import numpy as np
import pytest
from PIL import Image

import minidl.data.folder
from minidl.common.errors import DataError
from minidl.data import ImageFolder, load_image

COLORS = {"cats": (250, 0, 0), "dogs": (0, 250, 0), "owls": (0, 0, 250)}


def save(path, color=(250, 0, 0), number=0):
    """Save a picture of one color, with its number in the first pixel."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", (8, 6), color)
    image.putpixel((0, 0), (number, number, number))
    image.save(path)


def make_photos(root, **counts):
    """Make class folders such as cats=3, dogs=2; every picture has its own number."""
    number = 0
    for name, count in counts.items():
        for i in range(count):
            save(root / name / f"{i}.png", COLORS[name], number)
            number += 1
    return root


def read(root, **options):
    options = {"image_size": (6, 8), "batch_size": 4, "shuffle": False} | options
    return ImageFolder(root, **options)


def numbers_of(dataset, epoch=0):
    """Return the pictures' numbers in the order of an epoch."""
    return [int(image[0, 0, 0]) for x, _ in dataset.batches(epoch) for image in x]


@pytest.fixture
def photos(tmp_path):
    return make_photos(tmp_path / "photos", dogs=6, cats=4)


def test_classes_and_files_are_sorted_and_batches_hold_raw_rgb(photos):
    data = read(photos)
    assert data.class_names == ["cats", "dogs"]
    assert data.labels.tolist() == [0] * 4 + [1] * 6
    assert data.labels.dtype == np.int64
    assert [os.path.relpath(file, photos) for file in data.files[:5]] == [
        *(f"cats{os.sep}{i}.png" for i in range(4)),
        f"dogs{os.sep}0.png",
    ]
    assert len(data) == 3
    assert data.image_shape == (6, 8, 3)
    (x, _), *others = list(data.batches())
    assert x.shape == (4, 6, 8, 3)
    assert x.dtype == np.float32
    np.testing.assert_array_equal(x[0, 1, 1], COLORS["cats"])
    assert [len(labels) for _, labels in others] == [4, 2]
    np.testing.assert_array_equal(x[0], load_image(data.files[0]))


def test_unicode_names_work(tmp_path):
    for name in ("кошки/рыжий кот.png", "いぬ/çà et là.png"):
        save(tmp_path / name)
    data = read(tmp_path)
    assert data.class_names == ["кошки", "いぬ"]
    assert sum(len(y) for _, y in data.batches()) == 2


# Labels


def test_label_modes_have_the_shapes_of_keras(photos):
    def first(mode):
        return next(read(photos, label_mode=mode, batch_size=10).batches())[1]

    assert first("int").tolist() == [0] * 4 + [1] * 6
    assert first("binary").dtype == first("categorical").dtype == np.float32
    assert first("binary").tolist() == [[0]] * 4 + [[1]] * 6
    assert first("categorical").tolist() == [[1, 0]] * 4 + [[0, 1]] * 6
    assert first(None) is None


def test_without_labels_no_class_folders_are_needed(tmp_path, photos):
    flat = tmp_path / "flat"
    for name in ("b.png", "a.png", "deeper/c.png"):
        save(flat / name)
    data = read(flat, label_mode=None)
    assert [os.path.basename(file) for file in data.files] == ["a.png", "b.png", "c.png"]
    assert data.labels is None
    assert data.class_names == []
    ((x, y),) = data.batches()
    assert x.shape == (3, 6, 8, 3)
    assert y is None


def test_class_names_give_the_order_of_the_labels(photos):
    data = read(photos, class_names=["dogs", "cats"])
    assert data.class_names == ["dogs", "cats"]
    assert data.labels.tolist() == [0] * 6 + [1] * 4
    np.testing.assert_array_equal(next(data.batches())[0][0, 1, 1], COLORS["dogs"])


def test_grayscale_has_one_channel_and_an_int_means_a_square(photos):
    data = read(photos, color_mode="grayscale", image_size=5)
    assert data.image_shape == (5, 5, 1)
    assert next(data.batches())[0].shape == (4, 5, 5, 1)


def test_load_arrays_returns_all_images_as_uint8(photos):
    x, y = read(photos, shuffle=True).load_arrays()
    assert x.shape == (10, 6, 8, 3)
    assert x.dtype == np.uint8
    assert y.tolist() == [0] * 4 + [1] * 6
    np.testing.assert_array_equal(x[9, 1, 1], COLORS["dogs"])
    assert read(photos, label_mode=None).load_arrays()[1] is None


# Order


def test_the_order_of_an_epoch_depends_on_seed_and_epoch(photos):
    data = read(photos, shuffle=True, seed=3)
    epochs = [numbers_of(data, epoch) for epoch in range(3)]
    assert epochs[0] != epochs[1]
    assert [sorted(epoch) for epoch in epochs] == [list(range(10))] * 3
    assert numbers_of(read(photos, shuffle=True, seed=3), 2) == epochs[2]
    unseeded = read(photos, shuffle=True)
    assert numbers_of(read(photos, shuffle=True, seed=unseeded.seed)) == numbers_of(unseeded)


def test_shuffling_keeps_labels_and_images_together(photos):
    for x, y in read(photos, shuffle=True, seed=1).batches(5):
        np.testing.assert_array_equal(x[:, 1, 1, 1] > 0, y == 1)


def test_an_unreadable_file_does_not_change_the_order_of_the_others(photos):
    (photos / "cats" / "bad.png").write_bytes(b"")
    first = read(photos, shuffle=True, seed=2)
    with pytest.warns(UserWarning, match="could not be read"):
        epochs = [numbers_of(first, epoch) for epoch in range(2)]
    with pytest.warns(UserWarning, match="could not be read"):
        assert numbers_of(read(photos, shuffle=True, seed=2), 1) == epochs[1]


# Split


@pytest.mark.parametrize("seed", [0, 7, None])
def test_the_split_is_stratified_disjoint_and_complete(tmp_path, seed):
    make_photos(tmp_path, cats=40, dogs=10, owls=1)
    parts = [
        read(tmp_path, validation_split=0.2, subset=subset, seed=seed)
        for subset in ("training", "validation")
    ]
    assert [np.bincount(part.labels, minlength=3).tolist() for part in parts] == [
        [32, 8, 1],
        [8, 2, 0],
    ]
    files = [set(part.files) for part in parts]
    assert not files[0] & files[1]
    assert files[0] | files[1] == set(read(tmp_path).files)


def test_the_split_depends_on_the_seed_alone(tmp_path):
    make_photos(tmp_path, cats=30, dogs=30)

    def files(seed, **options):
        return read(tmp_path, validation_split=0.3, subset="validation", seed=seed, **options).files

    assert files(1) == files(1, shuffle=True, batch_size=7)
    assert files(1) != files(2)
    assert files(None) == files(0)


@pytest.mark.parametrize(
    "options",
    [
        {"validation_split": 0.2},
        {"subset": "training"},
        {"validation_split": 1.0, "subset": "training"},
        {"validation_split": 0.2, "subset": "both"},
        {"validation_split": 0.2, "subset": "training", "seed": np.random.default_rng(0)},
    ],
)
def test_incomplete_or_wrong_splits_raise_value_error(photos, options):
    with pytest.raises(ValueError, match=r"validation_split|subset"):
        read(photos, **options)


# Unreadable files


def test_unreadable_files_are_skipped_with_one_warning(photos):
    (photos / "cats" / "empty.png").write_bytes(b"")
    (photos / "dogs" / "text.jpg").write_text("no image")
    (photos / "dogs" / "gone.png").symlink_to("nowhere.png")
    data = read(photos)
    assert len(data.files) == 13
    with pytest.warns(UserWarning, match="^3 of 13 files could not be read") as caught:
        counts = [len(y) for _, y in data.batches(0)]
    assert sum(counts) == 10
    assert len(caught) == 1
    assert all(name in str(caught[0].message) for name in ("empty.png", "text.jpg", "gone.png"))
    assert [os.path.basename(file) for file, _ in data.skipped] == [
        "empty.png",
        "gone.png",
        "text.jpg",
    ]
    assert "empty" in data.skipped[0][1]
    assert str(photos) not in data.skipped[0][1]
    # The remaining files match the rows of the epoch.
    assert len(data.files) == 10
    np.testing.assert_array_equal(data.labels, np.concatenate([y for _, y in data.batches(1)]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert sum(len(y) for _, y in data.batches(2)) == 10


def test_the_warning_names_at_most_five_files(photos):
    for i in range(7):
        (photos / "cats" / f"bad{i}.png").write_bytes(b"")
    with pytest.warns(UserWarning, match="and 2 more") as caught:
        read(photos).load_arrays()
    assert str(caught[0].message).count("bad") == 5


@pytest.mark.parametrize("cache", [True, False])
def test_an_unreadable_file_is_tried_only_once(photos, cache, monkeypatch):
    (photos / "cats" / "bad.png").write_bytes(b"")
    tried = []

    def counting(file, *arguments):
        tried.append(os.path.basename(file))
        return load_image(file, *arguments)

    monkeypatch.setattr(minidl.data.folder, "load_image", counting)
    data = read(photos, cache=cache)
    with pytest.warns(UserWarning, match="could not be read"):
        list(data.batches(0))
    list(data.batches(1))
    assert tried.count("bad.png") == 1
    assert len(tried) == 1 + 10 * (1 if cache else 2)


def test_a_batch_without_readable_files_is_skipped(photos):
    for i in range(4):
        (photos / "cats" / f"{i}.png").write_bytes(b"")
    with pytest.warns(UserWarning, match="could not be read"):
        assert [len(y) for _, y in read(photos).batches()] == [4, 2]


def test_a_folder_without_readable_files_raises_data_error(photos):
    for file in photos.rglob("*.png"):
        file.write_bytes(b"")
    with pytest.raises(DataError, match=r"none of the 10 files.*empty"):
        list(read(photos).batches())
    with pytest.raises(DataError, match="none of the 10 files"):
        read(photos).load_arrays()


# Memory and threads


def test_later_epochs_use_cached_images_if_they_fit(photos, monkeypatch):
    automatic, never = read(photos), read(photos, cache=False)
    monkeypatch.setattr(minidl.data.folder, "CACHE_LIMIT", 6 * 8 * 3 * 10 - 1)
    too_large, always = read(photos), read(photos, cache=True)
    for data in (automatic, never, too_large, always):
        assert numbers_of(data, 0) == numbers_of(data, 1)
    for file in photos.rglob("*.png"):
        file.unlink()
    for data in (automatic, always):
        assert sorted(numbers_of(data, 2)) == list(range(10))
    for data in (never, too_large):
        with pytest.raises(DataError, match="none of the 10 files"):
            numbers_of(data, 2)


def test_modified_batches_do_not_change_later_epochs(photos):
    data = read(photos)
    for x, _ in data.batches(0):
        x[:] = 0
    assert numbers_of(data, 1) != [0] * 10


def test_stopping_early_ends_all_threads(photos):
    data = read(photos, batch_size=1)
    for stop_after in range(3):
        for number, _ in enumerate(data.batches(stop_after)):
            if number == stop_after:
                break
    deadline = time.monotonic() + 5
    while left := [t.name for t in threading.enumerate() if t.name.startswith("minidl-")]:
        if time.monotonic() > deadline:
            pytest.fail(f"running threads: {left}")
        time.sleep(0.01)


# Wrong arguments


def test_missing_and_empty_folders_raise_data_error(tmp_path):
    with pytest.raises(DataError, match="nothing there"):
        ImageFolder(tmp_path / "missing")
    save(tmp_path / "photo.png")
    with pytest.raises(DataError, match="found a file"):
        ImageFolder(tmp_path / "photo.png")
    (tmp_path / "empty" / "cats").mkdir(parents=True)
    for options in ({}, {"label_mode": None}):
        with pytest.raises(DataError, match="holds no images"):
            ImageFolder(tmp_path / "empty", **options)


def test_one_class_raises_data_error(tmp_path):
    make_photos(tmp_path, cats=3)
    with pytest.raises(DataError, match=r"two classes or more, found only 'cats'.*photos/cats"):
        ImageFolder(tmp_path)
    assert len(ImageFolder(tmp_path, label_mode=None).files) == 3


def test_images_without_classes_raise_data_error(tmp_path):
    save(tmp_path / "1.png")
    save(tmp_path / "cat.2.png")
    with pytest.raises(DataError, match=r"no classes.*photos/dogs"):
        ImageFolder(tmp_path)


def test_a_class_without_images_raises_data_error(photos):
    (photos / "zebras").mkdir()
    with pytest.raises(DataError, match=r"zebras: this class folder holds no images"):
        ImageFolder(photos)


def test_class_names_must_match_the_folders(photos):
    for names in (["cats"], ["cats", "dogs", "owls"], ["cat", "dog"], ["cats", "cats"]):
        with pytest.raises(DataError, match="expected the classes"):
            ImageFolder(photos, class_names=names)
    with pytest.raises(ValueError, match="label_mode=None"):
        ImageFolder(photos, class_names=["cats", "dogs"], label_mode=None)


def test_binary_labels_need_two_classes(tmp_path):
    make_photos(tmp_path, cats=1, dogs=1, owls=1)
    with pytest.raises(DataError, match="'binary' needs two classes, found 3"):
        ImageFolder(tmp_path, label_mode="binary")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("image_size", None),
        ("image_size", (0, 5)),
        ("batch_size", -1),
        ("batch_size", 0),
        ("seed", -3),
        ("color_mode", "rgba"),
        ("label_mode", "onehot"),
        ("cache", "always"),
    ],
)
def test_wrong_arguments_raise_value_error_with_their_name(photos, name, value):
    with pytest.raises(ValueError, match=name):
        ImageFolder(photos, **{name: value})


# Fixed order


def test_in_order_is_the_order_of_the_files_and_shares_cached_images(photos):
    data = read(photos, shuffle=True, seed=3)
    ordered = data.in_order()
    assert numbers_of(ordered, 0) == numbers_of(ordered, 1) != numbers_of(data, 0)
    assert ordered.files == data.files
    assert data.shuffle
    for file in photos.rglob("*.png"):
        file.unlink()
    assert sorted(numbers_of(data, 1)) == list(range(10))


def test_in_order_of_a_subclass_is_unknown(photos):
    class Own(ImageFolder):
        """A subclass may change the batches."""

    assert Own(photos).in_order() is None


def test_the_fingerprint_changes_with_files_and_settings(photos):
    first = read(photos).fingerprint()
    assert read(photos, shuffle=True, batch_size=2).fingerprint() == first
    assert read(photos, image_size=5).fingerprint() != first
    assert read(photos, class_names=["dogs", "cats"]).fingerprint() != first
    save(photos / "cats" / "0.png", (1, 2, 3), 77)
    os.utime(photos / "cats" / "0.png", ns=(0, 0))
    assert read(photos).fingerprint() != first
