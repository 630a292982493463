"""The inference plan against the training executor: the same numbers, in less memory."""

import threading
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minidl import Input, Model, Sequential, layers
from minidl.common.errors import ShapeError
from minidl.graph.inference import convolution_steps, plan
from minidl.graph.inference.fusion import fuse

RNG = np.random.default_rng(0)


def randomize(model, seed=0):
    """Give all parameters random numbers, BatchNormalization's statistics among them."""
    rng = np.random.default_rng(seed)
    for parameter in model.weights:
        value = rng.normal(size=parameter.shape) * 0.5
        if parameter.name in ("moving_variance", "gamma"):
            value = rng.uniform(0.5, 1.5, parameter.shape)
        parameter.assign(value)
    return model


def executed(model, x):
    """Return the outputs layer by layer, nothing fused."""
    return model.forward(x, training=False)[0]


def steps(model):
    graph = fuse(model.nodes, model.output_numbers)
    return [[layer.name for layer in step.layers] for step in graph.steps]


def arena_size(model, shapes):
    return model._plan.prepare(shapes).memory.size


def residual_block(x, filters, strides=1, relu="after"):
    y = layers.ZeroPadding2D(1)(x)
    y = layers.Conv2D(filters, 3, strides=strides, use_bias=False)(y)
    y = layers.BatchNormalization(scale=False, epsilon=1e-2)(y)
    y = layers.Activation("relu")(y)
    y = layers.BatchNormalization()(layers.Conv2D(filters, 1)(y))
    shortcut = layers.BatchNormalization()(layers.Conv2D(filters, 1, strides=strides)(x))
    y = layers.Add()([shortcut, y])
    return layers.ReLU()(y) if relu == "after" else y


def joined(x):
    """Return what Inception blocks have: a Concatenate within another, a pooling beside them."""
    a = layers.Conv2D(3, 1, activation="relu")(x)
    b = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(4, (1, 3), padding="same")(x)))
    c = layers.AveragePooling2D(3, 1, "same")(x)
    inner = layers.Concatenate()([layers.Conv2D(2, 1)(b), layers.Conv2D(5, 3, padding="same")(b)])
    return layers.Concatenate()([a, inner, c, layers.Conv2D(2, 1, activation="tanh")(x)])


def pictures_net():
    x = Input((None, None, 3), dtype="float64")
    y = joined(residual_block(layers.Rescaling(1 / 127.5, -1)(x), 6, strides=2))
    y = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2)(layers.Dropout(0.5)(y))
    y = layers.ReLU(6)(layers.BatchNormalization()(y))
    y = residual_block(layers.MaxPooling2D()(y), 4, relu=None)
    y = layers.Dense(3, activation="softmax")(layers.GlobalAveragePooling2D()(y))
    return randomize(Model(x, y))


