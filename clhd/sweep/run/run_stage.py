"""`run_stage`: compute the entries of a stage's store that are not known yet.

With ``--fresh``, `set_aside` moves the old stores first, so that after a kill the plain command goes on.

`execute_plan` lets the workers of a cluster compute the blocks of a plan, with progress, and notes the run.
"""

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clhd.core.arrays import BoolArray
from clhd.core.progress import Progress
from clhd.core.text import format_count, format_seconds
from clhd.errors import ClhdError, explain_file_error, explain_unwritable
from clhd.sweep.cluster.place import Cluster
from clhd.sweep.plan.blocks import Block, Plan, plan_blocks
from clhd.sweep.plan.stage import Stage
from clhd.sweep.run.children import can_fork, run_in_children
from clhd.sweep.run.tasks import BlockReport, Obstacle, check_report, try_block
from clhd.sweep.spec.experiment import Experiment, stage_path
from clhd.sweep.spec.rounds import StageKind
from clhd.sweep.spec.yaml_file import ExperimentError
from clhd.sweep.store.lock import check_lease, hold_lock
from clhd.sweep.store.match import ChangedError, check_changes
from clhd.sweep.store.prepare import move_aside, prepare_store
from clhd.sweep.store.provenance import describe_run
from clhd.sweep.store.repair import repair_store
from clhd.sweep.store.store import Store
from clhd.sweep.store.wanted import Wanted, select_wanted
from clhd.systems.declarations import Status

if TYPE_CHECKING:
    from distributed import Client

# Where no process can be forked, shorter work is done by threads of this one: starting processes would take longer.
_THREADS_BELOW_SECONDS = 3.0
# Shorter work needs no Dask: forked children have all that is imported. Longer work shows itself on Dask's page.
_CHILDREN_BELOW_SECONDS = 300.0


def execute_plan(
    store: Store,
    stage: Stage,
    plan: Plan,
    cluster: Cluster,
    client: "Client | None",
    token: str,
    meanwhile: Callable[[], None] = lambda: None,
) -> int:
    """Run the blocks of a plan, by the token of the store's lock; return how many runs were computed.

    All finished blocks are kept, also after Ctrl-C, or if the store cannot be written any more or the scheduler is lost
    (ClhdError).
    """
    run = len(store.attributes["runs"])
    begin = time.perf_counter()
    description = describe_run()
    size = store.entry_size
    progress = Progress(f"{stage.experiment.name} {stage.kind}", plan.entries * size, plan.seconds)
    work = f"{format_count(plan.entries * size, 'run')} in {format_count(len(plan.blocks), 'block')}"
    progress.say(f"{work}, {format_seconds(plan.seconds)} of one core predicted")
    counts: dict[str, int] = {}
    done = 0

    def note_run() -> None:
        """Write the description of this run, and at the end its results, into the store."""
        check_lease(store.path, token)  # a store that was moved away must not be created anew, without chunks
        try:
            store.update_attributes(runs=[*store.attributes["runs"][:run], description])
        except OSError as error:
            check_lease(store.path, token)  # it may have been moved away just now
            raise explain_file_error(store.path, error) from None

    note_run()
    finished = _run_blocks(plan, store, stage, run, token, progress, cluster, client, meanwhile)
    try:
        with closing(finished):
            for block, found in finished:
                report = check_report(found, store)
                for status, count in report.counts.items():
                    counts[status] = counts.get(status, 0) + count
                done += block.entries * size
                if report.first_error:
                    progress.say(f"failed: {report.first_error.splitlines()[0]}")
                progress.advance(block.entries * size, block.seconds)
    except BaseException as error:
        with suppress(ClhdError):  # the first error is the one to report
            description |= {"seconds": round(time.perf_counter() - begin, 3), "computed": done}
            note_run()
        if isinstance(error, KeyboardInterrupt):  # last, since the reader of the output may be gone
            progress.say(f"stopped: {done} of {format_count(plan.entries * size, 'run')} done and kept")
        raise
    description |= {"seconds": round(time.perf_counter() - begin, 3), "computed": done}
    note_run()
    progress.finish(", ".join(f"{count} {status}" for status, count in counts.items() if count))
    return done


