"""`measure_distances`: distances of SGD's weights to the law of the McKean-Vlasov equation, and what explains them.

Why the distance has a bound. Given the forces that all weights of a run share, its weights are independent draws, from
a law that the fluctuations of those forces shift and stretch (with L2, no more than that). By the triangle inequality
the distance is at most the sum of two, to first order in n^(-1/2):

    of N draws from F       integral of sqrt(2 F (1 - F) / (pi N))
    of the shared forces    sqrt(2 / pi) (sd(q) + sd(v) / (2 sqrt(v))),   v = r - q^2,   sd(v) <= sd(r) + 2 abs(q) sd(q)

A shift by x is a distance of x, and a stretch from sqrt(v) to sqrt(v) + x is a distance of at most x.

| symbol | name | meaning |
|---|---|---|
| F(w) | distribution | P(weight <= w) at the coordinates of one sign of the feature value |
| N | | how many coordinates have that sign |
| q, r | overlap, squared_norm | order parameters; sd(q) and sd(r): their spread over replicas |
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from itertools import product

import numpy as np

from clhd.claims.claim import Summaries
from clhd.core.lazy import xr
from clhd.sweep.results.summary_reader import Summary

Place = tuple[float, float]
_DEFAULT_LAW = "rademacher"
_ROLES = ("small", "large", "largest")


@dataclass(frozen=True)
class Distances:
    """Distances with standard errors, and the two parts that fluctuations explain; without the start.

    Parameters
    ----------
    mean, error, of_draws, of_forces : xarray.DataArray of dims (l1_penalty, time, dimension)
    variance : xarray.DataArray of the same dims
        Of the weights given the feature, r - q^2, by the equation.
    runs : xarray.DataArray of the same dims
        NaN where no experiment has the penalty, the time and the dimension.
    """

    mean: xr.DataArray
    error: xr.DataArray
    of_draws: xr.DataArray
    of_forces: xr.DataArray
    variance: xr.DataArray
    runs: xr.DataArray

    @property
    def explained(self) -> xr.DataArray:
        """The largest distance that fluctuations explain."""
        return self.of_draws + self.of_forces

    @property
    def places(self) -> dict[str, Place]:
        """All pairs of penalty and time, by name."""
        return {name_place(*place): place for place in list_places(self.mean)}

    def at(self, place: Place) -> Distances:
        """Return the distances at one penalty and time, over the dimensions that an experiment has there."""
        where = {"l1_penalty": place[0], "time": place[1]}
        known = self.runs.sel(where).notnull().values
        return Distances(*(getattr(self, field.name).sel(where).isel(dimension=known) for field in fields(self)))


def measure_distances(summaries: Summaries) -> Distances:
    """Return the distances of the roles "small", "large" and, if it is there, "largest", joined along the dimension.

    The start is left out. "largest" may have some of the penalties and times only.
    """
    parts = [_describe_distances(summaries[role]) for role in _ROLES if role in summaries]
    parts[2:] = [part.reindex({name: parts[0][name].values for name in ("l1_penalty", "time")}) for part in parts[2:]]
    joined = xr.concat(parts, "dimension", join="exact").drop_duplicates("dimension").sortby("dimension")
    joined = joined.isel(time=joined["time"].values > 0).transpose("l1_penalty", "time", "dimension")
    return Distances(
        mean=joined["mean"],
        error=joined["error"],
        of_draws=joined["of_draws"],
        of_forces=_measure_forces(joined),
        variance=joined["squared_norm"] - joined["overlap"] ** 2,
        runs=joined["runs"],
    )


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
        runs=dataset["replica_count"].sel(status="ok", drop=True).astype(float).broadcast_like(averaged["mean"]),
    )


def _measure_forces(joined: xr.Dataset) -> xr.DataArray:
    """The part that shared forces explain; spreads are pooled over dimensions, because the largest has few replicas."""
    n, runs = joined["dimension"], joined["runs"]
    total = runs.sum("dimension")  # without those that no experiment has
    overlap_spread, norm_spread = (
        np.sqrt(
            (joined[f"{name}_variance"] * n * runs).where(runs.notnull(), 0).sum("dimension", skipna=False) / total / n
        )
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


def list_places(values: xr.DataArray) -> list[Place]:
    """Return all pairs of penalty and time."""
    return list(product(values["l1_penalty"].values.tolist(), values["time"].values.tolist()))


def name_place(penalty: float, time: float) -> str:
    """Return the name of a place in the evidence."""
    return f"l1_penalty {penalty:g}, time {time:g}"
