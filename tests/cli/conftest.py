"""Photos and a trained model that the tests of all commands share."""

import pytest
from support.commands import SMALL, run
from support.tiny import make_photos


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """A folder of ten photos of each of two classes."""
    return make_photos(tmp_path_factory.mktemp("photos"), count=10)


@pytest.fixture(scope="session")
def trained(photos, tmp_path_factory):
    """A model file after two epochs."""
    path = tmp_path_factory.mktemp("trained") / "model.h5"
    assert run("train", photos, "--epochs", 2, *SMALL, "--output", path) == 0
    return path


@pytest.fixture
def photo(photos):
    """One photo."""
    return sorted((photos / "cats").iterdir())[0]
