"""Operations in configurations of Keras 2 and 3: which become layers, and which are left alone."""

import pytest

from minidl.formats.keras.operations import as_layer

X = {"class_name": "__keras_tensor__", "config": {"keras_history": ["x", 0, 0]}}
Y = {"class_name": "__keras_tensor__", "config": {"keras_history": ["y", 0, 0]}}


def keras_3(kind, *arguments, module="keras.src.ops.numpy", **kwargs):
    nodes = [{"args": list(arguments), "kwargs": kwargs}]
    return {
        "class_name": kind,
        "module": module,
        "name": "op",
        "config": {"name": "op"},
        "inbound_nodes": nodes,
    }


def keras_2(function, arguments, source=("x", 0, 0)):
    return {
        "class_name": "TFOpLambda",
        "name": "op",
        "config": {"name": "op", "trainable": True, "function": function},
        "inbound_nodes": [[*source, arguments]],
    }


@pytest.mark.parametrize(
    ("item", "scale", "offset"),
    [
        (keras_3("Add", X, 3.0), 1, 3),
        (keras_3("Add", 3, X), 1, 3),
        (keras_3("Multiply", X, 0.5), 0.5, 0),
        (keras_3("Multiply", X, 0.5, module=None), 0.5, 0),  # in HDF5
    ],
)
def test_a_number_in_keras_3(item, scale, offset):
    layer = as_layer(item)
    assert layer["class_name"] == "Rescaling"
    assert layer["config"] == {"name": "op", "scale": scale, "offset": offset}
    assert layer["inbound_nodes"] == [{"args": [X], "kwargs": {}}]


@pytest.mark.parametrize(
    ("item", "scale", "offset"),
    [
        (keras_2("__operators__.add", {"y": 3.0, "name": None}), 1, 3),
        (keras_2("math.add", {"y": 3}), 1, 3),
        (keras_2("math.multiply", {"y": 0.5, "name": None}), 0.5, 0),
    ],
)
def test_a_number_in_keras_2(item, scale, offset):
    layer = as_layer(item)
    assert layer["class_name"] == "Rescaling"
    assert layer["config"] == {"name": "op", "scale": scale, "offset": offset}
    assert layer["inbound_nodes"] == [[["x", 0, 0]]]


@pytest.mark.parametrize("kind", ["Add", "Multiply"])
def test_two_tensors_are_an_ordinary_layer(kind):
    layer = as_layer(keras_3(kind, X, Y))
    assert layer["module"] == "keras.layers"
    assert layer["inbound_nodes"] == [{"args": [[X, Y]], "kwargs": {}}]


@pytest.mark.parametrize(
    "item",
    [
        keras_3("Subtract", X, 3.0),
        keras_3("Add", X, True),
        keras_3("Add", 1.0, 2.0),
        keras_3("Add", X),
        keras_3("Add", X, 3.0, dtype="float16"),
        keras_3("Add", [X, Y], module="keras.layers"),
        keras_2("math.subtract", {"y": 3.0}),
        keras_2("math.multiply", {"y": ["y", 0, 0]}),
        keras_2("math.multiply", {"y": 3.0, "axis": 1}),
        keras_2("math.multiply", {}),
        {**keras_2("math.add", {"y": 3.0}), "config": None},
        {**keras_2("math.add", {"y": 3.0}), "inbound_nodes": [[], []]},
        {**keras_3("Add", X, 3.0), "inbound_nodes": None},
        {"class_name": "Dense", "config": {}},
    ],
)
def test_everything_else_is_left_alone(item):
    assert as_layer(item) is item
