"""`Summary`: the summary of an experiment as figures and claims read it, from summary.zarr alone.

| word | meaning |
|---|---|
| quantity | the output that is drawn: the cosine similarity where there is one, else the first |
| axes | dims of the grid with more than one value, and ``feature`` if there are several, in the order of the file |
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from clhd.errors import ClhdError
from clhd.sweep.store.layout import check_summary, find_damaged
from clhd.sweep.store.metadata import SUMMARISE, MetadataError

_QUANTITY = "cosine_similarity"
_MEAN = "_mean"


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
            raise ClhdError(f"summary of {self.name}: holds no mean of anything; it has no simulation")
        return _QUANTITY if _QUANTITY in names else names[0]

    @property
    def long_name(self) -> str:
        """Of the quantity."""
        return self.quantity.replace("_", " ")

    def has(self, statistic: str) -> bool:
        """True if the summary holds this of the quantity, such as "theory"."""
        return f"{self.quantity}_{statistic}" in self.dataset

    def get(self, statistic: str) -> xr.DataArray:
        """A statistic of the quantity, such as "mean", without dims of one value; NaN where there is none.

        Raises
        ------
        ClhdError
            If the theory has an axis that the simulation lacks, so that they cannot be drawn side by side.
        """
        if not self.has(statistic):
            return xr.full_like(self.get("mean"), np.nan)
        values = self.dataset[f"{self.quantity}_{statistic}"].squeeze(self._singles)
        own = [
            str(dim) for dim in values.dims if dim not in {*self.dataset[f"{self.quantity}{_MEAN}"].dims, "quantile"}
        ]
        if own:
            raise ClhdError(
                f"summary of {self.name}: its theory has the axis {', '.join(own)}, which the simulation lacks, and no "
                "figure of its own shows both; declare figure: none"
            )
        return values

    @cached_property
    def _singles(self) -> list[Any]:
        mean = self.dataset[f"{self.quantity}{_MEAN}"]
        return [dim for dim in mean.dims if mean.sizes[dim] == 1 and dim != "time"]

    @cached_property
    def grid_axes(self) -> tuple[str, ...]:
        """Dims of the grid, also those of one value."""
        counts = self.dataset["replica_count" if self.has_simulation else "theory_status"]
        return tuple(str(dim) for dim in counts.dims if dim != "status")

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
        """Replicas by status, of all points together; empty without a simulation."""
        if not self.has_simulation:
            return {}
        counts = self.dataset["replica_count"]
        totals = counts.sum([dim for dim in counts.dims if dim != "status"])
        return {str(status): int(total) for status, total in zip(counts["status"].values, totals.values, strict=True)}

    @property
    def has_simulation(self) -> bool:
        """False if the experiment is theory alone."""
        return "replica_count" in self.dataset

    @property
    def replicas(self) -> int:
        """Replicas of each point; 0 without a simulation."""
        return int(self.experiment["replicas"]) if self.has_simulation else 0

    @property
    def points(self) -> int:
        """Points of the grid, of the simulation if there is one."""
        return int(self.count("ok").size if self.has_simulation else self.dataset["theory_status"].size)

    @cached_property
    def incomplete(self) -> xr.DataArray:
        """True at the points that rest on fewer replicas than were asked for."""
        return self.count("ok") < self.replicas


def read_summary(path: Path) -> Summary:
    """Read a summary.

    Raises
    ------
    ClhdError
        If there is none, or it is not what was written.
    """
    if not path.is_dir():
        raise ClhdError(f"{path}: is not there; clhd run makes it")
    check_summary(path)
    try:
        with xr.open_zarr(str(path), chunks=None, zarr_format=3) as dataset:  # all is read: no need to wait for Dask
            dataset.load()
    except Exception:  # codecs raise what they like
        damaged = find_damaged(path)
        if damaged is None:
            raise
        raise MetadataError(f"{damaged}: is damaged; {SUMMARISE}") from None
    return Summary(dataset)
