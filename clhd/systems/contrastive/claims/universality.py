"""`judge_universality`: whether the limit depends on more of noise and features than their second moments.

Full simulations with other laws are held against the projected chain at the same dimension n. The chain is exact for
Gaussian noise and orthogonal features, so that the full simulation with these is the control. At the largest n, and at
every time after the start, two things are asked of each law:

| measured | holds |
|---|---|
| difference of the mean cosine similarities | below a bound, what an Edgeworth correction of order 1/n may explain |
| ratio of their standard deviations | within a range around 1 |

The evidence gives the differences at the other n, also in standard errors, and their exponent if they fix one. If a
control does not hold, everything is undecided: then the law is not the only difference. Each interval has the level 95
% alone. A statement fails only if an interval lies wholly outside of its range; for a law that changes nothing, the
ends of the range are many standard errors away.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from clhd.claims.claim import Summaries, Thresholds
from clhd.claims.verdict import Estimate, Verdict, all_hold, within
from clhd.core.arrays import FloatArray
from clhd.core.lazy import xr
from clhd.core.statistics import NORMAL_95, fit_power_law
from clhd.sweep.results.summary_reader import Summary

_STATEMENT = "The limit depends on the noise and on the entries of the features through their second moments alone."
_ROLES = ("universality", "universality_student", "universality_sparse")
_MEAN, _DEVIATION, _ERROR = (f"cosine_similarity_{s}" for s in ("mean", "standard_deviation", "standard_error"))


def judge_universality(summaries: Summaries, thresholds: Thresholds) -> dict[str, Any]:
    """Judge all laws that the summaries hold.

    Parameters
    ----------
    summaries : mapping of role to Summary
        ``universality``, which holds the projected chain, and any of ``universality_student``, ``universality_sparse``.
    thresholds : mapping
        ``largest_deviation``, ``spread_ratio_range``.

    Returns
    -------
    dict
        statement, verdict, and as evidence whether the control holds, and a list with one entry for each law: its name,
        whether it is the control, its verdict, and by dimension and time the differences and ratios.

    Raises
    ------
    KeyError
        If no summary holds the projected chain.
    """
    variants = [variant for role in _ROLES if role in summaries for variant in _variants(summaries[role])]
    chains = [variant.part for variant in variants if variant.is_chain]
    if not chains:
        raise KeyError("engine = projected")
    entries = [_judge_law(variant, chains[0], thresholds) for variant in variants if not variant.is_chain]
    is_controlled = all(entry["verdict"] == Verdict.HOLDS for entry in entries if entry["is_control"])
    verdict = all_hold(entry["verdict"] for entry in entries) if is_controlled else Verdict.UNDECIDED
    return {
        "statement": _STATEMENT,
        "verdict": str(verdict),
        "evidence": {"control_holds": is_controlled, "laws": entries},
    }


@dataclass(frozen=True)
class _Variant:
    """A law of an experiment, with its part of the summary; the control is the full engine with the chain's laws."""

    name: str
    is_chain: bool
    is_control: bool
    part: xr.Dataset


def _variants(summary: Summary) -> Iterator[_Variant]:
    """Yield each law of an experiment."""
    dataset, constants = summary.dataset.isel(feature=0), summary.experiment["constants"]
    (axis,) = [name for name in summary.grid_axes if name != "dimension"]
    for k in range(dataset.sizes[axis]):
        part = dataset.isel({axis: k})
        known = {name: part[name].item() for name in ("engine", "noise_law", "feature_law") if name in part.coords}
        known = dict(constants) | known
        detail = "" if axis == "variant" else f" ({axis.replace('_', ' ')} {part[axis].item():g})"
        noise, features = (str(known.get(name, "gaussian")) for name in ("noise_law", "feature_law"))
        is_chain = known.get("engine", "projected") == "projected"
        is_control = not is_chain and (noise, features) == ("gaussian", "gaussian")
        name = f"{_name_law(noise)} noise, {_name_law(features)} features{detail}"
        yield _Variant(name, is_chain, is_control, part)


def _name_law(word: str) -> str:
    """The name of a law in a text, such as Student-t."""
    return word.replace("_", "-").capitalize()


def _judge_law(variant: _Variant, chain: xr.Dataset, thresholds: Thresholds) -> dict[str, Any]:
    part, reference = (p.sel(time=p["time"] > 0) for p in xr.align(variant.part, chain, join="inner"))
    size = part["dimension"].values.astype(float)
    difference = _ordered(part[_MEAN] - reference[_MEAN])
    error = np.hypot(_ordered(part[_ERROR]), _ordered(reference[_ERROR]))
    ratio, ratio_error = _compare_spreads(part, reference)
    last = int(np.argmax(size))
    allowance = thresholds["largest_deviation"]
    means = [Estimate.with_error(d, e) for d, e in zip(difference[last], error[last], strict=True)]
    spreads = [Estimate.with_error(d, e) for d, e in zip(ratio[last], ratio_error[last], strict=True)]
    verdict = all_hold(
        [within(estimate, (-allowance, allowance)) for estimate in means]
        + [within(estimate, thresholds["spread_ratio_range"]) for estimate in spreads]
    )
    fits = [fit_power_law(size, difference[:, t], error[:, t]) for t in range(difference.shape[1])]
    return {
        "law": variant.name,
        "is_control": variant.is_control,
        "verdict": verdict,
        "dimension": part["dimension"].values,
        "time": part["time"].values,
        "difference_of_means": difference,
        "standard_error": error,
        "difference_in_standard_errors": difference / error,
        "difference_times_dimension": difference * size[:, None],
        "exponent": [None if fit is None else Estimate.with_error(fit.exponent, fit.error) for fit in fits],
        "ratio_of_standard_deviations": ratio,
        "half_interval_of_ratio": NORMAL_95 * ratio_error,
        "allowance_at_largest_dimension": allowance,
    }


def _ordered(values: xr.DataArray) -> FloatArray:
    return np.asarray(values.transpose("dimension", "time").values, dtype=np.float64)


def _compare_spreads(part: xr.Dataset, reference: xr.Dataset) -> tuple[FloatArray, FloatArray]:
    """Ratio of the standard deviations and its standard error, as of normal samples: 1 / (2 (N - 1)) for each.

    At n = 100 one of 512 runs may lose its feature: the sample then has a kurtosis of 36 and more, and the error is
    3 to 4 times as large. At n = 1000, which is judged, the kurtosis is 3.
    """
    ratio = _ordered(part[_DEVIATION] / reference[_DEVIATION])
    counts = [p["replica_count"].sel(status="ok").values.astype(float) for p in (part, reference)]
    relative = np.sqrt(sum(1 / (2 * np.maximum(count - 1, 1)) for count in counts))
    return ratio, ratio * relative[:, None]
