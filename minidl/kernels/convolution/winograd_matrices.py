"""The matrices of Winograd's algorithm: polynomials multiplied by their values at a few points.

Two polynomials can be multiplied by multiplying their values at enough points, and finding the one
polynomial that has those values (Toom, 1963; Cook, 1966). Convolution is the same turned around,
so of a kernel of r numbers and n points come m = n - r + 1 outputs with n multiplications instead
of m r (Winograd, 1980): with ' for transposed and * element by element,

    y = A' [ (G g) * (B' d) ]        d: n inputs, g: r weights, y: m outputs

Column by column, A' holds the powers of the points, and so does G row by row, divided by the
products of their distances. The last point is infinity, where a polynomial's value is its first
coefficient. The others come in pairs a, -a: half of what one of them takes serves the other.

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

import numpy as np

__all__ = [
    "POINTS", "columns_in_pairs", "input_matrix", "kernel_matrix", "output_matrix",
    "rows_in_pairs",
]  # fmt: skip

# By n. Small ones of few digits, for exactness: with 5/4 as the last, results in float32 are off by
# a fifth of what they are off by with 4.
POINTS = {
    4: (0, 1, -1),
    6: (0, 1, -1, 2, -2),
    10: (0, 1, -1, 2, -2, 1 / 2, -1 / 2, 5 / 4, -5 / 4),
}


def input_matrix(n: int) -> np.ndarray:
    """Return B', (n, n): row i vanishes at all points but the i-th, the last row at all."""
    points = POINTS[n]
    rows = [np.poly(points[:i] + points[i + 1 :]) for i in range(n - 1)] + [np.poly(points)]
    matrix = np.zeros((n, n))
    for row, coefficients in zip(matrix, rows, strict=True):
        row[: len(coefficients)] = coefficients[::-1]  # NumPy has the highest power first
    return matrix


def kernel_matrix(n: int, r: int) -> np.ndarray:
    """Return G, (n, r)."""
    points = POINTS[n]
    matrix = np.zeros((n, r))
    for i, a in enumerate(points):
        matrix[i] = np.power(float(a), np.arange(r))
        matrix[i] /= np.prod([a - b for b in points if b != a])
    matrix[-1, -1] = 1
    return matrix


def output_matrix(n: int, m: int) -> np.ndarray:
    """Return A', (m, n)."""
    matrix = np.zeros((m, n))
    matrix[:, :-1] = np.power(np.array(POINTS[n], float), np.arange(m)[:, None])
    matrix[-1, -1] = 1
    return matrix


def rows_in_pairs(matrix):
    """Return the function ``matrix @ d``, where rows 1 and 2, 3 and 4, ... differ in signs only.

    What they have in common is added up once: E + O is the one, and E - O the other. The numbers
    of d may be anything that can be added and multiplied by a number.

    >>> rows_in_pairs(input_matrix(6))([1.0, 0, 1, 0, 1, 0])
    [0.0, -3.0, -3.0, 0.0, 0.0, 0.0]
    """

    def transform(d):
        y = [_sum_up(matrix[0], d)]
        for i in range(1, len(matrix) - 1, 2):
            same = matrix[i] == matrix[i + 1]
            even = _sum_up(matrix[i] * same, d)
            odd = _sum_up(matrix[i] * ~same, d)
            y += [even + odd, even - odd]
        return [*y, _sum_up(matrix[-1], d)]

    return transform


def columns_in_pairs(matrix):
    """Return the function ``matrix @ d``, where columns 1 and 2, 3 and 4, ... differ in signs only.

    Of each two numbers that meet them, each row takes either the sum or the difference.
    """

    def transform(d):
        pairs = range(1, len(d) - 1, 2)
        sums = [d[0], *(d[i] + d[i + 1] for i in pairs), d[-1]]
        differences = [None, *(d[i] - d[i + 1] for i in pairs), None]
        y = []
        for row in matrix:
            same = [True, *(row[i] == row[i + 1] for i in pairs), True]
            factors = [row[0], *(row[i] for i in pairs), row[-1]]
            terms = zip(same, sums, differences, strict=True)
            y.append(_sum_up(factors, [s if even else d for even, s, d in terms]))
        return y

    return transform


def _sum_up(factors, d):
    """Return the sum of products, without those that are nothing or need no multiplication."""
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
