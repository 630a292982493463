"""The table of the inference plan's steps."""

import pytest
from support.inference import image_network

from minidl.common.errors import ShapeError


def test_the_plan_can_be_printed_with_times():
    model = image_network()
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
