"""Every layer gives Keras' outputs and gradients on random configurations.

Outputs agree within 1e-5, gradients within 1e-4 of the largest number of their array (see
``compare.py``).
"""

import pytest

keras = pytest.importorskip("keras", reason="Keras is not installed: parity is checked in CI")

import numpy as np  # noqa: E402
from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from parity.compare import OUTPUT, assert_close, both, check_layer, normal  # noqa: E402

from minidl import layers  # noqa: E402

SEEDS = st.integers(0, 2**32 - 1)
PADDINGS = st.sampled_from(["valid", "same"])
ACTIVATIONS = [
    "linear", "relu", "relu6", "leaky_relu", "sigmoid", "tanh", "softmax", "gelu", "silu", "swish",
    "hard_sigmoid", "hard_silu", "hard_swish",
]  # fmt: skip
# Without softmax: of one channel it is 1, and its gradient nothing but rounding.
OPTIONAL_ACTIVATIONS = st.sampled_from([None, *(name for name in ACTIVATIONS if name != "softmax")])


def pairs(low, high):
    """One number for both directions, or a pair."""
    number = st.integers(low, high)
    return st.one_of(number, st.tuples(number, number))


def shapes(channels, smallest=6):
    """Shapes of batches of images; `smallest` is the least height and width."""
    side = st.integers(smallest, smallest + 6)
    return st.tuples(st.integers(1, 3), side, side, channels)


def windows(strides):
    """Arguments of a convolution's window; Keras refuses strides and dilation together."""
    return st.one_of(
        st.fixed_dictionaries({"strides": strides, "padding": PADDINGS}),
        st.fixed_dictionaries({"dilation_rate": pairs(1, 2), "padding": PADDINGS}),
    )


@given(
    window=windows(pairs(1, 3)),
    kernel_size=pairs(1, 5),
    groups=st.integers(1, 3),
    filters=st.integers(1, 3),
    use_bias=st.booleans(),
    activation=OPTIONAL_ACTIVATIONS,
    shape=shapes(st.integers(1, 3), smallest=9),
    seed=SEEDS,
)
def test_conv2d(window, kernel_size, groups, filters, use_bias, activation, shape, seed):
    ours, theirs = both(
        "Conv2D",
        filters * groups,
        kernel_size,
        **window,
        groups=groups,
        use_bias=use_bias,
        activation=activation,
    )
    check_layer(ours, theirs, normal(seed, *shape[:3], shape[3] * groups), seed=seed)


@pytest.mark.parametrize("size", [6, 7])
@pytest.mark.parametrize("kernel_size", [1, 2, 3, 4, 5])
def test_conv2d_same_with_stride_two_pads_on_the_same_sides(kernel_size, size):
    ours, theirs = both("Conv2D", 2, kernel_size, strides=2, padding="same")
    check_layer(ours, theirs, normal(0, 2, size, size + 2, 3))


@given(
    window=windows(st.integers(1, 3)),  # TensorFlow refuses a stride of its own for each direction
    kernel_size=pairs(1, 5),
    depth_multiplier=st.integers(1, 3),
    use_bias=st.booleans(),
    activation=OPTIONAL_ACTIVATIONS,
    shape=shapes(st.integers(1, 4), smallest=9),
    seed=SEEDS,
)
def test_depthwise_conv2d(window, kernel_size, depth_multiplier, use_bias, activation, shape, seed):
    ours, theirs = both(
        "DepthwiseConv2D",
        kernel_size,
        **window,
        depth_multiplier=depth_multiplier,
        use_bias=use_bias,
        activation=activation,
    )
    check_layer(ours, theirs, normal(seed, *shape), seed=seed)


@pytest.mark.parametrize(
    ("name", "arguments"), [("Dense", [5]), ("Conv2D", [5, 2]), ("DepthwiseConv2D", [2])]
)
def test_softmax_after_a_matmul(name, arguments):
    check_layer(*both(name, *arguments, activation="softmax"), normal(0, 2, 5, 4, 3))


@given(
    shape=st.lists(st.integers(3, 9), min_size=2, max_size=4),
    units=st.integers(1, 9),
    use_bias=st.booleans(),
    activation=OPTIONAL_ACTIVATIONS,
    seed=SEEDS,
)
def test_dense(shape, units, use_bias, activation, seed):
    ours, theirs = both("Dense", units, activation=activation, use_bias=use_bias)
    check_layer(ours, theirs, normal(seed, *shape), seed=seed)


