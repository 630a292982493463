"""What a file that minidl exported contains beside the network: metadata, OOD score, resizing.

>>> from minidl.onnx.messages import ModelProto, StringStringEntryProto
>>> entry = StringStringEntryProto("class_names", '["cats", "dogs"]')
>>> classifier_metadata(ModelProto(metadata_props=[entry]))
{'class_names': ['cats', 'dogs']}
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from minidl.common.errors import FileFormatError
from minidl.onnx.messages import (
    DataType,
    Dimension,
    GraphProto,
    ModelProto,
    NodeProto,
    TensorShapeProto,
    TensorTypeProto,
    TypeProto,
    ValueInfoProto,
)
from minidl.onnx.tensors import array_of

__all__ = ["OOD_OUTPUT", "classifier_metadata", "is_own", "ood_features", "without_resizing"]

OOD_OUTPUT = "ood_score"
MAX_TEXT = 2**20  # characters of an entry of the metadata


def is_own(model: ModelProto) -> bool:
    """Return whether minidl exported a model."""
    return model.producer_name == "minidl"


def classifier_metadata(model: ModelProto) -> dict[str, Any]:
    """Return class names, image size and license of a file, as a model's metadata.

    Entries of another form, which other programs may write under these names, are left out.
    """
    entries = model.metadata
    found: dict[str, Any] = {}
    names = _parsed(entries.get("class_names", ""))
    if isinstance(names, list) and names and all(isinstance(name, str) for name in names):
        found["class_names"] = names
    size = _parsed(entries.get("image_size", ""))
    if isinstance(size, list) and len(size) == 2 and all(_is_size(n) for n in size):
        found["image_size"] = size
    if is_own(model) and entries.get("license"):
        found["license"] = entries["license"]
    return found


def _parsed(text: str) -> Any:
    if not text or len(text) > MAX_TEXT:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _is_size(n: Any) -> bool:
    return isinstance(n, int) and not isinstance(n, bool) and 0 < n < 2**16


def ood_features(model: ModelProto) -> tuple[str, dict[str, Any]] | None:
    """Return the name of the features that the OOD score reads, and its constants.

    Returns
    -------
    (str, dict) or None
        The dict has ``means``, ``whitening`` and ``limit``. None for a file without an OOD score.

    Raises
    ------
    FileFormatError
        If the output is computed in another way than minidl's.
    """
    graph = model.graph
    if not is_own(model) or graph is None or OOD_OUTPUT not in [v.name for v in graph.output]:
        return None
    producers = {name: node for node in graph.node for name in node.output}
    constants = {tensor.name: tensor for tensor in graph.initializer}

    def step(name: str, kind: str) -> NodeProto:
        node = producers.get(name)
        if node is None or node.op_type != kind or not node.input:
            raise FileFormatError(f"output {OOD_OUTPUT!r}: expected {kind} to compute {name!r}")
        return node

    def constant(node: NodeProto) -> Any:
        name = node.input[1] if len(node.input) > 1 else ""
        if name not in constants:
            raise FileFormatError(f"output {OOD_OUTPUT!r}: expected a constant {name!r}")
        return array_of(constants[name])

    score = step(OOD_OUTPUT, "Div")
    nearest = step(score.input[0], "ReduceMin")
    distances = step(nearest.input[0], "ReduceL2")
    whitened = step(distances.input[0], "MatMul")
    offsets = step(whitened.input[0], "Sub")
    features = step(offsets.input[0], "Unsqueeze").input[0]
    means, whitening, limit = constant(offsets), constant(whitened), constant(score)
    size = means.shape[-1] if means.ndim == 2 else 0
    if whitening.shape != (size, size) or limit.size != 1 or not limit.reshape(()) > 0:
        raise FileFormatError(f"output {OOD_OUTPUT!r}: expected constants whose shapes agree")
    return features, {"means": means, "whitening": whitening, "limit": float(limit.reshape(()))}


def without_resizing(model: ModelProto) -> ModelProto:
    """Return a model whose input are the resized photos, if minidl exported it with resizing.

    minidl resizes photos when it reads them.
    """
    graph = model.graph
    size = classifier_metadata(model).get("image_size")
    resizes = [] if graph is None else [node for node in graph.node if node.op_type == "Resize"]
    if not is_own(model) or graph is None or size is None or len(resizes) != 1:
        return model
    channels = 1 if model.metadata.get("color_mode") == "grayscale" else 3
    sizes = [Dimension(dim_param="N"), *(Dimension(n) for n in (channels, *size))]
    kind = TypeProto(TensorTypeProto(DataType.FLOAT, TensorShapeProto(sizes)))
    name = resizes[0].output[0] if resizes[0].output else ""
    resized: GraphProto = replace(
        graph,
        node=[node for node in graph.node if node is not resizes[0]],
        input=[ValueInfoProto(name, kind)],
    )
    return replace(model, graph=resized)
