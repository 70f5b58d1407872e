"""C7: negatively correlated augmentation noise does better, because it makes the variance of the gradient smaller.

| part | measured | holds |
|---|---|---|
| C7a, SGD | change of the steady similarity from correlation -1 to 0 and from 0 to 1, at the largest n | below 0 |
| C7a, map | share of a map, where something is learned, on which it falls at both steps | above a share |
| C7b | part of the gain S(-1) - S(0) that remains if the correlation enters D alone, in each case | above one half |
| C7b, SGD | largest distance of SGD from the ODE in that case; else the case is undecided | within an allowance |

The switch of C7b is exact: D (gradient variance), or g and A (drift), are taken from independent noise at the same
state. All of the map is judged. The evidence separates the places up to the variance of the base noise, where the noise
of two views stays positively correlated, from the places beyond it. C7 holds only if both parts do.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from clhd.claims.claim import Claim, Judgement, Part
from clhd.claims.verdict import Estimate, Range, Verdict, above, all_hold, below, within
from clhd.sweep.results.summary_reader import Summary
from clhd.systems.contrastive.claims.learned import (
    at_largest_dimension,
    describe_last_change,
    describe_share,
    falls_along,
    learned_similarity,
    list_places,
    steps_by_sgd,
)

CORRELATIONS = [-1.0, 0.0, 1.0]
_AXIS, _VARIANCE, _BASE = "noise_correlation", "augmentation_noise_variance", "base_noise_variance"
_SWITCHES = ("both", "drift", "gradient_variance")


def judge_correlation(summaries: Mapping[str, Summary], thresholds: Mapping[str, Any]) -> Judgement:
    """Judge C7 from the stated setting, the map, and the cases in which the correlation is switched."""
    parts = (_judge_ordering(summaries, thresholds), _judge_mechanism(summaries, thresholds))
    evidence = {"verdicts": {part.id: str(part.verdict) for part in parts}}
    return Judgement(verdict=all_hold(part.verdict for part in parts), evidence=evidence, parts=parts)


def _judge_ordering(summaries: Mapping[str, Summary], thresholds: Mapping[str, Any]) -> Part:
    """Judge C7a: by SGD in the stated setting and in each case, by theory over the map."""
    setting, cases = summaries["setting"], summaries["cases"]
    with_noise = [float(variance) for variance in setting.dataset[_VARIANCE].values if variance > 0]
    names = _cases(cases)
    among = (len(with_noise) + len(names)) * (len(CORRELATIONS) - 1)
    steps = {
        f"augmentation_noise_variance={variance:g}": steps_by_sgd(
            setting, _AXIS, among=among, **{_AXIS: CORRELATIONS, _VARIANCE: variance}
        )
        for variance in with_noise
    } | {case: steps_by_sgd(cases, _AXIS, among=among, **{_AXIS: CORRELATIONS, "case": case}) for case in names}
    theory = summaries["map"].dataset.sel({_AXIS: CORRELATIONS})
    falls = falls_on_map(theory, thresholds["least_change"])
    on_map = describe_share(falls)
    positive, negative = split_map(falls)
    verdicts = {
        "sgd": all_hold(below(step, 0) for found in steps.values() for step in found),
        "map": above(on_map["share"], thresholds["least_share"]),
    }
    evidence = {
        "verdicts": {name: str(verdict) for name, verdict in verdicts.items()},
        "noise_correlation": CORRELATIONS,
        "change_by_sgd": steps,
        "map": on_map,
        "map_without_anticorrelated_views": describe_share(positive),
        "map_with_anticorrelated_views": describe_share(negative),
        "largest_last_change_in_setting": describe_last_change(at_largest_dimension(setting)),
        "better_than_no_augmentation_noise": _describe_benefit(theory, thresholds["least_change"]),
        "finite_times": _describe_times(theory, cases, thresholds["least_change"]),
    }
    statement = "At a given variance of the augmentation noise, performance falls as its correlation rises."
    return Part(id="C7a", statement=statement, verdict=all_hold(verdicts.values()), evidence=evidence)


def falls_on_map(theory: xr.Dataset, least_change: float) -> xr.DataArray:
    """`falls_along` the correlation, over the map of positive augmentation noise."""
    return falls_along(learned_similarity(theory.sel({_VARIANCE: theory[_VARIANCE] > 0})), _AXIS, least_change)


def split_map(falls: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """Return the map up to the variance of the base noise, and beyond it; -1 (no statement) elsewhere."""
    is_positive = falls[_VARIANCE] <= falls[_BASE]
    return falls.where(is_positive, -1), falls.where(~is_positive, -1)


def _describe_benefit(theory: xr.Dataset, least_change: float) -> dict[str, Any]:
    """The places where noise of correlation -1 does better than no augmentation noise at all."""
    similarity = learned_similarity(theory)
    without = similarity.sel({_VARIANCE: 0, _AXIS: 0}, drop=True)
    with_noise = similarity.sel({_AXIS: -1}, drop=True)
    with_noise = with_noise.sel({_VARIANCE: with_noise[_VARIANCE] > 0})
    counts = (with_noise > 0) | (without > 0)
    return {
        "points": int(counts.sum()),
        "count": int((with_noise > without + least_change).sum()),
        "where": list_places(with_noise > without + least_change),
    }


def _describe_times(theory: xr.Dataset, cases: Summary, least_change: float) -> dict[str, Any]:
    """The times at which the similarity does not fall with the correlation: places of the map, and cases."""
    similarity = theory["cosine_similarity_theory"].isel(feature=0)
    rises_on_map = (similarity.diff(_AXIS) > least_change).any(_AXIS)
    positive, negative = (
        (rises_on_map & (part >= 0)).sum(list(part.dims)) for part in split_map(falls_on_map(theory, least_change))
    )
    of_cases = _switched(cases)["cosine_similarity_theory"].sel({_AXIS: CORRELATIONS, "correlation_acts_on": "both"})
    rises = (of_cases.diff(_AXIS) > least_change).any(_AXIS)
    return {
        "time": theory["time"].values,
        "places_of_map_reversed": positive.values,
        "places_with_anticorrelated_views_reversed": negative.values,
        "times_of_case_reversed": {str(case): rises["time"].values[rises.sel(case=case)] for case in _cases(cases)},
    }


def _judge_mechanism(summaries: Mapping[str, Summary], thresholds: Mapping[str, Any]) -> Part:
    """Judge C7b: the gain that the gradient variance alone gives, in every case."""
    cases = summaries["cases"]
    allowed = (-thresholds["allowance"], thresholds["allowance"])
    entries = {str(case): _judge_case(cases, case, thresholds["least_part"], allowed) for case in _cases(cases)}
    statement = "Negatively correlated noise does better because it reduces the variance of the gradient."
    return Part(
        id="C7b",
        statement=statement,
        verdict=all_hold(verdict for verdict, _ in entries.values()),
        evidence={
            "cases": {case: {"verdict": str(verdict)} | evidence for case, (verdict, evidence) in entries.items()},
            "map": _describe_mechanism(summaries["map"].dataset, summaries["switched_map"], thresholds["least_part"]),
        },
    )


def _describe_mechanism(theory: xr.Dataset, switched: Summary, least_part: float) -> dict[str, Any]:
    """Among places that learn and gain: where the gradient variance gives the larger part, and where it is smaller."""
    theory = theory.sel({_VARIANCE: float(switched.experiment["constants"][_VARIANCE])}, drop=True)
    similarity, variance = learned_similarity(theory), theory["gradient_variance_theory"]
    gain = similarity.sel({_AXIS: -1}, drop=True) - similarity.sel({_AXIS: 0}, drop=True)
    gains = (similarity.sel({_AXIS: [-1, 0]}) > 0).all(_AXIS) & (gain > 0)
    alone = learned_similarity(switched.dataset) - similarity.sel({_AXIS: 0}, drop=True)
    falls = variance.sel({_AXIS: -1}, drop=True) < variance.sel({_AXIS: 0}, drop=True)
    holds = alone.sel(correlation_acts_on="gradient_variance") > least_part * gain
    return {
        "places_with_gain": int(gains.sum()),
        "places_unknown": int((gains & alone.isnull().any("correlation_acts_on")).sum()),
        "mechanism_holds": int((gains & holds).sum()),
        "gradient_variance_alone_gains": int((gains & (alone.sel(correlation_acts_on="gradient_variance") > 0)).sum()),
        "drift_alone_gains": int((gains & (alone.sel(correlation_acts_on="drift") > 0)).sum()),
        "gradient_variance_smaller_at_start": int((gains & falls.isel(time=0)).sum()),
        "gradient_variance_smaller_at_steady_state": int((gains & falls.isel(time=-1)).sum()),
        "where_mechanism_holds": list_places((gains & holds).drop_vars("correlation_acts_on")),
    }


def _judge_case(cases: Summary, case: str, least_part: float, allowed: Range) -> tuple[Verdict, dict[str, Any]]:
    """The verdict on one case, which SGD must confirm, and its numbers."""
    theory = _switched(cases).sel(case=case)
    end = theory["cosine_similarity_theory"].isel(time=-1)
    gains = gains_by_switch(end)
    # Without a gain, a part of it has no meaning.
    part = gains["gradient_variance"] / gains["both"] if gains["both"] > 0 else np.nan
    sgd = at_largest_dimension(cases).sel(case=case).isel(time=-1, feature=0)
    difference = [
        Estimate.with_error(float(mean - limit), float(error))
        for mean, limit, error in zip(
            sgd["cosine_similarity_mean"].values,
            end.sel(correlation_acts_on="both").values,
            sgd["cosine_similarity_standard_error"].values,
            strict=True,
        )
    ]
    is_confirmed = all_hold(within(found, allowed) for found in difference) is Verdict.HOLDS
    variance = theory["gradient_variance_theory"].sel(correlation_acts_on="both")
    evidence = {
        "gain": gains,
        "part_of_gradient_variance": float(part),
        "noise_correlation": theory[_AXIS].values,
        "cosine_similarity_by_theory": end.sel(correlation_acts_on="both").values,
        "cosine_similarity_by_sgd": sgd["cosine_similarity_mean"].values,
        "sgd_minus_theory": difference,
        "gradient_variance_at_start": variance.isel(time=0).values,
        "gradient_variance_at_steady_state": variance.isel(time=-1).values,
        "confirmed_by_sgd": bool(is_confirmed),
    }
    verdict = above(Estimate.exact(float(part)), least_part) if is_confirmed else Verdict.UNDECIDED
    return verdict, evidence


def gains_by_switch(similarity: xr.DataArray) -> dict[str, float]:
    """Return S(-1) - S(0) with the correlation in both, in the drift alone, and in the gradient variance alone.

    Parameters
    ----------
    similarity : DataArray of dims (noise_correlation, correlation_acts_on)
        Cosine similarities S.

    Returns
    -------
    dict
        Without unit, by what the correlation acts on.
    """
    gain = similarity.sel({_AXIS: -1}) - similarity.sel({_AXIS: 0})
    return {switch: float(gain.sel(correlation_acts_on=switch)) for switch in _SWITCHES}


def _switched(cases: Summary) -> xr.Dataset:
    return at_largest_dimension(cases).isel(feature=0)


def _cases(cases: Summary) -> list[str]:
    return [str(case) for case in cases.dataset["case"].values]


CORRELATION = Claim(
    statement="Negatively correlated augmentation noise improves performance by reducing the variance of the gradient.",
    experiments={
        "setting": "steady cosine similarity by the variance and correlation of the noise, SGD and theory",
        "map": "the same over second moment, base noise variance and learning rate, theory alone",
        "switched_map": "the map, for its largest variance, with correlation -1 in drift or gradient variance alone",
        "cases": "the correlation switched in drift and gradient variance, for cases that differ; SGD and theory",
    },
    thresholds={
        "least_share": "share of the map, where something is learned, on which the similarity must fall",
        "least_change": "change of the cosine similarity that counts as one: what still changes at rest does not",
        "least_part": "part of the gain that the gradient variance alone must give",
        "allowance": "difference between SGD at the largest dimension and ODE that finite dimension may explain",
    },
    judge=judge_correlation,
    figure="clhd.systems.contrastive.figures.correlation:plot_correlation",
)
