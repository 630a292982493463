"""ONNX files: the format, without a dependency on the onnx package."""
