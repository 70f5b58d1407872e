"""`prepare_store`: open, create or grow the store in which a stage is computed; results are never deleted.

A store that has results of another experiment is refused, see `clhd.sweep.store.match`; ``--fresh`` moves it aside.

| symbol | meaning |
|---|---|
| ``requested`` | the stage as the experiment's file describes it |
| ``stored`` | the stage whose points and replicas the store has a place for |
| ``available`` | both together: the stage whose points and replicas the grown store has a place for |

`grow_store` copies a store into a larger one, which has a place for more values of the axes, or for more replicas.

The larger store is the next generation under the same name, see `clhd.sweep.store.create`. Axes are in order, so a
chunk of the new store takes one region of the old store:

| chunk of the new store | how it is filled |
|---|---|
| equal to a chunk of the old store | it has the same files |
| larger, or parts of several chunks | it is assembled |
| nothing known | it stays empty |
"""

import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from clhd.core.arrays import BoolArray
from clhd.core.files import sync_tree
from clhd.core.progress import Progress
from clhd.core.text import format_count, format_seconds
from clhd.sweep.plan.blocks import ChunkIndex, choose_chunks, keep_chunks
from clhd.sweep.plan.stage import Stage
from clhd.sweep.spec.grid import Axis
from clhd.sweep.spec.validation import describe_size
from clhd.sweep.spec.yaml_file import ExperimentError
from clhd.sweep.store.chunk_files import LEDGER, StoreError
from clhd.sweep.store.create import create_store, publish, remove_leftovers, write_empty
from clhd.sweep.store.match import check_changes, positions_in
from clhd.sweep.store.metadata import FRESH, restore_array_files
from clhd.sweep.store.store import Store, find_missing
from clhd.systems.declarations import Status

# Seconds to take a chunk; to assemble it from one old chunk; and for each further old chunk. Measured by growing stores
# of 400 and 1600 chunks of 5 files each, on a shared machine with a local disk: 0.8 to 1.0, 8 to 9, and 1.8 ms. To sync
# the folders of a chunk takes 2 ms more, with its files 3 to 4 ms.
_LINK_SECONDS, _ASSEMBLE_SECONDS, _PIECE_SECONDS = 0.003, 0.014, 0.002
# Growth that takes longer than this is announced.
_LONG_SECONDS = 10.0
# The metadata that say how the bytes of a chunk are encoded.
_ENCODING = ("data_type", "chunk_grid", "fill_value", "codecs", "storage_transformers")


@dataclass(frozen=True, slots=True)
class _Origin:
    """The part of the old store from which a chunk of the new store is filled, along one dim."""

    source: slice  # positions in the old store
    known: BoolArray  # True at the positions of the chunk that the source fills
    chunks: range  # numbers of the chunks of the old store that hold the source
    is_same: bool  # True if the chunk equals one chunk of the old store


_Origins = list[list[_Origin]]  # along each dim, of each chunk


def grow_store(old: Store, available: Stage, places: Sequence[Sequence[int]]) -> Store:
    """Copy a store into a larger one, which takes its name; return the open new store. The caller holds the lock.

    The places are the positions in the new store of what the old store holds, along each dim, ascending.
    """
    path = old.path
    chunks = keep_chunks(old.chunks, available)
    origins = _find_origins(available.shape, chunks, old, places)
    seconds = _predict_seconds(origins, old, keeps_chunks=chunks == old.chunks)
    runs = math.prod(old.shape) * old.entry_size
    progress = Progress(f"{available.experiment.name} {available.kind}, its store grows", runs, seconds)
    count = format_count(runs, "run")
    if seconds > _LONG_SECONDS:
        progress.say(f"copies {count} into a larger store, {format_seconds(seconds)} predicted")
    hidden = write_empty(path, available, chunks, old.attributes["runs"], old.attributes.get("identity", ""))
    _fill(Store(hidden), old, origins, progress)
    sync_tree(hidden)  # once the next run deletes the old files, the copy is all there is
    publish(path)
    if progress.is_shown:
        progress.finish(f"{count} copied")
    return Store(path)


def predict_growth(old: Store, available: Stage, places: Sequence[Sequence[int]]) -> float:
    """Return the predicted seconds of `grow_store` for the same arguments; disks differ."""
    chunks = keep_chunks(old.chunks, available)
    origins = _find_origins(available.shape, chunks, old, places)
    return _predict_seconds(origins, old, keeps_chunks=chunks == old.chunks)


def _find_origins(shape: Sequence[int], chunks: Sequence[int], old: Store, places: Sequence[Sequence[int]]) -> _Origins:
    """Return the origins of all chunks of a new store of some shape."""
    return [_trace(*dim) for dim in zip(shape, chunks, old.shape, old.chunks, places, strict=True)]


