"""Storage of cached features: arrays in memory, or an HDF5 file for large sets.

>>> import numpy as np
>>> from minidl.training.feature_cache.store import FeatureWriter
>>> with FeatureWriter("key", batches=2, memory_limit=2**20) as writer:
...     for batch in range(2):
...         writer.append(0, [np.full((3, 2), batch)], np.arange(3), None)
...     features = writer.finish()
>>> x, y = features.rows(np.array([5, 0]))
>>> x.tolist(), y.tolist()
([[1, 1], [0, 0]], [2, 0])
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from minidl.common.errors import DataError
from minidl.formats.downloads.registry import cache_folder

__all__ = ["FeatureSet", "FeatureWriter", "open_features", "remove_files"]

VERSION = 1
MAX_FILES = 4  # each is larger than the limit for features in memory


class FeatureSet:
    """Features, labels and sample weights of a data set.

    Parameters
    ----------
    columns : dict of str to numpy.ndarray or h5py.Dataset
        "feature 0", ... of shape (passes, N, ...); "label 0", ... and "weight" of shape (N, ...).
    facts : dict
        "lists": whether features and labels are lists of arrays; "files": file names or None.
    """

    def __init__(self, columns: dict[str, Any], facts: dict[str, Any]) -> None:
        self.columns, self.facts = columns, facts
        self.passes, self.count = columns["feature 0"].shape[:2]

    @property
    def files(self) -> list[str] | None:
        """The files of the samples, if they came from files."""
        return self.facts["files"]

    @property
    def memory(self) -> int:
        """Bytes of the arrays in memory."""
        return sum(a.nbytes for a in self.columns.values() if isinstance(a, np.ndarray))

    def rows(self, numbers: np.ndarray, epoch: int = 0) -> tuple[Any, ...]:
        """Return ``(features, labels)`` or ``(features, labels, weights)`` of some samples.

        Parameters
        ----------
        numbers : numpy.ndarray, shape (B,)
            Row numbers of the samples.
        epoch : int
            Selects the augmented version, if there are several.
        """
        version = epoch % self.passes
        features = self._group("feature", lambda column: _take(column, numbers, version))
        labels = self._group("label", lambda column: column[numbers])
        if "weight" in self.columns:
            return features, labels, self.columns["weight"][numbers]
        return features, labels

    def _group(self, kind: str, take: Callable[[Any], np.ndarray]) -> Any:
        """Return the columns of a kind in their original form: a list, one array or None."""
        found = [take(c) for name, c in self.columns.items() if name.startswith(f"{kind} ")]
        if self.facts["lists"][kind]:
            return found
        return found[0] if found else None


class FeatureWriter:
    """Collects batches of features, in memory or in a file depending on the first batch.

    Parameters
    ----------
    key : str
        Hash of everything that the features depend on; the file's name.
    batches : int
        Expected number of batches.
    memory_limit : float
        Bytes; larger sets go to a file in the cache folder.
    """

    def __init__(self, key: str, batches: int, memory_limit: float) -> None:
        self.key, self.batches, self.memory_limit = key, batches, memory_limit
        self.parts: dict[tuple[str, int], list[np.ndarray]] = defaultdict(list)
        self.lists: dict[str, bool] = {}
        self.file: Any = None
        self.temporary: Path | None = None

    def __enter__(self) -> FeatureWriter:
        return self

    def append(
        self, number: int, features: list[np.ndarray], labels: Any, weight: ArrayLike | None
    ) -> None:
        """Add one batch.

        Parameters
        ----------
        number : int
            Number of the pass; the passes come one after the other.
        features : list of numpy.ndarray
        labels : array, list of arrays or None
        weight : array_like or None
        """
        if not self.lists:
            self.lists = {"feature": len(features) > 1, "label": isinstance(labels, (list, tuple))}
            if sum(a.nbytes for a in features) * self.batches > self.memory_limit:
                self._open_file(features)
        for i, array in enumerate(features):
            self._add(f"feature {i}", number, array)
        if number > 0:
            return  # the first pass has added the labels
        labels = labels if self.lists["label"] else [labels]
        for i, array in enumerate(labels):
            if array is not None:
                self._add(f"label {i}", 0, np.asarray(array))
        if weight is not None:
            self._add("weight", 0, np.asarray(weight))

    def finish(self, files: list[str] | None = None) -> FeatureSet:
        """Return the collected features; `files` are the files of the samples."""
        facts = {"version": VERSION, "lists": self.lists, "files": files}
        if self.file is not None:
            return self._finish_file(facts)
        columns: dict[str, list[np.ndarray]] = defaultdict(list)
        for name, number in list(self.parts):
            columns[name].append(np.concatenate(self.parts.pop((name, number))))
        if not columns:
            raise DataError("features: expected at least one batch, received none")
        if len({len(a) for passes in columns.values() for a in passes}) > 1:
            raise DataError("features: files were changed while they were being read; fit again")
        arrays = {
            name: _stacked(passes) if name.startswith("feature") else passes[0]
            for name, passes in columns.items()
        }
        return FeatureSet(arrays, facts)

    def __exit__(self, *error: object) -> None:
        if self.file is not None:
            self.file.close()
        if self.temporary is not None:
            with contextlib.suppress(OSError):
                self.temporary.unlink()

    def _add(self, name: str, number: int, array: np.ndarray) -> None:
        if self.file is None or not name.startswith("feature"):
            self.parts[name, number].append(array)
            return
        column = self.file[name]
        start = self.written[name, number]
        stop = self.written[name, number] = start + len(array)
        column.resize(
            (max(number + 1, column.shape[0]), max(stop, column.shape[1]), *column.shape[2:])
        )
        column[number, start:stop] = array

    def _open_file(self, features: list[np.ndarray]) -> None:
        import h5py

        path = _path(self.key)
        self.temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            remove_files(keep=MAX_FILES - 1)
            self.file = h5py.File(self.temporary, "w")
        except OSError as error:
            raise OSError(
                f"{path.parent}: cannot be written ({error.strerror or error}), and the features "
                "do not fit into memory; set MINIDL_HOME, or fit(cache_features=False)"
            ) from error
        self.written: dict[tuple[str, int], int] = defaultdict(int)
        for i, array in enumerate(features):
            shape = array.shape[1:]
            self.file.create_dataset(
                f"feature {i}",
                (1, 0, *shape),
                array.dtype,
                maxshape=(None, None, *shape),
                chunks=(1, 1, *shape),  # rows are read one by one in random order
            )

    def _finish_file(self, facts: dict[str, Any]) -> FeatureSet:
        lengths = set(self.written.values())
        for (name, _), parts in self.parts.items():
            self.file[name] = np.concatenate(parts)
            lengths.add(len(self.file[name]))
        if len(lengths) > 1:
            raise DataError("features: files were changed while they were being read; fit again")
        self.file["facts"] = json.dumps(facts)
        self.file.close()
        self.file = None
        path = _path(self.key)
        os.replace(str(self.temporary), path)
        features = open_features(self.key)
        if features is None:
            raise OSError(f"{path}: cannot be read after it was written")
        return features


def open_features(key: str) -> FeatureSet | None:
    """Return the features in a file of an earlier process, or None."""
    path = _path(key)
    if not path.is_file():
        return None
    import h5py

    try:
        file = h5py.File(path, "r")
        facts = json.loads(file["facts"][()])
        if facts["version"] != VERSION:
            return None
        columns = {
            name: item if name.startswith("feature") else item[()]
            for name, item in file.items()
            if name != "facts"
        }
        return FeatureSet(columns, facts)
    except (OSError, KeyError, ValueError):  # a damaged file is ignored
        return None


def remove_files(keep: int) -> None:
    """Remove all files of features except the `keep` newest."""
    folder = _path("").parent
    files = sorted(folder.glob("*.h5"), key=lambda path: path.stat().st_mtime)
    for path in files[: len(files) - keep]:
        with contextlib.suppress(OSError):  # in use (Windows) or already removed
            path.unlink()


def _stacked(passes: list[np.ndarray]) -> np.ndarray:
    return passes[0][None] if len(passes) == 1 else np.stack(passes)


def _path(key: str) -> Path:
    return cache_folder() / "features" / f"{key}.h5"


def _take(column: Any, numbers: np.ndarray, version: int) -> np.ndarray:
    """Return some rows of one pass; HDF5 requires ascending row numbers."""
    if isinstance(column, np.ndarray):
        return column[version, numbers]
    order = np.argsort(numbers)
    rows = np.empty((len(numbers), *column.shape[2:]), column.dtype)
    rows[order] = column[version, numbers[order]]
    return rows
