"""C4: only the second moment of the latents decides whether the uninformative state is left.

The learnability threshold is the second moment at which a small overlap neither grows nor shrinks. For SGD, it is the
zero of a line through the measured rates

    rate = log(mean overlap(t) / overlap(0)) / t,      weights 1 / (standard error)^2,

by kurtosis, with the interval of a parametric bootstrap (rates drawn around the measured ones, with their standard
errors). The intervals of both parts hold together at 95 % (Bonferroni). A line fits because the theory's rate is linear
in the second moment.

| part | measured | holds |
|---|---|---|
| agreement | SGD's threshold minus theory's, at each kurtosis | within the tolerance |
| equality | difference of SGD's thresholds, of each pair of kurtoses | within the tolerance |

The overlap is small, not zero. The *systematic error* that this causes is known from theory alone: the same estimator,
applied to the ODE's overlap, minus the zero of the exact growth rate. It is in the evidence, and not subtracted.

Two results are evidence only: the border in the plane of second moment and learning rate, and a cut that must not be
used, the second moment at which the cosine similarity passes 1/2 much later. This cut depends on the kurtosis, because
an informative state does.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np

from clhd.claims.claim import Claim, Judgement, Summaries, Thresholds
from clhd.claims.verdict import UPPER_TAIL, Estimate, all_hold, within
from clhd.core.arrays import FloatArray
from clhd.core.lazy import xr

CUT = 0.5  # cosine similarity
_DRAWS, _SEED = 40_000, 4  # some hundred draws beyond each end, also of ten intervals that hold together
_STEEP = 4.0  # standard errors by which a slope must exceed zero: else the zero has no finite interval
_MOMENT = "second_moment"


def judge_learnability(summaries: Summaries, thresholds: Thresholds) -> Judgement:
    """Judge C4 from the growth of a small overlap by kurtosis and second moment."""
    growth, allowed = summaries["growth"].dataset, (-thresholds["tolerance"], thresholds["tolerance"])
    kurtosis, moment = growth["kurtosis"].values, growth[_MOMENT].values
    generator = np.random.default_rng(_SEED)
    exact = [find_zero(moment, rates) for rates in _exact_rates(growth, "kurtosis")]
    of_ode = [find_zero(moment, rates) for rates in measure_rates(growth, "kurtosis", "theory")[0]]
    values, draws = [], []
    for rates, errors in zip(*measure_rates(growth, "kurtosis"), strict=True):
        values.append(find_zero(moment, rates, errors))
        draws.append(_draw_zeros(moment, rates, errors, generator))
    by_sgd = [_estimate(value, drawn) for value, drawn in zip(values, draws, strict=True)]
    among = len(kurtosis) * (len(kurtosis) + 1) // 2  # each kurtosis, and each pair
    deviations = [
        _estimate(value - limit, drawn - limit, among=among)
        for value, drawn, limit in zip(values, draws, exact, strict=True)
    ]
    differences = {
        f"{kurtosis[j]:g} and {kurtosis[i]:g}": _estimate(values[j] - values[i], draws[j] - draws[i], among=among)
        for i, j in combinations(range(len(kurtosis)), 2)
    }
    parts = {
        "agreement": all_hold(within(deviation, allowed) for deviation in deviations),
        "equality": all_hold(within(difference, allowed) for difference in differences.values()),
    }
    evidence: dict[str, Any] = {
        "kurtosis": kurtosis,
        "threshold_by_theory": exact,
        "threshold_by_sgd": by_sgd,
        "sgd_minus_theory": deviations,
        "difference_between_kurtoses": differences,
        "systematic_error_of_the_estimator": [biased - limit for biased, limit in zip(of_ode, exact, strict=True)],
        "border_by_learning_rate": _describe_border(summaries["phase"].dataset, generator),
        "second_moment_at_which_cosine_similarity_passes_one_half": _describe_cut(summaries["cut"].dataset),
    }
    return Judgement.of_all(parts, evidence)


def measure_rates(dataset: xr.Dataset, axis: str, statistic: str = "mean") -> tuple[FloatArray, FloatArray]:
    """Return the rates at which the overlap grows, from the first to the last time.

    Parameters
    ----------
    dataset : xarray.Dataset
        A summary with dims ``axis``, second_moment and time.
    axis : str
    statistic : {"mean", "theory"}, optional

    Returns
    -------
    (rates, standard errors), each of shape (axis, second_moment)
        Per time; NaN where the mean has not the sign of the start. Errors of the theory are 0.
    """
    overlap = _arrange(dataset[f"overlap_{statistic}"], axis)
    start, end = (overlap.isel(time=k).values for k in (0, -1))
    duration = float(dataset["time"][-1] - dataset["time"][0])
    with np.errstate(divide="ignore", invalid="ignore"):
        rates = np.log(end / start) / duration
        if statistic == "theory":
            return rates, np.zeros_like(rates)
        error = _arrange(dataset["overlap_standard_error"], axis).isel(time=-1).values
        return rates, np.abs(error / (end * duration))


def find_zero(moment: FloatArray, rates: FloatArray, errors: FloatArray | None = None) -> float:
    """Return the zero of the line through growth rates by second moment.

    Parameters
    ----------
    moment : array of shape (second_moment,)
    rates : array of shape (second_moment,)
        Per unit of time.
    errors : array of shape (second_moment,), optional
        Standard errors of the rates, > 0; without them all rates count alike.

    Returns
    -------
    float
        A second moment; NaN if a rate is not there, or errors leave the sign of the slope open.
    """
    if len(rates) < 2 or not np.all(np.isfinite(rates)):
        return float("nan")
    if errors is None:
        slope, level = np.polyfit(moment, rates, 1)
        return float(-level / slope)
    if not np.all(errors > 0):
        return float("nan")
    (slope, level), covariance = np.polyfit(moment, rates, 1, w=1 / errors, cov="unscaled")
    return float(-level / slope) if slope > _STEEP * np.sqrt(covariance[0, 0]) else float("nan")


def _draw_zeros(
    moment: FloatArray, rates: FloatArray, errors: FloatArray, generator: np.random.Generator
) -> FloatArray:
    """Zeros of lines through rates drawn around the measured ones."""
    if not np.isfinite(find_zero(moment, rates, errors)):
        return np.full(_DRAWS, np.nan)
    drawn = rates + errors * generator.standard_normal((_DRAWS, len(rates)))
    slope, level = np.polyfit(moment, drawn.T, 1, w=1 / errors)
    return np.asarray(-level / slope, np.float64)


def _estimate(value: float, draws: FloatArray, *, among: int = 1) -> Estimate:
    """A number with the interval of its draws, which is to hold together with others."""
    tail = (1 - UPPER_TAIL) / among
    low, high = np.quantile(draws, (tail, 1 - tail))
    return Estimate(float(value), float(low), float(high))


def _arrange(values: xr.DataArray, axis: str) -> xr.DataArray:
    """The values of the first feature, with the dims (axis, second_moment), and time if there is one."""
    chosen = values.isel(feature=0, missing_dims="ignore").squeeze(
        [dim for dim in values.dims if dim not in {axis, _MOMENT, "time", "feature"} and values.sizes[dim] == 1]
    )
    return chosen.transpose(axis, _MOMENT, ..., missing_dims="ignore")


def _exact_rates(dataset: xr.Dataset, axis: str) -> FloatArray:
    """Theory's growth rates at the uninformative state, of shape (axis, second_moment)."""
    return np.asarray(_arrange(dataset["growth_rate_theory"], axis).values, np.float64)


