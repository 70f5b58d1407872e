"""`reduce_runs` computes statistics over the replicas of each point of a store, and their number by status.

| statistic | over the replicas whose status is ok |
|---|---|
| mean, standard_deviation, standard_error | NaN for no replica; the last two also for one |
| quantile | at the levels `QUANTILES`; not with ``keep: moments`` |

A store of replicas may be larger than memory, so it is read part by part. A store of moments is small.

`add_theory` and `add_distances` put the theory beside the simulation in a summary.

| case | X_theory | z-score |
|---|---|---|
| one prediction for each point | the prediction | (mean - theory) / standard error |
| one prediction for each run (``per_replica``) | mean of the predictions | mean of run minus prediction, by its error |

Where the runs of a point differ by rounding alone there is no z-score.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clhd.core.arrays import FloatArray, IntArray
from clhd.core.lazy import xr
from clhd.sweep.plan.blocks import chunk_counts, chunk_region, widen_chunks
from clhd.sweep.plan.moments import pool_blocks
from clhd.sweep.plan.stage import Stage
from clhd.sweep.spec.experiment import Experiment
from clhd.sweep.spec.rounds import StageKind
from clhd.sweep.store.match import find_places, open_stage, positions_in
from clhd.sweep.store.store import Store
from clhd.sweep.store.wanted import find_wanted_counts, select_first
from clhd.systems.declarations import Status
from clhd.systems.protocol import System

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
STATISTICS = ("mean", "standard_deviation", "standard_error")
# The most numbers of an output that are read at once; sorting them takes a few times their memory.
_MOST_NUMBERS = 2**22
# Below this share of the numbers of the runs, the standard error is made of rounding errors.
_ROUNDING = 1e-13
Statistics = dict[tuple[str, str], FloatArray]  # by output and name of the statistic


def reduce_runs(store: Store, wanted: Stage, entries: IntArray) -> tuple[Statistics, NDArray[np.int32]]:
    """Return statistics over the first entries of each point, as many as are wanted, and the numbers of runs by status.

    The stage is what the experiment wants; the store may hold more points and replicas. The first dims of what is
    returned are the grid of the store, the last dim of the numbers is the status. A damaged or missing chunk is an
    error, DamagedChunkError.
    """
    return (_pool if wanted.has_moments else _reduce_replicas)(store, wanted, entries)


def _pool(store: Store, wanted: Stage, entries: IntArray) -> tuple[Statistics, NDArray[np.int32]]:
    """The same as `reduce_runs`, from moments of blocks of replicas."""
    region = (*(slice(None) for _ in store.shape[:-1]), slice(0, wanted.entries))
    status, size = store.read("status", region), store.entry_size
    is_wanted = select_first(entries, status.shape[-1])
    was_run = (status == Status.OK) | (status == Status.DIVERGED) | (status == Status.NOT_CONVERGED)
    was_run &= is_wanted
    counts = np.zeros((*status.shape[:-1], len(Status)), np.int32)
    for code in (Status.NOT_RUN, Status.FAILED):
        counts[..., int(code)] = size * ((status == code) & is_wanted).sum(axis=-1)
    for code, name in ((Status.OK, "ok_count"), (Status.DIVERGED, "diverged_count")):
        counts[..., int(code)] = np.where(was_run, store.read(name, region), 0).sum(axis=-1)
    counts[..., int(Status.NOT_CONVERGED)] = size * is_wanted.sum(axis=-1) - counts.sum(axis=-1)
    left_out = ~np.moveaxis((status == Status.OK) & is_wanted, -1, 0)  # a failed block counts as a whole
    out = {}
    for name in wanted.outputs.variables:
        moments = [
            np.moveaxis(store.read(f"{name}_{moment}", region), status.ndim - 1, 0)
            for moment in ("count", "mean", "squares")
        ]
        moments[0][left_out] = 0.0
        moments[2][left_out] = 0.0
        for statistic, values in zip(STATISTICS, pool_blocks(*moments), strict=True):
            out[name, statistic] = values
    return out, counts


def _reduce_replicas(store: Store, wanted: Stage, entries: IntArray) -> tuple[Statistics, NDArray[np.int32]]:
    """The same as `reduce_runs`, from single replicas, part by part."""
    shape = store.shape[:-1]
    largest = max(math.prod(store.inner_shape(name)) for name in store.outputs)  # numbers of one replica
    chunks = widen_chunks(shape, store.chunks[:-1], _MOST_NUMBERS // (store.shape[-1] * largest))
    out: Statistics = {}
    counts = np.zeros((*shape, len(Status)), np.int32)
    for name in store.outputs:
        tail = store.inner_shape(name)
        for statistic in STATISTICS:
            out[name, statistic] = np.full(shape + tail, np.nan)
        out[name, "quantile"] = np.full((*shape, *tail, len(QUANTILES)), np.nan)
    for index in np.ndindex(*chunk_counts(shape, chunks)):
        part = chunk_region(index, shape, chunks)
        region = (*part, slice(0, wanted.entries))
        status = store.read("status", region)
        is_wanted = select_first(entries[part], status.shape[-1])
        for code in Status:
            counts[..., int(code)][part] = ((status == code) & is_wanted).sum(axis=-1)
        is_ok = (status == Status.OK) & is_wanted
        for name in store.outputs:
            values = store.read(name, region)
            values[~is_ok] = np.nan
            values = np.moveaxis(values, status.ndim - 1, 0)  # replicas first
            mean, deviation, error, quantiles = compute_statistics(values)
            out[name, "mean"][part], out[name, "standard_deviation"][part] = mean, deviation
            out[name, "standard_error"][part], out[name, "quantile"][part] = error, quantiles
    return out, counts


def compute_statistics(values: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Return mean, standard deviation, standard error and quantiles along the first dim; NaN are left out.

    They are NaN for no value, deviation and error also for one. The quantiles have a last dim of their own.
    """
    count = np.isfinite(values).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.nansum(values, axis=0) / count
        deviation = np.where(count < 2, np.nan, np.sqrt(np.nansum((values - mean) ** 2, axis=0) / (count - 1)))
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


