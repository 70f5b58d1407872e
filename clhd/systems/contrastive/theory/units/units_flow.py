"""The ODE of several units with the covariance loss, from averages over a fixed set of batches.

The covariances C_ij of different units enter the forces nonlinearly, so the averages run over whole batches. With the
overlaps Q (unit, feature), the Gram matrix R (unit, unit), e the noise of the pre-activations z, and sums over all
samples b and views v,

    dQ/dt = eta (G - lam Q),           G_ij = E sum_bv Delta_ibv (c_bj + y_bvj),
    dR/dt = eta (M + M' - 2 lam R) + eta^2 D,       M_ik = E sum_bv Delta_ibv z_kbv,
    D_ik = E sum_b sum_uv K_uv Delta_ibu Delta_kbv,

where y is the mean, given the noise along the units, of the noise along the features. If the noise along the units is
T eps with independent eps and T T' = R (Cholesky), y_j = sum_k eps_k (T^-1 Q)_kj: no entry of T^-1 Q exceeds 1. With
the orthogonal background the base noise has R - Q Q' for R, and y counts the augmentation noise alone. On the sphere
every w_i is rescaled after each step.

The set is a scrambled Sobol sequence with a fixed seed, used with all sign changes of symmetric latents, and with the
noise reversed unless h is odd: the right-hand side is a smooth function of the state, and G = 0 exactly where Q = 0.
`integrate_units` returns the mean over four independent sets, and `averaging_error`, the standard error of this mean.

| symbol | name | shape | unit or scale |
|---|---|---|---|
| Q, R | ``overlap``, ``gram`` | (unit, feature), (unit, unit) | of w_i xi_i, of w_i w_k |
| (Q, upper triangle of R) | ``state`` | (unit feature + unit (unit + 1) / 2,) | |
| Delta, z | ``delta``, ``z`` | (unit, view, batch of the set) | views 2 b and 2 b + 1 are those of sample b |
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from itertools import product
from typing import Any

import numpy as np

from clhd.core.arrays import FloatArray
from clhd.core.checks import parse_times
from clhd.core.lazy import integrate, qmc, special, xr
from clhd.errors import InputError
from clhd.systems.contrastive.model.activations import RELU, activate
from clhd.systems.contrastive.model.contrastive import DIVERGENCE_LIMIT, ContrastiveModel
from clhd.systems.contrastive.model.labels import labelled
from clhd.systems.contrastive.model.losses import DECORRELATIONS, covariance
from clhd.systems.contrastive.model.state import factorise_rest, parse_units_norm, parse_units_overlap

# Batches of the sequence, without their images; a power of 2 keeps the sequence balanced.
BATCHES = 4096
_SEED = 20240611
_SETS = 4
_RELATIVE_TOLERANCE, _ABSOLUTE_TOLERANCE = 1e-6, 1e-8
# Columns of T below this share of the largest are dropped: units that agree to rounding are one direction.
_SMALLEST = 1e-7


class GramFlow(ABC):
    """The ODE of several units in (Q, R); a subclass has the averages.

    Parameters
    ----------
    model : ContrastiveModel
    """

    def __init__(self, model: ContrastiveModel) -> None:
        self.model, self.units, self.features = model, model.units, model.features

    @abstractmethod
    def terms(self, overlap: FloatArray, gram: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return (G, M, D) of shapes (unit, feature), (unit, unit), (unit, unit)."""

    def velocity(self, state: FloatArray) -> FloatArray:
        """Return the time derivative of a state, per unit of time."""
        model, eta = self.model, self.model.learning_rate
        overlap, gram = self.unpack(state)
        g, along, variance = self.terms(overlap, gram)
        change = eta * (along + along.T) + eta**2 * variance
        if model.is_sphere:
            decay = 0.5 * np.diag(change)
            return self.pack(eta * g - decay[:, None] * overlap, change - (decay[:, None] + decay) * gram)
        lam = model.weight_decay
        return self.pack(eta * (g - lam * overlap), change - 2 * eta * lam * gram)

    def pack(self, overlap: FloatArray, gram: FloatArray) -> FloatArray:
        """Return the state of an overlap and a Gram matrix."""
        return np.concatenate([overlap.ravel(), gram[np.triu_indices(self.units)]])

    def unpack(self, state: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the overlap and the Gram matrix of a state."""
        split = self.units * self.features
        gram = np.zeros((self.units, self.units))
        gram[np.triu_indices(self.units)] = state[split:]
        return state[:split].reshape(self.units, -1), gram + np.triu(gram, 1).T


class UnitsFlow(GramFlow):
    """The ODE of several units, by averages over a set of batches.

    Parameters
    ----------
    model : ContrastiveModel
        With the covariance loss, without an L1 penalty, and not relu.
    scrambling : int
        Number of an independent set of batches; the theory uses 0.

    Raises
    ------
    ClhdError
        If the model has an L1 penalty, another loss, or relu (whose kink makes averages over a set jump).
    """

    def __init__(self, model: ContrastiveModel, *, scrambling: int = 0) -> None:
        check_units(model)
        super().__init__(model)
        self.latents, self._noise = _draw_batches(model, scrambling)

    def terms(self, overlap: FloatArray, gram: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        model, lanes = self.model, self.latents.shape[-1]
        delta, z, own, share = self.sample_forces(overlap, gram)
        split = delta.reshape(self.units, -1, 2, lanes)
        pull = np.einsum("ibvl,kbvl->ik", split, own) @ share
        g = np.einsum("ibvl,bjl->ij", split, self.latents) + pull
        along = np.einsum("ivl,kvl->ik", delta, z)
        squares, cross = np.einsum("ibvl,kbvl->ik", split, split), np.einsum("ibvl,kbvl->ik", split, split[:, :, ::-1])
        variance = model.noise_variance * squares + model.noise_covariance * cross
        return g / lanes, along / lanes, variance / lanes

    def sample_forces(
        self, overlap: FloatArray, gram: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """Return Delta and z (unit, view, batch), the noise eps (unit, sample, view, batch), and T^-1 Q."""
        e, share, own = self._noise_of_units(overlap, gram)
        z = np.einsum("ij,bjl->ibl", overlap, self.latents)[:, :, None] + e
        z = np.ascontiguousarray(z.reshape(self.units, -1, self.latents.shape[-1]))
        return self._forces(z), z, own, share

    def _noise_of_units(self, overlap: FloatArray, gram: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return e (unit, sample, view, batch), T^-1 Q, and the part of eps that acts along the features (as e)."""
        model, (base, common, difference) = self.model, self._noise
        s_b, s_a, rho = model.base_noise_variance, model.augmentation_noise_variance, model.noise_correlation
        triangle, inverse = triangle_of(gram)
        common = math.sqrt(0.5 * s_a * (1 + rho)) * common
        difference = math.sqrt(0.5 * s_a * (1 - rho)) * difference
        augmented = np.stack([common + difference, common - difference], axis=2)
        base = math.sqrt(s_b) * base
        if model.background == "isotropic":
            own = augmented + base[:, :, None]
            return np.einsum("ik,kbvl->ibvl", triangle, own), inverse @ overlap, own
        outside, _ = triangle_of(gram - overlap @ overlap.T)
        e = np.einsum("ik,kbvl->ibvl", triangle, augmented) + np.einsum("ik,kbl->ibl", outside, base)[:, :, None]
        return e, inverse @ overlap, augmented

    def _forces(self, z: FloatArray) -> FloatArray:
        model, (units, views, lanes) = self.model, z.shape
        h, d, delta = np.empty_like(z), np.empty_like(z), np.empty_like(z)
        for i, v in product(range(units), range(views)):
            activate(model.unit.code, model.unit.coefficient_array, z[i, v], h[i, v], d[i, v])
        penalty, weight = DECORRELATIONS[model.decorrelation_function], np.full(lanes, model.decorrelation)
        mean, slope = np.empty(lanes), np.empty((units, units, lanes))
        covariance.forces(bool(model.centred), penalty, weight, h, d, mean, slope, delta)
        return delta


def check_units(model: ContrastiveModel) -> None:
    """Raise ClhdError if the theory of several units does not know the model."""
    if model.batch is None:
        raise InputError(f"loss = {model.loss!r}: must be 'covariance' for the theory of several units")
    if model.l1_penalty > 0:
        raise InputError(f"l1_penalty = {model.l1_penalty!r}: must be 0 for the ODE of several units")
    if model.unit.code == RELU:
        raise InputError("activation = 'relu': must be a smooth one for the theory of several units")


def count_lanes(model: ContrastiveModel) -> int:
    """Return the number of pre-activations of one evaluation by all sets of batches."""
    images = 2 ** min(model.features, 2) if model.has_symmetric_latents else 2
    return _SETS * BATCHES * images * model.units * model.views


def triangle_of(matrix: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return T with T T' = `matrix`, and T^-1, whose rows are 0 for directions that are not there."""
    size, scale = len(matrix), math.sqrt(max(float(np.trace(matrix)), 0.0))
    lower, inverse = np.zeros((size, size)), np.zeros((size, size))
    for k in range(size):
        lower[k, k] = math.sqrt(max(matrix[k, k] - lower[k, :k] @ lower[k, :k], 0.0))
        if lower[k, k] <= _SMALLEST * scale:
            lower[k, k] = 0.0
            continue
        lower[k + 1 :, k] = (matrix[k + 1 :, k] - lower[k + 1 :, :k] @ lower[k, :k]) / lower[k, k]
        inverse[k] = -lower[k, :k] @ inverse[:k] / lower[k, k]
        inverse[k, k] = 1.0 / lower[k, k]
    return lower, inverse


def _draw_batches(model: ContrastiveModel, scrambling: int) -> tuple[FloatArray, FloatArray]:
    """Return latents (sample, feature, batch) and normal noise (source, unit, sample, batch) of a fixed set."""
    size, units, features = model.samples, model.units, model.features
    engine = qmc.Sobol(size * (3 * units + features), rng=np.random.default_rng([_SEED, scrambling]))
    uniform = engine.random(BATCHES).T
    normal = special.ndtri(np.clip(uniform[: 3 * units * size], 1e-16, 1 - 1e-16)).reshape(3, units, size, BATCHES)
    latents = uniform[3 * units * size :].reshape(size, features, BATCHES)
    for j, law in enumerate(model.latents):
        values, weights = law.atoms()
        chosen = np.minimum(np.searchsorted(np.cumsum(weights), latents[:, j]), len(values) - 1)
        latents[:, j] = values[chosen]
    signs = [(1.0, -1.0) if law.is_symmetric and features <= 2 else (1.0,) for law in model.latents]
    if features > 2 and model.has_symmetric_latents:
        patterns = [np.ones(features), -np.ones(features)]
    else:
        patterns = [np.array(pattern) for pattern in product(*signs)]
    is_odd = model.unit.parity == -1 and model.has_symmetric_latents
    images = list(product(patterns, (1.0,) if is_odd else (1.0, -1.0)))
    return (
        np.concatenate([latents * pattern[:, None] for pattern, _ in images], axis=-1),
        np.concatenate([normal * sign for _, sign in images], axis=-1),
    )


def integrate_units(model: ContrastiveModel, *, overlap: Any, squared_norm: Any = 1.0, time: Any) -> xr.Dataset:
    """Integrate the ODE of several units from time 0.

    Parameters
    ----------
    model : ContrastiveModel
        With two to four units.
    overlap : array-like of shape (unit, feature)
        Initial overlaps.
    squared_norm : float or array-like of shape (unit, unit)
        Initial Gram matrix; a number is the squared norm of each unit, as in `simulate_sgd`.
    time : array-like of shape (time,)
        Output times, 0 or later and increasing; unit: steps per dimension.

    Returns
    -------
    xarray.Dataset

    | variable | dims | unit | meaning |
    |---|---|---|---|
    | overlap | time, unit, feature | 1 | Q |
    | squared_norm | time, unit, unit_2 | 1 | R |
    | cosine_similarity | time, unit, feature | 1 | Q_ij / sqrt R_ii |
    | averaging_error | time | 1 | largest standard error, from the sets of batches, among all Q and R |
    | diverged | | | true if a squared norm passed `DIVERGENCE_LIMIT`; values are NaN from then on |

    Raises
    ------
    ClhdError
        If an argument has the wrong shape or range, or there is no theory for the model (see `UnitsFlow`).
    """
    times = parse_times(time)
    norm = parse_units_norm(model, squared_norm)
    start = np.array(parse_units_overlap(model, overlap, norm))
    rest = factorise_rest(start, norm)
    gram = start @ start.T + rest @ rest.T
    runs = []
    for scrambling in range(_SETS):
        flow = UnitsFlow(model, scrambling=scrambling)
        runs.append(_integrate(flow, flow.pack(start, gram), times))
    states = np.mean(runs, axis=0)
    error = np.std(runs, axis=0, ddof=1).max(axis=-1) / math.sqrt(_SETS)
    overlaps, grams = (np.stack(parts) for parts in zip(*(flow.unpack(state) for state in states), strict=True))
    with np.errstate(invalid="ignore", divide="ignore"):
        similarity = overlaps / np.sqrt(np.diagonal(grams, axis1=1, axis2=2))[:, :, None]
    units, features = np.arange(1, model.units + 1), np.arange(1, model.features + 1)
    return labelled(
        {
            "overlap": (("time", "unit", "feature"), overlaps),
            "squared_norm": (("time", "unit", "unit_2"), grams),
            "cosine_similarity": (("time", "unit", "feature"), similarity),
            "averaging_error": (("time",), error),
            "diverged": ((), np.isnan(states[-1, 0])),
        },
        {"time": times, "unit": units, "unit_2": units, "feature": features},
    )


def _integrate(flow: UnitsFlow, state: FloatArray, times: FloatArray) -> FloatArray:
    """Return the states at `times`, shape (time, variable), NaN from a divergence on."""

    def distance_to_limit(_: float, state: FloatArray) -> float:
        return DIVERGENCE_LIMIT - float(np.abs(state).max())

    distance_to_limit.terminal = True  # type: ignore[attr-defined]
    outcome = np.full((len(times), len(state)), np.nan)
    if times[-1] == 0.0:
        outcome[:] = state
        return outcome
    with np.errstate(all="ignore"):  # a solution that ends in finite time overflows before its event is found
        solution = integrate.solve_ivp(
            lambda _, x: flow.velocity(x),
            (0.0, float(times[-1])),
            state,
            t_eval=times,
            events=distance_to_limit,
            rtol=_RELATIVE_TOLERANCE,
            atol=_ABSOLUTE_TOLERANCE,
        )
    outcome[: solution.y.shape[1]] = solution.y.T
    return outcome
