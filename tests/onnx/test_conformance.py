"""ONNX's own suites: node tests, models converted from PyTorch, and light models."""

import numpy as np
import pytest
from support.onnx_suite import light_model, ramp, run_suite

from minidl import load_model

# At least these many cases fit the operators that minidl has; onnx 1.23 has 137, 1, 40 and 12. The
# others are skipped with a reason, which tests/support/onnx_suite.py prints.
PASSED = {"node": 130, "simple": 1, "pytorch-converted": 40, "pytorch-operator": 12}
LIGHT = [
    "bvlc_alexnet",
    "densenet121",
    "inception_v1",
    "inception_v2",
    "resnet50",
    "shufflenet",
    "squeezenet",
    "vgg19",
    "zfnet512",
]


@pytest.mark.parametrize("kind", PASSED)
@pytest.mark.filterwarnings("ignore")  # of the suite's own generators
def test_no_case_of_a_suite_is_wrong(kind):
    outcomes = run_suite(kind)
    assert [outcome for outcome in outcomes if outcome.wrong] == []
    assert sum(outcome.passed for outcome in outcomes) >= PASSED[kind]
    assert all(outcome.passed or outcome.skipped for outcome in outcomes)


@pytest.mark.parametrize("name", LIGHT)
def test_light_models_have_the_expected_outputs(name):
    path, expected = light_model(name)
    model = load_model(path)
    height, width, channels = model.input_shape[1:]
    y = model.predict(ramp((channels, height, width)))
    np.testing.assert_allclose(y, expected.reshape(y.shape), rtol=1e-3, atol=1e-7)
