"""Draw networks.svg: the first table of results in benchmarks/README.md, as bars.

    python docs/pictures/networks.py

Needs matplotlib. The measurements themselves are made by benchmarks/networks.py and training.py.
"""

import re
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

ROOT = Path(__file__).resolve().parents[2]
ENGINES = {"minidl": "#4477aa", "PyTorch": "#ee6677", "Keras": "#ccbb44", "ONNX Runtime": "#66ccee"}
SHOWN = {
    "VGG16, 224 px, inference, batch 8": "VGG16\ninference of 8",
    "ResNet50, 224 px, inference, batch 8": "ResNet50\ninference of 8",
    "InceptionV3, 299 px, inference, batch 8": "InceptionV3\ninference of 8",
    "VGG16, 224 px, training step, batch 8": "VGG16\ntraining",
    "ResNet50, 224 px, training step, batch 8": "ResNet50\ntraining",
}


def table() -> tuple[str, dict[str, list[float | None]]]:
    """Return the line that names date and machine, and each row's milliseconds."""
    text = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    results = text[text.index("## Results") :]
    where = re.search(r"^(\d{4}-\d\d-\d\d, [^,]+ \([^)]+\), \d processors)", results, re.M)[1]
    rows: dict[str, list[float | None]] = {}
    for line in re.findall(r"^\| (.+) \|$", results, re.M):
        name, *cells = (cell.strip() for cell in line.split("|"))
        if name in SHOWN and name not in rows:
            rows[name] = [float(cell) if cell else None for cell in cells[: len(ENGINES)]]
    return where, rows


def main() -> None:
    """Draw relative speed: how many times as long as minidl each engine takes."""
    where, rows = table()
    matplotlib.rcParams["svg.hashsalt"] = "minidl"
    figure = Figure((8.6, 3.4), layout="constrained")
    axes = figure.subplots()
    for k, (engine, color) in enumerate(ENGINES.items()):
        for i, name in enumerate(SHOWN):
            own, value = rows[name][0], rows[name][k]
            if value is None:
                continue
            label = engine if i == 0 else None
            bar = axes.bar(i + 0.2 * (k - 1.5), value / own, 0.18, color=color, label=label)
            axes.bar_label(bar, [f"{value:g}"], fontsize=7, padding=2, color="#777777")
    axes.axhline(1, color="#777777", lw=0.8, ls=":")
    axes.set_xticks(range(len(SHOWN)), SHOWN.values(), color="#777777")
    axes.set_ylabel("time, minidl = 1", color="#777777")
    axes.tick_params(colors="#777777")
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#777777")
    axes.set_title(f"ms per image above the bars; {where}", fontsize=8, color="#777777")
    axes.legend(frameon=False, ncols=4, fontsize=8, labelcolor="#777777")
    target = Path(__file__).with_name("networks.svg")
    figure.savefig(target, transparent=True, metadata={"Date": None})
    print(target)


if __name__ == "__main__":
    main()
