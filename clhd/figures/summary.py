"""`Summary`: what a figure is drawn from, read from summary.zarr alone; and which axis plays which role.

| word | meaning |
|---|---|
| quantity | the output that is drawn: the cosine similarity where there is one, else the first |
| axes | dims of the grid with more than one value, and ``feature`` if there are several, in the order of the file |
| roles | the axis along x, the one told by colour, those of the columns and rows of panels; others stay at one value |
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from clhd.errors import ClhdError
from clhd.figures.words import format_plain, join_words

_QUANTITY = "cosine_similarity"
_MEAN = "_mean"
# A range that spans this factor is shown on a logarithmic scale.
_LOGARITHMIC_FROM = 20.0


@dataclass(frozen=True)
class Summary:
    """A summary that is read into memory.

    Parameters
    ----------
    dataset : xarray.Dataset
    """

    dataset: xr.Dataset

    @cached_property
    def experiment(self) -> dict[str, Any]:
        """The experiment as plain values."""
        return dict(self.dataset.attrs["experiment"])

    @property
    def name(self) -> str:
        """Of the experiment."""
        return str(self.experiment["name"])

    @cached_property
    def quantity(self) -> str:
        """Name of the output that is drawn."""
        names = [str(name).removesuffix(_MEAN) for name in self.dataset.data_vars if str(name).endswith(_MEAN)]
        if not names:
            raise ClhdError(f"summary of {self.name}: holds no mean of anything")
        return _QUANTITY if _QUANTITY in names else names[0]

    @property
    def long_name(self) -> str:
        """Of the quantity."""
        return self.quantity.replace("_", " ")

    def has(self, statistic: str) -> bool:
        """True if the summary holds this of the quantity, such as "theory"."""
        return f"{self.quantity}_{statistic}" in self.dataset

    def get(self, statistic: str) -> xr.DataArray:
        """A statistic of the quantity, such as "mean", without dims of one value; NaN where there is none."""
        if self.has(statistic):
            return self.dataset[f"{self.quantity}_{statistic}"].squeeze(self._singles)
        return xr.full_like(self.get("mean"), np.nan)

    @cached_property
    def _singles(self) -> list[Any]:
        mean = self.dataset[f"{self.quantity}{_MEAN}"]
        return [dim for dim in mean.dims if mean.sizes[dim] == 1 and dim != "time"]

    @cached_property
    def grid_axes(self) -> tuple[str, ...]:
        """Dims of the grid, also those of one value."""
        return tuple(str(dim) for dim in self.dataset["replica_count"].dims if dim != "status")

    @cached_property
    def axes(self) -> tuple[str, ...]:
        """Dims to be drawn, but for the time."""
        dims = [str(dim) for dim in self.get("mean").dims if dim != "time"]
        return tuple(sorted(dims, key=lambda dim: self.grid_axes.index(dim) if dim in self.grid_axes else len(dims)))

    @property
    def last_time(self) -> float:
        """The last output time."""
        return float(self.dataset["time"].values[-1])

    def count(self, status: str) -> xr.DataArray:
        """Replicas of each point of the grid with this status, without dims of one value."""
        counts = self.dataset["replica_count"].sel(status=status)
        return counts.squeeze([dim for dim in counts.dims if counts.sizes[dim] == 1])

    @cached_property
    def totals(self) -> dict[str, int]:
        """Replicas by status, of all points together."""
        counts = self.dataset["replica_count"]
        totals = counts.sum([dim for dim in counts.dims if dim != "status"])
        return {str(status): int(total) for status, total in zip(counts["status"].values, totals.values, strict=True)}

    @property
    def replicas(self) -> int:
        """Replicas of each point."""
        return int(self.experiment["replicas"])

    @property
    def points(self) -> int:
        """Points of the grid."""
        return int(self.count("ok").size)

    @cached_property
    def incomplete(self) -> xr.DataArray:
        """True at the points that rest on fewer replicas than were asked for."""
        return self.count("ok") < self.replicas


def read_summary(path: Path) -> Summary:
    """Read a summary.

    Raises
    ------
    ClhdError
        If there is none.
    """
    if not path.is_dir():
        raise ClhdError(f"{path}: is not there; clhd run makes it")
    with xr.open_zarr(str(path)) as dataset:
        if "experiment" not in dataset.attrs or "replica_count" not in dataset:
            raise ClhdError(f"{path}: is no summary of an experiment")
        return Summary(dataset.load())


@dataclass(frozen=True)
class Roles:
    """Which axis of a figure shows what.

    Parameters
    ----------
    x, colour, column, row : str or None
    fixed : mapping of axis to position
        The axes for which there is no role, at the one position that is drawn.
    """

    x: str
    colour: str | None
    column: str | None
    row: str | None
    fixed: dict[str, int]


def assign_roles(summary: Summary, wish: Sequence[str], *, roles: int = 4) -> Roles:
    """Give the axes of an experiment their roles: those wished for first, in the order x, colour, column, row.

    Parameters
    ----------
    summary : Summary
    wish : sequence of str
        Axes by role. Where the experiment lacks one, another axis takes its place: users change axes.
    roles : int
        How many roles the figure has. Axes beyond stay at one value: the last for a dimension, else the middle one.

    Raises
    ------
    ClhdError
        If the experiment has no axis.
    """
    chosen, fixed = share_out(summary, wish, roles)
    given = [axis for axis in chosen if axis is not None]
    if not given:
        raise ClhdError(f"summary of {summary.name}: has no axis with more than one value, so nothing can be drawn")
    colour, column, row = [*given[1:], None, None, None][:3]  # no gaps: x before colour before columns before rows
    return Roles(given[0], colour, column, row, fixed)


def share_out(summary: Summary, wish: Sequence[str], roles: int) -> tuple[list[str | None], dict[str, int]]:
    """The axis of each role, None where there is none left, and the positions of the axes without a role."""
    left = [axis for axis in summary.axes if axis not in wish]
    chosen: list[str | None] = [axis if axis in summary.axes else None for axis in wish[:roles]]
    chosen += [None] * (roles - len(chosen))
    for k, axis in enumerate(chosen):
        if axis is None and left:
            chosen[k] = left.pop(0)
    sizes = summary.get("mean").sizes
    spare = [axis for axis in summary.axes if axis not in chosen]
    return chosen, {axis: sizes[axis] - 1 if axis == "dimension" else sizes[axis] // 2 for axis in spare}


def describe_fixed(summary: Summary, fixed: Mapping[str, int]) -> str:
    """At which values the axes without a role stand, such as ``kurtosis = 3``; empty if there are none."""
    coordinates = summary.dataset.coords
    return join_words([format_plain(coordinates[a], coordinates[a].values[k]) for a, k in fixed.items()] or [""])


def thin(count: int, limit: int) -> list[int]:
    """At most `limit` positions of `count`, evenly spread, with both ends."""
    if count <= limit:
        return list(range(count))
    return sorted({round(k) for k in np.linspace(0, count - 1, limit)})


def spread_ticks(count: int, limit: int) -> list[int]:
    """At most `limit` positions of `count`, from the first on, all the same step apart."""
    return list(range(0, count, max(1, -(-(count - 1) // (limit - 1)))))


def find_places(coordinate: xr.DataArray) -> tuple[NDArray[np.float64], bool, list[str] | None]:
    """Where the values of a coordinate stand on an axis.

    Returns
    -------
    (places, logarithmic, labels)
        Numbers stand at their value, words side by side under their labels.
    """
    if coordinate.dtype.kind not in "iuf":
        return np.arange(float(coordinate.size)), False, [str(label) for label in coordinate.values]
    places = coordinate.values.astype(float)
    logarithmic = bool(places.size > 1 and places.min() > 0 and places.max() / places.min() >= _LOGARITHMIC_FROM)
    return places, logarithmic, None
