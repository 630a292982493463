"""Learning curves and image grids as matplotlib figures, PNG files or SVG.

Requires matplotlib (``pip install 'minidl[plot]'``), but no display.

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
from typing import TYPE_CHECKING, Any

import numpy as np

from minidl.common.atomic_files import atomic_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "SERIES",
    "best_epoch",
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
    "style_axes",
    "to_svg",
]

# The first three, from Paul Tol's bright scheme, are distinguishable for color-blind readers.
SERIES = (
    *("#4477aa", "#ee6677", "#228833", "#aa8811", "#3399bb"),
    *("#aa3377", "#777777", "#775533", "#5544aa", "#cc5500"),
)
WRONG = "#cc3311"


def history_figure(
    history: Any, title: str = "", width: float = 4.2, height: float = 3.2, only: str | None = None
) -> Figure:
    """Draw loss and metrics over the epochs, with the best epoch marked.

    Parameters
    ----------
    history : History or dict of str to list of float
        The result of ``fit``. Logs that are not numbers, such as confusion matrices, are ignored.
    title : str
    width, height : float
        Size of each plot in inches.
    only : str, optional
        The metric to draw; by default all of them, side by side.

    Returns
    -------
    matplotlib.figure.Figure
        A notebook displays it.

    Examples
    --------
    >>> figure = history_figure({"loss": [0.7, 0.4], "accuracy": [0.5, 0.9]})
    >>> [axes.get_ylabel() for axes in figure.axes]
    ['loss', 'accuracy']
    """
    names = [n for n in number_logs(history) if not n.startswith("val_") and n != "learning_rate"]
    names = names if only is None else [only]
    figure = new_figure((width * max(len(names), 1), height))
    best = best_epoch(history)
    for i, name in enumerate(names, 1):
        _draw_curves(figure.add_subplot(1, len(names), i), history, name, best)
    if title:
        figure.suptitle(title)
    return figure


def best_epoch(history: Any) -> int | None:
    """Return the epoch (from 1) of the lowest validation loss, or of the lowest training loss.

    None if there is no finite loss.

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
    return epochs[int(np.argmin(np.where(np.isfinite(losses), losses, np.inf)))]


def epochs_of(history: Any, name: str) -> list[int] | None:
    """Return the epochs (from 1) that the values of a log belong to, or None if unknown.

    With ``fit(validation_freq=k)``, only each k-th epoch was validated.

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
    """Return the logs of a History or a dict that are numbers in every epoch.

    Examples
    --------
    >>> number_logs({"loss": [2, 1], "matrix": [[[1, 0], [0, 1]]]})
    {'loss': [2, 1]}
    """
    logs = getattr(history, "history", history)
    return {n: list(v) for n, v in logs.items() if all(isinstance(item, Real) for item in v)}


def plot_history(history: Any, path: str | Path, title: str = "") -> None:
    """Write loss and metrics over the epochs to a PNG file; see :func:`history_figure`."""
    save_figure(history_figure(history, title), path)


def images_figure(
    images: np.ndarray | Sequence[np.ndarray],
    titles: Sequence[str],
    columns: int = 6,
    wrong: Sequence[bool] | None = None,
) -> Figure:
    """Draw images in a grid, each with its title.

    Parameters
    ----------
    images : numpy.ndarray, shape (N, H, W, C), or list of arrays (H, W, C)
        Pixels from 0 to 255.
    titles : list of str
    columns : int
    wrong : list of bool, optional
        True for each title in red.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> figure = images_figure(np.zeros((2, 8, 8, 3)), ["cat", "dog"])
    >>> [axes.get_title() for axes in figure.axes[:2]]
    ['cat', 'dog']
    """
    rows = max(1, -(-len(images) // columns))
    figure = new_figure((1.7 * columns, 2.0 * rows))
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid:
        axes.axis("off")
    for i, (axes, image, title) in enumerate(zip(grid, images, titles, strict=False)):
        pixels = np.asarray(image).clip(0, 255).astype(np.uint8).squeeze()
        axes.imshow(pixels, cmap="gray", vmin=0, vmax=255)
        color = WRONG if wrong is not None and wrong[i] else "black"
        axes.set_title(title, fontsize=9, color=color, parse_math=False)
    return figure


def plot_images(
    images: np.ndarray | Sequence[np.ndarray],
    titles: Sequence[str],
    path: str | Path,
    columns: int = 6,
    wrong: Sequence[bool] | None = None,
) -> None:
    """Write images in a grid to a PNG file; see :func:`images_figure`."""
    save_figure(images_figure(images, titles, columns, wrong), path)


def plot_bars(values: dict[str, float], path: str | Path, label: str, title: str = "") -> None:
    """Write a bar chart with one horizontal bar per value to a PNG file.

    Parameters
    ----------
    values : dict of str to float
    path : str or Path
    label : str
        Label of the axis, with the unit.
    title : str
    """
    figure = new_figure((6.0, 0.8 + 0.45 * len(values)))
    axes = figure.add_subplot()
    bars = axes.barh(list(values), list(values.values()), color=SERIES[0])
    axes.bar_label(bars, fmt=" %.3g")
    axes.margins(x=0.12)  # space for the numbers
    axes.invert_yaxis()
    axes.set_xlabel(label)
    axes.set_title(title)
    save_figure(figure, path)


def require_matplotlib() -> None:
    """Raise ImportError with the command that installs matplotlib if it is missing."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise ImportError("plots need matplotlib: pip install 'minidl[plot]'") from error


