"""PReLU: slopes by hand, shared axes, shapes that do not fit."""

import numpy as np
import pytest

from minidl import Input
from minidl.common.errors import ShapeError
from minidl.layers import PReLU


def test_each_channel_has_its_slope():
    layer = PReLU(shared_axes=(1, 2))
    layer.build((None, None, None, 2))
    layer.set_weights([[[[0.5, -1.0]]]])
    y = layer(-np.ones((1, 2, 2, 2), "float32"))
    np.testing.assert_array_equal(y[0, 0, 0], [-0.5, 1])
    assert (layer(np.ones((1, 3, 1, 2), "float32")) == 1).all()


def test_without_shared_axes_each_position_has_its_slope():
    layer = PReLU()
    layer(np.zeros((5, 3, 4, 2), "float32"))
    assert layer.alpha.shape == (3, 4, 2)
    with pytest.raises(ShapeError, match="expected alpha"):
        layer(np.zeros((5, 4, 4, 2), "float32"))


def test_open_sizes_must_be_shared():
    with pytest.raises(ShapeError, match="Share the open axes"):
        PReLU()(Input((None, None, 2)))
    with pytest.raises(ValueError, match="shared_axes >= 1"):
        PReLU(shared_axes=0)
