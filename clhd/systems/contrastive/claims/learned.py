"""`learned_similarity`, `falls_along`: what the steady states of a map of parameters say of a monotone statement.

| word | meaning |
|---|---|
| learned | a small overlap grows at the uninformative state, and the overlap is not small at the end |
| at rest | between the last two times the cosine similarity changed by less than `REST` |
| place | a point of the map without the axis along which it is asked whether the similarity falls |

"Learned" is not a cut on the cosine similarity: a weight that dies on the way may keep a direction (docs/theory.md).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from clhd.claims.verdict import Estimate
from clhd.core.arrays import FloatArray
from clhd.core.lazy import xr
from clhd.sweep.results.summary_reader import Summary

REST = 1e-4
LEAST_OVERLAP = 0.01
_ONLY: Any = {"feature": 0, "drop": True}


def learned_similarity(theory: xr.Dataset) -> xr.DataArray:
    """Return the cosine similarity of the first feature at the last time, by theory.

    Parameters
    ----------
    theory : Dataset
        Of a summary; holds ``overlap_theory``, ``cosine_similarity_theory`` and ``growth_rate_theory``.

    Returns
    -------
    DataArray
        Over the grid, without unit: 0 where nothing is learned, NaN where the state is not at rest or not known.
    """
    similarity, overlap = (theory[f"{name}_theory"].isel(**_ONLY) for name in ("cosine_similarity", "overlap"))
    at_end, end_overlap = similarity.isel(time=-1, drop=True), overlap.isel(time=-1, drop=True)
    is_learned = (theory["growth_rate_theory"].isel(**_ONLY) > 0) & (end_overlap > LEAST_OVERLAP)
    is_at_rest = abs(at_end - similarity.isel(time=-2, drop=True)) < REST
    is_known = np.isfinite(end_overlap) & (is_at_rest | ~is_learned)
    return at_end.where(is_learned, 0.0).where(is_known)


def falls_along(similarity: xr.DataArray, axis: str, least_change: float) -> xr.DataArray:
    """Return whether the similarity falls at each step along the axis; steps between points that learn nothing are out.

    Parameters
    ----------
    similarity : DataArray
        From `learned_similarity`; any dims, the axis among them.
    axis : str
        Along it the values rise.
    least_change : float
        By which a step must fall.

    Returns
    -------
    DataArray
        Over the places: 1 if it does, 0 if not, -1 if nothing is learned anywhere, NaN if it is not known.
    """
    values = similarity.transpose(..., axis)
    change = values.diff(axis).values
    matters = (values.values[..., 1:] != 0) | (values.values[..., :-1] != 0)
    falls = np.where(np.all((change < -least_change) | ~matters, axis=-1), 1.0, 0.0)
    falls[~matters.any(axis=-1)] = -1
    falls[np.isnan(values.values).any(axis=-1)] = np.nan
    return xr.full_like(values.isel({axis: 0}, drop=True), 0.0).copy(data=falls)


def share_of_places(falls: xr.DataArray) -> Estimate:
    """Return the share of the places that learn something where it falls; unknown places may count either way."""
    found = falls.values[np.isfinite(falls.values) & (falls.values >= 0)]
    unknown, fell = int(np.isnan(falls.values).sum()), float(found.sum())
    if len(found) == 0:
        return Estimate.exact(np.nan)
    total = len(found) + unknown
    return Estimate(fell / len(found), fell / total, (fell + unknown) / total)


def list_places(is_listed: xr.DataArray) -> list[dict[str, float]]:
    """Return the coordinates of the places where this is true."""
    names = [str(dim) for dim in is_listed.dims]
    positions = np.argwhere(is_listed.values)
    return [
        {name: float(is_listed[name].values[k]) for name, k in zip(names, position, strict=True)}
        for position in positions
    ]


def describe_share(falls: xr.DataArray) -> dict[str, Any]:
    """Return share and numbers of the places, and where it does not fall; unknown places include those not at rest."""
    return {
        "share": share_of_places(falls),
        "places_with_something_learned": int((falls >= 0).sum()),
        "places_unknown": int(np.isnan(falls).sum()),
        "exceptions": list_places(falls == 0),
    }


def steps(mean: FloatArray, error: FloatArray, *, among: int) -> list[Estimate]:
    """Return the changes of a mean between successive points of independent runs.

    Parameters
    ----------
    mean, error : arrays of shape (point,)
        Means with their standard errors, in the same unit.
    among : int
        How many steps are judged together, these included.
    """
    return Estimate.of_all(np.diff(mean), np.hypot(error[1:], error[:-1]), among=among)


def steps_by_sgd(summary: Summary, axis: str, *, among: int, **place: Any) -> list[Estimate]:
    """Return the changes of SGD's mean similarity along an axis, of the first feature, at the last time and largest n.

    Parameters
    ----------
    summary : Summary
        With the simulated cosine similarity.
    axis : str
    among : int
        As for `steps`.
    **place
        Values of the coordinates; what remains but the axis has one value.

    Returns
    -------
    list of Estimate
        One for each step from a value of the axis to the next, without unit.
    """
    point = at_largest_dimension(summary).sel(place).isel(time=-1, feature=0).squeeze()
    mean, error = (point[f"cosine_similarity_{name}"].transpose(axis).values for name in ("mean", "standard_error"))
    return steps(mean, error, among=among)


def describe_last_change(dataset: xr.Dataset) -> dict[str, Any]:
    """Return how far from rest a setting is: the last two times, and the largest change of the similarity between them.

    Parameters
    ----------
    dataset : Dataset
        Of a summary, with the dims time and feature, of which the first is taken.

    Returns
    -------
    dict
        ``from_time``, ``to_time``, and of ``sgd`` (the mean over runs) and ``theory``, as far as there is such a stage,
        the largest change over all points; NaN if it is known nowhere.
    """
    found: dict[str, Any] = dict(zip(("from_time", "to_time"), dataset["time"].values[-2:].tolist(), strict=True))
    for stage, name in (("sgd", "cosine_similarity_mean"), ("theory", "cosine_similarity_theory")):
        if name in dataset:
            similarity = dataset[name].isel(feature=0)
            change = abs(similarity.isel(time=-1) - similarity.isel(time=-2)).values
            found[stage] = float(np.nanmax(change)) if np.isfinite(change).any() else float("nan")
    return found


def steps_by_theory(similarity: xr.DataArray, axis: str) -> list[Estimate]:
    """Return the changes of the theory's similarity between successive values of its only axis, without errors."""
    return [Estimate.exact(float(change)) for change in similarity.squeeze().diff(axis).values]


def at_largest_dimension(summary: Summary) -> xr.Dataset:
    """Return the dataset at the largest dimension, or all of it if it has no dimension."""
    dataset = summary.dataset
    return dataset.sel(dimension=int(dataset["dimension"].max())) if "dimension" in dataset.dims else dataset
