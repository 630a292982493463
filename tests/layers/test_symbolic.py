"""Input and symbolic tensors: shapes without numbers."""

import numpy as np
import pytest

from minidl import Input
from minidl.common.errors import ShapeError
from minidl.layers import Add, Conv2D, Dense, Flatten, InputLayer


def test_input_puts_an_unknown_batch_first():
    x = Input((8, None, 3), name="photos")
    assert x.shape == (None, 8, None, 3)
    assert x.dtype == np.float32
    assert x.layer.name == "photos"
    assert Input((2,), dtype="float64").dtype == np.float64
    assert Input(()).shape == (None,)
    assert Input([np.int64(4)]).shape == (None, 4)


def test_layers_called_on_a_tensor_are_built_and_know_their_output():
    x = Input((8, 8, 3))
    conv = Conv2D(4, 3)
    y = conv(x)
    assert y.shape == (None, 6, 6, 4)
    assert conv.built
    assert (y.layer, y.inputs) == (conv, (x,))
    assert Flatten()(y).shape == (None, 144)
    assert Add()([y, y]).inputs == (y, y)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_inputs_dtype_runs_through_the_graph(dtype):
    layer = Dense(2)
    y = layer(Input((3,), dtype=dtype))
    assert y.dtype == layer.kernel.value.dtype == dtype
    assert Dense(2)(y).dtype == dtype


def test_later_tensors_have_later_numbers():
    x = Input((3,))
    y = Dense(2)(x)
    assert x.serial < y.serial < Dense(2)(y).serial


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Input(3), r"Input: expected a tuple such as \(3,\), received 3"),
        (lambda: Input((0, 3)), r"expected sizes >= 1 or None, received \(0, 3\)"),
        (lambda: Input((-1,)), r"expected sizes >= 1 or None, received \(-1,\)"),
        (
            lambda: Dense(2, name="fc")([Input((3,))] * 2),
            "Dense 'fc': expected one tensor, received 2",
        ),
        (lambda: Conv2D(2, 3, name="c")(Input((8,))), r"Conv2D 'c': expected input \(N, H, W, C\)"),
        (lambda: Add()(Input((8,))), "Add '.*': expected a list of at least 2"),
    ],
)
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(ShapeError, match=message):
        make()


def test_other_dtypes_are_refused():
    with pytest.raises(ValueError, match="expected dtype float32 or float64, received 'uint8'"):
        Input((3,), dtype="uint8")


def test_a_tensor_says_what_it_is_where_numbers_are_expected():
    y = Dense(2, name="fc")(Input((3,)))
    with pytest.raises(TypeError, match="symbolic output of Dense 'fc': expected an array"):
        np.exp(y)
    with pytest.raises(TypeError, match="Add.*expected symbolic tensors only"):
        Add()([y, np.ones((1, 2))])
    assert "(None, 2)" in repr(y)
    assert "Dense 'fc'" in repr(y)


def test_an_input_layer_hands_its_input_on():
    x = np.ones((2, 3))
    layer = InputLayer((3,))
    assert layer.forward(x)[0] is x
    assert layer.backward(x, None)[0] is x
