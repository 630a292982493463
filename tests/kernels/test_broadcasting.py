"""Products and sums of broadcast tensors beside NumPy's, for any number of threads."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minidl.kernels import broadcasting
from minidl.kernels.runtime import thread_pool

SHAPES = st.lists(st.integers(1, 5), min_size=1, max_size=4).map(tuple)


@given(shape=SHAPES, data=st.data(), dtype=st.sampled_from([np.float32, np.float64]))
def test_products_and_sums_equal_numpys(shape, data, dtype):
    small = tuple(data.draw(st.sampled_from([1, n])) for n in shape)
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    a, b = (rng.normal(size=s).astype(dtype) for s in (shape, small))
    for pair in ((a, b), (b, a)):
        y = broadcasting.multiply(*pair)
        assert y.dtype == dtype
        np.testing.assert_array_equal(y, a * b)
    axes = tuple(i for i, (m, n) in enumerate(zip(small, shape, strict=True)) if m < n)
    expected = a.astype(np.float64).sum(axis=axes, keepdims=True)
    total = broadcasting.sum_to(a, small)
    assert total.shape == small
    assert total.dtype == dtype
    np.testing.assert_allclose(total, expected, rtol=0, atol=1e3 * np.finfo(dtype).eps)


def test_the_product_is_written_to_out():
    a, b = np.ones((2, 3, 3, 4), "float32"), np.full((2, 1, 1, 4), 2, "float32")
    whole = np.zeros((2, 3, 3, 7), "float32")
    for out in (np.empty_like(a), whole[..., :4]):
        assert broadcasting.multiply(a, b, out) is out
        assert (out == 2).all()
    assert not whole[..., 4:].any()


@pytest.fixture(params=[1, 2, 3])
def threads(request):
    before = thread_pool.get_num_threads()
    thread_pool.set_num_threads(request.param)
    yield request.param
    thread_pool.set_num_threads(before)


def test_large_tensors_are_divided_among_threads(threads):
    rng = np.random.default_rng(0)
    a = rng.normal(size=(3, 40, 30, 48)).astype("float32")
    b = rng.normal(size=(3, 1, 1, 48)).astype("float32")
    np.testing.assert_array_equal(broadcasting.multiply(a, b), a * b)
    one_by_one = np.stack([broadcasting.sum_to(a[i : i + 1], (1, 1, 1, 48))[0] for i in range(3)])
    np.testing.assert_array_equal(broadcasting.sum_to(a, b.shape), one_by_one)
