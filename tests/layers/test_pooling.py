"""Pooling layers: small cases by hand, Keras' defaults, rejected arguments."""

import numpy as np
import pytest

from minidl.common.errors import ShapeError
from minidl.layers import (
    AveragePooling2D,
    GlobalAveragePooling2D,
    GlobalMaxPooling2D,
    MaxPooling2D,
)

IMAGE = np.arange(1.0, 10).reshape(1, 3, 3, 1)  # 1 2 3 / 4 5 6 / 7 8 9


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (MaxPooling2D(), [[5]]),
        (MaxPooling2D(2, 1), [[5, 6], [8, 9]]),
        (MaxPooling2D(padding="same"), [[5, 6], [8, 9]]),
        (MaxPooling2D((1, 3)), [[3], [6], [9]]),
        (AveragePooling2D(), [[3]]),
        (AveragePooling2D(2, 1), [[3, 4], [6, 7]]),
        (AveragePooling2D(padding="same"), [[3, 4.5], [7.5, 9]]),
        (AveragePooling2D(3, 1, "same"), [[3, 3.5, 4], [4.5, 5, 5.5], [6, 6.5, 7]]),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_windows_by_hand(layer, expected):
    y = layer(IMAGE)
    np.testing.assert_allclose(y[0, :, :, 0], expected, rtol=1e-15)
    assert layer.compute_output_shape(IMAGE.shape) == y.shape


def test_the_gradient_of_a_maximum_goes_to_its_pixel_alone():
    layer = MaxPooling2D(2, 1)
    for training in (False, True):
        _, cache = layer.forward(IMAGE, training=training)
        dx, _ = layer.backward(np.array([[1.0, 2], [3, 4]]).reshape(1, 2, 2, 1), cache)
        np.testing.assert_array_equal(dx[0, :, :, 0], [[0, 0, 0], [0, 1, 2], [0, 3, 4]])


def test_of_two_equal_maxima_one_gets_the_gradient():
    for layer in (MaxPooling2D(3), GlobalMaxPooling2D()):
        y, cache = layer.forward(np.ones((1, 3, 3, 1)), training=True)
        dx, _ = layer.backward(np.ones_like(y), cache)
        assert dx.sum() == 1
        assert dx[0, 0, 0, 0] == 1  # the first pixel


@pytest.mark.parametrize("keepdims", [False, True])
def test_global_poolings_by_hand(keepdims):
    x = np.concatenate([IMAGE, -IMAGE], axis=3)
    shape = (1, 1, 1, 2) if keepdims else (1, 2)
    for cls, expected in ((GlobalAveragePooling2D, [5, -5]), (GlobalMaxPooling2D, [9, -1])):
        layer = cls(keepdims=keepdims)
        y, cache = layer.forward(x)
        assert y.shape == layer.compute_output_shape(x.shape) == shape
        assert y.ravel().tolist() == expected
        assert layer.compute_output_shape((None, None, None, 2)) == (None, *shape[1:])
        dx, _ = layer.backward(np.ones(shape), cache)
        np.testing.assert_allclose(dx.sum(axis=(1, 2)), [[1, 1]], rtol=1e-14)


def test_the_default_stride_is_the_window():
    for cls in (MaxPooling2D, AveragePooling2D):
        assert cls().window.kernel_size == cls().window.strides == (2, 2)
        assert cls((3, 2)).window.strides == (3, 2)
        assert cls((3, 2), 1).window.strides == (1, 1)
        assert cls().window.padding == "valid"


@pytest.mark.parametrize("cls", [MaxPooling2D, AveragePooling2D])
def test_small_images_and_wrong_arguments_are_rejected(cls):
    layer = cls(4, name="pool")
    with pytest.raises(
        ShapeError, match=r"'pool': expected images of at least \(4, 4\).*\(1, 3, 3, 1\)"
    ):
        layer(IMAGE)
    with pytest.raises(ShapeError, match=r"'pool': expected input \(N, H, W, C\).*\(3, 3\)"):
        layer(np.ones((3, 3)))
    with pytest.raises(ValueError, match="pool_size"):
        cls(0)
    with pytest.raises(ValueError, match="padding to be 'valid' or 'same', received 'full'"):
        cls(padding="full")
    with pytest.raises(ValueError, match="channels_last"):
        cls(data_format="channels_first")


@pytest.mark.parametrize("cls", [GlobalMaxPooling2D, GlobalAveragePooling2D])
def test_global_pooling_rejects_other_shapes(cls):
    with pytest.raises(ShapeError, match=r"'pool': expected input \(N, H, W, C\).*\(3, 3\)"):
        cls(name="pool")(np.ones((3, 3)))
    with pytest.raises(
        ShapeError, match=r"'pool': expected .* pixels, received shape \(1, 0, 3, 1\)"
    ):
        cls(name="pool")(np.ones((1, 0, 3, 1)))


def test_explicit_padding_takes_no_part():
    sides = ((1, 0), (0, 1))
    layer = MaxPooling2D(2, padding=sides)
    np.testing.assert_array_equal(layer(-IMAGE)[0, :, :, 0], [[-1, -3], [-4, -6]])
    mean = AveragePooling2D(2, padding=sides)
    np.testing.assert_array_equal(mean(IMAGE)[0, :, :, 0], [[1.5, 3], [6, 7.5]])
    assert layer.padding == sides
    assert mean.compute_output_shape(IMAGE.shape) == (1, 2, 2, 1)


@pytest.mark.parametrize("padding", [((2, 0), (0, 0)), ((0, 0), (0, -1)), (1,), (1, 2, 3), "full"])
def test_padding_must_leave_a_pixel_in_each_window(padding):
    with pytest.raises(ValueError, match="padding"):
        MaxPooling2D(2, padding=padding)
