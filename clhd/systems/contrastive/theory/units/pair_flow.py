"""The ODE of two units with the covariance loss, from averages over one sample: no sets of batches.

The right-hand side is that of `units_flow.py`. With the forces of `pair_moments.py` as products of sums over the other
samples (p, q) times factors f of one sample,

    E sum_bv Delta_ibv y_bv  = B sum_vp E[f_ivp y_v] first_p,
    D_ik                     = B sum_uv K_uv sum_pq E[f_iup f_kvq] second_pq,

for every function y of a sample. What is left are averages over one sample: over the atoms of its latents, and over
the noise of its two views, which is normal in four dimensions. With the mean e_c and the half difference e_d of the
noise over the two views, e_c = T_c eps_c and e_d = T_d eps_d,

    T_c T_c' = s_b R + s_a (1 + rho) R / 2,    T_d T_d' = s_a (1 - rho) R / 2

(orthogonal background: s_b (R - Q Q') for s_b R). The noise along the features has the mean F (T^-1 Q)' eps given e,
where F is the variance of either mode along a feature. The averages over eps use a product of four rules, each with as
many nodes as the spread of the pre-activations asks for: Gauss-Hermite for a small spread, else the trapezoid rule.
-eps_d exchanges the views, so half of its nodes are enough; if h is odd and the latents are symmetric, so are half of
the atoms, and odd moments are 0. The error is measured with a rule of higher ``accuracy``.

| symbol | name | shape |
|---|---|---|
| eps | ``nodes`` | (mode * unit, node); mode c, then d |
| x_iv = h_iv - E h_i, h' | ``x``, ``slope`` | (unit * view, node) |
| f | ``factors`` | (36, node) |
"""

import math
from functools import lru_cache
from itertools import product
from typing import NamedTuple

import numpy as np

from clhd.core.arrays import FloatArray
from clhd.core.lazy import integrate
from clhd.errors import InputError
from clhd.systems.contrastive.model.activations import ERF, TANH
from clhd.systems.contrastive.model.contrastive import DIVERGENCE_LIMIT, ContrastiveModel
from clhd.systems.contrastive.theory.units.pair_moments import (
    EXPONENTS,
    HALVES,
    PLACES,
    coefficients,
    rest_averages,
    split_moments,
)
from clhd.systems.contrastive.theory.units.units_flow import GramFlow, check_units, triangle_of

# Number in the exponent of the error of one noise direction, the widest step of the trapezoid rule, where it ends,
# and the fewest nodes of Gauss and Hermite's rule.
_ACCURACY, _WIDEST, _END, _FEWEST = 18.0, 1.05, 5.5, 5
# Accuracy where only the end of a trajectory matters.
_ROUGH = 6.0
_MOST_ATOMS = 128
_ODD = np.array([sum(exponents) % 2 == 1 for exponents in EXPONENTS])
_FIRST_HALF, _SECOND_HALF = split_moments()
# Places of the factors and of the moments when the two views are exchanged.
_OTHER_VIEW = np.arange(36).reshape(2, 2, 9)[:, ::-1].ravel()
_OTHER_MOMENT = np.array([EXPONENTS.index((b, a, d, c)) for a, b, c, d in EXPONENTS])


class _Averages(NamedTuple):
    """Averages over one sample: of f f' (36, 36), of f y (36, 2 y), and the moments."""

    squares: FloatArray
    along: FloatArray
    moments: FloatArray


