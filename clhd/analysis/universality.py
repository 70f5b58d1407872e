"""`judge_universality`: whether the limit depends on more of noise and features than their second moments.

Full simulations with other laws are held against the projected chain at the same dimension n. The chain is exact for
Gaussian noise and orthogonal features, so that the full simulation with these is the control. At the largest n, and at
every time after the start, two things are asked of each law:

| measured | holds |
|---|---|
| difference of the mean cosine similarities | within c / n, what an Edgeworth correction of order 1/n may explain |
| ratio of their standard deviations | within a range around 1 |

The differences at the other n, in standard errors too, and their exponent where they fix one, stand beside.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from clhd.analysis.power_law import fit_power_law
from clhd.analysis.verdict import NORMAL_95, Estimate, all_hold, within
from clhd.sweep.reading import Summary

FloatArray = NDArray[np.float64]
_STATEMENT = "The limit depends on the noise and on the entries of the features through their second moments alone."
_ROLES = ("universality", "universality_student", "universality_sparse")
_MEAN, _DEVIATION, _ERROR = (f"cosine_similarity_{s}" for s in ("mean", "standard_deviation", "standard_error"))


def judge_universality(summaries: Mapping[str, Summary], thresholds: Mapping[str, Any]) -> dict[str, Any]:
    """Judge all laws that the summaries hold.

    Parameters
    ----------
    summaries : mapping of role to Summary
        ``universality``, which holds the projected chain, and any of ``universality_student``, ``universality_sparse``.
    thresholds : mapping
        ``bias_coefficient``, ``spread_ratio_range``.

    Returns
    -------
    dict
        statement, verdict, and as evidence a list with one entry for each law: its name, whether it is the control,
        its verdict, and by dimension and time the differences and ratios.
    """
    parts = [entry for role in _ROLES if role in summaries for entry in _variants(summaries[role])]
    reference = next(part for _, is_reference, part in parts if is_reference)
    entries = [_judge_law(name, part, reference, thresholds) for name, is_reference, part in parts if not is_reference]
    return {
        "statement": _STATEMENT,
        "verdict": str(all_hold(entry["verdict"] for entry in entries)),
        "evidence": {"laws": entries},
    }


def _variants(summary: Summary) -> Iterator[tuple[str, bool, xr.Dataset]]:
    """Each law of an experiment: its name, whether it is the projected chain, and its part of the summary."""
    dataset, constants = summary.dataset.isel(feature=0), summary.experiment["constants"]
    (axis,) = [name for name in summary.grid_axes if name != "dimension"]
    for k in range(dataset.sizes[axis]):
        part = dataset.isel({axis: k})
        known = {name: part[name].item() for name in ("engine", "noise_law", "feature_law") if name in part.coords}
        known = dict(constants) | known
        detail = "" if axis == "variant" else f" ({axis.replace('_', ' ')} {part[axis].item():g})"
        noise, features = (str(known.get(name, "gaussian")) for name in ("noise_law", "feature_law"))
        yield f"{noise} noise, {features} features{detail}", known.get("engine", "projected") == "projected", part


def _judge_law(name: str, part: xr.Dataset, reference: xr.Dataset, thresholds: Mapping[str, Any]) -> dict[str, Any]:
    part, reference = (p.sel(time=p["time"] > 0) for p in xr.align(part, reference, join="inner"))
    size = part["dimension"].values.astype(float)
    difference = _ordered(part[_MEAN] - reference[_MEAN])
    error = np.hypot(_ordered(part[_ERROR]), _ordered(reference[_ERROR]))
    ratio, ratio_error = _compare_spreads(part, reference)
    last = int(np.argmax(size))
    allowance = thresholds["bias_coefficient"] / size[last]
    means = [Estimate.with_error(d, e) for d, e in zip(difference[last], error[last], strict=True)]
    spreads = [Estimate.with_error(d, e) for d, e in zip(ratio[last], ratio_error[last], strict=True)]
    verdict = all_hold(
        [within(estimate, (-allowance, allowance)) for estimate in means]
        + [within(estimate, thresholds["spread_ratio_range"]) for estimate in spreads]
    )
    fits = [fit_power_law(size, difference[:, t], error[:, t]) for t in range(difference.shape[1])]
    return {
        "law": name,
        "is_control": name.startswith("gaussian noise, gaussian features"),
        "verdict": verdict,
        "dimension": part["dimension"].values,
        "time": part["time"].values,
        "difference_of_means": difference,
        "standard_error": error,
        "difference_in_standard_errors": difference / error,
        "difference_times_dimension": difference * size[:, None],
        "exponent": [None if fit is None else [fit.exponent, fit.error] for fit in fits],
        "ratio_of_standard_deviations": ratio,
        "half_interval_of_ratio": NORMAL_95 * ratio_error,
        "allowance_at_largest_dimension": allowance,
    }


def _ordered(values: xr.DataArray) -> FloatArray:
    return np.asarray(values.transpose("dimension", "time").values, dtype=np.float64)


def _compare_spreads(part: xr.Dataset, reference: xr.Dataset) -> tuple[FloatArray, FloatArray]:
    """Ratio of the standard deviations and its standard error, as of normal samples: 1 / (2 (N - 1)) for each."""
    ratio = _ordered(part[_DEVIATION] / reference[_DEVIATION])
    counts = [p["replica_count"].sel(status="ok").values.astype(float) for p in (part, reference)]
    relative = np.sqrt(sum(1 / (2 * np.maximum(count - 1, 1)) for count in counts))
    return ratio, ratio * relative[:, None]
