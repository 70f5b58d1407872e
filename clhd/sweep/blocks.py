"""Blocks: whole chunks of a store, sized by predicted cost, longest first.

A chunk is what one file of a variable holds, and what one task writes; a block is one or more chunks, and what one
task computes. Chunks never reach across positions at which the cost or the family of the points differs, so that a
block is of one kind and the cheap points need not wait for the dear ones.

| symbol | name | unit |
|---|---|---|
| ``seconds`` | predicted cost, of kernel calls whose lanes are padded | s on one core |
| chunk index | position of a chunk in the grid of chunks | |
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clhd.sweep.road import Road
from clhd.systems.base import Cost, Outputs

ChunkIndex = tuple[int, ...]
BoolArray = NDArray[np.bool_]

# A chunk takes at most about this long, unless one group of lanes takes longer; a block at least about this long, if
# there is so much to do. Below, the cost of a task and of its files (some ms) would show; above, the end of a run
# would wait for its last block, and an interruption would lose more.
_MOST_SECONDS, _LEAST_SECONDS = 2.0, 0.5
_MOST_BYTES = 32 * 2**20
# A store has no more chunks than about this: of longer work, each takes longer. A chunk is several files, all of which
# the ledger is read from; docs/scaling.md has what so many take.
_MOST_CHUNKS = 100_000
# So many times more or fewer chunks than are best are about as good.
_AS_GOOD = 2
# Blocks for each worker, so that all end at about the same time.
_BLOCKS_PER_WORKER = 8
# What one scheduler and one driver can hand out and take back at their ease; docs/scaling.md has the measurement.
_BLOCKS_PER_SECOND = 100
_Entry = tuple[ChunkIndex, BoolArray, int]


@dataclass(frozen=True, slots=True)
class Block:
    """What one task computes.

    Parameters
    ----------
    chunks : tuple of (chunk index, needed)
        `needed`, of the shape of the chunk, says which replicas of which points are to be computed.
    seconds : float
        Predicted cost.
    lanes : int
        Entries of the store, together: replicas of points, or blocks of replicas of which moments are kept.
    """

    chunks: tuple[tuple[ChunkIndex, BoolArray], ...]
    seconds: float
    lanes: int


@dataclass(frozen=True)
class Plan:
    """What is to be done, longest block first."""

    blocks: tuple[Block, ...]
    seconds: float
    lanes: int


def choose_chunks(road: Road) -> tuple[int, ...]:
    """Shape of a chunk of a road's store: along the axes of the grid and, for a simulation, the replicas."""
    costs = road.costs
    every: list[Cost] = costs.ravel().tolist()
    dearest = max(every, key=lambda cost: cost.seconds)
    replicas = road.entries or 1
    most_seconds = max(_MOST_SECONDS, replicas * sum(cost.seconds for cost in every) / _MOST_CHUNKS)
    # Replicas of one point: whole groups of lanes, as many as the time allows.
    groups = max(1, int(most_seconds / max(dearest.seconds * dearest.lanes, 1e-9)))
    kept = min(replicas, groups * dearest.lanes)
    most_bytes = _MOST_BYTES / (8 * count_numbers(road, road.outputs) * road.entry_size * kept)
    fitting = int(most_seconds / max(dearest.seconds * kept, 1e-9))
    filling = math.ceil(dearest.lanes / kept)
    points = max(1, int(min(max(fitting, filling), most_bytes)))
    shape = []
    for axis in reversed(range(costs.ndim)):
        length = costs.shape[axis]
        size = min(length, points) if _is_uniform(costs, axis) else 1
        size = math.ceil(length / math.ceil(length / size))  # as even as can be
        points //= size
        points = max(points, 1)
        shape.append(size)
    return (*reversed(shape), kept) if road.is_simulation else tuple(reversed(shape))


def keep_chunks(chunks: tuple[int, ...], road: Road) -> tuple[int, ...]:
    """Shape of a chunk of a store that grows: as it was, if that is about as good, so that its files can stay.

    Parameters
    ----------
    chunks : tuple of int
        Shape of a chunk until now.
    road : Road
        That the store is to have room for.
    """
    best = choose_chunks(road)
    shape = road.grid.shape + ((road.entries,) if road.entries is not None else ())
    counts = [math.prod(chunk_counts(shape, sizes)) for sizes in (chunks, best)]
    sizes = chunks[: road.costs.ndim]
    is_uniform = all(size == 1 or _is_uniform(road.costs, axis) for axis, size in enumerate(sizes))
    return chunks if is_uniform and max(counts) <= _AS_GOOD * min(counts) else best


