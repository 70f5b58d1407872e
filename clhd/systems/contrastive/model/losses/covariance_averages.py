"""Averages of the covariance loss for one unit and a batch of any size B.

The average of the loss is minus the covariance of h between the two views of a sample, for every B, as with the
bilinear loss; if it is not centred, -E[h_1 h_2]. So g and A do not depend on B. The gradient variance D does: it
belongs to the estimator. With m = E h and forces Delta_b1 = h_b1' (h_b2 - mean h_2) / (B - 1), and

    h_b2 - mean h_2 = (B - 1) / B (h_b2 - m) - (1 / B) sum over the other samples of (h_2 - m),

whose terms are independent,

    E Delta_b1^2        = [ E h_1'^2 (h_2 - m)^2          + E h'^2 Var h / (B - 1) ] / B^2,
    E Delta_b1 Delta_b2 = [ E h_1' h_2' (h_1 - m)(h_2 - m) + E h_1' h_2' Cov(h_1, h_2) / (B - 1) ] / B^2,
    D = 2 B (s2 E Delta_b1^2 + kappa E Delta_b1 Delta_b2).

If the loss is not centred, D = (2 / B) (s2 E h_1'^2 h_2^2 + kappa E h_1 h_1' h_2 h_2').

| symbol | name | unit or scale |
|---|---|---|
| B | ``batch`` | samples |
| s2, kappa | ``noise_variance``, ``noise_covariance`` | per coordinate |
"""

from clhd.core.arrays import FloatArray
from clhd.core.kernels import kernel
from clhd.systems.contrastive.model.losses import bilinear
from clhd.systems.contrastive.model.losses.base import H

DEGREE = 2
PAIRS = (*bilinear.PAIRS, (H, H))


@kernel
def combine(
    centred: bool,
    batch: int,
    noise_variance: float,
    noise_covariance: float,
    mean: FloatArray,
    moment: FloatArray,
    g: FloatArray,
) -> tuple[float, float]:
    """Write g and return (A, D) from the averages of `PAIRS`, their latent mean and first latent moment."""
    s_h, d_d, dd_hh, dd_h, hd_hd, hd_d = mean[1], mean[2], mean[3], mean[4], mean[5], mean[6]
    s, hh, dd, h_h = mean[9], mean[10], mean[11], mean[12]
    h = mean[7] if centred else 0.0
    for j in range(len(g)):
        g[j] = 2.0 * moment[j, 0] - 2.0 * h * moment[j, 8]
    alignment = 2.0 * noise_variance * (s_h - s * h) + 2.0 * noise_covariance * d_d
    square = dd_hh - 2.0 * dd_h * h + dd * h * h
    product = hd_hd - 2.0 * hd_d * h + d_d * h * h
    if centred:
        square += dd * (hh - h * h) / (batch - 1)
        product += d_d * (h_h - h * h) / (batch - 1)
    return alignment, 2.0 / batch * (noise_variance * square + noise_covariance * product)
