"""Layer: weights, dtypes, building, configuration and error messages of every layer."""

import numpy as np
import pytest

from minidl import Input
from minidl.common.errors import ShapeError
from minidl.layers import Conv2D, Dense, Flatten, Layer

X = np.ones((2, 3), "float32")


class Scale(Layer):
    """A user's own layer."""

    def __init__(self, start="ones", **kwargs):
        super().__init__(**kwargs)
        self.start = start

    def build(self, input_shape):
        self.factor = self.add_weight("factor", input_shape[-1:], self.start)

    def forward(self, x, training=False, rng=None):
        return x * self.factor.value, x

    def backward(self, dy, cache, need_dx=True):
        return dy * self.factor.value, [(dy * cache).sum(axis=0)]


def test_a_custom_layer_is_rebuilt_from_its_configuration():
    layer = Scale("zeros", name="mine", learning_rate_multiplier=0.1)
    assert (layer(X) == 0).all()
    copy = Scale.from_config(layer.get_config())
    assert (copy.start, copy.name, copy.learning_rate_multiplier) == ("zeros", "mine", 0.1)
    assert copy.dtype == np.float32


def test_statistics_come_last_in_any_order_of_creation():
    class Counting(Layer):
        def build(self, input_shape):
            self.seen = self.add_weight("seen", (), "zeros", trainable=False)
            self.w = self.add_weight("w", input_shape[-1:])

    layer = Counting()
    layer.build(X.shape)
    assert [parameter.name for parameter in layer.weights] == ["w", "seen"]
    assert [a.shape for a in layer.get_weights()] == [(3,), ()]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dtype_follows_the_first_data(dtype):
    layer = Dense(2)
    assert layer(X.astype(dtype)).dtype == dtype
    assert layer.kernel.value.dtype == dtype
    assert layer.dtype == dtype


def test_a_given_dtype_wins_and_other_numbers_become_float32():
    assert Dense(2, dtype="float64")(X).dtype == np.float64
    assert Dense(2)(np.ones((2, 3), "uint8")).dtype == np.float32
    assert Dense(2)([[1, 2, 3]]).dtype == np.float32
    layer = Dense(2)
    layer(X)
    assert layer(X.astype("float64")).dtype == np.float32  # built for float32, stays float32


@pytest.mark.parametrize("dtype", ["float16", "int32", "bool"])
def test_other_dtypes_are_rejected(dtype):
    with pytest.raises(ValueError, match=f"Dense: expected dtype float32 or float64.*{dtype}"):
        Dense(2, dtype=dtype)


def test_an_unknown_argument_is_named():
    with pytest.raises(TypeError, match="Conv2D: unknown argument 'fliters'"):
        Conv2D(3, 3, fliters=2)


def test_a_missing_attribute_is_named_and_an_unbuilt_layer_says_when_parameters_exist():
    layer = Dense(2, name="head")
    with pytest.raises(AttributeError, match="Dense 'head' has no attribute 'kernel'.*is called"):
        _ = layer.kernel
    layer(X)
    with pytest.raises(AttributeError, match="Dense 'head' has no attribute 'colonel'$"):
        _ = layer.colonel
    assert layer.weights == [layer.kernel, layer.bias]


def test_explicit_building_creates_the_weights_once():
    layer = Dense(2)
    layer.build((None, 3))
    weights = layer.get_weights()
    assert layer.built
    layer.build((None, 3))
    layer(X)
    assert len(layer.weights) == 2
    np.testing.assert_array_equal(layer.get_weights()[0], weights[0])
    with pytest.raises(ShapeError, match=r"expected 3 input features, received 4"):
        layer(np.ones((2, 4)))


def test_a_wrong_shape_leaves_the_layer_unbuilt():
    layer = Conv2D(2, 3)
    for build in (layer, layer.build):
        with pytest.raises(ShapeError):
            build(X if build is layer else X.shape)
        assert not layer.built
        assert layer.parameters == []
    assert layer(np.ones((1, 3, 3, 1))).shape == (1, 1, 1, 2)


def test_a_subclass_may_extend_build():
    class Extended(Scale):
        def build(self, input_shape):
            super().build(input_shape)
            self.shift = self.add_weight("shift", input_shape[-1:], "zeros")

    layer = Extended()
    layer(X)
    assert [p.name for p in layer.weights] == ["factor", "shift"]


def test_a_layer_without_forward_names_the_missing_method():
    class Nothing(Layer):
        pass

    with pytest.raises(NotImplementedError, match=r"Nothing\.forward"):
        Nothing()(X)
    with pytest.raises(NotImplementedError, match=r"Nothing\.backward"):
        Nothing().backward(X, None)


def test_count_params():
    layer = Conv2D(4, (3, 2))
    assert layer.count_params() == 0
    layer(np.ones((1, 5, 5, 3)))
    assert layer.count_params() == 3 * 2 * 3 * 4 + 4


def test_the_label_and_repr_show_class_name_and_frozen_state():
    layer = Flatten(name="flat", trainable=False)
    assert layer.label == "Flatten 'flat'"
    assert repr(layer) == "<Flatten 'flat' frozen>"


def test_arrays_and_symbolic_tensors_do_not_mix():
    with pytest.raises(TypeError, match="Dense"):
        Dense(2)([Input((3,)), X])
