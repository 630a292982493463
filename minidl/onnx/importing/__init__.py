"""Import of ONNX graphs: rules that translate operators into layers."""
