"""Whole models take the same training steps as in Keras: losses, metrics, updated weights.

Each model is built by one function, called with minidl and with Keras. After five steps each
weight (all are of the order of 1) agrees within 1e-5, and each change of a weight within 1e-3
of the largest change in its array. The latter is the stricter; it leaves room because Adam and
RMSprop divide by the size of a gradient, and so magnify rounding where that is near zero.
"""

import pytest

keras = pytest.importorskip("keras", reason="Keras is not installed: parity is checked in CI")

import numpy as np  # noqa: E402
from parity.compare import OUTPUT, assert_close, normal  # noqa: E402

import minidl  # noqa: E402
from minidl.kernels.convolution import dispatch  # noqa: E402

STEPS = 5
CHANGE = 1e-3


def convolutional(lib):
    """Convolutions, poolings, dense layers; sparse labels."""
    layers = lib.layers
    return lib.Sequential(
        [
            lib.Input((12, 11, 3)),
            layers.Conv2D(6, 3, padding="same", activation="relu", name="conv1"),
            layers.MaxPooling2D(name="pool1"),
            layers.Conv2D(8, 2, strides=2, padding="same", activation="silu", name="conv2"),
            layers.AveragePooling2D(2, padding="same", name="pool2"),
            layers.Flatten(name="flat"),
            layers.Dense(10, activation="tanh", name="hidden"),
            layers.Dense(4, activation="softmax", name="probabilities"),
        ]
    )


def branching(lib):
    """Two branches that are added and concatenated; one probability."""
    layers = lib.layers
    x = lib.Input((9, 9, 2), name="pictures")
    stem = layers.Conv2D(6, 3, activation="relu", name="stem")(x)
    a = layers.Conv2D(6, 1, use_bias=False, name="a")(stem)
    b = layers.DepthwiseConv2D(3, padding="same", activation="gelu", name="b")(stem)
    both = layers.Concatenate(name="both")([layers.Add(name="sum")([a, b, stem]), b])
    both = layers.ZeroPadding2D(((1, 0), (0, 1)), name="pad")(both)
    c = layers.Conv2D(4, 3, strides=2, dilation_rate=1, groups=2, name="c")(both)
    c = layers.Activation("leaky_relu", name="leaky")(c)
    top = layers.Concatenate(name="top")(
        [layers.GlobalAveragePooling2D(name="mean")(c), layers.GlobalMaxPooling2D(name="max")(c)]
    )
    return lib.Model(x, layers.Dense(1, activation="sigmoid", name="probability")(top))


def normalized(lib):
    """Batch normalization after convolution and dense layer; one-hot labels."""
    layers = lib.layers
    return lib.Sequential(
        [
            lib.Input((8, 8, 3)),
            layers.Rescaling(0.5, offset=0.1, name="rescaling"),
            layers.Conv2D(5, 3, use_bias=False, name="conv"),
            layers.BatchNormalization(momentum=0.8, name="norm1"),
            layers.ReLU(name="relu"),
            layers.GlobalAveragePooling2D(name="mean"),
            layers.Dense(6, use_bias=False, name="hidden"),
            layers.BatchNormalization(momentum=0.5, scale=False, name="norm2"),
            layers.Activation("relu", name="relu2"),
            layers.Dense(3, activation="softmax", name="probabilities"),
        ]
    )


def frozen(lib):
    """A frozen base with batch normalization, used as a layer; a new top."""
    layers = lib.layers
    x = lib.Input((8, 8, 3))
    y = layers.Conv2D(4, 3, name="conv")(x)
    y = layers.BatchNormalization(momentum=0.5, name="norm")(y)
    y = layers.ReLU(6.0, name="relu")(y)
    base = lib.Model(x, layers.GlobalAveragePooling2D(name="mean")(y), name="base")
    base.trainable = False
    return lib.Sequential(
        [lib.Input((8, 8, 3)), base, layers.Dense(1, activation="sigmoid", name="top")]
    )


