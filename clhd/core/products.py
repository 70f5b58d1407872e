"""Products of matrices and vectors for kernels: loops in a fixed order, so that their bits depend on no BLAS."""

import numpy as np

from clhd.core.arrays import FloatArray, IntArray
from clhd.core.kernels import kernel


@kernel
def add_product(out: FloatArray, left: FloatArray, right: FloatArray) -> None:
    """Add left @ right to `out`: four rows of `out` and of `right` at a time, to load and store each less often.

    Each entry of `out` gets its products one by one, in their order. Shapes: (row, column) of `out`, (row, inner) and
    (inner, column).
    """
    rows, inner = left.shape
    whole_rows, whole = rows - rows % 4, inner - inner % 4
    for i in range(0, whole_rows, 4):
        for k in range(0, whole, 4):
            a0, b0, c0, d0 = left[i, k], left[i, k + 1], left[i, k + 2], left[i, k + 3]
            a1, b1, c1, d1 = left[i + 1, k], left[i + 1, k + 1], left[i + 1, k + 2], left[i + 1, k + 3]
            a2, b2, c2, d2 = left[i + 2, k], left[i + 2, k + 1], left[i + 2, k + 2], left[i + 2, k + 3]
            a3, b3, c3, d3 = left[i + 3, k], left[i + 3, k + 1], left[i + 3, k + 2], left[i + 3, k + 3]
            for j in range(out.shape[1]):
                p, q, r, s = right[k, j], right[k + 1, j], right[k + 2, j], right[k + 3, j]
                out[i, j] = out[i, j] + a0 * p + b0 * q + c0 * r + d0 * s
                out[i + 1, j] = out[i + 1, j] + a1 * p + b1 * q + c1 * r + d1 * s
                out[i + 2, j] = out[i + 2, j] + a2 * p + b2 * q + c2 * r + d2 * s
                out[i + 3, j] = out[i + 3, j] + a3 * p + b3 * q + c3 * r + d3 * s
    for i in range(rows):
        for k in range(whole if i < whole_rows else 0, inner):
            for j in range(out.shape[1]):
                out[i, j] += left[i, k] * right[k, j]


@kernel
def transpose(matrix: FloatArray) -> FloatArray:
    """Return the transpose of a matrix, in the order of its own rows."""
    rows, columns = matrix.shape
    out = np.empty((columns, rows))
    for j in range(columns):
        for i in range(rows):
            out[j, i] = matrix[i, j]
    return out


@kernel
def add_rows(out: FloatArray, rows: FloatArray, chosen: IntArray) -> None:
    """Add some rows to the row `out`, one after the other; five at a time, to load and store `out` less often.

    Shapes: (column,) of `out`, (row, column), and (number of chosen rows,) of their indices.
    """
    fives = len(chosen) - len(chosen) % 5
    for k in range(0, fives, 5):
        a, b, c, d, e = chosen[k], chosen[k + 1], chosen[k + 2], chosen[k + 3], chosen[k + 4]
        for j in range(len(out)):
            out[j] = out[j] + rows[a, j] + rows[b, j] + rows[c, j] + rows[d, j] + rows[e, j]
    for k in range(fives, len(chosen)):
        for j in range(len(out)):
            out[j] += rows[chosen[k], j]


@kernel
def dot(one: FloatArray, two: FloatArray) -> float:
    """Return the scalar product of arrays of one length, in four sums that the processor forms side by side."""
    first = second = third = fourth = 0.0
    fours = len(one) - len(one) % 4
    for i in range(0, fours, 4):
        first += one[i] * two[i]
        second += one[i + 1] * two[i + 1]
        third += one[i + 2] * two[i + 2]
        fourth += one[i + 3] * two[i + 3]
    for i in range(fours, len(one)):
        first += one[i] * two[i]
    return (first + second) + (third + fourth)
