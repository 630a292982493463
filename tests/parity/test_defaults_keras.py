"""The same call makes the same object as in Keras: arguments, defaults, first weights."""

import pytest

keras = pytest.importorskip("keras", reason="Keras is not installed: parity is checked in CI")

import inspect  # noqa: E402

import numpy as np  # noqa: E402
from parity.compare import both, normal  # noqa: E402

import minidl  # noqa: E402
from minidl import callbacks, layers, optimizers  # noqa: E402
from minidl.layers import initializers  # noqa: E402

CLASSES = [
    (getattr(ours, name), getattr(theirs, name))
    for ours, theirs in (
        (layers, keras.layers),
        (initializers, keras.initializers),
        (optimizers, keras.optimizers),
        (callbacks, keras.callbacks),
    )
    for name in ours.__all__
    if isinstance(getattr(ours, name), type) and hasattr(theirs, name)
]
BASES = ("Initializer", "InputLayer", "Layer", "Optimizer")


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [pytest.param(*pair, id=pair[0].__name__) for pair in CLASSES if pair[0].__name__ not in BASES],
)
def test_arguments_have_the_same_names_order_and_defaults(ours, theirs):
    mine, others = arguments(ours), arguments(theirs)
    assert list(mine) == [name for name in others if name in mine]
    for name, default in mine.items():
        expected = others[name]
        if expected == "Zeros":  # Keras' two spellings of one initializer
            expected = "zeros"
        if expected is not inspect.Parameter.empty:
            assert default == expected, name


def arguments(cls):
    """Return the names and defaults of what can be given by position."""
    return {
        parameter.name: parameter.default
        for parameter in inspect.signature(cls).parameters.values()
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    }


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("Activation", {"activation": "gelu"}),
        ("Add", {}),
        ("AveragePooling2D", {"pool_size": 3, "strides": (2, 1), "padding": "same"}),
        ("BatchNormalization", {"momentum": 0.9, "scale": False}),
        ("Concatenate", {"axis": 1}),
        ("Conv2D", {"filters": 4, "kernel_size": (3, 1), "groups": 2, "activation": "relu"}),
        ("Conv2D", {"filters": 4, "kernel_size": 3, "kernel_initializer": "he_normal"}),
        ("Dense", {"units": 4, "use_bias": False, "bias_initializer": "ones"}),
        ("DepthwiseConv2D", {"kernel_size": 3, "depth_multiplier": 2, "dilation_rate": 2}),
        ("Dropout", {"rate": 0.4, "seed": 3}),
        ("Flatten", {"trainable": False}),
        ("GlobalAveragePooling2D", {"keepdims": True}),
        ("GlobalMaxPooling2D", {}),
        ("LeakyReLU", {"negative_slope": 0.1}),
        ("MaxPooling2D", {"pool_size": (3, 2)}),
        ("RandomFlip", {"mode": "horizontal"}),
        ("RandomRotation", {"factor": (-0.1, 0.2), "fill_mode": "constant"}),
        ("RandomZoom", {"height_factor": 0.2, "interpolation": "nearest"}),
        ("ReLU", {"max_value": 6.0, "negative_slope": 0.5}),
        ("Rescaling", {"scale": 0.5, "offset": [1.0, 2.0, 3.0]}),
        ("Reshape", {"target_shape": (2, -1)}),
        ("Softmax", {}),
        ("ZeroPadding2D", {"padding": ((1, 2), (3, 4))}),
    ],
)
def test_keras_makes_the_same_layer_of_our_configuration(name, options):
    ours, theirs = both(name, **options, name="layer")
    made = getattr(keras.layers, name).from_config(ours.get_config())
    assert comparable(made) == comparable(theirs)


def comparable(layer):
    """Return a Keras layer's configuration without the seeds that Keras draws for itself."""
    config = layer.get_config()
    for value in config.values():
        if isinstance(value, dict):
            value.get("config", {}).pop("seed", None)
    return config


