"""Capabilities: inheritance, checks at build, and their truth for every layer."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.checks import each, listed, run
from support.layer_cases import CASES

from minidl import layers
from minidl.layers import Capabilities


class Louder(layers.ReLU):
    def forward(self, x, training=False, rng=None, out=None):
        return 2 * x, None


def test_a_new_forward_resets_the_capabilities():
    assert layers.ReLU().capabilities.ignores_training
    assert Louder().capabilities == Capabilities()

    class Unchanged(layers.ReLU):
        pass

    assert Unchanged().capabilities == layers.ReLU().capabilities

    class Mixin:
        def forward(self, x, training=False, rng=None):
            return x, None

    class Mixed(Mixin, layers.ReLU):
        pass

    assert Mixed().capabilities == Capabilities()


@pytest.mark.parametrize("base", [layers.BatchNormalization, layers.Activation])
def test_a_new_forward_resets_capabilities_that_depend_on_arguments(base):
    class New(base):
        def forward(self, x, training=False, rng=None):
            return x, None

    layer = New("tanh") if base is layers.Activation else New(trainable=False)
    assert layer.capabilities == Capabilities()


def test_a_new_forward_still_accepts_a_list():
    class Mean(layers.Add):
        def forward(self, x, training=False, rng=None):
            return sum(x) / len(x), len(x)

    assert Mean().capabilities == Capabilities(accepts_list=True)
    assert Mean()([np.ones(2), 3 * np.ones(2)]).tolist() == [2, 2]


def test_capabilities_follow_trainable_and_the_activation():
    layer = layers.BatchNormalization()
    assert not layer.capabilities.ignores_training
    layer.trainable = False
    assert layer.capabilities.ignores_training
    assert layers.Activation("relu").capabilities.writes_output
    assert not layers.Activation("linear").capabilities.writes_output


def wrong(**attributes):
    class Wrong(layers.Layer):
        def forward(self, x, training=False, rng=None):
            return x, None

        def compute_output_shape(self, input_shape):
            return (input_shape[0], 2)

    for name, value in attributes.items():
        setattr(Wrong, name, value)
    return Wrong(name="mine")


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"capabilities": {"accepts_list": True}}, r"expected capabilities to be Capabilities"),
        ({"same_in_training": True}, r"declare `capabilities = Capabilities\(ignores_training"),
        ({"capabilities": Capabilities(writes_output=True)}, r"expected a method infer\(x, out\)"),
        (
            {"capabilities": Capabilities(identity_in_inference=True)},
            r"expected output shape \(None, 3\).*received \(None, 2\)",
        ),
    ],
)
def test_wrong_declarations_are_found_when_the_layer_is_built(attributes, message):
    with pytest.raises(TypeError, match=f"(?i)Wrong 'mine': .*{message}"):
        wrong(**attributes).build((None, 3))


def test_former_attributes_are_named_before_a_list_is_misread():
    class Sum(layers.Layer):
        takes_list = True  # language: ok

        def forward(self, x, training=False, rng=None):
            return x[0] + x[1], None

    with pytest.raises(TypeError, match=r"Capabilities\(accepts_list=True\)"):
        Sum()([np.ones((1, 2)), np.ones((1, 2))])


@pytest.mark.parametrize("cls", CASES, ids=lambda cls: cls.__name__)
@given(data=st.data())
def test_the_declared_capabilities_are_true(cls, data):
    layer, x = data.draw(CASES[cls])
    y, _, _ = run(layer, x, training=False)
    declared = layer.capabilities
    assert declared.accepts_list == isinstance(x, list)
    if declared.ignores_training:
        np.testing.assert_array_equal(run(layer, x, training=True, seed=5)[0], y)
    if declared.identity_in_inference:
        np.testing.assert_array_equal(y, x)
    if declared.writes_output:
        out = np.empty_like(y)
        assert np.shares_memory(layer.infer(x, out), out)
        np.testing.assert_allclose(out, y, rtol=1e-10, atol=1e-12)  # scale and shift at once
    if declared.independent_samples:
        alone = layer.forward(each(lambda item: item[:1].copy(), x))[0]
        # BLAS may sum a single row in another order than a batch.
        np.testing.assert_allclose(alone, y[:1], rtol=1e-10, atol=1e-12)
        assert len(alone) == min(1, len(listed(x)[0]))
