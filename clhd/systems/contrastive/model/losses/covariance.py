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

# Codes in kernels of the penalty g of the covariance of two different units.
SQUARE = 0
DECORRELATIONS = {"square": SQUARE}
