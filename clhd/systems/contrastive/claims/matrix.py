"""`judge_matrix`: which statements survive for which loss, activation and constraint; results/claims_matrix.json.

A row is a case: a loss, an activation, and what holds the norm. A column is a statement in a coarse form, at one
setting of the other parameters, judged from summaries alone:

| column | asked of a case | from |
|---|---|---|
| C3 | SGD minus ODE, of the cosine similarity at all times, is small, or its limit is | steady, larger |
| C4 | growth rates do not depend on kurtosis, and SGD grows or decays as they say | growth |
| C5 | kurtosis leaves growth as it is, and moves the eigenvalue of the pure state, so the border of its region | pure |
| C6 | the cosine similarity falls at each step of independent augmentation noise | steady, larger, simulated |
| C7a | it falls at each step of the noise correlation | steady, larger, simulated |
| C7b | correlation in the gradient variance alone gives the larger part of the gain | switch |

C3: a deviation d_n = b / n + ... of finite dimension vanishes as n grows; a deviation of another limit stays. If a
case has two dimensions n < N, we eliminate b and judge the extrapolated deviation (N d_N - n d_n) / (N - n); if it has
one, we judge d_n. Terms other than b / n at the smaller n remain, with weight n / (N - n). Both have the same bound.

C6 and C7a: a step counts if the feature is learned at one of its two ends (as in `claims.learned`), i.e. if SGD's
overlap is not small there. On the sphere, the overlap is the cosine similarity. Off the sphere, a weight that dies may
keep a direction, so that the similarity says nothing. C6 to C7b are asked at the last time; the cell tells how much
the similarity still changed before. All intervals of a cell hold together at 95 %.

A cell holds a verdict, the numbers, and a reason where these need one. Beside the three verdicts of
`clhd.claims.verdict` there are: no theory (it does not exist), not computed (no experiment has the case), diverged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from clhd.claims.claim import CaseTable, Summaries, Thresholds
from clhd.claims.verdict import Estimate, Verdict, above, all_hold, below, within
from clhd.core.lazy import xr
from clhd.sweep.results.summary_reader import Summary
from clhd.systems.contrastive.claims.learned import describe_last_change, steps
from clhd.systems.contrastive.claims.universality import judge_universality
from clhd.systems.contrastive.model.losses import LOSS_NAMES

Case = tuple[str, ...]

_ACTS_ON = "correlation_acts_on"
NO_THEORY, NOT_COMPUTED, DIVERGED = "no theory", "not computed", "diverged"
OF_A_CASE = ("loss", "activation", "constraint", "weight_decay", "learning_rate", "background", "batch")
_DEFAULTS: Mapping[str, Any] = {"background": "isotropic", "batch": 0}
COLUMNS = {
    "C3": "SGD agrees with the ODE",
    "C4": "the second moment alone decides learnability",
    "C5": "kurtosis moves the attraction regions",
    "C6": "independent augmentation noise degrades",
    "C7a": "negative correlation does better",
    "C7b": "it does so through the gradient variance",
}
_AT_LAST_TIME = {"C6": "steady", "C7a": "steady", "C7b": "switch"}  # the experiment that has the time
EXPERIMENTS = {
    "steady": "cosine similarity by case and noise, by SGD and ODE",
    "larger": "some of these cases at a larger dimension",
    "growth": "a weak feature by case, kurtosis and second moment, from the uninformative state",
    "pure": "eigenvalues of pure states by case and kurtosis",
    "switch": "cosine similarity by case, noise correlation and what it acts on, theory alone",
    "simulated": "the cases that SGD alone has, by noise",
    "universality": "laws of noise and features by dimension, and the projected chain",
}
# Read where the config has the experiment.
OPTIONAL_EXPERIMENTS = {
    "batch_steady": "as steady, for the covariance loss",
    "batch_growth": "as growth, for the covariance loss",
    "batch_pure": "as pure, for the covariance loss",
    "batch_switch": "as switch, for the covariance loss",
    "universality_student": "Student-t noise by degrees of freedom and dimension",
    "universality_sparse": "sparse features by fraction and dimension",
}
THRESHOLDS = {
    "largest_deviation": "deviation of SGD from the ODE (in the limit if it can be had), and of laws, that is none",
    "growth_spread": "largest spread of growth rates over kurtosis, relative to the largest rate",
    "least_move": "least move of the eigenvalue of the pure state over kurtosis, relative to the largest growth rate",
    "least_overlap": "overlap, on the sphere the cosine similarity, from which on a feature counts as learned",
    "least_gain": "gain of cosine similarity below which there is nothing to explain",
    "least_part": "part of the gain that the gradient variance alone must give",
    "spread_ratio_range": "ratio of standard deviations, another law to the projected chain",
}


@dataclass(frozen=True)
class Cell:
    """The verdict on one statement in one case."""

    verdict: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the cell as claims_matrix.json holds it."""
        return {"verdict": str(self.verdict), "reason": self.reason, "evidence": dict(self.evidence)}


