"""Pictures of a training: learning curves and grids of images, written as PNG files.

Needs matplotlib (``pip install minidl[plot]``), but no screen.

>>> import tempfile
>>> from minidl import plotting
>>> path = tempfile.mkdtemp() + "/curves.png"
>>> plotting.plot_history({"loss": [0.7, 0.4], "val_loss": [0.7, 0.5]}, path)
"""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["plot_bars", "plot_history", "plot_images", "require_matplotlib"]

COLOURS = {"train": "#4477aa", "validation": "#ee6677"}


def plot_history(history: Any, path: str | Path, title: str = "") -> None:
    """Draw loss and metrics over the epochs, training beside validation.

    Parameters
    ----------
    history : History or dict of str to list of float
        What ``fit`` returned; what is no number, such as a confusion matrix, is left out.
    path : str or Path
        Where the PNG goes.
    title : str
    """
    logs = getattr(history, "history", history)
    logs = {n: v for n, v in logs.items() if all(isinstance(item, Real) for item in v)}
    names = [n for n in logs if not n.startswith("val_") and n != "learning_rate"]
    figure = _figure((4.2 * len(names), 3.2))
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        for key, label in ((name, "train"), (f"val_{name}", "validation")):
            if key in logs:
                epochs = range(1, len(logs[key]) + 1)
                axes.plot(epochs, logs[key], label=label, color=COLOURS[label])
        axes.set_xlabel("epoch")
        axes.set_ylabel(name)
        axes.grid(alpha=0.3)
        axes.legend()
    figure.suptitle(title)
    _save(figure, path)


def plot_images(
    images: np.ndarray, titles: Sequence[str], path: str | Path, columns: int = 6,
    wrong: Sequence[bool] | None = None,
) -> None:  # fmt: skip
    """Draw images in a grid, each under its title.

    Parameters
    ----------
    images : (N, H, W, C) with values 0..255
    titles : list of str
    path : str or Path
    columns : int
    wrong : list of bool, optional
        Titles of these are red.
    """
    rows = -(-len(images) // columns)
    figure = _figure((1.7 * columns, 2.0 * rows))
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid:
        axes.axis("off")
    for i, (axes, image, title) in enumerate(zip(grid, images, titles, strict=False)):
        axes.imshow(np.asarray(image).clip(0, 255).astype(np.uint8).squeeze(), cmap="gray")
        colour = "#cc3311" if wrong is not None and wrong[i] else "black"
        axes.set_title(title, fontsize=9, color=colour)
    _save(figure, path)


def plot_bars(values: dict[str, float], path: str | Path, label: str, title: str = "") -> None:
    """Draw one horizontal bar for each named value."""
    figure = _figure((6.0, 0.8 + 0.45 * len(values)))
    axes = figure.subplots()
    bars = axes.barh(list(values), list(values.values()), color=COLOURS["train"])
    axes.bar_label(bars, fmt=" %.3g")
    axes.invert_yaxis()
    axes.set_xlabel(label)
    axes.set_title(title)
    _save(figure, path)


def require_matplotlib() -> None:
    """Raise ImportError, saying what to install, where matplotlib is missing."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise ImportError("plots need matplotlib: pip install 'minidl[plot]'") from error


def _figure(size: tuple[float, float]):
    require_matplotlib()
    from matplotlib.figure import Figure  # not pyplot: no window, no global state

    return Figure(figsize=size, layout="constrained")


def _save(figure, path: str | Path) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
