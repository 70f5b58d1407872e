"""`learnability_threshold` gives the second moment above which a feature grows out of the uninformative state.

At q = 0 the latents have no effect, and the squared norm rests at a root r0 of dr/dt = 2 eta (A - lam) r + eta^2 D. For
latents of mean zero, whatever their law, a small overlap then grows at the rate

    eta (m_j G + A - lam),    G = E[sum dDelta_v/dz_u over the views u, v of the same sample],
                              G = E[h_1'' h_2 + 2 h_1' h_2' + h_1 h_2''] - 2 E[h''] E[h]    for the bilinear loss,

so feature j is learned if its second moment exceeds m* = (lam - A) / G. On the sphere A + eta D / 2 replaces lam. With
the orthogonal background the base noise does not act along the features: A - A_b takes the place of A in the growth
rate, but r0 rests on all of A; on the sphere A + eta D / 2 still replaces lam, so m* = (A_b + eta D / 2) / G.
m_j G is the slope of g_j along its own overlap. The threshold takes G from a probe feature of second moment 1;
`growth_rates` takes the slope along each feature of the model, so it *shows* the effect of the law of a latent.

| symbol | name | unit or scale |
|---|---|---|
| r0 | ``squared_norm`` | of w_i^2 |
| G | ``gain`` | growth of g_j per overlap and second moment |
| A | ``alignment`` | drift along the weights |
| D | ``gradient_variance`` | noise of one coordinate |
| m* | ``learnability_threshold`` | of a second moment |
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from clhd.core.arrays import FloatArray
from clhd.core.lazy import optimize, xr
from clhd.errors import InputError
from clhd.systems.contrastive.model.activations import LINEAR, RELU
from clhd.systems.contrastive.model.contrastive import ContrastiveModel, check_model
from clhd.systems.contrastive.model.labels import labelled
from clhd.systems.contrastive.model.latents import ThreePoint
from clhd.systems.contrastive.model.state import parse_norm
from clhd.systems.contrastive.theory.flow.drift import Flow

# Roots are sought between the first two squared norms; up to the third only if the norm still grows at the second.
_SMALLEST, _LARGE, _LARGEST = 1e-8, 1e2, 2e3
_POINTS_PER_DECADE = 12
# The slope of g_j at overlap 0 is extrapolated from g(x) / x (odd part) at x = 1 ... 4 steps, in x^2. The error is of
# order step^8; at this step it and the rounding error of the averages are below 1e-11 for latents up to 1. The averages
# vary with c x, so the step is divided by the largest atom; at 100 this raises the rounding error to 1e-9.
_STEP = 0.014
_WEIGHTS = (8 / 5, -4 / 5, 8 / 35, -1 / 35)
# For relu g(x) / x varies with the noise, and with |x| at noise correlation -1; closed forms allow a smaller step.
_RELU_STEP, _RELU_WEIGHTS = 5e-4, (4, -6, 4, -1)
_NEARLY_COLLAPSED = 1e-16


@dataclass(frozen=True)
class UninformativeState:
    """The state of rest of the squared norm at zero overlap, and the drift terms there.

    Attributes
    ----------
    squared_norm : float
        r0; 0 if the weights collapse, infinite if they grow beyond 2000, or beyond 100 where h itself has no bound.
    gain : float
        G.
    alignment, gradient_variance : float
        A, D.
    base_alignment : float
        A_b of the orthogonal background, a part of A; 0 for the isotropic one.
    """

    squared_norm: float
    gain: float
    alignment: float
    gradient_variance: float
    base_alignment: float = 0.0


def learnability_threshold(model: ContrastiveModel, *, squared_norm: float = 1.0) -> xr.DataArray:
    """Return the second moment above which a feature grows from the uninformative state.

    Parameters
    ----------
    model : ContrastiveModel
        With latents of mean zero. Their laws do not matter otherwise: the threshold is the same for all features.
    squared_norm : float
        Initial squared norm, >= 0; 1 on the sphere. It matters only if the norm can rest at several values.

    Returns
    -------
    xarray.DataArray, dims (feature,)
        m*. Where the gain is 0 or negative it is infinite: no feature grows; or NaN, if the overlap grows even without
        a signal. NaN if the squared norm grows without bound, unless h is linear or relu and the loss bilinear or
        covariance: there the growth of the overlap does not depend on the squared norm, and a negative m* says that it
        grows even without a signal. NaN for relu without noise, where g has in general no derivative at zero overlap.
        Attributes: ``squared_norm``, ``gain``, ``alignment``, ``gradient_variance``, ``base_alignment`` of the
        uninformative state.

    Raises
    ------
    ClhdError
        If a latent has a mean other than 0 (zero overlap is then in general not a state of rest), the squared norm is
        not allowed, or the model has an L1 penalty or several units.
    """
    check_model(model)
    for j, law in enumerate(model.latents, start=1):
        if law.mean != 0:
            raise InputError(
                f"latents: the law of feature {j} has mean {law.mean:.6g}, must be 0 for a learnability threshold, "
                "because with another mean zero overlap is not a state of rest"
            )
    state = uninformative_state(model, squared_norm=squared_norm)
    needed = overlap_decay(model, state.alignment, state.gradient_variance) + state.base_alignment
    if math.isnan(state.gain):
        threshold = math.nan
    elif state.gain > 0:
        threshold = needed / state.gain
    else:
        threshold = math.inf if needed > 0 else math.nan
    features = np.arange(1, model.features + 1)
    thresholds = labelled(
        {"learnability_threshold": (("feature",), np.full(model.features, threshold))}, {"feature": features}
    )["learnability_threshold"]
    thresholds.attrs |= {
        "squared_norm": state.squared_norm,
        "gain": state.gain,
        "alignment": state.alignment,
        "gradient_variance": state.gradient_variance,
        "base_alignment": state.base_alignment,
    }
    return thresholds


def uninformative_state(model: ContrastiveModel, *, squared_norm: float = 1.0) -> UninformativeState:
    """Return the state of rest at zero overlap.

    If several squared norms are stable (0 may be one), it is the one into which a start with zero overlap and
    `squared_norm` flows; if that start grows without bound, the largest stable one.

    Parameters
    ----------
    model : ContrastiveModel
    squared_norm : float
        Initial squared norm, >= 0; 1 on the sphere. 0 means a start just above 0.

    Returns
    -------
    UninformativeState
        With an infinite squared norm if none is stable: gain, alignment and gradient variance are then NaN. But linear
        and relu units with a quadratic loss have the same gain and alignment at every squared norm: for them the
        values at `squared_norm` are given.

    Raises
    ------
    ClhdError
        If the squared norm is negative, or not 1 on the sphere, or the model has an L1 penalty.
    """
    start = parse_norm(model, squared_norm)
    rest = _reached_norm(model, start)
    r = _norm_of_averages(model, rest, start)
    if math.isnan(r):
        return UninformativeState(rest, math.nan, math.nan, math.nan)
    probe = Flow(probe_model(model))
    _, alignment, gradient_variance = probe.terms(np.zeros(1), r)
    base = probe.base_alignment(np.zeros(1), r)
    return UninformativeState(rest, feature_gain(probe, np.zeros(0), r), alignment, gradient_variance, base)


def _reached_norm(model: ContrastiveModel, start: float) -> float:
    """Return the stable squared norm that a start with zero overlap flows into; infinite if there is none."""
    roots = resting_norms(model)
    stable = [root for root, is_stable in roots if is_stable]
    if not stable:
        return math.inf
    # Between two roots the norm flows one way, so the first stable root up or down the flow is reached.
    below = [root for root, _ in roots if root <= start]
    above = [root for root, _ in roots if root > start]
    reached = [root for root in (below[-1:] + above[:1]) if root in stable]
    return reached[0] if reached else stable[-1]


def _norm_of_averages(model: ContrastiveModel, rest: float, start: float) -> float:
    """Return the squared norm for the averages: `rest`; if infinite, `start` for a scale-free model, else NaN."""
    if math.isfinite(rest):
        return rest
    return start if is_scale_free(model) else math.nan


def growth_rates(model: ContrastiveModel, *, squared_norm: float = 1.0) -> FloatArray:
    """Return the growth rate of a small overlap with each feature at the uninformative state.

    Parameters
    ----------
    model : ContrastiveModel
        With latents of mean zero.
    squared_norm : float
        As for `uninformative_state`.

    Returns
    -------
    array of shape (feature,)
        The diagonal of the Jacobian, eta (dg_j/dq_j + A - lam), on the sphere eta (dg_j/dq_j - eta D / 2), per unit of
        time, to 1e-9. All averages are over the latents of `model` itself (with a sampling error for infonce with laws
        of many atoms). NaN if a latent has a mean other than 0, or the squared norm grows without bound; but linear and
        relu units with a quadratic loss have the same rates at every squared norm, which are then given. NaN for relu
        without noise, where g has in general no derivative at zero overlap.

    Raises
    ------
    ClhdError
        As for `uninformative_state`.
    """
    start, zero = parse_norm(model, squared_norm), np.zeros(model.features)
    r = _norm_of_averages(model, _reached_norm(model, start), start) if model.has_zero_mean_latents else math.nan
    if math.isnan(r):
        return np.full(model.features, math.nan)
    flow = Flow(model)
    _, alignment, gradient_variance = flow.terms(zero, r)
    slopes = np.array([_slope_along(flow, j, zero, r) for j in range(model.features)])
    return model.learning_rate * (slopes - overlap_decay(model, alignment, gradient_variance))


def overlap_decay(model: ContrastiveModel, alignment: float, gradient_variance: float) -> float:
    """Return the least slope of the effective g_j at which a small overlap grows: lam - A, on the sphere eta D / 2.

    The effective g_j is g_j - A_b q_j (`backgrounds.py`), so m_j G must exceed A_b plus this.
    """
    return 0.5 * model.learning_rate * gradient_variance if model.is_sphere else model.weight_decay - alignment


def probe_model(model: ContrastiveModel, active: tuple[int, ...] = ()) -> ContrastiveModel:
    """Return `model` with a probe feature of second moment 1 first, and then only its `active` features."""
    latents = (ThreePoint(second_moment=1.0), *(model.latents[j] for j in active))
    return replace(model, latents=latents)


def feature_gain(probe: Flow, overlap: FloatArray, squared_norm: float) -> float:
    """Return G at a state: the slope of g along a feature whose overlap is zero, per second moment.

    Parameters
    ----------
    probe : Flow
        Flow of a `probe_model`.
    overlap : array of shape (active feature,)
        Overlaps of the features other than the probe.
    squared_norm : float
        r >= 0.
    """
    state = np.append(0.0, overlap)
    return _slope_along(probe, 0, state, squared_norm) + probe.base_alignment(state, squared_norm)


def _slope_along(flow: Flow, feature: int, overlap: FloatArray, squared_norm: float) -> float:
    """Return dg_j/dq_j at q_j = 0 and the given other overlaps, for a latent c_j of mean zero.

    Where the moved overlaps would not fit into r, the norm moves with them: with the orthogonal background g_j is known
    for |q|^2 <= r only, and at q_j = 0 the slope at fixed r - |q|^2 is that at fixed r.
    """
    model, r, weights = flow.model, squared_norm, _WEIGHTS
    step = _STEP * min(1.0, model.softmax_temperature)  # the softmax of infonce varies with h^2 / T
    if model.unit.code == RELU:
        if r == 0:  # with a quadratic loss the gain at zero overlap is the same at all r
            r = 1.0 if is_scale_free(model) else _NEARLY_COLLAPSED
        smooth = r  # the noise of the pre-activations, per noise variance, which alone smooths the kink
        if flow.sources.is_orthogonal and model.noise_variance > 0:
            smooth -= model.base_noise_variance / model.noise_variance * float(overlap @ overlap)
        step = _RELU_STEP * math.sqrt(max(smooth, 0.0)) * min(math.sqrt(model.noise_variance), 1.0)
        weights = _RELU_WEIGHTS
        if step == 0:
            return math.nan  # without noise nothing smooths the kink
    step /= max(1.0, float(np.abs(flow.atoms.values[:, feature]).max()))
    is_tight = r > 0 and flow.sources.is_orthogonal and float(overlap @ overlap) + (len(weights) * step) ** 2 > r
    slope = 0.0
    # With symmetric latents g_j is odd in q_j; otherwise the average over both signs removes its even part.
    signs = (1.0,) if model.has_symmetric_latents else (1.0, -1.0)
    for k, weight in enumerate(weights, start=1):
        for sign in signs:
            moved = overlap.copy()
            moved[feature] = sign * k * step
            norm = r + (k * step) ** 2 if is_tight else r
            slope += weight * flow.terms(moved, norm)[0][feature] / (sign * k * step) / len(signs)
    return slope


def resting_norms(model: ContrastiveModel) -> list[tuple[float, bool]]:
    """Return all squared norms that rest at zero overlap, in rising order, each with its stability in r.

    On the sphere it is 1. Otherwise they are the roots of the growth rate d(log r)/dt on a logarithmic grid, and 0 if
    h(0) h'(0) = 0. Latents have no effect at zero overlap, so models that differ in them share the roots.
    """
    return [(1.0, True)] if model.is_sphere else list(_find_resting_norms(probe_model(model)))


# Most points of a sweep that starts at the uninformative state differ in their latents alone.
@lru_cache(maxsize=1024)
def _find_resting_norms(model: ContrastiveModel) -> tuple[tuple[float, bool], ...]:
    """Return the `resting_norms` of a `probe_model` without constraint."""
    probe = Flow(model)

    def growth(r: float) -> float:
        _, alignment, gradient_variance = probe.terms(np.zeros(1), r)
        eta = model.learning_rate
        return 2 * eta * (alignment - model.weight_decay) + eta**2 * gradient_variance / r

    decades = round(math.log10(_LARGE / _SMALLEST))
    grid = np.geomspace(_SMALLEST, _LARGE, 1 + decades * _POINTS_PER_DECADE)
    rates = [growth(r) for r in grid]
    roots = [(0.0, bool(rates[0] < 0))] if collapses(model) else []
    if is_scale_free(model):  # the growth rate is the same at all r
        return tuple(roots)
    while rates[-1] > 0 and grid[-1] < _LARGEST and model.unit.is_bounded:
        grid = np.append(grid, 2 * grid[-1])
        rates.append(growth(grid[-1]))
    for low, high, before, after in zip(grid[:-1], grid[1:], rates[:-1], rates[1:], strict=True):
        if before * after < 0:
            roots.append((optimize.brentq(growth, low, high, xtol=1e-15 * high, rtol=1e-14), bool(before > 0)))
    return tuple(roots)


def is_scale_free(model: ContrastiveModel) -> bool:
    """Return whether all velocities scale with the weights: h is homogeneous and the loss quadratic in it."""
    return model.unit.code in (LINEAR, RELU) and model.loss_terms.degree == 2


def collapses(model: ContrastiveModel) -> bool:
    """Return whether r = 0 is a state of rest: h(0) h'(0) = 0, or the batch is centred; no sphere constraint.

    At r = 0 all outputs are equal, and equal outputs of a centred batch exert no force.
    """
    h, d, _ = model.unit(np.zeros(1))
    return not model.is_sphere and (model.centred is True or bool(h[0] * d[0] == 0))
