"""The contract of every layer: shapes, dtypes, no side effects, a complete configuration."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.checks import check_layer
from support.layer_cases import CASES

from minidl import layers


@pytest.mark.parametrize("cls", CASES, ids=lambda cls: cls.__name__)
@given(data=st.data())
def test_a_layer_keeps_the_contract(cls, data):
    check_layer(*data.draw(CASES[cls]))


class Broken(layers.Layer):
    """A layer that doubles its input, with one fault of the test's choice."""

    calls = 0

    def __init__(self, fault, **kwargs):
        super().__init__(**kwargs)
        self.fault = fault

    def compute_output_shape(self, input_shape):
        return (*input_shape, 1) if self.fault == "shape" else input_shape

    def forward(self, x, training=False, rng=None):
        self.calls += 1
        y = x * 2
        if self.fault == "mutates x":
            x *= 2
        elif self.fault == "dtype":
            y = y.astype(np.float64)
        elif self.fault == "state":
            y += self.calls
        elif self.fault == "kept cache":
            self.kept = x
        elif self.fault == "own randomness":
            y += np.random.default_rng().random()
        elif self.fault == "configuration":
            y = y * len(self.name)
        return y, x

    def backward(self, dy, cache, need_dx=True):
        dx = dy * 2
        if self.fault == "mutates dy":
            dy *= 2
        elif self.fault == "mutates y":
            cache += 1
        elif self.fault == "kept cache":
            dx = dx * self.kept
        return dx, []

    def get_config(self):
        config = super().get_config()
        if self.fault == "configuration":
            config["name"] += "_"
        return config


FAULTS = [
    "shape",
    "mutates x",
    "dtype",
    "state",
    "kept cache",
    "own randomness",
    "configuration",
    "mutates dy",
    "mutates y",
]


def test_the_check_passes_a_good_layer():
    check_layer(Broken("none"), np.ones((2, 3)))


@pytest.mark.parametrize("fault", FAULTS)
def test_the_check_catches_a_bad_layer(fault):
    with pytest.raises(AssertionError):
        check_layer(Broken(fault), np.ones((2, 3)))
