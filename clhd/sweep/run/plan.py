"""`plan_roads`: what an experiment will take, before anything runs: core-hours, bytes, wall time and memory.

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

from clhd.errors import ClhdError
from clhd.sweep.plan.blocks import Plan, choose_chunks, count_files, plan_blocks
from clhd.sweep.plan.road import Road
from clhd.sweep.results.status import format_bytes
from clhd.sweep.run.progress import format_count, format_seconds
from clhd.sweep.store.missing import find_missing
from clhd.sweep.store.prepare import check_changes, is_of_same_form, predict_growth_seconds
from clhd.sweep.store.store import Store
from clhd.systems.protocol import Status

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


def plan_roads(roads: Sequence[Road], results: Path, workers: int) -> dict[str, Any]:
    """What the roads of an experiment are predicted to take.

    Parameters
    ----------
    roads : sequence of Road
    results : Path
        Folder of all results, which tell what is known already.
    workers : int
        Processes, of one core each.

    Returns
    -------
    dict
        For each road: points, runs (replicas of points), blocks, shape of a chunk, core hours, seconds of the longest
        block, bytes (uncompressed) and files of all of it, and `Needs` of what is left, as ``left``.
    """
    plan: dict[str, Any] = {}
    for road in roads:
        chunks = choose_chunks(road)
        blocks = plan_blocks(road, np.ones(_shape(road), dtype=bool), chunks, workers)
        plan[road.kind] = {
            "points": road.grid.size,
            "runs": blocks.lanes * road.entry_size,
            "blocks": len(blocks.blocks),
            "chunk": list(chunks),
            "core_hours": blocks.seconds / 3600,
            "longest_block_seconds": blocks.blocks[0].seconds,
            "bytes": blocks.lanes * _entry_bytes(road),
            "files": count_files(road, chunks),
            "left": asdict(predict_needs(road, results, workers)),
        }
    return plan


def format_plan(name: str, plan: Mapping[str, Any]) -> str:
    """A plan for people, two lines for each road, and one more if its store would be refused."""
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
            lines.append(f"  as it is, a run refuses: {left['obstacle']}")
    return "\n".join(lines)


def _format_work(core_hours: float) -> str:
    return f"{core_hours:.3g} core-hours" if core_hours >= 0.01 else "less than 0.01 core-hours"


def predict_needs(road: Road, results: Path, workers: int) -> Needs:
    """What is needed to compute what the store of a road does not know yet: less than at first if a run was stopped."""
    found, growth, obstacle = _find_store(road, results)
    known, seconds = _read_ledger(road, found)
    left = plan_blocks(road, ~known, choose_chunks(road), workers)
    rate = _measure_rate(road, known, seconds, workers)
    longest = max((block.seconds for block in left.blocks), default=0.0)
    # Whoever is free takes the next block, the longest first: then the last one ends within this time (Graham).
    wall = (rate or 1.0) * (left.seconds / workers + longest)
    safety = SAFETY["predicted" if rate is None else "measured"]
    return Needs(
        runs=left.lanes * road.entry_size,
        core_seconds=(rate or 1.0) * left.seconds,
        rate=rate,
        workers=workers,
        growth_seconds=growth,
        wall_seconds=START_SECONDS + safety * wall + SAFETY["predicted"] * growth,
        memory_mb=_predict_memory(road, left, workers),
        obstacle=obstacle,
    )


def _predict_memory(road: Road, left: Plan, workers: int) -> int:
    block = max((block.lanes for block in left.blocks), default=0) * _entry_bytes(road)
    worker = _WORKER_MEGABYTES + _COPIES * block / 1e6
    driver = _DRIVER_MEGABYTES + _DRIVER_BYTES_PER_ENTRY * math.prod(_shape(road)) / 1e6
    return math.ceil(driver + workers * worker)


def _entry_bytes(road: Road) -> int:
    return _BYTES_PER_NUMBER * road.count_numbers(road.stored) + _LEDGER_BYTES


def _shape(road: Road) -> tuple[int, ...]:
    return road.grid.shape + ((road.entries,) if road.entries is not None else ())


def _find_store(road: Road, results: Path) -> tuple[tuple[Store, Road] | None, float, str]:
    """The store of a road, and what it has room for, None if there is none of use.

    And how many seconds its growth takes, and why a run would refuse it.
    """
    path = results / road.experiment.name / f"{road.kind}.zarr"
    if not path.exists():
        return None, 0.0, ""
    try:
        store = Store(path)
        held = Road(store.experiment, road.kind)
        check_changes(store, held, road)
        if not is_of_same_form(held, road):
            return None, 0.0, ""
        return (store, held), predict_growth_seconds(store, held, road), ""
    except ClhdError as error:
        return None, 0.0, str(error)


def _read_ledger(road: Road, found: tuple[Store, Road] | None) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """What of a road is known, and the seconds that it took."""
    known = np.zeros(_shape(road), dtype=bool)
    seconds = np.zeros(_shape(road), dtype=np.float32)
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
    for axis, held_axis in zip(road.grid.axes, held.grid.axes, strict=True):
        positions = {value: position for position, value in enumerate(held_axis.values)}
        here = [position for position, value in enumerate(axis.values) if value in positions]
        places.append((here, [positions[axis.values[position]] for position in here]))
    if road.entries is not None:
        both = list(range(min(road.entries, store.shape[-1])))
        places.append((both, both))
    mine, other = (np.ix_(*[pair[side] for pair in places]) for side in (0, 1))
    known[mine] = np.isin(status[other], _KNOWN)
    seconds[mine] = ledger[other]
    return known, seconds


def _measure_rate(road: Road, known: NDArray[np.bool_], seconds: NDArray[np.float32], workers: int) -> float | None:
    """Measured seconds per predicted second of what is known; None if too little is."""
    measured = float(seconds[known].sum(dtype=float))
    if measured < _ENOUGH_SECONDS:
        return None
    predicted = plan_blocks(road, known, choose_chunks(road), workers).seconds
    return measured / predicted if predicted > 0 else None
