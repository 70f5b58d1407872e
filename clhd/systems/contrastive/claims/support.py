"""`judge_support`: precision and recall of a sparse feature's support, by SGD and by the McKean-Vlasov equation.

A coordinate is taken for one of the support where abs(weight) exceeds a threshold. Errors that may be correlated, such
as the errors of the two signs of one replica, are added up as if they were fully correlated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from clhd.claims.verdict import Estimate, Verdict, all_hold, within
from clhd.core.arrays import FloatArray
from clhd.core.lazy import xr
from clhd.sweep.results.summary_reader import Summary
from clhd.systems.contrastive.claims.distances import list_places, name_place, sign_shares

# Support is judged at the thresholds where the theory recalls these shares; beyond the last, few weights pass.
_RECALLS = (0.9, 0.7, 0.5, 0.3, 0.1)


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


def judge_support(summary: Summary, allowance: float) -> tuple[Verdict, dict[str, Any]]:
    """Return whether SGD is within the allowance of the theory at a few thresholds, and the differences."""
    places = list_places(summary.dataset.isel(time=summary.dataset["time"].values > 0)["squared_norm_mean"])
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
        found[name_place(penalty, time)] = rows
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


def describe_best(summary: Summary) -> dict[str, Any]:
    """Return by penalty, at the last time, the threshold with the theory's best F-score and what both stages reach."""
    time, found = float(summary.dataset["time"][-1]), {}
    for penalty in summary.dataset["l1_penalty"].values:
        sgd, theory = (measure_support(summary, stage, penalty, time) for stage in ("mean", "theory"))
        k = int(np.nanargmax(theory.f_score))
        found[name_place(penalty, time)] = {
            "threshold": float(theory.threshold[k]),
            **{
                f"{word}_by_{stage}": float(getattr(support, word)[k])
                for word in ("precision", "recall", "f_score")
                for stage, support in (("sgd", sgd), ("theory", theory))
            },
        }
    return found
