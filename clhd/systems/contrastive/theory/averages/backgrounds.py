"""`combine_terms` gives the drift terms of one state from pair averages, for both backgrounds.

With the *orthogonal* background the base noise has no component along the features. Given the state, the noise of the
pre-activations then has the covariance

    Cov(e_u, e_v) = s_b (r - |q|^2) + s_a r Ka_uv        (Ka_vv = 1, Ka_12 = rho for the two views of a sample),

of two views of one sample, and the drift splits: the augmentation noise pulls along all of w, the base noise along the
part of w that is orthogonal to the features,

    dq/dt = eta (g + A_a q - lam q),    dr/dt = 2 eta (g . q + A_a r + A_b (r - |q|^2) - lam r) + eta^2 D.

A and D are linear in the noise of a coordinate, so A_a, A_b and the two parts of D are the same combination of pair
averages, taken with the noise of each source alone. In a direction that is not a feature both sources act as before.

With A = A_a + A_b and g - A_b q in place of g, these are the equations of the isotropic background (also those of the
sphere and of one weight, whose drift is eta (g . xi + A_a w + A_b (w - q . xi) - lam w)). So only this module tells the
backgrounds apart; everything above it takes the *effective* g.

| symbol | name | unit or scale |
|---|---|---|
| s_b, s_a | ``base_variance``, ``augmentation_variance`` | per coordinate |
| rho s_a | ``augmentation_covariance`` | per coordinate |
| A_b | ``base_alignment`` | drift along the part of w that is orthogonal to the features |
"""

from typing import NamedTuple

from clhd.core.arrays import FloatArray
from clhd.core.kernels import inlined, kernel
from clhd.systems.contrastive.model.activations import RELU
from clhd.systems.contrastive.model.contrastive import ContrastiveModel
from clhd.systems.contrastive.model.losses import combine
from clhd.systems.contrastive.theory.averages.pair_averages import PairRule


class Sources(NamedTuple):
    """The estimator and the sources of the noise, in the form that kernels take.

    Attributes
    ----------
    loss, batch : int
        Code of the loss; B of the covariance loss, otherwise 1.
    is_orthogonal : bool
        True if the base noise has no component along the features.
    base_variance, augmentation_variance, augmentation_covariance : float
        s_b, s_a and rho s_a.
    noise_variance, noise_covariance : float
        s2 and kappa.
    """

    loss: int
    batch: int
    is_orthogonal: bool
    base_variance: float
    augmentation_variance: float
    augmentation_covariance: float
    noise_variance: float
    noise_covariance: float


def noise_sources(model: ContrastiveModel) -> Sources:
    """Return the sources of the noise of `model`, and its estimator."""
    return Sources(
        loss=model.loss_terms.code,
        batch=model.batch or 1,
        is_orthogonal=model.background == "orthogonal",
        base_variance=model.base_noise_variance,
        augmentation_variance=model.augmentation_noise_variance,
        augmentation_covariance=model.noise_correlation * model.augmentation_noise_variance,
        noise_variance=model.noise_variance,
        noise_covariance=model.noise_covariance,
    )


@kernel
def rule_at_state(sources: Sources, rule: PairRule, overlap: FloatArray, squared_norm: float) -> PairRule:
    """Return the rule whose s2 and kappa, times r, are the covariance of the noise of the pre-activations.

    Where |q|^2 > r, by rounding or in a search for roots, the variance may be negative. With relu r - |q|^2 then counts
    as |q|^2 - r: its averages need a variance, and A_b (r - |q|^2), with A_b of order |r - |q|^2|^(-1/2), stays small.
    """
    if not sources.is_orthogonal:
        return rule
    inside = 0.0
    for j in range(len(overlap)):
        inside += overlap[j] * overlap[j]
    base = sources.base_variance * (1.0 - inside / squared_norm if squared_norm > 0.0 else 1.0)
    if rule.activation == RELU and base + sources.augmentation_variance < 0.0:
        base = -base
    return PairRule(
        rule.activation,
        rule.coefficients,
        rule.monomials,
        rule.factors,
        rule.pairs,
        rule.signs,
        rule.nodes,
        rule.weights,
        base + sources.augmentation_variance,
        base + sources.augmentation_covariance,
    )


@inlined
def combine_terms(
    sources: Sources, mean: FloatArray, moment: FloatArray, overlap: FloatArray, g: FloatArray
) -> tuple[float, float, float]:
    """Write the effective g and return ``(A, D, A_b)``, with A_b = 0 for the isotropic background.

    Parameters
    ----------
    sources : Sources
    mean, moment : arrays of shape (pair,) and (feature, pair)
        Pair averages over the latents, and with the factor c_j under the sum.
    overlap : array of shape (feature,)
        q.
    g : array of shape (feature,)
        Receives g, for the orthogonal background g - A_b q.
    """
    loss, batch = sources.loss, sources.batch
    if not sources.is_orthogonal:
        alignment, variance = combine(loss, batch, sources.noise_variance, sources.noise_covariance, mean, moment, g)
        return alignment, variance, 0.0
    base, base_variance = combine(loss, batch, sources.base_variance, sources.base_variance, mean, moment, g)
    alignment, variance = combine(
        loss, batch, sources.augmentation_variance, sources.augmentation_covariance, mean, moment, g
    )
    for j in range(len(g)):
        g[j] -= base * overlap[j]
    return alignment + base, variance + base_variance, base
