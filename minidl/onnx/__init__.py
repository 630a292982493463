"""ONNX files: export and import of models, without a dependency on the onnx package.

>>> import tempfile
>>> import minidl
>>> from minidl import Input, Sequential, layers
>>> model = Sequential([Input((8, 8, 3)), layers.Flatten(), layers.Dense(2, "softmax")])
>>> path = tempfile.mkdtemp() + "/model.onnx"
>>> model.export(path)
>>> minidl.load_model(path).output_shape
(None, 2)
"""

from minidl.onnx.export import export_model, to_onnx
from minidl.onnx.reading import load_model, read_weights
from minidl.onnx.web import write_web

__all__ = ["export_model", "load_model", "read_weights", "to_onnx", "write_web"]
