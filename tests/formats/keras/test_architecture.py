"""A Keras configuration, of whichever generation, becomes the same network, or is refused."""

import copy
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.tiny import assert_same_arrays, refused

import minidl
from minidl import Input, Model, Sequential, layers
from minidl.common.errors import FileFormatError
from minidl.formats.keras.architecture import rebuild_keras

# One network: a stem, a shared convolution called twice, a sum, and a classifier.
KINDS = {
    "stem": ("Conv2D", {"filters": 4, "kernel_size": [3, 3], "strides": [2, 2], "padding": "same"}),
    "norm": ("BatchNormalization", {"axis": -1, "epsilon": 0.01, "scale": False}),
    "twice": ("Conv2D", {"filters": 4, "kernel_size": [1, 1], "activation": "tanh"}),
    "sum": ("Add", {}),
    "side": ("Concatenate", {"axis": -1}),
    "mean": ("GlobalAveragePooling2D", {"data_format": "channels_last"}),
    "head": ("Dense", {"units": 2, "activation": "softmax"}),
}
EDGES = {  # for each call: what it reads
    "stem": [[("image", 0)]],
    "norm": [[("stem", 0)]],
    "twice": [[("norm", 0)], [("twice", 0)]],
    "sum": [[("twice", 1), ("norm", 0)]],
    "side": [[("sum", 0), ("stem", 0)]],
    "mean": [[("side", 0)]],
    "head": [[("mean", 0)]],
}


def expected_network():
    x = Input((6, 6, 3), name="image")
    stem = layers.Conv2D(4, 3, strides=2, padding="same", name="stem")(x)
    norm = layers.BatchNormalization(epsilon=0.01, scale=False, name="norm")(stem)
    twice = layers.Conv2D(4, 1, activation="tanh", name="twice")
    y = layers.Add(name="sum")([twice(twice(norm)), norm])
    y = layers.Concatenate(name="side")([y, stem])
    y = layers.GlobalAveragePooling2D(name="mean")(y)
    return Model(x, layers.Dense(2, activation="softmax", name="head")(y))


def keras_1():
    changed = {
        "stem": (
            "Convolution2D",
            {"nb_filter": 4, "nb_row": 3, "nb_col": 3, "subsample": [2, 2], "init": "uniform",
             "border_mode": "same", "dim_ordering": "tf", "bias": True, "W_regularizer": None},
        ),
        "norm": ("BatchNormalization", {"mode": 0, "axis": 3, "epsilon": 0.01, "scale": False}),
        "twice": (
            "Convolution2D",
            {"nb_filter": 4, "nb_row": 1, "nb_col": 1, "activation": "tanh", "dim_ordering": "tf"},
        ),
        "sum": ("Merge", {"mode": "sum", "concat_axis": -1, "mode_type": "raw"}),
        "side": ("Merge", {"mode": "concat", "concat_axis": -1, "mode_type": "raw"}),
        "head": ("Dense", {"output_dim": 2, "activation": "softmax", "input_dim": None}),
    }  # fmt: skip
    image = {"batch_input_shape": [None, 6, 6, 3], "input_dtype": "float32", "name": "image"}
    return functional("Model", image, KINDS | changed, lambda node: [[*edge, 0] for edge in node])


def keras_2():
    image = {"batch_input_shape": [None, 6, 6, 3], "dtype": "float32", "sparse": False}
    kinds = copy.deepcopy(KINDS)
    kinds["norm"][1]["axis"] = {"class_name": "ListWrapper", "config": [3]}
    initializer = {"class_name": "GlorotUniform", "config": {"seed": None}}
    kinds["stem"][1].update(kernel_initializer=initializer, kernel_regularizer={"class_name": "L2"})
    return functional(
        "Functional", image, kinds, lambda node: [[*edge, 0, {}] for edge in node], dtype="float32"
    )


def keras_3():
    def inbound(node):
        tensors = [
            {"class_name": "__keras_tensor__", "config": {"keras_history": [*edge, 0]}}
            for edge in node
        ]
        return {"args": tensors if len(node) == 1 else [tensors], "kwargs": {"mask": None}}

    image = {"batch_shape": [None, 6, 6, 3], "dtype": "float32", "optional": False}
    policy = {"module": "keras", "class_name": "DTypePolicy", "config": {"name": "float32"}}
    config = functional("Functional", image, KINDS, inbound, dtype=policy, trainable=True)
    config["config"].update(input_layers=["image", 0, 0], output_layers=["head", 0, 0])
    for item in config["config"]["layers"]:
        item.update(module="keras.layers", registered_name=None, build_config={"input_shape": []})
    return config


