"""Pictures of a training: learning curves and grids of images, as figures, PNG files or SVG.

Needs matplotlib (``pip install minidl[plot]``), but no screen.

>>> import tempfile
>>> from minidl import plotting
>>> path = tempfile.mkdtemp() + "/curves.png"
>>> plotting.plot_history({"loss": [0.7, 0.4], "val_loss": [0.7, 0.5]}, path)
"""

from __future__ import annotations

import contextlib
import functools
import html
import io
import re
import warnings
from collections.abc import Iterator, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np

__all__ = [
    "SERIES",
    "best_epoch",
    "calm",
    "epochs_of",
    "history_figure",
    "images_figure",
    "new_figure",
    "number_logs",
    "plot_bars",
    "plot_history",
    "plot_images",
    "require_matplotlib",
    "save_figure",
    "to_svg",
]

# The first three, of Paul Tol's bright scheme, are told apart by the colour-blind, too.
SERIES = (
    *("#4477aa", "#ee6677", "#228833", "#aa8811", "#3399bb"),
    *("#aa3377", "#777777", "#775533", "#5544aa", "#cc5500"),
)
COLOURS = {"train": SERIES[0], "validation": SERIES[1]}
WRONG = "#cc3311"


def history_figure(
    history: Any, title: str = "", width: float = 4.2, height: float = 3.2, only: str | None = None
):
    """Return a figure of loss and metrics over the epochs, the best epoch marked.

    Parameters
    ----------
    history : History or dict of str to list of float
        What ``fit`` returned; what is no number, such as a confusion matrix, is left out.
    title : str
    width, height : float
        Of each plot, in inches.
    only : str, optional
        The one metric to draw; by default all, side by side.

    Returns
    -------
    matplotlib.figure.Figure
        Notebooks show it by themselves.
    """
    logs = number_logs(history)
    names = [n for n in logs if not n.startswith("val_") and n != "learning_rate"]
    names = names if only is None else [only]
    figure = new_figure((width * max(len(names), 1), height))
    best = best_epoch(history)
    grid = figure.subplots(1, len(names), squeeze=False)[0] if names else []
    for axes, name in zip(grid, names, strict=True):
        _draw_curves(axes, history, name, best)
    if title:
        figure.suptitle(title)
    return figure


def best_epoch(history: Any) -> int | None:
    """Return the epoch (from 1) of the lowest validation loss, or of the lowest training loss.

    None where no finite loss is noted.

    Examples
    --------
    >>> best_epoch({"loss": [0.7, 0.5, 0.4], "val_loss": [0.7, 0.5, 0.6]})
    2
    """
    logs = number_logs(history)
    name = "val_loss" if logs.get("val_loss") else "loss"
    losses = np.array(logs.get(name, []), float)
    epochs = epochs_of(history, name)
    if epochs is None or not np.isfinite(losses).any():
        return None
    return epochs[int(np.nanargmin(np.where(np.isfinite(losses), losses, np.nan)))]


