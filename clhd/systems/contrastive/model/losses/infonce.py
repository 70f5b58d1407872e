"""The InfoNCE loss of a positive pair (1, 2) and M negatives (3 .. V = M + 2), at temperature T.

    L = -h_1 h_2 / T + log( sum_(v >= 2) exp(h_1 h_v / T) ).

With the softmax pi_v = exp(h_1 h_v / T) / sum, v >= 2, its forces Delta_v = -dL/dz_v are

    Delta_1 = h_1' (h_2 - sum_v pi_v h_v) / T,    Delta_2 = h_1 h_2' (1 - pi_2) / T,    Delta_v = -h_1 h_v' pi_v / T.

The averages do not factorise over the samples. Beside the forces the theory averages Stein's integrand of A,

    sum_uv K_uv dDelta_v/dz_u = s2 sum_v dDelta_v/dz_v + 2 kappa dDelta_1/dz_2,

in which, with <h> = sum_v pi_v h_v and <h^2> = sum_v pi_v h_v^2,

    dDelta_1/dz_1 = h_1'' (h_2 - <h>) / T - h_1'^2 (<h^2> - <h>^2) / T^2,
    dDelta_2/dz_2 = h_1 h_2'' (1 - pi_2) / T - h_1^2 h_2'^2 pi_2 (1 - pi_2) / T^2,
    dDelta_v/dz_v = -h_1 h_v'' pi_v / T - h_1^2 h_v'^2 pi_v (1 - pi_v) / T^2,
    dDelta_1/dz_2 = h_1' h_2' (1 - pi_2 - h_1 pi_2 (h_2 - <h>) / T) / T.

The largest exponent is subtracted from all, so nothing overflows. h_2 - <h> and 1 - pi_2 are computed as sums over the
negatives, so nothing cancels when the positive has all the weight.
"""

import numpy as np

from clhd.core.arrays import FloatArray
from clhd.core.kernels import kernel
from clhd.core.vector_math import exponential

DEGREE = 0
# Smaller exponents of the softmax are replaced by this one, whose weight is 1e-304.
_MIN_EXPONENT = -700.0


@kernel
def _write_weights(temperature: FloatArray, h: FloatArray, slope: FloatArray, weights: FloatArray) -> None:
    """Write h_1 / T to `slope` and the softmax pi_v to the rows v >= 2 of `weights`; row 1 is work space."""
    peak = weights[0]
    for i in range(len(slope)):
        slope[i] = h[0, i] / temperature[i]
        peak[i] = slope[i] * h[1, i]
    for v in range(2, len(h)):
        row = h[v]
        for i in range(len(slope)):
            x = slope[i] * row[i]
            peak[i] = x if x > peak[i] else peak[i]
    for v in range(1, len(h)):
        row, weight = h[v], weights[v]
        for i in range(len(slope)):
            x = slope[i] * row[i] - peak[i]
            weight[i] = exponential(_MIN_EXPONENT if x < _MIN_EXPONENT else x)
    total = weights[0]
    for i in range(len(slope)):
        total[i] = weights[1, i]
    for v in range(2, len(h)):
        weight = weights[v]
        for i in range(len(slope)):
            total[i] += weight[i]
    for i in range(len(slope)):
        total[i] = 1.0 / total[i]
    for v in range(1, len(h)):
        weight = weights[v]
        for i in range(len(slope)):
            weight[i] *= total[i]


@kernel
def _write_gap(h: FloatArray, weights: FloatArray, gap: FloatArray, rest: FloatArray) -> None:
    """Write h_2 - <h> to `gap` and 1 - pi_2 to `rest`, as sums over the negatives."""
    for i in range(len(gap)):
        gap[i] = 0.0
        rest[i] = 0.0
    positive = h[1]
    for v in range(2, len(h)):
        row, weight = h[v], weights[v]
        for i in range(len(gap)):
            gap[i] += weight[i] * (positive[i] - row[i])
            rest[i] += weight[i]


@kernel
def forces(temperature: FloatArray, h: FloatArray, d: FloatArray, delta: FloatArray) -> None:
    """Write Delta of shape (view, lanes) from T of shape (lanes,) and h and h' of shape (view, lanes)."""
    work = np.empty((3, h.shape[1]))
    slope, gap, rest = work[0], work[1], work[2]
    _write_weights(temperature, h, slope, delta)
    _write_gap(h, delta, gap, rest)
    first, second, d1, d2 = delta[0], delta[1], d[0], d[1]
    for i in range(len(slope)):
        first[i] = d1[i] * gap[i] / temperature[i]
        second[i] = slope[i] * d2[i] * rest[i]
    for v in range(2, len(h)):
        row, derivative = delta[v], d[v]
        for i in range(len(slope)):
            row[i] *= -slope[i] * derivative[i]


@kernel
def differentiate_forces(
    temperature: FloatArray,
    noise_variance: float,
    noise_covariance: float,
    h: FloatArray,
    d: FloatArray,
    s: FloatArray,
    sums: FloatArray,
) -> None:
    """Write sum_uv K_uv dDelta_v/dz_u, shape (lanes,), from h, h' and h'' of shape (view, lanes)."""
    work, weights = np.empty((4, h.shape[1])), np.empty(h.shape)
    slope, gap, rest, spread = work[0], work[1], work[2], work[3]
    _write_weights(temperature, h, slope, weights)
    _write_gap(h, weights, gap, rest)
    # Compute <h^2> - <h>^2 as the variance around <h> = h_2 - gap.
    for i in range(len(slope)):
        spread[i] = 0.0
        sums[i] = 0.0
    for v in range(1, len(h)):
        row, weight = h[v], weights[v]
        for i in range(len(slope)):
            difference = row[i] - h[1, i] + gap[i]
            spread[i] += weight[i] * difference * difference
    for v in range(2, len(h)):
        weight, derivative, second = weights[v], d[v], s[v]
        for i in range(len(slope)):
            x = slope[i] * derivative[i]
            sums[i] -= weight[i] * (slope[i] * second[i] + x * x * (1.0 - weight[i]))
    for i in range(len(slope)):
        inverse = 1.0 / temperature[i]
        x, y = slope[i] * d[1, i], inverse * d[0, i]
        own = inverse * s[0, i] * gap[i] - y * y * spread[i]
        own += rest[i] * (slope[i] * s[1, i] - x * x * weights[1, i])
        mixed = y * d[1, i] * (rest[i] - slope[i] * weights[1, i] * gap[i])
        sums[i] = noise_variance * (sums[i] + own) + 2.0 * noise_covariance * mixed
