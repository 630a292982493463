"""Storage of features: rows, versions and forms of the labels, in memory and in a file."""

import os
import subprocess
import sys
from types import SimpleNamespace

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


def test_a_folder_is_found_again_and_removed(tmp_path, monkeypatch):
    monkeypatch.setenv("MINIDL_HOME", str(tmp_path))
    assert store.open_features("key") is None
    written(limit=0)
    x, _ = store.open_features("key").rows(np.array([3]))
    np.testing.assert_array_equal(x, FEATURES[0, [3]])
    store.remove_stored(keep=0)
    assert store.open_features("key") is None


@pytest.mark.skipif(os.name == "nt", reason="Windows has no limit of the file size")
def test_a_full_disk_at_any_size_is_reported_and_leaves_nothing(tmp_path):
    code = (
        "import resource, numpy as np\n"
        "from minidl.training.feature_cache.store import FeatureWriter\n"
        "for limit in range(0, 4000, 40):\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))\n"
        "    try:\n"
        "        with FeatureWriter('key', 2, 0) as writer:\n"
        "            for batch in range(2):\n"
        "                writer.append(0, [np.ones((10, 50))], np.arange(10), None)\n"
        "            writer.finish()\n"
        "    except OSError as error:\n"
        "        print(error)\n"
    )
    environment = {**os.environ, "MINIDL_HOME": str(tmp_path)}
    process = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment
    )
    lines = process.stdout.splitlines()
    assert len(lines) == 100
    assert all("disk is full" in line and "8,000 bytes needed" in line for line in lines)
    assert not list((tmp_path / "features").iterdir())


def test_too_little_space_is_reported_before_the_first_batch_is_stored(tmp_path, monkeypatch):
    monkeypatch.setenv("MINIDL_HOME", str(tmp_path))
    monkeypatch.setattr(store.shutil, "disk_usage", lambda path: SimpleNamespace(free=100))
    with pytest.raises(OSError, match="256 bytes needed, 100 bytes free.*MINIDL_HOME"):
        written(limit=0)


def test_a_writer_that_is_not_finished_stores_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("MINIDL_HOME", str(tmp_path))
    with store.FeatureWriter("key", 4, 0) as writer:
        writer.append(0, [FEATURES[0]], LABELS, None)
    assert not list((tmp_path / "features").iterdir())


def test_no_batches_and_changed_lengths_are_refused():
    with store.FeatureWriter("key", 1, 2**20) as writer, pytest.raises(DataError, match="none"):
        writer.finish()
    with store.FeatureWriter("key", 2, 2**20) as writer:
        writer.append(0, [np.zeros((3, 2))], np.zeros(3), None)
        writer.append(1, [np.zeros((2, 2))], None, None)
        with pytest.raises(DataError, match="changed while"):
            writer.finish()
