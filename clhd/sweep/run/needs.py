"""`plan_stages`: predict what an experiment takes, before anything runs: processor time, bytes, wall time and memory.

The prediction uses the blocks that would run. Their cost is the prediction of the system, corrected by the ledger as
soon as it holds enough measurements. Wall time and memory are meant for requests to a batch system, so they are larger
than what is likely. If a store must grow, one process copies it first.
"""

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clhd.core.arrays import BoolArray
from clhd.core.text import format_bytes, format_count, format_seconds
from clhd.errors import ClhdError
from clhd.sweep.plan.blocks import Plan, choose_chunks, count_files, plan_blocks
from clhd.sweep.plan.stage import Stage, format_work
from clhd.sweep.spec.experiment import stage_path
from clhd.sweep.store.match import check_changes, share_positions
from clhd.sweep.store.prepare import predict_growth_seconds
from clhd.sweep.store.store import Store, find_missing
from clhd.sweep.store.wanted import find_points, find_wanted_counts, select_first
from clhd.systems.declarations import Status

_BYTES_PER_NUMBER = 8
_LEDGER_BYTES = 9  # status, attempts, seconds, run
_KNOWN = (Status.OK, Status.DIVERGED, Status.NOT_CONVERGED)

# A prediction errs by the processor and by the load of the node; a measured rate only by the load.
SAFETY = {"predicted": 4.0, "measured": 2.0}
# Time for imports from a shared file system and for compiling kernels, once for each version of the code.
START_SECONDS = 300.0
# Shorter measurements would mostly measure the compilation of kernels.
_ENOUGH_SECONDS = 30.0
# Resident memory of the driver and of one worker, and the number of copies of a block in a worker: as computed, in the
# order of the store, encoded.
_DRIVER_MEGABYTES, _WORKER_MEGABYTES = 600, 600
_DRIVER_BYTES_PER_ENTRY = 50
_COPIES = 4


@dataclass(frozen=True)
class Needs:
    """The resources that a run needs to compute the pending entries of a store."""

    runs: int  # pending; where targets decide, the most that may still be wanted
    least_runs: int  # pending runs that are wanted in any case
    core_seconds: float  # of one core, corrected by the rate
    rate: float | None  # measured seconds per predicted second; None if too few runs are known
    workers: int
    growth_seconds: float  # predicted for the growth of the store
    wall_seconds: float  # to request, with the growth
    memory_mb: int  # to request, for all processes together
    obstacle: str  # why a run would refuse the existing store; mostly empty


def plan_stages(stages: Sequence[Stage], results: Path, workers: int) -> dict[str, Any]:
    """Return what the stages of an experiment are predicted to take.

    Parameters
    ----------
    stages : sequence of Stage
    workers : int
        Number of processes, of one core each.

    Returns
    -------
    dict
        For each stage: points, runs, blocks, shape of a chunk, core hours, seconds of the longest block, bytes
        (uncompressed) and files of the whole store, and the `Needs` of the rest as ``left``. Of a refined stage these
        are predictions, of the points that will be wanted, beside a `Refined` as ``refined``. Where errors decide on
        the replicas these are bounds from above, and ``targets`` has the first round, which every point takes.
    """
    plan: dict[str, Any] = {}
    for stage in stages:
        chunks = choose_chunks(stage)
        blocks = plan_blocks(stage, np.ones(stage.shape, dtype=bool), chunks, workers)
        refined = _predict_refined(stage, results)
        share = 1.0 if refined is None else refined.points / stage.grid.size
        entries = round(share * blocks.entries)
        plan[stage.kind] = {
            "points": round(share * stage.grid.size),
            "runs": entries * stage.entry_size,
            "blocks": math.ceil(share * len(blocks.blocks)),
            "chunk": list(chunks),
            "core_hours": share * blocks.seconds / 3600,
            "longest_block_seconds": blocks.blocks[0].seconds,
            "bytes": entries * _entry_bytes(stage),
            "files": count_files(stage, chunks),  # of a refined stage at most
            "left": asdict(predict_needs(stage, results, workers)),
        }
        if refined is not None:
            numbers = asdict(refined)
            del numbers["mask"]
            plan[stage.kind]["refined"] = numbers
        if stage.is_simulation and stage.experiment.sampling.is_open:
            plan[stage.kind]["targets"] = _describe_least(stage, workers, share)
    return plan