def partly_frozen(lib):
    """A frozen layer between trainable ones, and a shared layer; regularized kernels."""
    layers = lib.layers
    x = lib.Input((7,))
    y = layers.Dense(8, activation="tanh", kernel_regularizer="l2", name="low")(x)
    y = layers.Dense(8, activation="relu", trainable=False, name="ice")(y)
    shared = layers.Dense(8, kernel_regularizer="l1", bias_regularizer="l2", name="shared")
    return lib.Model(x, layers.Dense(3, name="values")(shared(shared(y))))


def several(lib):
    """Two inputs, two outputs with losses and weights of their own."""
    layers = lib.layers
    image, facts = lib.Input((6, 6, 2), name="image"), lib.Input((5,), name="facts")
    a = layers.Flatten(name="flat")(layers.Conv2D(3, 3, activation="relu", name="conv")(image))
    b = layers.Dense(6, activation="relu", name="dense")(facts)
    both = layers.Concatenate(name="both")([a, b])
    kind = layers.Dense(3, activation="softmax", name="kind")(both)
    size = layers.Dense(2, name="size")(layers.Add(name="sum")([b, layers.Dense(6, name="d")(a)]))
    return lib.Model([image, facts], [kind, size])


BINARY = {"loss": "binary_crossentropy", "metrics": ["accuracy"]}
CASES = {
    convolutional: {"loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"]},
    branching: BINARY,
    normalized: {"loss": "categorical_crossentropy", "metrics": ["accuracy"]},
    frozen: BINARY,
    partly_frozen: {"loss": "mse", "metrics": ["mse"]},
    several: {
        "loss": ["sparse_categorical_crossentropy", "mse"],
        "loss_weights": [0.7, 2.0],
        "metrics": [["accuracy"], ["mse"]],
    },
}
OPTIMIZERS = {
    "sgd": lambda lib: lib.optimizers.SGD(0.05),
    "nesterov": lambda lib: lib.optimizers.SGD(0.02, momentum=0.9, nesterov=True),
    "adam": lambda lib: lib.optimizers.Adam(0.005),
    "rmsprop": lambda lib: lib.optimizers.RMSprop(0.003),
    "clipped": lambda lib: lib.optimizers.AdamW(0.005, weight_decay=0.01, global_clipnorm=0.3),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("build", CASES, ids=lambda build: build.__name__)
def test_five_training_steps(build, optimizer, monkeypatch):
    # Winograd's rounding is compared elsewhere. Here Adam would magnify it: it divides each
    # gradient by its own size, so that one near zero may come out with any sign.
    monkeypatch.setattr(dispatch, "winograd_is_faster", lambda *shape: False)
    ours, theirs = models(build)
    before = weights(ours)
    ours.compile(OPTIMIZERS[optimizer](minidl), **CASES[build])
    theirs.compile(OPTIMIZERS[optimizer](keras), **CASES[build], jit_compile=False)
    for step in range(STEPS):
        x, y = data(build, step)
        mine = ours.train_on_batch(x, y, return_dict=True)
        other = theirs.train_on_batch(x, y, return_dict=True)
        assert_same_numbers(mine, other)
    after = weights(ours)
    for path, expected in weights(theirs).items():
        np.testing.assert_allclose(after[path], expected, rtol=0, atol=1e-5, err_msg=path)
        assert_close(
            after[path] - before[path], expected - before[path], CHANGE, f"change of {path}"
        )
        if "moving" not in path:
            moved = np.abs(expected - before[path]).max()
            assert (moved > 0) == trainable(ours, path), path


@pytest.mark.parametrize("build", CASES, ids=lambda build: build.__name__)
def test_predict_and_evaluate(build):
    ours, theirs = models(build)
    # A last batch that is not full weighs less, but not in Keras' losses of single outputs.
    x, y = data(build, 0, size=40 if build is several else 37)
    for model, options in ((ours, {}), (theirs, {"jit_compile": False})):
        model.compile("sgd", **CASES[build], **options)
    results = [model.predict(x, batch_size=10, verbose=0) for model in (ours, theirs)]
    for mine, other in zip(*(r if isinstance(r, list) else [r] for r in results), strict=True):
        assert_close(mine, other, OUTPUT, "predictions")
    assert_same_numbers(
        *(
            model.evaluate(x, y, batch_size=10, return_dict=True, verbose=0)
            for model in (ours, theirs)
        )
    )


@pytest.mark.parametrize("build", CASES, ids=lambda build: build.__name__)
def test_gradients_by_the_low_level_functions(build):
    """``forward`` outside training and ``backward`` against TensorFlow's tape."""
    import tensorflow as tf

    ours, theirs = models(build)
    x, _ = data(build, 0)
    tensors = [tf.constant(item) for item in (x if isinstance(x, list) else [x])]
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        outputs = theirs(tensors if isinstance(x, list) else tensors[0], training=False)
    outputs = outputs if isinstance(outputs, list) else [outputs]
    dys = [normal([9, i], *output.shape) for i, output in enumerate(outputs)]
    variables = {path: v.value for path, v in variables_of(theirs).items() if v.trainable}
    their_dxs, their_gradients = tape.gradient(
        outputs, [tensors, variables], output_gradients=[tf.constant(dy) for dy in dys]
    )

    _, cache = ours.forward(x)
    dx, gradients = ours.backward(dys if len(dys) > 1 else dys[0], cache)
    for mine, other in zip(dx if isinstance(x, list) else [dx], their_dxs, strict=True):
        assert_close(mine, other, 1e-4, "gradient of the input")
    named = {p.path: g for p, g in zip(ours.trainable_weights, gradients, strict=True)}
    assert named.keys() == their_gradients.keys()
    for path, other in their_gradients.items():
        assert_close(named[path], other, 1e-4, f"gradient of {path}")


@pytest.mark.parametrize("build", [convolutional, normalized], ids=lambda build: build.__name__)
def test_weights_of_a_stack_have_keras_order(build):
    ours, theirs = models(build)
    for mine, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        assert np.array_equal(mine, other)
    assert ours.count_params() == theirs.count_params()
    assert [layer.name for layer in ours.layers] == [layer.name for layer in theirs.layers]


def models(build):
    """Return both models with the same weights, none of them zero."""
    ours, theirs = build(minidl), build(keras)
    values = {
        path: value + normal(i, *value.shape, scale=0.1)
        for i, (path, value) in enumerate(weights(ours).items())
    }
    variables = variables_of(theirs)
    assert values.keys() == variables.keys()
    for path, variable in variables.items():
        variable.assign(values[path])
    for parameter in ours.weights:
        parameter.assign(values[parameter.path])
    return ours, theirs


def weights(model):
    """Return the arrays of a model by "layer/weight"."""
    if isinstance(model, minidl.Model):
        return {parameter.path: parameter.value.copy() for parameter in model.weights}
    return {path: variable.numpy() for path, variable in variables_of(model).items()}


def variables_of(model):
    """Return a Keras model's weights by "layer/weight", those of nested models among them."""
    found = {}
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            found.update(variables_of(layer))
        else:
            found.update({f"{layer.name}/{weight.name}": weight for weight in layer.weights})
    return found


def trainable(model, path):
    return next(parameter.trainable for parameter in model.weights if parameter.path == path)


def data(build, seed, size=16):
    """Return a batch that fits the model."""
    rng = np.random.default_rng(seed)
    if build is several:
        x = [normal(seed, size, 6, 6, 2), normal(seed + 1, size, 5)]
        return x, [rng.integers(0, 3, size), normal(seed + 2, size, 2)]
    if build is partly_frozen:
        return normal(seed, size, 7), normal(seed + 1, size, 3)
    shape = {convolutional: (12, 11, 3), branching: (9, 9, 2)}.get(build, (8, 8, 3))
    x = normal(seed, size, *shape)
    if build is convolutional:
        return x, rng.integers(0, 4, size)
    if build is normalized:
        return x, np.eye(3, dtype="float32")[rng.integers(0, 3, size)]
    return x, rng.integers(0, 2, (size, 1)).astype("float32")


def assert_same_numbers(ours, theirs):
    """Compare dicts of losses and metrics; losses within 1e-5 of their value."""
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        assert ours[name] == pytest.approx(value, rel=1e-5), name
