"""`grow_store`: a store copied into a larger one, which has room for more values of the axes, or more replicas.

The larger store is filled under a hidden name, and two renames put it in its place; `finish_growth` sees to one that
was killed between them. Axes are in order, so what a chunk of the larger store takes from the old one is a region:

| a chunk of the larger store | what is done |
|---|---|
| equals a chunk of the old one, as most do where values follow those that were there | it has the same files |
| holds more, or parts of several | it is put together |
| holds nothing that was known | it is left empty |
"""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clhd.core.progress import Progress
from clhd.core.text import format_count, format_seconds
from clhd.sweep.plan.blocks import BoolArray, ChunkIndex, chunk_counts, keep_chunks
from clhd.sweep.plan.stage import Stage
from clhd.sweep.store.create import create_store, remove_tree
from clhd.sweep.store.layout import LEDGER
from clhd.sweep.store.missing import check_files
from clhd.sweep.store.store import Store
from clhd.systems.declarations import Status

# Seconds for a chunk of the larger store that has the files of an old one, or is put together of one; for each further
# one that it is put together of; and to delete an old one. Measured by growing stores of 400 and 1600 chunks of 5 files
# each, on a shared machine with a local disk: 0.8 to 1.0, 8 to 9, 1.8, and 0.5 to 0.7 ms.
_SAME_SECONDS, _MADE_SECONDS, _PIECE_SECONDS, _DELETE_SECONDS = 0.001, 0.010, 0.002, 0.001
# Growth that takes longer than this is announced.
_LONG_SECONDS = 10.0
# What says how the bytes of a chunk are to be read.
_FORM = ("data_type", "chunk_grid", "chunk_key_encoding", "fill_value", "codecs", "storage_transformers")


@dataclass(frozen=True, slots=True)
class _Origin:
    """Where a chunk of the larger store comes from, along one dim.

    Parameters
    ----------
    source : slice
        Of the old store.
    known : array of bool
        Which positions of the chunk these are.
    chunks : range
        Numbers of the chunks of the old store that hold them.
    is_same : bool
        True if it is the whole of one chunk of the old store, and nothing else.
    """

    source: slice
    known: BoolArray
    chunks: range
    is_same: bool


_Traces = list[list[_Origin]]  # along each dim, of each chunk


def grow_store(store: Store, available: Stage, places: Sequence[Sequence[int]]) -> Store:
    """Copy a store into a larger one, which then takes its name. The caller holds its lock.

    Parameters
    ----------
    store : Store
    available : Stage
        What there is to be room for.
    places : sequence of sequence of int
        Where what the store holds stands in the larger one, along each dim; ascending.

    Raises
    ------
    StoreError
        If a chunk of the store is missing, or damaged where it must be read.
    """
    path = store.path
    grown, outgrown = _name_grown(path), _name_outgrown(path)
    remove_tree(grown)
    larger = create_store(grown, available, keep_chunks(store.chunks, available), store.attributes["runs"])
    traces = [_trace(*dim) for dim in zip(larger.shape, larger.chunks, store.shape, store.chunks, places, strict=True)]
    seconds = _count_seconds(traces, store.shape, store.chunks, is_alike=larger.chunks == store.chunks)
    runs = math.prod(store.shape) * store.entry_size
    progress = Progress(f"{available.experiment.name} {available.kind}, its store grows", runs, seconds)
    held = format_count(runs, "run")
    if seconds > _LONG_SECONDS:
        progress.say(f"takes {held} over into a larger one, {format_seconds(seconds)} predicted")
    check_files(store)  # what is missing would be copied as if it were NaN
    _fill(larger, store, traces, progress)
    remove_tree(outgrown)
    os.sync()  # the copy is all there is, once the old one is deleted
    path.rename(outgrown)
    grown.rename(path)
    _remove(outgrown, math.prod(chunk_counts(store.shape, store.chunks)), progress)
    if progress.is_shown:
        progress.finish(f"{held} taken over")
    return Store(path, "r+")


def predict_growth(store: Store, available: Stage, places: Sequence[Sequence[int]]) -> float:
    """Seconds that `grow_store` takes for the same, about: disks differ."""
    shape = available.grid.shape + ((available.entries,) if available.entries is not None else ())
    chunks = keep_chunks(store.chunks, available)
    traces = [_trace(*dim) for dim in zip(shape, chunks, store.shape, store.chunks, places, strict=True)]
    return _count_seconds(traces, store.shape, store.chunks, is_alike=chunks == store.chunks)


