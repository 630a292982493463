"""Files that Keras writes, in each format it can write, give the same predictions in minidl.

All weights are random, BatchNormalization's statistics among them, so that two tensors of one
shape cannot be taken for one another unnoticed.
"""

import functools
import re
import shutil

import pytest

keras = pytest.importorskip("keras", reason="Keras is not installed: parity is checked in CI")

import h5py  # noqa: E402
import numpy as np  # noqa: E402
from keras.src.legacy.saving import legacy_h5_format  # noqa: E402
from parity.compare import OUTPUT, assert_close, normal  # noqa: E402
from support import keras_files  # noqa: E402

import minidl  # noqa: E402
from minidl import applications  # noqa: E402
from minidl.common.errors import FileFormatError  # noqa: E402

# Rounding grows over a hundred layers; this is what the project promises.
DEEP = 1e-4


def randomize(model, seed=0):
    """Draw all weights anew, such that a signal neither dies out nor explodes."""
    rng = np.random.default_rng(seed)
    for variable in model.variables:
        if variable.name == "moving_variance":
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
        elif variable.name == "gamma":
            variable.assign(rng.normal(1, 0.1, variable.shape))
        elif variable.name == "kernel":
            fan_in = np.prod(variable.shape[:-1])
            variable.assign(rng.normal(0, (2 / fan_in) ** 0.5, variable.shape))
        elif variable.dtype == "float32":  # not the state of a random generator
            variable.assign(rng.normal(0, 0.1, variable.shape))
    return model


# Every way of writing


def write_legacy_weights(model, path):
    with h5py.File(path, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, model)


def write_model(model, path):
    model.save(path)


def write_weights(model, path):
    model.save_weights(path)


MODELS = {"model.h5": write_model, "model.keras": write_model}
WEIGHTS = {"legacy.h5": write_legacy_weights, "a.weights.h5": write_weights, **MODELS}


# Small networks, each built by one function with minidl and with Keras


def branching(lib):
    """Two branches that are added and concatenated; most layers without names."""
    layers = lib.layers
    x = lib.Input((12, 12, 3))
    stem = layers.Conv2D(6, 3, activation="relu")(x)
    b = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=1, activation="gelu")(stem)
    a = layers.Conv2D(6, 1, use_bias=False)(stem)
    c = layers.Conv2D(6, 1, use_bias=False)(b)  # of the same shape as a
    both = layers.Concatenate(name="both")([layers.Add()([a, b, c]), c])
    both = layers.ZeroPadding2D(((1, 0), (0, 1)))(both)
    y = layers.Conv2D(4, 3, strides=2, padding="same", groups=2, name="c")(both)
    y = layers.LeakyReLU(0.1)(layers.AveragePooling2D(3, 2, "same")(y))
    top = layers.Concatenate()([layers.GlobalAveragePooling2D()(y), layers.GlobalMaxPooling2D()(y)])
    return lib.Model(x, layers.Dense(3, activation="softmax")(top))


def nested(lib):
    """The usual transfer learning: augmentation, a frozen base, a head."""
    layers = lib.layers
    x = lib.Input((12, 12, 3))
    y = layers.Conv2D(4, 3, use_bias=False)(x)
    y = layers.ReLU(6.0)(layers.BatchNormalization(scale=False)(y))
    y = layers.MaxPooling2D()(layers.Conv2D(5, 3, name="deep")(y))
    base = lib.Model(x, y, name="base")
    base.trainable = False
    return lib.Sequential(
        [
            lib.Input((12, 12, 3)),
            layers.RandomFlip("horizontal"),
            layers.Rescaling(1 / 2, -0.1),
            base,
            layers.Flatten(),
            layers.Dropout(0.5, seed=1),
            layers.Dense(2, activation="sigmoid"),
        ]
    )


def normalized(lib):
    """Batch normalization in each of its variants; the shape comes with the data."""
    layers = lib.layers
    model = lib.Sequential(
        [
            layers.Conv2D(4, 3),
            layers.BatchNormalization(epsilon=1e-5),
            layers.Activation("silu"),
            layers.Conv2D(4, 3, dilation_rate=2, use_bias=False),
            layers.BatchNormalization(scale=False),
            layers.GlobalAveragePooling2D(keepdims=True),
            layers.BatchNormalization(center=False, scale=False),
            layers.Reshape((2, -1)),
            layers.Dense(3),
            layers.Softmax(),
        ]
    )
    model.build((None, 12, 12, 3))
    return model


