"""Inspection of weight files: format, tensors, and networks with the same tensors.

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

import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from minidl import layers
from minidl.applications import (
    efficientnet,
    efficientnet_lite,
    inception_v3,
    mobilenet_v2,
    mobilenet_v3,
    resnet,
    vgg16,
)
from minidl.applications.pretrained import Architecture, without_memory
from minidl.common.errors import FileFormatError
from minidl.common.text_table import format_table
from minidl.formats.downloads.registry import Entry, identify
from minidl.formats.file_errors import StrPath
from minidl.formats.matching import match
from minidl.formats.pytorch.layout import shape_in_file
from minidl.formats.pytorch.renaming import ambiguity
from minidl.formats.reading import read_weight_file
from minidl.formats.weight_file import LayerTensors, WeightFile
from minidl.graph.network import Network
from minidl.layers.base import Layer
from minidl.layers.symbolic import Input

__all__ = ["Fit", "LayerReport", "TensorReport", "WeightReport", "inspect_weights"]

# The networks, and those that one function builds for different arguments.
NETWORKS = {
    "VGG16": vgg16.ARCHITECTURE,
    "ResNet50": resnet.RESNET50,
    "InceptionV3": inception_v3.ARCHITECTURE,
    "EfficientNetLite0": efficientnet_lite.LITE0,
    "EfficientNetLite1": efficientnet_lite.LITE1,
    "EfficientNetLite2": efficientnet_lite.LITE2,
    "ResNet18": resnet.RESNET18,
    "ResNet34": resnet.RESNET34,
    "ResNet50, variant='torchvision'": resnet.RESNET50_TORCHVISION,
    "EfficientNetB0": efficientnet.ARCHITECTURE,
    "MobileNetV3Small": mobilenet_v3.architecture("small"),
    "MobileNetV3Large": mobilenet_v3.architecture("large"),
    **{
        f"MobileNetV2, alpha={alpha}": mobilenet_v2.architecture(alpha)
        for alpha in mobilenet_v2.ALPHAS
    },
}
SIMILAR = 0.5  # minimum share of common tensors of the nearest network


@dataclass(frozen=True)
class TensorReport:
    """Shape, dtype and path inside the file of one tensor."""

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
    """One of minidl's networks, complete or cut after the layer `until`."""

    network: str
    include_top: bool
    until: str | None = None
    classes: int | None = None

    def __str__(self) -> str:
        if self.until:
            return f"{self.network} up to {self.until}"
        classes = f" of {self.classes} classes" if self.classes not in (None, 1000) else ""
        return f"{self.network} {'with' if self.include_top else 'without'} its top{classes}"

    def call(self, path: StrPath) -> str:
        """Return the Python expression that loads the file."""
        network, *variant = self.network.split(", ")
        arguments = [f"weights={str(path)!r}", *variant]
        if not self.include_top:
            arguments.append("include_top=False")
        if self.until:
            arguments.append(f"until={self.until!r}")
        if self.classes not in (None, 1000):
            arguments.append(f"classes={self.classes}")
        return f"{network}({', '.join(arguments)})"


