"""Hypothesis strategies that draw a layer of each class with random arguments, and an input.

``CASES[cls]`` draws ``(layer, x)``; x is a float64 array (a list of them for a merging layer).
Its values stay away from kinks: the distance to any threshold or to an equal neighbor is much
larger than the step of a finite difference.
"""

import numpy as np
from hypothesis import strategies as st

from minidl import layers
from minidl.layers.initializers import RandomUniform

PAIRS = st.tuples(st.integers(1, 3), st.integers(1, 3))
PADDINGS = st.sampled_from(["valid", "same"])
FUSED = st.sampled_from(
    [
        None,
        "relu",
        "relu6",
        "leaky_relu",
        "tanh",
        "sigmoid",
        "silu",
        "hard_silu",
        "gelu",
        "softmax",
        "linear",
        layers.ReLU(max_value=1.0, negative_slope=0.1, threshold=0.2),
        layers.GELU(approximate=True),
    ]
)
QUARTERS = st.integers(-12, 12).map(lambda n: n / 4)
SHAPES = st.lists(st.integers(1, 4), min_size=2, max_size=4).map(tuple)


def smooth(draw, shape):
    """Normal numbers."""
    return np.random.default_rng(draw(st.integers(0, 2**16))).normal(size=shape)


def off_grid(draw, shape):
    """Odd multiples of 1/16: never near a multiple of 1/8."""
    return (np.floor(smooth(draw, shape) * 8) + 0.5) / 8


def distinct(draw, shape):
    """Numbers of which no two are near each other."""
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    return (rng.permutation(int(np.prod(shape))).reshape(shape) - 10) / 8


def image_shape(draw, low=(1, 1), channels=None):
    height, width = (draw(st.integers(n, n + 4)) for n in low)
    return draw(st.integers(1, 3)), height, width, channels or draw(st.integers(1, 3))


@st.composite
def elementwise(draw, cls, numbers=smooth, **arguments):
    kwargs = {name: draw(strategy) for name, strategy in arguments.items()}
    return cls(**kwargs), numbers(draw, draw(SHAPES))


@st.composite
def dense(draw):
    layer = layers.Dense(
        draw(st.integers(1, 4)), draw(FUSED), draw(st.booleans()), bias_initializer="random_normal"
    )
    return layer, smooth(draw, draw(SHAPES))


@st.composite
def conv2d(draw):
    groups = draw(st.integers(1, 3))
    layer = layers.Conv2D(
        groups * draw(st.integers(1, 2)),
        draw(PAIRS),
        draw(PAIRS),
        draw(PADDINGS),
        dilation_rate=draw(PAIRS),
        groups=groups,
        activation=draw(FUSED),
        use_bias=draw(st.booleans()),
        bias_initializer="random_normal",
    )
    channels = groups * draw(st.integers(1, 2))
    return layer, smooth(draw, image_shape(draw, layer.window.extent, channels))


@st.composite
def depthwise_conv2d(draw):
    layer = layers.DepthwiseConv2D(
        draw(PAIRS),
        draw(PAIRS),
        draw(PADDINGS),
        draw(st.integers(1, 2)),
        dilation_rate=draw(PAIRS),
        activation=draw(FUSED),
        use_bias=draw(st.booleans()),
        bias_initializer="random_normal",
    )
    return layer, smooth(draw, image_shape(draw, layer.window.extent))


@st.composite
def pooling(draw, cls, numbers):
    size = draw(PAIRS)
    sides = st.tuples(*(st.tuples(*[st.integers(0, n - 1)] * 2) for n in size))
    layer = cls(size, draw(st.none() | PAIRS), draw(PADDINGS | sides))
    return layer, numbers(draw, image_shape(draw, layer.window.extent))


@st.composite
def on_images(draw, cls, numbers=smooth, **arguments):
    kwargs = {name: draw(strategy) for name, strategy in arguments.items()}
    return cls(**kwargs), numbers(draw, image_shape(draw))


@st.composite
def batch_normalization(draw):
    layer = layers.BatchNormalization(
        center=draw(st.booleans()),
        scale=draw(st.booleans()),
        trainable=draw(st.booleans()),
        gamma_initializer="random_uniform",
        beta_initializer="random_normal",
        moving_mean_initializer="random_normal",
        moving_variance_initializer=RandomUniform(0.5, 2.0),
        epsilon=draw(st.sampled_from([1e-3, 0.1])),
    )
    shape = draw(SHAPES)
    return layer, 2 * smooth(draw, (shape[0] + 3, *shape[1:]))  # some rows: some variance