def judge_matrix(summaries: Summaries, thresholds: Thresholds) -> dict[str, Any]:
    """Judge every column in every case, and universality.

    Parameters
    ----------
    summaries : mapping of role to Summary
        Roles are those of `EXPERIMENTS`, and any of `OPTIONAL_EXPERIMENTS`.
    thresholds : mapping of name to value
        Those of `THRESHOLDS`.

    Returns
    -------
    dict
        ``columns`` (id, statement), ``rows`` (those of `OF_A_CASE`, where batch is 0 for other losses, cells) and
        ``universality`` (statement, verdict, evidence).
    """
    by_role = {role: _cases(summaries[role]) for role in EXPERIMENTS if role != "universality"}
    for role in ("steady", "growth", "pure", "switch"):
        if f"batch_{role}" in summaries:
            by_role[role] |= _cases(summaries[f"batch_{role}"])
    simulated = by_role["simulated"] | by_role["steady"] | by_role["larger"]
    dimensions = {role: float(summaries[role].experiment["constants"]["dimension"]) for role in ("steady", "larger")}
    judges: dict[str, tuple[dict[Case, xr.Dataset], Callable[[xr.Dataset], Cell]]] = {
        "C3": (by_role["steady"], partial(_judge_agreement, by_role["larger"], dimensions, thresholds)),
        "C4": (by_role["growth"], partial(_judge_growth, thresholds)),
        "C5": (by_role["pure"], partial(_judge_pure_states, thresholds)),
        "C6": (simulated, partial(_judge_noise, thresholds, along="augmentation_noise_variance")),
        "C7a": (simulated, partial(_judge_noise, thresholds, along="noise_correlation")),
        "C7b": (by_role["switch"], partial(_judge_switch, thresholds)),
    }
    every_case = {case for cases in by_role.values() for case in cases}
    rows = []
    for case in sorted(every_case, key=_row_order):
        cells = {
            column: judge(found[case]) if case in found else _missing(case) for column, (found, judge) in judges.items()
        }
        row: dict[str, Any] = dict(zip(OF_A_CASE, case, strict=True))
        row |= {name: float(row[name]) for name in ("weight_decay", "learning_rate")} | {"batch": int(row["batch"])}
        rows.append(row | {"cells": {column: cell.as_dict() for column, cell in cells.items()}})
    return {
        "columns": [
            {"id": column, "statement": _name_time(summaries, column) + statement}
            for column, statement in COLUMNS.items()
        ],
        "rows": rows,
        "universality": judge_universality(summaries, thresholds),
    }


def _name_time(summaries: Summaries, column: str) -> str:
    """The time of a statement about the last time; empty for the others."""
    if column not in _AT_LAST_TIME:
        return ""
    return f"at time {float(summaries[_AT_LAST_TIME[column]].dataset['time'][-1]):g}, "


def _cases(summary: Summary) -> dict[Case, xr.Dataset]:
    """The cases of an experiment, each with its part of the summary."""
    constants = _DEFAULTS | summary.experiment["constants"]
    known = {name: constants[name] for name in OF_A_CASE if name in constants}
    parts = [summary.dataset.isel(case=k) for k in range(summary.dataset.sizes["case"])]
    named = [part.assign_coords({name: v for name, v in known.items() if name not in part.coords}) for part in parts]
    return {_name_case(part): part for part in named}


def _name_case(part: xr.Dataset) -> Case:
    return tuple(str(part[name].item()) for name in OF_A_CASE)


def _row_order(case: Case) -> tuple[Any, ...]:
    loss, activation, constraint, *rest, batch = case
    return (LOSS_NAMES.index(loss), constraint != "none", activation != "tanh", activation, *rest, int(batch))


def _missing(case: Case) -> Cell:
    loss, activation, constraint = case[:3]
    if activation == "relu" and loss == "infonce":
        return Cell(NO_THEORY, reason="averages over a set of points need a smooth activation")
    if activation in {"linear", "relu"} and constraint == "none":
        return Cell(NO_THEORY, reason="the squared norm has no stable state of rest at zero overlap")
    return Cell(NOT_COMPUTED, reason="no experiment of the config has this case")


