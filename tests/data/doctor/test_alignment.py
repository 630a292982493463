"""Alignment: windows, contrast and brightness are recovered."""

import numpy as np
import pytest
from support.damaged import cut, textured

from minidl.data import load_image
from minidl.data.doctor.alignment import block_means, compare

WHOLE = np.array([[0.0, 1.0, 0.0, 1.0]])


@pytest.mark.parametrize("edges", [(0.05, 0, 0, 0), (0.02, 0.05, 0.04, 0.01), (0.05,) * 4])
def test_alignment_finds_the_cropped_window(edges):
    left, top, right, bottom = edges
    image = textured(1, (600, 800))[0]
    a, b = (load_image(x, 64, "grayscale")[None, ..., 0] for x in (image, cut(image, *edges)))
    match = compare(a, b, WHOLE)
    np.testing.assert_allclose(match.windows, [[top, 1 - bottom, left, 1 - right]], atol=0.006)
    assert match.residual[0] < 0.01
    assert match.edges[0] > 0.95
    back = compare(b, a, WHOLE)  # the part shows less than the whole: the window is larger
    assert (back.windows - WHOLE)[0, [0, 2]].max() < 0.006
    assert back.residual[0] < 0.01


def test_alignment_measures_contrast_brightness_and_plainness():
    gray = load_image(textured(1)[0], 64, "grayscale")[..., 0].astype(float)
    match = compare(np.stack([gray * 0.5 + 30, gray * 0 + 7]), np.stack([gray] * 2), WHOLE)
    assert match.contrast[0] == pytest.approx(0.5, abs=0.01)
    assert match.brightness[0] == pytest.approx(30 - gray.mean() / 2, abs=0.5)
    assert match.residual[0] < 1e-4
    assert match.deviation[1] < 1e-3


def test_a_local_difference_is_measured_by_the_worst_block():
    gray = load_image(textured(1)[0], 64, "grayscale")[..., 0].astype(float)
    changed = gray.copy()
    changed[24:32, 24:32] = 255 - changed[24:32, 24:32]
    match = compare(np.stack([gray, gray]), np.stack([gray, changed]), WHOLE)
    assert match.worst[0] < 1e-4
    assert match.worst[1] > 20 * match.residual[1] > 0  # all of it in 1 of 64 blocks


def test_block_means_are_means_of_squares():
    pictures = np.arange(32.0).reshape(2, 4, 4)
    expected = [
        [[picture[i : i + 2, j : j + 2].mean() for j in (0, 2)] for i in (0, 2)]
        for picture in pictures
    ]
    np.testing.assert_allclose(block_means(pictures, 2), expected)
