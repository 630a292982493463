"""Plots of results: one PNG per JSON file of a benchmark.

    python benchmarks/plot.py networks.json training.json kernels.json --output pictures

Comparisons are plotted as bars (the median, with a line from minimum to maximum), convolution
kernels as GFLOP/s per layer. Needs matplotlib: ``pip install 'minidl[plot]'``.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from comparison import NAMES
from matplotlib.figure import Figure
from report import digits

COLORS = {
    "minidl": "#4477aa",
    "torch": "#ee6677",
    "keras": "#ccbb44",
    "onnxruntime": "#66ccee",
    "openvino": "#aa3377",
}
MARKERS = "osD^v<>Ph*"


def main() -> None:
    """Plot each file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="written by --json")
    parser.add_argument("--output", metavar="DIR", help="default: the folder of each file")
    options = parser.parse_args()
    for name in options.files:
        document = json.loads(Path(name).read_text())
        if not document["cases"]:
            print(f"{name}: contains no results")
            continue
        folder = Path(options.output or Path(name).parent)
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / f"{Path(name).stem}.png"
        draw = draw_kernels if document["benchmark"] == "conv_kernels" else draw_comparisons
        figure = draw(document)
        machine = document["machine"]
        figure.suptitle(
            f"{document['benchmark']}: {machine['processor']}, {machine['threads']} threads, "
            f"{document['date'][:10]}",
            fontsize=9,
        )
        figure.savefig(target, dpi=110)
        print(target)


def draw_comparisons(document: dict[str, Any]) -> Figure:
    """Return one panel of bars per case."""
    cases = document["cases"]
    columns = min(2, len(cases))
    rows = -(-len(cases) // columns)
    figure = Figure((6.4 * columns, 0.6 + 1.9 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels[len(cases) :]:
        axes.axis("off")
    for axes, case in zip(panels, cases, strict=False):
        results = case["results"]
        medians = [result["median"] for result in results]
        spread = [
            [r["median"] - r["min"] for r in results],
            [r["max"] - r["median"] for r in results],
        ]
        axes.barh(
            [f"{NAMES[r['engine']]}  {digits(r['median'])}" for r in results],
            medians,
            xerr=spread,
            capsize=3,
            color=[COLORS[r["engine"]] for r in results],
        )
        axes.invert_yaxis()
        axes.set_xlabel("ms per image")
        axes.set_title(case["title"], fontsize=9)
    return figure


def draw_kernels(document: dict[str, Any]) -> Figure:
    """Return one panel per direction: GFLOP/s of every algorithm, layer by layer."""
    cases = document["cases"]
    names = dict.fromkeys(r["algorithm"] for case in cases for r in case["results"])
    figure = Figure((max(8.0, 2 + 0.22 * len(cases)), 9.5), layout="constrained")
    panels = figure.subplots(2, 1, sharex=True)
    for axes, direction in zip(panels, ("forward", "gradients"), strict=True):
        for number, name in enumerate(names):
            found = [
                (i, result["gflops"])
                for i, case in enumerate(cases)
                for result in case["results"]
                if (result["algorithm"], result["direction"]) == (name, direction)
            ]
            marker = MARKERS[number % len(MARKERS)]
            axes.plot(*zip(*found, strict=True), marker, label=name, markersize=4)
        peak = document["machine"]["sgemm_gflops"]
        axes.axhline(peak, linestyle="--", color="gray", linewidth=1, label="sgemm peak")
        axes.set_yscale("log")
        axes.set_ylabel(f"{direction}: GFLOP/s")
        axes.grid(alpha=0.3)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    labels = [case["layer"] for case in cases]
    panels[1].set_xticks(range(len(cases)), labels, rotation=90, fontsize=6)
    return figure


if __name__ == "__main__":
    main()
