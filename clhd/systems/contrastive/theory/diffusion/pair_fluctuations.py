"""Gaussian fluctuations of two units with the covariance loss around their ODE, at large dimension.

As in `fluctuations.py`, dC/dt = J C + C J' + B for X = (Q, R). The Jacobian J is that of `pair_flow.py`. The diffusion
matrix B is the limit of n^2 Cov[change of X in one step]. With the sums over all views v of a batch

    u_ij = sum_v Delta_iv (c_vj + y_vj),    omega_ik = sum_v Delta_iv z_kv,    d_ik = sum_uv K_uv Delta_iu Delta_kv,

where y is the mean, given the noise along the units, of the noise along the features (`units_flow.py`),

    B = Cov[(eta u, eta (omega + omega') + eta^2 d)] + eta^2 F_ik (I - Q' R^-1 Q)_jl on the overlaps (ij, kl),
    F = E sum_uv K'_uv Delta_iu Delta_kv,    K' the covariance of the noise along a feature.

The second term is the noise along the features that the units do not see. On the sphere the units are rescaled after a
step: B -> P B P' with the P of Q_ij - Q_ij dR_ii / 2 and R_ik - R_ik (dR_ii + dR_kk) / 2. B is of degree 14 in the
outputs, so the averages run over four independent sets of batches; ``averaging_error`` is the standard error of their
mean, carried through to C.

J and B are computed at the steps that the integration of the ODE takes, and interpolated by cubic splines.

| symbol | name | shape | unit or scale |
|---|---|---|---|
| X = (Q, upper triangle of R) | ``state`` | (2 p + 3,) | |
| C | ``covariance`` | (time, 2 p + 3, 2 p + 3) | n times the covariance of X |
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from clhd.core.arrays import FloatArray
from clhd.core.checks import parse_times
from clhd.core.lazy import integrate, interpolate, xr
from clhd.errors import InputError
from clhd.systems.contrastive.model.contrastive import DIVERGENCE_LIMIT, ContrastiveModel
from clhd.systems.contrastive.model.labels import GRAM_WORDS, labelled
from clhd.systems.contrastive.model.state import (
    cosine_similarity,
    factorise_rest,
    parse_units_norm,
    parse_units_overlap,
)
from clhd.systems.contrastive.theory.units.pair_flow import PairFlow
from clhd.systems.contrastive.theory.units.units_flow import UnitsFlow
from clhd.systems.declarations import NotConvergedError

# Of the ODE, whose steps are the knots of J and B, and of the covariance between the knots.
_PATH_TOLERANCE, _TOLERANCE = 1e-5, 1e-7
_LONGEST_STEP, _MOST_KNOTS = 2.0, 400
_SETS, _STEP = 4, 1e-5
# Accuracy of the averages of the ODE: about 1e-3, as that of the sets of batches.
_ACCURACY = 12.0


def predict_pair_fluctuations(
    model: ContrastiveModel,
    overlap: Sequence[float] | FloatArray | None,
    squared_norm: float | FloatArray,
    time: Sequence[float] | FloatArray,
) -> xr.Dataset:
    """Predict the covariance of the order parameters of two units; see `predict_fluctuations`.

    Parameters
    ----------
    model : ContrastiveModel
        With two units.
    overlap : array of shape (unit, feature), or None
        Initial overlap; None for random weights, whose overlap and product are 0 in the limit.
    squared_norm : float, or array of shape (unit, unit)
    time : sequence of float
    """
    times = parse_times(time)
    norm = parse_units_norm(model, squared_norm)
    start = np.zeros((2, model.features)) if overlap is None else np.array(parse_units_overlap(model, overlap, norm))
    rest = factorise_rest(start, norm)
    gram = start @ start.T + rest @ rest.T
    flow = PairFlow(model, largest_norm=max(1.0, float(np.diag(gram).max())), accuracy=_ACCURACY)
    state = flow.pack(start, gram)
    covariance = np.zeros((len(state), len(state)))
    if overlap is None:
        if abs(gram[0, 1]) > 0 or gram[0, 0] != gram[1, 1]:
            raise InputError(f"squared_norm = {squared_norm!r}: must be a number with initial = 'random'")
        r, own = gram[0, 0], 0.0 if model.is_sphere else 2.0
        np.fill_diagonal(covariance, np.append(np.full(2 * model.features, r), np.array([own, 1.0, own]) * r**2))
    states, covariances, errors = _integrate(flow, state, covariance, times)
    return _as_dataset(flow, times, states, covariances, errors)


def pair_diffusion(flow: UnitsFlow, overlap: FloatArray, gram: FloatArray) -> FloatArray:
    """Return B by one set of batches, shape (2 p + 3, 2 p + 3).

    Parameters
    ----------
    flow : UnitsFlow
        Of two units.
    overlap, gram : arrays of shape (2, feature), (2, 2)
    """
    model, eta = flow.model, flow.model.learning_rate
    delta, z, own, share = flow.sample_forces(overlap, gram)
    split = delta.reshape(2, -1, 2, delta.shape[-1])
    move = np.einsum("ibvl,bjl->ijl", split, flow.latents)
    move += np.einsum("ibvl,bvjl->ijl", split, np.einsum("kbvl,kj->bvjl", own, share))
    squares, cross = np.einsum("ibvl,kbvl->ikl", split, split), np.einsum("ibvl,kbvl->ikl", split, split[:, :, ::-1])
    drift = np.einsum("ivl,kvl->ikl", delta, z)
    change = eta * (drift + drift.swapaxes(0, 1))
    change += eta**2 * (model.noise_variance * squares + model.noise_covariance * cross)
    size = 2 * model.features
    matrix = np.cov(np.concatenate([(eta * move).reshape(size, -1), change[np.triu_indices(2)]]), bias=True)
    s_b = model.base_noise_variance if model.background == "isotropic" else 0.0
    s_a, rho = model.augmentation_noise_variance, model.noise_correlation
    unseen = (s_b + s_a) * squares.mean(axis=-1) + (s_b + rho * s_a) * cross.mean(axis=-1)
    matrix[:size, :size] += eta**2 * np.kron(unseen, np.eye(model.features) - share.T @ share)
    return _rescale(overlap, gram, matrix) if model.is_sphere else matrix


def _rescale(overlap: FloatArray, gram: FloatArray, matrix: FloatArray) -> FloatArray:
    """Return P B P' of the sphere."""
    p = overlap.shape[1]
    projection = np.eye(len(matrix))
    projection[:p, 2 * p], projection[p : 2 * p, 2 * p + 2] = -0.5 * overlap[0], -0.5 * overlap[1]
    projection[2 * p + 1, [2 * p, 2 * p + 2]] = -0.5 * gram[0, 1]
    projection[[2 * p, 2 * p + 2]] = 0.0
    return projection @ matrix @ projection.T


