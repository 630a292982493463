"""Models from ONNX files: what minidl exported comes back, trains, explains and is saved."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from support.onnx_suite import import_proto, make
from support.tiny import pictures, refused

import minidl
from minidl import Input, Model, Sequential, applications, layers, load_model, out_of_distribution
from minidl.common.errors import FileFormatError
from minidl.evaluation.classifier import class_names, image_size
from minidl.evaluation.explain import grad_cam
from minidl.onnx import read_weights
from minidl.onnx.importing import builder, folding

PREPROCESSING = [
    layers.Rescaling(1 / 127.5, -1),
    layers.ImageNetPreprocessing("caffe"),
    layers.ImageNetPreprocessing("torch"),
]


def small_cnn(preprocessing):
    """Return a fitted classifier of `pictures` with class names and an OOD score."""
    minidl.set_random_seed(0)
    stack = [
        type(preprocessing).from_config(preprocessing.get_config()),
        layers.Conv2D(4, 3, strides=2, padding="same", use_bias=False, name="conv"),
        layers.BatchNormalization(),
        layers.ReLU(),
        layers.DepthwiseConv2D(3, name="depthwise"),
        layers.Flatten(name="features"),
        layers.Dropout(0.3),
        layers.Dense(2, activation="softmax", name="head"),
    ]
    model = Sequential([Input((8, 8, 3)), *stack], name="small")
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    x, y = pictures()
    model.fit(x, y, epochs=2, verbose=0)
    model.metadata["class_names"] = ["cats", "dogs"]
    out_of_distribution.fit(model, x, y, layer="features")
    return model


@pytest.mark.parametrize("preprocessing", PREPROCESSING, ids=lambda layer: type(layer).__name__)
@pytest.mark.parametrize("options", [{}, {"float_input": True}, {"resize": True}], ids=str)
def test_an_exported_classifier_comes_back(tmp_path, preprocessing, options):
    model = small_cnn(preprocessing)
    model.export(tmp_path / "small.onnx", **options)
    again = load_model(tmp_path / "small.onnx")
    x, _ = pictures(seed=1)
    np.testing.assert_allclose(again.predict(x), model.predict(x), atol=1e-6)
    assert (class_names(again), image_size(again)) == (["cats", "dogs"], (8, 8))
    assert again.input_shape == model.input_shape
    scores = [out_of_distribution.predict(m, x)[1] for m in (again, model)]
    np.testing.assert_allclose(*scores, rtol=1e-3)
    assert not {"Permute", "Reshape"} & {type(layer).__name__ for layer in again.layers}


def test_an_imported_model_trains_explains_and_is_saved(tmp_path):
    model = small_cnn(PREPROCESSING[0])
    model.export(tmp_path / "small.onnx")
    again = load_model(tmp_path / "small.onnx")
    x, y = pictures()
    again.compile("adam", "sparse_categorical_crossentropy")
    first, *_, last = again.fit(x, y, epochs=8, verbose=0).history["loss"]
    assert last < first
    assert grad_cam(again, x[:2]).shape == (2, 8, 8)
    again.save(tmp_path / "small.h5")
    np.testing.assert_array_equal(load_model(tmp_path / "small.h5").predict(x), again.predict(x))


def test_a_new_head_on_a_frozen_imported_base(tmp_path):
    small_cnn(PREPROCESSING[0]).export(tmp_path / "small.onnx")
    base = load_model(tmp_path / "small.onnx").tap("depthwise")
    base.trainable = False
    head = layers.Dense(1, activation="sigmoid")
    model = Model(base.input, head(layers.GlobalAveragePooling2D()(base.output)))
    model.compile("adam", "binary_crossentropy")
    kernels = [p.value.copy() for p in base.weights]
    x, y = pictures()
    model.fit(x, y, epochs=3, verbose=0, cache_features=True)
    for parameter, kernel in zip(base.weights, kernels, strict=True):
        np.testing.assert_array_equal(parameter.value, kernel)


def test_weights_of_a_file_fit_a_model_of_the_same_layers(tmp_path):
    def build():
        stack = [layers.Conv2D(4, 3, name="conv"), layers.Flatten(), layers.Dense(3, name="head")]
        return Sequential([Input((6, 6, 3)), *stack])

    model, twin = build(), build()
    model.export(tmp_path / "a.onnx")
    twin.load_weights(tmp_path / "a.onnx")
    for ours, theirs in zip(twin.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert read_weights(tmp_path / "a.onnx").dialect == "ONNX"


def test_an_imported_resnet_has_the_plan_of_the_built_in_one(tmp_path):
    model = applications.ResNet50(weights=None, classes=10, input_shape=(64, 64, 3))
    model.export(tmp_path / "resnet.onnx")
    again = load_model(tmp_path / "resnet.onnx")

    def steps(network):
        """Return algorithm, output and number of multiply-adds of each step before the softmax."""
        table = network.plan_summary(print_fn=None).splitlines()[3:]
        rows = [re.split(r" {2,}", line.strip())[1:] for line in table if "x" in line]
        return [[row[0], row[1], row[3:]] for row in rows if row[1:] and row[1].count("x") == 3]

    assert steps(again) == steps(model)
    assert len(steps(model)) > 50


def test_a_model_with_several_inputs_and_outputs(tmp_path):
    a, b = Input((4,), name="a"), Input((4,), name="b")
    y = layers.Dense(3, name="sum")(layers.Add()([a, b]))
    model = Model([a, b], [y, layers.Dense(2, name="other")(y)])
    model.export(tmp_path / "two.onnx")
    again = load_model(tmp_path / "two.onnx")
    xs = [np.ones((2, 4)), 2 * np.ones((2, 4))]
    for ours, theirs in zip(again.predict(xs), model.predict(xs), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_class_names_of_another_form_are_left_out():
    for text in ("cats", '["one"]', "[1, 2]", "{", "[" * 100_000):
        model = make([helper.make_node("Relu", ["x"], ["y"])], {"x": ["N", 3]}, {"y": None})
        helper.set_model_props(model, {"class_names": text, "image_size": "[0, 5]"})
        assert import_proto(model).metadata == {}


# ------------------------------------------------------------------------------- refusals


def relu(**options):
    return helper.make_node("Relu", ["x"], ["y"], name="act", **options)


def external():
    tensor = numpy_helper.from_array(np.ones(3, np.float32), "w")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    tensor.ClearField("raw_data")
    model = make([helper.make_node("Mul", ["x", "w"], ["y"])], {"x": ["N", 3]}, {"y": None})
    model.graph.initializer.append(tensor)
    return model


def with_node(node, **inputs):
    return make([node], inputs or {"x": ["N", 3]}, {"y": None})


def of_type(kind):
    model = with_node(relu())
    model.graph.input[0].type.tensor_type.elem_type = kind
    return model


BRANCH = helper.make_graph([], "branch", [], [])
REFUSED = {
    "external data": (external, "in this file, not in another one"),
    "a subgraph": (
        lambda: with_node(helper.make_node("If", ["x"], ["y"], name="choice", then_branch=BRANCH)),
        "If 'choice': .*contain graphs",
    ),
    "a custom domain": (
        lambda: with_node(helper.make_node("Relu", ["x"], ["y"], name="own", domain="com.my")),
        "Relu 'own': .*domain 'com.my'",
    ),
    "an unknown operator": (
        lambda: with_node(helper.make_node("Einsum", ["x"], ["y"], name="sum", equation="ij->ji")),
        "Einsum 'sum': minidl does not have this operator",
    ),
    "an unknown attribute": (lambda: with_node(relu(slope=0.5)), "attribute 'slope'"),
    "integers": (lambda: of_type(TensorProto.INT32), "input 'x': expected a tensor of floating"),
    "text": (lambda: of_type(TensorProto.STRING), "input 'x': expected a tensor of floating"),
    "a missing value": (
        lambda: with_node(helper.make_node("Add", ["x", "none"], ["y"], name="sum")),
        "Add 'sum': no node before it computes its input 'none'",
    ),
    "a cycle": (
        lambda: make(
            [helper.make_node("Add", ["x", "y"], ["a"]), helper.make_node("Relu", ["a"], ["y"])],
            {"x": ["N", 3]},
            {"y": None},
        ),
        "no node before it computes",
    ),
    "a huge filled constant": (
        lambda: make(
            [
                helper.make_node("ConstantOfShape", ["s"], ["w"]),
                helper.make_node("Add", ["x", "w"], ["y"]),
            ],
            {"x": ["N", 3]},
            {"y": None},
            {"s": np.array([2**40])},
        ),
        "at most",
    ),
    "no output": (lambda: make([relu()], {"x": ["N", 3]}, {}), "no input or no output"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_imported_is_refused_by_name(kind):
    build, words = REFUSED[kind]
    with pytest.raises(FileFormatError, match=words):
        import_proto(build())


def test_other_files_are_refused(tmp_path):
    for content in (b"", b"not protobuf at all", bytes(100), b"\x08\x08"):
        path = tmp_path / "a.onnx"
        path.write_bytes(content)
        with refused(FileFormatError, str(path)):
            load_model(path)
    with refused(FileNotFoundError, "none.onnx"):
        load_model(tmp_path / "none.onnx")


# ------------------------------------------------------------------------------- fuzzing


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    path = tmp_path_factory.mktemp("fuzz") / "small.onnx"
    small_cnn(PREPROCESSING[1]).export(path)
    return path.read_bytes()


def load_damaged(folder, content, monkeypatch):
    """Load a file; anything but a model or a FileFormatError fails the test."""
    monkeypatch.setattr(builder, "MAX_PARAMETERS", 10**6)
    monkeypatch.setattr(folding, "MAX_CONSTANT", 10**6)
    path = folder / "damaged.onnx"
    path.write_bytes(content)
    problem = str(path)
    try:
        load_model(path)
    except FileFormatError as error:
        problem = str(error)
    assert problem.startswith(str(path))


@given(data=st.data())
def test_raw_mutations_raise_only_our_error(tmp_path_factory, exported, data):
    content = bytearray(exported)
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(content) - 1))
        content[position] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.sampled_from([len(content)] * 3 + [len(content) // 2]))]
    with pytest.MonkeyPatch.context() as patch:
        load_damaged(tmp_path_factory.getbasetemp(), bytes(content), patch)


@given(data=st.data())
def test_mutations_of_the_graph_raise_only_our_error(tmp_path_factory, exported, data):
    import onnx

    model = onnx.load_from_string(exported)
    for _ in range(data.draw(st.integers(1, 3))):
        mutate(data.draw, model.graph)
    with pytest.MonkeyPatch.context() as patch:
        load_damaged(tmp_path_factory.getbasetemp(), model.SerializeToString(), patch)


NUMBERS = st.sampled_from([-(2**63), -7, -1, 0, 1, 2, 3, 5, 2**31, 2**62])
OPERATORS = st.sampled_from(
    ["Conv", "Reshape", "Transpose", "Gemm", "MatMul", "Concat", "Mul", "Pad", "Gather", "Slice"]
    + ["Softmax", "MaxPool", "AveragePool", "Squeeze", "Unsqueeze", "Flatten", "PRelu", "Clip"]
    + ["ReduceMean", "BatchNormalization", "ConstantOfShape", "Shape", "LRN", "Cast", "Sum"]
)
MUTATIONS = ["type", "input", "output", "attribute", "shape", "tensor", "drop"]


def mutate(draw, graph):
    """Change one field of one message of the graph."""
    node = draw(st.sampled_from(list(graph.node)))
    names = [name for other in graph.node for name in (*other.input, *other.output)] or ["x"]
    kind = draw(
        st.sampled_from(["type", "input", "output", "attribute", "shape", "tensor", "drop"])
    )
    if kind == "type":
        node.op_type = draw(OPERATORS)
    elif kind == "input" and node.input:
        node.input[draw(st.integers(0, len(node.input) - 1))] = draw(st.sampled_from(names))
    elif kind == "output":
        node.output[0] = draw(st.sampled_from(names))
    elif kind == "attribute":
        name = draw(st.sampled_from(["axis", "pads", "strides", "perm", "group", "axes", "alpha"]))
        kept = [item for item in node.attribute if item.name != name]
        del node.attribute[:]
        node.attribute.extend(kept)
        value = draw(NUMBERS | st.lists(NUMBERS, max_size=5) | st.floats())
        if value != []:
            node.attribute.append(helper.make_attribute(name, value))
    elif kind == "shape":
        dims = graph.input[0].type.tensor_type.shape.dim
        dims[draw(st.integers(0, len(dims) - 1))].dim_value = draw(NUMBERS)
    elif kind == "tensor" and graph.initializer:
        tensor = draw(st.sampled_from(list(graph.initializer)))
        if tensor.dims:
            tensor.dims[draw(st.integers(0, len(tensor.dims) - 1))] = draw(NUMBERS)
    elif kind == "drop":
        graph.node.remove(node)
