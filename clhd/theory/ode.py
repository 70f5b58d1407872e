"""`integrate_ode`: trajectories of the order parameters in the limit of high dimension, as labelled data.

One start is integrated by scipy's DOP853 on the direct right-hand side (`clhd.theory.drift`), several by the engine of
`clhd.theory.batch`. A test compares them.

| symbol | name | shape | unit or scale |
|---|---|---|---|
| q | ``overlap`` | (feature,) or (start, feature) | of w_i xi_i |
| r | ``squared_norm`` | scalar or (start,) | of w_i^2 |
| S = q / sqrt r | ``cosine_similarity`` | as q | -1 ... 1 |
| t | ``time`` | (time,) | steps per dimension |
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from scipy.integrate import solve_ivp

from clhd.errors import ClhdError
from clhd.model.checks import parse_number, parse_times, parse_vector
from clhd.model.contrastive import DIVERGENCE_LIMIT, ContrastiveModel
from clhd.model.labels import labelled
from clhd.theory.averages import FloatArray
from clhd.theory.batch import BatchIntegrator, step_tolerances
from clhd.theory.drift import Flow

# |q|^2 may exceed r by the rounding of both, since a state on the boundary |q|^2 = r is allowed.
_ROUNDING = 1e-12


def integrate_ode(
    model: ContrastiveModel,
    *,
    overlap: Any,
    squared_norm: Any = 1.0,
    time: Sequence[float] | FloatArray,
    rtol: float = 1e-9,
    atol: float = 1e-11,
) -> xr.Dataset:
    """Integrate the limiting ODE from time 0.

    Parameters
    ----------
    model : ContrastiveModel
        Without an L1 penalty.
    overlap : array-like of shape (feature,) or (start, feature)
        Initial overlap q, or those of several starts; |q|^2 <= squared_norm.
    squared_norm : float or array-like of shape (start,)
        Initial squared norm r >= 0; 1 on the sphere.
    time : array-like of shape (time,)
        Output times, 0 or later and increasing; unit: steps per dimension.
    rtol, atol : float
        Relative and absolute tolerance.

    Returns
    -------
    xarray.Dataset
        With several starts the dimension ``start`` comes first.

        | variable | dims | unit | meaning |
        |---|---|---|---|
        | overlap | time, feature | 1 | q |
        | squared_norm | time | 1 | r |
        | cosine_similarity | time, feature | 1 | q / sqrt r, NaN at r = 0 |
        | gradient_variance | time | 1 | D |
        | diverged | | | true if r passed `DIVERGENCE_LIMIT` or ceased to exist; values are NaN from then on |

    Raises
    ------
    ClhdError
        If an argument has the wrong shape or range, or the model has an L1 penalty.
    """
    states = parse_starts(model, overlap, squared_norm)
    times = parse_times(time)
    rtol = parse_number("rtol", rtol, minimum=1e-13, maximum=1e-1)
    atol = parse_number("atol", atol, above=0)
    flow = Flow(model)
    if len(states) == 1:
        outcome = integrate_direct(flow, states[0], times, rtol=rtol, atol=atol)[None]
    else:
        outcome = BatchIntegrator(flow, rtol=rtol, atol=atol).integrate(states, times)
    dataset = _label(outcome, times)
    return dataset.isel(start=0, drop=True) if np.ndim(overlap) == 1 else dataset


def parse_starts(model: ContrastiveModel, overlap: Any, squared_norm: Any) -> FloatArray:
    """Initial states (start, feature + 1) from overlaps and squared norms; one start may be given without its axis.

    Raises
    ------
    ClhdError
        If a shape is wrong, a value is not finite, |q|^2 > r, or r is not 1 on the sphere.
    """
    try:
        overlaps = np.array(overlap, dtype=np.float64)
    except (TypeError, ValueError):
        raise ClhdError(f"overlap = {overlap!r}: must be a list of numbers, one per feature") from None
    if overlaps.ndim not in (1, 2) or overlaps.shape[-1] != model.features or overlaps.size == 0:
        raise ClhdError(
            f"overlap: has shape {overlaps.shape}, must be one number per feature, "
            f"shape ({model.features},), or one row of them per start, shape (starts, {model.features})"
        )
    if not np.all(np.isfinite(overlaps)):
        raise ClhdError("overlap: must hold finite numbers only")
    overlaps = np.atleast_2d(overlaps)
    if np.ndim(squared_norm) == 0:
        norms = np.full(len(overlaps), parse_number("squared_norm", squared_norm, minimum=0))
    else:
        norms = parse_vector("squared_norm", squared_norm, length=len(overlaps))
    if np.any(norms < 0):
        raise ClhdError(f"squared_norm = {norms[norms < 0][0]!r}: must be a finite number, 0 or more")
    if model.is_sphere and np.any(norms != 1):
        raise ClhdError(f"squared_norm = {norms[norms != 1][0]!r}: must be 1 with constraint = 'sphere'")
    lengths = (overlaps**2).sum(axis=1)
    outside = np.flatnonzero(lengths > norms * (1 + _ROUNDING))
    if len(outside) > 0:
        first = outside[0]
        raise ClhdError(
            f"overlap = {overlaps[first].tolist()!r}: the sum of its squares, {lengths[first]:g}, "
            f"must not exceed the squared norm, {norms[first]:g}"
        )
    return np.column_stack([overlaps, norms])


def integrate_direct(flow: Flow, state: FloatArray, times: FloatArray, *, rtol: float, atol: float) -> FloatArray:
    """One trajectory on the direct right-hand side.

    Returns
    -------
    array of shape (time, feature + 2)
        Overlaps, squared norm, gradient variance; NaN from a divergence on.
    """

    def distance_to_limit(_: float, state: FloatArray) -> float:
        return DIVERGENCE_LIMIT - float(state[-1])

    distance_to_limit.terminal = True  # type: ignore[attr-defined]
    outcome = np.full((len(times), flow.features + 2), np.nan)
    if times[-1] == 0.0:
        reached = state[None]
    else:
        rtol, atol = step_tolerances(times, rtol, atol)
        with np.errstate(all="ignore"):  # a solution that ends in finite time overflows before its event is found
            # A failure is a step too small to be a number: the solution ends there.
            solution = solve_ivp(
                lambda _, state: flow.velocity(state),
                (0.0, float(times[-1])),
                state,
                method="DOP853",
                t_eval=times,
                events=distance_to_limit,
                rtol=rtol,
                atol=atol,
            )
        reached = solution.y.T
        reached = reached[: np.count_nonzero(np.cumprod(reached[:, -1] <= DIVERGENCE_LIMIT))]
    for i, point in enumerate(reached):
        norm = 1.0 if flow.model.is_sphere else max(point[-1], 0.0)
        outcome[i, :-1] = point
        outcome[i, -1] = flow.terms(point[:-1], norm)[2]
    return outcome


def _label(outcome: FloatArray, times: FloatArray) -> xr.Dataset:
    """The dataset of an outcome of shape (start, time, feature + 2)."""
    overlap, squared_norm, variance = outcome[..., :-2], outcome[..., -2], outcome[..., -1]
    with np.errstate(divide="ignore", invalid="ignore"):
        cosine_similarity = np.where(squared_norm[..., None] > 0, overlap / np.sqrt(squared_norm)[..., None], np.nan)
    return labelled(
        {
            "overlap": (("start", "time", "feature"), overlap),
            "squared_norm": (("start", "time"), squared_norm),
            "cosine_similarity": (("start", "time", "feature"), cosine_similarity),
            "gradient_variance": (("start", "time"), variance),
            "diverged": (("start",), np.isnan(squared_norm[:, -1])),
        },
        {"start": np.arange(len(outcome)), "time": times, "feature": np.arange(1, overlap.shape[-1] + 1)},
    )
