"""What judges measure of a summary: estimates of means by point, and how far counts are from what they should be."""

from __future__ import annotations

import numpy as np

from clhd.claims.verdict import Estimate
from clhd.core.lazy import xr


def list_means(data: xr.Dataset, output: str, *, among: int | None = None) -> dict[str, Estimate]:
    """Return the mean of an output at each point, by the point as text, such as ``speed = 3``.

    The data are those of a summary, with its ``replica_count``. All intervals hold together, or `among` of them, if it
    is given.
    """
    runs = data["replica_count"].sel(status="ok")
    mean, error, runs = xr.broadcast(data[f"{output}_mean"], data[f"{output}_standard_error"], runs)
    places = [
        ", ".join(f"{dim} = {mean[dim].values[k]}" for dim, k in zip(mean.dims, place, strict=True))
        for place in np.ndindex(mean.shape)
    ]
    return dict(zip(places, Estimate.of_all(mean, error, among=among, runs=runs), strict=True))


def find_largest_difference(data: xr.Dataset, output: str, expected: xr.DataArray | float) -> float:
    """Return how far an output is from a number that every run should have; NaN if one is not known.

    Runs that differ from each other count too: the standard deviation is added to the difference of the mean.
    """
    difference = abs(data[f"{output}_mean"] - expected) + data[f"{output}_standard_deviation"]
    return float(difference.max(skipna=False))
