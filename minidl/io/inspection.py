"""What a weight file holds: its dialect, its tensors, and which network it fits.

>>> import tempfile
>>> from minidl import Input, Sequential, layers
>>> from minidl.io.inspection import inspect_weights
>>> path = tempfile.mkdtemp() + "/a.h5"
>>> Sequential([Input((2,)), layers.Dense(3, name="head")]).save_weights(path)
>>> report = inspect_weights(path)
>>> report.parameters, report.layers[0].tensors["kernel"].shape, report.fits
(9, (2, 3), [])
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from minidl import layers
from minidl.applications import inception_v3, resnet50, vgg16
from minidl.applications.pretrained import Architecture, without_memory
from minidl.common.errors import FileFormatError
from minidl.common.text_table import format_table
from minidl.formats.matching import match
from minidl.formats.reading import read_weight_file
from minidl.formats.weight_file import WeightFile
from minidl.graph.network import Network
from minidl.layers.base import Layer
from minidl.layers.symbolic import Input

__all__ = ["Fit", "LayerReport", "TensorReport", "WeightReport", "inspect_weights"]

NETWORKS = {
    "VGG16": vgg16.ARCHITECTURE,
    "ResNet50": resnet50.ARCHITECTURE,
    "InceptionV3": inception_v3.ARCHITECTURE,
}
ALIKE = 0.5  # share of tensors in common from which a network is worth being named


@dataclass(frozen=True)
class TensorReport:
    """Shape and dtype of one tensor, and where in the file it lies."""

    shape: tuple[int, ...]
    dtype: str
    place: str


@dataclass(frozen=True)
class LayerReport:
    """One layer of a file: its tensors by role ("kernel", "bias", ...)."""

    name: str
    scope: str
    tensors: dict[str, TensorReport]


@dataclass(frozen=True)
class Fit:
    """One of minidl's networks, whole or cut after the layer `until`."""

    network: str
    include_top: bool
    until: str | None = None
    classes: int | None = None

    def __str__(self) -> str:
        top = "with its top" if self.include_top else "without its top"
        count = f" of {self.classes} classes" if self.classes not in (None, 1000) else ""
        return (
            f"{self.network} up to {self.until}" if self.until else f"{self.network} {top}{count}"
        )

    def call(self, path: Path) -> str:
        """Return the Python expression that loads the file."""
        arguments = [f"weights={str(path)!r}"]
        arguments += [] if self.include_top else ["include_top=False"]
        arguments += [f"until={self.until!r}"] if self.until else []
        arguments += [f"classes={self.classes}"] if self.classes not in (None, 1000) else []
        return f"{self.network}({', '.join(arguments)})"


@dataclass(frozen=True)
class WeightReport:
    """What :func:`inspect_weights` found; ``print`` shows it.

    Attributes
    ----------
    path : Path
    dialect : str
        What kind of file it is.
    layers : list of LayerReport
        In the file's order.
    parameters : int
        How many numbers all tensors hold.
    fits : list of Fit
        The networks of ``minidl.applications`` that the file fills exactly.
    nearest : Fit or None
        Where it fills none: the one that has most in common with it.
    problem : str
        What keeps it from filling the nearest.
    has_architecture : bool
        Whether the file also describes its model, so that ``load_model`` may rebuild it.
    """

    path: Path
    dialect: str
    layers: list[LayerReport]
    parameters: int
    fits: list[Fit] = field(default_factory=list)
    nearest: Fit | None = None
    problem: str = ""
    has_architecture: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON can hold it."""
        return {**asdict(self), "path": str(self.path)}

    def __str__(self) -> str:
        rows = [
            (f"{layer.scope}/{layer.name}/{role}".lstrip("/"), str(tensor.shape), tensor.dtype)
            for layer in self.layers
            for role, tensor in layer.tensors.items()
        ]
        title = f"{self.path}: {self.dialect}, {len(self.layers)} layers with {len(rows)} tensors"
        lines = [f"{title} of {self.parameters:,} numbers"]
        return "\n".join([*lines, *format_table(rows, indent="  "), *self._verdict()])

    def _verdict(self) -> Iterator[str]:
        for fit in self.fits:
            yield f"Fits {fit}: {fit.call(self.path)}"
        if self.nearest:
            yield f"Fits no known network; the nearest is {self.nearest}: {self.problem}"
        elif not self.fits:
            yield f"Resembles none of the known networks ({', '.join(NETWORKS)})"
        if self.has_architecture:
            yield f"Describes its model, too: minidl.load_model({str(self.path)!r})"


def inspect_weights(path) -> WeightReport:
    """Read a weight file of any dialect and compare it with the networks that minidl has.

    Parameters
    ----------
    path : str or Path

    Raises
    ------
    FileNotFoundError
    FileFormatError
        If the file is damaged, or of a kind that cannot be read.
    """
    file = read_weight_file(path)
    shapes = _shapes_in(file)
    outlines = [_outline(name, file) for name in NETWORKS]
    fits = [
        cut.fit
        for outline in outlines
        for cut in outline
        if cut.shapes == shapes and not _problem(cut, file)
    ]
    nearest = None if fits else _nearest(outlines, shapes)
    return WeightReport(
        path=Path(path),
        dialect=file.dialect,
        layers=[_report_layer(layer) for layer in file.layers],
        parameters=sum(a.size for layer in file.layers for a in layer.tensors.values()),
        fits=fits,
        nearest=nearest and nearest.fit,
        problem=_problem(nearest, file) if nearest else "",
        has_architecture=file.architecture is not None or file.dialect == "minidl model",
    )


def _report_layer(layer) -> LayerReport:
    tensors = {
        role: TensorReport(array.shape, array.dtype.name, layer.places.get(role, ""))
        for role, array in layer.tensors.items()
    }
    return LayerReport(layer.name, layer.scope, tensors)


@dataclass(frozen=True)
class _Cut:
    """A network as far as one of its layers: what it is called, its tensors' shapes."""

    fit: Fit
    whole: Network
    last: str
    shapes: Counter


