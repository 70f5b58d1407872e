"""`compute_block`: the task of a worker. It computes a block, writes it chunk by chunk, and returns a few counts.

A task may run twice (if its worker died), even at the same time (if its worker was only thought dead). It computes what
its arguments say. Into each chunk it writes only entries that are not known yet, as the only writer at that moment.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clhd.core.arrays import BoolArray
from clhd.errors import ClhdError, FileError, SimulationStopped, describe_unwritable
from clhd.sweep.plan.blocks import ChunkIndex
from clhd.sweep.plan.moments import BLOCK_COUNTS, count_runs
from clhd.sweep.plan.stage import Stage
from clhd.sweep.store.chunk_files import StoreError
from clhd.sweep.store.lock import check_lease, guard_writing
from clhd.sweep.store.store import Store
from clhd.systems.check import ResultError
from clhd.systems.declarations import NotConvergedError, Status
from clhd.systems.registry import Reference, load_system

_LONGEST_MESSAGE = 2000
_Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class BlockReport:
    """The counts by status, the seconds and the first error of a block."""

    counts: dict[str, int]
    seconds: float
    first_error: str


@dataclass(frozen=True)
class Obstacle:
    """The reason why no task can go on, as a value: Dask would log the traceback of an error at each worker."""

    message: str
    errno: int | None = None  # of an error of the file system


class _PlacedPoint(NamedTuple):
    """A point, and the place of its replicas in a block."""

    point: Any
    chunk: int  # number within the block
    place: tuple[int, ...]  # within the chunk, without the replica
    first: int  # first replica of the chunk


def try_block(
    path: str, chunks: Sequence[tuple[ChunkIndex, BoolArray]], run: int, token: str, reference: Reference
) -> BlockReport | Obstacle:
    """Return what `compute_block` does, or an `Obstacle` if an error stops this block and would stop all others."""
    try:
        try:
            return compute_block(path, chunks, run, token, reference)
        except OSError as error:
            check_lease(Path(path), token)
            return Obstacle(describe_unwritable(path, error), error.errno)
    except ClhdError as error:
        return Obstacle(str(error))


def check_report(report: BlockReport | Obstacle, store: Store) -> BlockReport:
    """Return the report of a block; raise the error that stops the run, if there is one."""
    if isinstance(report, BlockReport):
        return report
    message = report.message.replace(str(store.path.absolute()), str(store.path))  # workers name the store in full
    if report.errno is None:
        raise StoreError(message)
    found = FileError(message)
    found.errno = report.errno
    raise found


def compute_block(
    path: str, chunks: Sequence[tuple[ChunkIndex, BoolArray]], run: int, token: str, reference: Reference
) -> BlockReport:
    """Compute the needed entries of some chunks of a store, and write them.

    The run is known by its number among the runs of the store, and by the token of its lock. If it has ended, or the
    store has been moved, nothing is written, but SupersededError or MovedError raised.
    """
    check_lease(Path(path), token)
    store, stage = _open(path, token, reference)
    begin = time.perf_counter()
    written = [store.make_chunk(index) for index, _ in chunks]
    for replicas, points in _group(stage, store, chunks).items():
        _compute(stage, points, replicas, written)
    counts: Counter[str] = Counter()
    first_error = ""
    for (index, needed), data in zip(chunks, written, strict=True):
        write_merged(store, token, index, needed, data, run)
        by_status = {name: data[name][needed] for name in BLOCK_COUNTS} if stage.has_moments else None
        counts.update(count_runs(data["status"][needed], stage.entry_size, by_status))
        for kind, message in zip(data["error_type"][needed], data["error_message"][needed], strict=True):
            first_error = first_error or (f"{kind}: {message}" if kind else "")
    return BlockReport(dict(counts), time.perf_counter() - begin, first_error)


def write_merged(
    store: Store, token: str, index: ChunkIndex, needed: BoolArray, data: Mapping[str, NDArray[Any]], run: int
) -> None:
    """Write computed entries into a chunk by `Store.merge_chunk`, as its only writer, or raise as `compute_block`."""
    with guard_writing(store.path, token, store.chunk_number(index)):
        store.merge_chunk(index, needed, data, run)
        if not store.exists():  # a store that was just moved away must not appear again
            store.delete_chunk(index)
            check_lease(store.path, token)


@lru_cache(maxsize=4)
def _open(path: str, token: str, reference: Reference) -> tuple[Store, Stage]:
    """A store and its stage, kept open: they stay the same while a run lasts, and opening costs as much as a write."""
    store = Store(Path(path))
    return store, Stage(store.experiment, store.kind, load_system(reference))


def _group(
    stage: Stage, store: Store, chunks: Sequence[tuple[ChunkIndex, BoolArray]]
) -> dict[tuple[int, ...], list[_PlacedPoint]]:
    """Group the points of a block by the replicas that they need; mostly all points need the same."""
    groups: dict[tuple[int, ...], list[_PlacedPoint]] = defaultdict(list)
    for chunk, (index, needed) in enumerate(chunks):
        starts = [piece.start for piece in store.region(index)]
        by_point = needed if stage.has_replicas else needed[..., None]
        first = starts[-1] if stage.has_replicas else 0
        every = tuple(range(first, first + by_point.shape[-1])) if by_point.all() else ()
        for place in map(tuple, np.argwhere(by_point.any(axis=-1)).tolist()):
            replicas = every or tuple((first + np.flatnonzero(by_point[place])).tolist())
            position = tuple(start + step for start, step in zip(starts, place, strict=False))
            groups[replicas].append(_PlacedPoint(stage.point(stage.grid.values(position)), chunk, place, first))
    return groups


def _compute(stage: Stage, points: Sequence[_PlacedPoint], replicas: tuple[int, ...], written: list[_Arrays]) -> None:
    """Compute some points into chunks. If a point fails, find it by halving, so that the others are not lost."""
    begin = time.perf_counter()
    try:
        result = stage.compute([placed.point for placed in points], replicas)
    except SimulationStopped:
        raise
    except Exception as error:  # no error of a point may stop the others
        if len(points) == 1 or isinstance(error, ResultError):  # holds for all points of the call
            for placed in points:
                _record_failure(stage, placed, replicas, written, error)
            return
        half = len(points) // 2
        _compute(stage, points[:half], replicas, written)
        _compute(stage, points[half:], replicas, written)
        return
    share = (time.perf_counter() - begin) / (len(points) * len(replicas))
    for chunk, own in groupby(range(len(points)), key=lambda k: points[k].chunk):
        numbers, data = list(own), written[chunk]
        where = _find_places(stage, [points[k] for k in numbers], replicas)
        chosen: Any = numbers if where else 0  # without axes and replicas, a chunk is one number
        for name, values in result.values.items():
            data[name][where] = values[chosen]
        data["status"][where] = result.status[chosen]
        data["seconds"][where] = share
        data["error_type"][where] = data["error_message"][where] = ""
    for (k, *entry), found in result.errors.items():
        placed = points[k]
        _record_failure(stage, placed, tuple(replicas[i] for i in entry), written, found)


def _find_places(stage: Stage, points: Sequence[_PlacedPoint], replicas: tuple[int, ...]) -> Any:
    """Index, into the arrays of a chunk, of the replicas of some of its points, of shape (points, replicas)."""
    columns = [np.array(column) for column in zip(*(placed.place for placed in points), strict=True)]
    if not stage.has_replicas:
        return tuple(columns)
    return (*(column[:, None] for column in columns), np.array(replicas) - points[0].first)


def _record_failure(
    stage: Stage, placed: _PlacedPoint, replicas: tuple[int, ...], written: list[_Arrays], error: Exception
) -> None:
    where, data = _find_places(stage, [placed], replicas), written[placed.chunk]
    data["status"][where] = Status.NOT_CONVERGED if isinstance(error, NotConvergedError) else Status.FAILED
    data["error_type"][where] = type(error).__name__
    data["error_message"][where] = str(error)[:_LONGEST_MESSAGE]