def shared(lib):
    """Two inputs, two outputs; a layer and a model that are used twice."""
    layers = lib.layers
    a, b = lib.Input((12, 12, 3), name="a"), lib.Input((12, 12, 3), name="b")
    eye = lib.Sequential(
        [lib.Input((12, 12, 3)), layers.Conv2D(3, 3, strides=3), layers.Flatten()], name="eye"
    )
    judge = layers.Dense(4, activation="tanh", name="judge")
    seen = [judge(eye(a)), judge(eye(b))]
    return lib.Model([a, b], [layers.Dense(2)(layers.Add()(seen)), seen[0]])


def doubled(lib):
    """A base from an earlier session: its layers and the head's have the same names."""
    layers = lib.layers
    x = lib.Input((12, 12, 3))
    base = lib.Model(x, layers.Dense(4)(layers.Flatten()(layers.Conv2D(4, 3)(x))), name="base")
    if lib is keras:
        keras.backend.clear_session()
    y = layers.Flatten()(layers.Dense(4)(layers.Conv2D(4, 3)(x)))
    return lib.Model(x, layers.Add()([base(x), layers.Dense(4)(y)]))


NETWORKS = [branching, nested, normalized, shared, doubled]


@functools.lru_cache(maxsize=1)
def written_by_keras(build):
    """Return Keras' model, whose layers' numbers do not begin at 0, images, and predictions."""
    keras.backend.clear_session()
    for kind in (keras.layers.Dense, keras.layers.Conv2D, keras.layers.BatchNormalization):
        for units in range(1, 4):
            kind(*[units] * {"Dense": 1, "Conv2D": 2}.get(kind.__name__, 0))
    model = randomize(build(keras))
    x = [normal(i, 2, 12, 12, 3) for i in range(len(model.inputs))]
    return model, x if len(x) > 1 else x[0], as_list(model(x, training=False))


def as_list(y):
    return [np.asarray(item) for item in (y if isinstance(y, (list, tuple)) else [y])]


def assert_predicts(model, x, expected, tolerance=OUTPUT):
    """Compare what the inference plan and what the training executor compute."""
    for ours in (model.predict(x), model.forward(x)[0]):
        for y, their_y in zip(as_list(ours), expected, strict=True):
            assert_close(y, their_y, tolerance, model.label)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("build", NETWORKS)
def test_a_model_of_keras_predicts(build, name, tmp_path):
    theirs, x, expected = written_by_keras(build)
    MODELS[name](theirs, tmp_path / name)
    ours = minidl.load_model(tmp_path / name)
    assert_predicts(ours, x, expected)
    assert isinstance(ours, minidl.Sequential) == (type(theirs) is keras.Sequential)
    ours.save(tmp_path / "ours.h5")
    assert_predicts(minidl.load_model(tmp_path / "ours.h5"), x, expected)