class PairFlow(GramFlow):
    """The ODE of two units, by averages over one sample.

    Parameters
    ----------
    model : ContrastiveModel
        As of `UnitsFlow`, with two units; the latents have at most 128 atoms together.
    largest_norm : float
        Squared norm up to which the averages shall be accurate.
    accuracy : float
        Logarithm of the inverse error of the averages over the noise, up to a factor.

    Raises
    ------
    ClhdError
        If the model is not as above.
    """

    def __init__(self, model: ContrastiveModel, *, largest_norm: float = 1.0, accuracy: float = _ACCURACY) -> None:
        check_pair(model)
        super().__init__(model)
        s_a, rho = model.augmentation_noise_variance, model.noise_correlation
        self._difference = 0.5 * s_a * (1 - rho)
        self._augmented = 0.5 * s_a * (1 + rho)
        variances = (model.base_noise_variance + self._augmented, self._difference)
        is_bounded = model.unit.code in (TANH, ERF)
        rules = (_choose_rule(variance * largest_norm, accuracy, is_bounded) for variance in variances)
        self._nodes, self._weights = _place_nodes(*rules)
        self._is_odd = model.unit.parity == -1 and model.has_symmetric_latents
        self._atoms, self._shares = model.latent_atoms()
        if self._is_odd:
            self._fold_atoms()
        self._rest = rest_averages(model.batch or 1)

    def _fold_atoms(self) -> None:
        """Keep one atom of each pair c, -c, with the weight of both."""
        kept, shares = [], []
        for atom, share in zip(self._atoms, self._shares, strict=True):
            leading = atom[np.flatnonzero(atom)[:1]]
            if len(leading) == 0 or leading[0] > 0:
                kept.append(atom)
                shares.append(share if len(leading) == 0 else 2 * share)
        self._atoms, self._shares = np.array(kept), np.array(shares)

    def terms(self, overlap: FloatArray, gram: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        model, batch = self.model, self.model.batch or 1
        averages = self._average(overlap, gram)
        first, second = self._rest(averages.moments)
        along = (first[:, None] * averages.along).reshape(2, 2, -1, 2, self.features + 2)
        pulled = batch * sum(along[:, v, :, v].sum(axis=1) for v in range(2))
        squares = (averages.squares * second).reshape(2, 2, 9, 2, 2, 9).sum(axis=(2, 5))
        noise = np.array([[model.noise_variance, model.noise_covariance]] * 2)
        noise[1] = noise[1, ::-1]
        variance = batch * np.einsum("uv,iukv->ik", noise, squares)
        return pulled[:, : self.features], pulled[:, self.features :], variance

    def _noise(self, overlap: FloatArray, gram: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return e (unit, view, node), and the mean given e of the noise along the features (feature, view, node)."""
        model = self.model
        outside = gram if model.background == "isotropic" else gram - overlap @ overlap.T
        along = self._augmented + (model.base_noise_variance if model.background == "isotropic" else 0.0)
        modes = (model.base_noise_variance * outside + self._augmented * gram, self._difference * gram)
        parts, pulls = [], []
        for k, (matrix, variance) in enumerate(zip(modes, (along, self._difference), strict=True)):
            triangle, inverse = triangle_of(matrix)
            eps = self._nodes[2 * k : 2 * k + 2]
            parts.append(triangle @ eps)
            pulls.append(variance * (inverse @ overlap).T @ eps)
        return np.stack([parts[0] + parts[1], parts[0] - parts[1]], axis=1), np.stack(
            [pulls[0] + pulls[1], pulls[0] - pulls[1]], axis=1
        )

    def _average(self, overlap: FloatArray, gram: FloatArray) -> _Averages:
        """Return the averages over one sample, atom by atom."""
        model, batch, centred = self.model, self.model.batch or 1, bool(self.model.centred)
        e, pull = self._noise(overlap, gram)
        count = e.shape[-1]
        outputs = []
        for atom in self._atoms:
            z = ((overlap @ atom)[:, None, None] + e).reshape(4, count)
            h, slope, _ = model.unit(z)
            outputs.append((z, h, slope))
        mean = np.zeros(2)
        if centred and not self._is_odd:
            sides = sum(share * (h @ self._weights) for share, (_, h, _) in zip(self._shares, outputs, strict=True))
            mean = np.reshape(sides, (2, 2)).mean(axis=1)
        squares, along, moments = np.zeros((36, 36)), np.zeros((36, 2 * (self.features + 2))), np.zeros(len(EXPONENTS))
        for atom, share, (z, h, slope) in zip(self._atoms, self._shares, outputs, strict=True):
            x = h - np.repeat(mean, 2)[:, None]
            factors = np.concatenate(
                [coefficients(model.decorrelation, batch, centred, x, slope, i, v) for i, v in PLACES]
            )
            weighted = share * self._weights * factors
            squares += weighted @ factors.T
            features = (atom[:, None, None] + pull).swapaxes(0, 1)
            along += (
                weighted @ np.concatenate([features, z.reshape(2, 2, count).swapaxes(0, 1)], 1).reshape(-1, count).T
            )
            halves = _monomials(x)
            products = (share * self._weights * halves) @ halves.T
            moments += products[_FIRST_HALF, _SECOND_HALF]
        if self._is_odd:
            moments[_ODD] = 0.0
        # Add the other half of the nodes, at which the views are exchanged.
        squares = 0.5 * (squares + squares[np.ix_(_OTHER_VIEW, _OTHER_VIEW)])
        swapped = along.reshape(36, 2, -1)[:, ::-1].reshape(36, -1)[_OTHER_VIEW]
        return _Averages(squares, 0.5 * (along + swapped), 0.5 * (moments + moments[_OTHER_MOMENT]))


def follow_pairs(
    model: ContrastiveModel, overlap: FloatArray, gram: FloatArray, time: float
) -> tuple[FloatArray, FloatArray]:
    """Return the overlaps (start, unit, feature) and Gram matrices (start, unit, unit) at a time, NaN if diverged.

    Only where the starts end matters here, so the averages are accurate to about 1e-3.

    Parameters
    ----------
    model : ContrastiveModel
        As of `PairFlow`.
    overlap, gram : arrays of shape (start, 2, feature), (start, 2, 2)
        At time 0.
    time : float
        When to end, in steps per dimension.
    """
    flow = PairFlow(model, largest_norm=max(1.0, float(gram[:, [0, 1], [0, 1]].max())), accuracy=_ROUGH)
    ends = []
    for q, r in zip(overlap, gram, strict=True):
        solution = integrate.solve_ivp(
            lambda _, state: flow.velocity(state), (0.0, time), flow.pack(q, r), method="LSODA", rtol=1e-4, atol=1e-6
        )
        end = solution.y[:, -1]
        has_ended = solution.success and np.abs(end).max() <= DIVERGENCE_LIMIT
        ends.append(flow.unpack(end if has_ended else np.full_like(end, np.nan)))
    overlaps, grams = (np.stack(parts) for parts in zip(*ends, strict=True))
    return overlaps, grams


def check_pair(model: ContrastiveModel) -> None:
    """Raise ClhdError if there is no theory of two units for the model."""
    if model.units != 2:
        raise InputError(f"units = {model.units}: must be 2 for the theory of a pair of units")
    check_units(model)
    atoms = len(model.latent_atoms()[1])
    if atoms > _MOST_ATOMS:
        raise InputError(f"latents: {atoms} atoms together, must be at most {_MOST_ATOMS} for the theory of two units")


def _choose_rule(variance: float, accuracy: float, is_bounded: bool) -> tuple[str, int, float]:
    """Return the name, the number of nodes and the step of the rule for one noise direction.

    tanh has poles at the distance pi / 2 from the real line, so in units of the noise at a = pi / 2 s. The error of
    Gauss and Hermite's rule is about exp(-a sqrt(2 n)), that of the trapezoid rule exp(-2 pi a / step).
    """
    if variance == 0:
        return "gauss", 1, 0.0
    spread = math.sqrt(variance)
    gauss = _FEWEST + math.ceil(2 * (accuracy * spread / math.pi) ** 2)
    step = min(_WIDEST, math.pi**2 / (spread * accuracy))
    trapezoid = 2 * math.ceil(_END / step) + 1
    return ("gauss", gauss, 0.0) if not is_bounded or gauss <= trapezoid else ("trapezoid", trapezoid, step)


@lru_cache(maxsize=16)
def _place_nodes(common: tuple[str, int, float], difference: tuple[str, int, float]) -> tuple[FloatArray, FloatArray]:
    """Return nodes (4, node) and weights (node,) of four standard normal numbers, two by each rule.

    Of the nodes eps_d and -eps_d of the second rule one is kept, with the weight of both.
    """
    rules = [_weigh(*rule) for rule in (common, common, difference, difference)]
    nodes = np.array(list(product(*(values for values, _ in rules)))).T
    weights = np.prod(list(product(*(shares for _, shares in rules))), axis=1)
    sign = np.where(nodes[2] != 0, nodes[2], nodes[3])
    kept = sign >= 0
    return np.ascontiguousarray(nodes[:, kept]), np.where(sign > 0, 2.0, 1.0)[kept] * weights[kept]


def _weigh(name: str, count: int, step: float) -> tuple[FloatArray, FloatArray]:
    """Return the nodes and weights of one rule for a standard normal number; an odd rule has a node at 0 exactly."""
    if name == "gauss":
        found, weights = np.polynomial.hermite_e.hermegauss(count)
        values: FloatArray = np.asarray(0.5 * (found - found[::-1]), dtype=np.float64)
    else:
        values = step * np.arange(-(count // 2), count // 2 + 1, dtype=np.float64)
        weights = np.exp(-0.5 * values**2)
    return values, np.asarray(weights / weights.sum(), dtype=np.float64)


def _monomials(x: FloatArray) -> FloatArray:
    """Return the monomials of `HALVES` of x, shape (monomial, node)."""
    powers = (x, x**2, x**3)
    monomials = np.ones((len(HALVES), x.shape[1]))
    for monomial, exponents in zip(monomials, HALVES, strict=True):
        for k, exponent in enumerate(exponents):
            if exponent > 0:
                np.multiply(monomial, powers[exponent - 1][k], out=monomial)
    return monomials
