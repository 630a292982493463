"""Comparison of engines: contestants, statistics of their turns, tables."""

from __future__ import annotations

import math
import statistics
from typing import Any

from report import digits, spread, table
from workers import Worker

__all__ = ["NAMES", "Contestant", "describe_case", "format_case"]

NAMES = {
    "minidl": "minidl",
    "torch": "PyTorch",
    "keras": "Keras on TensorFlow",
    "onnxruntime": "ONNX Runtime",
    "openvino": "OpenVINO",
}
TURN_SECONDS = 1.0  # duration of a turn, which has at least one call
MAX_CALLS = 20


class Contestant:
    """An engine, prepared for one job in its own process."""

    def __init__(self, worker: Worker, job: dict[str, Any], items: int) -> None:
        self.worker, self.job, self.items = worker, job, items
        self.trial: float | None = None
        self.trials: dict[str, float] = {}
        self.sample: list[float] = []
        self.calls = 1  # per turn
        self.milliseconds: list[float] = []  # per image
        self.peak = 0.0  # MiB, preparation included
        self.peak_in_turns = 0.0

    def try_out(self, calls: int) -> None:
        """Prepare the job, warm up, and measure the duration of a (short) call."""
        prepared = self.worker.ask(prepare=self.job, key="step")
        self.sample, self.peak = prepared["sample"], prepared["peak"]
        seconds = self.worker.ask(run="step", calls=calls, short=True)["seconds"]
        self.trial = statistics.median(seconds)
        if not prepared["long"]:
            self.calls = max(1, min(MAX_CALLS, math.floor(TURN_SECONDS / self.trial)))

    def take_turn(self) -> None:
        """Measure the calls of one turn."""
        answer = self.worker.ask(run="step", calls=self.calls)
        self.milliseconds += [1e3 * seconds / self.items for seconds in answer["seconds"]]
        self.peak_in_turns = max(self.peak_in_turns, answer["peak"])
        self.peak = max(self.peak, answer["peak"])


def describe_case(
    title: str, work: str, contestants: list[Contestant], facts: dict[str, Any]
) -> dict[str, Any]:
    """Return the measurements as a JSON object."""
    ours = contestants[0]
    results = [
        {
            "engine": each.worker.engine,
            "variant": each.job["variant"],
            **spread(each.milliseconds),
            "milliseconds": each.milliseconds,
            "peak_mib": each.peak,
            "peak_in_turns_mib": each.peak_in_turns,
            "imported_mib": each.worker.hello["imported"],
            "difference": _difference(ours.sample, each.sample)
            if facts.get("exact", True)
            else None,
            "trials": each.trials,
        }
        for each in contestants
    ]
    peers = results[1:]
    fastest = min(peers, key=lambda result: result["median"], default=None)
    return {
        "title": title,
        "work": work,
        **facts,
        "results": results,
        "fastest_peer": fastest and fastest["engine"],
        "ratio": fastest and fastest["median"] / results[0]["median"],
    }


def _difference(ours: list[float], theirs: list[float]) -> float | None:
    """Return the largest difference, relative to the largest number."""
    if not ours or len(ours) != len(theirs):
        return None
    scale = max(map(abs, ours)) or 1.0
    return max(abs(a - b) for a, b in zip(ours, theirs, strict=True)) / scale


def format_case(case: dict[str, Any], markdown: bool) -> list[str]:
    """Return title, table and ratio of a case."""
    ours = case["results"][0]["median"]
    rows = [
        [
            NAMES[r["engine"]],
            r["variant"],
            r["median"],
            f"{digits(r['min'])}..{digits(r['max'])}",
            f"{r['median'] / ours:.2f}",
            round(r["peak_mib"]),
            round(r["peak_mib"] - r["imported_mib"]),
            round(r["peak_in_turns_mib"]),
            "" if r["difference"] is None else f"{r['difference']:.0e}",
        ]
        for r in case["results"]
    ]
    header = [
        "engine",
        "how",
        "ms per image",
        "min..max",
        "times minidl's",
        "peak MiB",
        "after import",
        "in turns",
        "differs by",
    ]
    title = f"### {case['title']}\n" if markdown else case["title"]
    lines = [title, table(header, rows, markdown)]
    if case["ratio"]:
        fastest = NAMES[case["fastest_peer"]]
        lines.append(
            f"{chr(10) if markdown else ''}fastest peer / minidl: {case['ratio']:.2f} ({fastest})"
        )
    return lines
