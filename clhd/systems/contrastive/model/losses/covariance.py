"""The covariance loss of a batch of pairs: units shall covary between the two views, each with itself alone.

With the outputs h_ibv of unit i for view v of sample b, their means over the batch, and i, j = 1..d, b = 1..B,

    C_ij = (1 / (B - 1)) sum_b (h_ib1 - mean h_i1) (h_jb2 - mean h_j2),
    F    = -sum_i C_ii + lam_c sum_(i != j) g(C_ij);

if the loss is not centred, there are no means and the factor is 1 / B. With forces Delta_ibv = -dF/dz_ibv and
G_ij = dF/dC_ij, which is -1 for i = j and lam_c g'(C_ij) otherwise,

    Delta_ib1 = -h_ib1' sum_j G_ij (h_jb2 - mean h_j2) / (B - 1),
    Delta_jb2 = -h_jb2' sum_i G_ij (h_ib1 - mean h_i1) / (B - 1).

The means add no terms, because deviations from a mean sum to zero. For one unit and B = 2 the loss is
F = -(1/2) (h_11 - h_21) (h_12 - h_22), with h_bv of sample b.

| symbol | name | shape |
|---|---|---|
| h, h', Delta | h, d, delta | (unit, view, lanes); views 2 b and 2 b + 1 are those of sample b |
| G | slope | (unit, unit, lanes) |
| lam_c | decorrelation | (lanes,) |
"""

from clhd.core.arrays import FloatArray
from clhd.core.kernels import kernel

# Codes in kernels of the penalty g of the covariance of two different units. ``pair_flow.py`` of the theory is made for
# the square, and so is what rests on it.
SQUARE = 0
DECORRELATIONS = {"square": SQUARE}


@kernel
def _differentiate_penalty(penalty: int, covariance: FloatArray) -> None:
    """Replace C of each lane by g'(C); the square is the only penalty so far."""
    if penalty == SQUARE:
        for i in range(len(covariance)):
            covariance[i] *= 2.0


@kernel
def _subtract_means(h: FloatArray, mean: FloatArray) -> None:
    """Subtract from the outputs of each unit and side their mean over the batch; `mean` is work space."""
    share = 2.0 / h.shape[1]
    for k in range(len(h)):
        for side in range(2):
            for i in range(len(mean)):
                mean[i] = 0.0
            for v in range(side, h.shape[1], 2):
                output = h[k, v]
                for i in range(len(mean)):
                    mean[i] += share * output[i]
            for v in range(side, h.shape[1], 2):
                output = h[k, v]
                for i in range(len(mean)):
                    output[i] -= mean[i]


@kernel
def _write_slopes(penalty: int, factor: float, weight: FloatArray, h: FloatArray, slope: FloatArray) -> None:
    """Write G_ij = dF/dC_ij for i != j, from the deviations h; `factor` is 1 / (B - 1) or 1 / B."""
    for k in range(len(h)):
        for m in range(len(h)):
            if k == m:
                continue
            row = slope[k, m]
            for i in range(len(row)):
                row[i] = 0.0
            for v in range(0, h.shape[1], 2):
                first, second = h[k, v], h[m, v + 1]
                for i in range(len(row)):
                    row[i] += first[i] * second[i]
            for i in range(len(row)):
                row[i] *= factor
            _differentiate_penalty(penalty, row)
            for i in range(len(row)):
                row[i] *= weight[i]


@kernel
def forces(
    centred: bool,
    penalty: int,
    weight: FloatArray,
    h: FloatArray,
    d: FloatArray,
    mean: FloatArray,
    slope: FloatArray,
    delta: FloatArray,
) -> None:
    """Write the forces Delta = -dF/dz to `delta`.

    Parameters
    ----------
    centred : bool
        True if the means over the batch are subtracted.
    penalty : int
        Code of g.
    weight : array of shape (lanes,)
        lam_c.
    h, d, delta : arrays of shape (unit, view, lanes)
        Outputs, of which the deviations from the means are left, derivatives h', and the result.
    mean, slope : arrays of shape (lanes,) and (unit, unit, lanes)
        Work space.
    """
    units, views = h.shape[0], h.shape[1]
    factor = 1.0 / (views // 2 - 1) if centred else 1.0 / (views // 2)
    if centred:
        _subtract_means(h, mean)
    _write_slopes(penalty, factor, weight, h, slope)
    for k in range(units):
        for v in range(views):
            row, own, side = delta[k, v], d[k, v], v % 2
            opposite = v + 1 - 2 * side
            same = h[k, opposite]
            for i in range(len(row)):
                row[i] = factor * own[i] * same[i]
            for m in range(units):
                if m == k:
                    continue
                other, g = h[m, opposite], slope[k, m] if side == 0 else slope[m, k]
                for i in range(len(row)):
                    row[i] -= factor * own[i] * (g[i] * other[i])
