"""ONNX files: export of models, without a dependency on the onnx package.

>>> import tempfile
>>> from minidl import Input, Sequential, layers
>>> model = Sequential([Input((8, 8, 3)), layers.Flatten(), layers.Dense(2, "softmax")])
>>> model.export(tempfile.mkdtemp() + "/model.onnx")
"""

from minidl.onnx.export import export_model, to_onnx

__all__ = ["export_model", "to_onnx"]
