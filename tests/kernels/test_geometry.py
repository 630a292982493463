"""Where windows stand: against counting them one by one, and TensorFlow's published cases."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.checks import thorough
from support.reference import naive_placement

from minidl.kernels.geometry import Window

sizes = st.integers(1, 12)
small = st.integers(1, 4)


@thorough
@given(sizes, sizes, *[st.tuples(small, small)] * 3, st.sampled_from(["valid", "same"]))
def test_sizes_and_pads_equal_those_found_by_counting(
    height, width, kernel_size, strides, dilation, padding
):
    window = Window(kernel_size, strides, padding, dilation)
    down, across = (
        naive_placement(*axis, padding)
        for axis in zip((height, width), kernel_size, strides, dilation, strict=True)
    )
    # A window that does not fit is told by a size below 1.
    assert tuple(max(n, 0) for n in window.output_size(height, width)) == (down[0], across[0])
    assert window.pads(height, width) == (*down[1:], *across[1:])


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "places", "pads"),
    [
        (13, 6, 5, 3, (1, 2)),  # the example of TensorFlow's documentation
        (224, 7, 2, 112, (2, 3)),  # the first layer of ResNet: not (3, 3)
        (8, 3, 2, 4, (0, 1)),
        (7, 3, 2, 4, (1, 1)),
        (5, 1, 3, 2, (0, 0)),  # windows further apart than they are large: no padding
    ],
)
def test_same_padding_is_tensorflows(size, kernel, stride, places, pads):
    window = Window((kernel, kernel), (stride, stride), "same")
    assert window.output_size(size, size) == (places, places)
    assert window.pads(size, size) == pads * 2


def test_an_unknown_size_stays_unknown():
    assert Window((3, 3)).output_size(None, 9) == (None, 7)
    assert Window((3, 3), (2, 2), "same").output_size(9, None) == (5, None)


def test_only_1x1_at_stride_1_is_pointwise():
    assert Window((1, 1)).is_pointwise
    assert Window((1, 1), padding="same", dilation=(2, 2)).is_pointwise
    assert not Window((1, 1), (1, 2)).is_pointwise
    assert not Window((1, 2)).is_pointwise
