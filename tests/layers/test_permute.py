"""Permute: axes by hand, the channel shuffle, rejected arguments."""

import numpy as np
import pytest

from minidl.common.errors import ShapeError
from minidl.layers import Permute, Reshape


def test_axes_move_as_in_a_transposition():
    x = np.arange(24.0).reshape(1, 2, 3, 4)
    np.testing.assert_array_equal(Permute((3, 1, 2))(x), x.transpose(0, 3, 1, 2))


def test_reshape_permute_reshape_shuffles_channels():
    x = np.arange(6.0).reshape(1, 1, 1, 6)  # two groups: 0 1 2 and 3 4 5
    y = Reshape((1, 1, 6))(Permute((1, 2, 4, 3))(Reshape((1, 1, 2, 3))(x)))
    assert y.ravel().tolist() == [0, 3, 1, 4, 2, 5]


@pytest.mark.parametrize("dims", [(), (0, 1), (1, 3), (1, 1), 2, ("1", "2.5"), None])
def test_a_wrong_permutation_is_refused(dims):
    with pytest.raises(ValueError, match="Permute .*expected dims to be a permutation"):
        Permute(dims)


def test_an_input_of_another_rank_is_refused():
    with pytest.raises(ShapeError, match=r"expected input \(N, axis 1, axis 2\)"):
        Permute((2, 1))(np.zeros((1, 2, 3, 4)))
