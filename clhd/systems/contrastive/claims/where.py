"""`read_places`, `count_places`: where in the model's parameters negatively correlated noise does better, and by what.

A place is a point of a map without its axis ``noise``. That axis has four entries, all with one variance of the
augmentation noise but the first: no such noise, independent noise, correlation -1, and correlation -1 in the gradient
variance alone.

| symbol | name | meaning |
|---|---|---|
| S | ``none``, ``independent``, ``negative``, ``switched`` | similarity at rest, 0 if nothing is learned |
| | ``gain`` | S(-1) - S(0): negative minus independent |
| | ``over_none`` | S(-1) - S(no augmentation noise) |
| | ``part`` | of the gain: that which the gradient variance alone gives, over the whole |
| D | ``variance_change`` | D(-1) / D(0) - 1 at the same state, the start |
"""

from __future__ import annotations

from typing import Any

import numpy as np

from clhd.core.lazy import xr
from clhd.sweep.results.summary_reader import Summary
from clhd.systems.contrastive.claims.learned import LEAST_OVERLAP, REST, learned_similarity, share_of_places

VARIANCE, BASE = "augmentation_noise_variance", "base_noise_variance"
_OF_NOISE = ("noise", VARIANCE, "noise_correlation", "correlation_acts_on")


def read_places(summary: Summary) -> xr.Dataset:
    """Return the quantities of the table above over the places of a map.

    The summary is of the theory, with the dim ``noise``.

    Returns
    -------
    Dataset
        Without unit; NaN where a state is not at rest or not known, ``part`` also where there is no gain. The attribute
        ``variance`` is the variance of the augmentation noise.
    """
    theory = summary.dataset
    negative, independent = _find_noise(theory, -1, "both"), _find_noise(theory, 0, "both")
    switched = _find_noise(theory, -1, "gradient_variance")
    found = xr.Dataset(
        {
            "none": learned_similarity(_take(theory, int(np.argmin(theory[VARIANCE].values)))),
            "independent": learned_similarity(_take(theory, independent)),
            "negative": learned_similarity(_take(theory, negative)),
            "switched": _switched_similarity(_take(theory, switched)),
        }
    )
    gain = found["negative"] - found["independent"]
    start = theory["gradient_variance_theory"].isel(time=0, drop=True)
    found["gain"], found["over_none"] = gain, found["negative"] - found["none"]
    found["part"] = ((found["switched"] - found["independent"]) / gain).where(gain > 0)
    found["variance_change"] = start.isel(noise=negative, drop=True) / start.isel(noise=independent, drop=True) - 1
    found = found.drop_vars([name for name in _OF_NOISE if name in found.coords])
    return found.assign_attrs(variance=float(theory[VARIANCE].values[negative]))


def _find_noise(theory: xr.Dataset, correlation: float, acts_on: str) -> int:
    """Position of the noise with this correlation."""
    is_it = (theory[VARIANCE] > 0) & (theory["noise_correlation"] == correlation)
    return int(np.flatnonzero(is_it & (theory["correlation_acts_on"] == acts_on))[0])


def _take(theory: xr.Dataset, noise: int) -> xr.Dataset:
    return theory.isel(noise=noise, drop=True)


def _switched_similarity(theory: xr.Dataset) -> xr.DataArray:
    """As `learned_similarity`, of a switched theory, which has no growth rate: the overlap alone decides."""
    similarity, overlap = (
        theory[f"{name}_theory"].isel(feature=0, drop=True) for name in ("cosine_similarity", "overlap")
    )
    at_end, end_overlap = (values.isel(time=-1, drop=True) for values in (similarity, overlap))
    is_learned = end_overlap > LEAST_OVERLAP
    is_at_rest = abs(at_end - similarity.isel(time=-2, drop=True)) < REST
    return at_end.where(is_learned, 0.0).where(np.isfinite(end_overlap) & (is_at_rest | ~is_learned))


def in_letters_model(places: xr.Dataset) -> xr.Dataset:
    """Return the places with orthogonal background and a nonlinear unit."""
    nonlinear = np.flatnonzero(places["activation"].values != "linear")
    return places.isel(case=nonlinear).sel(background="orthogonal")


def marks(places: xr.Dataset, least_change: float, least_part: float) -> dict[str, xr.DataArray]:
    """Return by statement, over the places: 1 if it is true, 0 if not, -1 if nothing is learned, NaN if not known.

    Parameters
    ----------
    places : Dataset
        From `read_places`.
    least_change : float
        Change of the similarity that counts as one.
    least_part : float
        Part of the gain that the gradient variance alone must give.
    """
    gain = places["gain"]
    is_learned = (places["negative"] > 0) | (places["independent"] > 0)
    better = gain > least_change
    statements = {
        "better_than_independent": better,
        "worse_than_independent": gain < -least_change,
        "better_than_none": places["over_none"] > least_change,
        "by_gradient_variance": better & (places["part"] > least_part),
        "gradient_variance_alone_gains": better & (places["switched"] - places["independent"] > least_change),
        "gradient_variance_smaller": places["variance_change"] < 0,
    }
    is_known = gain.notnull()
    known = dict.fromkeys(statements, is_known)
    known["better_than_none"] = is_known & places["none"].notnull()
    for name in ("by_gradient_variance", "gradient_variance_alone_gains"):
        known[name] = is_known & (places["switched"].notnull() | ~better)
    return {
        name: true.astype(float).where(is_learned | ~known[name], -1.0).where(known[name])
        for name, true in statements.items()
    }


def count_places(places: xr.Dataset, least_change: float, least_part: float) -> dict[str, Any]:
    """Return of each statement the share of the places that learn something, and how many these are."""
    return _count(marks(places, least_change, least_part))


def _count(found: dict[str, xr.DataArray]) -> dict[str, Any]:
    first = found["better_than_independent"]
    counts: dict[str, Any] = {"places": first.size, "places_that_learn": int((first >= 0).sum())}
    counts["places_unknown"] = int(np.isnan(first).sum())
    return counts | {name: share_of_places(values) for name, values in found.items()}


def list_parts(places: xr.Dataset, least_change: float, least_part: float) -> dict[str, dict[str, Any]]:
    """Return `count_places` of parts of a map: each case with each batch, and each base noise and rate."""
    found = marks(places, least_change, least_part)
    batches = places["batch"].values if "batch" in places.dims else [None]
    parts = {}
    for background in places["background"].values:
        for case in places["case"].values:
            for batch in batches:
                where = {"background": background, "case": case} | ({} if batch is None else {"batch": batch})
                name = f"{background}, {case}" + ("" if batch is None else f", batch={batch}")
                parts[name] = _count({statement: values.sel(where) for statement, values in found.items()})
    return parts
