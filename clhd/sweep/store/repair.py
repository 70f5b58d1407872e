"""`repair_store` restores a damaged store or removes what is damaged; `delete_incomplete_chunks` reads no chunk.

| what is damaged or missing | what happens |
|---|---|
| ``zarr.json`` of arrays | restored from the record in the ``zarr.json`` of the group |
| the record of arrays | restored from the ``zarr.json`` of the arrays |
| coordinates | written again from the experiment |
| chunks | deleted, and computed again by the run that follows |

A store of an earlier clhd, without a checksum of its metadata, is upgraded if its metadata agree with each other and
with its experiment. Repair that is killed can be repeated.

`find_missing` finds missing chunk files without reading any, which is fast.

On a network file system each look-up asks another machine, so several run at a time; and for a minute a machine may
not see a file that another machine has written, so a file that seems to be missing is looked up twice.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from clhd.core.text import format_count
from clhd.sweep.plan.blocks import ChunkIndex
from clhd.sweep.plan.stage import Stage
from clhd.sweep.store.chunk_files import LEDGER, STATUS, TEXTS, ChunkFiles, StoreError, read_array
from clhd.sweep.store.layout import Layout, check_stage, list_coordinates, read_layout
from clhd.sweep.store.metadata import (
    FRESH,
    Metadata,
    MetadataError,
    check_metadata,
    check_old_metadata,
    has_checksum,
    list_chunks,
    restore_metadata,
    write_checksum,
)
from clhd.sweep.store.store import Store
from clhd.sweep.store.zarr_format import chunk_key
from clhd.systems.protocol import System

_THREADS = 10
_CHUNKS_PER_THREAD = 200


def find_missing(store: Store, sizes: list[int] | None = None) -> dict[ChunkIndex, Path]:
    """Find chunks that have a status but lack files, or have empty files.

    Parameters
    ----------
    sizes : list, optional
        Takes the sizes of the files that were found.

    Returns
    -------
    dict of tuple of int to Path
        The first missing file of each such chunk.

    Raises
    ------
    StoreError
        If the file system cannot be asked.
    """
    # Texts have a file only where there was an error.
    variables = [name for name in (*store.outputs, *LEDGER) if name not in (STATUS, *TEXTS)]
    # Texts, since paths would take most of the time: for each variable, its folder, and what its chunks are called.
    places = [(f"{store.path}/{name}", store.files.metadata.arrays[name]) for name in variables]
    tails = [(0,) * store.count_inner_dims(name) for name in variables]
    status, ledger = f"{store.path}/{STATUS}", store.files.metadata.arrays[STATUS]

    def look_for(chunks: Sequence[ChunkIndex]) -> dict[ChunkIndex, Path]:
        missing: dict[ChunkIndex, Path] = {}
        for index in chunks:
            if _exists(f"{status}/{chunk_key(index, ledger)}", sizes):
                for (folder, document), tail in zip(places, tails, strict=True):
                    file = f"{folder}/{chunk_key(index + tail, document)}"
                    if not (_exists(file, sizes) or _exists_after_refresh(file)):
                        missing.setdefault(index, Path(file))
        return missing

    batches = list(_batch(store.chunk_indices()))
    if len(batches) == 1:
        return look_for(batches[0])
    with ThreadPoolExecutor(_THREADS) as threads:
        found = list(threads.map(look_for, batches))
    return {index: file for missing in found for index, file in missing.items()}


def _batch(indices: Iterator[ChunkIndex]) -> Iterator[list[ChunkIndex]]:
    while batch := list(islice(indices, _CHUNKS_PER_THREAD)):
        yield batch


def _exists(file: str, sizes: list[int] | None = None) -> bool:
    """Return False if there is no such file, or it is empty; raise StoreError if that is unknown."""
    try:
        size = os.stat(file).st_size  # noqa: PTH116  # a Path for each of many files would take most of the time
        if sizes is not None:
            sizes.append(size)
        return size > 0
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise StoreError(f"{file}: cannot be looked up: {error.strerror}") from None


def _exists_after_refresh(file: str) -> bool:
    """Look up a file once more, after listing its folder, which refreshes what a network file system remembers."""
    for folder in Path(file).parents:
        with suppress(FileNotFoundError, NotADirectoryError):
            next(folder.iterdir(), None)
            break
    return _exists(file)


def repair_store(path: Path, system: System) -> None:
    """Repair a store, if there is one. This comes before growth, which needs all files.

    Raises
    ------
    MetadataError
        If its metadata cannot be restored: names ``--fresh``.
    """
    if not path.is_dir():
        return
    if has_checksum(path):
        restore_metadata(path)
        _restore_coordinates(path, check_metadata(path, files=False), system)
    else:
        _upgrade(path, system)
    store = Store(path, "r+")
    for _, index in store.find_damage():
        store.delete_chunk(index)


def delete_incomplete_chunks(store: Store) -> None:
    """Delete chunks that have a status but lack files, and print how many, so that they are computed again."""
    missing = find_missing(store)
    for index in missing:
        store.delete_chunk(index)
    if missing:
        first, chunks = next(iter(missing.values())), format_count(len(missing), "chunk")
        print(f"{first}: is missing; {chunks} deleted, to be computed again where requested", file=sys.stderr)  # noqa: T201


def _upgrade(path: Path, system: System) -> None:
    """Give a store of an earlier clhd a checksum of its metadata."""
    metadata = check_old_metadata(path)
    layout = _restore_coordinates(path, metadata, system)
    check_stage(ChunkFiles(path, metadata), layout, Stage(layout.experiment, layout.kind, system))
    write_checksum(path, metadata.arrays, whole=metadata.arrays.keys() - {*layout.outputs, *LEDGER})


def _restore_coordinates(path: Path, metadata: Metadata, system: System) -> Layout:
    """Write coordinates that are missing or unreadable; return the layout of the store.

    A coordinate that can be read but has other values stays: nobody knows which values are right.
    """
    import zarr  # noqa: PLC0415 (slow to load, and `clhd status` repairs nothing)

    from clhd.sweep.store.bound import BoundStore  # noqa: PLC0415

    layout, files = read_layout(path, metadata), ChunkFiles(path, metadata)
    group = zarr.open_group(BoundStore(files, read_only=False), mode="r+", zarr_format=3, use_consolidated=True)
    stage = Stage(layout.experiment, layout.kind, system)
    expected = list_coordinates(path, layout, stage)
    for name in expected.keys() & metadata.arrays.keys():
        array: Any = group[name]
        try:
            read_array(files, name)
            is_whole = len(list_chunks(path / name, metadata.arrays[name])) >= array.nchunks
        except Exception:  # codecs raise errors of any type
            is_whole = False
        if not is_whole:
            if metadata.attributes.get("version") != stage.version:  # which may have had other coordinates
                raise MetadataError(f"{path / name}: is damaged or missing, and of another version of clhd; {FRESH}")
            array.with_config({"write_empty_chunks": True})[...] = expected[name]
    return layout