@pytest.mark.parametrize("name", ACTIVATIONS)
@given(
    shape=st.lists(st.integers(3, 7), min_size=2, max_size=4),
    scale=st.sampled_from([0.1, 1.0, 3.0]),
    seed=SEEDS,
)
def test_activation_names(name, shape, scale, seed):
    check_layer(*both("Activation", name), normal(seed, *shape, scale=scale))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_far_from_zero(name):
    x = np.linspace(-200, 200, 81, dtype="float32")[None]
    check_layer(*both("Activation", name), x)


@given(
    max_value=st.one_of(st.none(), st.floats(1, 3)),
    negative_slope=st.sampled_from([0.0, 0.1, 1.5]),
    threshold=st.sampled_from([0.0, 0.3, 0.9]),
    training=st.booleans(),
    seed=SEEDS,
)
def test_relu(max_value, negative_slope, threshold, training, seed):
    ours, theirs = both("ReLU", max_value, negative_slope, threshold)
    check_layer(ours, theirs, normal(seed, 3, 4, 5, scale=2), training)


@given(negative_slope=st.integers(0, 2000).map(lambda n: n / 1000), seed=SEEDS)
def test_leaky_relu(negative_slope, seed):
    check_layer(*both("LeakyReLU", negative_slope), normal(seed, 3, 7))


@given(seed=SEEDS)
def test_softmax(seed):
    check_layer(*both("Softmax"), normal(seed, 3, 2, 7, scale=5))


@pytest.mark.parametrize("approximate", [False, True])
@given(seed=SEEDS)
def test_gelu_layer(approximate, seed):
    theirs = keras.layers.Activation(lambda x: keras.activations.gelu(x, approximate))
    check_layer(layers.GELU(approximate), theirs, normal(seed, 3, 7, scale=2))


@pytest.mark.parametrize("name", ["Sigmoid", "Tanh", "SiLU"])
def test_layers_that_keras_has_as_names_only(name):
    check_layer(getattr(layers, name)(), keras.layers.Activation(name.lower()), normal(0, 5, 6))


@given(shape=st.lists(st.integers(1, 5), min_size=1, max_size=4))
def test_flatten(shape):
    check_layer(*both("Flatten"), normal(0, *shape))


@pytest.mark.parametrize("target", [(24,), (-1,), (4, 6), (2, -1, 3), (24, 1), (1, 2, 3, 4)])
def test_reshape(target):
    check_layer(*both("Reshape", target), normal(0, 2, 3, 4, 2))


sides = st.integers(0, 3)


@given(
    padding=st.one_of(
        sides, st.tuples(sides, sides), st.tuples(st.tuples(sides, sides), st.tuples(sides, sides))
    ),
    shape=shapes(st.just(2), smallest=1),
)
def test_zero_padding2d(padding, shape):
    check_layer(*both("ZeroPadding2D", padding), normal(0, *shape))


@pytest.mark.parametrize("name", ["MaxPooling2D", "AveragePooling2D"])
@given(
    pool_size=pairs(1, 5),
    strides=st.one_of(st.none(), pairs(1, 4)),
    padding=PADDINGS,
    training=st.booleans(),
    shape=shapes(st.integers(1, 4)),
    seed=SEEDS,
)
def test_poolings(name, pool_size, strides, padding, training, shape, seed):
    check_layer(*both(name, pool_size, strides, padding), normal(seed, *shape), training)


@pytest.mark.parametrize("name", ["GlobalMaxPooling2D", "GlobalAveragePooling2D"])
@given(keepdims=st.booleans(), shape=shapes(st.just(3), smallest=1), seed=SEEDS)
def test_global_poolings(name, keepdims, shape, seed):
    check_layer(*both(name, keepdims=keepdims), normal(seed, *shape))


@pytest.mark.parametrize("mode", ["training", "inference", "frozen"])
@given(
    shape=st.one_of(
        st.tuples(st.integers(4, 9), st.integers(1, 6)),
        st.tuples(st.integers(1, 4), *[st.integers(2, 6)] * 3),
    ),
    momentum=st.sampled_from([0.0, 0.5, 0.99]),
    epsilon=st.sampled_from([1e-3, 1e-5]),
    center=st.booleans(),
    scale=st.booleans(),
    mean=st.sampled_from([0.0, 3.0]),
    seed=SEEDS,
)
def test_batch_normalization(mode, shape, momentum, epsilon, center, scale, mean, seed):
    ours, theirs = both(
        "BatchNormalization", -1, momentum, epsilon, center, scale, trainable=mode != "frozen"
    )
    x = normal(seed, *shape) + np.float32(mean)
    check_layer(ours, theirs, x, training=mode != "inference", seed=seed)


