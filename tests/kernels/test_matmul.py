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


def test_repeated_products_have_the_same_bits(monkeypatch):
    monkeypatch.setattr(module, "SMALL", 0)
    minidl.set_num_threads(2)
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(40, 300)), rng.normal(size=(300, 50))
    first = matmul(a, b)
    assert all((matmul(a, b) == first).all() for _ in range(5))


def test_the_number_of_blas_threads_is_restored():
    def threads():
        return [item["num_threads"] for item in threadpool_info() if item["user_api"] == "blas"]

    before = threads()
    matmul(np.ones((300, 300)), np.ones((300, 300)))
    matmul(np.ones((3, 3)), np.ones((3, 3)))
    assert threads() == before
