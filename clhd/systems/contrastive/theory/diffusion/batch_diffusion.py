"""The diffusion matrix B of the covariance loss of one unit, for a batch of any size and both backgrounds.

As in `diffusion_matrix.py`, B is the limit of n^2 Cov[change of (q, r) in one step], with the sums over all views v of
all samples b of the batch

    B = Cov[(eta u, 2 eta omega + eta^2 d)] + eta^2 D (I - q q' / r) on the overlaps,
    u = sum Delta_bv (c_b + e_bv q / r),    omega = sum Delta_bv z_bv,    d = sum_b Delta_b' K Delta_b,    D = E d.

The means over the batch couple its samples. With a = h_1 - m, b = h_2 - m, m = E h (without centring m = 0, no means,
and 1 / B for 1 / (B - 1)), and P_f = sum_b f, they are polynomials in power sums (`power_sums.py`): for factors x_bv

    sum Delta_bv x_bv = [ P(x_1 h_1' b + x_2 h_2' a) - (P(b) P(x_1 h_1') + P(a) P(x_2 h_2')) / B ] / (B - 1),
    d (B - 1)^2 = P(s2 (h_1'^2 b^2 + h_2'^2 a^2) + 2 kappa h_1' h_2' a b)
                  - (2 / B) [P(b) P(s2 h_1'^2 b + kappa h_1' h_2' a) + P(a) P(s2 h_2'^2 a + kappa h_1' h_2' b)]
                  + (1 / B^2) [s2 P(b)^2 P(h_1'^2) + s2 P(a)^2 P(h_2'^2) + 2 kappa P(a) P(b) P(h_1' h_2')].

*Orthogonal background.* Along the features there is augmentation noise only, of which z knows the sum with the base
noise. Given e, its part along w has the mean pull_v = share (e_1 + e_2) / 2 +- (e_1 - e_2) / 2, where share is
s_a (1 + rho) / 2 over the variance of (a_1 + a_2) / 2 along w, and a remainder common to both views, of variance v. So
u has pull for e, and instead of eta^2 D (I - q q' / r) the further noise is

    eta^2 [D_a (I - q q' / r) + v E sum_b (Delta_b1 + Delta_b2)^2 q q' / r^2],    D_a = D with augmentation noise alone.

| symbol | name | shape |
|---|---|---|
| a, b, ... | rows of ``functions`` | (function, node of one sample: atom x noise of the pair) |
| B matrix | the result | (p + 1, p + 1), of n (q, r)^2 per unit of time |
"""

import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from clhd.core.arrays import FloatArray
from clhd.errors import InputError
from clhd.systems.contrastive.model.activations import RELU
from clhd.systems.contrastive.model.contrastive import ContrastiveModel
from clhd.systems.contrastive.theory.diffusion.diffusion_nodes import relu_pair_nodes, smooth_pair_nodes
from clhd.systems.contrastive.theory.diffusion.power_sums import Polynomial, add, average_batches, multiply, power_sum

_MAX_ATOMS = 128


class _Sample(NamedTuple):
    """The law of one sample: latents (node, feature), noise of the two views (2, node), weights (node,)."""

    latents: FloatArray
    noise: FloatArray
    weights: FloatArray


def batch_diffusion(model: ContrastiveModel, overlap: FloatArray, squared_norm: float) -> FloatArray:
    """Return B before any rescaling, shape (feature + 1, feature + 1).

    Parameters
    ----------
    model : ContrastiveModel
        With the covariance loss and one unit.
    overlap, squared_norm : array of shape (feature,), float
        q and r >= 0.

    Raises
    ------
    ClhdError
        If the latents have more than 128 atoms together.
    """
    q, r, p = overlap, squared_norm, len(overlap)
    inner = _at_state(model, q, r)
    sample = _law_of_sample(inner, q, r)
    pull, remainder = _noise_along_features(model, inner, sample.noise, r)
    direction = q / r if r > 0 else np.zeros(p)
    z = sample.latents @ q + sample.noise
    batch, centred, eta = model.batch or 1, bool(model.centred), model.learning_rate
    h, d, _ = model.unit(z)
    mean = float(sample.weights @ h[0]) if centred else 0.0
    statistics = _Statistics(h - mean, d, batch, centred=centred)
    u = [statistics.step(sample.latents[:, j] + direction[j] * pull) for j in range(p)]
    omega = statistics.step(z)
    square = statistics.square(model.noise_variance, model.noise_covariance)
    parts = [*(add((eta, x)) for x in u), add((2 * eta, omega), (eta**2, square))]
    pairs = [(i, j) for i in range(p + 1) for j in range(i + 1)]
    products = [multiply(parts[i], parts[j]) for i, j in pairs]
    averages = average_batches(
        [*parts, *products, square], statistics.functions, sample.weights, batch, (0, 1) if centred else ()
    )
    means, both, (mean_of_square,) = np.split(averages, [p + 1, p + 1 + len(pairs)])
    matrix = np.empty((p + 1, p + 1))
    for (i, j), product in zip(pairs, both, strict=True):
        matrix[i, j] = matrix[j, i] = product - means[i] * means[j]
    along, across = np.outer(q, direction), np.eye(p)
    if model.background == "isotropic":
        matrix[:p, :p] += eta**2 * mean_of_square * (across - along)
        return matrix
    s_a = model.augmentation_noise_variance
    own = statistics.mean_square(sample.weights, s_a, model.noise_correlation * s_a)
    matrix[:p, :p] += eta**2 * own * (across - along)
    matrix[:p, :p] += (
        eta**2 * remainder * statistics.mean_square(sample.weights, 1.0, 1.0) * np.outer(direction, direction)
    )
    return matrix