def new_figure(size: tuple[float, float]) -> Figure:
    """Return an empty figure of (width, height) in inches, without a window."""
    require_matplotlib()
    return _figure_class()(figsize=size, layout="constrained")


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure in the format of the file's extension, and create its folder."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    path = Path(path) if Path(path).suffix else Path(path).with_suffix(".png")
    with _missing_glyphs_ignored(), atomic_file(path) as file:
        figure.savefig(file, format=path.suffix[1:], dpi=110)


def style_axes(axes: Axes) -> None:
    """Reduce frame and grid to thin lines."""
    axes.grid(color="black", alpha=0.12)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_alpha(0.4)


calm = style_axes  # the name in version 0.1


def to_svg(figure: Figure, name: str, label: str) -> str:
    """Return a figure as SVG that takes its font and its colors from the page around it.

    Black becomes the page's text color. The colors of ``SERIES`` become the CSS variables
    ``--series-1`` ..., which the page may define.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    name : str
        Prefix of the ids in the SVG; unique in the page.
    label : str
        Text for screen readers.

    Examples
    --------
    >>> to_svg(history_figure({"loss": [2, 1]}), "curves", "learning curves")[:4]
    '<svg'
    """
    import matplotlib

    text = io.StringIO()
    settings: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": name}
    no_metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with matplotlib.rc_context(settings), _missing_glyphs_ignored():
        figure.savefig(text, format="svg", transparent=True, metadata=no_metadata)
    _, tag, content = re.split(r"(<svg[^>]*>)", text.getvalue(), maxsplit=1)
    (box,) = re.findall(r'viewBox="([^"]+)"', tag)
    start = (
        f'<svg viewBox="{box}" role="img" aria-label="{html.escape(label)}" fill="currentColor" '
        'stroke-linejoin="round">'
    )
    prefixed = re.sub(r'(\bid="|xlink:href="#|url\(#)', rf"\g<1>{name}-", content.strip())
    return start + _use_page_style(prefixed)


def _use_page_style(svg: str) -> str:
    """Replace the fonts and colors of an SVG by those of the page."""
    # A style sheet inside the SVG would apply to the whole page.
    svg = re.sub(r"<(metadata|style)\b.*?</\1>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"(?<=[\"; ])font: [^;\"]*?([\d.]+px)[^;\"]*", r"font-size: \1", svg)
    svg = re.sub(r"(?<=[\"; ])font-family: [^;\"]*;?", "", svg)
    svg = svg.replace("xlink:href", "href").replace("#000000", "currentColor")
    for i, color in enumerate(SERIES, 1):
        svg = svg.replace(color, f"var(--series-{i}, {color})")
    return svg


def _draw_curves(axes: Axes, history: Any, name: str, best: int | None) -> None:
    """Draw one metric over the epochs, for training and validation."""
    from matplotlib.ticker import MaxNLocator

    logs = number_logs(history)
    series = ((name, "train", SERIES[0]), (f"val_{name}", "validation", SERIES[1]))
    for key, label, color in series:
        if epochs := epochs_of(history, key):
            marker = "o" if len(epochs) == 1 else None  # a line needs two epochs
            axes.plot(epochs, logs[key], label=label, color=color, marker=marker)
    if best is not None:
        axes.axvline(best, color="black", linewidth=0.8, linestyle=":", label=f"best: {best}")
    axes.set_xlabel("epoch")
    axes.set_ylabel(name.replace("_", " "), parse_math=False)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    style_axes(axes)
    axes.legend(frameon=False)


@functools.cache
def _figure_class() -> type[Figure]:
    from matplotlib.figure import Figure  # not pyplot: no window, no global state

    class NotebookFigure(Figure):
        """A figure that a notebook displays, whether pyplot is imported or not."""

        def _repr_png_(self) -> bytes:
            file = io.BytesIO()
            with _missing_glyphs_ignored():
                self.savefig(file, format="png", dpi=110)
            return file.getvalue()

    return NotebookFigure


@contextlib.contextmanager
def _missing_glyphs_ignored() -> Iterator[None]:
    """Ignore characters that matplotlib's font lacks; the page has other fonts."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from")
        yield