@dataclass(frozen=True)
class WeightReport:
    """The result of :func:`inspect_weights`; ``print`` shows it.

    Attributes
    ----------
    path : Path
    dialect : str
        The kind of file, such as "Keras 2 weights".
    layers : list of LayerReport
        In the file's order.
    parameters : int
        Number of values in all tensors.
    fits : list of Fit
        The networks of ``minidl.applications`` with exactly these tensors.
    nearest : Fit or None
        Without an exact fit: the network with most tensors in common.
    problem : str
        The difference between the file and the nearest network.
    has_architecture : bool
        Whether the file contains the model's architecture for ``load_model``.
    official : Entry or None
        The entry of the registry if this is exactly one of the official files: its license and
        source.
    ignored : list of str
        Entries of the file that are not weights, such as PyTorch's ``num_batches_tracked``.
    caution : str
        What the file does not tell, although results depend on it.
    """

    path: Path
    dialect: str
    layers: list[LayerReport]
    parameters: int
    fits: list[Fit] = field(default_factory=list)
    nearest: Fit | None = None
    problem: str = ""
    has_architecture: bool = False
    official: Entry | None = None
    ignored: list[str] = field(default_factory=list)
    caution: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the report for JSON."""
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
        if self.ignored:
            kinds = Counter(name.rpartition(".")[2] for name in self.ignored)
            counts = (kind if n == 1 else f"{n} {kind}" for kind, n in kinds.items())
            yield f"Ignored, because not weights: {', '.join(itertools.islice(counts, 8))}"
        if self.official:
            yield (
                f"The official file {self.official.key!r} ({self.official.description}): license "
                f"{self.official.license}, from {self.official.url}"
            )
        for fit in self.fits:
            yield f"Fits {fit}: {fit.call(self.path)}"
        if self.caution and self.fits and not self.official:
            yield f"Caution: {self.caution}"
        if self.nearest:
            yield f"Fits no known network; the nearest is {self.nearest}: {self.problem}"
        elif not self.fits:
            yield f"Resembles none of the known networks ({', '.join(_functions())})"
        if self.has_architecture:
            yield f"Contains the model's architecture: minidl.load_model({str(self.path)!r})"


def inspect_weights(path: StrPath) -> WeightReport:
    """Read a weight file of any dialect and compare it with minidl's networks.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    WeightReport

    Raises
    ------
    FileNotFoundError, IsADirectoryError
    FileFormatError
        If the file is damaged or of an unsupported format.

    Examples
    --------
    >>> import tempfile
    >>> from minidl import Input, Sequential, layers
    >>> path = tempfile.mkdtemp() + "/a.h5"
    >>> Sequential([Input((2,)), layers.Dense(3, name="head")]).save_weights(path)
    >>> inspect_weights(path).dialect
    'minidl weights'
    """
    file = read_weight_file(path)
    shapes = Counter(
        (role, array.shape) for layer in file.layers for role, array in layer.tensors.items()
    )
    cuts = [cut for name in NETWORKS for cut in _cuts(name, file)]
    fits = [cut.fit for cut in cuts if cut.shapes == shapes and not _problem(cut, file)]
    nearest = None if fits else _nearest(cuts, shapes)
    return WeightReport(
        path=Path(path),
        dialect=file.dialect,
        layers=[_report_layer(layer) for layer in file.layers],
        parameters=sum(a.size for layer in file.layers for a in layer.tensors.values()),
        fits=fits,
        nearest=nearest.fit if nearest else None,
        problem=_problem(nearest, file) if nearest else "",
        has_architecture=file.architecture is not None or file.dialect in ("minidl model", "ONNX"),
        official=identify(path),
        ignored=list(file.ignored),
        caution=ambiguity(layer.name for layer in file.layers),
    )


def _functions() -> list[str]:
    """Return the names of the functions that build the networks."""
    return list(dict.fromkeys(name.partition(",")[0] for name in NETWORKS))


def _report_layer(layer: LayerTensors) -> LayerReport:
    tensors = {
        role: TensorReport(array.shape, array.dtype.name, layer.places.get(role, ""))
        for role, array in layer.tensors.items()
    }
    return LayerReport(layer.name, layer.scope, tensors)


@dataclass(frozen=True)
class _Cut:
    """A network up to one of its layers, with the shapes of its tensors by role."""

    fit: Fit
    whole: Network
    last: str
    shapes: Counter[tuple[str, tuple[int, ...]]]


def _problem(cut: _Cut, file: WeightFile) -> str:
    """Return the difference between the file and the network, or ""."""
    network = cut.whole.tap(cut.last)
    try:
        match(network.layers, file, network=network)
    except FileFormatError as error:
        # The report shows file and network already.
        return str(error).rpartition(f": does not fit {network.label}: ")[2]
    return ""


def _nearest(cuts: list[_Cut], shapes: Counter[tuple[str, tuple[int, ...]]]) -> _Cut | None:
    """Return the cut that shares most tensors with the file (Jaccard index of the shapes)."""

    def similarity(cut: _Cut) -> float:
        return (cut.shapes & shapes).total() / max((cut.shapes | shapes).total(), 1)

    best = max(cuts, key=similarity)
    return best if similarity(best) >= SIMILAR else None


def _cuts(name: str, file: WeightFile) -> list[_Cut]:
    """Return a network and its parts up to each named layer.

    Of several layers that need the same weights, only the last named one is included ("mixed8",
    not the pooling after it).
    """
    classes = _count_classes(file)
    whole, last_of_body = _without_memory(NETWORKS[name], classes)
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
            continue  # the body, rather than its pooling
        final = node.layer is whole.layers[-1]
        fit = Fit(name, includes_top, until, classes if final else None)
        shapes = Counter(
            (p.name, shape_in_file(layer, p) if file.channels_first else p.shape)
            for layer in kept
            for p in layer.parameters
        )
        cuts[weighted] = _Cut(fit, whole, node.layer.name, shapes)
    return list(cuts.values())


def _count_classes(file: WeightFile) -> int:
    """Return the number of outputs of the file's last dense layer, or 1000."""
    widths = [
        layer.tensors["kernel"].shape[1]
        for layer in file.layers
        if "kernel" in layer.tensors and layer.tensors["kernel"].ndim == 2
    ]
    return max(widths[-1], 1) if widths else 1000


def _without_memory(architecture: Architecture, classes: int) -> tuple[Network, Layer]:
    """Return a network whose large parameters have only shapes, and the last layer of its body."""
    size = architecture.default_size
    x = inputs = Input((size, size, 3))
    for layer in architecture.preprocessing_layers():
        x = layer(x)
    x = architecture.body(x, without_memory(layers.Conv2D))
    body = x.layer
    for layer in architecture.top(classes, None, without_memory(layers.Dense)):
        x = layer(x)
    return Network(inputs, x), body
