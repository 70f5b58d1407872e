"""`run_experiment`: the whole way from a YAML file to results that can be read, on one page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from clhd.core.lazy import xr
from clhd.sweep.cluster.place import Cluster
from clhd.sweep.plan.check import check_experiment
from clhd.sweep.results.open_results import open_results
from clhd.sweep.results.summary import write_summary
from clhd.sweep.run.run_stage import run_stage, set_aside
from clhd.sweep.spec.experiment import Experiment, read_experiment

if TYPE_CHECKING:
    from distributed import Client


def run_experiment(
    experiment: Experiment | str | Path,
    client: Client | None = None,
    *,
    results: str | Path = "results",
    cluster: Cluster | None = None,
    fresh: bool = False,
) -> xr.DataTree:
    """Simulate, predict and summarise an experiment: what its stores know already is not computed again.

    Parameters
    ----------
    experiment : Experiment, or path of a YAML file
    client : distributed.Client, optional
        Where to compute; by default on all cores of this machine.
    results : path
        Folder of all results.
    cluster : Cluster, optional
        Where to compute without a client, such as ``Cluster(workers=4)`` of ``clhd.sweep.cluster.place``.
    fresh : bool
        Move old stores aside and compute all again.

    Returns
    -------
    xarray.DataTree
        As `open_results` returns it.

    Raises
    ------
    ClhdError
        If the experiment is not right, or its stores belong to another.
    """
    if not isinstance(experiment, Experiment):
        experiment = read_experiment(experiment)
    checked = check_experiment(experiment)
    results = Path(results)
    if fresh:
        set_aside(checked, results)
    for stage in checked:
        run_stage(experiment, stage.kind, results, cluster=cluster, client=client, checked=checked)
    write_summary(experiment, results)
    return open_results(results / experiment.name)