def epochs_of(history: Any, name: str) -> list[int] | None:
    """Return the epochs (from 1) that the numbers of a log belong to; None: not known.

    With ``fit(validation_freq=k)`` only each k-th epoch has been validated.

    Examples
    --------
    >>> epochs_of({"loss": [4, 3, 2, 1], "val_loss": [4, 2]}, "val_loss")
    [2, 4]
    """
    logs = number_logs(history)
    count, total = len(logs.get(name, [])), max(map(len, logs.values()), default=0)
    first = (getattr(history, "epoch", None) or [0])[0]
    if count == total:
        return [first + i + 1 for i in range(count)]
    steps = [k for k in range(1, total + 1) if total // k == count and not first]
    return [steps[0] * (i + 1) for i in range(count)] if len(steps) == 1 else None


def number_logs(history: Any) -> dict[str, list[float]]:
    """Return the logs of a History, or of a dict, that are numbers in every epoch."""
    logs = getattr(history, "history", history)
    return {n: list(v) for n, v in logs.items() if all(isinstance(item, Real) for item in v)}


def plot_history(history: Any, path: str | Path, title: str = "") -> None:
    """Write loss and metrics over the epochs to a PNG file; see :func:`history_figure`."""
    save_figure(history_figure(history, title), path)


def images_figure(
    images: np.ndarray | Sequence[np.ndarray], titles: Sequence[str], columns: int = 6,
    wrong: Sequence[bool] | None = None,
):  # fmt: skip
    """Return a figure of images in a grid, each under its title.

    Parameters
    ----------
    images : (N, H, W, C) with values 0..255, or a list of (H, W, C)
    titles : list of str
    columns : int
    wrong : list of bool, optional
        Titles of these are red.
    """
    rows = max(1, -(-len(images) // columns))
    figure = new_figure((1.7 * columns, 2.0 * rows))
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid:
        axes.axis("off")
    for i, (axes, image, title) in enumerate(zip(grid, images, titles, strict=False)):
        axes.imshow(
            np.asarray(image).clip(0, 255).astype(np.uint8).squeeze(), cmap="gray", vmin=0, vmax=255
        )
        colour = WRONG if wrong is not None and wrong[i] else "black"
        axes.set_title(title, fontsize=9, color=colour, parse_math=False)
    return figure


def plot_images(
    images: np.ndarray, titles: Sequence[str], path: str | Path, columns: int = 6,
    wrong: Sequence[bool] | None = None,
) -> None:  # fmt: skip
    """Write images in a grid to a PNG file; see :func:`images_figure`."""
    save_figure(images_figure(images, titles, columns, wrong), path)


def plot_bars(values: dict[str, float], path: str | Path, label: str, title: str = "") -> None:
    """Draw one horizontal bar for each named value."""
    figure = new_figure((6.0, 0.8 + 0.45 * len(values)))
    axes = figure.subplots()
    bars = axes.barh(list(values), list(values.values()), color=COLOURS["train"])
    axes.bar_label(bars, fmt=" %.3g")
    axes.invert_yaxis()
    axes.set_xlabel(label)
    axes.set_title(title)
    save_figure(figure, path)


def require_matplotlib() -> None:
    """Raise ImportError, saying what to install, where matplotlib is missing."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise ImportError("plots need matplotlib: pip install 'minidl[plot]'") from error


def new_figure(size: tuple[float, float]):
    """Return an empty figure of so many inches, without a window."""
    require_matplotlib()
    return _figure_class()(figsize=size, layout="constrained")


def save_figure(figure, path: str | Path) -> None:
    """Write a figure to a file whose ending says how; folders are made."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with _quiet():
        figure.savefig(path, dpi=110)


def calm(axes) -> None:
    """Leave of a frame and a grid what helps to read a plot."""
    axes.grid(color="black", alpha=0.12)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_alpha(0.4)


def to_svg(figure, name: str, label: str) -> str:
    """Return a figure as SVG to put into a page, light or dark.

    Text stays text, in the page's font and colour. The colours of ``SERIES`` become CSS
    variables ``--series-1`` ..., which the page may set; without, they stay as they are.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    name : str
        Unique in the page: the ids in the SVG begin with it.
    label : str
        What a screen reader says.
    """
    import matplotlib

    text = io.StringIO()
    settings = {"svg.fonttype": "none", "svg.hashsalt": name}
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with matplotlib.rc_context(settings), _quiet():
        figure.savefig(text, format="svg", transparent=True, metadata=nothing)
    svg = text.getvalue()
    box = re.search(r'viewBox="([^"]+)"', svg)[1]
    start = (
        f'<svg viewBox="{box}" role="img" aria-label="{html.escape(label)}" fill="currentColor" '
        'stroke-linejoin="round">'
    )
    inner = svg[svg.index(">", svg.index("<svg")) + 1 :].strip()
    return start + _themed(re.sub(r'(\bid="|xlink:href="#|url\(#)', rf"\g<1>{name}-", inner))


def _themed(svg: str) -> str:
    """Let a page decide on fonts and colours; its text colour takes the place of black."""
    # A style sheet within a page would hold for the whole of it.
    svg = re.sub(r"<(metadata|style)\b.*?</\1>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"(?<=[\"; ])font: [^;\"]*?([\d.]+px)[^;\"]*", r"font-size: \1", svg)
    svg = re.sub(r"(?<=[\"; ])font-family: [^;\"]*;?", "", svg)
    svg = svg.replace("xlink:href", "href").replace("#000000", "currentColor")
    for i, colour in enumerate(SERIES, 1):
        svg = svg.replace(colour, f"var(--series-{i}, {colour})")
    return svg


def _draw_curves(axes, history: Any, name: str, best: int | None) -> None:
    """Draw one metric over the epochs, training beside validation."""
    from matplotlib.ticker import MaxNLocator

    logs = number_logs(history)
    for key, label in ((name, "train"), (f"val_{name}", "validation")):
        epochs = epochs_of(history, key)
        if epochs:
            dot = "o" if len(epochs) == 1 else None  # one epoch makes no line
            axes.plot(epochs, logs[key], label=label, color=COLOURS[label], marker=dot)
    if best is not None:
        axes.axvline(best, color="black", linewidth=0.8, linestyle=":", label=f"best: {best}")
    axes.set_xlabel("epoch")
    axes.set_ylabel(name.replace("_", " "), parse_math=False)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    calm(axes)
    axes.legend(frameon=False)


@functools.cache
def _figure_class() -> type:
    from matplotlib.figure import Figure  # not pyplot: no window, no global state

    class NotebookFigure(Figure):
        """A figure that shows itself in a notebook, whether pyplot is imported or not."""

        def _repr_png_(self) -> bytes:
            file = io.BytesIO()
            with _quiet():
                self.savefig(file, format="png", dpi=110)
            return file.getvalue()

    return NotebookFigure


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Let letters that matplotlib's own font lacks pass: a page has other fonts."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from")
        yield
