"""Blocks: whole chunks of a store, sized by predicted cost, longest first.

A chunk is what one file of a variable holds, and what one task writes; a block is one or more chunks, and what one
task computes. Chunks do not reach across positions at which the cost or the family of the points differs, so that a
block is of one kind and the cheap points need not wait for the dear ones; unless there is so little to do for so many
kinds that the files would cost more than the work, or more files than a store should have.

| symbol | name | unit |
|---|---|---|
| ``seconds`` | predicted cost, of kernel calls, the last one of which may be half empty | s on one core |
| chunk index | position of a chunk in the grid of chunks | |
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clhd.sweep.plan.costs import MIXED, CostTable, IntArray
from clhd.sweep.plan.limits import CHUNK_BYTES, MOST_BYTES_AT_ONCE, check_bytes, check_chunks
from clhd.sweep.plan.stage import Stage

ChunkIndex = tuple[int, ...]
BoolArray = NDArray[np.bool_]

# A chunk takes at most about this long, unless one kernel call takes longer; a block at least about this long, if
# there is so much to do. Below, the cost of a task and of its files (some ms) would show; above, the end of a run
# would wait for its last block, and an interruption would lose more.
_MOST_SECONDS, _LEAST_SECONDS = 2.0, 0.5
# A store has no more files than about this, each in a folder of its own; of longer work, each chunk takes longer. A
# chunk is a file for each output and for each number of the ledger; docs/scaling.md has what so many take.
_MOST_FILES, _LEDGER_NUMBERS = 500_000, 4
# So many times more or fewer chunks than are best are about as good.
_AS_GOOD = 2
# Blocks for each worker, so that all end at about the same time.
_BLOCKS_PER_WORKER = 8
# What one scheduler and one driver can hand out and take back at their ease; docs/scaling.md has the measurement.
_BLOCKS_PER_SECOND = 100
# A chunk, what is needed of it, and how many entries of each kind these are.
_Entry = tuple[ChunkIndex, BoolArray, Mapping[int, int]]


@dataclass(frozen=True, slots=True)
class Block:
    """What one task computes.

    Parameters
    ----------
    chunks : tuple of (chunk index, needed)
        `needed`, of the shape of the chunk, says which replicas of which points are to be computed.
    seconds : float
        Predicted cost.
    entries : int
        Entries of the store, together: replicas of points, or blocks of replicas of which moments are kept.
    """

    chunks: tuple[tuple[ChunkIndex, BoolArray], ...]
    seconds: float
    entries: int


@dataclass(frozen=True)
class Plan:
    """What is to be done, longest block first."""

    blocks: tuple[Block, ...]
    seconds: float
    entries: int


def choose_chunks(stage: Stage) -> tuple[int, ...]:
    """Shape of a chunk of a stage's store: along the axes of the grid and, for a simulation, the replicas.

    Raises
    ------
    ExperimentError
        If there would be more chunks, or a larger one, than a store can have.
    """
    check_bytes(stage)
    table, shape = stage.cost_table, stage.shape
    dearest, seconds = table.dearest, table.seconds(stage.entries or 1)
    bound = max(1, _MOST_FILES // _count_variables(stage))
    most_seconds = max(_MOST_SECONDS, seconds / bound)
    most_entries = max(1, CHUNK_BYTES // stage.entry_bytes)
    # Replicas of one point: whole kernel calls, as many as the time allows.
    groups = max(1, int(most_seconds / max(dearest.seconds * dearest.runs_per_call, 1e-9)))
    kept = min(stage.entries or 1, groups * dearest.runs_per_call, most_entries)
    fitting = int(most_seconds / max(dearest.seconds * kept, 1e-9))
    filling = math.ceil(dearest.runs_per_call / kept)
    points = max(1, min(max(fitting, filling), most_entries // kept))
    sizes = [kept] if stage.has_replicas else []
    for axis in reversed(range(table.numbers.ndim)):
        size = _make_even(shape[axis], min(points, shape[axis]) if table.is_uniform(axis) else 1)
        points = max(points // size, 1)
        sizes.insert(0, size)
    chunks = _join_chunks(stage, tuple(sizes), most_seconds, most_entries, bound)
    check_chunks(stage, math.prod(chunk_counts(shape, chunks)))
    return chunks


def count_files(stage: Stage, chunks: tuple[int, ...]) -> int:
    """Files of all chunks of a store, once all is computed."""
    return math.prod(chunk_counts(stage.shape, chunks)) * _count_variables(stage)


def _count_variables(stage: Stage) -> int:
    return len(stage.stored.variables) + _LEDGER_NUMBERS


def _make_even(length: int, size: int) -> int:
    return math.ceil(length / math.ceil(length / size))


def _fill_groups(length: int, size: int, group: int) -> int:
    """So many replicas or some more, in whole groups: part of one takes as long as all of it."""
    return min(length, math.ceil(size / group) * group)


def _join_chunks(
    stage: Stage, chunks: tuple[int, ...], most_seconds: float, most_entries: int, bound: int
) -> tuple[int, ...]:
    """Make chunks wider that are too many, for so little work or for a store; across kinds of points before all else.

    None takes longer than it may, or than twice the longest did, unless there would be more than the bound.
    """
    table, shape = stage.cost_table, stage.shape
    sizes, places = list(chunks), range(table.numbers.ndim)

    def count() -> int:
        return math.prod(chunk_counts(shape, sizes))

    def find_longest() -> float:
        of_chunks = table.chunk_seconds([sizes[axis] for axis in places], sizes[-1] if stage.has_replicas else 1)
        return float(of_chunks.max())

    most = max(1, int(min(table.seconds(stage.entries or 1) / _LEAST_SECONDS, bound)))
    if count() <= most:
        return chunks
    most_seconds = max(most_seconds, 2 * find_longest())  # for a few dear points, the cheap ones do not all stay alone
    is_alike = [table.is_uniform(axis) for axis in places] + [True] * (len(sizes) - len(places))
    for axis in sorted(range(len(sizes)), key=lambda axis: (is_alike[axis], -axis)):
        size, length = sizes[axis], shape[axis]
        enough = max(1, math.ceil(length / size) * most // count())  # chunks along this axis
        wide = min(math.ceil(length / enough), size * (most_entries // math.prod(sizes)))
        while wide > size:
            sizes[axis] = _make_even(length, wide) if axis in places else _fill_groups(length, wide, size)
            if 2 * count() >= bound or find_longest() <= most_seconds:
                break
            wide = math.ceil(wide / 2)
        else:
            sizes[axis] = size
    return tuple(sizes)


def keep_chunks(chunks: tuple[int, ...], stage: Stage) -> tuple[int, ...]:
    """Shape of a chunk of a store that grows: as it was, if that is about as good, so that its files can stay.

    Parameters
    ----------
    chunks : tuple of int
        Shape of a chunk until now.
    stage : Stage
        That the store is to have room for.
    """
    best = choose_chunks(stage)
    counts = [math.prod(chunk_counts(stage.shape, sizes)) for sizes in (chunks, best)]
    return chunks if max(counts) <= _AS_GOOD * min(counts) else best


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


def plan_blocks(stage: Stage, needed: BoolArray, chunks: tuple[int, ...], workers: int) -> Plan:
    """Group the chunks in which something is needed into blocks.

    Parameters
    ----------
    stage : Stage
        That the store has room for.
    needed : array of bool, of the shape of the store's dims
    chunks : shape of a chunk
    workers : int
        Blocks are small enough that each worker gets several, and long enough that many workers do not wait for the
        one scheduler; this changes no bits.
    """
    table, dims = stage.cost_table, stage.cost_table.numbers.ndim
    kinds = table.chunk_kinds(chunks[:dims])
    groups: dict[int, list[_Entry]] = defaultdict(list)  # chunks of more than one kind are a group of their own
    masks: dict[tuple[tuple[int, ...], bytes], BoolArray] = {}  # few differ, and sharing them keeps a long plan small
    total: dict[int, int] = defaultdict(int)
    for index in np.ndindex(*chunk_counts(needed.shape, chunks)):
        region = chunk_region(index, needed.shape, chunks)
        part = needed[region]
        count = int(part.sum())
        if count:
            kind = int(kinds[index[:dims]])
            entries = {kind: count} if kind != MIXED else _count_entries(table.numbers[region[:dims]], part)
            for of_kind, more in entries.items():
                total[of_kind] += more
            mask = masks.setdefault((part.shape, part.tobytes()), part.copy())
            groups[kind].append((index, mask, entries))
    enough = _choose_seconds(sum(table.padded_seconds(*of_kind) for of_kind in total.items()), workers)
    most_entries = max(1, MOST_BYTES_AT_ONCE // stage.entry_bytes)
    blocks = [block for entries in groups.values() for block in _divide(table, entries, enough, most_entries)]
    blocks.sort(key=lambda block: (-block.seconds, block.chunks[0][0]))
    return Plan(tuple(blocks), sum(block.seconds for block in blocks), sum(block.entries for block in blocks))


def _count_entries(kinds: IntArray, needed: BoolArray) -> Mapping[int, int]:
    """How many entries of each kind of point are needed."""
    entries: dict[int, int] = defaultdict(int)
    of_point = needed.reshape(kinds.size, -1).sum(axis=-1)
    for kind, count in zip(kinds.ravel().tolist(), of_point.tolist(), strict=True):
        entries[kind] += count
    return entries


def _choose_seconds(total: float, workers: int) -> float:
    """How long a block should take, at least.

    Blocks of w / rate seconds keep w workers busy, and the work ends after total / w + w / rate, the latter for the
    last block. That is least for w = sqrt(total * rate): longer blocks, for more workers, would make it end later.
    """
    even = min(max(total / (workers * _BLOCKS_PER_WORKER), _LEAST_SECONDS), _MOST_SECONDS)
    useful = min(workers, math.sqrt(total * _BLOCKS_PER_SECOND))
    return max(even, useful / _BLOCKS_PER_SECOND)


def _divide(table: CostTable, chunks: Iterable[_Entry], enough: float, most_entries: int) -> Iterator[Block]:
    """Blocks of some chunks, none shorter than `enough` but for the last, and for those that are large."""
    pending: list[_Entry] = []
    runs: dict[int, int] = {}
    seconds, count = 0.0, 0
    enough *= 1 - 1e-9  # of what is a sum of rounded parts
    for chunk in chunks:
        of_chunk = sum(chunk[2].values())
        if seconds >= enough or (pending and count + of_chunk > most_entries):
            yield _make_block(pending, seconds, count)
            pending, runs, seconds, count = [], {}, 0.0, 0
        pending.append(chunk)
        count += of_chunk
        for kind, more in chunk[2].items():
            before = runs.get(kind, 0)
            runs[kind] = before + more
            seconds += table.padded_seconds(kind, before + more) - table.padded_seconds(kind, before)
    if pending:
        yield _make_block(pending, seconds, count)


def _make_block(chunks: Sequence[_Entry], seconds: float, entries: int) -> Block:
    return Block(tuple((index, part) for index, part, _ in chunks), seconds, entries)