def _describe_least(stage: Stage, workers: int, share: float) -> dict[str, Any]:
    """The cost of the first round, which every point takes, or that share of them which a refinement wants."""
    sampling, chunks = stage.experiment.sampling, choose_chunks(stage)
    first = np.broadcast_to(np.arange(stage.shape[-1]) < sampling.start // stage.entry_size, stage.shape)
    blocks = plan_blocks(stage, first, chunks, workers)
    return {
        "start": sampling.start,
        "most": sampling.most,
        "runs": round(share * stage.grid.size) * sampling.start,
        "core_hours": share * blocks.seconds / 3600,
    }


def format_plan(name: str, plan: Mapping[str, Any]) -> str:
    """Return a plan for people: two lines for each stage, and a third one if a run would refuse its store."""
    lines = []
    for kind, part in plan.items():
        left = part["left"]
        counts = ", ".join(format_count(part[f"{noun}s"], noun) for noun in ("point", "run", "block"))
        work, size = format_work(3600 * part["core_hours"]), format_bytes(part["bytes"])
        lines.append(f"{name} {kind}: {counts}, {work}, {size} in {format_count(part['files'], 'file')}")
        if targets := part.get("targets"):
            least, work = format_count(targets["runs"], "run"), format_work(3600 * targets["core_hours"])
            replicas = f"{targets['start']} to {targets['most']} replicas of each point"
            lines.append(f"  that is at most; {replicas}, at least {least}, {work}")
        if refined := part.get("refined"):
            lines.append(
                f"  refined: about {refined['points']} of {refined['size']} points; {refined['wanted']} wanted so far, "
                f"in {refined['rounds']} of {refined['most_rounds']} rounds"
            )
        if left["runs"]:
            runs, work = format_count(left["runs"], "run"), format_work(left["core_seconds"])
            basis = "predicted" if left["rate"] is None else f"measured: {left['rate']:.2g} of the predicted"
            if left["growth_seconds"]:
                basis += f", and {format_seconds(left['growth_seconds'])} in which its store grows"
            wall, memory = format_seconds(left["wall_seconds"]), format_bytes(left["memory_mb"] * 1e6)
            workers = format_count(left["workers"], "worker")
            bound = f"at least {left['least_runs']}, at most " if part.get("targets") else ""
            lines.append(f"  left: {bound}{runs}, {work} ({basis}); to ask for with {workers}: {wall}, {memory}")
        else:
            lines.append("  left: nothing")
        if left["obstacle"]:
            lines.append(f"  cannot run: {left['obstacle']}")
    return "\n".join(lines)


def predict_needs(stage: Stage, results: Path, workers: int) -> Needs:
    """Return what a run still needs to compute of a stage: less than at first if an earlier run was stopped."""
    found, growth, obstacle = _find_store(stage, results)
    known, seconds = _read_ledger(stage, found)
    refined = _predict_refined(stage, results)
    needed = ~known
    if refined is not None:
        needed &= refined.mask if stage.entries is None else refined.mask[..., None]
    least, most = _select_open(stage, found)
    least, needed = needed & least, needed & most
    left = plan_blocks(stage, needed, choose_chunks(stage), workers)
    # Points that a refinement will want, nobody knows which: they cost as much as others.
    more = 0 if refined is None else (refined.points - refined.wanted) * (stage.entries or 1)
    left_seconds = left.seconds + more / math.prod(stage.shape) * stage.cost_table.seconds(stage.entries or 1)
    rate = _measure_rate(stage, known, seconds, workers)
    longest = max((block.seconds for block in left.blocks), default=0.0)
    # A free worker takes the longest block that is left: then the last block ends within this time (Graham 1969).
    wall = (rate or 1.0) * (left_seconds / workers + longest)
    safety = SAFETY["predicted" if rate is None else "measured"]
    return Needs(
        runs=(left.entries + more) * stage.entry_size,
        least_runs=int(least.sum()) * stage.entry_size,
        core_seconds=(rate or 1.0) * left_seconds,
        rate=rate,
        workers=workers,
        growth_seconds=growth,
        wall_seconds=START_SECONDS + safety * wall + SAFETY["predicted"] * growth,
        memory_mb=_predict_memory(stage, left, workers),
        obstacle=obstacle,
    )


@dataclass(frozen=True)
class Refined:
    """How far a refinement has come."""

    points: int  # predicted number that will be wanted; their number, once it is known
    wanted: int  # number of points that are wanted so far
    rounds: int  # that have begun
    most_rounds: int
    size: int  # number of points of the whole fine grid
    mask: BoolArray  # the points that are wanted so far


def _predict_refined(stage: Stage, results: Path) -> Refined | None:
    """How far the refinement of a stage has come; None without one."""
    refine, axes = stage.experiment.refine, stage.grid.axes
    if refine is None:
        return None
    expected = refine.predict_count(axes)
    try:
        mask, found = find_points(stage.experiment, axes, results / stage.experiment.name)
    except ClhdError:  # nothing of it is known yet
        return Refined(expected, 0, 0, refine.rounds, stage.grid.size, np.zeros(stage.grid.shape, dtype=bool))
    wanted = int(mask.sum())
    is_done, rounds = (True, 0) if found is None else (found.choice.is_done, int(found.choice.round.max()))
    return Refined(wanted if is_done else max(expected, wanted), wanted, rounds, refine.rounds, stage.grid.size, mask)


def _predict_memory(stage: Stage, left: Plan, workers: int) -> int:
    block = max((block.entries for block in left.blocks), default=0) * _entry_bytes(stage)
    worker = _WORKER_MEGABYTES + _COPIES * block / 1e6
    driver = _DRIVER_MEGABYTES + _DRIVER_BYTES_PER_ENTRY * math.prod(stage.shape) / 1e6
    return math.ceil(driver + workers * worker)


def _entry_bytes(stage: Stage) -> int:
    return _BYTES_PER_NUMBER * stage.count_numbers(stage.stored) + _LEDGER_BYTES


def _find_store(stage: Stage, results: Path) -> tuple[tuple[Store, Stage] | None, float, str]:
    """The store of a stage with the stage that it holds (None without a usable store), seconds of growth, obstacle."""
    path = stage_path(results / stage.experiment.name, stage.kind)
    if not path.exists():
        return None, 0.0, ""
    try:
        store = Store(path)
        stored = check_changes(store, stage)
        return (store, stored), predict_growth_seconds(store, stored, stage), ""
    except ClhdError as error:
        return None, 0.0, str(error)


def _read_ledger(stage: Stage, found: tuple[Store, Stage] | None) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """The known entries of a stage, and the seconds of each."""
    known = np.zeros(stage.shape, dtype=bool)
    seconds = np.zeros(stage.shape, dtype=np.float32)
    if found is None:
        return known, seconds
    store, held = found
    try:
        status, ledger = store.status(), store.read("seconds")
        for index in find_missing(store):
            status[store.region(index)] = Status.NOT_RUN
    except ClhdError:
        return known, seconds
    mine, other = _match(stage, store, held)
    known[mine] = np.isin(status[other], _KNOWN)
    seconds[mine] = ledger[other]
    return known, seconds


def _match(stage: Stage, store: Store, held: Stage) -> tuple[Any, Any]:
    """The entries that a stage shares with a store: indices here and there."""
    both = [] if stage.entries is None else [list(range(min(stage.entries, store.shape[-1])))]
    here, there = share_positions(stage.grid.axes, held.grid.axes)
    return np.ix_(*here, *both), np.ix_(*there, *both)


def _select_open(stage: Stage, found: tuple[Store, Stage] | None) -> tuple[BoolArray, BoolArray]:
    """Masks of the entries of a stage that are wanted in any case, and at most, as far as is known."""
    least, most = np.ones(stage.shape, dtype=bool), np.ones(stage.shape, dtype=bool)
    sampling = stage.experiment.sampling
    if not sampling.is_open or not stage.is_simulation:
        return least, most
    entries = np.full(stage.grid.shape, sampling.start // stage.entry_size)
    is_decided = np.zeros(stage.grid.shape, dtype=bool)
    if found is not None:
        store, held = found
        mine, other = (tuple(index.squeeze(-1) for index in side[:-1]) for side in _match(stage, store, held))
        with suppress(ClhdError):  # damage is told elsewhere
            counts = find_wanted_counts(store, stage.experiment)
            entries[mine], is_decided[mine] = counts.entries[other], counts.is_decided[other]
    least = select_first(entries, stage.shape[-1])
    return least, least | ~is_decided[..., None]


def _measure_rate(stage: Stage, known: NDArray[np.bool_], seconds: NDArray[np.float32], workers: int) -> float | None:
    """Measured seconds per predicted second of the known entries; None if too few are known."""
    measured = float(seconds[known].sum(dtype=float))
    if measured < _ENOUGH_SECONDS:
        return None
    predicted = plan_blocks(stage, known, choose_chunks(stage), workers).seconds
    return measured / predicted if predicted > 0 else None