def _trace(length: int, size: int, old_length: int, old_size: int, places: Sequence[int]) -> list[_Origin]:
    """Return the origins of the chunks of the new store along one dim."""
    positions = np.full(length, -1)  # in the old store; -1 where the value is new
    positions[places] = np.arange(old_length)
    origins = []
    for start in range(0, length, size):
        piece = positions[start : start + size]
        known = piece >= 0
        # Both are in order and the new store has all values of the old one, so the source has no gaps.
        first, stop = (int(piece[known][0]), int(piece[known][-1]) + 1) if known.any() else (0, 0)
        is_whole = first % old_size == 0 and stop == min(first + old_size, old_length)
        chunks = range(first // old_size, -(-stop // old_size))
        origins.append(_Origin(slice(first, stop), known, chunks, bool(is_whole and known.all())))
    return origins


def _predict_seconds(origins: _Origins, old: Store, *, keeps_chunks: bool) -> float:
    """Return the predicted seconds to fill the new store."""
    linked = math.prod(sum(origin.is_same for origin in dim) for dim in origins) if keeps_chunks else 0
    touched = math.prod(sum(bool(origin.chunks) for origin in dim) for dim in origins)
    pieces = math.prod(sum(len(origin.chunks) for origin in dim) for dim in origins)
    return linked * _LINK_SECONDS + (touched - linked) * _ASSEMBLE_SECONDS + (pieces - touched) * _PIECE_SECONDS


def _fill(new: Store, old: Store, origins: _Origins, progress: Progress) -> None:
    """Copy all results of the old store."""
    is_alike = all(_find_encoding(old, name) == _find_encoding(new, name) for name in (*old.outputs, *LEDGER))
    for index in new.chunk_indices():
        parts = [dim[i] for dim, i in zip(origins, index, strict=True)]
        entries = math.prod(part.source.stop - part.source.start for part in parts)
        if not entries:
            continue
        if is_alike and all(part.is_same for part in parts):
            new.take_chunk(index, old, tuple(part.chunks.start for part in parts))
            seconds = _LINK_SECONDS
        else:
            _assemble_chunk(new, old, index, parts)
            pieces = math.prod(len(part.chunks) for part in parts)
            seconds = _ASSEMBLE_SECONDS + (pieces - 1) * _PIECE_SECONDS
        progress.advance(entries * old.entry_size, seconds)


def _find_encoding(store: Store, name: str) -> dict[str, Any]:
    """Return the metadata that say how the bytes of the chunks of a variable are encoded."""
    document = store.files.metadata.arrays[name]
    return {key: document.get(key) for key in _ENCODING}


def _assemble_chunk(new: Store, old: Store, index: ChunkIndex, parts: Sequence[_Origin]) -> None:
    """Fill one chunk of the new store from one or more chunks of the old store."""
    source = [part.source for part in parts]
    if (old.read("status", source) == Status.NOT_RUN).all():
        return
    chunk = new.make_chunk(index)
    known = np.ix_(*(part.known for part in parts))
    for name, values in chunk.items():
        values[known] = old.read(name, source)
    new.write_chunk(index, chunk)


def prepare_store(requested: Stage, path: Path) -> tuple[Store, Stage]:
    """Return the store of a stage, created or grown if need be, and the available stage. The caller holds its lock.

    Raises ClhdError if the store is damaged, cannot be written, or has results of other constants.
    """
    if path.is_symlink():
        raise StoreError(f"{path}: is a link, which a growing store would replace; link {path.parent} instead")
    if not path.exists():
        return create_store(path, requested, choose_chunks(requested)), requested
    remove_leftovers(path)
    restore_array_files(path)
    store = Store(path)
    stored = check_changes(store, requested)
    delete_incomplete_chunks(store)
    available = _unite(stored, requested, path)
    if not _is_larger(available, stored) and store.files.metadata.identity:
        return store, available
    # Stores of earlier versions, whose chunks have no trailers, are copied too.
    return grow_store(store, available, positions_in(available, stored)), available


def delete_incomplete_chunks(store: Store) -> None:
    """Delete chunks that have a status but lack files, and print how many, so that they are computed again."""
    missing = find_missing(store)
    for index in missing:
        store.delete_chunk(index)
    if missing:
        first, chunks = next(iter(missing.values())), format_count(len(missing), "chunk")
        print(f"{first}: is missing; {chunks} deleted, to be computed again where requested", file=sys.stderr)  # noqa: T201


def predict_growth_seconds(store: Store, stored: Stage, requested: Stage) -> float:
    """Return the predicted seconds in which `prepare_store` grows a store; 0 if it need not grow."""
    available = _unite(stored, requested, store.path)
    return predict_growth(store, available, positions_in(available, stored)) if _is_larger(available, stored) else 0.0


def _is_larger(available: Stage, stored: Stage) -> bool:
    return available.grid.axes != stored.grid.axes or available.entries != stored.entries


def move_aside(path: Path) -> Path:
    """Give a store another name, ``STAGE-until-TIME.zarr``, and return its new path."""
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    target = path.with_name(f"{path.stem}-until-{stamp}{path.suffix}")
    number = 1
    while target.exists():
        number += 1
        target = path.with_name(f"{path.stem}-until-{stamp}-{number}{path.suffix}")
    path.rename(target)
    return target


def _unite(stored: Stage, requested: Stage, path: Path) -> Stage:
    """Return the stage with the points and replicas of both; raise StoreError if a store cannot hold so much."""
    axes: dict[str, Axis] = {axis.name: axis for axis in requested.experiment.axes}
    for axis in stored.experiment.axes:
        if axis.name in axes and axis.parameters == axes[axis.name].parameters:
            axes[axis.name] = axes[axis.name].merged(axis)
    sampling = requested.experiment.sampling
    replicas = max(stored.experiment.replicas, sampling.most)
    sampling = replace(sampling, most=replicas)
    united = {"axes": tuple(axes.values()), "sampling": sampling, "times": stored.experiment.times}
    experiment = requested.experiment.model_copy(update=united)
    if all(value == getattr(requested.experiment, name) for name, value in united.items()):
        return requested  # the costs of its points are known
    available = Stage(experiment, requested.kind, requested.system)
    try:
        mistake = describe_size({axis.name: len(axis) for axis in experiment.axes}, replicas, available.entry_size)
        if mistake:
            raise ExperimentError(mistake)
        choose_chunks(available)
    except ExperimentError as error:
        raise StoreError(
            f"{path}: stored and requested results together are too many: {error}; add fewer values at a time, give "
            f"the experiment another name, or {FRESH}"
        ) from None
    return available
