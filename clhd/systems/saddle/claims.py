"""L1 to L4: what is claimed of the attraction region of a saddle.

| claim | whose statement | what is measured |
|---|---|---|
| L1 | gradient descent: the paper's abstract; fixed smoothing: remembered; m negative eigenvalues: ours | dimension |
| L2 | the paper's abstract, as we read it, and a second reading of ours | dimension; dimension of the common region |
| L3 | ours | power of the step index with which contraction fades, by the power of the smoothing's growth |
| L4 | the paper's abstract, on this function | rate of the slowest contraction, next to gradient descent's |

All numbers were known, from a prototype, when the thresholds were fixed.
"""

from __future__ import annotations

import numpy as np

from clhd.claims.claim import Claim, Judgement, Part, Summaries, Thresholds
from clhd.claims.measure import find_largest_difference
from clhd.claims.verdict import above, below
from clhd.core.lazy import xr
from clhd.sweep.results.summary_reader import Summary

PLAIN = ["gradient_descent", "fixed"]
MODIFIED = "ratio"


def judge_plain_schemes(summaries: Summaries, thresholds: Thresholds) -> Judgement:
    """Judge L1: n - 1 for the canonical Hessian, and n - m for random ones."""
    canonical, random = summaries["schedules"].dataset, summaries["random"].dataset
    plain, counts = canonical.sel(schedule=PLAIN), random["negative_eigenvalues"]
    of_plain = find_largest_difference(plain, "attraction_dimension", plain["dimension"] - 1)
    of_random = find_largest_difference(random, "attraction_dimension", _size(summaries["random"]) - counts)
    parts = (
        Part(
            "L1a",
            "Gradient descent, and fixed smoothing: dimension n - 1.",
            below(of_plain, thresholds["largest_difference"]),
            {"largest_difference": of_plain, "dimensions": plain["dimension"].values},
        ),
        Part(
            "L1b",
            "(Ours) Random Hessians with m negative eigenvalues, every bounded schedule: dimension n - m.",
            below(of_random, thresholds["largest_difference"]),
            {
                "largest_difference": of_random,
                "negative_eigenvalues": counts.values,
                "hessians_of_each": summaries["random"].replicas,
            },
        ),
    )
    return Judgement.of_parts(parts, {"canonical": of_plain, "random": of_random})


def judge_modified_scheme(summaries: Summaries, thresholds: Thresholds) -> Judgement:
    """Judge L2: the attraction region, and the region that is common to all step indices at which the scheme begins."""
    modified = summaries["schedules"].dataset.sel(schedule=MODIFIED)
    claimed = (modified["dimension"] - 1) // 2
    parts = []
    for letter, name, text in (
        ("a", "attraction_dimension", "The starts that the scheme drives to the saddle have"),
        ("b", "common_dimension", "(Our other reading) The starts that it drives there from every step index on have"),
    ):
        difference = find_largest_difference(modified, name, claimed)
        verdict = below(difference, thresholds["largest_difference"])
        found = {"largest_difference": difference, "by_dimension": modified[f"{name}_mean"].to_series().to_dict()}
        parts.append(Part(f"L2{letter}", f"{text} dimension floor((n - 1)/2).", verdict, found))
    whole = {"attraction_dimension": parts[0].evidence["by_dimension"], "claimed": claimed.values}
    return Judgement(verdict=parts[0].verdict, evidence=whole, parts=tuple(parts))


def measure_fading(growing: xr.Dataset, dimension: int) -> xr.DataArray:
    """Return the power a of K^-a with which the mean contraction fades, for each power p of the smoothing's growth.

    The mean is over the exponents except the first, which grows, and the last, which is that of the mean of x and does
    not fade. a is the slope of a straight line through the logarithms.
    """
    steps = np.log(growing["descent_steps"].values.astype(float))
    exponents = growing["lyapunov_exponent_mean"].sel(growth_rank=slice(2, dimension - 1)).mean("growth_rank")
    fading = []
    for power in growing["growth_power"].values:
        rates = -exponents.sel(growth_power=power).squeeze().values
        fading.append(-np.polyfit(steps, np.log(rates), 1)[0] if (rates > 0).all() else np.nan)
    return xr.DataArray(fading, {"growth_power": growing["growth_power"]})