def _run_blocks(
    plan: Plan,
    store: Store,
    stage: Stage,
    run: int,
    token: str,
    progress: Progress,
    cluster: Cluster,
    client: "Client | None",
    meanwhile: Callable[[], None],
) -> Generator[tuple[Block, BlockReport | Obstacle], None, None]:
    """Compute the blocks of a plan where that takes least; yield each block or part with what came of it."""
    blocks: Sequence[Block] = plan.blocks

    def compute(block: Block) -> BlockReport | Obstacle:
        return try_block(str(store.path.absolute()), block.chunks, run, token, stage.reference)

    if client is None and _is_for_children(cluster, plan.seconds):
        blocks = yield from run_in_children(blocks, cluster.count_workers(), compute, meanwhile)
        if not blocks:
            return
        store.remove_leftover_files()
        progress.say("a process was killed while it computed a block; the blocks that are left go to other processes")
    elif client is None and _is_for_threads(cluster, plan.seconds):
        yield from _run_in_threads(blocks, cluster.count_workers(), compute)
        return
    from clhd.sweep.run.dispatch import dispatch_blocks  # noqa: PLC0415 (Dask takes longer to import than most stages)

    yield from dispatch_blocks(blocks, store, stage, run, token, progress, cluster, client)


def _run_in_threads(
    blocks: Sequence[Block], workers: int, compute: Callable[[Block], BlockReport | Obstacle]
) -> Iterator[tuple[Block, BlockReport | Obstacle]]:
    """Compute blocks in threads of this process; yield each with what came of it. Those that have begun also end."""
    threads = ThreadPoolExecutor(workers)
    try:
        begun = {threads.submit(compute, block): block for block in blocks}
        for future in as_completed(begun):
            yield begun[future], future.result()
    finally:
        threads.shutdown(cancel_futures=True)


@dataclass(frozen=True)
class StageReport:
    """The outcome of a stage."""

    path: Path  # the store
    counts: dict[str, int]  # number of runs of the experiment by status
    computed: int  # number of runs that were computed now
    seconds: float  # wall time

    @property
    def is_complete(self) -> bool:
        """True if no run failed and no run is pending."""
        return self.counts["failed"] == 0 and self.counts["not_run"] == 0


def set_aside(stages: Sequence[Stage], results: Path, *, wait: bool = False) -> None:
    """Move the stores of stages to other names, before everything is computed again; nothing is deleted.

    With `wait`, wait for another run of the same store to end, instead of refusing.
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
    client: "Client | None" = None,
    repair: bool = False,
    wait: bool = False,
    checked: Sequence[Stage] = (),
    meanwhile: Callable[[], None] = lambda: None,
) -> StageReport | None:
    """Compute the entries of a stage's store that are not known yet.

    Parameters
    ----------
    cluster : Cluster, optional
        Where to compute; by default on all cores of this machine.
    client : distributed.Client, optional
        An open client to use instead.
    repair : bool
        Read every chunk first, and compute the damaged chunks again.
    wait : bool
        Wait for another run of the same store to end, instead of refusing.
    checked : sequence of Stage
        What `check_experiment` returned, so that the costs of the points need not be found again. If the store of this
        stage, or of one after it, belongs to another experiment, nothing is computed.
    meanwhile : callable
        What this process can do while its children compute; without children it is not called.

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
    kinds = [stage.kind for stage in checked]
    _refuse_changes(checked[kinds.index(kind) :] if kind in kinds else (), path.parent)
    with hold_lock(path, wait=wait) as token:
        with explain_unwritable(path):
            if repair:
                repair_store(path, wanted.system)
            store, available = prepare_store(wanted, path)
        computed, mask, status = _compute_rounds(
            store, available, wanted, cluster or Cluster(), client, token, meanwhile
        )
        counts = store.count_runs(mask, status)
    return StageReport(path, counts, computed, time.perf_counter() - begin)


