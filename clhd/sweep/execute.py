"""`execute_plan`: the blocks of a plan, run by the workers of a cluster, longest first, a few at once."""

import time
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import numpy as np
from distributed import Client, as_completed
from distributed.scheduler import KilledWorker
from numpy.typing import NDArray

from clhd.sweep.blocks import Block, Plan
from clhd.sweep.cluster import Cluster, open_client
from clhd.sweep.lock import guard_writing
from clhd.sweep.progress import Progress, format_seconds
from clhd.sweep.provenance import describe_run
from clhd.sweep.store import Store, StoreError
from clhd.sweep.tasks import BlockReport, compute_block
from clhd.systems.base import Status

# Tasks that are waiting beside those that run: enough that no worker waits for the driver.
_WAITING_PER_WORKER = 2
# Shorter work is done by threads of this process: starting processes would take longer.
_THREADS_BELOW_SECONDS = 3.0
_as_completed: Any = as_completed  # distributed is not typed


def execute_plan(store: Store, plan: Plan, title: str, cluster: Cluster, client: Client | None, token: str) -> int:
    """Run the blocks of a plan, by the token of the store's lease; return how many lanes were computed."""
    run = len(store.attributes["runs"])
    begin = time.perf_counter()
    description = describe_run()
    store.update_attributes(runs=[*store.attributes["runs"], description])
    size = store.entry_size
    progress = Progress(title, plan.lanes * size, plan.seconds)
    progress.say(
        f"{plan.lanes * size} runs in {len(plan.blocks)} blocks, {format_seconds(plan.seconds)} of one core predicted"
    )
    processes = plan.seconds > _THREADS_BELOW_SECONDS
    counts: dict[str, int] = {}
    done = 0
    opened: Any = open_client(cluster, processes=processes) if client is None else nullcontext(client)
    try:
        with opened as active:
            for block, report in _run_blocks(active, store, plan, run, token):
                for status, count in report.counts.items():
                    counts[status] = counts.get(status, 0) + count
                done += block.lanes * size
                if report.first_error:
                    progress.say(f"failed: {report.first_error.splitlines()[0]}")
                progress.advance(block.lanes * size, block.seconds)
    finally:
        description |= {"seconds": round(time.perf_counter() - begin, 3), "computed": done}
        store.update_attributes(runs=[*store.attributes["runs"][:run], description])
    found = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    progress.finish(found)
    return done


def _run_blocks(client: Any, store: Store, plan: Plan, run: int, token: str) -> Iterator[tuple[Block, BlockReport]]:
    """Run blocks, longest first, never many more at once than there are workers."""
    limit = (1 + _WAITING_PER_WORKER) * max(1, sum(client.nthreads().values()))
    blocks = iter(plan.blocks)
    running: dict[Any, Block] = {}
    finished: Any = _as_completed()

    def submit() -> None:
        block = next(blocks, None)
        if block is not None:
            priority = len(plan.blocks) - len(running)
            future = client.submit(
                compute_block, str(store.path.absolute()), block.chunks, run, token, pure=False, priority=priority
            )
            running[future] = block
            finished.add(future)

    for _ in range(min(limit, len(plan.blocks))):
        submit()
    for future in finished:
        block = running.pop(future)
        submit()
        error = future.exception()
        if isinstance(error, KilledWorker):
            yield block, _record_death(store, block, run, token)
        elif isinstance(error, OSError):
            raise StoreError(f"{store.path}: cannot be written: {error}")
        else:
            yield block, future.result()


def _record_death(store: Store, block: Block, run: int, token: str) -> BlockReport:
    """Note in the ledger that a block killed its worker again and again."""
    message = "its worker was killed each time it was tried; perhaps it needs more memory than a worker has"
    for index, needed in block.chunks:
        ledger: dict[str, NDArray[Any]] = {
            "error_type": np.full(needed.shape, "KilledWorker", np.dtypes.StringDType()),
            "error_message": np.full(needed.shape, message, np.dtypes.StringDType()),
            "status": np.full(needed.shape, Status.FAILED, np.int8),
        }
        with guard_writing(store.path, token, store.chunk_number(index)):
            store.merge_chunk(index, needed, ledger, run)
    return BlockReport({"failed": block.lanes * store.entry_size}, 0.0, f"KilledWorker: {message}")
