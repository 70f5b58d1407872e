"""The bilinear loss  L = -h_1 h_2 + h_1 h_3  of a positive pair (1, 2) and one negative (3).

Its average is minus the covariance of h between the two views of a sample. With forces Delta_v = -dL/dz_v:

    Delta_1 = h_1' (h_2 - h_3),    Delta_2 = h_1 h_2',    Delta_3 = -h_1 h_3'.

The averages g, A (in Stein's form) and D follow by expanding the products, because view 3 is independent of views 1
and 2, and the views of a pair are exchangeable: E[f_1 g_2] = E[g_1 f_2] (docs/theory.md has the derivation).
"""

from clhd.core.arrays import FloatArray
from clhd.core.kernels import kernel
from clhd.systems.contrastive.model.losses.base import DD, HD, HH, ONE, D, H, S

DEGREE = 2
PAIRS = (
    (D, H),
    (S, H),
    (D, D),
    (DD, HH),
    (DD, H),
    (HD, HD),
    (HD, D),
    (ONE, H),
    (ONE, D),
    (ONE, S),
    (ONE, HH),
    (ONE, DD),
)


@kernel
def forces(h: FloatArray, d: FloatArray, delta: FloatArray) -> None:
    """Write Delta of shape (view, lanes) from h and h' of the same shape."""
    h1, h2, h3 = h[0], h[1], h[2]
    d1, d2, d3 = d[0], d[1], d[2]
    delta1, delta2, delta3 = delta[0], delta[1], delta[2]
    for i in range(len(h1)):
        delta1[i] = d1[i] * (h2[i] - h3[i])
        delta2[i] = h1[i] * d2[i]
        delta3[i] = -h1[i] * d3[i]


@kernel
def combine(
    noise_variance: float, noise_covariance: float, mean: FloatArray, moment: FloatArray, g: FloatArray
) -> tuple[float, float]:
    """Write g and return (A, D) from the averages of `PAIRS`, their latent mean and first latent moment."""
    _, s_h, d_d, dd_hh, dd_h, hd_hd, hd_d = mean[0], mean[1], mean[2], mean[3], mean[4], mean[5], mean[6]
    h, s, hh, dd = mean[7], mean[9], mean[10], mean[11]
    for j in range(len(g)):
        g[j] = 2.0 * moment[j, 0] - 2.0 * h * moment[j, 8]
    alignment = 2.0 * noise_variance * (s_h - s * h) + 2.0 * noise_covariance * d_d
    gradient_variance = noise_variance * (2.0 * dd_hh - 2.0 * dd_h * h + 2.0 * dd * hh) + 2.0 * noise_covariance * (
        hd_hd - hd_d * h
    )
    return alignment, gradient_variance
