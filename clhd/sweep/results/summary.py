"""`write_summary`: statistics over the replicas of each point, with the theory beside them.

For each output X of the simulation, along the axes of the grid and the dims of X:

| variable | meaning |
|---|---|
| X_mean, X_standard_deviation, X_standard_error | statistics of the replicas whose status is ok |
| X_quantile (quantile) | 5, 25, 50, 75 and 95 % of them; not with ``keep: moments`` |
| X_theory | prediction of the theory |
| X_theory_standard_deviation | predicted standard deviation, X_fluctuation / sqrt(size) |
| X_distance_mean, X_distance_standard_error | distance of a distribution function X from the theory |
| X_deviation_STATISTIC | mean, standard_deviation, standard_error, largest of run minus theory, if each run has one |
| X_z_score | (mean - theory) / standard error: a bias of order 1/n shows in it; NaN if runs differ by rounding alone |
| replica_count (status) | number of replicas by status |
| until_reached | whether the standard errors are at their targets, where ``replicas`` has targets |
| theory_status | status of the prediction |
| refinement_round, border, border_low, border_high | of a refined experiment, see `clhd.sweep.results.border` |

The distance of distribution functions is Wasserstein-1, the integral of abs(X - X_theory) by the trapezoid rule. It
needs every replica, so ``keep: moments`` has no distance. A quantity that only the theory returns stands in the summary
as X_theory, along the axes of the theory. Where a quantity is not known it is NaN. A damaged chunk is an error: no mean
ever rests on it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from clhd.core.lazy import xr
from clhd.errors import ClhdError, explain_unwritable
from clhd.sweep.plan.stage import Stage
from clhd.sweep.results.border import add_border
from clhd.sweep.results.products import digest_stores
from clhd.sweep.results.statistics import QUANTILES, STATISTICS, add_distances, add_theory, reduce_runs
from clhd.sweep.spec.experiment import KINDS, Experiment, read_experiment, stage_path
from clhd.sweep.store.chunk_files import StoreError
from clhd.sweep.store.create import write_dataset
from clhd.sweep.store.lock import hold_lock
from clhd.sweep.store.match import find_places, open_stage
from clhd.sweep.store.provenance import describe_code, now
from clhd.sweep.store.store import Store
from clhd.sweep.store.wanted import find_choice, find_wanted_counts
from clhd.systems.declarations import Status
from clhd.systems.registry import is_file_name, list_systems
from clhd.systems.stored import Declaration


def write_summary(experiment: Experiment, results: Path, *, wait: bool = False) -> Path:
    """Summarise all results of an experiment, write the summary in one step, and return its path.

    With `wait`, wait for another process that writes the summary, instead of refusing.

    Raises
    ------
    ClhdError
        If there are no results, they belong to another experiment, or the summary cannot be written.
    DamagedChunkError
        If a chunk is damaged; the message names its file and the command that computes it again.
    """
    path = stage_path(results / experiment.name, "summary")
    with hold_lock(path, wait=wait):
        before = digest_stores(path.parent)
        dataset = summarise(experiment, results).assign_attrs(rests_on=before)
        if digest_stores(path.parent) != before:
            raise StoreError(f"{path.parent}: changed while it was summarised; run the command again")
        with explain_unwritable(path):
            write_dataset(dataset, path)
    return path


def read_computed(path: str | Path, results: Path) -> Experiment:
    """Return the experiment of results; unless its system is installed, as the results remember the system.

    Without results that remember their system, the experiment is checked by its system, for which its file is run.

    Raises
    ------
    ClhdError
        If the file is wrong, or its system is needed and cannot be loaded.
    """
    unchecked = read_experiment(path, check=False)
    if unchecked.system in list_systems():
        return read_experiment(path)
    stores = [store for store in (stage_path(results / unchecked.name, kind) for kind in KINDS) if store.is_dir()]
    recalled = next((system for system in (Store(store).stored_system() for store in stores) if system), None)
    return read_experiment(path, check=recalled is None, recalled=recalled)


def summarise(experiment: Experiment, results: Path) -> xr.Dataset:
    """Return the summary of an experiment as a dataset; raises as `write_summary` does."""
    summary = xr.Dataset()
    kinds, declaration = _find_kinds(experiment, results)
    if "simulation" in kinds:
        summary = _summarise_simulation(experiment, results)
    if "theory" in kinds:
        summary = add_theory(summary, experiment, results)
        summary = add_distances(summary, experiment, results)
    if experiment.refine is not None:
        found = find_choice(experiment, experiment.refine, results / experiment.name)
        summary = add_border(summary, experiment.refine, xr.DataArray(found.choice.round, dims=found.axes))
    for variable in summary.variables.values():
        variable.encoding = {}
    summary.attrs = {
        "title": f"summary of {experiment.name}",
        "description": experiment.description,
        "experiment": experiment.resolved(),
        "declaration": declaration.model_dump(),
        "code": describe_code(),
        "created": now(),
    }
    return summary


def _find_kinds(experiment: Experiment, results: Path) -> tuple[list[str], Declaration]:
    """The stages of an experiment and the declaration of its system, by a store where the system is not installed.

    An installed system comes first: constants that only one stage depends on, such as those that switch the other stage
    off, may have changed since a store was made. The file of a system is only run for stores that have no declaration.
    """
    recalled = _recall_kinds(experiment, results) if is_file_name(experiment.system) else None
    if recalled is not None:
        return recalled
    stages = [Stage(experiment, kind) for kind in KINDS]
    try:
        return [stage.kind for stage in stages if stage.outputs.variables], stages[0].declaration
    except ClhdError:
        recalled = _recall_kinds(experiment, results)
        if recalled is None:
            raise
        return recalled


def _recall_kinds(experiment: Experiment, results: Path) -> tuple[list[str], Declaration] | None:
    """What the stores of an experiment say of its stages and its system; None if they do not say it."""
    for kind in KINDS:
        path = stage_path(results / experiment.name, kind)
        declaration = Store(path).layout.declaration if path.is_dir() else None
        if declaration is not None:
            exists = {"simulation": declaration.simulates, "theory": declaration.predicts}
            return [kind for kind in KINDS if exists[kind]], declaration
    return None


def _summarise_simulation(experiment: Experiment, results: Path) -> xr.Dataset:
    """The statistics over the replicas, along all axes of the simulation."""
    wanted, store, available = open_stage(experiment, "simulation", results)
    variables: dict[str, xr.Variable] = {}
    found = find_wanted_counts(store, wanted.experiment)
    statistics, counts = reduce_runs(store, wanted, found.entries)
    axes = tuple(axis.name for axis in wanted.grid.axes)
    positions = {dim: places for dim, places in find_places(available, wanted).items() if dim in (*axes, "time")}
    for name, output in wanted.outputs.variables.items():
        dims, words = axes + output.dims, dict(output.words)
        for statistic in STATISTICS:
            label = {"long_name": f"{statistic.replace('_', ' ')} of the {words['long_name']}"}
            variables[f"{name}_{statistic}"] = xr.Variable(dims, statistics[name, statistic], words | label)
        if wanted.has_moments:
            continue
        label = {"long_name": f"quantiles of the {words['long_name']}"}
        variables[f"{name}_quantile"] = xr.Variable((*dims, "quantile"), statistics[name, "quantile"], words | label)
    words = {"long_name": "number of replicas", "units": "1", "description": "by status; the statistics rest on ok"}
    variables["replica_count"] = xr.Variable((*axes, "status"), counts, words)
    if experiment.sampling.until:
        words = {"long_name": "the errors are at their targets", "units": "1", "description": "or below"}
        variables["until_reached"] = xr.Variable(axes, found.has_reached, words)
    summary = xr.Dataset(variables).isel(positions, missing_dims="ignore")
    simulation = store.read_dataset([], positions)
    kept = [name for name in simulation.coords if store.dims[-1] not in simulation[name].dims]
    coordinates = simulation[kept].coords
    names = [status.name.lower() for status in Status]
    if not wanted.has_moments:
        words = {"long_name": "quantile", "units": "1", "description": "level"}
        summary = summary.assign_coords(quantile=("quantile", np.array(QUANTILES), words))
    return summary.assign_coords(coordinates).assign_coords(
        status=("status", np.array(names, dtype=np.dtypes.StringDType()), {"long_name": "status", "units": "1"}),
    )
