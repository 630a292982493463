"""Geometry of windows against counting positions one by one and TensorFlow's published cases."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.checks import thorough
from support.reference import naive_placement

from minidl.kernels.geometry import Convolution, Window

sizes = st.integers(1, 12)
small = st.integers(1, 4)


@thorough
@given(sizes, sizes, *[st.tuples(small, small)] * 3, st.sampled_from(["valid", "same"]))
def test_output_sizes_and_padding_equal_a_count_of_positions(
    height, width, kernel_size, strides, dilation, padding
):
    window = Window(kernel_size, strides, padding, dilation)
    down, across = (
        naive_placement(*axis, padding)
        for axis in zip((height, width), kernel_size, strides, dilation, strict=True)
    )
    # A size below 1 means that the window does not fit.
    assert tuple(max(n, 0) for n in window.output_size(height, width)) == (down[0], across[0])
    assert window.pads(height, width) == (*down[1:], *across[1:])


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "positions", "pads"),
    [
        (13, 6, 5, 3, (1, 2)),  # the example of TensorFlow's documentation
        (224, 7, 2, 112, (2, 3)),  # the first layer of ResNet: not (3, 3)
        (8, 3, 2, 4, (0, 1)),
        (7, 3, 2, 4, (1, 1)),
        (5, 1, 3, 2, (0, 0)),  # strides larger than windows: no padding
    ],
)
def test_same_padding_is_tensorflows(size, kernel, stride, positions, pads):
    window = Window((kernel, kernel), (stride, stride), "same")
    assert window.output_size(size, size) == (positions, positions)
    assert window.pads(size, size) == pads * 2


def test_unknown_sizes_stay_unknown():
    assert Window((3, 3)).output_size(None, 9) == (None, 7)
    assert Window((3, 3), (2, 2), "same").output_size(9, None) == (5, None)


def test_only_1x1_at_stride_1_is_pointwise():
    assert Convolution((1, 1)).is_pointwise
    assert Convolution((1, 1), padding="same", dilation=(2, 2)).is_pointwise
    assert not Convolution((1, 1), (1, 2)).is_pointwise
    assert not Convolution((1, 2)).is_pointwise
    assert not Convolution((1, 1), groups=2).is_pointwise


def test_explicit_padding_changes_the_output_size():
    window = Window((3, 3), padding=(1, 2, 0, 3))
    assert window.output_size(5, 5) == (6, 6)
    assert window.pads(5, 5) == (1, 2, 0, 3)
    assert not Convolution((1, 1), padding=(0, 1, 0, 0)).is_pointwise
    assert Convolution((1, 1), padding=(0, 0, 0, 0)).is_pointwise


def test_loop_geometry_holds_size_strides_dilation_and_leading_padding():
    window = Window((3, 4), (2, 1), "same", (1, 2))
    top, _, left, _ = window.pads(9, 8)
    assert window.loop_geometry(9, 8) == (3, 4, 2, 1, 1, 2, top, left)


def test_dilation_extends_the_window():
    assert Window((3, 1), dilation=(2, 5)).extent == (5, 1)
