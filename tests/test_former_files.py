"""Files saved by version 0.1 load, predict the same and continue training."""

from pathlib import Path

import numpy as np
import pytest

import minidl
from minidl.models.model import Model

FILES = Path(__file__).parent / "fixtures" / "version_0_1"
TOLERANCE = 1e-6  # absolute, on probabilities: float32 sums in another order


@pytest.fixture(scope="module")
def expected() -> dict[str, np.ndarray]:
    with np.load(FILES / "expected.npz") as arrays:
        return dict(arrays)


@pytest.mark.parametrize("name", ["functional", "sequential"])
def test_a_former_model_predicts_the_same(name, expected):
    model = minidl.load_model(FILES / f"{name}.h5")
    y = model.predict(expected["x"], verbose=0)
    np.testing.assert_allclose(y, expected[name], rtol=0, atol=TOLERANCE)


def test_former_weights_load_into_a_new_model(expected):
    config_only = minidl.load_model(FILES / "functional.h5")
    for parameter in config_only.weights:
        parameter.assign(np.zeros(parameter.shape))
    config_only.load_weights(FILES / "functional.weights.h5")
    y = config_only.predict(expected["x"], verbose=0)
    np.testing.assert_allclose(y, expected["functional"], rtol=0, atol=TOLERANCE)


def test_metadata_of_a_former_model_is_kept():
    assert minidl.load_model(FILES / "functional.h5").metadata["class_names"] == ["a", "b", "c"]


def test_a_former_training_continues_with_its_optimizer_state(expected):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (24, 12, 12, 3)).astype("float32")
    y = rng.integers(0, 3, 24)
    model: Model = minidl.load_model(FILES / "functional.h5")
    steps = model.optimizer.iterations
    model.fit(x, y, epochs=1, batch_size=8, verbose=0, shuffle=False)
    assert (steps, model.optimizer.iterations) == (6, 9)
    # Dropout draws anew, so only the size of the change can be compared.
    y = model.predict(expected["x"], verbose=0)
    change = np.abs(y - expected["functional"]).max()
    former = np.abs(expected["functional_after_one_more_epoch"] - expected["functional"]).max()
    assert 0 < change < 3 * former
