"""`execute_plan`: the blocks of a plan, run by the workers of a cluster, with progress, and noted in the store."""

import time
from contextlib import nullcontext, suppress
from typing import Any

import dask
from distributed import Client

from clhd.core.progress import Progress
from clhd.core.text import format_count, format_seconds
from clhd.errors import ClhdError, explain_file_error
from clhd.sweep.cluster.cluster import Cluster, open_client
from clhd.sweep.cluster.dask_quirks import DEATH_LOGGERS, quiet
from clhd.sweep.plan.blocks import Plan
from clhd.sweep.plan.stage import Stage
from clhd.sweep.run.dispatch import Dispatcher
from clhd.sweep.store.lock import check_lease
from clhd.sweep.store.provenance import describe_run
from clhd.sweep.store.store import Store

# Shorter work is done by threads of this process: starting processes would take longer.
_THREADS_BELOW_SECONDS = 3.0
# Settings of Dask. The dispatcher counts deaths, so Dask tries no task again. And a worker on this machine is started
# again whenever it dies; Dask would give it up for good if, 15 s after a death, it happened to be dead once more.
_OWN_SCHEDULER = {"distributed.scheduler.allowed-failures": 0}
_OWN_WORKERS = {"distributed.deploy.lost-worker-timeout": "365 days"}


def execute_plan(store: Store, stage: Stage, plan: Plan, cluster: Cluster, client: Client | None, token: str) -> int:
    """Run the blocks of a plan, by the token of the store's lock; return how many runs were computed.

    Raises
    ------
    ClhdError
        If the store cannot be written any more, or the scheduler is lost; all finished blocks are kept.
    KeyboardInterrupt
        After Ctrl-C; all finished blocks are kept.
    """
    run = len(store.attributes["runs"])
    begin = time.perf_counter()
    description = describe_run()
    size = store.entry_size
    progress = Progress(f"{stage.experiment.name} {stage.kind}", plan.entries * size, plan.seconds)
    work = f"{format_count(plan.entries * size, 'run')} in {format_count(len(plan.blocks), 'block')}"
    progress.say(f"{work}, {format_seconds(plan.seconds)} of one core predicted")
    processes = plan.seconds > _THREADS_BELOW_SECONDS
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
    opened: Any = open_client(cluster, processes=processes) if client is None else nullcontext(client)
    try:
        with (
            dask.config.set(_OWN_SCHEDULER | (_OWN_WORKERS if cluster.slurm is None else {})),
            opened as active,
            quiet(*DEATH_LOGGERS),
        ):
            for block, report in Dispatcher(active, store, stage, run, token, progress, cluster.slurm or 1).run(
                plan.blocks
            ):
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
