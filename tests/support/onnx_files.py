"""Exported models in ONNX Runtime."""

import numpy as np
import onnx
import onnxruntime

from minidl.onnx.export import to_onnx


def run_onnx(content, *inputs):
    """Check a file's content with the onnx package, and return its outputs for some inputs."""
    model = onnx.load_from_string(content)
    onnx.checker.check_model(model, full_check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    outputs = session.run(None, dict(zip(names, inputs, strict=True)))
    for value, output in zip(session.get_outputs(), outputs, strict=True):
        known = [n for n in value.shape if isinstance(n, int)]
        assert known == [m for m, n in zip(output.shape, value.shape, strict=True) if n in known]
    return outputs


def assert_same_outputs(model, *inputs, tolerance=1e-5, **options):
    """Assert that an exported model has minidl's outputs in ONNX Runtime.

    The tolerance is relative to the largest output: sums in another order differ by that much.
    """
    outputs = run_onnx(to_onnx(model, **options).to_bytes(), *inputs)
    xs = [np.asarray(x, np.float32) for x in inputs]
    if options.get("float_input"):
        xs = [x.transpose(0, 2, 3, 1) if x.ndim == 4 else x for x in xs]
    expected = model.predict(xs[0] if len(xs) == 1 else xs, verbose=0)
    expected = expected if isinstance(expected, list) else [expected]
    for y, other in zip(expected, outputs, strict=False):
        assert other.shape == y.shape
        np.testing.assert_allclose(other, y, atol=tolerance * max(1, np.abs(y).max()), rtol=0)
    return outputs
