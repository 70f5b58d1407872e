"""Exact averages over the batches of two equal units with the covariance loss, and of their small deviations.

Both units have the overlap q with one feature and the squared norm r, so their outputs agree. With a = h_1 - m,
b = h_2 - m, m = E h (m = 0 if not centred), k_v the deviation of an output from its mean over the batch, and
N = 1 / (B - 1) (1 / B if not centred), the forces on the two views of a sample are, for each unit,

    Delta_1 = N h_1' k_2 s,    Delta_2 = N h_2' k_1 s,        s = 1 - 2 lam_c C,    C = N sum_b k_1 k_2.

Let the pre-activations of one unit move by zeta_v, and those of the other by sigma zeta_v: sigma = 1 is a *joint*
deviation, sigma = -1 an *antisymmetric* one. To first order, with l_v = h_v' zeta_v - its mean over the batch,

    dDelta_1 = N [h_1'' zeta_1 k_2 s + h_1' l_2 (1 - 2 sigma lam_c C) - 2 lam_c h_1' k_2 X],
    dDelta_2 = N [h_2'' zeta_2 k_1 s + h_2' l_1 (1 - 2 sigma lam_c C) - 2 sigma lam_c h_2' k_1 X],
    X = N sum_b (l_1 k_2 + sigma k_1 l_2),

because C_12 moves by X and C_21 by sigma X. All these are polynomials in power sums over the batch, so averages over
one sample are enough (`power_sums.py`). The averages over the noise of its two views have the accuracy of
`diffusion_nodes.py`, about 1e-9.

| symbol | name | shape |
|---|---|---|
| Delta, dDelta | `Force`: terms of a polynomial over the batch and a function of a sample's views | (2, node) |
| zeta | ``move`` | (2, node) |
| | ``sign``, of each sample, +1 or -1 at random | (node,) |
"""

from dataclasses import replace

import numpy as np

from clhd.core.arrays import FloatArray
from clhd.systems.contrastive.model.contrastive import ContrastiveModel
from clhd.systems.contrastive.theory.diffusion.diffusion_nodes import smooth_pair_nodes
from clhd.systems.contrastive.theory.diffusion.power_sums import Polynomial, add, average_batches, multiply, power_sum

# The force on the two views of each sample is the sum of the terms: a polynomial over the batch times functions of
# the sample, shape (2, node).
Force = list[tuple[Polynomial, FloatArray]]


