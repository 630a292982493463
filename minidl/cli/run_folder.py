"""What each training leaves behind: a folder with its options, its numbers and its models.

``minidl train`` writes one, ``minidl runs`` compares them:

    runs/2026-11-26_143015_small_cnn/
        config.json     the options, the command, classes and counts, versions and machine
        metrics.csv     a line for each epoch
        best.h5         the model of the best epoch so far: lowest val_loss, else lowest loss
        last.h5         the model at the end, the same file as --output
        report.html     what ``minidl.report`` makes of it, where matplotlib is installed
        result.json     how it ended: seconds, figures of the test photos

>>> import tempfile
>>> from minidl.cli.run_folder import Run, find_runs
>>> root = tempfile.mkdtemp()
>>> run = Run.new(root, "small_cnn", {"epochs": 3})
>>> run.finish(seconds=1.5, test={"accuracy": 0.9})
>>> runs, others = find_runs(root)
>>> runs[0].config["epochs"], runs[0].result["test"]
(3, {'accuracy': 0.9})
"""

from __future__ import annotations

import contextlib
import csv
import json
import math
import os
import shutil
import time
from pathlib import Path
from typing import Any

from minidl.callbacks import CSVLogger, ModelCheckpoint
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
        One that :meth:`new` made.

    Raises
    ------
    FileFormatError
        If it is another kind of folder, or a file in it is damaged.
    """

    def __init__(self, folder):
        self.folder = Path(folder)
        self.config = _read_json(self.folder / CONFIG)
        if self.config.get("kind") != "minidl run":
            raise FileFormatError(f"{self.folder / CONFIG}: not written by minidl train")

    @classmethod
    def new(cls, root, name: str, config: dict[str, Any]) -> Run:
        """Make a folder of its own below `root`, named by the time and by `name`.

        Raises
        ------
        DataError
            If no folder can be made there.
        """
        stem = f"{time.strftime('%Y-%m-%d_%H%M%S')}_{name}"
        for attempt in range(1000):
            folder = Path(root) / (stem if attempt == 0 else f"{stem}_{attempt + 1}")
            try:
                folder.mkdir(parents=True)
                break
            except FileExistsError:
                continue
            except OSError as error:
                raise DataError(f"{root}: no folder can be made here ({error.strerror})") from None
        noted = {"kind": "minidl run", **config, "environment": environment()}
        _write_json(folder / CONFIG, noted)
        return cls(folder)

    def callbacks(self, validated: bool) -> list:
        """Return what writes the numbers and the best model during a training."""
        monitor = "val_loss" if validated else "loss"
        return [
            CSVLogger(self.folder / METRICS),
            ModelCheckpoint(self.folder / BEST, monitor=monitor, save_best_only=True),
        ]

    def keep(self, model_file) -> None:
        """Keep the model file as the last one: linked, not copied, where that is possible."""
        last = self.folder / LAST
        last.unlink(missing_ok=True)
        # A model is saved under another name and renamed, so a link keeps what it was made of.
        try:
            os.link(model_file, last)
        except OSError:
            shutil.copyfile(model_file, last)

    def amend(self, **config: Any) -> None:
        """Change what is noted of the options: a resumed training may have more epochs."""
        self.config.update(config)
        _write_json(self.folder / CONFIG, self.config)

    def finish(self, seconds: float = 0.0, state: str = "finished", **facts: Any) -> None:
        """Note how the training ended; seconds of several parts are added up.

        Parameters
        ----------
        seconds : float
        state : {"finished", "interrupted", "diverged"}
        **facts
            Such as ``test={"accuracy": 0.9}``.
        """
        earlier, before = {}, 0.0
        with contextlib.suppress(FileFormatError):  # what is damaged is written anew
            earlier = self.result
            before = _Noted(self.folder / RESULT, earlier).get("seconds", int, float) or 0.0
        seconds = round(seconds + before, 1)
        _write_json(self.folder / RESULT, {**earlier, "state": state, "seconds": seconds, **facts})

    @property
    def report(self) -> Path:
        """Where the report belongs."""
        return self.folder / REPORT

    @property
    def result(self) -> dict[str, Any]:
        """How it ended; empty for a training that goes on, or was killed."""
        path = self.folder / RESULT
        return _read_json(path) if path.exists() else {}

    @property
    def metrics(self) -> list[dict[str, float]]:
        """The numbers of each epoch, the last ones noted where an epoch was trained twice."""
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
                raise FileFormatError(f"{path}: line {line} has no whole number as its epoch")
        return list({row["epoch"]: row for row in rows}.values())

    def summary(self) -> dict[str, Any]:
        """Return what a table shows of it; None where there is no such number.

        Raises
        ------
        FileFormatError
            If what is noted is of another kind than what ``minidl train`` notes.
        """
        metrics = self.metrics
        config = _Noted(self.folder / CONFIG, self.config)
        result = _Noted(self.folder / RESULT, self.result)
        test = _Noted(result.path, result.get("test", dict) or {})
        watched = "val_loss" if any("val_loss" in row for row in metrics) else "loss"
        valued = [row for row in metrics if math.isfinite(row.get(watched, math.nan))]
        best = min(valued, key=lambda row: row[watched], default={})
        return {
            "run": self.folder.name,
            "network": config.get("base", str) or "small_cnn",
            "size": config.get("image_size", int),
            "epochs": len(metrics),
            "planned": config.get("epochs", int),
            "state": result.get("state", str) or "unfinished",
            "best": int(best["epoch"]) + 1 if best else None,
            **{name: finite(best.get(name)) for name in ("loss", "val_loss", "val_accuracy")},
            "test_accuracy": test.get("accuracy", int, float),
            "seconds": result.get("seconds", int, float),
        }


class _Noted:
    """What a JSON file holds, by name and kind."""

    def __init__(self, path: Path, content: dict[str, Any]):
        self.path, self.content = path, content

    def get(self, name: str, *kinds: type) -> Any:
        """Return a value, None where there is none; complain where it is of another kind."""
        value = self.content.get(name)
        if value is not None and (type(value) not in kinds):
            expected = " or ".join(kind.__name__ for kind in kinds)
            raise FileFormatError(f"{self.path}: {name!r}: expected {expected}, found {value!r}")
        return finite(value)


def find_runs(root) -> tuple[list[Run], list[str]]:
    """Return the runs in a folder, oldest first, and a sentence for each folder that is none.

    Raises
    ------
    DataError
        If there is no such folder.
    """
    root = Path(root)
    if not root.is_dir():
        raise DataError(f"{root}: there is no such folder; minidl train makes one for its runs")
    runs, others = [], []
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        try:
            run = Run(folder)
            run.summary()  # complains about what cannot be read
            runs.append(run)
        except FileFormatError as error:
            others.append(str(error))
    return runs, others


def _write_json(path: Path, content: dict[str, Any]) -> None:
    text = json.dumps(finite(content), indent=2, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileFormatError(f"{path.parent}: no run of minidl train (no {path.name})") from None
    except (OSError, ValueError) as error:
        raise FileFormatError(f"{path}: cannot be read ({error})") from error
    if not isinstance(content, dict):
        raise FileFormatError(f"{path}: expected a JSON object, found a {type(content).__name__}")
    return content
