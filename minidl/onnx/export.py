"""Export of a model to an ONNX file.

>>> import tempfile
>>> from minidl import Input, Sequential, layers
>>> from minidl.onnx.export import export_model, to_onnx
>>> model = Sequential([Input((8, 8, 3)), layers.Conv2D(4, 3), layers.GlobalAveragePooling2D()])
>>> [node.op_type for node in to_onnx(model).graph.node]
['Cast', 'Transpose', 'Conv', 'GlobalAveragePool', 'Flatten']
>>> export_model(model, tempfile.mkdtemp() + "/model.onnx")
"""

from __future__ import annotations

import numpy as np

from minidl import layers
from minidl.common.atomic_files import atomic_file
from minidl.common.errors import MinidlError
from minidl.evaluation import out_of_distribution
from minidl.formats.file_errors import StrPath
from minidl.graph.node import count_consumers
from minidl.models.model import Model
from minidl.onnx import classifier_outputs
from minidl.onnx.call import Call
from minidl.onnx.graph_builder import GraphBuilder, Value, value_info
from minidl.onnx.messages import (
    DataType,
    GraphProto,
    ModelProto,
    OperatorSetIdProto,
    StringStringEntryProto,
    ValueInfoProto,
)
from minidl.onnx.photo_input import image_input, is_image
from minidl.onnx.rules import apply_rule
from minidl.version import __version__

__all__ = ["export_model", "to_onnx"]

OPSET, RESIZING_OPSET = 17, 18  # Resize has antialiasing since opset 18
IR_VERSION = 8
MAX_BYTES = 2**31 - 1  # limit of Protocol Buffers

Affine = tuple[np.ndarray, np.ndarray]


def export_model(
    model: Model,
    path: StrPath,
    float_input: bool = False,
    resize: bool = False,
    license: str | None = None,
) -> None:
    """Write a model to an ONNX file. See :meth:`minidl.Model.export`.

    Parameters
    ----------
    model : Model
    path : str or Path
    float_input, resize, license
        See :func:`to_onnx`.

    Raises
    ------
    MinidlError
        If a layer has no rule, or the file would be larger than 2 GiB.
    ValueError
        If `resize` is set for a model that does not take images.
    OSError
        If the file cannot be written. An older file with that name is kept.
    """
    chunks = to_onnx(model, float_input, resize, license).to_chunks()
    size = sum(len(chunk) for chunk in chunks)
    if size > MAX_BYTES:
        raise MinidlError(f"{path}: expected at most {MAX_BYTES} bytes for ONNX, received {size}")
    with atomic_file(path, size) as file:
        file.writelines(chunks)


def to_onnx(
    model: Model, float_input: bool = False, resize: bool = False, license: str | None = None
) -> ModelProto:
    """Return a model as ONNX's messages; the same model gives the same bytes.

    Parameters
    ----------
    model : Model
    float_input : bool
        Images are float32 (N, C, H, W) instead of uint8 (N, H, W, C); their values are 0 to 255,
        too.
    resize : bool
        Photos have any size; the graph resizes them as minidl does.
    license : str, optional
        Stored in the metadata; by default ``model.metadata["license"]``.

    Returns
    -------
    ModelProto

    Raises
    ------
    MinidlError
        If a layer has no rule.
    ValueError
        If `resize` is set for a model that does not take images, or with `float_input`.
    """
    if float_input and resize:
        raise ValueError("export: expected at most one of float_input and resize, received both")
    opset = RESIZING_OPSET if resize else OPSET
    graph = GraphBuilder(opset)
    inputs, values = _inputs(model, graph, float_input, resize)
    tapped = None
    if out_of_distribution.is_fitted(model):
        tapped = model.node_number(out_of_distribution.fitted_score(model)["layer"])
    _write_nodes(model, graph, values, tapped)
    outputs = _outputs(model, graph, values, tapped)
    graph.rename_outputs([(value, name) for name, value in outputs.items()])
    metadata = classifier_outputs.metadata(model, license)
    if is_image(model):
        metadata |= classifier_outputs.image_metadata(model, float_input, resize)
    return ModelProto(
        ir_version=IR_VERSION,
        producer_name="minidl",
        producer_version=__version__,
        graph=GraphProto(
            node=graph.nodes,
            name=model.name,
            initializer=list(graph.initializers.values()),
            input=inputs,
            output=[value_info(name, v.shape, DataType.FLOAT) for name, v in outputs.items()],
        ),
        opset_import=[OperatorSetIdProto(version=opset)],
        metadata_props=[StringStringEntryProto(key, metadata[key]) for key in sorted(metadata)],
    )