def judge_stalling(summaries: Summaries, thresholds: Thresholds) -> Judgement:
    """Judge L3: contraction fades as k^-p, whose sum is finite for p > 1; there, all but one direction stalls."""
    growing, n = summaries["growing"].dataset, _size(summaries["growing"])
    fading = measure_fading(growing, n)
    power = growing["growth_power"]
    deviation = float(abs(fading - power).max(skipna=False))
    longest = growing.isel(descent_steps=-1)
    attracted = longest["attraction_dimension_mean"].where(power > 1, drop=True)
    lost = float(abs(attracted - 1).max(skipna=False)) if attracted.size else np.nan
    verdicts = {"fading": below(deviation, thresholds["largest_deviation"]), "left": below(lost, 0.0)}
    evidence = {
        "growth_power": power.values,
        "fading": fading.values,
        "attraction_dimension_after_the_longest_run": longest["attraction_dimension_mean"].values,
        "stalled_directions": longest["stalled_directions_mean"].values,
        "longest_run": int(longest["descent_steps"]),
    }
    return Judgement.of_all(verdicts, evidence)


def judge_rate(summaries: Summaries, thresholds: Thresholds) -> Judgement:
    """Judge L4: the slowest contraction of the modified scheme as a share of gradient descent's, at the worst n."""
    schedules = summaries["schedules"].dataset
    rate = -schedules["slowest_contraction_mean"]
    share = (rate.sel(schedule=MODIFIED) / rate.sel(schedule=PLAIN[0])).values
    slowest = xr.DataArray(np.exp(-rate.min("dimension", skipna=False)))
    growth = xr.DataArray(np.exp(schedules["largest_exponent_mean"].mean("dimension")))
    escape = schedules["escape_step_mean"].mean("dimension")
    evidence = {
        "share_of_gradient_descents_rate": {"smallest": np.min(share), "largest": np.max(share)},
        "slowest_factor_per_step": slowest.to_series().to_dict(),
        "growth_factor_per_step": growth.to_series().to_dict(),
        "mean_escape_step_next_to_gradient_descents_region": escape.to_series().to_dict(),
    }
    return Judgement(verdict=above(np.min(share), thresholds["least_share"]), evidence=evidence)


def _size(summary: Summary) -> int:
    """Return the dimension of an experiment in which it is a constant."""
    return int(summary.experiment["constants"]["dimension"])


_DIFFERENCE = {"largest_difference": "largest difference of a dimension of any run from what is claimed"}
_SCHEDULES = {"schedules": "the canonical Hessian by schedule and dimension"}
L1 = Claim(
    statement="Gradient descent and fixed Laplacian smoothing are driven to a saddle from a hyperplane of starts.",
    experiments={**_SCHEDULES, "random": "random Hessians by negative eigenvalues and schedule, at one dimension"},
    thresholds=_DIFFERENCE,
    judge=judge_plain_schemes,
)
L2 = Claim(
    statement="The modified scheme that we ran, sigma (k+1)/(k+C), is driven to the canonical saddle from a region of "
    "floor((n-1)/2) dimensions (the abstract's number, as we read it).",
    experiments=_SCHEDULES,
    thresholds=_DIFFERENCE,
    judge=judge_modified_scheme,
)
L3 = Claim(
    statement=(
        "(Ours) Smoothing that grows as (k+1)^p fades contraction as k^-p: for p > 1 all but one direction stalls."
    ),
    experiments={"growing": "smoothing that grows, by power and number of steps, at one dimension"},
    thresholds={"largest_deviation": "largest deviation of the fitted power from p"},
    judge=judge_stalling,
    figure="clhd.systems.saddle.figures:plot_stalling",
)
L4 = Claim(
    statement="On the canonical saddle that we ran, the modified scheme converges at gradient descent's rate (the "
    "abstract names no loss, of functions in general).",
    experiments=_SCHEDULES,
    thresholds={"least_share": "least share of gradient descent's rate that counts as no loss"},
    judge=judge_rate,
)