@st.composite
def dropout(draw):
    shape = draw(SHAPES)
    noise_shape = draw(st.none() | st.tuples(*[st.sampled_from([None, 1])] * len(shape)))
    rate, seed = draw(st.sampled_from([0, 0.2, 0.7])), draw(st.none() | st.integers(0, 9))
    return layers.Dropout(rate, noise_shape, seed), smooth(draw, shape)


@st.composite
def prelu(draw):
    shape = draw(SHAPES)
    shared = draw(st.none() | st.sets(st.integers(1, len(shape) - 1)).map(sorted))
    return layers.PReLU("random_normal", shared_axes=shared), off_grid(draw, shape)


@st.composite
def local_response_normalization(draw):
    sizes, numbers = st.integers(1, 6), st.sampled_from([0.5, 1.0, 2.0])
    arguments = (draw(strategy) for strategy in (sizes, numbers, numbers, numbers))
    return layers.LocalResponseNormalization(*arguments), smooth(draw, draw(SHAPES))


@st.composite
def permute(draw):
    shape = draw(SHAPES)
    dims = draw(st.permutations(range(1, len(shape))))
    return layers.Permute(dims), smooth(draw, shape)


@st.composite
def reshape(draw):
    a, b, c = (draw(st.integers(1, 4)) for _ in range(3))
    target = draw(
        st.sampled_from([(a * b * c,), (-1,), (c, b, a), (b, -1), (a, b * c), (-1, a, 1)])
    )
    return layers.Reshape(target), smooth(draw, (draw(st.integers(1, 3)), a, b, c))


@st.composite
def input_layer(draw):
    shape = draw(SHAPES)
    return layers.InputLayer(shape[1:]), smooth(draw, shape)


@st.composite
def add(draw):
    shape = draw(SHAPES)
    return layers.Add(), [smooth(draw, shape) for _ in range(draw(st.integers(2, 4)))]


@st.composite
def multiply(draw):
    shape = draw(SHAPES)
    tensors = [smooth(draw, shape)]
    for _ in range(draw(st.integers(1, 3))):
        other = [shape[0], *(draw(st.sampled_from([1, n])) for n in shape[1:])]
        del other[1 : draw(st.integers(1, len(shape)))]  # axes after the batch
        tensors.insert(draw(st.integers(0, len(tensors))), smooth(draw, tuple(other)))
    return layers.Multiply(), tensors


@st.composite
def normalization(draw):
    shape = draw(SHAPES)
    axes = draw(st.none() | st.just(-1) | st.sets(st.integers(1, len(shape) - 1)).map(sorted))
    invert = draw(st.booleans())
    mean, variance = draw(st.just((None, None)) | st.tuples(QUARTERS, st.sampled_from([0.25, 2])))
    return layers.Normalization(axes, mean, variance, invert), smooth(draw, shape)


@st.composite
def concatenate(draw):
    shape = draw(SHAPES)
    axis = draw(st.sampled_from([-1, *range(1, len(shape)), *range(1 - len(shape), 0)]))
    shapes = [list(shape) for _ in range(draw(st.integers(1, 4)))]
    for one in shapes:
        one[axis] = draw(st.integers(1, 3))
    return layers.Concatenate(axis), [smooth(draw, tuple(one)) for one in shapes]


@st.composite
def rescaling(draw):
    shape = draw(SHAPES)
    scale, offset = (
        draw(QUARTERS | st.lists(QUARTERS, min_size=shape[-1], max_size=shape[-1]))
        for _ in range(2)
    )
    return layers.Rescaling(scale, offset), smooth(draw, shape)


@st.composite
def imagenet_preprocessing(draw):
    layer = layers.ImageNetPreprocessing(draw(st.sampled_from(["caffe", "tf", "torch", "lite"])))
    return layer, smooth(draw, (*draw(SHAPES)[:-1], 3))


SEEDS = {"seed": st.none() | st.integers(0, 9)}
AFFINE = {
    "fill_mode": st.sampled_from(["reflect", "constant", "nearest", "wrap"]),
    "interpolation": st.sampled_from(["bilinear", "nearest"]),
    "fill_value": st.sampled_from([0.0, 1.5]),
    **SEEDS,
}
FACTORS = st.sampled_from([0.0, 0.3, (-0.4, 0.1), (0.2, 0.2)])
POSITIVE = st.sampled_from([0.0, 0.3, (0.1, 0.4)])
MODES = st.sampled_from(layers.RandomFlip.MODES)