def finish_growth(path: Path) -> None:
    """Undo or finish a growth that was killed between its two renames."""
    grown, outgrown = _name_grown(path), _name_outgrown(path)
    if outgrown.exists() and not path.exists():
        (grown if grown.exists() else outgrown).rename(path)
    for stray in (outgrown, grown, *path.parent.glob(f".*{path.stem}*.new")):
        remove_tree(stray)


def _name_grown(path: Path) -> Path:
    return path.with_name(f".{path.stem}-grown{path.suffix}")


def _name_outgrown(path: Path) -> Path:
    return path.with_name(f".{path.stem}-outgrown{path.suffix}")


def _trace(length: int, size: int, old_length: int, old_size: int, places: Sequence[int]) -> list[_Origin]:
    """Where the chunks of the larger store come from, along one dim."""
    positions = np.full(length, -1)  # of the old store, or -1
    positions[places] = np.arange(old_length)
    origins = []
    for start in range(0, length, size):
        piece = positions[start : start + size]
        known = piece >= 0
        # Both are in order, and the larger one has all of the old one: nothing is left out in between.
        first, stop = (int(piece[known][0]), int(piece[known][-1]) + 1) if known.any() else (0, 0)
        is_whole = first % old_size == 0 and stop == min(first + old_size, old_length)
        chunks = range(first // old_size, -(-stop // old_size))
        origins.append(_Origin(slice(first, stop), known, chunks, bool(is_whole and known.all())))
    return origins


def _count_seconds(traces: _Traces, shape: Sequence[int], chunks: Sequence[int], *, is_alike: bool) -> float:
    """How long the copying takes, and the deletion of the old store, whose shapes are given."""
    same = math.prod(sum(origin.is_same for origin in trace) for trace in traces) if is_alike else 0
    touched = math.prod(sum(bool(origin.chunks) for origin in trace) for trace in traces)
    pieces = math.prod(sum(len(origin.chunks) for origin in trace) for trace in traces)  # of several chunks
    return (
        same * _SAME_SECONDS
        + (touched - same) * _MADE_SECONDS
        + (pieces - touched) * _PIECE_SECONDS
        + math.prod(chunk_counts(shape, chunks)) * _DELETE_SECONDS
    )


def _fill(larger: Store, store: Store, traces: _Traces, progress: Progress) -> None:
    """Copy all that is known."""
    is_alike = all(_find_form(store, name) == _find_form(larger, name) for name in (*store.outputs, *LEDGER))
    for index in larger.chunk_indices():
        origins = [trace[i] for trace, i in zip(traces, index, strict=True)]
        entries = math.prod(origin.source.stop - origin.source.start for origin in origins)
        if not entries:
            continue
        if is_alike and all(origin.is_same for origin in origins):
            larger.adopt_chunk(index, store, tuple(origin.chunks.start for origin in origins))
            seconds = _SAME_SECONDS
        else:
            _copy_chunk(store, larger, index, origins)
            pieces = math.prod(len(origin.chunks) for origin in origins)
            seconds = _MADE_SECONDS + (pieces - 1) * _PIECE_SECONDS
        progress.advance(entries * store.entry_size, seconds)


def _find_form(store: Store, name: str) -> dict[str, Any]:
    """How the bytes of the chunks of a variable are to be read."""
    document: dict[str, Any] = store.group[name].metadata.to_dict()
    return {key: document.get(key) for key in _FORM}


def _copy_chunk(store: Store, larger: Store, index: ChunkIndex, origins: Sequence[_Origin]) -> None:
    """Put one chunk of the larger store together from the old one."""
    source = [origin.source for origin in origins]
    if (store.read("status", source) == Status.NOT_RUN).all():
        return
    chunk = larger.make_chunk(index)
    known = np.ix_(*(origin.known for origin in origins))
    for name, values in chunk.items():
        values[known] = store.read(name, source)
    larger.write_chunk(index, chunk)


def _remove(path: Path, chunks: int, progress: Progress) -> None:
    """Delete the old store, variable by variable, for a large one takes minutes."""
    folders = [folder for folder in path.iterdir() if folder.is_dir()]
    for folder in folders:
        remove_tree(folder)
        progress.advance(0, chunks * _DELETE_SECONDS / len(folders))
    remove_tree(path)