def _refuse_changes(stages: Sequence[Stage], folder: Path) -> None:
    """Raise ChangedError if the store of a stage has results of another experiment.

    `stages` are those that a run is going to compute, so that none is computed before another is refused. Damage is
    told, or repaired, in turn.
    """
    for stage in stages:
        path = stage_path(folder, stage.kind)
        if not (stage.outputs.variables and path.is_dir()):
            continue
        try:
            check_changes(Store(path), stage)
        except ChangedError:
            raise
        except ClhdError:
            continue


def _compute_rounds(
    store: Store,
    available: Stage,
    requested: Stage,
    cluster: Cluster,
    client: "Client | None",
    token: str,
    meanwhile: Callable[[], None],
) -> tuple[int, BoolArray, NDArray[np.int8]]:
    """Compute what is wanted, and what is wanted then, and so on.

    Returns how many runs were computed, a mask of the wanted entries, and the status of all entries.

    An entry that fails is not tried again in the same call: it would have no end.
    """
    computed, tried = 0, np.zeros(store.shape, dtype=bool)
    with ExitStack() as stack:
        while True:
            wanted = select_wanted(store, available, requested)
            _check_refinement(requested, wanted)
            status = store.status()
            lacks_result = (status == Status.NOT_RUN) | (status == Status.FAILED)  # a divergence is a result
            needed = wanted.mask & lacks_result & ~tried
            if not needed.any():
                return computed, wanted.mask, status
            if not tried.any():
                client = stack.enter_context(_reach(cluster, client))
            workers = cluster.count_workers() if client is None else _count_threads(client)
            plan = plan_blocks(available, needed, store.chunks, workers)
            if client is None and requested.experiment.has_rounds:
                client = stack.enter_context(_start_workers(cluster, requested))
            computed += execute_plan(store, available, plan, cluster, client, token, meanwhile)
            tried |= needed


def _check_refinement(stage: Stage, wanted: Wanted) -> None:
    """Raise ClhdError if a refinement cannot go on, or the stage that decides is not complete yet."""
    refine, name = stage.experiment.refine, stage.experiment.name
    if refine is None:
        return
    if wanted.problem and refine.kind == stage.kind:
        raise ExperimentError(f"{name}: {wanted.problem}. What was computed is kept")
    if not wanted.is_done and refine.kind != stage.kind:
        raise ExperimentError(
            f"{name}: the {refine.kind} decides what is refined, and is not complete; run the {refine.kind} first"
        )


@contextmanager
def _start_workers(cluster: Cluster, stage: Stage) -> "Iterator[Client | None]":
    """A client whose workers serve all rounds; None if each round forks children, or starts threads, instead."""
    refine = stage.experiment.refine
    share = refine.predict_count(stage.grid.axes) / stage.grid.size if refine is not None else 1.0
    seconds = share * stage.cost_table.seconds(stage.entries or 1)
    if _is_for_children(cluster, seconds) or _is_for_threads(cluster, seconds):
        yield None
        return
    from clhd.sweep.run.dispatch import keep_workers  # noqa: PLC0415 (it imports Dask)

    with keep_workers(cluster) as client:
        yield client


def _is_for_children(cluster: Cluster, seconds: float) -> bool:
    """True if work of so many seconds needs no Dask."""
    return cluster.is_here and seconds < _CHILDREN_BELOW_SECONDS and can_fork()


def _is_for_threads(cluster: Cluster, seconds: float) -> bool:
    """True if work of so many seconds ends sooner in threads than workers start."""
    return cluster.is_here and seconds <= _THREADS_BELOW_SECONDS


def _reach(cluster: Cluster, client: "Client | None") -> "AbstractContextManager[Client | None]":
    """A client of a cluster that runs already, whose workers decide the size of blocks; None if one must be started."""
    if client is not None or not cluster.runs_already:
        return nullcontext(client)
    from clhd.sweep.cluster.cluster import open_client  # noqa: PLC0415 (it imports Dask)

    return open_client(cluster)


def _count_threads(client: Any) -> int:
    """The number of blocks that can be computed at once; 1 while no worker has come."""
    return max(1, sum(map(int, client.nthreads().values())))
