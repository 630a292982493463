"""The backward of every layer against finite differences of its forward."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.checks import thorough
from support.layer_cases import CASES

from minidl import layers
from minidl.training import gradcheck


def public_layers():
    everything = (getattr(layers, name) for name in layers.__all__)
    classes = {item for item in everything if isinstance(item, type)}
    return {cls for cls in classes if issubclass(cls, layers.Layer)} - {layers.Layer}


def test_every_public_layer_has_a_case():
    assert set(CASES) == public_layers()


@pytest.mark.parametrize("cls", CASES, ids=lambda cls: cls.__name__)
@thorough
@given(data=st.data(), training=st.booleans())
def test_backward_agrees_with_finite_differences(cls, data, training):
    layer, x = data.draw(CASES[cls])
    report = gradcheck(layer, x, training=training, tolerance=1e-6)
    # Inputs stay away from kinks, but a weighted sum may come near one by chance.
    assert report.kinks <= len(report.checks) // 4