@given(
    batch=st.integers(1, 3), height=st.integers(5, 20), width=st.integers(5, 20),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_the_plan_computes_what_the_layers_compute(batch, height, width, seed):
    model = pictures_net()
    x = np.random.default_rng(seed).uniform(0, 255, (batch, height, width, 3))
    np.testing.assert_allclose(model.infer(x), executed(model, x), rtol=1e-10)


def test_what_is_fused():
    model = Model(x := Input((9, 9, 2)), residual_block(x, 4))
    assert steps(model) == [
        ["zero_padding2d", "conv2d", "batch_normalization", "activation"],
        ["conv2d_2", "batch_normalization_2"],
        ["conv2d_1", "batch_normalization_1", "add", "re_lu"],
    ]


def stem(x, relu=True):
    """Return how ResNet50 and InceptionV3 begin."""
    y = layers.ImageNetPreprocessing("caffe")(x)
    y = layers.Conv2D(4, 3, activation="relu" if relu else None)(y)
    y = layers.Rescaling([1, 2, 3, 4], offset=[0.5, -1, 2, 0])(y)
    y = layers.BatchNormalization()(layers.Conv2D(5, 2, strides=2)(y))
    y = layers.ReLU()(y) if relu else y
    return layers.MaxPooling2D(3, 2)(layers.ZeroPadding2D(((1, 0), (2, 1)))(y))


@pytest.mark.parametrize("relu", [True, False])
def test_scaling_before_an_unpadded_convolution_and_padding_before_a_pooling(relu):
    x = Input((15, 14, 3), dtype="float64")
    model = randomize(Model(x, stem(x, relu)))
    first, second, *rest = steps(model)
    assert first[0] == "image_net_preprocessing"
    assert second[0] == "rescaling"
    # Zeros around negative numbers would win: then the padding stays a layer.
    assert rest == ([["zero_padding2d", "max_pooling2d"]] if relu else
                    [["zero_padding2d"], ["max_pooling2d"]])  # fmt: skip
    images = RNG.uniform(0, 255, (2, 15, 14, 3))
    np.testing.assert_allclose(model.infer(images), executed(model, images), rtol=1e-9)


def test_scaling_before_a_padded_convolution_stays_a_layer():
    """Zeros are padded after the scaling: folded into the kernel, the border would be wrong."""
    x = Input((6, 6, 3), dtype="float64")
    y = layers.Conv2D(2, 3, padding="same")(layers.Rescaling(1 / 127.5, -1)(x))
    model = randomize(Model(x, y))
    images = RNG.uniform(0, 255, (2, 6, 6, 3))
    np.testing.assert_allclose(model.infer(images), executed(model, images), rtol=1e-10)


def test_layers_that_do_nothing_in_inference_are_left_out():
    model = Sequential([Input((4,)), layers.Dropout(0.5), layers.Dense(2), layers.Dropout(0.1)])
    assert steps(model) == [["dense"]]


def test_what_others_read_is_not_fused_away():
    x = Input((6, 6, 2))
    conv = layers.Conv2D(3, 3)(x)
    norm = layers.BatchNormalization()(conv)
    model = randomize(Model(x, [conv, layers.ReLU()(norm), norm]))
    images = RNG.normal(size=(2, 6, 6, 2)).astype(np.float32)
    for y, expected in zip(model.infer(images), executed(model, images), strict=True):
        np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)


def test_a_layer_of_ones_own_is_called_as_it_is():
    class Louder(layers.Conv2D):
        def forward(self, x, training=False, rng=None):
            y, cache = super().forward(x, training, rng)
            return 10 * y, cache

    stack = [Input((5, 5, 1)), Louder(2, 3), layers.BatchNormalization(), layers.Flatten()]
    model = randomize(Sequential(stack))
    x = RNG.normal(size=(1, 5, 5, 1)).astype(np.float32)
    np.testing.assert_allclose(model.infer(x), executed(model, x), rtol=1e-5)


@pytest.mark.parametrize("change", ["assign", "set_weights", "in place", "training"])
def test_changed_weights_are_seen(change):
    stack = [Input((6, 6, 1)), layers.Conv2D(2, 3), layers.BatchNormalization(), layers.Flatten()]
    model = randomize(Sequential([*stack, layers.Dense(1)]))
    model.compile("sgd", "mse")
    x = RNG.normal(size=(4, 6, 6, 1)).astype(np.float32)
    before = model.infer(x)
    if change == "assign":
        model.weights[0].assign(model.weights[0].value * 2)
    elif change == "set_weights":
        model.get_layer("batch_normalization").set_weights([np.full(2, 3.0)] * 4)
    elif change == "in place":
        with model.weights[0].editing() as kernel:
            kernel *= 2
    else:
        model.train_on_batch(x, np.ones((4, 1)))
    after = model.infer(x)
    assert np.abs(after - before).max() > 1e-3
    np.testing.assert_allclose(after, executed(model, x), rtol=1e-4, atol=1e-5)


def test_results_belong_to_the_caller():
    """Buffers are used again in the next call; what was returned must not change with them."""
    x = Input((4, 4, 2))
    y = layers.Conv2D(3, 1)(x)
    model = Model(x, [y, layers.Flatten()(layers.ReLU()(y)), layers.Flatten()(x)])
    first = model.infer(np.ones((2, 4, 4, 2), np.float32))
    kept = [item.copy() for item in first]
    model.infer(np.full((2, 4, 4, 2), 7, np.float32))
    for item, copy in zip(first, kept, strict=True):
        np.testing.assert_array_equal(item, copy)


