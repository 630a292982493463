"""The command ``minidl runs``: a table that compares trainings."""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import Any

from minidl.cli.options import AddCommand, add_json
from minidl.cli.run_folder import find_runs
from minidl.common.text_table import format_table

__all__ = ["add_runs_command", "runs"]

TEXT_COLUMNS = ("run", "network", "epochs", "state")
COLUMNS = (
    *("run", "network", "size", "epochs", "state", "best", "loss", "val_loss"),
    *("val_accuracy", "test_accuracy", "seconds"),
)
DESCENDING = ("val_accuracy", "test_accuracy")


def add_runs_command(add: AddCommand) -> None:
    """Add the command to the parser."""
    command = add(runs, "compare the trainings in a folder of runs")
    command.add_argument(
        "folder",
        metavar="DIR",
        nargs="?",
        default=os.environ.get("MINIDL_RUNS", "runs"),
        help="folder of runs (default: %(default)s, or the value of MINIDL_RUNS)",
    )
    command.add_argument(
        "--sort",
        choices=COLUMNS,
        default="run",
        metavar="COLUMN",
        help=f"one of {', '.join(COLUMNS)} (default: %(default)s, oldest first)",
    )
    add_json(command)


def runs(options: argparse.Namespace) -> int:
    """Print one line per run; return 1 if there is none."""
    found, skipped = find_runs(options.folder)
    rows = sorted((run.summary() for run in found), key=lambda row: _order(row, options.sort))
    for message in skipped:
        print(f"minidl: skipped {message}", file=sys.stderr)
    if options.json:
        print(json.dumps(rows, indent=2))
    elif rows:
        table = [COLUMNS, *(tuple(_cell(row, name) for name in COLUMNS) for row in rows)]
        right = [i for i, name in enumerate(COLUMNS) if name not in TEXT_COLUMNS]
        print("\n".join(format_table(table, right)))
    if not rows:
        print(f"minidl: {options.folder}: no runs. `minidl train` creates them.", file=sys.stderr)
    return 0 if rows else 1


def _cell(row: dict[str, Any], name: str) -> str:
    """Return the text of a table cell."""
    value = row[name]
    if name == "epochs":
        return f"{value}/{'-' if row['planned'] is None else row['planned']}"
    if value is None:
        return "-"
    if name == "seconds":
        minutes, seconds = divmod(round(value), 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _order(row: dict[str, Any], column: str) -> tuple[int, Any]:
    """Return a sort key: best first, missing values last."""
    value = row[column]
    if value is None:
        return 1, 0
    return 0, -value if column in DESCENDING else value
