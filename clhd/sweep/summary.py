"""`write_summary`: statistics over the replicas, the theory beside them, and what they rest on.

For each output X of the simulation, with the dims of the grid and of X, without the replica:

| variable | meaning |
|---|---|
| X_mean, X_standard_deviation, X_standard_error | over the replicas whose status is ok |
| X_quantile (quantile) | 5, 25, 50, 75 and 95 % of them; not with ``keep: moments`` |
| X_theory | limit of infinite dimension |
| X_theory_standard_deviation | predicted spread at this dimension, fluctuation / sqrt(n) |
| X_distance_mean, X_distance_standard_error | of a distribution function X: how far a replica is from the theory |
| X_z_score | (mean - theory) / standard error: a bias of order 1/n shows in it |
| replica_count (status) | replicas of each status |
| theory_status | of the prediction |

The distance of distribution functions is Wasserstein-1, the integral of abs(X - X_theory), by the trapezoid rule; it
needs every replica, and so is not there with ``keep: moments``. An output of the theory that the simulation lacks is
there as X_theory alone, along the axes that the theory has; an experiment without a simulation has nothing else. A
point at which a quantity could not be had is NaN; a damaged chunk is an error, never averaged in.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from clhd.errors import explain_unwritable
from clhd.sweep.blocks import chunk_counts, chunk_region, widen_chunks
from clhd.sweep.create import remove_tree, write_sealed
from clhd.sweep.experiment import Experiment
from clhd.sweep.lock import hold_lock
from clhd.sweep.moments import pool_blocks
from clhd.sweep.prepare import open_road, positions_in
from clhd.sweep.provenance import describe_code, now
from clhd.sweep.road import Road
from clhd.sweep.store import Store, StoreError
from clhd.systems import find_system
from clhd.systems.base import Status

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
# Of an output, that are read at once: sorting them for the quantiles takes a few times their memory.
_MOST_NUMBERS = 2**22
_STATISTICS = ("mean", "standard_deviation", "standard_error")
FloatArray = NDArray[np.float64]


def write_summary(experiment: Experiment, results: Path, *, wait: bool = False) -> Path:
    """Summarise what is known of an experiment, and write it as one store; one that is half written has another name.

    Parameters
    ----------
    experiment : Experiment
    results : Path
        Folder of all results.
    wait : bool
        Wait for another process that writes it, instead of refusing.

    Returns
    -------
    Path
        Of the summary.

    Raises
    ------
    ClhdError
        If there is no simulation, it belongs to another experiment, or the summary cannot be written.
    DamagedChunkError
        If a chunk is damaged: names its file, and the command that recomputes it.
    """
    path = results / experiment.name / "summary.zarr"
    with hold_lock(path, wait=wait):
        folders = _identify_stores(path.parent)
        dataset = summarise(experiment, results)
        if _identify_stores(path.parent) != folders:
            raise StoreError(f"{path.parent}: has grown while it was summarised; do it again")
        with explain_unwritable(path):
            _replace(path, dataset)
    return path


def _identify_stores(folder: Path) -> list[tuple[int, int]]:
    """What tells the folders of stores from others that take their names; in a store that grows, chunks move."""
    found = [folder / f"{kind}.zarr" for kind in ("simulation", "theory")]
    return [(state.st_dev, state.st_ino) for state in (path.stat() for path in found if path.is_dir())]


def _replace(path: Path, dataset: xr.Dataset) -> None:
    """Write a dataset beside its place, then change the names: under its own name it is always whole, or not there."""
    unfinished, old = path.with_name(f".{path.name}.new"), path.with_name(f".{path.name}.old")
    for stray in (unfinished, old):
        remove_tree(stray)
    write_sealed(dataset, unfinished)
    if path.exists():
        path.rename(old)
    unfinished.rename(path)
    remove_tree(old)


def summarise(experiment: Experiment, results: Path) -> xr.Dataset:
    """The summary of an experiment as a dataset; raises as `write_summary` does."""
    summary = xr.Dataset()
    if Road(experiment, "simulation").outputs.variables:
        summary = _summarise_simulation(experiment, results)
    if Road(experiment, "theory").outputs.variables:
        summary = _add_theory(summary, experiment, results)
        summary = _add_distances(summary, experiment, results)
    for variable in summary.variables.values():
        variable.encoding = {}
    summary.attrs = {
        "title": f"summary of {experiment.name}",
        "description": experiment.description,
        "experiment": experiment.resolved(),
        "code": describe_code(),
        "created": now(),
    }
    return summary


def _summarise_simulation(experiment: Experiment, results: Path) -> xr.Dataset:
    """Statistics over the replicas, along all axes that the simulation has."""
    wanted, store, room = open_road(experiment, "simulation", results)
    variables: dict[str, xr.Variable] = {}
    statistics, counts = (_pool if wanted.has_moments else _reduce_replicas)(store, wanted)
    axes = tuple(axis.name for axis in wanted.grid.axes)
    positions = dict(zip(axes, positions_in(room, wanted)[: len(axes)], strict=True))
    for name, output in wanted.outputs.variables.items():
        dims, words = axes + output.dims, dict(output.words)
        for statistic in _STATISTICS:
            label = {"long_name": f"{statistic.replace('_', ' ')} of the {words['long_name']}"}
            variables[f"{name}_{statistic}"] = xr.Variable(dims, statistics[name, statistic], words | label)
        if wanted.has_moments:
            continue
        label = {"long_name": f"quantiles of the {words['long_name']}"}
        variables[f"{name}_quantile"] = xr.Variable((*dims, "quantile"), statistics[name, "quantile"], words | label)
    words = {"long_name": "number of replicas", "units": "1", "description": "by status; the statistics rest on ok"}
    variables["replica_count"] = xr.Variable((*axes, "status"), counts, words)
    summary = xr.Dataset(variables).isel(positions)
    with xr.open_zarr(str(store.path), chunks=None, zarr_format=3) as simulation:
        kept = [name for name in simulation.coords if store.dims[-1] not in simulation[name].dims]
        coordinates = simulation[kept].isel(positions).load().coords
    names = [status.name.lower() for status in Status]
    if not wanted.has_moments:
        words = {"long_name": "quantile", "units": "1", "description": "level"}
        summary = summary.assign_coords(quantile=("quantile", np.array(QUANTILES), words))
    return summary.assign_coords(coordinates).assign_coords(
        status=("status", np.array(names, dtype=np.dtypes.StringDType()), {"long_name": "status", "units": "1"}),
    )


def _pool(store: Store, wanted: Road) -> tuple[dict[tuple[str, str], FloatArray], NDArray[np.int32]]:
    """Statistics over the first blocks of replicas of each point, by output and name, and counts by status."""
    region = (*(slice(None) for _ in store.shape[:-1]), slice(0, wanted.entries))
    status, size = store.read("status", region), store.entry_size
    was_run = (status == Status.OK) | (status == Status.DIVERGED) | (status == Status.NOT_CONVERGED)
    counts = np.zeros((*status.shape[:-1], len(Status)), np.int32)
    for code in (Status.NOT_RUN, Status.FAILED):
        counts[..., int(code)] = size * (status == code).sum(axis=-1)
    for code, name in ((Status.OK, "ok_count"), (Status.DIVERGED, "diverged_count")):
        counts[..., int(code)] = np.where(was_run, store.read(name, region), 0).sum(axis=-1)
    counts[..., int(Status.NOT_CONVERGED)] = size * status.shape[-1] - counts.sum(axis=-1)
    out = {}
    for name in wanted.outputs.variables:
        moments = [
            np.moveaxis(store.read(f"{name}_{moment}", region), status.ndim - 1, 0)
            for moment in ("count", "mean", "squares")
        ]
        for statistic, values in zip(_STATISTICS, pool_blocks(*moments), strict=True):
            out[name, statistic] = values
    return out, counts


def _reduce_replicas(store: Store, wanted: Road) -> tuple[dict[tuple[str, str], FloatArray], NDArray[np.int32]]:
    """Statistics over the first replicas of each point, by output and name, and counts by status; part by part."""
    shape = store.shape[:-1]
    chunks = widen_chunks(shape, store.chunks[:-1], _MOST_NUMBERS // (store.shape[-1] * _count_largest(store)))
    out: dict[tuple[str, str], FloatArray] = {}
    counts = np.zeros((*shape, len(Status)), np.int32)
    for name in store.outputs:
        tail = store.group[name].shape[len(store.shape) :]  # type: ignore[union-attr]
        for statistic in _STATISTICS:
            out[name, statistic] = np.full(shape + tail, np.nan)
        out[name, "quantile"] = np.full((*shape, *tail, len(QUANTILES)), np.nan)
    for index in np.ndindex(*chunk_counts(shape, chunks)):
        part = chunk_region(index, shape, chunks)
        region = (*part, slice(0, wanted.entries))
        status = store.read("status", region)
        for code in Status:
            counts[..., int(code)][part] = (status == code).sum(axis=-1)
        is_ok = status == Status.OK
        for name in store.outputs:
            values = store.read(name, region)
            values[~is_ok] = np.nan
            values = np.moveaxis(values, status.ndim - 1, 0)  # replicas first
            mean, deviation, error, quantiles = compute_statistics(values)
            out[name, "mean"][part], out[name, "standard_deviation"][part] = mean, deviation
            out[name, "standard_error"][part], out[name, "quantile"][part] = error, quantiles
    return out, counts


def _count_largest(store: Store) -> int:
    """Numbers of one replica in the largest output."""
    return max(math.prod(store.group[name].shape[len(store.shape) :]) for name in store.outputs)  # type: ignore[union-attr]


def compute_statistics(values: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Mean, standard deviation, standard error and quantiles along the first dim, without the NaN.

    Parameters
    ----------
    values : array of shape (replica, ...)

    Returns
    -------
    arrays of shape (...), and (..., quantile)
        NaN where there are too few values: none, or for deviation and error one.
    """
    count = np.isfinite(values).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.nansum(values, axis=0) / count
        deviation = np.sqrt(np.nansum((values - mean) ** 2, axis=0) / (count - 1))
        deviation[count < 2] = np.nan
        error = deviation / np.sqrt(count)
    ordered = np.sort(values, axis=0)  # NaN last
    quantiles = []
    for level in QUANTILES:
        place = level * np.maximum(count - 1, 0)
        below = np.floor(place).astype(np.intp)
        above = np.minimum(below + 1, np.maximum(count - 1, 0))
        low = np.take_along_axis(ordered, below[None], axis=0)[0]
        high = np.take_along_axis(ordered, above[None], axis=0)[0]
        quantiles.append(low + (place - below) * (high - low))
    return mean, deviation, error, np.stack(quantiles, axis=-1)