@st.composite
def affine_chain(draw):
    options = {name: draw(strategy) for name, strategy in AFFINE.items()}
    parts = [layers.RandomFlip(draw(MODES)), layers.RandomRotation(draw(FACTORS), **options)]
    parts.append(layers.RandomTranslation(draw(FACTORS), draw(FACTORS), **options))
    return layers.AffineChain(parts), smooth(draw, image_shape(draw))


# The range is narrow enough that some pixels of `smooth` images are clipped.
COLOR = {"factor": st.sampled_from([0.1, (0.0, 0.3)]), "value_range": st.just((-1.5, 2)), **SEEDS}
SLOPES = st.sampled_from([0.0, 0.25, 1.5])
NAMES = st.sampled_from(
    [
        "relu",
        "relu6",
        "leaky_relu",
        "sigmoid",
        "tanh",
        "softmax",
        "gelu",
        "silu",
        "swish",
        "hard_sigmoid",
        "hard_swish",
        "linear",
        layers.ReLU(max_value=0.5),
    ]
)

CASES = {
    layers.Activation: elementwise(layers.Activation, off_grid, activation=NAMES),
    layers.Add: add(),
    layers.AffineChain: affine_chain(),
    layers.AveragePooling2D: pooling(layers.AveragePooling2D, smooth),
    layers.BatchNormalization: batch_normalization(),
    layers.Concatenate: concatenate(),
    layers.Conv2D: conv2d(),
    layers.Dense: dense(),
    layers.DepthwiseConv2D: depthwise_conv2d(),
    layers.Dropout: dropout(),
    layers.Flatten: elementwise(layers.Flatten),
    layers.GELU: elementwise(layers.GELU, approximate=st.booleans()),
    layers.GlobalAveragePooling2D: on_images(layers.GlobalAveragePooling2D, keepdims=st.booleans()),
    layers.GlobalMaxPooling2D: on_images(
        layers.GlobalMaxPooling2D, distinct, keepdims=st.booleans()
    ),
    layers.HardSiLU: elementwise(layers.HardSiLU, off_grid),
    layers.HardSigmoid: elementwise(layers.HardSigmoid, off_grid),
    layers.ImageNetPreprocessing: imagenet_preprocessing(),
    layers.InputLayer: input_layer(),
    layers.LeakyReLU: elementwise(layers.LeakyReLU, off_grid, negative_slope=SLOPES),
    layers.LocalResponseNormalization: local_response_normalization(),
    layers.MaxPooling2D: pooling(layers.MaxPooling2D, distinct),
    layers.Multiply: multiply(),
    layers.Normalization: normalization(),
    layers.PReLU: prelu(),
    layers.Permute: permute(),
    layers.RandomBrightness: on_images(layers.RandomBrightness, **COLOR),
    layers.RandomContrast: on_images(layers.RandomContrast, **COLOR),
    layers.RandomCrop: on_images(
        layers.RandomCrop, height=st.integers(1, 5), width=st.integers(1, 5), **SEEDS
    ),
    layers.RandomFlip: on_images(layers.RandomFlip, mode=MODES, **SEEDS),
    layers.RandomRotation: on_images(layers.RandomRotation, factor=FACTORS, **AFFINE),
    layers.RandomShear: on_images(
        layers.RandomShear, x_factor=POSITIVE, y_factor=POSITIVE, **AFFINE
    ),
    layers.RandomTranslation: on_images(
        layers.RandomTranslation, height_factor=FACTORS, width_factor=FACTORS, **AFFINE
    ),
    layers.RandomZoom: on_images(
        layers.RandomZoom, height_factor=FACTORS, width_factor=st.none() | FACTORS, **AFFINE
    ),
    layers.ReLU: elementwise(
        layers.ReLU,
        off_grid,
        max_value=st.sampled_from([None, 0.5, 6]),
        negative_slope=SLOPES,
        threshold=st.sampled_from([0.0, 0.25, -1.0]),
    ),
    layers.Rescaling: rescaling(),
    layers.Reshape: reshape(),
    layers.SiLU: elementwise(layers.SiLU),
    layers.Sigmoid: elementwise(layers.Sigmoid),
    layers.Softmax: elementwise(layers.Softmax),
    layers.Tanh: elementwise(layers.Tanh),
    layers.ZeroPadding2D: on_images(
        layers.ZeroPadding2D, padding=st.integers(0, 2) | PAIRS | st.tuples(PAIRS, PAIRS)
    ),
}