def _has_diverged(part: xr.Dataset) -> bool:
    return int(part["replica_count"].sel(status="diverged").sum()) > 0


def _judge_agreement(
    larger: Mapping[Case, xr.Dataset], dimensions: Mapping[str, float], thresholds: Thresholds, part: xr.Dataset
) -> Cell:
    """C3: SGD minus ODE at every point and time after the start, extrapolated where there are two n."""
    further = larger.get(_name_case(part))
    if _has_diverged(part) or (further is not None and _has_diverged(further)):
        return Cell(DIVERGED)
    limit = thresholds["largest_deviation"]
    difference, error = _compare_with_ode(part)
    evidence: dict[str, Any] = {"dimension": dimensions["steady"]}
    if further is not None:
        few, many = dimensions["steady"], dimensions["larger"]
        evidence = {"dimension": many, "smaller_dimension": few, "largest_difference_at_smaller": _largest(difference)}
        beyond, error_beyond = _compare_with_ode(further)
        evidence["largest_difference_at_larger"] = _largest(beyond)
        difference, beyond = xr.align(difference, beyond, join="exact")
        difference = (many * beyond - few * difference) / (many - few)
        error = ((many * error_beyond) ** 2 + (few * error) ** 2) ** 0.5 / (many - few)
    # The theory's own error is the same at every dimension.
    error = (error**2 + _averaging_error(_later(part)) ** 2) ** 0.5
    error = error.broadcast_like(difference).transpose(*difference.dims)
    estimates = Estimate.of_all(difference, error)
    verdicts = [within(estimate, (-limit, limit)) for estimate in estimates]
    evidence |= {
        "is_extrapolated": further is not None,
        "largest_difference": max(estimates, key=lambda estimate: abs(np.nan_to_num(estimate.value))),
        "points": {str(verdict): verdicts.count(verdict) for verdict in Verdict},
    }
    return Cell(all_hold(verdicts), evidence)


def _compare_with_ode(part: xr.Dataset) -> tuple[xr.DataArray, xr.DataArray]:
    """SGD minus ODE at every point and time after the start, and the standard error of SGD's mean."""
    later = _later(part)
    return (
        later["cosine_similarity_mean"] - later["cosine_similarity_theory"],
        later["cosine_similarity_standard_error"],
    )


def _later(part: xr.Dataset) -> xr.Dataset:
    return part.isel(feature=0).sel(time=part["time"] > 0)


def _largest(difference: xr.DataArray) -> float:
    return float(difference.values.flat[np.argmax(np.abs(np.nan_to_num(difference.values)))])


def _averaging_error(part: xr.Dataset) -> xr.DataArray:
    """Standard error of the theory's cosine similarity q / sqrt(r), from the larger error of q and r."""
    norm, similarity = part["squared_norm_theory"], part["cosine_similarity_theory"]
    if "feature" in similarity.dims:
        similarity = similarity.isel(feature=0)
    return part["averaging_error_theory"] * (1 / np.sqrt(norm) + abs(similarity) / (2 * norm))


def _judge_growth(thresholds: Thresholds, part: xr.Dataset) -> Cell:
    """C4: one growth rate for all kurtoses, of the sign that SGD shows below and above the threshold."""
    if _has_diverged(part):
        return Cell(DIVERGED)
    part = part.isel(feature=0)
    rate = part["growth_rate_theory"].transpose("second_moment", "kurtosis").values
    mean, error = part["overlap_mean"], part["overlap_standard_error"]
    change = (mean.isel(time=-1) - mean.isel(time=0)).transpose("second_moment", "kurtosis").values
    error_of_change = error.isel(time=-1).transpose("second_moment", "kurtosis").values
    spread = Estimate.exact(float(np.ptp(rate, axis=1).max() / np.abs(rate).max()))
    signed = Estimate.of_all(change * np.sign(rate), error_of_change)
    verdict = all_hold([below(spread, thresholds["growth_spread"]), *(above(estimate, 0.0) for estimate in signed)])
    evidence = {
        "second_moment": part["second_moment"].values,
        "growth_rate": rate[:, 0],
        "relative_spread": spread,
        "kurtosis": part["kurtosis"].values,
        "change_of_overlap_by_sgd": change,
        "standard_error": error_of_change,
    }
    if verdict == Verdict.HOLDS and (np.all(rate < 0) or np.all(rate > 0)):
        verb = "grows" if np.all(rate < 0) else "decays"
        reason = f"no feature {verb} at these second moments, so no threshold is seen"
        return Cell(Verdict.UNDECIDED, evidence, reason)
    return Cell(verdict, evidence)


