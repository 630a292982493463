"""A saved model is the same model: whatever its layers and its graph, it predicts the same bits."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.layer_cases import CASES
from support.tiny import (
    assert_same_arrays,
    assert_same_training,
    blobs,
    classifier,
    picture_net,
    pictures,
    refused,
    two_by_two,
)

import minidl
from minidl import Input, Model, Sequential, layers, losses, metrics, optimizers
from minidl.common.errors import FileFormatError
from minidl.formats.architecture import describe, rebuild
from minidl.layers.initializers import Initializer
from minidl.layers.regularizers import L2, Regularizer
from minidl.optimizers.schedules import CosineDecay, LearningRateSchedule

X, Y = blobs()


def saved_and_loaded(model, folder, **arguments):
    path = folder / "model.h5"
    model.save(path)
    return minidl.load_model(path, **arguments)


def listed(x):
    return x if isinstance(x, list) else [x]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


@pytest.mark.parametrize(
    "cls", [cls for cls in CASES if cls is not layers.InputLayer], ids=lambda cls: cls.__name__
)
@settings(max_examples=3)
@given(data=st.data(), dtype=st.sampled_from(["float32", "float64"]))
def test_every_layer_comes_back(folder, cls, data, dtype):
    layer, x = data.draw(CASES[cls])
    x = [np.ascontiguousarray(part, dtype) for part in listed(x)]
    layer.dtype = None  # that of the input
    inputs = [Input(part.shape[1:], dtype=dtype) for part in x]
    model = Model(inputs, layer(layer.as_input(inputs)))
    loaded = saved_and_loaded(model, folder)
    assert_same_arrays([loaded.predict(x)], [model.predict(x)])
    assert describe(loaded) == describe(model)
    assert_same_arrays(loaded.get_weights(), model.get_weights())


def test_there_is_a_case_for_every_layer():
    public = {getattr(layers, name) for name in layers.__all__}
    made = {cls for cls in public if isinstance(cls, type) and issubclass(cls, layers.Layer)}
    assert made - {layers.Layer} == set(CASES)


def branching(name="branching"):
    """Return a model with a branch, a shared layer, two inputs and three outputs, one an inner."""
    a, b = Input((4,), name="left"), Input((4,), name="right")
    shared = layers.Dense(4, activation="tanh", name="shared")
    p, q = shared(a), shared(shared(b))
    both = layers.Concatenate()([p, layers.Add()([q, a])])
    top = layers.Dense(2, name="top")(both)
    return Model([b, a], [top, q, b], name=name)


def test_branches_shared_layers_and_several_outputs(folder):
    model = branching()
    loaded = saved_and_loaded(model, folder)
    assert type(loaded) is Model
    assert loaded.name == "branching"
    assert loaded.count_params() == model.count_params()
    x = [X, X[::-1]]
    assert_same_arrays(loaded.predict(x), model.predict(x))
    assert [layer.name for layer in loaded.layers] == [layer.name for layer in model.layers]


def test_a_stack_stays_a_stack(folder):
    loaded = saved_and_loaded(classifier(layers.Dropout(0.1)), folder)
    assert type(loaded) is Sequential
    assert loaded.pop().name == "dense_1"
    loaded.add(layers.Dense(3))
    assert loaded.predict(X).shape == (40, 3)


def test_a_stack_upon_a_branching_model(folder):
    x = Input((4,))
    base = Model(x, layers.Add()([layers.Dense(4)(x), x]), name="base")
    model = Sequential([base, layers.Dense(1)], name="whole")
    loaded = saved_and_loaded(model, folder)
    assert type(loaded) is Sequential
    assert loaded.name == "whole"
    assert_same_arrays([loaded.predict(X)], [model.predict(X)])
    loaded.get_layer("dense").trainable = False
    assert len(loaded.trainable_weights) == 2
    loaded.add(layers.ReLU())
    assert_same_arrays([loaded.predict(X)], [np.maximum(model.predict(X), 0)])


def test_a_model_after_pop_and_in_another_model(folder):
    model = classifier(layers.Dense(3))
    model.pop()
    assert_same_arrays([saved_and_loaded(model, folder).predict(X)], [model.predict(X)])
    outer = Sequential([saved_and_loaded(model, folder), layers.Dense(2)])
    again = saved_and_loaded(outer, folder)
    assert_same_arrays([again.predict(X)], [outer.predict(X)])


def test_a_tapped_model(folder):
    tapped = branching().tap("shared")
    loaded = saved_and_loaded(tapped, folder)
    x = [X, X[::-1]]
    assert_same_arrays(listed(loaded.predict(x)), listed(tapped.predict(x)))


def test_a_size_that_may_vary(folder):
    x = Input((None, None, 3))
    model = Model(x, layers.GlobalAveragePooling2D()(layers.Conv2D(2, 3)(x)))
    loaded = saved_and_loaded(model, folder)
    for size in (5, 9):
        images, _ = pictures(4, size)
        assert_same_arrays([loaded.predict(images)], [model.predict(images)])


def test_frozen_layers_and_multipliers_come_back(folder):
    model = classifier(layers.Dense(3, name="slow", learning_rate_multiplier=0.1))
    model.layers[0].trainable = False
    loaded = saved_and_loaded(model, folder)
    assert [layer.trainable for layer in loaded.layers] == [False, True, True]
    assert loaded.get_layer("slow").learning_rate_multiplier == 0.1


def test_metadata_comes_back(folder):
    model = classifier()
    model.metadata = {"class_names": ["cat", "dog"], "size": np.int64(96), "mean": np.ones(2)}
    loaded = saved_and_loaded(model, folder)
    mean = loaded.metadata.pop("mean")
    assert loaded.metadata == {"class_names": ["cat", "dog"], "size": 96}
    np.testing.assert_array_equal(mean, [1.0, 1.0], strict=True)


@pytest.mark.parametrize(
    "optimizer",
    [
        optimizers.SGD(0.1, momentum=0.9, nesterov=True),
        optimizers.RMSprop(0.01, momentum=0.5, centered=True),
        optimizers.Adam(CosineDecay(0.1, 10), amsgrad=True, clipnorm=1.0),
        optimizers.AdamW(0.01, weight_decay=0.1, exclude_from_weight_decay=["bias"]),
    ],
    ids=lambda optimizer: optimizer.name,
)
def test_a_compiled_model_trains_on_as_if_nothing_had_happened(optimizer, folder):
    model = picture_net()
    model.compile(
        optimizer,
        losses.BinaryCrossentropy(label_smoothing=0.1),
        metrics=["accuracy", metrics.Precision(0.4), losses.MeanSquaredError()],
    )
    x, y = pictures()
    model.fit(x, y, epochs=2, verbose=0)
    loaded = saved_and_loaded(model, folder)
    assert loaded.evaluate(x, y, return_dict=True) == model.evaluate(x, y, return_dict=True)
    assert loaded.train_on_batch(x, y) == model.train_on_batch(x, y)
    assert_same_training(loaded, model)
    assert minidl.load_model(folder / "model.h5", compile=False).trainer is None


def test_several_outputs_stay_compiled(folder):
    model = two_by_two()
    model.compile(
        "adam",
        ["mse", "sparse_categorical_crossentropy"],
        metrics=[[], ["accuracy"]],
        loss_weights=[0.3, 0.7],
    )
    data = [X, X[:, :2]], [Y, Y]
    model.fit(*data, verbose=0)
    loaded = saved_and_loaded(model, folder)
    assert loaded.evaluate(*data, return_dict=True) == model.evaluate(*data, return_dict=True)


# Classes of one's own


class Scale(layers.Layer):
    def __init__(self, factor=2.0, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def build(self, input_shape):
        self.gain = self.add_weight("gain", (input_shape[-1],), "ones")

    def forward(self, x, training=False, rng=None):
        return x * self.gain.value * x.dtype.type(self.factor), x

    def backward(self, dy, cache, need_dx=True):
        dy = dy * dy.dtype.type(self.factor)
        return dy * self.gain.value, [(dy * cache).sum(axis=0)]


class Sevens(Initializer):
    def __call__(self, shape, rng):
        return np.full(shape, 7.0)


class Cubic(Regularizer):
    def __init__(self, factor=0.5):
        self.factor = factor

    def __call__(self, w):
        return self.factor * float(np.abs(w**3).sum())

    def gradient(self, w):
        return 3 * self.factor * w * np.abs(w)


class Halving(LearningRateSchedule):
    def __call__(self, step):
        return 0.1 / 2**step


class SignDescent(optimizers.Optimizer):
    def update(self, w, gradient, slots, learning_rate, decay):
        w -= learning_rate * np.sign(gradient)


class AbsoluteError(losses.Loss):
    def value_and_gradient(self, y_true, y_pred, sample_weight=None):
        error = y_pred - np.reshape(y_true, y_pred.shape)
        return float(np.abs(error).mean()), (np.sign(error) / error.size).astype(y_pred.dtype)


class Largest(metrics.Metric):
    name = "largest"
    value = 0.0

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.value = max(self.value, float(y_pred.max()))

    def result(self):
        return self.value

    def reset_state(self):
        self.value = 0.0


OWN = {
    cls.__name__: cls
    for cls in (Scale, Sevens, Cubic, Halving, SignDescent, AbsoluteError, Largest)
}


def own_model():
    model = Sequential(
        [
            Input((4,)),
            Scale(3.0),
            layers.Dense(1, kernel_regularizer=Cubic(0.1), bias_initializer=Sevens()),
        ]
    )
    model.compile(SignDescent(Halving()), AbsoluteError(), metrics=[Largest(), "mse"])
    model.fit(X, Y, verbose=0)
    return model


def test_classes_of_ones_own_come_back(folder):
    model = own_model()
    loaded = saved_and_loaded(model, folder, custom_objects=OWN)
    assert loaded.get_layer("scale").factor == 3.0
    assert_same_arrays([loaded.predict(X)], [model.predict(X)])
    assert loaded.train_on_batch(X, Y) == model.train_on_batch(X, Y)
    assert_same_training(loaded, model)


@pytest.mark.parametrize("missing", OWN)
def test_a_class_that_is_missing_is_named(folder, missing):
    own_model().save(folder / "own.h5")
    known = {name: cls for name, cls in OWN.items() if name != missing}
    with pytest.raises(FileFormatError, match=f"{missing}.*custom_objects") as caught:
        minidl.load_model(folder / "own.h5", custom_objects=known)
    assert "\n" not in str(caught.value)


def test_without_compiling_the_layers_classes_suffice(folder):
    model = own_model()
    known = {"Scale": Scale, "Sevens": Sevens, "Cubic": Cubic}
    loaded = saved_and_loaded(model, folder, custom_objects=known, compile=False)
    assert_same_arrays([loaded.predict(X)], [model.predict(X)])


def test_custom_objects_of_the_wrong_kind(folder):
    own_model().save(folder / "own.h5")
    with refused(TypeError, "custom_objects", "name"):
        minidl.load_model(folder / "own.h5", custom_objects=[Scale])
    with refused(FileFormatError, "'Scale'"):
        minidl.load_model(folder / "own.h5", custom_objects={"Scale": "Scale"})


def test_what_no_file_can_hold_is_refused_and_the_old_file_stays(folder):
    model = classifier()
    path = folder / "kept.h5"
    model.save(path)
    before = path.read_bytes()
    model.compile("sgd", "mse", metrics=[lambda y, p: p[:, 0]])
    with refused(TypeError, "cannot be saved", "function"):
        model.save(path)
    assert path.read_bytes() == before


# The description itself


def test_a_description_is_json_and_can_be_rebuilt_alone():
    model = branching()
    description = json.loads(json.dumps(model.get_config()))
    again = Model(*rebuild(description), name="again")
    assert describe(again)["nodes"] == describe(model)["nodes"]
    assert again.output_shape == model.output_shape


def test_a_layer_with_an_unknown_argument_is_named():
    description = describe(classifier())
    description["layers"][1]["config"]["wings"] = 2
    with refused(FileFormatError, "'dense'", "'wings'"):
        rebuild(description)


def test_regularizers_come_back(folder):
    model = Sequential([Input((4,)), layers.Dense(2, kernel_regularizer=L2(0.25))])
    model.compile("sgd", "mse")
    y = np.zeros((40, 2))
    loaded = saved_and_loaded(model, folder)
    assert loaded.evaluate(X, y) == model.evaluate(X, y)
    assert loaded.trainer.penalty() > 0


def test_inlined_models_can_be_got_by_name_after_loading(tmp_path):
    image = Input((8, 8, 3))
    eye = Model(image, layers.Conv2D(2, 3, name="pupil")(image), name="eye")
    h = eye(image)
    both = layers.Concatenate()([h, layers.Activation("relu")(h)])
    face = Model(image, layers.GlobalAveragePooling2D()(both), name="face")
    model = Sequential([face, layers.Dense(1)])
    model.save(tmp_path / "a.h5")
    again = minidl.load_model(tmp_path / "a.h5")
    for name in ("eye", "face"):
        assert isinstance(again.get_layer(name), Model)
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("float32")
    assert (again.get_layer("eye").predict(x) == eye.predict(x)).all()
    assert (again.predict(x) == model.predict(x)).all()
    again.get_layer("face").trainable = False
    assert [p.path for p in again.trainable_weights] == ["dense/kernel", "dense/bias"]
    assert again.get_layer("pupil") is again.get_layer("eye").get_layer("pupil")
