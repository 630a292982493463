"""Kernels in the memory layout of their algorithm."""

import numpy as np
import pytest

from minidl.kernels.convolution.direct import pack_kernel
from minidl.kernels.convolution.prepared import prepare_kernel
from minidl.kernels.convolution.winograd import transform_kernel
from minidl.kernels.geometry import Convolution

W = np.random.default_rng(0).normal(size=(3, 3, 4, 6)).astype(np.float32)


def test_each_algorithm_gets_its_layout():
    grouped = Convolution((3, 3), groups=2)
    direct = prepare_kernel(W, "direct", grouped)
    assert (direct.algorithm, direct.convolution, direct.filters) == ("direct", grouped, 6)
    np.testing.assert_array_equal(direct.packed, pack_kernel(W, groups=2))
    winograd = prepare_kernel(W, "winograd", Convolution((3, 3)))
    np.testing.assert_array_equal(winograd.packed, transform_kernel(W))
    assert prepare_kernel(W, "im2col", Convolution((3, 3))) is None


def test_memory_is_reused_only_on_request():
    first, second = (
        prepare_kernel(w, "winograd", Convolution((3, 3)), reuse_memory=True) for w in (W, 2 * W)
    )
    assert np.shares_memory(first.packed, second.packed)
    own = prepare_kernel(W, "winograd", Convolution((3, 3)))
    assert not np.shares_memory(own.packed, second.packed)
    np.testing.assert_array_equal(second.packed, transform_kernel(2 * W))


@pytest.mark.parametrize("algorithm", ["direct", "winograd"])
def test_other_types_than_float32_are_refused(algorithm):
    expected = f"expected w of float32 for the algorithm '{algorithm}', received float64.*'im2col'"
    with pytest.raises(TypeError, match=expected):
        prepare_kernel(W.astype(np.float64), algorithm, Convolution((3, 3)))