def test_buffers_are_shared_and_used_again():
    stack = [Input((32, 32, 4)), *[layers.Conv2D(4, 1) for _ in range(10)], layers.Flatten()]
    model = Sequential([*stack, layers.Dense(1)])
    x = np.ones((2, 32, 32, 4), np.float32)
    model.infer(x)
    one = 2 * 32 * 32 * 4 * 4
    assert arena_size(model, [x.shape]) == 2 * one
    (arena,) = model._plan._arenas
    model.infer(x)
    assert model._plan._arenas[0] is arena


def conv(x):
    return layers.Conv2D(8, 1)(x)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_sum_takes_the_place_of_what_is_added(dtype):
    x = Input((6, 6, 8), dtype=dtype)
    y = layers.ReLU()(conv(x))
    for _ in range(3):
        y = layers.ReLU()(layers.Add()([y, conv(layers.ReLU()(conv(y)))]))
    images = RNG.normal(size=(3, 6, 6, 8)).astype(dtype)
    model = randomize(Model(x, layers.Flatten()(y)))
    np.testing.assert_allclose(model.infer(images), executed(model, images), rtol=1e-4, atol=1e-4)
    size = 6 * 6 * 8 * 3 * images.itemsize
    # Two instead of three: a block's input, which becomes its output, and what is in between.
    assert arena_size(model, [images.shape]) == (2 if dtype == "float32" else 3) * size


def read_later(x, y):
    return layers.Flatten()(layers.Concatenate()([layers.Add()([y, conv(y)]), y]))


def also_wanted(x, y):
    return [layers.Add()([y, conv(y)]), y]


class Same(layers.Layer):
    def forward(self, x, training=False, rng=None):
        return x, None


def its_own_view(x, y):
    return layers.Flatten()(layers.Add()([y, layers.Conv2D(8, 3, padding="same")(Same()(y))]))


def read_through_a_view(x, y):
    flat = layers.Flatten()(y)
    total = layers.Flatten()(layers.Add()([y, conv(x)]))
    return layers.Concatenate()([total, flat])


def the_callers(x, y):
    return layers.Flatten()(layers.Add()([x, conv(y)]))


