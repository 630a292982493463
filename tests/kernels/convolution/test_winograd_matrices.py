"""The matrices of Winograd's algorithm against convolution from its definition."""

import numpy as np
import pytest

from minidl.kernels.convolution.winograd_matrices import (
    POINTS,
    columns_in_pairs,
    input_matrix,
    kernel_matrix,
    output_matrix,
    rows_in_pairs,
)


@pytest.mark.parametrize(("n", "r"), [(4, 3), (6, 3), (6, 5), (10, 7), (10, 2)])
def test_the_matrices_compute_a_convolution(n, r):
    rng = np.random.default_rng(0)
    d, g = rng.normal(size=n), rng.normal(size=r)
    m = n - r + 1
    y = output_matrix(n, m) @ ((kernel_matrix(n, r) @ g) * (input_matrix(n) @ d))
    np.testing.assert_allclose(y, np.correlate(d, g, "valid"), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("n", [n for n in POINTS if n > 1])
def test_the_input_matrix_is_exact_in_single_precision(n):
    np.testing.assert_array_equal(input_matrix(n).astype(np.float32), input_matrix(n))


@pytest.mark.parametrize("n", [n for n in POINTS if n > 1])
def test_transforms_in_pairs_equal_the_matrix_product(n):
    rng = np.random.default_rng(0)
    for in_pairs, matrix in [
        (rows_in_pairs, input_matrix(n)),
        (rows_in_pairs, kernel_matrix(n, 3)),
        (rows_in_pairs, output_matrix(n, n - 2).T),
        (columns_in_pairs, output_matrix(n, n - 2)),
        (columns_in_pairs, input_matrix(n).T),
    ]:
        d = rng.normal(size=matrix.shape[1])
        np.testing.assert_allclose(in_pairs(matrix)(list(d)), matrix @ d, rtol=1e-12, atol=1e-12)