@pytest.mark.parametrize("name", WEIGHTS)
@pytest.mark.parametrize("build", NETWORKS)
def test_weights_of_keras_fit_the_same_model(build, name, tmp_path):
    theirs, x, expected = written_by_keras(build)
    WEIGHTS[name](theirs, tmp_path / name)
    ours = build(minidl)
    ours.load_weights(tmp_path / name)
    assert_predicts(ours, x, expected)


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_of_another_model_change_nothing(name, tmp_path):
    theirs, *_ = written_by_keras(nested)
    WEIGHTS[name](theirs, tmp_path / name)
    ours = normalized(minidl)
    before = ours.get_weights()
    with pytest.raises(FileFormatError, match=name):
        ours.load_weights(tmp_path / name)
    for old, new in zip(before, ours.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_trained_model_is_read_without_its_training_state(tmp_path):
    theirs, x, _ = written_by_keras(nested)
    theirs.compile("adam", "mse", metrics=["accuracy"])
    theirs.train_on_batch(x, np.ones((2, 2)))
    written_by_keras.cache_clear()  # it is another model now
    expected = as_list(theirs(x, training=False))
    for name in WEIGHTS:
        WEIGHTS[name](theirs, tmp_path / name)
        ours = nested(minidl)
        ours.load_weights(tmp_path / name)
        assert_predicts(ours, x, expected)


@pytest.mark.parametrize("name", MODELS)
def test_layers_with_code_are_refused_by_name(name, tmp_path):
    x = keras.Input((4,))
    odd = {
        "Lambda": keras.layers.Lambda(lambda x: 2 * x, name="odd")(x),
        "Power": x**2,
        "Masking": keras.layers.Masking(name="odd")(x),
    }
    for kind, y in odd.items():
        keras.Model(x, y).save(tmp_path / name)
        with pytest.raises(FileFormatError, match=kind):
            minidl.load_model(tmp_path / name)


@pytest.mark.parametrize("policy", ["mixed_float16", "bfloat16"])
@pytest.mark.parametrize("name", MODELS)
def test_half_precision_is_refused(policy, name, tmp_path):
    dense = keras.layers.Dense(2, dtype=policy)
    keras.Sequential([keras.Input((4,)), dense]).save(tmp_path / name)
    with pytest.raises(FileFormatError, match="dtype"):
        minidl.load_model(tmp_path / name)


# The real networks

LAST = {"VGG16": "block5_pool", "ResNet50": "conv5_block3_out", "InceptionV3": "mixed10"}
SIZES = {"VGG16": 224, "ResNet50": 224, "InceptionV3": 299}


def write_keras_1(model, path):
    layers = [(name_of_2016(name), tensors) for name, tensors in keras_files.layers_of(model)]
    keras_files.write_keras1(layers, path)


def name_of_2016(name):
    """Return what ResNet50's layer was called in the first official file."""
    found = re.fullmatch(r"conv(\d)_block(\d)_(\d)_(conv|bn)", name)
    if not found:
        return {"conv1_conv": "conv1", "conv1_bn": "bn_conv1"}.get(name, name)
    stage, block, branch, kind = found.groups()
    kind = {"conv": "res", "bn": "bn"}[kind]
    return f"{kind}{stage}{'abcdef'[int(block) - 1]}_branch{['1', '2a', '2b', '2c'][int(branch)]}"


DIALECTS = {**WEIGHTS, "keras1.h5": write_keras_1, "keras2.h5": keras_files.write_keras2}
# Each format at a small size; at the sizes of practice, each network in two of them.
CASES = [(name, 96, file) for name in LAST for file in DIALECTS]
CASES += [(name, SIZES[name], file) for name in LAST for file in ("keras2.h5", "a.weights.h5")]
CASES += [(name, 150, file) for name in LAST for file in ("legacy.h5", "model.keras")]


@functools.lru_cache(maxsize=1)
def network_of_keras(name, size):
    """Return Keras' network whole and without its top, images, and both outputs."""
    keras.backend.clear_session()
    whole = getattr(keras.applications, name)(
        weights=None, input_shape=(size, size, 3), classes=10, classifier_activation=None
    )
    base = keras.Model(whole.input, whole.get_layer(LAST[name]).output)
    randomize(whole)
    images = np.random.default_rng(1).uniform(0, [20, 120, 255], (2, size, size, 3))
    images = images.astype("float32")
    module = {"VGG16": "vgg16", "ResNet50": "resnet50", "InceptionV3": "inception_v3"}[name]
    x = getattr(keras.applications, module).preprocess_input(images.copy())
    return whole, base, images, as_list(whole(x)), as_list(base(x))


@pytest.fixture
def large(tmp_path):
    """A folder for files of hundreds of megabytes, which pytest would keep for a while."""
    yield tmp_path
    shutil.rmtree(tmp_path)


@pytest.mark.parametrize(("name", "size", "file"), CASES)
def test_a_network_file_gives_the_same_outputs(name, size, file, large):
    whole, base, images, logits, features = network_of_keras(name, size)
    make = functools.partial(getattr(applications, name), input_shape=(size, size, 3))
    DIALECTS[file](whole, large / file)
    ours = make(large / file, classes=10, classifier_activation=None)
    assert_predicts(ours, images, logits, DEEP)
    if size == 96:  # the same file serves without the top, and so does one that never had it
        ours = make(large / file, classes=10, include_top=False)
        assert_predicts(ours, images, features, DEEP)
    DIALECTS[file](base, large / file)
    assert_predicts(make(large / file, include_top=False), images, features, DEEP)


@pytest.mark.parametrize("file", MODELS)
def test_a_classifier_on_top_of_inception(file, large):
    """Two hundred layers without names, one level down, and a head: as in many tutorials."""
    base = network_of_keras("InceptionV3", 96)[1]
    layers = keras.layers
    head = [layers.GlobalAveragePooling2D(), layers.Dropout(0.2), layers.Dense(2)]
    scale = layers.Rescaling(1 / 127.5, offset=-1)
    model = keras.Sequential([keras.Input((96, 96, 3)), scale, base, *head])
    model.save(large / file)
    images = np.random.default_rng(2).uniform(0, 255, (2, 96, 96, 3)).astype("float32")
    expected = as_list(model(images, training=False))
    assert_predicts(minidl.load_model(large / file), images, expected, DEEP)
