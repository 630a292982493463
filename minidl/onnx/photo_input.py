"""Inputs of an exported image model: photos of uint8, with or without resizing in the graph.

>>> from minidl import Input, Sequential, layers
>>> from minidl.onnx.graph_builder import GraphBuilder
>>> from minidl.onnx.photo_input import image_input
>>> model = Sequential([Input((8, 8, 3)), layers.Flatten()])
>>> graph = GraphBuilder(opset=18)
>>> _ = image_input(graph, "input", model, float_input=False, resize=True)
>>> [node.op_type for node in graph.nodes]
['Transpose', 'Shape', 'Slice', 'Concat', 'Resize', 'Cast']
"""

from __future__ import annotations

from minidl.evaluation.classifier import image_size
from minidl.models.model import Model
from minidl.onnx.graph_builder import GraphBuilder, Value, value_info
from minidl.onnx.messages import DataType, ValueInfoProto

__all__ = ["image_input", "is_image"]


def is_image(model: Model) -> bool:
    """Return whether a model takes images (N, H, W, C) with 1 or 3 channels."""
    return model.single_input and len(model.input_shape) == 4 and model.input_shape[3] in (1, 3)


def image_input(
    graph: GraphBuilder, name: str, model: Model, float_input: bool, resize: bool
) -> tuple[ValueInfoProto, Value]:
    """Return the input of an image model, and its value as float32.

    Parameters
    ----------
    graph : GraphBuilder
    name : str
    model : Model
    float_input : bool
        Images are float32 (N, C, H, W) instead of uint8 (N, H, W, C).
    resize : bool
        Images have any size.

    Raises
    ------
    ValueError
        If `resize` is set for a model that does not take images.
    """
    height, width = image_size(model)  # raises for other models
    batch, *open_size, channels = model.input_shape
    if float_input:
        info = value_info(name, (batch, channels, *open_size), DataType.FLOAT)
        return info, Value(name, model.input_shape, channels_first=True)
    graph.scope = "photo"
    if not resize:
        info = value_info(name, model.input_shape, DataType.UINT8)
        photo = Value(graph.add("Cast", [name], to=DataType.FLOAT), model.input_shape)
        graph.scope = ""
        return info, photo
    info = value_info(name, (batch, None, None, channels), DataType.UINT8)
    photo = graph.channels_first(Value(name, (batch, None, None, channels)))
    # On uint8, so that the result is rounded to whole numbers as minidl's photos are.
    resized = graph.resize(photo.name, height, width, antialias=True)
    cast = graph.add("Cast", [resized], to=DataType.FLOAT)
    graph.scope = ""
    return info, Value(cast, (batch, height, width, channels), channels_first=True)
