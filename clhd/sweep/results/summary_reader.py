"""`Summary`: the summary of an experiment as figures and claims read it, from summary.zarr alone.

| word | meaning |
|---|---|
| declaration | what the system says of itself, such as its size parameter and what its limit is called |
| quantity | the output that is drawn: the experiment's choice, else the declaration's, else the first |
| axes | dims of the grid and of the quantity with more than one value, in the order of the file, without the time |
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from clhd.core.lazy import xr
from clhd.errors import ClhdError, ResultsError
from clhd.sweep.spec.rounds import Sampling, parse_sampling
from clhd.sweep.store.chunk_files import ChunkFiles, read_dataset
from clhd.sweep.store.layout import check_summary
from clhd.sweep.store.metadata import SUMMARISE, MetadataError, decode_attributes
from clhd.systems.registry import find_system, list_systems
from clhd.systems.stored import Declaration, declare

_MEAN = "_mean"
_TIME = "time"
_COMPARISONS = ("_distance", "_deviation")  # X_distance_mean is of the distance of X to the theory, and no output


@dataclass(frozen=True)
class Summary:
    """A summary that is read into memory.

    Parameters
    ----------
    dataset : xarray.Dataset
    chosen : str
        The quantity to draw. If it is empty, the experiment or the declaration chooses.
    """

    dataset: xr.Dataset
    chosen: str = ""

    @cached_property
    def experiment(self) -> dict[str, Any]:
        """The experiment as plain values."""
        return dict(decode_attributes(self.dataset.attrs)["experiment"])

    @property
    def identity(self) -> str:
        """Identity of the summary: it changes with the results and the code that it rests on."""
        return str(self.dataset.attrs.get("identity", ""))

    @property
    def name(self) -> str:
        """Name of the experiment."""
        return str(self.experiment["name"])

    @cached_property
    def declaration(self) -> Declaration:
        """What the system says of itself; summaries of earlier versions lack it, and get the next best."""
        stored = decode_attributes(self.dataset.attrs).get("declaration")
        if stored is None:
            return _guess_declaration(self)
        try:
            return Declaration.model_validate(stored)
        except ValidationError as error:
            where = ".".join(map(str, error.errors()[0]["loc"]))
            raise MetadataError(f"summary of {self.name}: declaration.{where} is not known; {SUMMARISE}") from None

    @cached_property
    def quantity(self) -> str:
        """Name of the output that is drawn."""
        names = [str(name).removesuffix(_MEAN) for name in self.dataset.data_vars if str(name).endswith(_MEAN)]
        names = [name for name in names if not (name.endswith(_COMPARISONS) and name.rpartition("_")[0] in names)]
        if not names:
            raise ResultsError(f"summary of {self.name}: holds no mean of anything; it has no simulation")
        chosen = self.chosen or str(self.experiment.get("quantity") or "")
        if chosen and chosen not in names:
            raise ResultsError(f"summary of {self.name}: quantity = {chosen!r}: must be one of {', '.join(names)}")
        named = self.declaration.quantity
        return chosen or (named if named in names else names[0])

    @property
    def long_name(self) -> str:
        """Name of the quantity for people."""
        return self.name_output(self.quantity)

    def name_output(self, output: str) -> str:
        """Return the name of an output for people."""
        words = str(self.dataset[f"{output}{_MEAN}"].attrs.get("long_name") or output.replace("_", " "))
        return words.removeprefix("mean of the ")

    @property
    def size(self) -> str:
        """The parameter by which the spread of the theory scales; empty if there is none."""
        return self.declaration.size

    @property
    def limit(self) -> str:
        """What the theory is called, such as "limit of many units"."""
        return self.declaration.limit or "theory"

    @property
    def component(self) -> str:
        """The dim of the components; empty if there is none."""
        return self.declaration.components.removesuffix("s")

    def has(self, statistic: str) -> bool:
        """True if the summary holds this statistic of the quantity, such as "theory", somewhere."""
        name = f"{self.quantity}_{statistic}"
        return name in self.dataset and bool(self.dataset[name].notnull().any())

    def get(self, statistic: str) -> xr.DataArray:
        """A statistic of the quantity, such as "mean", without dims of one value; NaN where there is none.

        Raises
        ------
        ClhdError
            If the theory has an axis that the simulation lacks, so that they cannot be drawn side by side.
        """
        name, mean = f"{self.quantity}_{statistic}", self.dataset[f"{self.quantity}{_MEAN}"]
        if name not in self.dataset:
            return xr.full_like(self.get("mean"), np.nan)
        values = self.dataset[name].squeeze([dim for dim in mean.dims if mean.sizes[dim] == 1 and dim != _TIME])
        own = [str(dim) for dim in values.dims if dim not in {*mean.dims, "quantile"}]
        if own:
            raise ResultsError(
                f"summary of {self.name}: its theory has the axis {', '.join(own)}, which the simulation lacks, and no "
                "figure of its own shows both; declare figure: none"
            )
        return values

    def get_last(self, statistic: str) -> xr.DataArray:
        """A statistic of the quantity at the last time, if it has times; see `get`."""
        values = self.get(statistic)
        return values.isel({_TIME: -1}) if _TIME in values.dims else values

    @cached_property
    def grid_axes(self) -> tuple[str, ...]:
        """Dims of the grid, also those of one value."""
        counts = self.dataset["replica_count" if self.has_simulation else "theory_status"]
        return tuple(str(dim) for dim in counts.dims if dim != "status")

    @cached_property
    def axes(self) -> tuple[str, ...]:
        """Dims to be drawn, without the time."""
        dims = [str(dim) for dim in self.get("mean").dims if dim != _TIME]
        return tuple(sorted(dims, key=lambda dim: self.grid_axes.index(dim) if dim in self.grid_axes else len(dims)))

    @property
    def has_times(self) -> bool:
        """True if the quantity has a time."""
        return _TIME in self.dataset[f"{self.quantity}{_MEAN}"].dims

    @property
    def last_time(self) -> float:
        """The last output time."""
        return float(self.dataset[_TIME].values[-1])

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
        if self.wanted is not None:
            counts = counts.where(self.wanted, 0)
        totals = counts.sum([dim for dim in counts.dims if dim != "status"])
        return {str(status): int(total) for status, total in zip(counts["status"].values, totals.values, strict=True)}

    @property
    def has_simulation(self) -> bool:
        """False if the experiment is theory alone."""
        return "replica_count" in self.dataset

    @property
    def replicas(self) -> int:
        """Replicas of each point, or the most; 0 without a simulation."""
        return self.sampling.most if self.has_simulation else 0

    @property
    def sampling(self) -> Sampling:
        """How many replicas each point gets."""
        return parse_sampling(self.experiment["replicas"], minimum=0)

    @property
    def points(self) -> int:
        """Points of the grid, of the simulation if there is one."""
        points = self.count("ok") if self.has_simulation else self.dataset["theory_status"]
        if self.wanted is not None:
            return int((xr.ones_like(points) * self.wanted.any(_list_others(self.wanted, points))).sum())
        return int(points.size)

    @cached_property
    def incomplete(self) -> xr.DataArray:
        """True at the points that rest on fewer replicas than were asked for."""
        return self.count("ok") < self.asked

    @cached_property
    def asked(self) -> xr.DataArray:
        """Replicas of each point that were asked for, whatever became of them, without dims of one value."""
        counts = self.dataset["replica_count"].sum("status")
        counts = counts.squeeze([dim for dim in counts.dims if counts.sizes[dim] == 1])
        return counts if self.wanted is None else counts * self.wanted.any(_list_others(self.wanted, counts))

    @cached_property
    def wanted(self) -> xr.DataArray | None:
        """True at the points of a refined experiment that it wants; None if it is not refined."""
        rounds = self.dataset.get("refinement_round")
        return None if rounds is None else rounds >= 0


def _list_others(values: xr.DataArray, other: xr.DataArray) -> list[Any]:
    """The dims that another array lacks."""
    return [dim for dim in values.dims if dim not in other.dims]


def _guess_declaration(summary: Summary) -> Declaration:
    """What an installed system says of itself today; if there is none, what the summary shows."""
    name = str(summary.experiment.get("system", ""))
    if name in list_systems():
        with suppress(ClhdError):
            return declare(find_system(name), summary.experiment.get("constants", {}), "")
    return Declaration(
        title=name,
        time={"long_name": "time"} if _TIME in summary.dataset.coords else None,
        size="",
        limit="",
        quantity="",
        components="",
        equations="",
        sources=[],
        source="",
        simulates=summary.has_simulation,
        predicts="theory_status" in summary.dataset,
        per_replica=False,
        parameters={},
        distributions={},
        may_be_nan=[],
    )


def read_summary(path: Path, chosen: str = "") -> Summary:
    """Read a summary.

    Parameters
    ----------
    chosen : str
        The quantity to draw; see `Summary`.

    Raises
    ------
    ClhdError
        If it does not exist, or is not what was written.
    """
    if not path.is_dir():
        raise ResultsError(f"{path}: does not exist; create it with `clhd run FILE`")
    return Summary(read_dataset(ChunkFiles(path, check_summary(path))), chosen)
