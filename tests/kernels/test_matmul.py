"""Matrix products: shards, reproducibility and BLAS' threads."""

import numpy as np
import pytest
from threadpoolctl import threadpool_info

import minidl
from minidl.kernels import matmul as module
from minidl.kernels.matmul import matmul


@pytest.mark.parametrize("shape", [(3, 5, 4), (70, 3, 5), (5, 3, 70), (1, 9, 64), (64, 9, 1)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("transposed", [False, True])
def test_shards_equal_the_product(monkeypatch, shape, dtype, transposed):
    monkeypatch.setattr(module, "SMALL", 0)
    rng = np.random.default_rng(0)
    rows, inner, columns = shape
    a = rng.normal(size=(inner, rows)).T if transposed else rng.normal(size=(rows, inner))
    b = rng.normal(size=(columns, inner)).T if transposed else rng.normal(size=(inner, columns))
    result = matmul(a.astype(dtype), b.astype(dtype))
    assert result.dtype == dtype
    # Each number is a sum of `inner` products: that many roundings at most.
    bound = inner * np.finfo(dtype).eps * (np.abs(a) @ np.abs(b)) + np.finfo(dtype).tiny
    assert (np.abs(result - a @ b) <= 4 * bound).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("rows", "inner", "columns"), [(40, 300, 50), (200, 200, 200), (33, 2000, 333), (900, 8, 700)]
)
def test_the_number_of_threads_does_not_change_a_bit(rows, inner, columns, dtype):
    rng = np.random.default_rng(1)
    a = rng.normal(size=(rows, inner)).astype(dtype)
    b = rng.normal(size=(columns, inner)).astype(dtype).T

    def bits(threads):
        minidl.set_num_threads(threads)
        return matmul(a, b).tobytes()

    first = bits(1)
    assert all(bits(threads) == first for threads in (1, 2, 3, 8))


def test_the_number_of_blas_threads_is_restored():
    def threads():
        return [item["num_threads"] for item in threadpool_info() if item["user_api"] == "blas"]

    before = threads()
    matmul(np.ones((300, 300)), np.ones((300, 300)))
    matmul(np.ones((3, 3)), np.ones((3, 3)))
    assert threads() == before
