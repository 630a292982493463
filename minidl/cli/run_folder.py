"""Run folders: options, metrics and models of each training.

``minidl train`` writes one per training, ``minidl runs`` compares them::

    runs/2026-11-26_143015_small_cnn/
        config.json     options, command, classes and their counts, versions and machine
        metrics.csv     one line per epoch
        best.h5         model of the best epoch so far: lowest val_loss, else lowest loss
        last.h5         model at the end, the same file as --output
        report.html     report by ``minidl.report``, if matplotlib is installed
        result.json     final state, seconds, and test metrics

>>> import tempfile
>>> from minidl.cli.run_folder import Run, find_runs
>>> root = tempfile.mkdtemp()
>>> run = Run.new(root, "small_cnn", {"epochs": 3})
>>> run.finish(seconds=1.5, test={"accuracy": 0.9})
>>> runs, skipped = find_runs(root)
>>> runs[0].config["epochs"], runs[0].result["test"]
(3, {'accuracy': 0.9})
"""

from __future__ import annotations

import contextlib
import csv
import itertools
import json
import math
import os
import shutil
import time
from pathlib import Path
from typing import Any

from minidl.callbacks import Callback, CSVLogger, ModelCheckpoint
from minidl.common.atomic_files import atomic_folder, write_file
from minidl.common.environment import environment
from minidl.common.errors import DataError, FileFormatError
from minidl.common.finite_json import finite

__all__ = ["Run", "find_runs"]

CONFIG, METRICS, RESULT, REPORT = "config.json", "metrics.csv", "result.json", "report.html"
BEST, LAST = "best.h5", "last.h5"