def _add_theory(summary: xr.Dataset, experiment: Experiment, results: Path) -> xr.Dataset:
    """Put the theory beside the simulation, along all axes of both."""
    wanted, store, room = open_road(experiment, "theory", results)
    positions = dict(zip((axis.name for axis in wanted.grid.axes), positions_in(room, wanted), strict=True))
    with xr.open_zarr(str(store.path), chunks=None, zarr_format=3) as opened:
        for name in ("status", *store.outputs):
            store.read(name)  # a damaged chunk is named here
        status = opened["status"].isel(positions).load()  # first: a task that is writing just now writes it last
        theory = opened[store.outputs].isel(positions).load()
    is_known = (status != Status.NOT_RUN) & (status != Status.FAILED)
    theory = theory.where(is_known).assign(status=status)
    summary["theory_status"] = theory["status"]
    axes = [axis.name for axis in experiment.axes]
    for name, output in wanted.outputs.variables.items():
        if f"{name}_mean" in summary:
            _add_comparison(summary, theory, name, [*axes, *output.dims], _find_size(summary, experiment))
        elif f"{name.removesuffix('_fluctuation')}_mean" not in summary:  # that of a mean stands beside it already
            label = {"long_name": f"theory of the {output.words['long_name']}"}
            summary[f"{name}_theory"] = theory[name].assign_attrs(dict(output.words) | label)
    return summary