_DEVIATION = "of run minus theory, for each run with its own prediction"


def _read_stage(
    experiment: Experiment, kind: StageKind, results: Path, names: Collection[str] = ()
) -> tuple[xr.Dataset, Stage]:
    """What an experiment wants of a stage's store, all outputs or some, with the status, and the stage.

    What is not known, or failed, is NaN. A damaged chunk is named in the error.
    """
    wanted, store, available = open_stage(experiment, kind, results)
    positions = find_places(available, wanted)
    outputs = [name for name in store.outputs if name in names or not names]
    # The status first: a task that is writing just now writes it last.
    status = store.read_dataset(["status"], positions)["status"]
    values = store.read_dataset(outputs, positions)
    if kind == "simulation" and experiment.sampling.is_open:
        entries = find_wanted_counts(store, experiment).entries[np.ix_(*positions_in(available, wanted)[:-1])]
        status = status.where(select_first(entries, status.shape[-1]), Status.NOT_RUN)
    is_known = (status != Status.NOT_RUN) & (status != Status.FAILED)
    return values.where(is_known).assign(status=status), wanted


def add_theory(summary: xr.Dataset, experiment: Experiment, results: Path) -> xr.Dataset:
    """Put the theory beside the statistics of the simulation, if there is one, along all axes of both."""
    theory, wanted = _read_stage(experiment, "theory", results)
    runs: xr.Dataset | None = None
    predictions = theory
    if wanted.has_replicas:
        shared = [name for name in wanted.outputs.variables if f"{name}_mean" in summary]
        runs = _read_stage(experiment, "simulation", results, shared)[0]
        theory = _average_replicas(predictions)
    summary["theory_status"] = theory["status"]
    axes = [axis.name for axis in experiment.axes]
    size = _find_size(summary, experiment, wanted.system)
    for name, output in wanted.outputs.variables.items():
        if f"{name}_mean" in summary:
            order = [*axes, *output.dims]
            _add_comparison(summary, theory, name, order, size)
            if runs is not None:
                _add_deviation(summary, runs, predictions, name, order)
        elif f"{name.removesuffix('_fluctuation')}_mean" not in summary:
            label = {"long_name": f"theory of the {output.words['long_name']}"}
            summary[f"{name}_theory"] = theory[name].assign_attrs(dict(output.words) | label)
    return summary