def functional(class_name, image, kinds, inbound, **extra):
    """Write the network down; `inbound` writes one call."""
    items = [
        {"class_name": "InputLayer", "name": "image", "config": image, "inbound_nodes": []},
        *(
            {
                "class_name": kind,
                "name": name,
                "config": {"name": name, **extra, **config},
                "inbound_nodes": [inbound(node) for node in EDGES[name]],
            }
            for name, (kind, config) in copy.deepcopy(kinds).items()
        ),
    ]
    ends = {"input_layers": [["image", 0, 0]], "output_layers": [["head", 0, 0]]}
    return {"class_name": class_name, "config": {"name": "net", "layers": items, **ends}}


def rebuilt(config):
    inputs, outputs, name, _ = rebuild_keras(config, "a.h5")
    return Model(inputs, outputs, name=name)


def chain(*items, **extra):
    """A Sequential of Keras 2 or 3."""
    described = [{"class_name": kind, "config": dict(config)} for kind, config in items]
    return {"class_name": "Sequential", "config": {"name": "net", "layers": described, **extra}}


DENSE = ("Dense", {"name": "head", "units": 2})
START = ("InputLayer", {"batch_input_shape": [None, 3], "dtype": "float32", "name": "x"})


@pytest.mark.parametrize("write", [keras_1, keras_2, keras_3])
@pytest.mark.parametrize("backwards", [False, True])
def test_every_generation_gives_the_same_network(write, backwards):
    config = json.loads(json.dumps(write()))
    if backwards:  # nothing promises that the layers of a file are sorted
        config["config"]["layers"].reverse()
    ours, network = expected_network(), rebuilt(config)
    assert [layer.name for layer in network.layers] == [layer.name for layer in ours.layers]
    network.set_weights(ours.get_weights())
    x = np.random.default_rng(0).normal(size=(2, 6, 6, 3))
    assert_same_arrays([network.predict(x)], [ours.predict(x)])
    assert network.name == "net"


@pytest.mark.parametrize(
    "config",
    [
        chain(START, DENSE),
        chain(("Dense", {"name": "head", "units": 2, "batch_input_shape": [None, 3]})),
        chain(("Dense", {"name": "head", "output_dim": 2, "input_dim": 3})),
        chain(DENSE, build_input_shape=[None, 3]),
        {**chain(DENSE), "build_config": {"input_shape": [None, 3]}},
        {"class_name": "Sequential", "config": chain(START, DENSE)["config"]["layers"]},
    ],
)
def test_a_sequential_tells_its_input_in_many_ways(config):
    inputs, outputs, name, class_name = rebuild_keras(config, "a.h5")
    assert (inputs.shape, outputs.shape, class_name) == ((None, 3), (None, 2), "Sequential")
    assert Model(inputs, outputs).layers[1].name == "head"
    assert name == ("net" if isinstance(config["config"], dict) else "sequential")


def test_a_sequential_that_never_saw_data_is_refused():
    with refused(FileFormatError, "a.h5", "shape of the model's input"):
        rebuild_keras(chain(DENSE), "a.h5")


@pytest.mark.parametrize("start", [[], [("InputLayer", {"batch_shape": [None, 6, 6, 3]})]])
def test_a_model_within_the_model_is_inlined(start):
    base = keras_3()
    base["config"]["name"] = "base"
    config = chain(*start, DENSE)
    config["config"]["layers"].insert(len(start), base)
    config["config"]["layers"][-1]["config"]["name"] = "top"
    network = rebuilt(config)
    assert network.get_layer("base").output_shape == (None, 2)
    assert [layer.name for layer in network.layers][1:] == [*KINDS, "top"]
    assert network.output_shape == (None, 2)


def test_a_base_of_another_session_may_have_the_names_of_the_head():
    base = chain(START, ("Dense", {"name": "dense", "units": 4}), ("ReLU", {"name": "re_lu"}))
    base["config"]["name"] = "base"
    config = chain(("Dense", {"name": "dense", "units": 5}), ("ReLU", {"name": "re_lu"}))
    config["config"]["layers"].insert(0, base)
    network = rebuilt(config)
    assert [layer.units for layer in network.layers if isinstance(layer, layers.Dense)] == [4, 5]
    assert len({layer.name for layer in network.layers}) == 5
    assert network.layers[1].name == "dense"


def test_two_layers_of_one_name_given_by_the_author_are_refused():
    config = chain(START, DENSE)
    config["config"]["layers"].append(chain(DENSE, build_input_shape=[None, 2]))
    with refused(FileFormatError, "a.h5", "'head'"):
        rebuild_keras(config, "a.h5")


