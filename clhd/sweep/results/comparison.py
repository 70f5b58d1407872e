"""`add_theory`, `add_distances`: the theory beside the simulation in a summary.

| case | X_theory | z-score |
|---|---|---|
| one prediction for each point | the prediction | (mean - theory) / standard error |
| one prediction for each run (``per_replica``) | mean of the predictions | mean of run minus prediction, by its error |
"""

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from clhd.sweep.plan.stage import Stage
from clhd.sweep.results.reduce import compute_statistics
from clhd.sweep.spec.experiment import Experiment
from clhd.sweep.spec.stages import StageKind
from clhd.sweep.store.match import find_places, open_stage
from clhd.systems.declarations import Status

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
    opened = store.files.open_dataset()
    # The status first: a task that is writing just now writes it last.
    status = opened["status"].isel(positions, missing_dims="ignore").load()
    values = opened[outputs].isel(positions, missing_dims="ignore").load()
    is_known = (status != Status.NOT_RUN) & (status != Status.FAILED)
    return values.where(is_known).assign(status=status), wanted


def add_theory(summary: xr.Dataset, experiment: Experiment, results: Path) -> xr.Dataset:
    """Put the theory beside the simulation, along all axes of both.

    Parameters
    ----------
    summary : xarray.Dataset
        Statistics of the simulation, or nothing; it is changed.
    experiment : Experiment
    results : Path
        Folder of all results.
    """
    theory, wanted = _read_stage(experiment, "theory", results)
    runs: xr.Dataset | None = None
    predictions = theory
    if wanted.has_replicas:
        shared = [name for name in wanted.outputs.variables if f"{name}_mean" in summary]
        runs = _read_stage(experiment, "simulation", results, shared)[0]
        theory = _average_replicas(predictions)
    summary["theory_status"] = theory["status"]
    axes = [axis.name for axis in experiment.axes]
    size = _find_size(summary, experiment, wanted.system.size)
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
    score = summary[f"{name}_deviation_mean"] / summary[f"{name}_deviation_standard_error"].where(error > 0)
    summary[f"{name}_z_score"] = score.assign_attrs(summary[f"{name}_z_score"].attrs)


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


def _find_size(summary: xr.Dataset, experiment: Experiment, name: str) -> xr.DataArray | None:
    """The size n of each point: a coordinate, or a constant."""
    if name in summary.coords:
        return summary[name].astype(float)
    value = experiment.constants.get(name)
    return None if value is None else xr.DataArray(float(value))  # type: ignore[arg-type]
