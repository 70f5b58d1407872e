"""`Dispatcher`: hands the blocks of a plan to workers, longest first, a few at once, and finds those that kill them.

A killed worker loses the block that it computes and the blocks that wait for it, most of which did not kill it. So
blocks that lost their worker are tried again, with fewer other blocks at the same time:

| round | blocks | how |
|---|---|---|
| 1 | all | some wait at each worker |
| 2 | those whose worker was killed | none waits |
| 3 | those whose worker was killed again | one alone in the cluster, split until the points that kill are alone |

A point fails if its worker is killed twice in the last round, so a cause from outside would have to hit it four times.
In a block of 64 points, 6 deaths find the one point that kills.
"""

import math
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

import dask
import numpy as np
from distributed import CancelledError, Client, as_completed
from distributed.scheduler import KilledWorker

from clhd.core.arrays import BoolArray
from clhd.core.progress import Progress
from clhd.core.text import format_bytes, format_seconds
from clhd.errors import ClusterError, explain_unwritable
from clhd.sweep.cluster.cluster import LOST, open_client
from clhd.sweep.cluster.dask_quirks import (
    DEATH_LOGGERS,
    await_finished,
    describe_death,
    have_ended,
    hide_memory_warnings,
    quiet,
    was_killed_for_memory,
)
from clhd.sweep.cluster.place import Cluster
from clhd.sweep.cluster.slurm import check_jobs
from clhd.sweep.plan.blocks import Block, ChunkIndex
from clhd.sweep.plan.stage import Stage
from clhd.sweep.run.tasks import BlockReport, Obstacle, check_report, try_block, write_merged
from clhd.sweep.store.store import Store
from clhd.systems.declarations import Status
from clhd.systems.registry import Reference

# Tasks that wait at each worker, so that no worker waits for the driver.
_WAITING_PER_WORKER = 2
# Deaths of workers, with one point alone in the cluster, after which the point counts as failed.
_DEATHS_ALONE = 2
# A part of a block costs a call of its kernel, and a round of splitting costs the start of a worker; both take seconds.
_PARTS = 8
# A line is written after this time without a finished block, and after this many times the longest prediction.
_SILENT_SECONDS, _SILENT_TIMES = 30.0, 10.0
# Seconds after which a wait looks whether jobs have ended, or whether to write a line.
_LOOK_SECONDS = 1.0
# Seconds after which the number of workers is asked for again.
_COUNT_SECONDS = 2.0
# Settings of Dask. The dispatcher counts deaths, so Dask tries no task again. And a worker on this machine is started
# again whenever it dies; Dask would give it up for good if, 15 s after a death, it happened to be dead once more.
_OWN_SCHEDULER = {"distributed.scheduler.allowed-failures": 0}
_OWN_WORKERS = {"distributed.deploy.lost-worker-timeout": "365 days"}
_as_completed: Any = as_completed  # distributed is not typed


def _try_block(
    path: str, chunks: Sequence[tuple[ChunkIndex, BoolArray]], run: int, token: str, reference: Reference
) -> BlockReport | Obstacle:
    """Compute a block, in a worker."""
    hide_memory_warnings()
    return try_block(path, chunks, run, token, reference)


def dispatch_blocks(
    blocks: Sequence[Block],
    store: Store,
    stage: Stage,
    run: int,
    token: str,
    progress: Progress,
    cluster: Cluster,
    client: Client | None,
) -> Iterator[tuple[Block, BlockReport]]:
    """Run blocks on a client, or on a cluster that is opened for them; yield each block or part with its report."""
    opened: Any = open_client(cluster) if client is None else nullcontext(client)
    with (
        dask.config.set(_OWN_SCHEDULER | (_OWN_WORKERS if cluster.slurm is None else {})),
        opened as active,
        quiet(*DEATH_LOGGERS),
    ):
        yield from Dispatcher(active, store, stage, run, token, progress, cluster.slurm or 1).run(blocks)


@contextmanager
def keep_workers(cluster: Cluster) -> Iterator[Client]:
    """A client whose workers serve several calls of `dispatch_blocks`: to start them takes seconds."""
    with dask.config.set(_OWN_WORKERS if cluster.slurm is None else {}), open_client(cluster) as client:
        yield client


