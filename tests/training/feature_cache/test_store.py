"""Storage of features: rows, versions and forms of the labels, in memory and in a file."""

import numpy as np
import pytest

from minidl.common.errors import DataError
from minidl.training.feature_cache import store

FEATURES = np.arange(24.0).reshape(2, 6, 2)  # 2 passes, 6 samples
LABELS = np.arange(6)


@pytest.fixture(params=["memory", "file"])
def limit(request, tmp_path, monkeypatch):
    monkeypatch.setenv("MINIDL_HOME", str(tmp_path))
    return 2**20 if request.param == "memory" else 0


def written(limit, labels=LABELS, weights=None, lists=1):
    with store.FeatureWriter("key", 4, limit) as writer:
        for number in range(2):
            for rows in (slice(0, 4), slice(4, 6)):
                part = [a[rows] for a in labels] if isinstance(labels, list) else labels
                part = part[rows] if isinstance(part, np.ndarray) else part
                weight = None if weights is None else weights[rows]
                writer.append(number, [FEATURES[number, rows]] * lists, part, weight)
        return writer.finish(["a", "b"])


def test_rows_come_in_the_order_asked_for_and_versions_take_turns(limit):
    features = written(limit)
    assert (features.passes, features.count, features.files) == (2, 6, ["a", "b"])
    assert (features.memory > FEATURES.nbytes) == (limit > 0)
    order = np.array([5, 0, 3])
    for epoch in range(3):
        x, y = features.rows(order, epoch)
        np.testing.assert_array_equal(x, FEATURES[epoch % 2, order])
        np.testing.assert_array_equal(y, LABELS[order])


def test_lists_and_weights_keep_their_form(limit):
    weights = np.linspace(0, 1, 6)
    x, y, weight = written(limit, [LABELS, 2 * LABELS], weights, lists=2).rows(np.array([1, 4]))
    assert [a.tolist() for a in x] == [FEATURES[0, [1, 4]].tolist()] * 2
    assert [a.tolist() for a in y] == [[1, 4], [2, 8]]
    np.testing.assert_array_equal(weight, weights[[1, 4]])


def test_samples_without_labels(limit):
    x, y = written(limit, labels=None).rows(np.array([2]))
    assert x.shape == (1, 2)
    assert y is None


def test_a_file_is_found_again_and_removed(tmp_path, monkeypatch):
    monkeypatch.setenv("MINIDL_HOME", str(tmp_path))
    assert store.open_features("key") is None
    written(limit=0)
    x, _ = store.open_features("key").rows(np.array([3]))
    np.testing.assert_array_equal(x, FEATURES[0, [3]])
    store.remove_files(keep=0)
    assert store.open_features("key") is None


def test_no_batches_and_changed_lengths_are_refused():
    with store.FeatureWriter("key", 1, 2**20) as writer, pytest.raises(DataError, match="none"):
        writer.finish()
    with store.FeatureWriter("key", 2, 2**20) as writer:
        writer.append(0, [np.zeros((3, 2))], np.zeros(3), None)
        writer.append(1, [np.zeros((2, 2))], None, None)
        with pytest.raises(DataError, match="changed while"):
            writer.finish()
