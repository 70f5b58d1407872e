"""`plan_stages`: what an experiment will take, before anything runs: core-hours, bytes, wall time and memory.

The blocks are those that would run. Their cost is the systems' own prediction, put right by what the store's ledger has
measured, as soon as that says something. Wall time and memory are made to be asked for from a batch system, so they lie
on the safe side of what is likely. A store that must grow first is copied by one process, before anything is computed.

| symbol | name | unit |
|---|---|---|
| ``rate`` | measured seconds per predicted second, of what is known; None while too little is | 1 |
| ``growth_seconds`` | of the copying of a store that must grow; 0 if it need not | s |
| ``wall_seconds`` | time after which what is left is done, with `SAFETY` and the time of the start | s |
| ``memory_mb`` | of all processes of a run | MB |
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clhd.core.text import format_bytes, format_count, format_seconds
from clhd.errors import ClhdError
from clhd.sweep.plan.blocks import Plan, choose_chunks, count_files, plan_blocks
from clhd.sweep.plan.stage import Stage
from clhd.sweep.spec.stages import stage_path
from clhd.sweep.store.missing import find_missing
from clhd.sweep.store.prepare import check_changes, has_same_form, predict_growth_seconds, stored_stage
from clhd.sweep.store.store import Store
from clhd.systems.declarations import Status

_BYTES_PER_NUMBER = 8
_LEDGER_BYTES = 9  # status, attempts, seconds, run
_KNOWN = (Status.OK, Status.DIVERGED, Status.NOT_CONVERGED)

# A prediction errs by the processor and by what else runs on the node; a measured rate by the latter alone.
SAFETY = {"predicted": 4.0, "measured": 2.0}
# Imports from a shared file system, and compiling kernels, which a new version of the code does once.
START_SECONDS = 300.0
# Less would measure little more than the compilation of kernels.
_ENOUGH_SECONDS = 30.0
# Resident memory of the process that distributes the blocks and of one worker, and copies that a worker has of the
# values of a block: as computed, in the order of the store, encoded.
_DRIVER_MEGABYTES, _WORKER_MEGABYTES = 600, 600
_DRIVER_BYTES_PER_ENTRY = 50
_COPIES = 4


@dataclass(frozen=True)
class Needs:
    """What is needed to compute what a store does not know yet.

    Parameters
    ----------
    runs : int
        Replicas of points that are left.
    core_seconds : float
        Of one core, the rate included.
    rate : float or None
        Measured seconds per predicted second of what is known; None if that is too little to tell.
    workers : int
    growth_seconds : float
        That the growth of the store is predicted to take, before anything is computed.
    wall_seconds : float
        Time to ask for, with the growth.
    memory_mb : int
        Memory to ask for, of all processes together.
    obstacle : str
        Why a run would refuse the store that is there; mostly empty.
    """

    runs: int
    core_seconds: float
    rate: float | None
    workers: int
    growth_seconds: float
    wall_seconds: float
    memory_mb: int
    obstacle: str


def plan_stages(stages: Sequence[Stage], results: Path, workers: int) -> dict[str, Any]:
    """What the stages of an experiment are predicted to take.

    Parameters
    ----------
    stages : sequence of Stage
    results : Path
        Folder of all results, which tell what is known already.
    workers : int
        Processes, of one core each.

    Returns
    -------
    dict
        For each stage: points, runs (replicas of points), blocks, shape of a chunk, core hours, seconds of the longest
        block, bytes (uncompressed) and files of all of it, and `Needs` of what is left, as ``left``.
    """
    plan: dict[str, Any] = {}
    for stage in stages:
        chunks = choose_chunks(stage)
        blocks = plan_blocks(stage, np.ones(stage.shape, dtype=bool), chunks, workers)
        plan[stage.kind] = {
            "points": stage.grid.size,
            "runs": blocks.entries * stage.entry_size,
            "blocks": len(blocks.blocks),
            "chunk": list(chunks),
            "core_hours": blocks.seconds / 3600,
            "longest_block_seconds": blocks.blocks[0].seconds,
            "bytes": blocks.entries * _entry_bytes(stage),
            "files": count_files(stage, chunks),
            "left": asdict(predict_needs(stage, results, workers)),
        }
    return plan


def format_plan(name: str, plan: Mapping[str, Any]) -> str:
    """A plan for people, two lines for each stage, and one more if its store would be refused."""
    lines = []
    for kind, part in plan.items():
        left = part["left"]
        counts = ", ".join(format_count(part[f"{noun}s"], noun) for noun in ("point", "run", "block"))
        work, size = _format_work(part["core_hours"]), format_bytes(part["bytes"])
        lines.append(f"{name} {kind}: {counts}, {work}, {size} in {format_count(part['files'], 'file')}")
        if left["runs"]:
            runs, work = format_count(left["runs"], "run"), _format_work(left["core_seconds"] / 3600)
            basis = "predicted" if left["rate"] is None else f"measured: {left['rate']:.2g} of the predicted"
            if left["growth_seconds"]:
                basis += f", and {format_seconds(left['growth_seconds'])} in which its store grows"
            wall, memory = format_seconds(left["wall_seconds"]), format_bytes(left["memory_mb"] * 1e6)
            workers = format_count(left["workers"], "worker")
            lines.append(f"  left: {runs}, {work} ({basis}); to ask for with {workers}: {wall}, {memory}")
        else:
            lines.append("  left: nothing")
        if left["obstacle"]:
            lines.append(f"  cannot run: {left['obstacle']}")
    return "\n".join(lines)


def _format_work(core_hours: float) -> str:
    return f"{core_hours:.3g} core-hours" if core_hours >= 0.01 else "less than 0.01 core-hours"


def predict_needs(stage: Stage, results: Path, workers: int) -> Needs:
    """Return what a run still needs to compute of a stage: less than at first if an earlier run was stopped."""
    found, growth, obstacle = _find_store(stage, results)
    known, seconds = _read_ledger(stage, found)
    left = plan_blocks(stage, ~known, choose_chunks(stage), workers)
    rate = _measure_rate(stage, known, seconds, workers)
    longest = max((block.seconds for block in left.blocks), default=0.0)
    # Whoever is free takes the next block, the longest first: then the last one ends within this time (Graham).
    wall = (rate or 1.0) * (left.seconds / workers + longest)
    safety = SAFETY["predicted" if rate is None else "measured"]
    return Needs(
        runs=left.entries * stage.entry_size,
        core_seconds=(rate or 1.0) * left.seconds,
        rate=rate,
        workers=workers,
        growth_seconds=growth,
        wall_seconds=START_SECONDS + safety * wall + SAFETY["predicted"] * growth,
        memory_mb=_predict_memory(stage, left, workers),
        obstacle=obstacle,
    )


def _predict_memory(stage: Stage, left: Plan, workers: int) -> int:
    block = max((block.entries for block in left.blocks), default=0) * _entry_bytes(stage)
    worker = _WORKER_MEGABYTES + _COPIES * block / 1e6
    driver = _DRIVER_MEGABYTES + _DRIVER_BYTES_PER_ENTRY * math.prod(stage.shape) / 1e6
    return math.ceil(driver + workers * worker)


def _entry_bytes(stage: Stage) -> int:
    return _BYTES_PER_NUMBER * stage.count_numbers(stage.stored) + _LEDGER_BYTES


def _find_store(stage: Stage, results: Path) -> tuple[tuple[Store, Stage] | None, float, str]:
    """The store of a stage, and what it has room for, None if there is none of use.

    And how many seconds its growth takes, and why a run would refuse it.
    """
    path = stage_path(results / stage.experiment.name, stage.kind)
    if not path.exists():
        return None, 0.0, ""
    try:
        store = Store(path)
        stored = stored_stage(store, stage)
        check_changes(store, stored, stage)
        if not has_same_form(stored, stage):
            return None, 0.0, ""
        return (store, stored), predict_growth_seconds(store, stored, stage), ""
    except ClhdError as error:
        return None, 0.0, str(error)


def _read_ledger(stage: Stage, found: tuple[Store, Stage] | None) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """What of a stage is known, and the seconds that it took."""
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
    places: list[tuple[list[int], list[int]]] = []  # along each dim, of what both have: here, and in the store
    for axis, held_axis in zip(stage.grid.axes, held.grid.axes, strict=True):
        positions = {value: position for position, value in enumerate(held_axis.values)}
        here = [position for position, value in enumerate(axis.values) if value in positions]
        places.append((here, [positions[axis.values[position]] for position in here]))
    if stage.entries is not None:
        both = list(range(min(stage.entries, store.shape[-1])))
        places.append((both, both))
    mine, other = (np.ix_(*[pair[side] for pair in places]) for side in (0, 1))
    known[mine] = np.isin(status[other], _KNOWN)
    seconds[mine] = ledger[other]
    return known, seconds


def _measure_rate(stage: Stage, known: NDArray[np.bool_], seconds: NDArray[np.float32], workers: int) -> float | None:
    """Measured seconds per predicted second of what is known; None if too little is."""
    measured = float(seconds[known].sum(dtype=float))
    if measured < _ENOUGH_SECONDS:
        return None
    predicted = plan_blocks(stage, known, choose_chunks(stage), workers).seconds
    return measured / predicted if predicted > 0 else None
