"""Matrices of Winograd's algorithm, constructed by the Cook-Toom method.

Two polynomials can be multiplied by multiplying their values at enough points and interpolating the
product (Toom, 1963; Cook, 1966). Convolution is the transposed problem: a kernel of r numbers and n
points give m = n - r + 1 outputs with n multiplications instead of m r (Winograd, 1980). With ' for
transposed and * element by element,

    y = A' [ (G g) * (B' d) ]        d: n inputs, g: r weights, y: m outputs

The columns of A' hold the powers of the points. So do the rows of G, divided by the products of the
distances between the points. The last point is infinity, where the value of a polynomial is its
leading coefficient. The others come in pairs a, -a, which share half of their operations.

>>> input_matrix(4).astype(int)  # B' of the points 0, 1, -1
array([[-1,  0,  1,  0],
       [ 0,  1,  1,  0],
       [ 0, -1,  1,  0],
       [ 0, -1,  0,  1]])
>>> g, d = np.array([1.0, 2.0, 3.0]), np.array([10.0, 20.0, 30.0, 40.0])
>>> output_matrix(4, 2) @ ((kernel_matrix(4, 3) @ g) * (input_matrix(4) @ d))
array([140., 200.])
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

__all__ = [
    "POINTS",
    "columns_in_pairs",
    "input_matrix",
    "kernel_matrix",
    "output_matrix",
    "rows_in_pairs",
]

# Interpolation points by n. Small numbers with few digits round least: with 4 in place of 5/4 the
# errors of float32 results are five times as large.
POINTS: dict[int, tuple[float, ...]] = {
    1: (),
    4: (0, 1, -1),
    6: (0, 1, -1, 2, -2),
    10: (0, 1, -1, 2, -2, 1 / 2, -1 / 2, 5 / 4, -5 / 4),
}


def input_matrix(n: int) -> np.ndarray:
    """Return B', shape (n, n): row i is the polynomial that vanishes at all points but the i-th."""
    points = POINTS[n]
    rows = [np.poly(points[:i] + points[i + 1 :]) for i in range(n - 1)]
    rows.append(np.atleast_1d(np.poly(points)))
    matrix = np.zeros((n, n))
    for row, coefficients in zip(matrix, rows, strict=True):
        row[: len(coefficients)] = coefficients[::-1]  # NumPy returns the highest power first
    return matrix


def kernel_matrix(n: int, r: int) -> np.ndarray:
    """Return G, shape (n, r)."""
    points = POINTS[n]
    matrix = np.zeros((n, r))
    for i, a in enumerate(points):
        matrix[i] = np.power(float(a), np.arange(r))
        matrix[i] /= np.prod([a - b for b in points if b != a])
    matrix[-1, -1] = 1
    return matrix


def output_matrix(n: int, m: int) -> np.ndarray:
    """Return A', shape (m, n)."""
    matrix = np.zeros((m, n))
    matrix[:, :-1] = np.power(np.array(POINTS[n], float), np.arange(m)[:, None])
    matrix[-1, -1] = 1
    return matrix


def rows_in_pairs(matrix: np.ndarray) -> Callable[[Sequence[Any]], list[Any]]:
    """Return ``d -> matrix @ d`` for a matrix whose rows 1 and 2, ... differ in signs only.

    The common terms E and the others O of two rows are summed once: the results are E + O and
    E - O. The elements of d may be anything that can be added and multiplied by a number.

    >>> rows_in_pairs(input_matrix(6))([1.0, 0, 1, 0, 1, 0])
    [0.0, -3.0, -3.0, 0.0, 0.0, 0.0]
    """

    def transform(d: Sequence[Any]) -> list[Any]:
        y = [_weighted_sum(matrix[0], d)]
        for i in range(1, len(matrix) - 1, 2):
            same = matrix[i] == matrix[i + 1]
            even = _weighted_sum(matrix[i] * same, d)
            odd = _weighted_sum(matrix[i] * ~same, d)
            y += [even + odd, even - odd]
        return [*y, _weighted_sum(matrix[-1], d)]

    return transform


def columns_in_pairs(matrix: np.ndarray) -> Callable[[Sequence[Any]], list[Any]]:
    """Return ``d -> matrix @ d`` for a matrix whose columns 1 and 2, ... differ in signs only.

    Sum and difference of the two elements of d that such columns multiply are computed once. Each
    row uses one of them.

    >>> columns_in_pairs(output_matrix(4, 2))([1.0, 2.0, 3.0, 4.0])
    [6.0, 3.0]
    """

    def transform(d: Sequence[Any]) -> list[Any]:
        pairs = range(1, len(d) - 1, 2)
        sums = [d[0], *(d[i] + d[i + 1] for i in pairs), d[-1]]
        differences = [None, *(d[i] - d[i + 1] for i in pairs), None]
        y = []
        for row in matrix:
            same = [True, *(row[i] == row[i + 1] for i in pairs), True]
            factors = [row[0], *(row[i] for i in pairs), row[-1]]
            terms = zip(same, sums, differences, strict=True)
            y.append(_weighted_sum(factors, [s if even else d for even, s, d in terms]))
        return y

    return transform


def _weighted_sum(factors: Iterable[float], d: Sequence[Any]) -> Any:
    """Return the sum of products, without factors of 0 and multiplications by 1 and -1."""
    total = None
    for factor, a in zip(factors, d, strict=True):
        if factor == 0:
            continue
        if total is None:
            total = a if factor == 1 else float(factor) * a
        elif abs(factor) == 1:
            total = total + a if factor == 1 else total - a
        else:
            total = total + float(factor) * a
    return total