def test_layers_without_a_name_get_keras_name():
    keras.backend.clear_session()
    names = [
        [layer.name for layer in lib.Sequential([lib.Input((8, 8, 3)), *stack(lib)]).layers]
        for lib in (minidl, keras)
    ]
    assert names[0] == names[1]


def stack(lib):
    """Return layers of many kinds, none of them named."""
    make = lib.layers
    return [
        make.RandomFlip(), make.RandomZoom(0.1), make.Rescaling(2.0), make.ZeroPadding2D(),
        make.Conv2D(2, 3), make.BatchNormalization(), make.ReLU(), make.Conv2D(2, 1),
        make.BatchNormalization(), make.LeakyReLU(), make.DepthwiseConv2D(1), make.Softmax(),
        make.MaxPooling2D(), make.AveragePooling2D(2), make.Reshape((-1, 2)), make.Flatten(),
        make.Dropout(0.1), make.Dense(3), make.Activation("relu"), make.Dense(2),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [
        "zeros", "ones", "random_normal", "random_uniform", "glorot_normal", "glorot_uniform",
        "he_normal", "he_uniform", "lecun_normal", "lecun_uniform",
    ],
)  # fmt: skip
@pytest.mark.parametrize("shape", [(500, 400), (3, 5, 64, 200), (40000,)])
def test_initializers_draw_from_the_same_distribution(name, shape):
    check_distribution(initializers.get(name), type(keras.initializers.get(name))(), shape)


@pytest.mark.parametrize("mode", ["fan_in", "fan_out", "fan_avg"])
@pytest.mark.parametrize("distribution", ["uniform", "truncated_normal", "untruncated_normal"])
def test_variance_scaling(mode, distribution):
    arguments = (3.0, mode, distribution)
    ours = initializers.VarianceScaling(*arguments)
    check_distribution(ours, keras.initializers.VarianceScaling(*arguments), (3, 3, 50, 200))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("Constant", (0.3,)), ("RandomNormal", (1.0, 0.2)), ("RandomUniform", (-1.0, 3.0))],
)
def test_initializers_with_arguments(name, arguments):
    ours = getattr(initializers, name)(*arguments)
    check_distribution(ours, getattr(keras.initializers, name)(*arguments), (300, 400))


@pytest.mark.parametrize(
    ("name", "options", "channels"),
    [
        ("Dense", {"units": 500}, 300),
        ("Conv2D", {"filters": 96, "kernel_size": (5, 3), "groups": 2}, 64),
        ("DepthwiseConv2D", {"kernel_size": 3, "depth_multiplier": 8}, 600),
        ("BatchNormalization", {}, 8),
    ],
)
def test_first_weights_of_layers(name, options, channels):
    x = normal(0, 1, 5, 5, channels)
    ours, theirs = both(name, **options)
    ours(x)
    theirs(x)
    for mine, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        compare_samples(mine, other)


def check_distribution(ours, theirs, shape):
    compare_samples(ours(shape, np.random.default_rng(0)), np.asarray(theirs(shape)))


def compare_samples(ours, theirs):
    """Compare mean, variance and limits of two samples of one distribution."""
    assert ours.shape == theirs.shape
    spread = theirs.std()
    # The error of a mean (that of a deviation is smaller still), and rounding to float32.
    error = spread / np.sqrt(ours.size) + 1e-7 * abs(theirs.mean())
    assert abs(ours.mean() - theirs.mean()) <= 8 * error
    assert abs(ours.std() - spread) <= 8 * error
    # In tens of thousands of numbers a cut-off shows to well below 2 % of a deviation; only a
    # plain normal distribution has none, and its extremes, beyond four deviations, vary.
    mine, others = ((sample - theirs.mean()) / (spread or 1) for sample in (ours, theirs))
    tolerance = 0.02 if np.abs(others).max() < 3 else 1.5
    np.testing.assert_allclose(mine.min(), others.min(), rtol=0, atol=tolerance)
    np.testing.assert_allclose(mine.max(), others.max(), rtol=0, atol=tolerance)