class SharedAverages:
    """Averages at one state of two equal units.

    Parameters
    ----------
    model : ContrastiveModel
        One unit and one feature, with the covariance loss.
    penalty : float
        lam_c.
    overlap, squared_norm : float
        q and r > 0.

    Attributes
    ----------
    latent, sign : array of shape (node,)
        The latent c, and the random sign.
    noise, z : array of shape (2, node)
        Noise of the pre-activations, and the pre-activations.
    force : Force
        Delta, of each unit.
    """

    def __init__(self, model: ContrastiveModel, penalty: float, overlap: float, squared_norm: float) -> None:
        self._model, self._penalty, self._batch = model, penalty, model.batch or 1
        self._is_centred = bool(model.centred)
        self._factor = 1 / (self._batch - 1) if self._is_centred else 1 / self._batch
        self._place_nodes(overlap, squared_norm)
        h, self._slope, self._curvature = model.unit(self.z)
        self._outputs = h - float(self._weights @ h[0]) if self._is_centred else h
        self._functions: list[FloatArray] = []
        self._sums = (self._sum(self._outputs[0]), self._sum(self._outputs[1]))
        self._covariance = self._cross(self._outputs, self._sums)
        self.force = self._pull(self._scale(1.0), self._slope, self._outputs, self._sums)

    def _place_nodes(self, overlap: float, squared_norm: float) -> None:
        """Set latent, noise, sign and weights: all products of atoms, nodes of a pair's noise, and signs."""
        inner = self._model
        if inner.background == "orthogonal":
            outside = max(1.0 - overlap**2 / squared_norm, 0.0)
            inner = replace(inner, base_noise_variance=inner.base_noise_variance * outside)
        pair = smooth_pair_nodes(inner, squared_norm)
        atoms, shares = inner.latent_atoms()
        latent, noise = np.repeat(atoms[:, 0], len(pair.weights)), np.tile([pair.first, pair.second], len(shares))
        weights = np.outer(shares, pair.weights).ravel()
        self.latent, self.noise, self._weights = np.tile(latent, 2), np.tile(noise, 2), np.tile(0.5 * weights, 2)
        self.sign = np.repeat([1.0, -1.0], len(weights))
        self.z = overlap * self.latent + self.noise

    def deviate(self, move: FloatArray, sigma: float) -> Force:
        """Return dDelta of one unit for its move zeta, shape (2, node), and the other unit's move sigma zeta."""
        outputs, moved = self._outputs, self._slope * move
        sums = (self._sum(moved[0]), self._sum(moved[1]))
        change = add(  # of C_12
            (1.0, self._cross((moved[0], outputs[1]), (sums[0], self._sums[1]))),
            (sigma, self._cross((outputs[0], moved[1]), (self._sums[0], sums[1]))),
        )
        return (
            self._pull(self._scale(1.0), self._curvature * move, outputs, self._sums)
            + self._pull(self._scale(sigma), self._slope, moved, sums)
            + self._pull(
                add((-2 * self._penalty, change)), self._slope * np.array([[1.0], [sigma]]), outputs, self._sums
            )
        )

    def step(self, force: Force, factors: FloatArray) -> float:
        """Return the average of sum_bv force_bv factor_bv, for factors of shape (2, node)."""
        terms = [(1.0, multiply(batch, self._sum((own * factors).sum(axis=0)))) for batch, own in force]
        return self._average(add(*terms))

    def square(self, first: Force, second: Force) -> float:
        """Return the average of sum_b sum_uv K_uv first_bu second_bv, with the noise K of a coordinate."""
        s2, kappa = self._model.noise_variance, self._model.noise_covariance
        terms = []
        for batch, own in first:
            for other_batch, other in second:
                product = s2 * (own * other).sum(axis=0) + kappa * (own * other[::-1]).sum(axis=0)
                terms.append((1.0, multiply(batch, other_batch, self._sum(product))))
        return self._average(add(*terms))

    def _pull(
        self, batch: Polynomial, slope: FloatArray, outputs: FloatArray, sums: tuple[Polynomial, Polynomial]
    ) -> Force:
        """Return N slope_v times the deviation of the other view's output from its mean, times a batch polynomial."""
        terms = [(add((self._factor, batch)), slope * outputs[::-1])]
        if self._is_centred:
            of_mean = add((-self._factor / self._batch, batch))
            terms += [(multiply(of_mean, sums[1 - v]), slope * np.eye(2)[v][:, None]) for v in range(2)]
        return terms

    def _scale(self, sigma: float) -> Polynomial:
        """Return 1 - 2 sigma lam_c C."""
        return add((1.0, {(): 1.0}), (-2 * sigma * self._penalty, self._covariance))

    def _cross(self, outputs: FloatArray | tuple[FloatArray, ...], sums: tuple[Polynomial, Polynomial]) -> Polynomial:
        """Return N sum_b of the product of the deviations of two outputs from their means."""
        product = (self._factor, self._sum(outputs[0] * outputs[1]))
        return add(product, (-self._factor / self._batch, multiply(*sums))) if self._is_centred else add(product)

    def _sum(self, function: FloatArray) -> Polynomial:
        self._functions.append(function)
        return power_sum(len(self._functions) - 1)

    def _average(self, polynomial: Polynomial) -> float:
        centred = (0, 1) if self._is_centred else ()
        return float(average_batches([polynomial], self._functions, self._weights, self._batch, centred)[0])