def _problem(cut: _Cut, file: WeightFile) -> str:
    """Say what keeps the file from filling the network, if anything."""
    network = cut.whole.tap(cut.last)
    try:
        match(network.layers, file, network=network)
    except FileFormatError as error:
        # The report has said which file and which network.
        return str(error).rpartition(f": does not fit {network.label}: ")[2]
    return ""


def _nearest(outlines: list[list[_Cut]], shapes: Counter) -> _Cut | None:
    """Return the cut of a network that shares most tensors' shapes with the file."""

    def likeness(cut: _Cut) -> float:
        return (cut.shapes & shapes).total() / max((cut.shapes | shapes).total(), 1)

    best = max((cut for outline in outlines for cut in outline), key=likeness)
    return best if likeness(best) >= ALIKE else None


def _outline(name: str, file: WeightFile) -> list[_Cut]:
    """Return the cuts of a network at which a user would cut it, the whole of it among them.

    Of several layers that need the same weights, only the last one with a name of its own is
    there ("mixed8", not the pooling after it).
    """
    architecture, classes = NETWORKS[name], _count_classes(file)
    whole, last_of_body = _without_memory(architecture, classes)
    cuts: dict[frozenset[int], _Cut] = {}
    below: list[frozenset[int]] = []
    for node in whole.nodes:
        below.append(frozenset({id(node.layer)}).union(*(below[i] for i in node.inputs)))
        kept = [layer for layer in whole.layers if id(layer) in below[-1]]
        weighted = frozenset(id(layer) for layer in kept if layer.parameters)
        until = None if node.layer in (last_of_body, whole.layers[-1]) else node.layer.name
        includes_top = last_of_body in kept and node.layer is not last_of_body
        if not weighted or (node.layer.auto_named and until):
            continue
        if weighted in cuts and not cuts[weighted].fit.until:
            continue  # the body as a whole, rather than its pooling
        final = node.layer is whole.layers[-1]
        fit = Fit(name, includes_top, until, classes if final else None)
        cuts[weighted] = _Cut(fit, whole, node.layer.name, _shapes_of(kept))
    return list(cuts.values())


def _count_classes(file: WeightFile) -> int:
    """Return how many outputs the file's last dense layer has."""
    widths = [
        layer.tensors["kernel"].shape[1]
        for layer in file.layers
        if "kernel" in layer.tensors and layer.tensors["kernel"].ndim == 2
    ]
    return max(widths[-1], 1) if widths else 1000


def _without_memory(architecture: Architecture, classes: int) -> tuple[Network, Layer]:
    """Return a network whose large parameters have shapes only, and the last layer of its body."""
    size = architecture.default_size
    inputs = Input((size, size, 3))
    x = architecture.body(inputs, without_memory(layers.Conv2D))
    body = x.layer
    for layer in architecture.top(classes, None, without_memory(layers.Dense)):
        x = layer(x)
    return Network(inputs, x), body


def _shapes_of(kept: list[Layer]) -> Counter:
    return Counter((p.name, p.shape) for layer in kept for p in layer.parameters)


def _shapes_in(file: WeightFile) -> Counter:
    return Counter(
        (role, array.shape) for layer in file.layers for role, array in layer.tensors.items()
    )
