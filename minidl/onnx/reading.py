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
from minidl.formats.file_errors import StrPath, check_file, file_errors
from minidl.formats.weight_file import LayerTable, WeightFile
from minidl.models.model import Model
from minidl.onnx.importing.graph import import_graph
from minidl.onnx.messages import ModelProto

__all__ = ["load_model", "read_model_proto", "read_weights"]

MAX_FILE = 2**31  # bytes, the limit of Protocol Buffers


def load_model(path: StrPath) -> Model:
    """Build a model from an ONNX file; ``minidl.load_model`` calls it.

    The model consists of ordinary layers over images (N, H, W, C).

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
        inputs, outputs = import_graph(proto)
        single = len(inputs) == 1, len(outputs) == 1
        return Model(
            inputs[0] if single[0] else inputs,
            outputs[0] if single[1] else outputs,
            name=_model_name(proto),
        )


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