def _integrate(
    flow: PairFlow, state: FloatArray, covariance: FloatArray, times: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return states (time, 2 p + 3), mean covariances (time, 2 p + 3, 2 p + 3), and their largest standard errors."""
    size, end = len(state), float(times[-1])
    if end == 0.0:
        return state[None], covariance[None], np.zeros(1)
    path = integrate.solve_ivp(
        lambda _, x: flow.velocity(x),
        (0.0, end),
        state,
        rtol=_PATH_TOLERANCE,
        atol=1e-2 * _PATH_TOLERANCE,
        max_step=_LONGEST_STEP,
        dense_output=True,
    )
    if not path.success or len(path.t) > _MOST_KNOTS or not np.abs(path.y).max() < DIVERGENCE_LIMIT:
        raise NotConvergedError(f"the ODE of two units was given up at time {path.t[-1]:.3g} of {end:g}: it diverges")
    # A spline needs four knots.
    knots = path.t if len(path.t) > 3 else np.linspace(0.0, end, 4)
    follow: Callable[[FloatArray], FloatArray] = path.sol  # type: ignore[assignment]  # not None: dense_output=True
    reached = follow(knots).T
    slopes = interpolate.CubicSpline(knots, [_jacobian(flow, x) for x in reached])
    runs = []
    for scrambling in range(_SETS):
        batches = UnitsFlow(flow.model, scrambling=scrambling)
        noise = interpolate.CubicSpline(knots, [pair_diffusion(batches, *flow.unpack(x)) for x in reached])

        def velocity(t: float, packed: FloatArray, noise: interpolate.CubicSpline = noise) -> FloatArray:
            drift = slopes(t) @ packed.reshape(size, size)
            return np.asarray((drift + drift.T + noise(t)).ravel())

        solution = integrate.solve_ivp(
            velocity, (0.0, end), covariance.ravel(), t_eval=times, rtol=_TOLERANCE, atol=_TOLERANCE
        )
        runs.append(solution.y.T.reshape(-1, size, size))
    errors = np.std(runs, axis=0, ddof=1).max(axis=(1, 2)) / np.sqrt(_SETS)
    return follow(times).T, np.mean(runs, axis=0), errors


def _jacobian(flow: PairFlow, state: FloatArray) -> FloatArray:
    """Return the derivatives of the velocity by central differences, shape (2 p + 3, 2 p + 3)."""
    steps = _STEP * np.eye(len(state))
    return np.array([(flow.velocity(state + s) - flow.velocity(state - s)) / (2 * _STEP) for s in steps]).T


def _as_dataset(
    flow: PairFlow, times: FloatArray, states: FloatArray, covariances: FloatArray, errors: FloatArray
) -> xr.Dataset:
    p = flow.features
    overlaps, grams = (np.stack(parts) for parts in zip(*(flow.unpack(state) for state in states), strict=True))
    similarity = cosine_similarity(overlaps, np.diagonal(grams, axis1=1, axis2=2))
    slope = np.zeros((len(times), 2 * p, 2 * p + 3))
    for i in range(2):
        norm = grams[:, i, i]
        for j in range(p):
            slope[:, i * p + j, i * p + j] = 1 / np.sqrt(norm)
            slope[:, i * p + j, 2 * p + 2 * i] = -0.5 * similarity[:, i, j] / norm
    units, features = np.arange(1, 3), np.arange(1, p + 1)
    names = [f"overlap_{i}_{j}" for i in units for j in features]
    names += ["squared_norm_1_1", "squared_norm_1_2", "squared_norm_2_2"]
    spread = (slope @ covariances @ slope.swapaxes(1, 2)).reshape(-1, 2, p, 2, p)
    dataset = labelled(
        {
            "overlap": (("time", "unit", "feature"), overlaps),
            "squared_norm": (("time", "unit", "unit_2"), grams),
            "cosine_similarity": (("time", "unit", "feature"), similarity),
            "covariance": (("time", "order_parameter", "order_parameter_2"), covariances),
            "cosine_similarity_covariance": (("time", "unit", "feature", "unit_2", "feature_2"), spread),
            "averaging_error": (("time",), errors),
        },
        {
            "time": times,
            "unit": units,
            "unit_2": units,
            "feature": features,
            "feature_2": features,
            "order_parameter": names,
            "order_parameter_2": names,
        },
        {"model": flow.model.canonical()},
    )
    dataset["squared_norm"].attrs = dict(GRAM_WORDS)
    return dataset
