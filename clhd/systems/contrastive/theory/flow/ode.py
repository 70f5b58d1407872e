"""`integrate_ode` returns trajectories of the order parameters in the limit of high dimension, as labelled data.

`BatchIntegrator` integrates where pair averages give the drift. Where they do not, scipy's DOP853 integrates with the
right-hand side of `drift.py`: for a loss that does not factorise over the samples, and where D is that of another
model. A test compares the two. Averages over a point set have an error, which is measured by integrating with
independent point sets.

Work has bounds. The steps of an explicit method near a state of rest are as short as the fastest rate asks, at any
tolerance, so a long time or a strong decay needs very many: after `_EXPLICIT_CALLS` of the right-hand side the implicit
method BDF goes on. A trajectory that needs more than `_IMPLICIT_CALLS` again is given up (`NotConvergedError`).

| symbol | name | shape | unit or scale |
|---|---|---|---|
| q | ``overlap`` | (feature,) or (start, feature) | of w_i xi_i |
| r | ``squared_norm`` | scalar or (start,) | of w_i^2 |
| S = q / sqrt r | ``cosine_similarity`` | as q | -1 ... 1 |
| t | ``time`` | (time,) | steps per dimension |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal

import numpy as np

from clhd.core.arrays import FloatArray
from clhd.core.checks import parse_number, parse_threads, parse_times
from clhd.core.lazy import integrate, xr
from clhd.errors import InputError
from clhd.systems.contrastive.model.contrastive import DIVERGENCE_LIMIT, ContrastiveModel, check_model
from clhd.systems.contrastive.model.labels import labelled
from clhd.systems.contrastive.model.state import cosine_similarity, parse_starts
from clhd.systems.contrastive.theory.flow.bounds import WorkBudget, check_divergence, distance_to_limit
from clhd.systems.contrastive.theory.flow.drift import Flow
from clhd.systems.contrastive.theory.units.units_flow import integrate_units
from clhd.systems.declarations import NotConvergedError

_SCRAMBLINGS = 5
# Evaluations of the right-hand side, which takes .0001 to .002 s: together at most a few minutes.
_EXPLICIT_CALLS, _IMPLICIT_CALLS = 24_000, 96_000
_CALLS_PER_STEP = 12  # of DOP853
_METHODS: tuple[tuple[Literal["DOP853", "BDF"], int], ...] = (("DOP853", _EXPLICIT_CALLS), ("BDF", _IMPLICIT_CALLS))
_LOOSE = {"rtol": 1e-5, "atol": 1e-7}


def integrate_ode(
    model: ContrastiveModel,
    *,
    overlap: Any,
    squared_norm: Any = 1.0,
    time: Sequence[float] | FloatArray,
    rtol: float = 1e-9,
    atol: float = 1e-11,
    gradient_variance_of: ContrastiveModel | None = None,
    threads: int | None = None,
) -> xr.Dataset:
    """Integrate the limiting ODE from time 0.

    Parameters
    ----------
    model : ContrastiveModel
        Without an L1 penalty.
    overlap : array-like of shape (feature,) or (start, feature); a number if there is one feature
        Initial overlap q of one start, or of several; |q|^2 <= squared_norm.
    squared_norm : float or array-like of shape (start,)
        Initial squared norm r >= 0; 1 on the sphere.
    time : array-like of shape (time,)
        Output times, 0 or later and increasing; unit: steps per dimension.
    rtol, atol : float
        Relative and absolute tolerance.
    gradient_variance_of : ContrastiveModel, optional
        Diagnostic: takes the gradient variance D from this model, to separate its effect from the drift's.
    threads : int, optional
        Number of threads that share the starts, by default one per core; results do not depend on it.

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
        | averaging_error | time | 1 | infonce only: largest standard error, from point sets, among q_1 .. q_p, r |
        | diverged | | | true if r passed 1e8 or ceased to exist; values are NaN from then on |
        | not_converged | | | true if the trajectory was given up for its number of steps; all its values are NaN |

    Of several units, `overlap` is one start of shape (unit, feature), and `squared_norm` a number for all or the Gram
    matrix (unit, unit). Overlap and cosine_similarity then have the dims time, unit, feature, squared_norm is the Gram
    matrix (time, unit, unit_2), and averaging_error, over sets of batches, tells the error: `rtol` and `atol` are not
    used. There is no gradient_variance and no not_converged.

    A norm that has shrunk to at most `atol` is written as 0, with the overlaps: the integration does not resolve it.

    Raises
    ------
    ClhdError
        If an argument has the wrong shape or range, or the model has an L1 penalty.
    """
    check_model(model)
    workers = parse_threads(threads)
    if model.units > 1:
        if gradient_variance_of is not None:
            raise InputError("gradient_variance_of: must be None with several units")
        return integrate_units(model, overlap=overlap, squared_norm=squared_norm, time=time)
    states = parse_starts(model, overlap, squared_norm)
    times = parse_times(time)
    rtol = parse_number("rtol", rtol, minimum=1e-13, maximum=1e-1)
    atol = parse_number("atol", atol, above=0)
    flow = Flow(model, gradient_variance_of)
    if flow.has_pair_averages:
        from clhd.systems.contrastive.theory.flow.batch import BatchIntegrator  # noqa: PLC0415 (it imports scipy)

        # A trajectory that it gives up is integrated anew, with the implicit method.
        steps = _EXPLICIT_CALLS // _CALLS_PER_STEP
        integrator = BatchIntegrator(flow, rtol=rtol, atol=atol, most_direct_steps=steps, threads=workers)
        outcome, pending = integrator.integrate(states, times), integrator.given_up
        outcome[pending] = np.nan
    else:
        outcome, pending = np.full((len(states), len(times), flow.features + 2), np.nan), np.arange(len(states))
    given_up: dict[int, str] = {}
    for k in pending.tolist():
        try:
            outcome[k] = integrate_direct(flow, states[k], times, rtol=rtol, atol=atol)
        except NotConvergedError as error:
            given_up[k] = str(error)
    write_collapsed(outcome, states, atol)
    dataset = _label(outcome, times, given_up)
    if not model.loss_terms.factorises:
        errors = measure_averaging_error(model, gradient_variance_of, states, times, outcome)
        dataset = dataset.merge(labelled({"averaging_error": (("start", "time"), errors)}, {}))
    return dataset.isel(start=0, drop=True) if np.ndim(overlap) < 2 else dataset


def integrate_direct(flow: Flow, state: FloatArray, times: FloatArray, *, rtol: float, atol: float) -> FloatArray:
    """Integrate one trajectory with the direct right-hand side.

    Returns
    -------
    array of shape (time, feature + 2)
        Overlaps, squared norm, gradient variance; NaN from a divergence on.

    Raises
    ------
    NotConvergedError
        If the steps become too short although nothing diverges, or there are too many.
    """
    outcome = np.full((len(times), flow.features + 2), np.nan)
    if times[-1] == 0.0:
        reached = state[None]
    else:
        from clhd.systems.contrastive.theory.flow.batch import step_tolerances  # noqa: PLC0415 (it imports scipy)

        if np.count_nonzero(times) > 1:  # else the only output is at the end of the last step
            rtol, atol = step_tolerances(rtol, atol)
        with np.errstate(all="ignore"):  # a solution that ends in finite time overflows before its event is found
            solutions = _solve(flow, state, times, rtol, atol)
        # The values are an empty list if a solution ends before its first time.
        reached = np.concatenate([np.reshape(solution.y, (len(state), -1)).T for solution in solutions])
        reached = reached[: np.count_nonzero(np.cumprod(reached[:, -1] <= DIVERGENCE_LIMIT))]
    for i, point in enumerate(reached):
        norm = 1.0 if flow.model.is_sphere else max(point[-1], 0.0)
        outcome[i, :-1] = point
        outcome[i, -1] = flow.terms(point[:-1], norm)[2]
    return outcome


def follow_direct(
    flow: Flow, state: FloatArray, end: float, *, rtol: float, atol: float
) -> Callable[[FloatArray], FloatArray]:
    """Return one trajectory, which does not diverge before its end > 0, as a function of increasing times.

    Parameters
    ----------
    flow : Flow
    state : array of shape (feature + 1,)
        (q, r) at time 0.
    end : float
        Last time, in steps per dimension.
    rtol, atol : float
        Tolerances of the integration.

    Returns
    -------
    callable
        Returns the states (time, feature + 1) at an array of times.

    Raises
    ------
    NotConvergedError
        As `integrate_direct` does.
    """
    solutions = _solve(flow, state, np.array([0.0, end]), rtol, atol, is_dense=True)
    ends = np.array([solution.t[-1] for solution in solutions[:-1]])

    def follow(times: FloatArray) -> FloatArray:
        parts = np.split(times, np.searchsorted(times, ends, side="right"))
        # A solution takes no empty array of times.
        known = [solution.sol(part).T for solution, part in zip(solutions, parts, strict=True) if len(part) > 0]
        return np.concatenate(known)

    return follow


def _solve(
    flow: Flow, state: FloatArray, times: FloatArray, rtol: float, atol: float, *, is_dense: bool = False
) -> list[Any]:
    """Return the solutions of scipy, one for each method, at the times before a divergence."""
    solutions: list[Any] = []
    begin, end = 0.0, float(times[-1])
    for method, amount in _METHODS:
        budget = WorkBudget(amount)

        def velocity(_: float, state: FloatArray, budget: WorkBudget = budget) -> FloatArray:
            budget.spend(1)
            return flow.velocity(state)

        solution = integrate.solve_ivp(
            velocity,
            (begin, end),
            state,
            method=method,
            t_eval=None if is_dense else times[times > begin] if solutions else times,
            dense_output=is_dense,
            events=[distance_to_limit, budget],
            rtol=rtol,
            atol=atol,
        )
        solutions.append(solution)
        if solution.status == -1:
            check_divergence(flow, budget.state, budget.time)
        if not budget.ended_at < end:
            return solutions
        begin, state = budget.ended_at, budget.state
    raise NotConvergedError(
        f"the ODE was given up at time {begin:.3g} of {end:g}, after {_EXPLICIT_CALLS + _IMPLICIT_CALLS} evaluations: "
        "its rates are too high for so long a time"
    )


def measure_averaging_error(
    model: ContrastiveModel,
    gradient_variance_of: ContrastiveModel | None,
    states: FloatArray,
    times: FloatArray,
    outcome: FloatArray,
) -> FloatArray:
    """Return the standard error of trajectories due to their point set, shape (start, time).

    It is the standard deviation over `_SCRAMBLINGS` independent sets, the set of `outcome` included: the largest among
    overlaps and squared norm, and NaN once the trajectory has diverged with any set. Each set has its own integration,
    so the ODE propagates the error. The tolerance is loose: it need only be below the error of the averages.
    """
    runs = [outcome[..., :-1]]
    for scrambling in range(1, _SCRAMBLINGS):
        flow, run = Flow(model, gradient_variance_of, scrambling=scrambling), np.full(runs[0].shape, np.nan)
        for k, state in enumerate(states):
            if np.isfinite(outcome[k, :, -2]).any():  # not given up, and not diverged at once
                with suppress(NotConvergedError):
                    run[k] = integrate_direct(flow, state, times, **_LOOSE)[:, :-1]
        runs.append(run)
    return np.asarray(np.std(runs, axis=0, ddof=1).max(axis=-1), dtype=np.float64)


def write_collapsed(outcome: FloatArray, states: FloatArray, atol: float) -> None:
    """Set overlaps and squared norm to 0 where a norm has shrunk to at most `atol`, in (start, time, feature + 2).

    Its digits are errors of the integration: they may be negative, and give any cosine similarity.
    """
    squared_norm = outcome[..., -2]
    outcome[(squared_norm <= atol) & (squared_norm < states[:, None, -1]), :-1] = 0.0


def _label(outcome: FloatArray, times: FloatArray, given_up: Mapping[int, str]) -> xr.Dataset:
    """Return an outcome of shape (start, time, feature + 2) as a dataset, with the reason why starts were given up."""
    not_converged = np.isin(np.arange(len(outcome)), list(given_up))
    overlap, squared_norm, variance = outcome[..., :-2], outcome[..., -2], outcome[..., -1]
    return labelled(
        {
            "overlap": (("start", "time", "feature"), overlap),
            "squared_norm": (("start", "time"), squared_norm),
            "cosine_similarity": (("start", "time", "feature"), cosine_similarity(overlap, squared_norm)),
            "gradient_variance": (("start", "time"), variance),
            "diverged": (("start",), np.isnan(squared_norm[:, -1]) & ~not_converged),
            "not_converged": (("start",), not_converged),
        },
        {"start": np.arange(len(outcome)), "time": times, "feature": np.arange(1, overlap.shape[-1] + 1)},
        {"not_converged": next(iter(given_up.values()))} if given_up else {},
    )
