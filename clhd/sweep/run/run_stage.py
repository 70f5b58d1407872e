"""`run_stage`: compute the entries of a stage's store that are not known yet.

With ``--fresh``, `set_aside` moves the old stores first, so that after a kill the plain command goes on.
"""

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distributed import Client

from clhd.errors import explain_unwritable
from clhd.sweep.cluster.cluster import Cluster, open_client
from clhd.sweep.plan.blocks import BoolArray, plan_blocks
from clhd.sweep.plan.stage import Stage
from clhd.sweep.run.execute import execute_plan
from clhd.sweep.spec.experiment import Experiment
from clhd.sweep.spec.stages import StageKind, stage_path
from clhd.sweep.store.lock import hold_lock
from clhd.sweep.store.match import select_requested
from clhd.sweep.store.prepare import move_aside, prepare_store
from clhd.sweep.store.repair import repair_store
from clhd.sweep.store.store import Store
from clhd.systems.declarations import Status


@dataclass(frozen=True)
class StageReport:
    """The outcome of a stage.

    Parameters
    ----------
    path : Path
        The store.
    counts : mapping of status to int
        Number of runs of the experiment by status.
    computed : int
        Number of runs that were computed now.
    seconds : float
        Wall time.
    """

    path: Path
    counts: dict[str, int]
    computed: int
    seconds: float

    @property
    def is_complete(self) -> bool:
        """True if no run failed and no run is pending."""
        return self.counts["failed"] == 0 and self.counts["not_run"] == 0


def find_needed(status: Any, wanted: BoolArray) -> BoolArray:
    """Return the wanted entries that never ran, or failed; a divergence is a result."""
    needed: BoolArray = wanted & ((status == Status.NOT_RUN) | (status == Status.FAILED))
    return needed


def set_aside(stages: Sequence[Stage], results: Path, *, wait: bool = False) -> None:
    """Move the stores of stages to other names, before everything is computed again; nothing is deleted.

    Parameters
    ----------
    stages : sequence of Stage
    results : Path
        Folder of the stores of all experiments.
    wait : bool
        Wait for another run of the same store to end, instead of refusing.

    Raises
    ------
    ClhdError
        If another run holds a store, or a store cannot be moved.
    """
    paths = [stage_path(results / stage.experiment.name, stage.kind) for stage in stages]
    with ExitStack() as locks:
        for path in paths:
            locks.enter_context(hold_lock(path, wait=wait))
        for path in paths:
            with explain_unwritable(path):
                if path.exists():
                    move_aside(path)


def run_stage(
    experiment: Experiment,
    kind: StageKind,
    results: Path,
    *,
    cluster: Cluster | None = None,
    client: Client | None = None,
    repair: bool = False,
    wait: bool = False,
    checked: Sequence[Stage] = (),
) -> StageReport | None:
    """Compute the entries of a stage's store that are not known yet.

    Parameters
    ----------
    experiment : Experiment
    kind : str
        "simulation" or "theory".
    results : Path
        Folder of the stores of all experiments.
    cluster : Cluster, optional
        Where to compute; by default on all cores of this machine.
    client : distributed.Client, optional
        An open client to use instead.
    repair : bool
        Read every chunk first, and compute the damaged chunks again.
    wait : bool
        Wait for another run of the same store to end, instead of refusing.
    checked : sequence of Stage
        What `check_experiment` returned, so that the costs of the points need not be found again.

    Returns
    -------
    StageReport or None
        None if the stage has nothing to compute.

    Raises
    ------
    ClhdError
        If another run holds the store, or the store belongs to another experiment.
    KeyboardInterrupt
        All blocks that were done until then are kept.
    """
    wanted = next((stage for stage in checked if stage.kind == kind), Stage(experiment, kind))
    if not wanted.outputs.variables:
        return None
    begin = time.perf_counter()
    path = stage_path(results / experiment.name, kind)
    with hold_lock(path, wait=wait) as token:
        with explain_unwritable(path):
            if repair:
                repair_store(path, wanted.system)
            store, available = prepare_store(wanted, path)
        mask = select_requested(available, wanted)
        status = store.status()
        needed = find_needed(status, mask)
        cluster = cluster or Cluster()
        computed = 0
        if needed.any():
            with _reach(cluster, client) as reached:
                workers = cluster.count_workers() if reached is None else _count_threads(reached)
                plan = plan_blocks(available, needed, store.chunks, workers)
                computed = execute_plan(store, available, plan, cluster, reached, token)
        counts = Store(path).count_runs(mask) if computed else store.count_runs(mask, status)
    return StageReport(path, counts, computed, time.perf_counter() - begin)


def _reach(cluster: Cluster, client: Client | None) -> AbstractContextManager[Client | None]:
    """A client of a cluster that runs already, whose workers decide the size of blocks; None if one must be started."""
    return nullcontext(client) if client is not None or not cluster.runs_already else open_client(cluster)


def _count_threads(client: Any) -> int:
    """The number of blocks that can be computed at once; 1 while no worker has come."""
    return max(1, sum(map(int, client.nthreads().values())))