@given(
    count=st.integers(2, 4),
    shape=st.lists(st.integers(1, 5), min_size=2, max_size=4),
    seed=SEEDS,
)
def test_add(count, shape, seed):
    check_layer(*both("Add"), [normal([seed, i], *shape) for i in range(count)])


@given(
    sizes=st.lists(st.integers(1, 5), min_size=2, max_size=4),
    axis=st.sampled_from([-3, -2, -1, 1, 2, 3]),
    seed=SEEDS,
)
def test_concatenate(sizes, axis, seed):
    xs = []
    for i, size in enumerate(sizes):
        shape = [2, 3, 4, 5]
        shape[axis] = size
        xs.append(normal([seed, i], *shape))
    check_layer(*both("Concatenate", axis=axis), xs)


# Three decimals: TensorFlow rounds numbers below 1e-38 to zero, NumPy does not.
FACTORS = st.integers(-3000, 3000).map(lambda n: n / 1000)


@given(scale=FACTORS, offset=FACTORS, per_channel=st.booleans(), seed=SEEDS)
def test_rescaling(scale, offset, per_channel, seed):
    if per_channel:
        scale, offset = [scale, 1.0, -1.0], [0.5, offset, 0.0]
    check_layer(*both("Rescaling", scale, offset), normal(seed, 2, 5, 4, 3))


def test_rescaling_of_bytes():
    x = np.random.default_rng(0).integers(0, 256, (2, 5, 4, 3), dtype=np.uint8)
    ours, theirs = both("Rescaling", 1 / 127.5, -1.0)
    assert_close(ours(x), theirs(x), OUTPUT, "pixels")


@given(rate=st.integers(0, 99).map(lambda n: n / 100), seed=SEEDS)
def test_dropout_is_identity_outside_training(rate, seed):
    check_layer(*both("Dropout", rate), normal(seed, 3, 4))


@pytest.mark.parametrize("noise_shape", [None, (None, 1, 1, 8)])
def test_dropout_keeps_the_same_share_at_the_same_size(noise_shape):
    x, rate = np.ones((50, 10, 10, 8), "float32"), 0.3
    for layer in both("Dropout", rate, noise_shape=noise_shape, seed=1):
        y = np.asarray(layer(x, training=True))
        kept = y != 0
        assert_close(y[kept], x[kept] / np.float32(1 - rate), OUTPUT, "what is kept")
        draws = kept if noise_shape is None else kept[:, 0, 0]
        assert (kept == kept[:, :1, :1]).all() == (noise_shape is not None)
        assert abs(draws.mean() - (1 - rate)) < 5 * np.sqrt(rate * (1 - rate) / draws.size)


@given(
    shape=shapes(st.integers(1, 4), smallest=1),
    gates=st.sampled_from([(slice(None), 0), (slice(None), 0, 0), None]),
    seed=SEEDS,
)
def test_multiply_broadcasts(shape, gates, seed):
    image = normal(seed, *shape)
    if gates is None:
        factor = normal(seed + 1, shape[0], 1, 1, shape[3])
    else:
        factor = normal(seed + 1, *shape)[gates]  # of lower rank
        if factor.ndim == 3:
            factor = factor[:, :1]  # Keras inserts axes after the batch
    check_layer(*both("Multiply"), [image, factor], seed=seed)


@pytest.mark.parametrize("invert", [False, True])
@pytest.mark.parametrize("axis", [-1, (1, 2), 2, None])
def test_normalization(axis, invert):
    x = normal(0, 7, 4, 5, 3, scale=2) + 1
    ours, theirs = both("Normalization", axis, invert=invert)
    for layer in (ours, theirs):
        layer.adapt(x)
    assert_close(ours(x), theirs(x), OUTPUT, "output")
    for mine, weight in zip(ours.get_weights()[:2], theirs.get_weights()[:2], strict=True):
        assert_close(mine, weight, OUTPUT, "statistics")
    ours, theirs = both("Normalization", axis, mean=0.5, variance=2.0, invert=invert)
    if axis is not None:
        assert_close(ours(x), theirs(x), OUTPUT, "output with given statistics")


@pytest.mark.parametrize("shared", [None, (1, 2)])
def test_prelu(shared):
    ours, theirs = both("PReLU", alpha_initializer="random_normal", shared_axes=shared)
    check_layer(ours, theirs, normal(3, 2, 4, 5, 3), seed=3)


@pytest.mark.parametrize("dims", [(3, 1, 2), (2, 1, 3)])
def test_permute(dims):
    check_layer(*both("Permute", dims), normal(4, 2, 4, 5, 3), seed=4)