class Run:
    """The folder of one training.

    Parameters
    ----------
    folder : str or Path
        A folder created by :meth:`new`.

    Raises
    ------
    FileFormatError
        If it is another folder, or its ``config.json`` is damaged.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.config = _read_json(self.folder / CONFIG)
        if self.config.get("kind") != "minidl run":
            raise FileFormatError(
                f"{self.folder / CONFIG}: expected a file of `minidl train`, received another"
            )

    @classmethod
    def new(cls, root: str | Path, name: str, config: dict[str, Any]) -> Run:
        """Create a run folder, named after the time and `name`.

        Parameters
        ----------
        root : str or Path
            Parent folder; it is created if necessary.
        name : str
            Last part of the folder's name.
        config : dict
            Options of the training, stored in ``config.json``.

        Returns
        -------
        Run

        Raises
        ------
        DataError
            If the folder cannot be created.
        """
        stem = f"{time.strftime('%Y-%m-%d_%H%M%S')}_{name}"
        content = {"kind": "minidl run", **config, "environment": environment()}
        try:
            Path(root).mkdir(parents=True, exist_ok=True)
            return cls(_new_folder(Path(root), stem, content))
        except OSError as error:
            raise DataError(f"{root}: cannot create a folder ({error.strerror or error})") from None

    def callbacks(self, validated: bool) -> list[Callback]:
        """Return the callbacks that write the metrics and the best model.

        Parameters
        ----------
        validated : bool
            Whether the training has validation data.
        """
        monitor = "val_loss" if validated else "loss"
        return [
            CSVLogger(self.folder / METRICS, append=True),  # a training may have two phases
            ModelCheckpoint(self.folder / BEST, monitor=monitor, save_best_only=True),
        ]

    def keep(self, model_file: str | Path) -> None:
        """Store the model file as the last one, as a hard link where possible."""
        last = self.folder / LAST
        last.unlink(missing_ok=True)
        # Models are saved under a temporary name and renamed, so a link keeps its content.
        try:
            os.link(model_file, last)
        except OSError:
            shutil.copyfile(model_file, last)

    def amend(self, **config: Any) -> None:
        """Change stored options: a resumed training may have more epochs."""
        self.config.update(config)
        _write_json(self.folder / CONFIG, self.config)

    def finish(self, seconds: float = 0.0, state: str = "finished", **facts: Any) -> None:
        """Store the result of the training.

        Parameters
        ----------
        seconds : float
            Duration, added to that of earlier parts of the training.
        state : {"finished", "interrupted", "diverged"}
            Final state.
        **facts
            Further results, such as ``test={"accuracy": 0.9}``.
        """
        earlier, before = {}, 0.0
        with contextlib.suppress(FileFormatError):  # a damaged file is replaced
            earlier = self.result
            before = _value(self.folder / RESULT, earlier, "seconds", int, float) or 0.0
        seconds = round(seconds + before, 1)
        _write_json(self.folder / RESULT, {**earlier, "state": state, "seconds": seconds, **facts})

    @property
    def report(self) -> Path:
        """The path of the report."""
        return self.folder / REPORT

    @property
    def result(self) -> dict[str, Any]:
        """The final state and results; empty if the training is not finished."""
        path = self.folder / RESULT
        return _read_json(path) if path.exists() else {}

    @property
    def metrics(self) -> list[dict[str, float]]:
        """The metrics of each epoch; the latest ones of an epoch that was trained twice."""
        path = self.folder / METRICS
        if not path.exists():
            return []
        try:
            with path.open(newline="", encoding="utf-8") as file:
                rows = [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]
        except (OSError, ValueError, TypeError, AttributeError, csv.Error) as error:
            raise FileFormatError(f"{path}: cannot be read ({error})") from error
        for line, row in enumerate(rows, 2):
            if not row.get("epoch", math.nan).is_integer():
                raise FileFormatError(f"{path}: line {line}: expected an integer epoch")
        return list({row["epoch"]: row for row in rows}.values())

    def summary(self) -> dict[str, Any]:
        """Return the run's row of the table; missing values are None.

        Raises
        ------
        FileFormatError
            If a file is damaged or holds a value of another type than ``minidl train`` writes.
        """
        metrics = self.metrics
        config_file, result_file, result = self.folder / CONFIG, self.folder / RESULT, self.result
        base = _value(config_file, self.config, "base", str) or "none"
        planned = _value(config_file, self.config, "epochs", int)
        if planned is not None and _value(config_file, self.config, "fine_tune", str):
            planned += _value(config_file, self.config, "fine_tune_epochs", int) or 0
        test = _value(result_file, result, "test", dict) or {}
        monitor = "val_loss" if any("val_loss" in row for row in metrics) else "loss"
        finite_rows = [row for row in metrics if math.isfinite(row.get(monitor, math.nan))]
        best = min(finite_rows, key=lambda row: row[monitor], default={})
        return {
            "run": self.folder.name,
            "network": "small_cnn" if base == "none" else base,
            "size": _value(config_file, self.config, "image_size", int),
            "epochs": len(metrics),
            "planned": planned,
            "state": _value(result_file, result, "state", str) or "unfinished",
            "best": int(best["epoch"]) + 1 if best else None,
            **{name: finite(best.get(name)) for name in ("loss", "val_loss", "val_accuracy")},
            "test_accuracy": _value(result_file, test, "accuracy", int, float),
            "seconds": _value(result_file, result, "seconds", int, float),
        }


def find_runs(root: str | Path) -> tuple[list[Run], list[str]]:
    """Find the run folders in a folder.

    Parameters
    ----------
    root : str or Path
        The parent folder.

    Returns
    -------
    runs : list of Run
        Oldest first.
    skipped : list of str
        An error message for each other folder.

    Raises
    ------
    DataError
        If the folder does not exist.
    """
    root = Path(root)
    if not root.is_dir():
        raise DataError(f"{root}: no such folder. `minidl train` creates one for its runs.")
    runs, skipped = [], []
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        try:
            run = Run(folder)
            run.summary()  # raises if a file is damaged
            runs.append(run)
        except FileFormatError as error:
            skipped.append(str(error))
    return runs, skipped


def _new_folder(root: Path, stem: str, config: dict[str, Any]) -> Path:
    """Create a folder with its ``config.json``, named `stem` or, if that is taken, stem_2, ..."""
    for name in itertools.chain([stem], (f"{stem}_{number}" for number in itertools.count(2))):
        with contextlib.suppress(FileExistsError):
            with atomic_folder(root / name) as hidden:
                _write_json(hidden / CONFIG, config)
            break
    return root / name


def _value(path: Path, content: dict[str, Any], name: str, *types: type) -> Any:
    """Return a value of a JSON file, None if it is missing; raise if its type is wrong."""
    value = content.get(name)
    if value is not None and type(value) not in types:
        expected = " or ".join(kind.__name__ for kind in types)
        raise FileFormatError(f"{path}: {name!r}: expected {expected}, received {value!r}")
    return finite(value)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    text = json.dumps(finite(content), indent=2, allow_nan=False)
    write_file(path, text + "\n")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileFormatError(
            f"{path.parent}: was not created by `minidl train` (no {path.name})"
        ) from None
    except (OSError, ValueError) as error:
        raise FileFormatError(f"{path}: cannot be read ({error})") from error
    if not isinstance(content, dict):
        raise FileFormatError(
            f"{path}: expected a JSON object, received a {type(content).__name__}"
        )
    return content