def _add_comparison(
    summary: xr.Dataset, theory: xr.Dataset, name: str, order: Sequence[str], size: xr.DataArray | None
) -> None:
    """Add the theory of a simulated quantity, along its axes and those that only the theory has, and the z-score."""
    mean = summary[f"{name}_mean"]
    words = {key: value for key, value in theory[name].attrs.items() if key != "long_name"}
    long_name = theory[name].attrs["long_name"]

    def add(key: str, text: str, values: xr.DataArray, **more: str) -> None:
        values, _ = xr.broadcast(values, mean)
        values = values.transpose(*(dim for dim in order if dim in values.dims))
        summary[f"{name}_{key}"] = values.assign_attrs(words | {"long_name": f"{text} of the {long_name}"} | more)

    add("theory", "theory", theory[name])
    if f"{name}_fluctuation" in theory and size is not None:
        spread = theory[f"{name}_fluctuation"] / np.sqrt(size)
        add("theory_standard_deviation", "predicted standard deviation", spread)
    error = summary[f"{name}_standard_error"]
    score = (mean - theory[name]) / error.where(error > 0)
    description = "(mean - theory) / standard error"
    add("z_score", "z-score", score, symbol=f"z({words['symbol']})", description=description)


def _add_distances(summary: xr.Dataset, experiment: Experiment, results: Path) -> xr.Dataset:
    """How far the distribution functions of the replicas are from that of the theory, where both have one."""
    outputs = Road(experiment, "simulation").outputs.variables
    along = {name: output.distribution_along for name, output in outputs.items() if f"{name}_theory" in summary}
    if not any(along.values()) or Road(experiment, "simulation").has_moments:
        return summary
    wanted, store, room = open_road(experiment, "simulation", results)
    names = [*(axis.name for axis in wanted.grid.axes), "replica"]
    positions = dict(zip(names, positions_in(room, wanted), strict=True))
    with xr.open_zarr(str(store.path), chunks=None, zarr_format=3) as opened:
        simulation = opened[["status", *(name for name, dim in along.items() if dim)]].isel(positions).load()
    for name, dim in along.items():
        if dim is None:
            continue
        values = simulation[name].where(simulation["status"] == Status.OK)
        distance = abs(values - summary[f"{name}_theory"]).integrate(dim)
        rest = [d for d in summary[f"{name}_mean"].dims if d != dim]
        rest += [d for d in distance.dims if d not in (*rest, "replica")]  # axes that only the theory has
        mean, _, error, _ = compute_statistics(distance.transpose("replica", *rest).values)
        long_name = outputs[name].words["long_name"]
        for statistic, array in (("mean", mean), ("standard_error", error)):
            words = {"long_name": f"{statistic.replace('_', ' ')} of the distance of the {long_name}"}
            words |= {"symbol": "W_1", "units": "1", "description": "Wasserstein-1, of a replica to the theory"}
            summary[f"{name}_distance_{statistic}"] = xr.Variable(rest, array, words)
    return summary


def _find_size(summary: xr.Dataset, experiment: Experiment) -> xr.DataArray | None:
    """The size n of each point: a coordinate, or a constant."""
    name = find_system(experiment.system).size
    if name in summary.coords:
        return summary[name].astype(float)
    value = experiment.constants.get(name)
    return None if value is None else xr.DataArray(float(value))  # type: ignore[arg-type]
