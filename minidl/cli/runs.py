"""``minidl runs``: a table of trainings, to compare them.

>>> from minidl.cli.runs import table
>>> print(table([{"run": "a", "val_loss": 0.25, "seconds": 75.2}]))
run  val_loss  seconds
a      0.2500     1:15
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import Any

from minidl.cli.run_folder import find_runs

__all__ = ["add_runs_command", "runs", "table"]

COLUMNS = (
    *("run", "network", "size", "epochs", "state", "best", "loss", "val_loss"),
    *("val_accuracy", "test_accuracy", "seconds"),
)
LARGEST_FIRST = ("val_accuracy", "test_accuracy")


def add_runs_command(add) -> None:
    """Add the command; ``add(function, text)`` is that of minidl.cli.main."""
    command = add(runs, "compare the trainings whose folders lie in DIR")
    command.add_argument(
        "folder", metavar="DIR", nargs="?", default=os.environ.get("MINIDL_RUNS", "runs"),
        help="default: %(default)s, or what MINIDL_RUNS says",
    )  # fmt: skip
    command.add_argument(
        "--sort", choices=COLUMNS, default="run", metavar="COLUMN",
        help=f"of {', '.join(COLUMNS)} (default: %(default)s, the oldest first)",
    )  # fmt: skip
    command.add_argument("--json", action="store_true", help="print JSON")


def runs(options: argparse.Namespace) -> int:
    """Print one line for each run."""
    found, others = find_runs(options.folder)
    rows = [run.summary() for run in found]
    rows.sort(key=lambda row: _order(row, options.sort))
    for sentence in others:
        print(f"minidl: left out {sentence}", file=sys.stderr)
    if options.json:
        print(json.dumps(rows, indent=2))
    elif rows:
        print(table([_shown(row) for row in rows]))
    if not rows:
        print(
            f"minidl: {options.folder}: no runs yet; minidl train DIR writes one", file=sys.stderr
        )
    return 0 if rows else 1


def table(rows: list[dict[str, Any]]) -> str:
    """Return rows aligned under their names: text to the left, numbers to the right."""
    names = list(rows[0])
    cells = [[_text(name, row.get(name)) for name in names] for row in rows]
    widths = [max(len(name), *(len(line[i]) for line in cells)) for i, name in enumerate(names)]
    left = [all(isinstance(row.get(name), str) for row in rows) for name in names]
    lines = [
        "  ".join(
            cell.ljust(width) if to_left else cell.rjust(width)
            for cell, width, to_left in zip(line, widths, left, strict=True)
        )
        for line in [names, *cells]
    ]
    return "\n".join(line.rstrip() for line in lines)


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    """Return the columns of the table: epochs as "3/20"."""
    planned = "-" if row["planned"] is None else row["planned"]
    return {**{name: row[name] for name in COLUMNS}, "epochs": f"{row['epochs']}/{planned}"}


def _text(name: str, value: Any) -> str:
    if value is None:
        return "-"
    if name == "seconds":
        minutes, seconds = divmod(round(value), 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _order(row: dict[str, Any], column: str):
    """Return a key: the best first, and what has no such number last."""
    value = row[column]
    if value is None:
        return (1, 0)
    return (0, -value if column in LARGEST_FIRST else value)
