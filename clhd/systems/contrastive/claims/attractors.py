"""Q2 and Q3: clusters of the ends of SGD count stable fixed points, and where they do not.

A point of the grid is right if every one of its clouds has as many clusters as there are stable fixed points with their
images. All shares are shares of points.

| claim | part | measured | holds |
|---|---|---|---|
| Q2 | each method | share of right points at the last time, over kurtoses, features, dimensions | above a bound |
| Q3 | continuum | clusters where a state is marginal | there are some, though no number is right |
| Q3 | few neighbours | share of right points with the fewest neighbours of Quickshift++ | below a bound |
| Q3 | short times | share of right points at the first time, by either method | below a bound |

Both statements are this project's. Q1, that Quickshift++ as it is written here finds what its authors' program finds,
is a test (tests/core/test_clusters.py).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from clhd.claims.claim import Claim, Judgement, Part, Summaries, Thresholds
from clhd.claims.verdict import Estimate, Verdict, above, below
from clhd.core.lazy import xr


def find_right(dataset: xr.Dataset) -> xr.DataArray:
    """Return where every cloud has the predicted number of clusters: True or False, NaN where one of both is unknown.

    The dataset is the summary of an experiment with the system "attractors".
    """
    mean, theory = dataset["attractors_mean"], dataset["attractors_theory"]
    spread = dataset["attractors_standard_deviation"].fillna(0.0)  # of one cloud it is not known
    return ((mean == theory) & (spread == 0)).where(mean.notnull() & theory.notnull())


def _share(right: xr.DataArray) -> Estimate:
    """The share of right points; NaN if one is not known."""
    return Estimate.exact(float(right.mean(skipna=False)))


def judge_counters(summaries: Summaries, thresholds: Thresholds) -> Judgement:
    """Judge Q2 from clouds of two and three features."""
    last = {role: summaries[role].dataset.isel(time=-1) for role in ("two", "three")}
    parts = []
    for method in last["two"]["cluster_method"].values:
        found = {role: dataset.sel(cluster_method=method) for role, dataset in last.items()}
        right = np.concatenate([find_right(dataset).values.ravel() for dataset in found.values()])
        share = Estimate.exact(float(right.mean()))
        counts: dict[str, Any] = {
            role: {
                "stable_states": dataset["attractors_theory"].transpose("case", ...).values,
                "mean_clusters": dataset["attractors_mean"].transpose("case", ...).values,
            }
            for role, dataset in found.items()
        }
        statement = f"Clusters by {method} are as many as stable fixed points."
        evidence = {"share_of_right_points": share, "points": len(right)} | counts
        parts.append(Part(str(method), statement, above(share, thresholds["least_share"]), evidence))
    return Judgement.of_parts(parts, {"dimension": last["two"]["dimension"].values})


def judge_limits(summaries: Summaries, thresholds: Thresholds) -> Judgement:
    """Judge Q3 from a circle of attractors, few neighbours, and short times."""
    circle, settings = summaries["circle"].dataset.isel(time=-1), summaries["settings"].dataset.isel(time=-1)
    counts = circle["attractors_mean"]
    is_continuum = bool(circle["attractors_theory"].isnull().all())
    fewest = settings.isel(setting=int(np.argmin(settings["cluster_neighbours"].values)))
    few = _share(find_right(fewest))
    early = _share(find_right(summaries["two"].dataset.isel(time=0)))
    verdicts = {
        "continuum": above(float(counts.min(skipna=False)), 1.0) if is_continuum else Verdict.FAILS,
        "few_neighbours": below(few, thresholds["most_share"]),
        "short_times": below(early, thresholds["most_share"]),
    }
    evidence: dict[str, Any] = {
        "clusters_on_the_circle": counts.transpose("cluster_method", ...).values,
        "neighbours": settings["cluster_neighbours"].values,
        "share_of_right_points_by_neighbours": [
            _share(find_right(settings.isel(setting=k))) for k in range(settings.sizes["setting"])
        ],
        "mean_clusters_with_fewest_neighbours": fewest["attractors_mean"].squeeze("cluster_method").values,
        "stable_states": fewest["attractors_theory"].squeeze("cluster_method").values,
        "first_time": float(summaries["two"].dataset["time"][0]),
        "share_of_right_points_at_first_time": early,
    }
    return Judgement.of_all(verdicts, evidence)


Q2 = Claim(
    statement="The ends of SGD from random weights form as many clusters as the ODE has stable fixed points.",
    experiments={"two": "clouds of two features by kurtosis and dimension", "three": "the same with three features"},
    thresholds={"least_share": "share of points at which every cloud must have the right number of clusters"},
    judge=judge_counters,
)
Q3 = Claim(
    statement="Clusters do not count attractors on a continuum, nor with few neighbours of Quickshift++, nor at short "
    "times.",
    experiments={
        "two": "clouds of two features by kurtosis and dimension, at several times",
        "circle": "clouds of two Gaussian features, whose attractors form a circle",
        "settings": "clusters by Quickshift++ with several numbers of neighbours, where small clusters count",
    },
    thresholds={"most_share": "share of right points above which a counter has not failed"},
    judge=judge_limits,
)
