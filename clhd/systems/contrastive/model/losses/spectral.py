"""The spectral loss  L = -2 h_1 h_2 + (h_1 h_3)^2  of a positive pair (1, 2) and one negative (3).

Its average is -2 E[h_1 h_2] + (E h^2)^2. With forces Delta_v = -dL/dz_v:

    Delta_1 = 2 h_1' h_2 - 2 h_1 h_1' h_3^2,    Delta_2 = 2 h_1 h_2',    Delta_3 = -2 h_1^2 h_3 h_3'.

The averages g, A (in Stein's form) and D follow by expanding the products, because view 3 is independent of views 1
and 2, and the views of a pair are exchangeable: E[f_1 g_2] = E[g_1 f_2] (docs/theory.md has the derivation).
"""

from clhd.core.arrays import FloatArray
from clhd.core.kernels import kernel
from clhd.systems.contrastive.model.losses.base import DD, HD, HDD, HH, HHD, HHDD, HHHH, HS, ONE, D, H, S

DEGREE = 4
PAIRS = (
    (D, H),
    (S, H),
    (D, D),
    (DD, HH),
    (HDD, H),
    (HD, HD),
    (HHD, D),
    (ONE, HD),
    (ONE, HS),
    (ONE, HH),
    (ONE, DD),
    (ONE, HHDD),
    (ONE, HHHH),
)


@kernel
def forces(h: FloatArray, d: FloatArray, delta: FloatArray) -> None:
    """Write Delta of shape (view, lanes) from h and h' of the same shape."""
    h1, h2, h3 = h[0], h[1], h[2]
    d1, d2, d3 = d[0], d[1], d[2]
    delta1, delta2, delta3 = delta[0], delta[1], delta[2]
    for i in range(len(h1)):
        delta1[i] = 2.0 * d1[i] * (h2[i] - h1[i] * h3[i] * h3[i])
        delta2[i] = 2.0 * h1[i] * d2[i]
        delta3[i] = -2.0 * h1[i] * h1[i] * h3[i] * d3[i]


@kernel
def combine(
    noise_variance: float, noise_covariance: float, mean: FloatArray, moment: FloatArray, g: FloatArray
) -> tuple[float, float]:
    """Write g and return (A, D) from the averages of `PAIRS`, their latent mean and first latent moment."""
    _, s_h, d_d, dd_hh, hdd_h, hd_hd, hhd_d = mean[0], mean[1], mean[2], mean[3], mean[4], mean[5], mean[6]
    hs, hh, dd, hhdd, hhhh = mean[8], mean[9], mean[10], mean[11], mean[12]
    for j in range(len(g)):
        g[j] = 4.0 * (moment[j, 0] - hh * moment[j, 7])
    alignment = 4.0 * noise_variance * (s_h - (dd + hs) * hh) + 4.0 * noise_covariance * d_d
    gradient_variance = 8.0 * noise_variance * (dd_hh - hdd_h * hh + hhdd * hhhh)
    gradient_variance += 8.0 * noise_covariance * (hd_hd - hhd_d * hh)
    return alignment, gradient_variance
