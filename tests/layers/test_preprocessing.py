"""Rescaling, brightness, contrast and crops: formulas, limits, gradients."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.reference_warp import naive_resize

from minidl.common.errors import ShapeError
from minidl.kernels.runtime import thread_pool
from minidl.layers.preprocessing import RandomBrightness, RandomContrast, RandomCrop, Rescaling


def photos(n=4, height=6, width=7, channels=3, dtype="float64", seed=0, low=0, high=255):
    rng = np.random.default_rng(seed)
    return rng.uniform(low, high, (n, height, width, channels)).astype(dtype)


def augment(layer, x, seed=0):
    return layer.forward(x, training=True, rng=np.random.default_rng(seed))[0]


def check_gradient(layer, x, training):
    """Compare <dx, v> with the central difference of <y, g> along a direction v."""
    g_rng = np.random.default_rng(1)

    def run(x):
        return layer.forward(x, training=training, rng=np.random.default_rng(0))

    y, cache = run(x)
    g, v = g_rng.normal(size=y.shape), g_rng.normal(size=x.shape)
    dx, gradients = layer.backward(g, cache)
    step = 1e-4
    numeric = np.vdot(g, (run(x + step * v)[0] - run(x - step * v)[0]) / (2 * step))
    np.testing.assert_allclose(np.vdot(dx, v), numeric, rtol=1e-6)
    assert gradients == []


@settings(deadline=None)
@given(
    shape=st.lists(st.integers(1, 5), min_size=1, max_size=5),
    dtype=st.sampled_from(["uint8", "int64", "float32", "float64"]),
    per_channel=st.tuples(st.booleans(), st.booleans()),
)
def test_rescaling_multiplies_and_adds(shape, dtype, per_channel):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, shape).astype(dtype)
    scale, offset = (
        rng.normal(size=shape[-1]).tolist() if many else float(rng.normal()) for many in per_channel
    )
    y = Rescaling(scale, offset)(x)
    assert y.dtype == (np.float64 if dtype == "float64" else np.float32)
    np.testing.assert_allclose(y, x * np.array(scale) + np.array(offset), rtol=1e-6, atol=1e-4)


@pytest.mark.parametrize("training", [False, True])
def test_rescaling_gradient(training):
    check_gradient(Rescaling([0.5, 2.0, -1.0], 3.0), photos(), training)


def test_rescaling_rejects_another_number_of_channels():
    layer = Rescaling([1.0, 2.0, 3.0], name="to_unit")
    with pytest.raises(ShapeError, match=r"Rescaling 'to_unit'.*3 channels.*scale.*\(2, 4, 4, 1\)"):
        layer(np.zeros((2, 4, 4, 1), "float32"))
    assert layer.compute_output_shape((None, None, None, None)) == (None,) * 4
    for bad in ("1", [[1.0]], None):
        with pytest.raises(ValueError, match="scale to be a number"):
            Rescaling(bad)


@settings(deadline=None)
@given(
    value_range=st.sampled_from([(0, 255), (0.0, 1.0), (-1, 1)]),
    factor=st.sampled_from([0.3, (-0.5, 0.2), (0.4, 0.4), 1.0]),
    dtype=st.sampled_from(["float32", "float64"]),
    seed=st.integers(0, 2**32),
)
def test_brightness_adds_one_number_per_image_and_clips(value_range, factor, dtype, seed):
    low, high = value_range
    x = photos(5, dtype=dtype, low=low, high=high)
    y = augment(RandomBrightness(factor, value_range), x, seed)
    limits = factor if isinstance(factor, tuple) else (-factor, factor)
    delta = np.random.default_rng(seed).uniform(*limits, len(x)) * (high - low)
    expected = np.clip(x + delta[:, None, None, None], low, high)
    np.testing.assert_allclose(y, expected, atol=1e-6 * (high - low))
    assert y.dtype == x.dtype


@settings(deadline=None)
@given(
    value_range=st.sampled_from([(0, 255), (0.0, 1.0), (-1, 1)]),
    factor=st.sampled_from([0.3, (0.5, 0.2), (-0.4, 0.4), 1.0]),
    dtype=st.sampled_from(["float32", "float64"]),
    seed=st.integers(0, 2**32),
)
def test_contrast_scales_the_distance_from_the_mean_of_each_channel(
    value_range, factor, dtype, seed
):
    low, high = value_range
    x = photos(5, dtype=dtype, low=low, high=high)
    y = augment(RandomContrast(factor, value_range), x, seed)
    lower, upper = factor if isinstance(factor, tuple) else (factor, factor)
    contrast = np.random.default_rng(seed).uniform(1 - lower, 1 + upper, len(x))
    mean = x.mean(axis=(1, 2), keepdims=True)
    expected = np.clip((x - mean) * contrast[:, None, None, None] + mean, low, high)
    np.testing.assert_allclose(y, expected, atol=1e-6 * (high - low))
    assert y.dtype == x.dtype


@pytest.mark.parametrize("layer", [RandomBrightness(0.1), RandomContrast(0.4)])
def test_color_gradients(layer):
    check_gradient(layer, photos(low=80, high=170), training=True)
    x = photos()
    y, cache = layer.forward(x, training=False)
    assert y is x
    assert layer.backward(y, cache)[0] is y


@pytest.mark.parametrize("layer", [RandomBrightness((0.5, 0.5)), RandomContrast((-1, 1))])
def test_clipped_pixels_have_no_direct_gradient(layer):
    x = photos()
    y, cache = layer.forward(x, training=True)
    clipped = (y == 0) | (y == 255)
    assert clipped.any()
    assert not clipped.all()
    dx, _ = layer.backward(clipped.astype(x.dtype), cache)  # dy is zero except at clipped pixels
    assert (dx == 0).all()


@pytest.mark.parametrize("layer", [RandomBrightness(0.3), RandomContrast(0.3), RandomCrop(3, 3)])
def test_same_seed_same_bits_whatever_the_threads(layer):
    x = photos(9, dtype="float32")
    before = thread_pool.get_num_threads()
    results = []
    try:
        for threads in (1, 2):
            thread_pool.set_num_threads(threads)
            y, cache = layer.forward(x, training=True, rng=np.random.default_rng(7))
            results.append(y.tobytes() + layer.backward(y, cache)[0].tobytes())
    finally:
        thread_pool.set_num_threads(before)
    assert results[0] == results[1]
    assert not np.array_equal(augment(layer, x, seed=7), augment(layer, x, seed=8))


def test_crop_cuts_a_random_window_the_same_for_the_whole_batch():
    row, column = np.meshgrid(np.arange(6), np.arange(8), indexing="ij")
    image = np.stack([row, column], axis=-1)  # each pixel holds its own coordinates
    x = np.stack([image, image + 100]).astype("uint8")
    corners = set()
    for seed in range(200):
        y = augment(RandomCrop(4, 7), x, seed)
        assert y.dtype == np.float32
        top, left = y[0, 0, 0].astype(int)
        assert np.array_equal(y, x[:, top : top + 4, left : left + 7])
        corners.add((top, left))
    assert corners == {(top, left) for top in range(3) for left in range(2)}


@settings(deadline=None)
@given(
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    target=st.tuples(st.integers(1, 9), st.integers(1, 9)),
)
def test_crop_in_inference_resizes_the_largest_centered_region(size, target):
    (height, width), (to_height, to_width) = size, target
    x = photos(2, height, width)
    y = RandomCrop(to_height, to_width)(x)
    # The region has the target's aspect ratio, rounded down to whole pixels.
    inner_height = max(1, min(height, int(width * to_height / to_width)))
    inner_width = max(1, min(width, int(height * to_width / to_height)))
    top, left = (height - inner_height) // 2, (width - inner_width) // 2
    inner = x[:, top : top + inner_height, left : left + inner_width]
    expected = [naive_resize(image, to_height, to_width) for image in inner]
    np.testing.assert_allclose(y, expected, atol=1e-9)


def test_crop_of_a_smaller_image_in_training_also_resizes():
    x = photos(2, 3, 8)
    layer = RandomCrop(6, 6)
    np.testing.assert_array_equal(augment(layer, x), layer(x))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("target", [(3, 4), (9, 5), (6, 7)])
def test_crop_gradient(target, training):
    check_gradient(RandomCrop(*target), photos(), training)


def test_crop_of_the_whole_image_makes_no_copy():
    x = photos()
    y, _ = RandomCrop(6, 7).forward(x)
    assert np.array_equal(y, x)
    assert np.shares_memory(y, x)


@pytest.mark.parametrize(
    "layer",
    [
        Rescaling(np.array([0.5, 1.0, 2.0]), offset=(1, 2, 3), name="scale"),
        RandomBrightness(0.2, value_range=(0, 1), seed=3),
        RandomContrast((0.1, 0.9)),
        RandomCrop(3, 2),
    ],
)
def test_a_layer_is_rebuilt_from_its_configuration(layer):
    x = photos()
    twin = type(layer).from_config(json.loads(json.dumps(layer.get_config())))
    assert twin.name == layer.name
    assert np.array_equal(augment(twin, x), augment(layer, x))


@pytest.mark.parametrize("layer", [RandomBrightness(0.2), RandomContrast(0.2), RandomCrop(3, 2)])
def test_images_only(layer):
    with pytest.raises(ShapeError, match=r"height, width, channels.*\(4, 4, 3\)"):
        layer(np.zeros((4, 4, 3), "float32"))
    x = np.zeros((2, 4, 4, 1), "uint8")
    for training in (False, True):
        y = layer(x, training=training)
        assert y.dtype == np.float32
        assert y.shape == layer.compute_output_shape(x.shape)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RandomBrightness(2), "factor.*-1 to 1.*2"),
        (lambda: RandomBrightness(0.1, value_range=(1, 1)), r"value_range.*\(1, 1\)"),
        (lambda: RandomBrightness(0.1, value_range=255), "value_range.*255"),
        (lambda: RandomContrast((0.1, 0.2, 0.3)), "factor"),
        (lambda: RandomContrast((0.1,)), "factor"),
        (lambda: RandomContrast((-0.5, 0.1)), "factor"),
        (lambda: RandomCrop(0, 3), "height.*0"),
        (lambda: RandomCrop(3, 2.5), "width.*2.5"),
    ],
)
def test_bad_arguments_are_refused_with_the_layers_name(make, message):
    with pytest.raises(ValueError, match="Random.*" + message):
        make()
