"""Layer: weights, dtypes, building, configuration and error messages of every layer."""

import numpy as np
import pytest

from minidl import Input
from minidl.common.errors import ShapeError
from minidl.layers import BatchNormalization, Conv2D, Dense, Flatten, Layer, Parameter

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


def test_weights_are_in_keras_order_statistics_last():
    layer = BatchNormalization()
    layer(X)
    names = [parameter.name for parameter in layer.weights]
    assert names == ["gamma", "beta", "moving_mean", "moving_variance"]
    assert [p.name for p in layer.trainable_weights] == ["gamma", "beta"]
    assert [p.name for p in layer.non_trainable_weights] == ["moving_mean", "moving_variance"]
    layer.trainable = False
    assert layer.trainable_weights == []
    assert layer.non_trainable_weights == layer.weights


def test_statistics_come_last_in_any_order_of_creation():
    class Counting(Layer):
        def build(self, input_shape):
            self.seen = self.add_weight("seen", (), "zeros", trainable=False)
            self.w = self.add_weight("w", input_shape[-1:])

    layer = Counting()
    layer.build(X.shape)
    assert [parameter.name for parameter in layer.weights] == ["w", "seen"]
    assert [a.shape for a in layer.get_weights()] == [(3,), ()]


def test_get_weights_returns_copies_that_set_weights_accepts():
    layer = Dense(2)
    layer(X)
    kernel, bias = layer.get_weights()
    kernel[...] = 7
    assert not (layer.kernel.value == 7).any()
    layer.set_weights([kernel, bias + 1])
    np.testing.assert_array_equal(layer(X), np.full((2, 2), 22, "float32"))


def test_set_weights_keeps_the_dtype_and_copies():
    layer = Dense(2)
    layer(X)
    given = [np.ones((3, 2)), [1, 2]]
    layer.set_weights(given)
    assert {p.value.dtype for p in layer.weights} == {np.dtype("float32")}
    given[0][...] = 5
    assert (layer.kernel.value == 1).all()


@pytest.mark.parametrize(
    "wrong",
    [
        [],
        [np.zeros((3, 2))],
        [np.zeros((3, 2)), np.zeros(3)],  # the first fits, the second does not
        [np.zeros((2, 3)), np.zeros(2)],
        [np.zeros((3, 2)), np.zeros(2), np.zeros(2)],
    ],
)
def test_set_weights_changes_all_or_nothing(wrong):
    layer = Dense(2, name="head")
    layer(X)
    before = layer.get_weights()
    with pytest.raises(ShapeError, match=r"Dense 'head': set_weights expected .*, received"):
        layer.set_weights(wrong)
    for now, then in zip(layer.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_assign_names_the_parameter_whose_shape_is_wrong():
    layer = Dense(2, name="head")
    layer(X)
    with pytest.raises(ShapeError, match=r"head/bias: expected shape \(2,\), received \(3,\)"):
        layer.bias.assign(np.zeros(3))


def test_a_parameter_is_trainable_where_it_is_learned_and_its_layer_is():
    layer = Dense(1)
    assert Parameter("free", X).trainable
    assert Parameter("free", X).path == "free"
    parameter, statistic = Parameter("w", X, layer=layer), Parameter("m", X, False, layer=layer)
    assert (parameter.trainable, statistic.trainable) == (True, False)
    layer.trainable = False
    assert not parameter.trainable
    assert "frozen" in repr(parameter)


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
