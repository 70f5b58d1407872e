"""Products of matrices and vectors for kernels: loops in a fixed order, so that their bits depend on no BLAS."""

from clhd.core.arrays import FloatArray, IntArray
from clhd.core.kernels import kernel


@kernel
def add_product(out: FloatArray, left: FloatArray, right: FloatArray) -> None:
    """Add left @ right to `out`: two rows of `out` and four of `right` at a time, to load and store each less often.

    Each entry of `out` gets its products one by one, in their order. Shapes: (row, column) of `out`, (row, inner) and
    (inner, column).
    """
    rows, inner = left.shape
    pairs, fours = rows - rows % 2, inner - inner % 4
    for i in range(0, pairs, 2):
        for k in range(0, fours, 4):
            a, b, c, d = left[i, k], left[i, k + 1], left[i, k + 2], left[i, k + 3]
            e, f, g, h = left[i + 1, k], left[i + 1, k + 1], left[i + 1, k + 2], left[i + 1, k + 3]
            for j in range(out.shape[1]):
                p, q, r, s = right[k, j], right[k + 1, j], right[k + 2, j], right[k + 3, j]
                out[i, j] = out[i, j] + a * p + b * q + c * r + d * s
                out[i + 1, j] = out[i + 1, j] + e * p + f * q + g * r + h * s
    for i in range(rows):
        for k in range(fours if i < pairs else 0, inner):
            for j in range(out.shape[1]):
                out[i, j] += left[i, k] * right[k, j]


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
