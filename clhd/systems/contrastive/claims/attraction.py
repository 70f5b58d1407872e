"""C5: higher moments of the latents act through the attraction regions.

Two features have the same second moment, and the kurtosis of the second one is varied. As long as both pure states are
stable, by the eigenvalues of the Jacobian, the claim asks three things:

| part | measured | holds |
|---|---|---|
| equal growth | spread of the growth rates at the uninformative state, over features and kurtoses | below a bound |
| moved border | distance from one half of SGD's selection probability, and of the area | above a least shift |
| agreement | selection probability by SGD minus that by the ODE, at each kurtosis | within an allowance |

The interval of SGD's probability is Wilson's; undecided runs widen it, as each of them may have ended either way. The
intervals of all parts hold together at 95 % (Bonferroni).

The letter says "rather than affecting local stability". We judge this of the uninformative state only. It is not true
of the informative states: beyond one kurtosis a pure state is unstable, and beyond another, a little larger, its
region is gone. The evidence gives both.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from clhd.claims.claim import Claim, Judgement
from clhd.claims.verdict import Estimate, above, all_hold, below, within
from clhd.core.statistics import wilson_interval
from clhd.sweep.results.summary_reader import Summary

FloatArray = NDArray[np.float64]


def judge_attraction(summaries: Mapping[str, Summary], thresholds: Mapping[str, Any]) -> Judgement:
    """Judge C5 from the selection experiment, its limit, and the stability of pure states."""
    selection, limit = summaries["selection"].dataset, summaries["limit"].dataset
    largest = int(selection["dimension"].max())
    kurtosis = selection["kurtosis_2"].values
    is_stable = np.asarray((selection["pure_eigenvalue_theory"] < 0).all("feature"))
    growth = limit["growth_rate_theory"].values
    spread = Estimate.exact(float(np.ptp(growth) / np.abs(growth).max()))
    among = int(is_stable.sum()) + 1  # the agreement at each kurtosis, and the moved border
    shares = [measure_share(selection.sel(kurtosis_2=k, dimension=largest), among=among) for k in kurtosis]
    by_ode = selection["probability_theory"].sel(dimension=largest, outcome="feature_1").values
    differences = [_shift(share, -float(ode)) for share, ode in zip(shares, by_ode, strict=True)]

    unequal = is_stable & (kurtosis != float(summaries["selection"].experiment["constants"]["kurtosis_1"]))
    if np.any(unequal):
        last = int(np.flatnonzero(unequal)[-1])
        moved = {"selection_probability": _distance(shares[last]), "area": _area_shift(limit, kurtosis[last])}
    else:
        moved = {"selection_probability": Estimate.exact(np.nan), "area": Estimate.exact(np.nan)}
    parts = {
        "equal_growth": below(spread, thresholds["growth_spread"]),
        "moved_border": all_hold(above(shift, thresholds["least_shift"]) for shift in moved.values()),
        "agreement": all_hold(
            within(difference, (-thresholds["allowance"], thresholds["allowance"]))
            for difference, is_included in zip(differences, is_stable, strict=True)
            if is_included
        ),
    }
    evidence: dict[str, Any] = {
        "verdicts": {name: str(verdict) for name, verdict in parts.items()},
        "growth_rate_at_uninformative_state": float(growth.flat[0]),
        "relative_spread_of_growth_rates": spread,
        "shift_at_largest_stable_kurtosis": moved,
        "kurtosis": kurtosis,
        "both_pure_states_stable": is_stable,
        "dimension": largest,
        "selection_probability_by_sgd": shares,
        "selection_probability_by_ode": by_ode,
        "sgd_minus_ode": differences,
        "undecided_share": selection["probability_mean"].sel(dimension=largest, outcome="undecided").values,
        "local_stability_of_informative_states": _describe_stability(summaries),
        "share_of_faster_feature": _describe_unequal(summaries["unequal"].dataset),
    }
    return Judgement(verdict=all_hold(parts.values()), evidence=evidence)


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


def _describe_stability(summaries: Mapping[str, Summary]) -> dict[str, Any]:
    """The kurtosis at which pure states lose or gain stability, and the eigenvalues of Gaussian and other latents."""
    laws = summaries["laws"].dataset["pure_eigenvalue_theory"].isel(feature=0)
    return {
        "critical_kurtosis_tanh": _crossing(summaries["stability"].dataset),
        "critical_kurtosis_expanding_unit": _crossing(summaries["expanding"].dataset),
        "eigenvalue_by_law": {str(law): float(laws.sel(latent=law)) for law in laws["latent"].values},
        "kurtosis_at_which_the_region_is_gone": _end_of_region(summaries["limit"].dataset),
        "note": "at a pure state higher moments do affect local stability; at the uninformative state they do not",
    }


def _crossing(stability: xr.Dataset) -> float:
    """The kurtosis at which the eigenvalue of the pure state changes its sign; NaN if it does not."""
    eigenvalue = stability["pure_eigenvalue_theory"].isel(feature=0)
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
    statement="Higher-order moments of the latent variable act through the attraction regions, not through the local "
    "stability of the uninformative state.",
    experiments={
        "selection": "selection probability by SGD and ODE, by the kurtosis of feature 2 and the dimension",
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
    },
    judge=judge_attraction,
    figure="clhd.systems.contrastive.figures.attraction:plot_attraction",
)
