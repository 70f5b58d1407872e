"""C8: with the decorrelation penalty each of two units takes a feature of its own.

The theory gives the critical penalty at which the state that shares a feature loses its stability. The claim asks SGD:

| part | start | measured | holds |
|---|---|---|---|
| below | both units have feature 1 | share of runs that end so, below the critical penalty | all above a share |
| above | both units have feature 1 | share of runs in which each unit ends with its own, above it | all above a share |
| random | random weights | the same, above it | all above a share |

Penalties within a margin around the critical one are left out: there the rates are too small for the time of a run.
How the critical penalty moves with the kurtosis and the noise is shown beside the verdict, and not judged.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from clhd.claims.claim import Claim, Judgement, Summaries, Thresholds
from clhd.claims.verdict import Estimate, above, all_hold
from clhd.core.lazy import xr
from clhd.core.statistics import wilson_interval

PENALTY = "decorrelation"


def measure_outcome(dataset: xr.Dataset, outcome: str, among: int = 1) -> list[Estimate]:
    """Return the share of the runs with an outcome, for each penalty.

    Parameters
    ----------
    dataset : Dataset
        Of a summary of the system "sharing", over the penalty alone.
    outcome : str
        Such as "each".
    among : int
        How many intervals hold together.
    """
    shares = []
    for penalty in dataset[PENALTY].values:
        point = dataset.sel({PENALTY: penalty})
        total = int(point["replica_count"].sel(status="ok"))
        if total == 0:
            shares.append(Estimate.exact(np.nan))
            continue
        runs = np.rint(point["sharing_probability_mean"].sel(sharing=outcome).values * total).astype(np.int64)
        shares.append(Estimate(*(float(value) for value in wilson_interval(runs, total, among=among))))
    return shares


def judge_sharing(summaries: Summaries, thresholds: Thresholds) -> Judgement:
    """Judge C8 from SGD with both units on one feature and with random weights; the map is shown."""
    shared, random = (summaries[role].dataset for role in ("shared", "random"))
    critical = float(shared["critical_penalty_theory"].sel(feature=1).max(skipna=False))
    margin = thresholds["margin"]
    sides = {
        "below": (shared.sel({PENALTY: shared[PENALTY] <= critical / margin}), "same"),
        "above": (shared.sel({PENALTY: shared[PENALTY] >= critical * margin}), "each"),
        "random": (random.sel({PENALTY: random[PENALTY] >= critical * margin}), "each"),
    }
    among = sum(side.sizes[PENALTY] for side, _ in sides.values())
    shares = {name: measure_outcome(side, outcome, among) for name, (side, outcome) in sides.items()}
    parts = {
        name: all_hold(above(share, thresholds["least_share"]) for share in found) for name, found in shares.items()
    }
    of_map = summaries["map"].dataset["critical_penalty_theory"].sel(feature=1)
    evidence: dict[str, Any] = {
        "critical_penalty": critical,
        "dimension": summaries["shared"].experiment["constants"]["dimension"],
        **{
            f"{name}_share": {"penalty": side[PENALTY].values, "outcome": outcome, "share": shares[name]}
            for name, (side, outcome) in sides.items()
        },
        "random_share_same": measure_outcome(random, "same"),
        "critical_penalty_on_map": of_map.values,
        "change_along": {str(dim): _describe_change(of_map, str(dim)) for dim in of_map.dims},
    }
    return Judgement.of_all(parts, evidence)


def _describe_change(critical: xr.DataArray, axis: str) -> dict[str, Any]:
    """Return by how much the critical penalty changes from the first to the last value, wherever both are known."""
    changes = np.atleast_1d((critical.isel({axis: -1}) - critical.isel({axis: 0})).values)
    return {"values": critical[axis].values, "changes": changes[np.isfinite(changes)]}


SHARING = Claim(
    statement="With the decorrelation penalty each of two units takes a feature of its own: above the critical penalty "
    "of the theory even if both have the same one, and below it units that share a feature go on sharing it.",
    experiments={
        "shared": "which features two units have that start on one, by the penalty, SGD and theory",
        "random": "which features two units take from random weights, by the penalty, SGD",
        "map": "the critical penalty by kurtosis and augmentation noise variance, theory alone",
    },
    thresholds={
        "least_share": "share of the runs that must end as the theory says, at each penalty",
        "margin": "factor around the critical penalty within which penalties are not judged",
    },
    judge=judge_sharing,
    figure="clhd.systems.contrastive.figures.sharing:plot_sharing",
)