def test_several_inputs_and_outputs():
    tensor = {"class_name": "__keras_tensor__", "config": {"keras_history": ["a", 0, 0]}}
    items = [
        {"class_name": "InputLayer", "name": name, "config": {"batch_shape": [None, n]}}
        for name, n in (("a", 3), ("b", 4))
    ]
    calls = [{"args": [tensor], "kwargs": {}}]
    head = {"class_name": "Dense", "name": "head", "config": DENSE[1], "inbound_nodes": calls}
    ends = {
        "input_layers": [["b", 0, 0], ["a", 0, 0]],
        "output_layers": [["head", 0, 0], ["b", 0, 0]],
    }
    network = rebuilt({"class_name": "Functional", "config": {"layers": [*items, head], **ends}})
    assert network.input_shape == [(None, 4), (None, 3)]
    assert network.output_shape == [(None, 2), (None, 4)]


# Single layers


@pytest.mark.parametrize(
    ("kind", "config", "words"),
    [
        ("Lambda", {"function": ["4wEAAAAA", None, None]}, ["Lambda", "contains code"]),
        ("TFOpLambda", {"function": "__operators__.add"}, ["TFOpLambda", "contains code"]),
        ("LSTM", {"units": 3}, ["'LSTM'"]),
        ("Layer", {}, ["'Layer'"]),
        ("Parameter", {}, ["'Parameter'"]),
        ("ImageNetPreprocessing", {"mode": "tf"}, ["'ImageNetPreprocessing'"]),
        ("__init__", {}, ["'__init__'"]),
        ("Input", {}, ["'Input'"]),
        ("Merge", {"mode": "mul"}, ["'mul'", "concat"]),
        ("Dense", {"units": 2, "dtype": {"config": {"name": "mixed_float16"}}}, ["mixed_float16"]),
        ("Dense", {"units": 2, "dtype": "bfloat16"}, ["bfloat16"]),
        ("Dense", {"units": 2, "quantization_config": {"mode": "int8"}}, ["quantization_config"]),
        ("Dense", {"units": 2, "lora_rank": 4}, ["lora_rank"]),
        ("Dense", {"units": -2}, ["units", "-2"]),
        ("Dense", {}, ["units"]),
        ("Dense", {"units": 2, "activation": "selu"}, ["'selu'"]),
        ("Dense", {"units": 2, "activation": {"config": "mine"}}, ["'mine'"]),
        ("Flatten", {"data_format": "channels_first"}, ["channels_first"]),
        ("BatchNormalization", {"axis": 1}, ["axis"]),
        ("BatchNormalization", {"renorm": True}, ["renorm"]),
        ("GlobalMaxPooling2D", {"dim_ordering": "th"}, ["channels_first"]),
        ("Softmax", {"axis": 1}, ["axis"]),
        ("MaxPooling2D", {"padding": "causal"}, ["causal"]),
    ],
)
def test_what_minidl_does_not_have_is_refused_by_name(kind, config, words):
    start = ("InputLayer", {"batch_shape": [None, 6, 6, 3]})
    with refused(FileFormatError, "a.h5", "'odd'", *words):
        rebuild_keras(chain(start, (kind, {"name": "odd", **config})), "a.h5")


# Calls

TENSOR = {"class_name": "__keras_tensor__", "config": {"keras_history": ["x", 0, 0]}}


def one_call(kind, node, module="keras.layers", registered_name=None):
    start = {"class_name": "InputLayer", "name": "x", "config": {"batch_shape": [None, 3]}}
    layer = {
        "class_name": kind,
        "module": module,
        "name": "odd",
        "config": {"name": "odd", **({"units": 2} if kind == "Dense" else {})},
        "registered_name": registered_name,
        "inbound_nodes": [node],
    }
    ends = {"input_layers": ["x", 0, 0], "output_layers": ["odd", 0, 0]}
    return {"class_name": "Functional", "config": {"layers": [start, layer], **ends}}


@pytest.mark.parametrize(
    "node",
    [
        {"args": [TENSOR], "kwargs": {"training": True}},  # Keras 3 does not heed it either
        {"args": [TENSOR], "kwargs": {"training": None, "mask": None}},
        {"args": [], "kwargs": {"inputs": TENSOR}},
        [["x", 0, 0]],
        ["x", 0, 0],
        [["x", 0, 0, {"training": False, "mask": None}]],
    ],
)
def test_calls_that_mean_the_plain_thing(node):
    assert rebuilt(one_call("Dense", node)).output_shape == (None, 2)