def _inputs(
    model: Model, graph: GraphBuilder, float_input: bool, resize: bool
) -> tuple[list[ValueInfoProto], dict[int, Value]]:
    """Return the graph's inputs, and the values of the model's input nodes by number."""
    infos, values = [], {}
    for number in model.input_numbers:
        node = model.nodes[number]
        name = "input" if model.single_input else node.layer.name
        if is_image(model) or resize:
            info, values[number] = image_input(graph, name, model, float_input, resize)
        elif float_input and len(node.shape) == 4:
            batch, height, width, channels = node.shape
            info = value_info(name, (batch, channels, height, width), DataType.FLOAT)
            values[number] = Value(name, node.shape, channels_first=True)
        else:
            info = value_info(name, node.shape, DataType.FLOAT)
            values[number] = Value(name, node.shape)
        infos.append(info)
    return infos, values


def _write_nodes(
    model: Model, graph: GraphBuilder, values: dict[int, Value], tapped: int | None
) -> None:
    """Write the calls of all layers, in order, and add their values."""
    affines, absorbed = _foldable(model, tapped)
    for number, node in enumerate(model.nodes):
        if number in values:
            continue
        inputs = [values[i] for i in node.inputs]
        if number in absorbed:
            values[number] = inputs[0]
            continue
        graph.scope = node.layer.name
        call = Call(node.layer, inputs, node.shape, affines.get(number))
        values[number] = apply_rule(graph, call)
    graph.scope = ""


def _foldable(model: Model, tapped: int | None) -> tuple[dict[int, Affine], set[int]]:
    """Return scale and shift for the nodes that absorb a BatchNormalization, and the absorbed ones.

    A convolution or Dense layer absorbs the normalization that is the only reader of its output.
    """
    outputs = [*model.output_numbers, *([] if tapped is None else [tapped])]
    consumers = count_consumers((node.inputs for node in model.nodes), len(model.nodes), outputs)
    affines, absorbed = {}, set()
    for number, node in enumerate(model.nodes):
        if type(node.layer) is not layers.BatchNormalization:
            continue
        (source,) = node.inputs
        layer = model.nodes[source].layer
        absorbs = type(layer) in (layers.Conv2D, layers.DepthwiseConv2D, layers.Dense)
        if absorbs and layer.activation is None and consumers[source] == 1:
            affines[source] = node.layer.scale_and_shift()
            absorbed.add(number)
    return affines, absorbed


def _outputs(
    model: Model, graph: GraphBuilder, values: dict[int, Value], tapped: int | None
) -> dict[str, Value]:
    """Return the graph's outputs by name, in minidl's layout."""
    if not model.single_output:
        layers_ = [tensor.layer for tensor in model.output_tensors]
        numbers = zip(layers_, model.output_numbers, strict=True)
        outputs = {layer.name: graph.plain(values[number]) for layer, number in numbers}
        if len(outputs) < len(layers_):  # a layer called twice
            outputs = {
                f"output_{i}": graph.plain(values[number])
                for i, number in enumerate(model.output_numbers)
            }
        return outputs
    outputs = {
        "output": classifier_outputs.probabilities(graph, model, values[model.output_numbers[0]])
    }
    if tapped is not None:
        fitted = out_of_distribution.fitted_score(model)
        outputs["ood_score"] = classifier_outputs.ood_score(graph, fitted, values[tapped])
    return outputs
