"""Blocks: whole chunks of a store, sized by predicted cost, longest first.

One file of a variable holds one chunk. One task computes one block, which is one or more chunks, and writes each chunk
as a whole. A chunk does not reach across positions at which the cost or the family of the points changes: then a block
is of one kind, and cheap points do not wait for expensive ones. The exception is little work for many kinds of points,
whose files would cost more than the work, or would be more than a store should have.

| symbol | name | unit |
|---|---|---|
| ``seconds`` | predicted cost, of kernel calls, the last one of which may be half empty | s on one core |
| chunk index | position of a chunk in the grid of chunks | |

`check_bytes`, `check_chunks`: refuse a stage whose results are larger than a store can hold.

| limit | what it bounds | when an excess is found |
|---|---|---|
| `MOST_BYTES_AT_ONCE` | bytes of one entry of a store | before any point is made |
| `MOST_CHUNKS` | chunks of a store | by their bytes before any point is made, by the costs before a store is |
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from clhd.core.arrays import BoolArray, IntArray
from clhd.sweep.plan.stage import MIXED, CostTable, Stage
from clhd.sweep.spec.yaml_file import ExperimentError

# The most bytes that a worker computes at once (it makes some copies): one entry, which cannot be divided, or a block.
MOST_BYTES_AT_ONCE = 256 * 2**20
# A chunk is a file for each variable; with so many chunks, reading the status of all takes ten minutes.
MOST_CHUNKS = 1_000_000
# The most bytes of one chunk.
CHUNK_BYTES = 32 * 2**20


def check_bytes(stage: Stage) -> None:
    """Raise ExperimentError if the results of a stage are larger than a store can hold."""
    size = stage.entry_bytes
    if size > MOST_BYTES_AT_ONCE:
        dims = " x ".join(f"{count} of {name}" for name, count in stage.inner_dims.items())
        single = "a replica" if stage.has_replicas else "a point"
        what = f"{stage.entry_size} replicas" if stage.entry_size > 1 else single
        instead = ", or keep: replicas" if stage.entry_size > 1 else ""
        raise ExperimentError(
            f"times: the {stage.kind} of {what} is {_megabytes(size)} ({dims}), more than "
            f"{_megabytes(MOST_BYTES_AT_ONCE)}; give fewer of these{instead}"
        )
    check_chunks(stage, math.prod(stage.shape) // max(1, CHUNK_BYTES // size))


def check_chunks(stage: Stage, count: int) -> None:
    """Raise ExperimentError if a store would have too many chunks."""
    if count > MOST_CHUNKS:
        results = f"{math.prod(stage.shape)} results of {_megabytes(stage.entry_bytes)}"
        raise ExperimentError(
            f"axes: the {stage.kind} gives {results}, in {count} files of each variable, more than {MOST_CHUNKS}; "
            "give fewer values, replicas or times, or split the experiment"
        )


def _megabytes(size: int) -> str:
    return f"{size / 2**20:.3g} MiB"


ChunkIndex = tuple[int, ...]

# A chunk takes at most this long, unless one kernel call takes longer. A block takes at least this long, if there is
# enough to do. In shorter blocks, the cost of a task and its files (some ms) would show; with longer chunks, the end of
# a run would wait for its last block, and an interruption would lose more.
MAX_CHUNK_SECONDS, MIN_BLOCK_SECONDS = 2.0, 0.5
# Where runs are cheap and computed one by one, chunks and blocks are shorter, so that workers end together and an
# interruption loses fewer: a store has about so many chunks, each with so many runs or more, and of so many seconds.
_CHUNKS_OF_STORE, _LEAST_ENTRIES, _LEAST_SECONDS = 100, 100, 0.1
# The most files of a store, each in a folder of its own; where the work is longer, each chunk takes longer. A chunk is
# one file for each output and each number of the ledger. docs/scaling.md says what so many files cost.
_MAX_FILES, _LEDGER_NUMBERS = 500_000, 4
# Chunks that are up to this factor more or fewer than the best number are about as good.
_TOLERATED_FACTOR = 2
# The most points of a chunk along a refined axis. A border meets a chunk in about as many points, so its file is not
# mostly empty; with fewer, the metadata of files would cost more than their points.
_SPARSE_POINTS = 8
# Blocks for each worker, so that all workers end at about the same time.
_BLOCKS_PER_WORKER = 8
# Blocks that one scheduler and one driver hand out and take back without falling behind; docs/scaling.md measures it.
_BLOCKS_PER_SECOND = 100
# A chunk, a mask of its needed entries, and the number of needed entries of each kind.
_Entry = tuple[ChunkIndex, BoolArray, Mapping[int, int]]


@dataclass(frozen=True, slots=True)
class Block:
    """What one task computes."""

    # With each chunk a mask of its shape: True for the replicas of the points that the task must compute.
    chunks: tuple[tuple[ChunkIndex, BoolArray], ...]
    seconds: float  # predicted cost
    entries: int  # number of entries of the store: replicas of points, or replica blocks with ``keep: moments``


@dataclass(frozen=True)
class Plan:
    """The blocks that a run computes, longest first, with their predicted seconds and their number of entries."""

    blocks: tuple[Block, ...]
    seconds: float
    entries: int


def choose_chunks(stage: Stage) -> tuple[int, ...]:
    """Return the shape of a chunk of a stage's store: along the axes of the grid and, if there are some, the replicas.

    Raises
    ------
    ExperimentError
        If the store would have too many chunks, or chunks that are too large.
    """
    check_bytes(stage)
    table, shape = stage.cost_table, stage.shape
    longest_run, seconds = table.longest_run, table.seconds(stage.entries or 1)
    bound = max(1, _MAX_FILES // _count_variables(stage))
    short = max(seconds / _CHUNKS_OF_STORE, _find_least(table, seconds))
    most_seconds = max(min(short, MAX_CHUNK_SECONDS), seconds / bound)
    most_entries = max(1, CHUNK_BYTES // stage.entry_bytes)
    # Replicas of one point: whole kernel calls, as many as the time allows.
    groups = max(1, int(most_seconds / max(longest_run.seconds * longest_run.runs_per_call, 1e-9)))
    kept = min(stage.entries or 1, groups * longest_run.runs_per_call, most_entries)
    fitting = int(most_seconds / max(longest_run.seconds * kept, 1e-9))
    filling = math.ceil(longest_run.runs_per_call / kept)
    points = max(1, min(max(fitting // filling, 1) * filling, most_entries // kept))
    sizes = [kept] if stage.has_replicas else []
    for axis in reversed(range(table.numbers.ndim)):
        size = _make_even(shape[axis], min(points, shape[axis]) if table.is_uniform(axis) else 1)
        points = max(points // size, 1)
        sizes.insert(0, size)
    chunks = _join_chunks(stage, tuple(sizes), most_seconds, most_entries, bound)
    chunks = _keep_small(stage, chunks, bound)
    check_chunks(stage, math.prod(chunk_counts(shape, chunks)))
    return chunks


def _find_least(table: CostTable, seconds: float) -> float:
    """The least seconds of a chunk and of a block of cheap points; infinite where the usual ones are short enough.

    That is so for work that is hardly worth dividing, and for kernels that compute many runs at once.
    """
    run = table.longest_run
    if run.runs_per_call > 1 or seconds <= MIN_BLOCK_SECONDS:
        return math.inf
    return max(_LEAST_SECONDS, _LEAST_ENTRIES * run.seconds)


def _keep_small(stage: Stage, chunks: tuple[int, ...], bound: int) -> tuple[int, ...]:
    """Make the chunks along refined axes small, as long as there are not too many: few of their points are wanted."""
    refine = stage.experiment.refine
    along = refine.along if refine is not None else ()
    sizes = [*chunks]
    for axis, own in enumerate(stage.grid.axes):
        if own.name in along:
            sizes[axis] = min(chunks[axis], _SPARSE_POINTS)
    return tuple(sizes) if math.prod(chunk_counts(stage.shape, sizes)) <= bound else chunks


def count_files(stage: Stage, chunks: tuple[int, ...]) -> int:
    """Return the number of files of a store in which everything is computed."""
    return math.prod(chunk_counts(stage.shape, chunks)) * _count_variables(stage)


def _count_variables(stage: Stage) -> int:
    return len(stage.stored.variables) + _LEDGER_NUMBERS


def _make_even(length: int, size: int) -> int:
    return math.ceil(length / math.ceil(length / size))


def _join_chunks(
    stage: Stage, chunks: tuple[int, ...], most_seconds: float, most_entries: int, bound: int
) -> tuple[int, ...]:
    """Widen the chunks if there are too many of them for so little work, or for a store.

    Chunks grow across kinds of points first. No chunk takes longer than `most_seconds`, or than twice the longest one
    before, unless there would be more chunks than `bound`.
    """
    table, shape = stage.cost_table, stage.shape
    sizes, places = list(chunks), range(table.numbers.ndim)

    def count() -> int:
        return math.prod(chunk_counts(shape, sizes))

    def find_longest() -> float:
        of_chunks = table.chunk_seconds([sizes[axis] for axis in places], sizes[-1] if stage.has_replicas else 1)
        return float(of_chunks.max())

    seconds = table.seconds(stage.entries or 1)
    least = min(MIN_BLOCK_SECONDS, _find_least(table, seconds) / 2)  # points of different costs stay apart if they can
    most = max(1, int(min(seconds / least, bound)))
    if count() <= most:
        return chunks
    most_seconds = max(most_seconds, 2 * find_longest())  # a few expensive points must not keep all cheap ones apart
    is_alike = [table.is_uniform(axis) for axis in places] + [True] * (len(sizes) - len(places))
    for axis in sorted(range(len(sizes)), key=lambda axis: (is_alike[axis], -axis)):
        size, length = sizes[axis], shape[axis]
        enough = max(1, math.ceil(length / size) * most // count())  # chunks along this axis
        wide = min(math.ceil(length / enough), size * (most_entries // math.prod(sizes)))
        while wide > size:
            # Replicas fill whole kernel calls: a call with fewer runs takes the same time.
            filled = min(length, math.ceil(wide / size) * size)
            sizes[axis] = _make_even(length, wide) if axis in places else filled
            if 2 * count() >= bound or find_longest() <= most_seconds:
                break
            wide = math.ceil(wide / 2)
        else:
            sizes[axis] = size
    return tuple(sizes)


def keep_chunks(chunks: tuple[int, ...], stage: Stage) -> tuple[int, ...]:
    """Return the shape of a chunk of a store that grows: the old shape if it is about as good, so that files can stay.

    The stage is what the grown store holds.
    """
    best = choose_chunks(stage)
    counts = [math.prod(chunk_counts(stage.shape, sizes)) for sizes in (chunks, best)]
    return chunks if max(counts) <= _TOLERATED_FACTOR * min(counts) else best


def chunk_counts(shape: Sequence[int], chunks: Sequence[int]) -> tuple[int, ...]:
    """Return the number of chunks along each dim."""
    return tuple(math.ceil(length / size) for length, size in zip(shape, chunks, strict=True))


def chunk_region(index: ChunkIndex, shape: Sequence[int], chunks: Sequence[int]) -> tuple[slice, ...]:
    """Return the part of an array that a chunk holds."""
    return tuple(
        slice(i * size, min((i + 1) * size, length)) for i, size, length in zip(index, chunks, shape, strict=True)
    )


def widen_chunks(shape: Sequence[int], chunks: Sequence[int], most: int) -> tuple[int, ...]:
    """Return the shape of the largest part of whole chunks with at most `most` entries: few reads cost the least."""
    wide = list(chunks)
    for axis in reversed(range(len(wide))):
        wide[axis] = min(shape[axis], wide[axis] * max(1, most // math.prod(wide)))
        if wide[axis] < shape[axis]:
            break
    return tuple(wide)


def plan_blocks(stage: Stage, needed: BoolArray, chunks: tuple[int, ...], workers: int) -> Plan:
    """Return the blocks of all chunks in which something is needed; the stage is what the store holds.

    Each worker gets several blocks, and blocks are long enough that workers do not wait for the scheduler. The number
    of workers changes no bits of the results.
    """
    table, dims = stage.cost_table, stage.cost_table.numbers.ndim
    kinds = table.chunk_kinds(chunks[:dims])
    groups: dict[int, list[_Entry]] = defaultdict(list)  # chunks of several kinds are one group
    masks: dict[tuple[tuple[int, ...], bytes], BoolArray] = {}  # few masks differ, and keeping each once saves memory
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
    seconds = sum(table.padded_seconds(*of_kind) for of_kind in total.items())
    enough = _choose_seconds(seconds, workers, min(MIN_BLOCK_SECONDS, _find_least(table, seconds)))
    most_entries = max(1, MOST_BYTES_AT_ONCE // stage.entry_bytes)
    blocks = [block for entries in groups.values() for block in _divide(table, entries, enough, most_entries)]
    blocks.sort(key=lambda block: (-block.seconds, block.chunks[0][0]))
    return Plan(tuple(blocks), sum(block.seconds for block in blocks), sum(block.entries for block in blocks))


def _count_entries(kinds: IntArray, needed: BoolArray) -> Mapping[int, int]:
    """The number of needed entries of each kind of point."""
    entries: dict[int, int] = defaultdict(int)
    of_point = needed.reshape(kinds.size, -1).sum(axis=-1)
    for kind, count in zip(kinds.ravel().tolist(), of_point.tolist(), strict=True):
        entries[kind] += count
    return entries


def _choose_seconds(total: float, workers: int, least: float) -> float:
    """The shortest time that a block should take, no less than `least`.

    Blocks of w / rate seconds keep w workers busy. The work then ends after total / w + w / rate, where the second term
    is the last block. The sum is smallest for w = sqrt(total * rate): more workers would need longer blocks and end
    later.
    """
    count = workers * _BLOCKS_PER_WORKER
    if least < MIN_BLOCK_SECONDS:
        count = max(count, _CHUNKS_OF_STORE)
    even = min(max(total / count, least), MAX_CHUNK_SECONDS)
    useful = min(workers, math.sqrt(total * _BLOCKS_PER_SECOND))
    return max(even, useful / _BLOCKS_PER_SECOND)


def _divide(table: CostTable, chunks: Iterable[_Entry], enough: float, most_entries: int) -> Iterator[Block]:
    """Yield blocks of some chunks; only the last one, and blocks of many entries, are shorter than `enough` seconds."""
    pending: list[tuple[ChunkIndex, BoolArray]] = []
    runs: dict[int, int] = {}
    seconds, count = 0.0, 0
    enough *= 1 - 1e-9  # the sum below has rounding errors
    for index, needed, entries in chunks:
        of_chunk = sum(entries.values())
        if seconds >= enough or (pending and count + of_chunk > most_entries):
            yield Block(tuple(pending), seconds, count)
            pending, runs, seconds, count = [], {}, 0.0, 0
        pending.append((index, needed))
        count += of_chunk
        for kind, more in entries.items():
            before = runs.get(kind, 0)
            runs[kind] = before + more
            seconds += table.padded_seconds(kind, before + more) - table.padded_seconds(kind, before)
    if pending:
        yield Block(tuple(pending), seconds, count)