@pytest.mark.parametrize(
    ("kind", "node", "options", "words"),
    [
        ("Concatenate", {"args": [TENSOR, TENSOR]}, {}, ["one argument, received 2"]),
        (
            "Subtract",
            {"args": [TENSOR, TENSOR]},
            {"module": "keras.src.ops.numpy"},
            ["operation 'Subtract'"],
        ),
        ("Dense", {"args": [TENSOR]}, {"module": "mine.models"}, ["'Dense' of 'mine.models'"]),
        ("Dense", {"args": [TENSOR]}, {"registered_name": "mine>Dense"}, ["'Dense'"]),
        ("Dense", {"args": [TENSOR], "kwargs": {"mask": TENSOR}}, {}, ["mask"]),
        ("Dense", {"args": [3]}, {}, ["output of a layer"]),
        ("Add", {"args": [[TENSOR, 1.0]]}, {}, ["output of a layer"]),
        ("Dense", [["x", 0, 0, {"training": True}]], {}, ["training"]),
        ("Dense", [["x", 0, 1]], {}, ["output 1 of 'x'"]),
        ("Dense", [["y", 0, 0]], {}, ["'y'", "missing"]),
        ("Dense", [["x", 1, 0]], {}, ["'x'", "missing"]),
        ("Dense", [["odd", 0, 0]], {}, ["its own output"]),
        ("Dense", [], {}, ["'odd'"]),
        ("Dense", [["x", 0, 0], ["x", 0, 0]], {}, ["'odd'"]),
    ],
)
def test_calls_that_minidl_cannot_do_are_refused(kind, node, options, words):
    with refused(FileFormatError, "a.h5", *words):
        rebuild_keras(one_call(kind, node, **options), "a.h5")


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"class_name": "MyModel", "config": {"name": "a"}}, ["'MyModel'", "weights only"]),
        ({"config": {}}, ["class_name"]),
        ({"class_name": "Functional", "config": None}, ["'Functional'"]),
        (chain(), ["no layers"]),
        (chain(("InputLayer", {"name": "x"}), DENSE), ["'x'", "shape"]),
        (chain(("InputLayer", {"batch_shape": [None, 3], "dtype": "string"}), DENSE), ["string"]),
        (chain(("InputLayer", {"batch_shape": [None, 0]}), DENSE), ["0"]),
        (chain(("InputLayer", {"batch_shape": [None, "three"]}), DENSE), ["a.h5"]),
    ],
)
def test_what_is_no_model_is_refused(config, words):
    with refused(FileFormatError, "a.h5", *words):
        rebuild_keras(config, "a.h5")


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        ("Dense", {"units": 2 * 10**9}),
        ("Conv2D", {"filters": 10**6, "kernel_size": 1000, "padding": "same"}),
        ("DepthwiseConv2D", {"kernel_size": 10**4, "depth_multiplier": 10, "padding": "same"}),
    ],
)
def test_absurdly_large_layers_are_refused_before_memory_is_asked_for(kind, config):
    start = ("InputLayer", {"batch_shape": [None, None, None, 3]})
    with refused(FileFormatError, "a.h5", "'huge'", "more parameters"):
        rebuild_keras(chain(start, (kind, {"name": "huge", **config})), "a.h5")


def test_a_model_may_have_as_many_parameters_as_its_file():
    rebuild_keras(chain(START, DENSE), "a.h5", max_parameters=8)
    with refused(FileFormatError, "'head'", "more parameters"):
        rebuild_keras(chain(START, DENSE), "a.h5", max_parameters=7)


def test_models_nested_without_end_are_refused():
    config = chain(START, DENSE)
    for _ in range(200):
        config = {"class_name": "Sequential", "config": {"name": "a", "layers": [config]}}
    with refused(FileFormatError, "32 levels"):
        rebuild_keras(config, "a.h5")


def test_models_inside_are_of_the_class_that_is_asked_for():
    inner = chain(START, DENSE)
    outer = {"class_name": "Sequential", "config": {"name": "outer", "layers": [inner]}}
    inputs, outputs, *_ = rebuild_keras(outer, "a.h5", model_class=minidl.Model)
    assert isinstance(Sequential([inputs, Model(inputs, outputs)]), Model)
    assert type(Model(inputs, outputs).get_layer("net")) is Model


@given(data=st.data())
def test_damaged_configurations_never_crash(data):
    """A value of the configuration is replaced by another: a network, or one clear error."""
    config = data.draw(st.sampled_from([keras_1, keras_2, keras_3]))()
    place, key = config, "config"
    while isinstance(place[key], (dict, list)) and place[key] and data.draw(st.integers(0, 5)):
        place = place[key]
        keys = sorted(place) if isinstance(place, dict) else range(len(place))
        key = data.draw(st.sampled_from(keys))
    odd = [None, "stem", "", -1, 2.5, True, [], {}, [[]], [None], {"class_name": 3}, 10**40, "a/b"]
    place[key] = data.draw(st.sampled_from(odd))
    try:
        inputs, outputs, *_ = rebuild_keras(config, "a.h5")
    except FileFormatError as error:
        assert "a.h5" in str(error)  # noqa: PT017
        assert "\n" not in str(error)  # noqa: PT017
    else:
        Model(inputs, outputs)
