"""Stacks of layers: their shape known at once or from the first data, layers added and taken."""

import numpy as np
import pytest
from support.tiny import assert_same_arrays, blobs, refused

import minidl
from minidl import Input, Model, Sequential, layers
from minidl.common.errors import MinidlError, ShapeError

X, Y = blobs()


def dense(**arguments):
    return layers.Dense(3, kernel_initializer="ones", **arguments)


@pytest.mark.parametrize(
    "start",
    [
        lambda: Sequential([Input((4,)), dense()]),
        lambda: Sequential([layers.InputLayer((4,)), dense()]),
        lambda: Sequential([dense(input_shape=(4,))]),
        lambda: Sequential([Sequential([Input((4,)), layers.ReLU()]), dense()]),
        lambda: Sequential((Input((4,)), dense())),
    ],
    ids=["Input", "InputLayer", "input_shape", "model", "tuple"],
)
def test_the_shape_comes_from_the_first_item(start):
    model = start()
    assert model.built
    assert model.input_shape == (None, 4)
    assert model.output_shape == (None, 3)
    assert model.count_params() == 15


def test_without_a_shape_the_first_data_give_it():
    for use in (
        lambda model: model.predict(X),
        lambda model: model.fit(X, np.zeros((40, 3)), verbose=0),
        lambda model: model.evaluate(X, np.zeros((40, 3))),
        lambda model: model(X),
        lambda model: model.build((None, 4)),
        lambda model: Sequential([Input((4,)), model]),
    ):
        model = Sequential([dense(), layers.Dropout(0.1)])
        model.compile("sgd", "mse")
        assert not model.built
        assert [layer.name.partition("_")[0] for layer in model.layers] == ["dense", "dropout"]
        use(model)
        assert model.built
        assert model.input_shape == (None, 4)
        with refused(ShapeError, "(None, 4)", "(32, 2)"):
            model.predict(X[:, :2])


def test_deferred_building_makes_the_same_network():
    def trained(*start):
        minidl.set_random_seed(3)
        model = Sequential([*start, layers.Dense(5, activation="relu"), layers.Dense(1)])
        model.compile("adam", "mse")
        model.fit(X, Y, epochs=2, verbose=0)
        return model.get_weights()

    assert_same_arrays(trained(), trained(Input((4,))))


def test_float64_can_be_asked_for_without_an_input():
    model = Sequential([layers.Dense(2, dtype="float64"), layers.ReLU()])
    assert model.predict(X).dtype == np.float64


@pytest.mark.parametrize("what", ["summary", "save", "tap", "save_weights", "load_weights"])
def test_what_needs_a_shape_says_so(what, tmp_path):
    model = Sequential([layers.Dense(2)], name="pets")
    with refused(MinidlError, "'pets'", "shape", "build"):
        getattr(model, what)(*([] if what == "summary" else [str(tmp_path / "a.h5")]))
    assert list(tmp_path.iterdir()) == []
    with refused(MinidlError, "'pets'", "shape", "build"):
        _ = model.output_shape
    with refused(MinidlError, "'pets'", "shape", "build"):
        model.backward(X, None)


@pytest.mark.parametrize("model", [Sequential(), Sequential([Input((4,))])])
def test_a_model_without_layers_says_so(model):
    model.compile("sgd", "mse")
    for use in (model.summary, lambda: model.predict(X), lambda: model.fit(X, Y, verbose=0)):
        with refused(MinidlError, "layers"):
            use()


def test_add_and_pop():
    model = Sequential()
    model.add(Input((4,)))
    model.add(layers.Dense(5))
    model.add(layers.Dense(2, name="top"))
    kept = model.layers[0].get_weights()
    assert model.output_shape == (None, 2)
    assert model.pop().name == "top"
    assert model.output_shape == (None, 5)
    model.add(layers.Dense(1))
    assert model.predict(X).shape == (40, 1)
    assert_same_arrays(model.layers[0].get_weights(), kept)
    model.pop()
    model.pop()
    assert not model.built
    with refused(MinidlError, "layers"):
        model.predict(X)
    with refused(MinidlError, "no layer to pop"):
        model.pop()
    model.add(layers.Dense(3))
    assert model.predict(X).shape == (40, 3)


def test_training_goes_on_after_the_head_was_exchanged():
    model = Sequential([Input((4,)), layers.Dense(5), layers.Dense(2)])
    model.compile("adam", "mse")
    model.fit(X, np.zeros((40, 2)), verbose=0)
    model.pop()
    model.add(layers.Dense(1))
    model.compile("adam", "mse")
    model.fit(X, Y, verbose=0)


def test_a_layer_that_does_not_fit_is_not_added():
    model = Sequential([Input((4,)), layers.Dense(5)])
    expected = model.predict(X)
    with refused(ShapeError, "Conv2D", "(N, H, W, C)", "(None, 5)"):
        model.add(layers.Conv2D(3, 3))
    assert_same_arrays([model.predict(X)], [expected])
    model.add(layers.Dense(2))
    assert len(model.layers) == 2


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        (5, ["list", "5"]),
        (layers.Dense(2), ["list", "Dense"]),
        ([layers.Dense], ["layer", "class"]),
        (["dense"], ["layer", "'dense'"]),
        ([Input((3,)), Input((3,)), layers.Dense(2)], ["layer", "InputLayer"]),
        ([None], ["layer", "None"]),
    ],
)
def test_what_is_no_stack_of_layers(argument, words):
    with refused(TypeError, "Sequential", *words):
        Sequential(argument)


def test_a_model_with_two_outputs_does_not_fit_into_a_stack():
    x = Input((4,))
    two = Model(x, [layers.Dense(1)(x), layers.Dense(2)(x)], name="two")
    with refused(TypeError, "'two'", "more than one output"):
        Sequential([two])
    with pytest.raises((TypeError, ShapeError)):
        Sequential([two, layers.Dense(1)])


def test_a_stack_of_stacks_keeps_the_weights_of_its_parts():
    base = Sequential([Input((4,)), layers.Dense(5, activation="relu"), layers.Dense(3)])
    whole = Sequential([base, layers.ReLU()])
    assert_same_arrays([whole.predict(X)], [np.maximum(base.predict(X), 0)])
    base.layers[0].set_weights([np.ones((4, 5)), np.zeros(5)])
    assert_same_arrays([whole.predict(X)], [np.maximum(base.predict(X), 0)])