class _Statistics:
    """Sums over the batch as polynomials in power sums of functions of one sample.

    The functions a and b come first. `functions` grows with each statistic.
    """

    def __init__(self, deviations: FloatArray, slopes: FloatArray, batch: int, *, centred: bool) -> None:
        self.functions: list[FloatArray] = [deviations[0], deviations[1]]
        self._slopes, self._batch, self._centred = slopes, batch, centred
        self._factor = 1.0 / (batch - 1) if centred else 1.0 / batch

    def step(self, x: FloatArray) -> Polynomial:
        """Return sum_bv Delta_bv x_bv for factors x of shape (2, node)."""
        (a, b), (d_1, d_2) = self.functions[:2], self._slopes
        result = self._sum(x[0] * d_1 * b + x[1] * d_2 * a)
        if self._centred:
            first, second = self._sum(x[0] * d_1), self._sum(x[1] * d_2)
            means = add((1.0, multiply(power_sum(1), first)), (1.0, multiply(power_sum(0), second)))
            result = add((1.0, result), (-1.0 / self._batch, means))
        return add((self._factor, result))

    def square(self, variance: float, covariance: float) -> Polynomial:
        """Return d, with the given variance and covariance of the noise of the two views."""
        (a, b), (d_1, d_2), size = self.functions[:2], self._slopes, self._batch
        both = covariance * d_1 * d_2
        result = self._sum(variance * ((d_1 * b) ** 2 + (d_2 * a) ** 2) + 2 * both * a * b)
        if self._centred:
            first = multiply(power_sum(1), self._sum(variance * d_1**2 * b + both * a))
            second = multiply(power_sum(0), self._sum(variance * d_2**2 * a + both * b))
            of_means = add(
                (variance, multiply(power_sum(1), power_sum(1), self._sum(d_1**2))),
                (variance, multiply(power_sum(0), power_sum(0), self._sum(d_2**2))),
                (2.0, multiply(power_sum(0), power_sum(1), self._sum(both))),
            )
            result = add((1.0, result), (-2.0 / size, first), (-2.0 / size, second), (1.0 / size**2, of_means))
        return add((self._factor**2, result))

    def mean_square(self, weights: FloatArray, variance: float, covariance: float) -> float:
        """Return E d with another covariance of the noise, which is linear in it (`losses/covariance_averages.py`)."""
        (a, b), (d_1, d_2) = self.functions[:2], self._slopes
        square, product = weights @ (d_1 * b) ** 2, weights @ (d_1 * d_2 * a * b)
        if self._centred:
            square += (weights @ d_1**2) * (weights @ b**2) / (self._batch - 1)
            product += (weights @ (d_1 * d_2)) * (weights @ (a * b)) / (self._batch - 1)
        return float(2.0 / self._batch * (variance * square + covariance * product))

    def _sum(self, function: FloatArray) -> Polynomial:
        self.functions.append(function)
        return power_sum(len(self.functions) - 1)


def _at_state(model: ContrastiveModel, q: FloatArray, r: float) -> ContrastiveModel:
    """Return a model whose noise, times r, is that of the pre-activations."""
    if model.background == "isotropic" or r == 0:
        return model
    return replace(model, base_noise_variance=model.base_noise_variance * max(1.0 - float(q @ q) / r, 0.0))


def check_atoms(model: ContrastiveModel) -> None:
    """Raise ClhdError if the latents have more atoms together than batches can be averaged over."""
    count = len(model.latent_atoms()[1])
    if count > _MAX_ATOMS:
        raise InputError(
            f"latents: {count} atoms together, must be at most {_MAX_ATOMS} for the fluctuations of loss = 'covariance'"
        )


def _law_of_sample(model: ContrastiveModel, q: FloatArray, r: float) -> _Sample:
    """Return the product of the latents' atoms and the nodes of a pair's noise."""
    values, weights = model.latent_atoms()
    if model.unit.code == RELU:
        s2 = model.noise_variance
        correlation = model.noise_covariance / s2 if s2 > 0 else 0.0
        nodes = [relu_pair_nodes(mean, math.sqrt(r * s2), correlation) for mean in values @ q]
    else:
        nodes = [smooth_pair_nodes(model, r)] * len(weights)
    return _Sample(
        latents=np.repeat(values, [len(pair.weights) for pair in nodes], axis=0),
        noise=np.array(
            [np.concatenate([pair.first for pair in nodes]), np.concatenate([pair.second for pair in nodes])]
        ),
        weights=np.concatenate([share * pair.weights for share, pair in zip(weights, nodes, strict=True)]),
    )


def _noise_along_features(
    model: ContrastiveModel, inner: ContrastiveModel, noise: FloatArray, r: float
) -> tuple[FloatArray, float]:
    """Return the mean given e of the part of the noise that acts along w in the features, and its variance given e."""
    if model.background == "isotropic":
        return noise, 0.0
    common = 0.5 * model.augmentation_noise_variance * (1.0 + model.noise_correlation)
    total = common + inner.base_noise_variance
    share = common / total if total > 0 else 0.0
    mean, half = 0.5 * (noise[0] + noise[1]), 0.5 * (noise[0] - noise[1])
    return np.array([share * mean + half, share * mean - half]), r * share * inner.base_noise_variance