def _describe_border(phase: xr.Dataset, generator: np.random.Generator) -> dict[str, Any]:
    """Theory's and SGD's threshold by learning rate."""
    moment = phase[_MOMENT].values
    by_sgd = []
    for rates, errors in zip(*measure_rates(phase, "learning_rate"), strict=True):
        known = np.isfinite(rates)  # the grid is refined, so most learning rates have some second moments only
        found = moment[known], rates[known], errors[known]
        by_sgd.append(_estimate(find_zero(*found), _draw_zeros(*found, generator)))
    by_theory = []
    for rates in _exact_rates(phase, "learning_rate"):
        known = np.isfinite(rates)
        by_theory.append(find_zero(moment[known], rates[known]))
    return {"learning_rate": phase["learning_rate"].values, "by_theory": by_theory, "by_sgd": by_sgd}


def _describe_cut(cut: xr.Dataset) -> dict[str, Any]:
    """The second moments that a cut on the cosine similarity at a late time would take for thresholds."""
    largest = cut.sel(dimension=cut["dimension"].max()).isel(time=-1)
    moment = cut[_MOMENT].values

    def cross(statistic: str) -> list[float]:
        similarity = _arrange(largest[f"cosine_similarity_{statistic}"], "kurtosis").values
        return [find_crossing(moment, row, CUT) for row in similarity]

    return {
        "kurtosis": cut["kurtosis"].values,
        "dimension": int(cut["dimension"].max()),
        "time": float(cut["time"][-1]),
        "by_sgd": cross("mean"),
        "by_ode": cross("theory"),
    }


def find_crossing(moment: FloatArray, values: FloatArray, level: float) -> float:
    """Return the first second moment at which values pass a level upwards, by interpolation.

    Parameters
    ----------
    moment : array of shape (second_moment,)
        Ascending.
    values : array of shape (second_moment,)
        Of any quantity, such as cosine similarities.
    level : float
        Of that quantity.

    Returns
    -------
    float
        NaN if they do not pass it.
    """
    changes = np.flatnonzero((values[:-1] < level) & (values[1:] >= level))
    if len(changes) == 0:
        return float("nan")
    k = int(changes[0])
    share = (level - values[k]) / (values[k + 1] - values[k])
    return float(moment[k] + share * (moment[k + 1] - moment[k]))


LEARNABILITY = Claim(
    statement="At the uninformative state only the second moment of the latent variable decides whether a feature is "
    "learned.",
    experiments={
        "growth": "growth of a small overlap by kurtosis and second moment, from the uninformative state",
        "phase": "the same by second moment and learning rate",
        "cut": "cosine similarity at a late time by kurtosis and second moment",
    },
    thresholds={
        "tolerance": "difference of learnability thresholds, between SGD and theory and between kurtoses, that counts "
        "as none",
    },
    judge=judge_learnability,
    figure="clhd.systems.contrastive.figures.learnability:plot_learnability",
)
