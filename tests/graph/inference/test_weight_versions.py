"""Weight versions: every change of a parameter is detected, and nothing else."""

import numpy as np
import pytest

from minidl.graph.inference.weight_versions import WeightVersions
from minidl.layers.parameter import Parameter


def assign(parameter):
    parameter.assign(np.full(3, 2.0))


def edit_one_number(parameter):
    with parameter.editing() as array:
        array[1] = 5


@pytest.mark.parametrize("change", [assign, edit_one_number])
def test_a_change_of_any_parameter_is_detected(change):
    parameters = [Parameter("a", np.zeros(3)), Parameter("b", np.zeros(3))]
    versions = WeightVersions(parameters)
    assert not versions.have_changed()
    _ = parameters[1].value.sum()
    assert not versions.have_changed()
    change(parameters[1])
    assert versions.have_changed()
    assert not WeightVersions(parameters).have_changed()


def test_no_parameters_never_change():
    assert not WeightVersions([]).have_changed()
