"""ONNX's own test cases run by minidl: expected outputs, and the reason of each skipped case.

    python tests/support/onnx_suite.py

prints the counts and the skipped cases of all suites.
"""

import os
import re
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.backend.test.loader import load_model_tests

from minidl import load_model
from minidl.common.errors import FileFormatError, ShapeError

DATA = Path(onnx.__file__).parent / "backend" / "test" / "data"
SUITES = ("node", "simple", "pytorch-converted", "pytorch-operator")


@dataclass
class Outcome:
    """The result of one case: passed, wrong, or skipped for a reason."""

    name: str
    passed: bool = False
    skipped: str = ""
    wrong: str = ""


def run_suite(kind):
    """Return the outcomes of all cases of a suite."""
    cases = sorted(load_model_tests(kind=kind), key=lambda case: case.name)
    return [run_case(case) for case in cases]


def run_case(case):
    """Import the model of one case, and compare its outputs with the expected ones."""
    model = case.model
    if case.model_dir is not None:
        model = onnx.load(os.path.join(case.model_dir, "model.onnx"), load_external_data=False)
    try:
        for inputs, expected in _data_sets(case, model):
            error = compare(model, inputs, expected, case.rtol, case.atol)
            if error:
                return Outcome(case.name, wrong=error)
    except (FileFormatError, ShapeError) as error:
        return Outcome(case.name, skipped=re.sub(r"^\S*\.onnx: ", "", str(error)))
    return Outcome(case.name, passed=True)


def compare(model, inputs, expected, rtol, atol):
    """Return "" or how the outputs of the imported model differ.

    A case gives weights as inputs. If minidl refuses them, all inputs but the first become
    initializers.
    """
    try:
        network = import_proto(model)
    except FileFormatError:
        if len(inputs) < 2:
            raise
        model, inputs = with_constants(model, inputs), inputs[:1]
        network = import_proto(model)
    shapes = network.input_shape if isinstance(network.input_shape, list) else [network.input_shape]
    if len(shapes) != len(inputs):
        raise FileFormatError("an input has no effect on the outputs")
    xs = [to_layout(x, shape) for x, shape in zip(inputs, shapes, strict=True)]
    ys = network.infer(xs if len(xs) > 1 else xs[0])
    ys = ys if isinstance(ys, list) else [ys]
    for y, wanted in zip(ys, expected, strict=True):
        wanted = from_images(wanted, y.shape)
        if not np.allclose(y, wanted, rtol=rtol, atol=atol, equal_nan=True):
            return f"off by {np.abs(y - wanted).max():.3g}"
    return ""


def import_proto(model):
    """Return the model of an ``onnx.ModelProto``."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(model.SerializeToString())
        return load_model(path)


def run_in_onnx_runtime(model, x):
    """Return the first output of ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, {session.get_inputs()[0].name: x})[0]


def with_constants(model, inputs):
    """Return a copy of a model with all inputs but the first as initializers."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    names = [item.name for item in copy.graph.input][1 : len(inputs)]
    for name, array in zip(names, inputs[1:], strict=True):
        copy.graph.initializer.append(numpy_helper.from_array(np.asarray(array), name))
    return copy


def to_layout(x, shape):
    """Return an input in the order of minidl's axes, for an input of `shape`.

    An image is (N, C, H, W) in ONNX, unless only the order (N, H, W, C) fits the shape.
    """
    if x.ndim != 4:
        return x
    images = x.transpose(0, 2, 3, 1)
    fits = all(m in (None, n) for m, n in zip(shape[1:], images.shape[1:], strict=True))
    return np.ascontiguousarray(images) if fits else x


def from_images(expected, shape):
    """Return an expected output in the order of minidl's axes."""
    if expected.ndim == 4 and len(shape) == 4 and expected.shape != shape:
        return expected.transpose(0, 2, 3, 1)
    if expected.ndim == 4 and len(shape) == 4:  # ambiguous only for equal sizes
        images = expected.transpose(0, 2, 3, 1)
        return images if images.shape == shape else expected
    return expected.reshape(shape)


def _data_sets(case, model):
    if case.data_sets is not None:
        return [
            ([_array(x) for x in inputs], [_array(y) for y in outputs])
            for inputs, outputs in case.data_sets
        ]
    sets = []
    for folder in sorted(Path(case.model_dir).glob("test_data_set_*")):
        inputs, outputs = (
            [_load(folder / f"{end}_{i}.pb") for i in range(len(list(folder.glob(f"{end}_*.pb"))))]
            for end in ("input", "output")
        )
        sets.append((inputs, outputs))
    return sets


def _array(x):
    if isinstance(x, onnx.TensorProto):
        x = numpy_helper.to_array(x)
    if not isinstance(x, (np.ndarray, np.generic)) or np.asarray(x).dtype.kind not in "biuf":
        raise FileFormatError("the case has data other than tensors of numbers")
    return np.asarray(x)


def _load(path):
    tensor = onnx.TensorProto()
    try:
        tensor.ParseFromString(path.read_bytes())
        return numpy_helper.to_array(tensor)
    except Exception as error:
        raise FileFormatError(f"not a tensor ({type(error).__name__})") from error


def light_model(name):
    """Return the path of a light model and its expected output."""
    folder = DATA / "light"
    expected = numpy_helper.to_array(onnx.load_tensor(folder / f"light_{name}_output_0.pb"))
    return folder / f"light_{name}.onnx", expected


def ramp(shape):
    """Return the input of the light models for a shape (C, H, W), as (1, H, W, C)."""
    count = np.prod(shape)
    x = (np.arange(count).reshape(1, *shape) / count).astype(np.float32)
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1))


def make(nodes, inputs, outputs, constants=None, opset=17):
    """Return a model of nodes; inputs and outputs: name -> shape, constants: name -> array."""
    infos = [
        [helper.make_tensor_value_info(name, 1, shape) for name, shape in ends.items()]
        for ends in (inputs, outputs)
    ]
    tensors = [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()]
    graph = helper.make_graph(nodes, "test", *infos, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def missing_operators(outcomes):
    """Return the operators that minidl does not have, with the number of cases that need them."""
    pattern = r"(\w+) '.*': minidl does not (?:have|support) (?:this operator|operators|functions)"
    found = [re.match(pattern, outcome.skipped) for outcome in outcomes]
    return Counter(match.group(1) for match in found if match)


def main():
    """Print the outcomes of all suites."""
    for kind in SUITES:
        outcomes = run_suite(kind)
        counts = Counter(
            "passed" if o.passed else "wrong" if o.wrong else "skipped" for o in outcomes
        )
        print(f"{kind}: {dict(counts)}")
        missing = missing_operators(outcomes)
        print(f"  skipped, operators that minidl does not have ({missing.total()} cases):")
        print("   ", ", ".join(f"{name} {count}" for name, count in sorted(missing.items())))
        for outcome in outcomes:
            if not outcome.passed and not missing_operators([outcome]):
                word = "WRONG" if outcome.wrong else "skipped"
                print(f"  {word} {outcome.name}: {outcome.wrong or outcome.skipped}")


if __name__ == "__main__":
    sys.exit(main())