@pytest.mark.parametrize(
    "ending", [read_later, also_wanted, its_own_view, read_through_a_view, the_callers]
)
def test_what_is_still_needed_is_not_overwritten(ending):
    x = Input((6, 6, 8))
    model = randomize(Model(x, ending(x, layers.ReLU()(conv(x)))))
    images = RNG.normal(size=(3, 6, 6, 8)).astype(np.float32)
    before = images.copy()
    results, expected = model.infer(images), executed(model, images)
    if not isinstance(results, list):
        results, expected = [results], [expected]
    for result, exact in zip(results, expected, strict=True):
        np.testing.assert_allclose(result, exact, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(images, before)


def test_several_threads_may_predict_at_a_time():
    model = pictures_net()
    xs = [RNG.uniform(0, 255, (2, 12 + i % 3, 16, 3)) for i in range(8)]
    expected = [model.infer(x) for x in xs]
    results = [None] * len(xs)

    def work(i):
        results[i] = [model.infer(xs[i]) for _ in range(3)]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(xs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result, wanted in zip(results, expected, strict=True):
        for y in result:
            np.testing.assert_array_equal(y, wanted)


def test_images_that_do_not_fit_are_refused_by_name():
    x = Input((None, None, 2))
    y = layers.Add(name="sum")([layers.Conv2D(2, 3, name="small")(x), x])
    with pytest.raises(ShapeError, match="'sum'"):
        Model(x, y).infer(np.zeros((1, 6, 6, 2)))
    net = Model(x, layers.ReLU()(layers.Conv2D(2, 3, name="small")(x)))
    with pytest.raises(ShapeError, match="'small'"):
        net.infer(np.zeros((1, 2, 2, 2)))


def test_the_plan_can_be_printed_with_times():
    model = pictures_net()
    with pytest.raises(ShapeError, match="input_shape"):
        model.plan_summary(print_fn=None)
    text = model.plan_summary(2, input_shape=(12, 16, 3), profile=True, print_fn=None)
    row = next(line for line in text.splitlines() if line.startswith("zero_padding2d + conv2d +"))
    assert "2x6x8x6" in row
    assert f"{2 * 6 * 8 * 27 * 6:,}" in row
    in_place = [line for line in text.splitlines() if line.split("im2col")[-1].count("concatenate")]
    assert len(in_place) >= 2  # written straight into the joined tensor
    assert float(text.splitlines()[-1].split()[1]) > 0
    assert "GFLOP/s" not in model.plan_summary(2, (12, 16, 3), print_fn=None)


@pytest.mark.parametrize("batch", [2, 5])
def test_a_large_batch_is_computed_in_parts(batch, monkeypatch):
    model = pictures_net()
    x = RNG.uniform(0, 255, (batch, 12, 16, 3))
    whole = model.infer(x)
    monkeypatch.setattr(plan, "ARENA_LIMIT", arena_size(model, [(1, 12, 16, 3)]))
    np.testing.assert_allclose(model.infer(x), whole, rtol=1e-10)
    assert max(arena.size for arena in model._plan._arenas) <= arena_size(model, [x.shape])
    model._plan._arenas.clear()
    model.infer(x)
    assert model._plan._arenas[0].size == plan.ARENA_LIMIT


class Counting(layers.Dense):
    """Notes the batches that it sees."""

    seen: ClassVar[list[int]] = []

    def infer(self, x, out=None):
        self.seen.append(len(x))
        return super().infer(x, out)


def narrowing(tap_low=False):
    """Wide images below, a dense layer above; nothing but a pooling's output in between."""
    x = Input((16, 16, 4))
    low = y = layers.ReLU()(layers.Conv2D(16, 3, padding="same")(x))
    y = layers.Add()([y, layers.Conv2D(16, 1)(y)])
    y = layers.MaxPooling2D(4)(y)
    for _ in range(2):
        y = layers.ReLU()(layers.Add()([y, layers.Conv2D(16, 3, padding="same")(y)]))
    y = Counting(3)(layers.Flatten()(y))
    return randomize(Model(x, [y, layers.GlobalAveragePooling2D()(low)] if tap_low else y))


def test_of_a_large_batch_only_the_wide_layers_are_computed_in_parts(monkeypatch):
    model = narrowing()
    x = RNG.normal(size=(12, 16, 16, 4)).astype(np.float32)
    whole = model.infer(x)
    one = 2 * 16 * 16 * 16 * 4  # of one sample: what the widest step reads and writes
    monkeypatch.setattr(plan, "ARENA_LIMIT", 4 * one)
    model._plan._arenas.clear()
    Counting.seen.clear()
    np.testing.assert_allclose(model.infer(x), whole, rtol=1e-4, atol=1e-4)
    assert Counting.seen == [12]
    (arena,) = model._plan._arenas
    assert arena.size <= plan.ARENA_LIMIT
    # Where parameters change, the parts are made anew.
    model.layers[1].set_weights([2 * w for w in model.layers[1].get_weights()])
    np.testing.assert_allclose(model.infer(x), executed(model, x), rtol=1e-4, atol=1e-3)


def test_a_graph_that_does_not_narrow_is_computed_in_parts_as_a_whole(monkeypatch):
    model = narrowing(tap_low=True)
    x = RNG.normal(size=(12, 16, 16, 4)).astype(np.float32)
    whole = model.infer(x)
    monkeypatch.setattr(plan, "ARENA_LIMIT", arena_size(model, [x.shape]) // 3)
    Counting.seen.clear()
    for part, expected in zip(model.infer(x), whole, strict=True):
        np.testing.assert_allclose(part, expected, rtol=1e-4, atol=1e-4)
    assert sum(Counting.seen) == 12
    assert len(Counting.seen) >= 3


def test_very_large_batches_go_through_some_at_a_time(monkeypatch):
    model = narrowing()
    x = RNG.normal(size=(12, 16, 16, 4)).astype(np.float32)
    whole = model.infer(x)
    monkeypatch.setattr(plan, "ARENA_LIMIT", 8 * 16 * 16 * 16 * 4)
    monkeypatch.setattr(plan, "MAX_BATCH", 6)
    Counting.seen.clear()
    np.testing.assert_allclose(model.infer(x), whole, rtol=1e-4, atol=1e-4)
    assert Counting.seen == [6, 6]


def test_layers_of_ones_own_see_the_whole_batch(monkeypatch):
    class BatchMean(layers.Layer):
        def forward(self, x, training=False, rng=None):
            return x - x.mean(axis=0), None

    model = randomize(Sequential([Input((8, 8, 2)), layers.Conv2D(3, 3), BatchMean()]))
    x = RNG.normal(size=(4, 8, 8, 2)).astype(np.float32)
    expected = executed(model, x)
    monkeypatch.setattr(plan, "ARENA_LIMIT", 1)
    np.testing.assert_allclose(model.infer(x), expected, atol=1e-5)


def test_large_transforms_of_kernels_are_made_for_each_call(monkeypatch):
    monkeypatch.setattr(convolution_steps, "MAX_CACHED_TRANSFORM", 1)
    stack = [Input((24, 24, 64)), layers.Conv2D(64, 3), layers.Conv2D(70, 3), layers.ReLU()]
    model = randomize(Sequential(stack))
    x = RNG.normal(size=(8, 24, 24, 64)).astype(np.float32)
    y = model.infer(x)
    np.testing.assert_allclose(y, executed(model, x), rtol=1e-4, atol=1e-4 * y.max())
    assert all(not step.prepared for step in model._plan.prepare([x.shape]).graph.steps)


def test_an_addition_after_a_depthwise_convolution_is_made():
    x = Input((6, 6, 4))
    y = layers.BatchNormalization()(layers.DepthwiseConv2D(3, padding="same")(x))
    model = randomize(Model(x, layers.ReLU()(layers.Add()([x, y]))))
    images = RNG.normal(size=(2, 6, 6, 4)).astype(np.float32)
    np.testing.assert_allclose(model.infer(images), executed(model, images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("padding", [2, ((0, 2), (0, 0)), ((0, 0), (3, 0))])
def test_a_window_wholly_in_the_padding_has_its_zeros(padding):
    stack = [Input((6, 6, 2)), layers.Conv2D(2, 1), layers.ReLU()]
    model = randomize(Sequential([*stack, layers.ZeroPadding2D(padding), layers.MaxPooling2D(2)]))
    x = RNG.normal(size=(1, 6, 6, 2)).astype(np.float32)
    np.testing.assert_allclose(model.infer(x), executed(model, x), rtol=1e-5, atol=1e-6)


def test_layers_of_different_types_are_not_fused():
    x = Input((6, 6, 3))
    y = layers.Conv2D(2, 3)(layers.Rescaling(0.5, dtype="float64")(x))
    y = layers.BatchNormalization(dtype="float64")(layers.Conv2D(2, 1, dtype="float32")(y))
    model = randomize(Model(x, y))
    images = RNG.normal(size=(1, 6, 6, 3))
    ours, theirs = model.infer(images), executed(model, images)
    assert ours.dtype == theirs.dtype == np.float64
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("stack", [[layers.Flatten()], [layers.Dropout(0.5)]])
def test_a_result_shares_no_memory_with_the_input(stack):
    x = np.ones((2, 3, 3), np.float32)
    y = Sequential([Input((3, 3)), *stack]).infer(x)
    y[...] = 7
    assert (x == 1).all()


def test_an_edit_of_a_single_weight_is_seen():
    model = randomize(Sequential([Input((9, 9, 8)), layers.Conv2D(7, 3), layers.ReLU()]))
    model = Model(model.input, layers.BatchNormalization()(model.output))
    x = RNG.normal(size=(2, 9, 9, 8)).astype(np.float32)
    model.infer(x)
    kernel = model.weights[0]
    with kernel.editing() as array:
        array[1, 2, 3, 4] = 50
    np.testing.assert_allclose(model.infer(x), executed(model, x), rtol=1e-3, atol=1e-4)
    kernel.assign(np.asfortranarray(np.full(kernel.shape, 5)))
    np.testing.assert_allclose(model.infer(x), executed(model, x), rtol=1e-3, atol=1e-2)