def _average_replicas(predictions: xr.Dataset) -> xr.Dataset:
    """The mean of the predictions of all replicas; the status of a point is the worst of its replicas."""
    status = predictions["status"]
    worst = status.max("replica").where(~(status == Status.NOT_RUN).any("replica"), Status.NOT_RUN).astype(np.int8)
    means = predictions.drop_vars("status").mean("replica", keep_attrs=True)
    return means.assign(status=worst.assign_attrs(status.attrs))


def _add_deviation(
    summary: xr.Dataset, runs: xr.Dataset, predictions: xr.Dataset, name: str, order: Sequence[str]
) -> None:
    """Add the statistics of run minus prediction, and the z-score by them."""
    is_ok = (runs["status"] == Status.OK) & (predictions["status"] == Status.OK)
    deviation = (runs[name] - predictions[name]).where(is_ok)
    deviation = deviation.transpose("replica", *(dim for dim in order if dim in deviation.dims))
    mean, spread, error, _ = compute_statistics(deviation.values)
    magnitude = np.abs(deviation.values)
    largest = np.where(np.isnan(magnitude), -np.inf, magnitude).max(axis=0)
    words = predictions[name].attrs
    statistics = {
        "mean": mean,
        "standard_deviation": spread,
        "standard_error": error,
        "largest": np.where(np.isfinite(largest), largest, np.nan),
    }
    for statistic, values in statistics.items():
        label = f"{statistic.replace('_', ' ')} of the deviation of the {words['long_name']}"
        attributes = {**words, "long_name": label, "description": _DEVIATION}
        summary[f"{name}_deviation_{statistic}"] = xr.Variable(deviation.dims[1:], values, attributes)
    score = summary[f"{name}_deviation_mean"] / _resolve_error(summary, name, f"{name}_deviation_standard_error")
    summary[f"{name}_z_score"] = score.assign_attrs(summary[f"{name}_z_score"].attrs)


def _resolve_error(summary: xr.Dataset, name: str, error: str) -> xr.DataArray:
    """Return a standard error, NaN where runs differ by rounding alone: a z-score would be one of rounding errors."""
    size = abs(summary[f"{name}_mean"]) + summary[f"{name}_standard_deviation"]
    return summary[error].where(summary[error] > _ROUNDING * size)


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
    score = (mean - theory[name]) / _resolve_error(summary, name, f"{name}_standard_error")
    description = "(mean - theory) / standard error"
    add("z_score", "z-score", score, symbol=f"z({words['symbol']})", description=description)


def add_distances(summary: xr.Dataset, experiment: Experiment, results: Path) -> xr.Dataset:
    """Add the distance between the distribution functions of the runs and of the theory, where both have one."""
    if not any(str(name).endswith("_mean") for name in summary) or experiment.keep == "moments":
        return summary
    outputs = open_stage(experiment, "simulation", results)[0].outputs.variables
    along = {name: output.distribution_along for name, output in outputs.items() if f"{name}_theory" in summary}
    if not any(along.values()):
        return summary
    simulation, _ = _read_stage(experiment, "simulation", results, [name for name, dim in along.items() if dim])
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


def _find_size(summary: xr.Dataset, experiment: Experiment, system: System) -> xr.DataArray | None:
    """The size n of each point: a coordinate, a constant, or the default of the parameter."""
    name = system.size
    if name in summary.coords:
        return summary[name].astype(float)
    value = experiment.constants.get(name, system.parameters[name].default if name else None)
    return None if value is None else xr.DataArray(float(value))  # type: ignore[arg-type]
