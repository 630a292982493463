"""What minidl's exports contain beside the network, read back from hostile files, too."""

import numpy as np
import pytest

from minidl import Input, Sequential, layers, out_of_distribution
from minidl.common.errors import FileFormatError
from minidl.onnx.export import to_onnx
from minidl.onnx.exported_classifier import classifier_metadata, ood_features, without_resizing


@pytest.fixture
def exported():
    """Return the messages of a classifier with an OOD score."""
    head = layers.Dense(1, activation="sigmoid")
    model = Sequential([Input((3,)), layers.Dense(2, name="features"), head])
    x = np.random.default_rng(0).normal(size=(20, 3))
    out_of_distribution.fit(model, x, np.arange(20) % 2, layer="features")
    return to_onnx(model, license="MIT")


def test_the_constants_of_the_ood_score_come_back(exported):
    name, found = ood_features(exported)
    assert name in {output for node in exported.graph.node for output in node.output}
    assert (found["means"].shape, found["whitening"].shape) == ((2, 2), (2, 2))
    assert classifier_metadata(exported)["license"] == "MIT"


def test_another_computation_of_the_score_is_refused(exported):
    nodes = {node.op_type: node for node in exported.graph.node}
    nodes["ReduceL2"].op_type = "ReduceL1"
    with pytest.raises(FileFormatError, match="expected ReduceL2"):
        ood_features(exported)


def test_other_programs_may_have_an_output_of_that_name(exported):
    exported.producer_name = "pytorch"
    assert ood_features(exported) is None
    assert without_resizing(exported) is exported
