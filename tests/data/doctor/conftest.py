"""Fixtures of the dataset doctor's tests."""

import shutil

import pytest
from support.damaged import encoded, half, open_image, put, textured, write_classes


@pytest.fixture
def photos(tmp_path):
    """Return a folder without problems: 6 cats and 6 dogs."""
    return write_classes(tmp_path / "photos", textured(12))


@pytest.fixture
def held_out(photos, tmp_path):
    """Return a test folder with a smaller copy of cats/0 and an exact copy of dogs/1."""
    folder = write_classes(tmp_path / "test", textured(4, seed=9))
    put(folder / "cats" / "leaked.jpg", encoded(half(open_image(photos / "cats" / "0.jpg"))))
    shutil.copy(photos / "dogs" / "1.jpg", folder / "dogs" / "leaked.jpg")
    return folder
