"""Reports: tables as text or Markdown, JSON files, description of the machine."""

from __future__ import annotations

import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = [
    "describe_machine",
    "digits",
    "format_machine",
    "minidl_facts",
    "spread",
    "table",
    "write_json",
]


def table(header: Sequence[str], rows: Sequence[Sequence[Any]], markdown: bool = False) -> str:
    """Return a text table; columns of numbers are aligned to the right.

    >>> print(table(["engine", "ms"], [["a", 1.5], ["b", 20]]))
    engine   ms
    a       1.5
    b        20
    """
    cells = [[_cell(value) for value in row] for row in [list(header), *map(list, rows)]]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    numeric = [_is_numeric([row[i] for row in cells[1:]]) for i in range(len(header))]

    def line(row: list[str]) -> str:
        padded = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        ]
        return f"| {' | '.join(padded)} |" if markdown else "  ".join(padded).rstrip()

    lines = [line(row) for row in cells]
    if markdown:
        rule = [
            "-" * (width - 1) + (":" if right else "-")
            for width, right in zip(widths, numeric, strict=True)
        ]
        lines.insert(1, f"| {' | '.join(rule)} |")
    return "\n".join(lines)


def digits(value: float) -> str:
    """Return a positive number with three significant digits, or without decimals from 100 on."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return median, minimum and maximum."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def describe_machine(versions: dict[str, str], threads: int) -> dict[str, Any]:
    """Return processor, memory, system, load, versions and threads."""
    return {
        "processor": _processor(),
        "processors": _processors(),
        "memory_gib": _memory(),
        "system": f"{platform.system()} {platform.machine()}",
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "threads": threads,
        "versions": versions,
    }


def format_machine(machine: dict[str, Any]) -> str:
    """Return the machine as two lines of text."""
    memory = f", {machine['memory_gib']} GiB" if machine["memory_gib"] else ""
    versions = ", ".join(f"{name} {text}" for name, text in machine["versions"].items())
    return (
        f"{machine['processor']}, {machine['processors']} processors{memory}, "
        f"{machine['system']}; {machine['threads']} threads; "
        f"load at the start: {machine['load']}\n{versions}"
    )


def minidl_facts() -> dict[str, Any]:
    """Return the output of ``minidl info``, which runs in its own process."""
    done = subprocess.run(
        [sys.executable, "-m", "minidl", "info", "--json"], capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"minidl cannot be run with {sys.executable}:\n{done.stderr}")
    return json.loads(done.stdout)


def write_json(path: str | Path, document: dict[str, Any]) -> None:
    """Write a result with its date."""
    date = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(json.dumps({"date": date, **document}, indent=1) + "\n")


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return digits(value) if isinstance(value, float) else str(value)


def _is_numeric(cells: Sequence[str]) -> bool:
    return any(cells) and all(not cell or cell[0].isdigit() or cell[0] in "-~" for cell in cells)


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            facts = dict(line.split(":", 1) for line in file if ":" in line)
    except OSError:
        return platform.processor() or "unknown processor"
    facts = {key.strip(): value.strip() for key, value in facts.items()}
    name = facts.get("model name", "unknown processor")
    vectors = [flag for flag in ("avx512f", "avx2") if flag in facts.get("flags", "").split()]
    model = f"family {facts.get('cpu family', '?')} model {facts.get('model', '?')}"
    return f"{name} ({', '.join([model, *vectors[:1]])})"


def _processors() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


def _memory() -> int | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)
    except (AttributeError, ValueError, OSError):
        return None
