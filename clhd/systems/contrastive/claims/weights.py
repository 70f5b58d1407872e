"""C1: the empirical distribution of the weights converges to the solution of the McKean-Vlasov equation.

Distances are Wasserstein-1, of each replica's weights to the equation's law, averaged over replicas, and over the
signs of the feature value with their shares. With an L1 penalty and without, at every time but the start, where both
stages are given the same law, the claim asks three things:

| part | measured | holds |
|---|---|---|
| rate | exponent of the distance as a power of the dimension | in a range around -1/2 |
| size | distance at the largest dimension, over what fluctuations of order n^(-1/2) explain | below a bound |
| support | precision and recall of a sparse feature's support, by SGD minus by the equation | within an allowance |

| symbol | name | meaning |
|---|---|---|
| F(w) | distribution | P(weight <= w) at the coordinates of one sign of the feature value |
| N | | how many coordinates have that sign |
| theta | threshold | a coordinate is taken for one of the support where abs(weight) > theta |
| q, r | overlap, squared_norm | order parameters; sd(q) and sd(r): their spread over replicas |

Why the size has a bound. Given the forces that all weights of a run share, its weights are independent draws, from a
law that the fluctuations of those forces shift and stretch (with L2, no more than that). By the triangle inequality the
distance is at most the sum of two, to first order in n^(-1/2):

    of N draws from F       integral of sqrt(2 F (1 - F) / (pi N))
    of the shared forces    sqrt(2 / pi) (sd(q) + sd(v) / (2 sqrt(v))),   v = r - q^2,   sd(v) <= sd(r) + 2 abs(q) sd(q)

A shift by x is a distance of x, and a stretch from sqrt(v) to sqrt(v) + x is a distance of at most x. The ratio of the
distance to the sum must not exceed 1, except for the errors of sd(q) and sd(r) and for higher orders (the error of the
distance is in the interval of the ratio). If the equation were wrong, the ratio would grow as n^(1/2).

Several intervals are compared with each range; they hold together (`clhd.claims.verdict`). Errors that may be
correlated, such as the errors of the two signs of one replica, are added up as if they were fully correlated.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from clhd.claims.claim import Claim, Judgement
from clhd.claims.verdict import Estimate, Verdict, all_hold, below, within
from clhd.core.power_law import fit_power_law
from clhd.sweep.results.summary_reader import Summary
from clhd.systems.contrastive.claims.resolution import describe_resolution

FloatArray = NDArray[np.float64]
# Support is judged at the thresholds where the theory recalls these shares; beyond the last, few weights pass.
_RECALLS = (0.9, 0.7, 0.5, 0.3, 0.1)
_DEFAULT_LAW = "rademacher"


@dataclass(frozen=True)
class Distances:
    """Distances with standard errors, and the two parts that fluctuations explain; without the start.

    Parameters
    ----------
    mean, error, of_draws, of_forces : xarray.DataArray of dims (l1_penalty, time, dimension)
    variance : xarray.DataArray of the same dims
        Of the weights given the feature, r - q^2, by the equation.
    """

    mean: xr.DataArray
    error: xr.DataArray
    of_draws: xr.DataArray
    of_forces: xr.DataArray
    variance: xr.DataArray

    @property
    def explained(self) -> xr.DataArray:
        """The largest distance that fluctuations explain."""
        return self.of_draws + self.of_forces


@dataclass(frozen=True)
class Support:
    """Precision and recall against the threshold, by one stage, with standard errors.

    Parameters
    ----------
    threshold : array of shape (k,)
    recall, precision, recall_error, precision_error : arrays of shape (k,)
        NaN where no weight passes the threshold.
    """

    threshold: FloatArray
    recall: FloatArray
    precision: FloatArray
    recall_error: FloatArray
    precision_error: FloatArray

    @property
    def f_score(self) -> FloatArray:
        """Harmonic mean of precision and recall."""
        return 2 * self.precision * self.recall / (self.precision + self.recall)


def judge_weights(summaries: Mapping[str, Summary], thresholds: Mapping[str, Any]) -> Judgement:
    """Judge C1 from distances by dimension and from the support of a sparse feature."""
    distances = measure_distances(summaries)
    rate, exponents = _judge_rate(distances, thresholds["exponent_range"])
    size, ratios = _judge_size(distances, thresholds["largest_ratio"])
    support, differences = _judge_support(summaries["support"], thresholds["allowance"])
    parts = {"rate": rate, "size": size, "support": support}
    evidence: dict[str, Any] = {
        "verdicts": {name: str(verdict) for name, verdict in parts.items()},
        "exponents": exponents,
        "distances": {
            _name_place(penalty, time): {
                "dimension": distances.mean["dimension"].values,
                "by_sgd": distances.mean.sel(l1_penalty=penalty, time=time).values,
                "standard_error": distances.error.sel(l1_penalty=penalty, time=time).values,
                "of_independent_draws": distances.of_draws.sel(l1_penalty=penalty, time=time).values,
                "of_shared_forces": distances.of_forces.sel(l1_penalty=penalty, time=time).values,
            }
            for penalty, time in _places(distances.mean)
        },
        "ratio_to_what_fluctuations_explain": ratios,
        "smallest_error_that_is_noticed": _describe_resolution(distances, ratios, thresholds["largest_ratio"]),
        "support_sgd_minus_theory": differences,
        "best_threshold": _describe_best(summaries["support"]),
    }
    return Judgement(verdict=all_hold(parts.values()), evidence=evidence)


def _describe_resolution(distances: Distances, ratios: Mapping[str, Estimate], limit: float) -> dict[str, Any]:
    """By place: what `describe_resolution` says at the largest dimension."""
    explained, variance = (
        {
            _name_place(penalty, time): float(values.sel(l1_penalty=penalty, time=time).isel(dimension=-1))
            for penalty, time in _places(values)
        }
        for values in (distances.explained, distances.variance)
    )
    return describe_resolution(ratios, explained, variance, limit)


def measure_distances(summaries: Mapping[str, Summary]) -> Distances:
    """Return the distances of the roles "small" and "large", joined along the dimension, without the start."""
    parts = [_describe_distances(summaries[role]) for role in ("small", "large")]
    joined = xr.concat(parts, "dimension", join="exact").drop_duplicates("dimension").sortby("dimension")
    joined = joined.isel(time=joined["time"].values > 0).transpose("l1_penalty", "time", "dimension")
    variance = joined["squared_norm"] - joined["overlap"] ** 2
    return Distances(joined["mean"], joined["error"], joined["of_draws"], _measure_forces(joined), variance)


def _describe_distances(summary: Summary) -> xr.Dataset:
    """Distances of one experiment, each sign by its share of the coordinates; order parameters and their variances."""
    dataset, share = summary.dataset, sign_shares(summary)
    law, count = dataset["distribution_theory"], share * dataset["dimension"]
    spread = np.sqrt(np.clip(law * (1 - law), 0, None))
    measured = xr.Dataset(
        {
            "mean": dataset["distribution_distance_mean"],
            "error": dataset["distribution_distance_standard_error"],
            "of_draws": np.sqrt(2 / (np.pi * count)) * spread.integrate("weight_edge"),
        }
    )
    averaged = (measured * share).sum("feature_sign", skipna=False)
    return averaged.assign(
        overlap=dataset["overlap_theory"].squeeze("feature", drop=True),
        squared_norm=dataset["squared_norm_theory"],
        overlap_variance=dataset["overlap_standard_deviation"].squeeze("feature", drop=True) ** 2,
        squared_norm_variance=dataset["squared_norm_standard_deviation"] ** 2,
        runs=dataset["replica_count"].sel(status="ok", drop=True).astype(float),
    )


def _measure_forces(joined: xr.Dataset) -> xr.DataArray:
    """The part that shared forces explain; spreads are pooled over dimensions, because the largest has few replicas."""
    n, runs = joined["dimension"], joined["runs"]
    overlap_spread, norm_spread = (
        np.sqrt((joined[f"{name}_variance"] * n * runs).sum("dimension", skipna=False) / runs.sum("dimension") / n)
        for name in ("overlap", "squared_norm")
    )
    q = joined["overlap"]
    width = np.sqrt(joined["squared_norm"] - q**2)
    stretch = (norm_spread + 2 * abs(q) * overlap_spread) / (2 * width)
    explained: xr.DataArray = np.sqrt(2 / np.pi) * (overlap_spread + stretch)
    return explained.transpose("l1_penalty", "time", "dimension")


def sign_shares(summary: Summary) -> xr.DataArray:
    """Return the share of the coordinates at which the feature value has each sign."""
    constants, signs = summary.experiment["constants"], summary.dataset["feature_sign"]
    is_sparse = constants.get("feature_law", _DEFAULT_LAW) == "sparse"
    fraction = float(constants["feature_fraction"]) if is_sparse else 1.0
    return signs.copy(data=np.where(signs.values == 0, 1 - fraction, fraction / 2))


def _judge_rate(distances: Distances, allowed: tuple[float, float]) -> tuple[Verdict, dict[str, Estimate]]:
    """The exponent of each penalty and time, and whether all are in the range."""
    places = _places(distances.mean)
    found = {}
    for penalty, time in places:
        at = {"l1_penalty": penalty, "time": time}
        mean, error = distances.mean.sel(at).values, distances.error.sel(at).values
        slope = fit_power_law(distances.mean["dimension"].values.astype(float), mean, error)
        exponent, doubt = (slope.exponent, slope.error) if slope else (np.nan, np.nan)
        found[_name_place(penalty, time)] = Estimate.with_error(exponent, doubt, among=len(places))
    return all_hold(within(exponent, allowed) for exponent in found.values()), found


def _judge_size(distances: Distances, limit: float) -> tuple[Verdict, dict[str, Estimate]]:
    """Distance at the largest dimension over what fluctuations explain, and whether all are below the limit."""
    places, found = _places(distances.mean), {}
    for penalty, time in places:
        at = {"l1_penalty": penalty, "time": time}
        mean, error, explained = (
            float(values.sel(at).isel(dimension=-1))
            for values in (distances.mean, distances.error, distances.explained)
        )
        found[_name_place(penalty, time)] = Estimate.with_error(mean / explained, error / explained, among=len(places))
    return all_hold(below(ratio, limit) for ratio in found.values()), found


def _judge_support(summary: Summary, allowance: float) -> tuple[Verdict, dict[str, Any]]:
    """SGD minus theory at a few thresholds of the largest dimension, and whether all are within the allowance."""
    places = _places(summary.dataset.isel(time=summary.dataset["time"].values > 0)["squared_norm_mean"])
    count, verdicts, found = len(places) * len(_RECALLS) * 2, [], {}
    for penalty, time in places:
        sgd, theory = (measure_support(summary, stage, penalty, time) for stage in ("mean", "theory"))
        rows = []
        for wanted in _RECALLS:
            k = int(np.argmin(np.abs(theory.recall - wanted)))
            recall = Estimate.with_error(sgd.recall[k] - theory.recall[k], sgd.recall_error[k], among=count)
            precision = Estimate.with_error(sgd.precision[k] - theory.precision[k], sgd.precision_error[k], among=count)
            verdicts += [within(difference, (-allowance, allowance)) for difference in (recall, precision)]
            rows.append(
                {
                    "threshold": float(theory.threshold[k]),
                    "recall_by_theory": float(theory.recall[k]),
                    "precision_by_theory": float(theory.precision[k]),
                    "recall": recall,
                    "precision": precision,
                }
            )
        found[_name_place(penalty, time)] = rows
    return all_hold(verdicts), found


def measure_support(summary: Summary, stage: str, l1_penalty: float, time: float) -> Support:
    """Return precision and recall at the largest dimension.

    Parameters
    ----------
    summary : Summary
        Of an experiment with sparse features.
    stage : str
        "mean" of the replicas of SGD, or "theory", whose errors are zero.
    l1_penalty, time : float
        Places of the summary.
    """
    point = summary.dataset.sel(l1_penalty=l1_penalty, time=time)
    point = point.isel(dimension=int(np.argmax(point["dimension"].values)))
    law = point[f"distribution_{stage}"]
    error = point["distribution_standard_error"] if stage == "mean" else xr.zeros_like(law)
    passed, doubt = _pass_threshold(law, 1 - law), _pass_threshold(error, error)
    share = sign_shares(summary)
    on = share.where(share["feature_sign"] != 0, 0) / share.where(share["feature_sign"] != 0).sum()
    recall, recall_error = ((values * on).sum("feature_sign").values for values in (passed, doubt))
    hits, false = recall * float(1 - share.sel(feature_sign=0)), (passed * share).sel(feature_sign=0).values
    false_error = (doubt * share).sel(feature_sign=0).values
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = hits / (hits + false)
        # The error of hits / (hits + false), to first order.
        precision_error = (1 - precision) * precision * recall_error / recall + hits * false_error / (hits + false) ** 2
    return Support(passed["threshold"].values, recall, precision, recall_error, precision_error)


def _pass_threshold(lower: xr.DataArray, upper: xr.DataArray) -> xr.DataArray:
    """`lower` at minus a threshold plus `upper` at the threshold, for all thresholds > 0, of dims (sign, threshold)."""
    edges = lower["weight_edge"].values
    threshold = edges[edges > 1e-9]
    below_it, above_it = (
        values.sel(weight_edge=side * threshold, method="nearest")
        .rename(weight_edge="threshold")
        .assign_coords(threshold=threshold)
        for values, side in ((lower, -1), (upper, 1))
    )
    return below_it + above_it


def _describe_best(summary: Summary) -> dict[str, Any]:
    """By penalty, at the last time: the threshold with the theory's best F-score, and what both stages reach there."""
    time, found = float(summary.dataset["time"][-1]), {}
    for penalty in summary.dataset["l1_penalty"].values:
        sgd, theory = (measure_support(summary, stage, penalty, time) for stage in ("mean", "theory"))
        k = int(np.nanargmax(theory.f_score))
        found[_name_place(penalty, time)] = {
            "threshold": float(theory.threshold[k]),
            **{
                f"{word}_by_{stage}": float(getattr(support, word)[k])
                for word in ("precision", "recall", "f_score")
                for stage, support in (("sgd", sgd), ("theory", theory))
            },
        }
    return found


def _places(values: xr.DataArray) -> list[tuple[float, float]]:
    """All pairs of penalty and time."""
    return list(product(values["l1_penalty"].values.tolist(), values["time"].values.tolist()))


def _name_place(penalty: float, time: float) -> str:
    return f"l1_penalty {penalty:g}, time {time:g}"


WEIGHTS = Claim(
    statement="The empirical distribution of the weights converges to the solution of the McKean-Vlasov equation as "
    "the dimension grows.",
    experiments={
        "small": "distances by dimension and penalty",
        "large": "the same at the largest dimension; may be the same experiment",
        "support": "weights on and off the support of a sparse feature",
    },
    thresholds={
        "exponent_range": "exponents of the distance, as a power of the dimension, that count as -1/2",
        "largest_ratio": "largest ratio of the distance at the largest dimension to what fluctuations explain",
        "allowance": "difference in precision and recall, SGD minus theory, that counts as none",
    },
    judge=judge_weights,
    figure="clhd.systems.contrastive.figures.weights:plot_weights",
)
