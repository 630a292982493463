"""Reading of ONNX files as models and as weights.

>>> import tempfile
>>> from minidl.onnx.messages import Dimension, GraphProto, ModelProto, NodeProto
>>> from minidl.onnx.messages import OperatorSetIdProto, TensorShapeProto, TensorTypeProto
>>> from minidl.onnx.messages import TypeProto, ValueInfoProto
>>> sizes = TensorShapeProto([Dimension(dim_param="N"), Dimension(dim_value=4)])
>>> x = ValueInfoProto("x", TypeProto(TensorTypeProto(1, sizes)))
>>> node = NodeProto(["x"], ["y"], op_type="Relu")
>>> graph = GraphProto([node], name="small", input=[x], output=[ValueInfoProto("y")])
>>> path = tempfile.mkdtemp() + "/small.onnx"
>>> with open(path, "wb") as file:
...     operators = [OperatorSetIdProto("", 17)]
...     size = file.write(ModelProto(8, graph=graph, opset_import=operators).to_bytes())
>>> load_model(path)
<Model 'small' 2 layers, 0 parameters>
"""

from __future__ import annotations

import os
from pathlib import Path

from minidl.common.errors import FileFormatError
from minidl.evaluation import out_of_distribution
from minidl.evaluation.classifier import class_count
from minidl.formats.file_errors import StrPath, check_file, file_errors
from minidl.formats.weight_file import LayerTable, WeightFile
from minidl.models.model import Model
from minidl.onnx.exported_classifier import (
    OOD_OUTPUT,
    classifier_metadata,
    ood_features,
    without_resizing,
)
from minidl.onnx.importing.graph import import_graph
from minidl.onnx.messages import ModelProto

__all__ = ["load_model", "read_model_proto", "read_weights"]

MAX_FILE = 2**31  # bytes, the limit of Protocol Buffers


def load_model(path: StrPath) -> Model:
    """Build a model from an ONNX file; ``minidl.load_model`` calls it.

    The model consists of ordinary layers over images (N, H, W, C). Class names, image size and OOD
    score of a file that minidl exported become the model's metadata.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    Model
        Not compiled.

    Raises
    ------
    FileNotFoundError, IsADirectoryError
    FileFormatError
        If the file is damaged, too large, or has operators that minidl does not have.
    """
    proto = read_model_proto(path)
    with file_errors(path):
        return _build(without_resizing(proto))


def _build(proto: ModelProto) -> Model:
    """Return the model of a file; the OOD score of minidl's own files becomes metadata."""
    ood = ood_features(proto)
    names = [] if proto.graph is None else [item.name for item in proto.graph.output]
    wanted = names if ood is None else [name for name in names if name != OOD_OUTPUT]
    inputs, outputs = import_graph(proto, wanted if ood is None else [*wanted, ood[0]])
    computed = outputs[: len(wanted)]
    model = Model(
        inputs[0] if len(inputs) == 1 else inputs,
        computed[0] if len(computed) == 1 else computed,
        name=_model_name(proto),
    )
    model.metadata.update(classifier_metadata(proto))
    if len(model.metadata.get("class_names", ())) not in (0, _class_count(model)):
        del model.metadata["class_names"]
    if ood is not None:
        layer = outputs[-1].layer
        if layer not in model.layers:
            raise FileFormatError(
                f"output {OOD_OUTPUT!r}: expected features that the network computes"
            )
        model.metadata[out_of_distribution.KEY] = {"layer": layer.name, **ood[1]}
    return model


def _class_count(model: Model) -> int:
    """Return the number of classes; 0 for a model that is not a classifier."""
    is_classifier = model.single_output and len(model.output_shape) == 2
    return class_count(model) if is_classifier else 0


def read_weights(path: StrPath) -> WeightFile:
    """Return the layers with weights of an ONNX file, in minidl's layout.

    Parameters
    ----------
    path : str or Path

    Raises
    ------
    FileNotFoundError, IsADirectoryError
    FileFormatError
        As for :func:`load_model`.
    """
    table = LayerTable()
    for parameter in load_model(path).weights:
        layer = parameter.path.removesuffix(f"/{parameter.name}")
        table.add("", layer, parameter.name, parameter.array, parameter.path)
    return WeightFile(Path(path), "ONNX", table.layers)


def read_model_proto(path: StrPath) -> ModelProto:
    """Read and decode the messages of an ONNX file.

    Raises
    ------
    FileNotFoundError, IsADirectoryError
    FileFormatError
        If the file is damaged or too large.
    """
    path = Path(path).expanduser()
    check_file(path)
    with file_errors(path):
        size = os.path.getsize(path)
        if not 0 < size <= MAX_FILE:
            raise FileFormatError(f"expected 1 to {MAX_FILE} bytes, received {size}")
        model = ModelProto.from_bytes(path.read_bytes())
        if model.graph is None:
            raise FileFormatError("not an ONNX file, or damaged: it contains no graph")
    return model


def _model_name(model: ModelProto) -> str | None:
    name = "" if model.graph is None else model.graph.name.strip()
    return name if name and name.isprintable() and len(name) <= 100 else None
