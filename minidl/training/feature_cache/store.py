"""Storage of cached features: arrays in memory, or a folder of ``.npy`` files for large sets.

The files are mapped into memory, so that training reads only the rows that it needs.

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
import shutil
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import ArrayLike

from minidl.common.atomic_files import atomic_folder, full_disk_errors
from minidl.common.errors import DataError
from minidl.formats.downloads.registry import cache_folder

__all__ = ["FeatureSet", "FeatureWriter", "open_features", "remove_stored"]

VERSION = 2
MAX_STORED = 4  # sets on the disk; each is larger than the limit for features in memory
FACTS = "facts.json"


class FeatureSet:
    """Features, labels and sample weights of a data set.

    Parameters
    ----------
    columns : dict of str to numpy.ndarray
        In memory or mapped from a file. "feature 0", ... of shape (passes, N, ...);
        "label 0", ... and "weight" of shape (N, ...).
    facts : dict
        "lists": whether features and labels are lists of arrays; "files": file names or None.
    """

    def __init__(self, columns: dict[str, np.ndarray], facts: dict[str, Any]) -> None:
        self.columns, self.facts = columns, facts
        self.passes, self.count = columns["feature 0"].shape[:2]

    @property
    def files(self) -> list[str] | None:
        """The files of the samples, if they came from files."""
        return self.facts["files"]

    @property
    def memory(self) -> int:
        """Bytes of the arrays in memory."""
        return sum(a.nbytes for a in self.columns.values() if not isinstance(a.base, np.memmap))

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
        features = self._group("feature", lambda column: column[version, numbers])
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
    """Collects batches of features, in memory or on the disk depending on the first batch.

    Parameters
    ----------
    key : str
        Hash of everything that the features depend on; the name of the folder.
    batches : int
        Expected number of batches.
    memory_limit : float
        Bytes; larger sets go to a folder in the cache.
    """

    def __init__(self, key: str, batches: int, memory_limit: float) -> None:
        self.key, self.batches, self.memory_limit = key, batches, memory_limit
        self.parts: dict[tuple[str, int], list[np.ndarray]] = defaultdict(list)
        self.lists: dict[str, bool] = {}
        self.files: dict[str, _RowFile] = {}
        self.folder: Path | None = None
        self.building = contextlib.ExitStack()  # of the folder

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

        Raises
        ------
        OSError
            If the features do not fit on the disk.
        """
        if not self.lists:
            self.lists = {"feature": len(features) > 1, "label": isinstance(labels, (list, tuple))}
            self.size = sum(a.nbytes for a in features) * self.batches
            if self.size > self.memory_limit:
                self._open_folder(features)
        for i, array in enumerate(features):
            if self.files:
                with full_disk_errors(_folder(self.key), self.size):
                    self.files[f"feature {i}"].append(number, array)
            else:
                self.parts[f"feature {i}", number].append(array)
        if number > 0:
            return  # the first pass has added the labels
        labels = labels if self.lists["label"] else [labels]
        for i, array in enumerate(labels):
            if array is not None:
                self.parts[f"label {i}", 0].append(np.asarray(array))
        if weight is not None:
            self.parts["weight", 0].append(np.asarray(weight))

    def finish(self, files: list[str] | None = None) -> FeatureSet:
        """Return the collected features; `files` are the files of the samples."""
        facts = {"version": VERSION, "lists": self.lists, "files": files}
        columns: dict[str, list[np.ndarray]] = defaultdict(list)
        for name, number in list(self.parts):
            columns[name].append(np.concatenate(self.parts.pop((name, number))))
        if not columns and not self.files:
            raise DataError("features: expected at least one batch, received none")
        lengths = {len(a) for passes in columns.values() for a in passes}
        lengths.update(*(file.rows.values() for file in self.files.values()))
        if len(lengths) > 1:
            raise DataError("features: files were changed while they were being read; fit again")
        arrays = {
            name: _stacked(passes) if name.startswith("feature") else passes[0]
            for name, passes in columns.items()
        }
        if self.folder is None:
            return FeatureSet(arrays, facts)
        return self._store(self.folder, arrays, facts)

    def __exit__(self, *error: object) -> None:
        for file in self.files.values():
            file.close()
        # The folder of an unfinished writer is removed, as after an error.
        unfinished = DataError("the features are incomplete")
        self.building.__exit__(DataError, unfinished, None)

    def _open_folder(self, features: list[np.ndarray]) -> None:
        """Create the files of the features in a folder that is not visible yet."""
        folder = _folder(self.key)
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            remove_stored(keep=MAX_STORED - 1)
            free = shutil.disk_usage(folder.parent).free
            if free < self.size:
                raise OSError(f"{self.size:,} bytes needed, {free:,} bytes free")
            self.folder = self.building.enter_context(atomic_folder(folder))
            for i, array in enumerate(features):
                self.files[f"feature {i}"] = _RowFile(self.folder / f"feature {i}.npy", array)
        except OSError as error:
            raise OSError(
                f"{folder.parent}: cannot be written ({error.strerror or error}), and the features "
                "do not fit into memory; set MINIDL_HOME, or fit(cache_features=False)"
            ) from error

    def _store(
        self, folder: Path, arrays: dict[str, np.ndarray], facts: dict[str, Any]
    ) -> FeatureSet:
        """Complete the folder and make it visible."""
        facts["passes"] = len(next(iter(self.files.values())).rows)
        with full_disk_errors(_folder(self.key), self.size):
            for file in self.files.values():
                file.finish()
            for name, array in arrays.items():
                np.save(folder / f"{name}.npy", array, allow_pickle=False)
            (folder / FACTS).write_text(json.dumps(facts), encoding="utf-8")
        with contextlib.suppress(FileExistsError):  # another process was faster
            self.building.close()
        features = open_features(self.key)
        if features is None:
            raise OSError(f"{_folder(self.key)}: cannot be read after it was written")
        return features