def _judge_pure_states(thresholds: Thresholds, part: xr.Dataset) -> Cell:
    """C5: equal growth, and an eigenvalue of the pure state that moves; how far the border moves is not asked."""
    part = part.isel(feature=0)
    rate, eigenvalue = part["growth_rate_theory"].values, part["pure_eigenvalue_theory"].values
    scale = float(np.abs(rate).max())
    spread, move = Estimate.exact(float(np.ptp(rate)) / scale), Estimate.exact(float(np.ptp(eigenvalue)) / scale)
    evidence = {"kurtosis": part["kurtosis"].values, "eigenvalue": eigenvalue, "growth_rate": rate[0], "move": move}
    verdict = all_hold([below(spread, thresholds["growth_spread"]), above(move, thresholds["least_move"])])
    if not np.all(np.isfinite(eigenvalue)):
        return Cell(verdict, evidence, "at some kurtosis there is no pure state")
    return Cell(verdict, evidence)


def _judge_noise(thresholds: Thresholds, part: xr.Dataset, *, along: str) -> Cell:
    """C6 and C7a: by SGD, at the last time, the cosine similarity falls at each step of one of the two noises."""
    if _has_diverged(part):
        return Cell(DIVERGED)
    correlation, variance = part["noise_correlation"].values, part["augmentation_noise_variance"].values
    if along == "noise_correlation":
        # The variance that has several correlations.
        levels, counts = np.unique(variance, return_counts=True)
        used = np.flatnonzero(variance == levels[np.argmax(counts)])
    else:
        used = np.flatnonzero(correlation == 0)
    part = part.isel(noise=used[np.argsort(part[along].values[used])])
    end = part.isel(feature=0, time=-1)
    mean, error = (end[f"cosine_similarity_{name}"].values for name in ("mean", "standard_error"))
    is_learned = end["overlap_mean"].values >= thresholds["least_overlap"]
    matters = is_learned[1:] | is_learned[:-1]
    found = steps(mean, error, among=int(matters.sum()))
    evidence = {
        along: part[along].values,
        "cosine_similarity": mean,
        "standard_error": error,
        "is_learned": is_learned,
        "steps": found,
        "largest_last_change": describe_last_change(part),
    }
    if not matters.any():
        return Cell(Verdict.UNDECIDED, evidence, "nothing is learned")
    verdict = all_hold(below(step, 0.0) for step, counts in zip(found, matters, strict=True) if counts)
    reason = "" if matters.all() else "steps between points that learn nothing are left out"
    return Cell(verdict, evidence, reason)


def _judge_switch(thresholds: Thresholds, part: xr.Dataset) -> Cell:
    """C7b: what is left of the gain if the correlation enters the gradient variance alone."""
    last_change = describe_last_change(part)
    part = part.isel(feature=0, time=-1)
    similarity = part["cosine_similarity_theory"]
    independent = float(similarity.sel(noise_correlation=0, correlation_acts_on="both"))
    negative = similarity.sel(noise_correlation=part["noise_correlation"].min())
    gain = {str(way): float(negative.sel(correlation_acts_on=way)) - independent for way in negative[_ACTS_ON].values}
    error = float(_averaging_error(part).max())
    evidence: dict[str, Any] = {
        "cosine_similarity_at_correlation_0": independent,
        "gain": gain,
        "largest_last_change": last_change,
    }
    whole, kept = gain["both"], gain["gradient_variance"]
    if not whole >= thresholds["least_gain"]:
        return Cell(Verdict.UNDECIDED, evidence, "there is no gain to explain")
    # Both gains are differences from the same similarity; all three similarities have this error.
    ratio = kept / whole
    size = np.sqrt(2 * (1 + ratio**2 - ratio)) * error / whole
    share = Estimate.with_error(ratio, size)
    return Cell(above(share, thresholds["least_part"]), evidence | {"part_of_gradient_variance": share})


MATRIX = CaseTable(
    experiments=EXPERIMENTS,
    optional_experiments=OPTIONAL_EXPERIMENTS,
    thresholds=THRESHOLDS,
    judge=judge_matrix,
    figures={
        "matrix": "clhd.systems.contrastive.figures.matrix:plot_matrix",
        "matrix_crossed": "clhd.systems.contrastive.figures.matrix:plot_crossed",
        "universality": "clhd.systems.contrastive.figures.matrix:plot_universality",
    },
)