class Dispatcher:
    """Runs blocks on a cluster, and finds the blocks that kill their workers."""

    def __init__(
        self, client: Any, store: Store, stage: Stage, run: int, token: str, progress: Progress, expected: int
    ) -> None:
        self._stage = stage
        self._client, self._store, self._run, self._token, self._progress = client, store, run, token, progress
        self._dead: set[str] = set()  # addresses of workers whose death was told
        self._cause = ""  # of the last death
        self._threads, self._counted = 0, -np.inf
        self._expected = expected  # threads that are started only if there are blocks for them

    def run(self, blocks: Sequence[Block]) -> Iterator[tuple[Block, BlockReport]]:
        """Run blocks, in parts where a block kills its workers; yield each block or part with its report."""
        suspects = yield from self._run_together(blocks, _WAITING_PER_WORKER)
        suspects = yield from self._run_together([block for block, _ in suspects], 0)
        for block, _ in suspects:
            yield from self._isolate(block)
        if self._dead:
            self._store.remove_leftover_files()

    def _run_together(
        self, blocks: Sequence[Block], waiting: int
    ) -> Generator[tuple[Block, BlockReport], None, list[tuple[Block, int]]]:
        """Run blocks in their order, few at once; return those whose worker was killed, with the number of deaths."""
        left, killed = iter(blocks), []
        running: dict[Any, Block] = {}
        finished: Any = _as_completed()

        def submit(most: int) -> None:
            while len(running) < most and (block := next(left, None)) is not None:
                path, reference = str(self._store.path.absolute()), self._stage.reference
                future = self._client.submit(
                    _try_block, path, block.chunks, self._run, self._token, reference, pure=False
                )
                running[future] = block
                finished.add(future)

        submit((1 + waiting) * self._count_threads())
        while running:
            self._wait(finished, running)
            ready = {future: running.pop(future) for future in finished.next_batch(block=False)}
            submit((1 + waiting) * self._count_threads())
            fetched = self._fetch([*ready])
            for future, block in ready.items():
                report = self._collect(future, fetched)
                if isinstance(report, KilledWorker):
                    killed.append((block, describe_death(report).deaths))
                else:
                    yield block, report
        return killed

    def _count_threads(self) -> int:
        """The number of blocks that can be computed at once, at least one."""
        if time.monotonic() - self._counted > _COUNT_SECONDS:
            self._threads = max(self._expected, sum(self._client.nthreads().values()))
            self._counted = time.monotonic()
        return self._threads

    def _fetch(self, futures: list[Any]) -> dict[Any, BlockReport | Obstacle]:
        """The reports of finished blocks, in one request: many workers must not wait for each other.

        None of them if one cannot be had; `_collect` finds out which, and why.
        """
        with suppress(Exception):
            return dict(zip(futures, self._client.gather(futures), strict=True))
        return {}

    def _collect(self, future: Any, fetched: dict[Any, BlockReport | Obstacle]) -> BlockReport | KilledWorker:
        """The report of a block, or `KilledWorker`; raises the error that stops the run."""
        report = fetched.get(future) or self._ask(future)
        return report if isinstance(report, KilledWorker) else check_report(report, self._store)

    def _ask(self, future: Any) -> BlockReport | Obstacle | KilledWorker:
        """Ask for the report of one block; `KilledWorker` if its worker died; raises the error that stops the run."""
        try:
            error = future.exception()
        except CancelledError:
            raise ClusterError(LOST) from None
        if isinstance(error, KilledWorker):
            self._tell_death(error)
            return error
        return future.result()  # type: ignore[no-any-return]

    def _wait(self, finished: Any, running: dict[Any, Block]) -> None:
        """Wait until a block is finished; write a line now and then if that takes far longer than predicted."""
        begin = time.monotonic()
        longest = max(block.seconds for block in running.values())
        patience = max(_SILENT_SECONDS, _SILENT_TIMES * longest)
        while not await_finished(finished, _LOOK_SECONDS):
            check_jobs(self._client.cluster)
            if have_ended(self._client.cluster):
                raise ClusterError(
                    "all worker processes have ended by themselves, and no other can be started; finished blocks are "
                    "kept. Their messages above may say why (was clhd changed or removed meanwhile?); then the same "
                    "command continues from there"
                )
            silent = time.monotonic() - begin
            if silent > patience:
                patience = 2 * silent
                first, workers = next(iter(running.values())), len(self._client.nthreads())
                self._progress.say(
                    f"no block has ended for {format_seconds(silent)}, though none was predicted to take more than "
                    f"{format_seconds(longest)}; blocks in work: {len(running)}, the oldest from "
                    f"{self._describe(first)} on; workers: {workers} (a first run also compiles)"
                )

    def _tell_death(self, error: KilledWorker) -> None:
        """Write one line for each killed worker, with the cause if it is known."""
        death = describe_death(error)
        if death.address in self._dead:
            return
        self._dead.add(death.address)
        if was_killed_for_memory(self._client, death.address):
            limit = format_bytes(death.memory_limit)
            self._cause = f"more than the {limit} of memory that a worker has (fewer workers have more each)"
        else:
            self._cause = "a crash, a signal from outside, or a machine without memory"
        self._progress.say(f"a worker was killed: {self._cause}; what it had to do is tried again")

    def _isolate(self, block: Block, deaths: int = 0) -> Iterator[tuple[Block, BlockReport]]:
        """Run a block alone in the cluster; split it to find the points that kill the worker."""
        killed = yield from self._run_together([block], 0)
        if not killed:
            return
        parts = _split(block, self._stage.has_replicas)
        deaths += killed[0][1]
        if len(parts) == 1 and deaths >= _DEATHS_ALONE:
            yield block, self._record_death(block)
        elif len(parts) == 1:
            yield from self._isolate(block, deaths)
        else:
            for part in parts:
                yield from self._isolate(part)

    def _record_death(self, block: Block) -> BlockReport:
        """Write into the ledger that a point kills its worker."""
        message = f"its worker was killed each time, also with nothing else to do: {self._cause}"
        for index, needed in block.chunks:
            ledger: dict[str, Any] = {
                "error_type": np.full(needed.shape, "KilledWorker", np.dtypes.StringDType()),
                "error_message": np.full(needed.shape, message, np.dtypes.StringDType()),
                "status": np.full(needed.shape, Status.FAILED, np.int8),
            }
            with explain_unwritable(self._store.path):
                write_merged(self._store, self._token, index, needed, ledger, self._run)
        failed = {"failed": block.entries * self._store.entry_size}
        return BlockReport(failed, 0.0, f"KilledWorker: {self._describe(block)}: {message}")

    def _describe(self, block: Block) -> str:
        """The values of the first point of a block along the axes."""
        index, needed = block.chunks[0]
        starts = [piece.start for piece in self._store.region(index)]
        place = [start + int(step) for start, step in zip(starts, np.argwhere(needed)[0], strict=True)]
        grid = self._stage.grid
        return grid.describe(tuple(place[: len(grid.axes)]))


def _split(block: Block, has_entries: bool) -> list[Block]:
    """Split a block into a few of about equal size; a block of one point stays as it is."""
    points = [
        (chunk, tuple(place))
        for chunk, (_, needed) in enumerate(block.chunks)
        for place in np.argwhere(needed.any(axis=-1) if has_entries else needed).tolist()
    ]
    if len(points) == 1:
        return [block]
    size = math.ceil(len(points) / _PARTS)
    return [_select(block, points[first : first + size]) for first in range(0, len(points), size)]


def _select(block: Block, points: Sequence[tuple[int, tuple[int, ...]]]) -> Block:
    """The part of a block at some points, each given by the number of its chunk and its place there."""
    masks: dict[int, BoolArray] = {}
    for chunk, place in points:
        needed = block.chunks[chunk][1]
        masks.setdefault(chunk, np.zeros_like(needed))[place] = needed[place]
    entries = sum(int(mask.sum()) for mask in masks.values())
    chunks = tuple((block.chunks[chunk][0], mask) for chunk, mask in masks.items())
    return Block(chunks, block.seconds * entries / block.entries, entries)