class _RowFile:
    """A ``.npy`` file to which rows are appended; their number enters the header at the end.

    Parameters
    ----------
    path : Path
    sample : numpy.ndarray, shape (B, ...)
        Rows of the same shape and dtype, which are not written.
    """

    def __init__(self, path: Path, sample: np.ndarray) -> None:
        self.file: BinaryIO = open(path, "wb")  # noqa: SIM115
        self.shape, self.dtype = sample.shape[1:], sample.dtype
        self.rows: dict[int, int] = defaultdict(int)  # by pass
        self._write_header()

    def append(self, number: int, array: np.ndarray) -> None:
        """Add rows of the pass `number`."""
        self.file.write(np.ascontiguousarray(array).reshape(-1).data)
        self.rows[number] += len(array)

    def finish(self) -> None:
        """Write the number of rows and close the file."""
        self.file.seek(0)
        self._write_header()
        self.file.close()

    def close(self) -> None:
        """Close the file, whatever its state."""
        with contextlib.suppress(OSError):  # closing repeats a failed write
            self.file.close()

    def _write_header(self) -> None:
        # NumPy pads the header, so that its length does not depend on the number of rows.
        header = {
            "descr": np.lib.format.dtype_to_descr(self.dtype),
            "fortran_order": False,
            "shape": (sum(self.rows.values()), *self.shape),
        }
        np.lib.format.write_array_header_1_0(self.file, header)


def open_features(key: str) -> FeatureSet | None:
    """Return the features that an earlier process stored on the disk, or None."""
    folder = _folder(key)
    try:
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        if facts["version"] != VERSION:
            return None
        columns: dict[str, np.ndarray] = {}
        for path in sorted(folder.glob("*.npy")):
            if path.stem.startswith("feature"):
                rows = np.load(path, mmap_mode="r")
                columns[path.stem] = rows.reshape(facts["passes"], -1, *rows.shape[1:])
            else:
                columns[path.stem] = np.load(path)
        return FeatureSet(columns, facts)
    except (OSError, KeyError, ValueError, EOFError):  # missing, or damaged and ignored
        return None


def remove_stored(keep: int) -> None:
    """Remove all features on the disk except the `keep` newest."""
    stored = [path for path in _folder("").glob("*") if not path.name.startswith(".")]
    stored.sort(key=lambda path: path.stat().st_mtime)
    for path in stored[: len(stored) - keep]:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)  # a file in use stays on Windows
        else:  # of an earlier version
            with contextlib.suppress(OSError):
                path.unlink()


def _stacked(passes: list[np.ndarray]) -> np.ndarray:
    return passes[0][None] if len(passes) == 1 else np.stack(passes)


def _folder(key: str) -> Path:
    return cache_folder() / "features" / key