def count_numbers(road: Road, outputs: Outputs) -> int:
    """Numbers of one lane, or of one entry of the store, in all variables."""
    sizes = {name: len(values) for name, (values, _) in road.outputs.coordinates.items()}
    sizes["time"] = len(road.time)
    return sum(math.prod(sizes[dim] for dim in output.dims) for output in outputs.variables.values())


def _is_uniform(costs: NDArray[np.object_], axis: int) -> bool:
    """True if neither cost nor family changes along an axis."""
    first = costs.take([0], axis=axis)
    return bool(np.all(costs == first))


def chunk_counts(shape: Sequence[int], chunks: Sequence[int]) -> tuple[int, ...]:
    """Number of chunks along each dim."""
    return tuple(math.ceil(length / size) for length, size in zip(shape, chunks, strict=True))


def chunk_region(index: ChunkIndex, shape: Sequence[int], chunks: Sequence[int]) -> tuple[slice, ...]:
    """The part of an array that a chunk holds."""
    return tuple(
        slice(i * size, min((i + 1) * size, length)) for i, size, length in zip(index, chunks, shape, strict=True)
    )


def widen_chunks(shape: Sequence[int], chunks: Sequence[int], most: int) -> tuple[int, ...]:
    """The shape of whole chunks with at most so many entries together, or of one: a few reads cost less than many."""
    wide = list(chunks)
    for axis in reversed(range(len(wide))):
        wide[axis] = min(shape[axis], wide[axis] * max(1, most // math.prod(wide)))
        if wide[axis] < shape[axis]:
            break
    return tuple(wide)


def plan_blocks(road: Road, needed: BoolArray, chunks: tuple[int, ...], workers: int) -> Plan:
    """Group the chunks in which something is needed into blocks.

    Parameters
    ----------
    road : Road
        That the store has room for.
    needed : array of bool, of the shape of the store's dims
    chunks : shape of a chunk
    workers : int
        Blocks are small enough that each worker gets several, and long enough that many workers do not wait for the
        one scheduler; this changes no bits.
    """
    families: dict[Cost, list[_Entry]] = defaultdict(list)
    masks: dict[tuple[tuple[int, ...], bytes], BoolArray] = {}  # few differ, and sharing them keeps a long plan small
    for index in np.ndindex(*chunk_counts(needed.shape, chunks)):
        region = chunk_region(index, needed.shape, chunks)
        part = needed[region]
        lanes = int(part.sum())
        if lanes:
            grid_region = region[:-1] if road.is_simulation else region
            cost: Cost = road.costs[tuple(piece.start for piece in grid_region)]
            mask = masks.setdefault((part.shape, part.tobytes()), part.copy())
            families[cost].append((index, mask, lanes))
    total = sum(_padded_seconds(cost, sum(lanes for *_, lanes in entries)) for cost, entries in families.items())
    enough = _choose_seconds(total, workers)
    blocks = [_make_block(cost, part) for cost, entries in families.items() for part in _divide(cost, entries, enough)]
    blocks.sort(key=lambda block: (-block.seconds, block.chunks[0][0]))
    return Plan(tuple(blocks), sum(block.seconds for block in blocks), sum(block.lanes for block in blocks))


def _choose_seconds(total: float, workers: int) -> float:
    """How long a block should take, at least.

    Blocks of w / rate seconds keep w workers busy, and the work ends after total / w + w / rate, the latter for the
    last block. That is least for w = sqrt(total * rate): longer blocks, for more workers, would make it end later.
    """
    even = min(max(total / (workers * _BLOCKS_PER_WORKER), _LEAST_SECONDS), _MOST_SECONDS)
    useful = min(workers, math.sqrt(total * _BLOCKS_PER_SECOND))
    return max(even, useful / _BLOCKS_PER_SECOND)


def _divide(cost: Cost, entries: Iterable[_Entry], enough: float) -> Iterator[list[_Entry]]:
    """Chunks of one kind as the blocks that they make, none shorter than `enough` but for the last."""
    pending: list[_Entry] = []
    lanes = 0
    for entry in entries:
        pending.append(entry)
        lanes += entry[2]
        if _padded_seconds(cost, lanes) >= enough:
            yield pending
            pending, lanes = [], 0
    if pending:
        yield pending


def _padded_seconds(cost: Cost, lanes: int) -> float:
    return cost.seconds * math.ceil(lanes / cost.lanes) * cost.lanes


def _make_block(cost: Cost, entries: Sequence[_Entry]) -> Block:
    lanes = sum(entry[2] for entry in entries)
    return Block(tuple((index, part) for index, part, _ in entries), _padded_seconds(cost, lanes), lanes)
