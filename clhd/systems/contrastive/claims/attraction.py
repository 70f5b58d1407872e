"""C5: higher moments of the latents act through the attraction regions, rather than by affecting local stability.

Two features have the same second moment, and the kurtosis of the second one is varied. C5a is asked as long as both
pure states are stable, by the eigenvalues of the Jacobian; C5b of all kurtoses.

| part | measured | holds |
|---|---|---|
| C5a, moved border | distance from one half of SGD's selection probability, and of the area | above a least shift |
| C5a, agreement | selection probability by SGD minus that by the ODE, at each kurtosis | within an allowance |
| C5b, uninformative | spread of the growth rates there, over features and kurtoses, over the largest | below a bound |
| C5b, informative | move of the eigenvalue of the pure state over the kurtosis, over the growth rate | below a bound |

The interval of SGD's probability is Wilson's; undecided runs widen it, as each of them may have ended either way. The
intervals of all parts hold together at 95 % (Bonferroni).

The abstract does not say at which states higher moments leave local stability as it is. At the uninformative state the
growth rates contain the second moment alone. At a pure state the growth of a rival contains averages over the whole law
of the learned feature (`theory.pure_states`). So C5b has a verdict for each; it holds if both do.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from clhd.claims.claim import Claim, Judgement, Part, Summaries, Thresholds
from clhd.claims.verdict import Estimate, above, all_hold, below, within
from clhd.core.arrays import FloatArray
from clhd.core.lazy import xr
from clhd.core.statistics import wilson_interval


def judge_attraction(summaries: Summaries, thresholds: Thresholds) -> Judgement:
    """Judge C5 from the selection experiment, its limit, and the stability of pure states."""
    selection, limit = summaries["selection"].dataset, summaries["limit"].dataset
    kurtosis = selection["kurtosis_2"].values
    is_stable = np.asarray((selection["pure_eigenvalue_theory"] < 0).all("feature"))
    among = (
        int(is_stable.sum()) + 3
    )  # the agreement at each kurtosis, the moved border, and both with the other background
    shares, by_ode, differences = _compare_shares(selection, among)
    orthogonal = _compare_shares(summaries["orthogonal"].dataset, among)
    unequal = is_stable & (kurtosis != float(summaries["selection"].experiment["constants"]["kurtosis_1"]))
    if np.any(unequal):
        last = int(np.flatnonzero(unequal)[-1])
        moved = {"selection_probability": _distance(shares[last]), "area": _area_shift(limit, kurtosis[last])}
    else:
        moved = {"selection_probability": Estimate.exact(np.nan), "area": Estimate.exact(np.nan)}
    moved["selection_probability_with_orthogonal_background"] = _distance(orthogonal[0][-1])
    stable_differences = [difference for difference, counts in zip(differences, is_stable, strict=True) if counts]
    allowed = (-thresholds["allowance"], thresholds["allowance"])
    verdicts = {
        "moved_border": all_hold(above(shift, thresholds["least_shift"]) for shift in moved.values()),
        "agreement": all_hold(within(difference, allowed) for difference in (*stable_differences, orthogonal[2][-1])),
    }
    evidence: dict[str, Any] = {
        "verdicts": {name: str(verdict) for name, verdict in verdicts.items()},
        "shift_at_largest_stable_kurtosis": moved,
        "kurtosis": kurtosis,
        "both_pure_states_stable": is_stable,
        "dimension": int(selection["dimension"].max()),
        "selection_probability_by_sgd": shares,
        "selection_probability_by_ode": by_ode,
        "sgd_minus_ode": differences,
        "undecided_share": _at_largest(selection)["probability_mean"].sel(outcome="undecided").values,
        "with_orthogonal_background": {
            "kurtosis": summaries["orthogonal"].dataset["kurtosis_2"].values,
            **dict(zip(("by_sgd", "by_ode", "sgd_minus_ode"), orthogonal, strict=True)),
        },
        "unequal_second_moments": _describe_unequal(summaries["unequal"].dataset),
    }
    regions = Part(
        id="C5a",
        statement="Higher moments change the probability of feature selection, through the attraction regions.",
        verdict=all_hold(verdicts.values()),
        evidence=evidence,
    )
    parts = (regions, _judge_stability(summaries, thresholds))
    return Judgement.of_parts(parts, {"verdicts": {part.id: str(part.verdict) for part in parts}})


def _judge_stability(summaries: Summaries, thresholds: Thresholds) -> Part:
    """Judge C5b: the growth rates at the uninformative state, and the eigenvalue of a pure state, by kurtosis."""
    growth = summaries["limit"].dataset["growth_rate_theory"].values
    spread = Estimate.exact(float(np.ptp(growth) / np.abs(growth).max()))
    stability = summaries["stability"].dataset.isel(feature=0)
    eigenvalue = stability["pure_eigenvalue_theory"]
    moves = {
        name: Estimate.exact(float(np.ptp(values.values) / np.abs(stability["growth_rate_theory"].values).max()))
        for name, values in by_background(eigenvalue).items()
    }
    verdicts = {
        "uninformative": below(spread, thresholds["growth_spread"]),
        "informative": all_hold(below(move, thresholds["largest_move"]) for move in moves.values()),
    }
    evidence = {
        "verdicts": {name: str(verdict) for name, verdict in verdicts.items()},
        "growth_rate_at_uninformative_state": float(growth.flat[0]),
        "relative_spread_of_growth_rates": spread,
        "relative_move_of_pure_eigenvalue": moves,
        "kurtosis": stability["kurtosis"].values,
        "pure_eigenvalue": {name: values.values for name, values in by_background(eigenvalue).items()},
        **_describe_stability(summaries),
    }
    statement = "Higher moments do not affect local stability, at the uninformative state and at informative states."
    return Part(id="C5b", statement=statement, verdict=all_hold(verdicts.values()), evidence=evidence)


def _at_largest(selection: xr.Dataset) -> xr.Dataset:
    return selection.sel(dimension=int(selection["dimension"].max()))


def _compare_shares(selection: xr.Dataset, among: int) -> tuple[list[Estimate], FloatArray, list[Estimate]]:
    """The selection probability by SGD at the largest dimension, by the ODE, and their difference, by kurtosis."""
    largest = _at_largest(selection)
    shares = [measure_share(largest.sel(kurtosis_2=k), among=among) for k in largest["kurtosis_2"].values]
    by_ode = largest["probability_theory"].sel(outcome="feature_1").values
    return shares, by_ode, [_shift(share, -float(ode)) for share, ode in zip(shares, by_ode, strict=True)]


def measure_share(point: xr.Dataset, *, among: int = 1) -> Estimate:
    """Return the selection probability of feature 1; undecided runs widen its Wilson interval: each may end either way.

    Parameters
    ----------
    point : Dataset
        One point of a summary: ``probability_mean`` over the outcomes, and ``replica_count`` over the statuses.
    among : int, optional
        How many intervals, this one included, are to hold together.

    Returns
    -------
    Estimate
        Of the runs that were ok; NaN if there are none.
    """
    total = int(point["replica_count"].sel(status="ok"))
    if total == 0:
        return Estimate.exact(np.nan)
    mean = point["probability_mean"]
    won, undecided = (round(float(mean.sel(outcome=name)) * total) for name in ("feature_1", "undecided"))
    share, low, high = wilson_interval(np.array([won, won + undecided]), total, among=among)
    return Estimate(float(share[0]), float(low[0]), float(high[1]))


def _shift(estimate: Estimate, by: float) -> Estimate:
    return Estimate(estimate.value + by, estimate.low + by, estimate.high + by)


def _distance(share: Estimate) -> Estimate:
    """Distance of a share from one half."""
    ends = sorted(abs(end - 0.5) for end in (share.low, share.high))
    is_half_inside = share.low <= 0.5 <= share.high
    return Estimate(abs(share.value - 0.5), 0.0 if is_half_inside else ends[0], ends[1])


def _area_shift(limit: xr.Dataset, kurtosis: float) -> Estimate:
    area = limit["area_theory"].sel(outcome="feature_1").interp(kurtosis_2=kurtosis)
    return Estimate.exact(abs(float(area) - 0.5))


def by_background(values: xr.DataArray) -> dict[str, xr.DataArray]:
    """Return the part of each background, by name; "only" if there is one."""
    if "background" not in values.dims:
        return {"only": values}
    return {str(name): values.sel(background=name, drop=True) for name in values["background"].values}


def _describe_stability(summaries: Summaries) -> dict[str, Any]:
    """The kurtosis at which pure states lose or gain stability, and the eigenvalues of Gaussian and other latents."""
    tanh, expanding, laws = (
        summaries[role].dataset["pure_eigenvalue_theory"].isel(feature=0) for role in ("stability", "expanding", "laws")
    )
    return {
        "critical_kurtosis_tanh": {name: _crossing(values) for name, values in by_background(tanh).items()},
        "critical_kurtosis_expanding_unit": _crossing(expanding),
        "eigenvalue_by_law": {str(law): float(laws.sel(latent=law)) for law in laws["latent"].values},
        "kurtosis_at_which_the_region_is_gone": _end_of_region(summaries["limit"].dataset),
    }


def _crossing(eigenvalue: xr.DataArray) -> float:
    """The kurtosis at which the eigenvalue of the pure state changes its sign; NaN if it does not."""
    kurtosis, values = eigenvalue["kurtosis"].values, eigenvalue.values
    changes = np.flatnonzero(values[:-1] * values[1:] < 0)
    if len(changes) == 0:
        return float("nan")
    k = int(changes[0])
    return float(kurtosis[k] - values[k] * (kurtosis[k + 1] - kurtosis[k]) / (values[k + 1] - values[k]))


def _end_of_region(limit: xr.Dataset) -> list[float]:
    """The last kurtosis at which feature 2 has a region, and the first at which it has none."""
    kurtosis = limit["kurtosis_2"].values
    is_gone = limit["area_theory"].sel(outcome="feature_1").values > 1 - 1e-9
    if is_gone.all() or not is_gone.any():
        return [float("nan"), float("nan")]
    first = int(np.argmax(is_gone))
    return [float(kurtosis[first - 1]), float(kurtosis[first])]


def _describe_unequal(unequal: xr.Dataset) -> dict[str, Any]:
    """The faster feature's selection probability, which should rise to 1 with the dimension."""
    mean = unequal["probability_mean"].sel(outcome="feature_1")
    return {"dimension": unequal["dimension"].values, "selection_probability_by_sgd": mean.values}


ATTRACTION = Claim(
    statement="Higher-order moments of the latent variable act through the attraction regions, rather than by "
    "affecting local stability.",
    experiments={
        "selection": "selection probability by SGD and ODE, by the kurtosis of feature 2 and the dimension",
        "orthogonal": "the same with orthogonal background, at one kurtosis",
        "limit": "areas and growth rates by the kurtosis of feature 2, theory alone",
        "portrait": "phase portraits, for the figure",
        "stability": "eigenvalue of the pure state by kurtosis, for tanh",
        "expanding": "the same for an activation that expands",
        "laws": "the same for Gaussian, uniform and Laplace latents",
        "unequal": "selection probability of features of unequal second moment by dimension",
    },
    thresholds={
        "growth_spread": "largest spread of the growth rates at the uninformative state, relative to the largest rate",
        "least_shift": "distance from one half that selection probability and area must exceed",
        "allowance": "difference between SGD at the largest dimension and ODE that finite dimension may explain",
        "largest_move": "move of the eigenvalue of the pure state, relative to the growth rate, that counts as none",
    },
    judge=judge_attraction,
    figure="clhd.systems.contrastive.figures.attraction:plot_attraction",
)
