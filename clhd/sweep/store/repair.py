"""`repair_store` restores a damaged store or removes what is damaged.

| what is damaged or missing | what happens |
|---|---|
| ``zarr.json`` of arrays | restored from the record in the ``zarr.json`` of the group |
| the record of arrays | restored from the ``zarr.json`` of the arrays |
| coordinates | written again from the experiment |
| chunks | deleted, and computed again by the run that follows |

A store of an earlier clhd, without a checksum of its metadata, is upgraded if its metadata agree with each other and
with its experiment. Repair that is killed can be repeated.
"""

import math
from pathlib import Path

import numpy as np

from clhd.sweep.plan.blocks import chunk_counts, chunk_region
from clhd.sweep.plan.stage import Stage
from clhd.sweep.store.chunk_files import LEDGER, ChunkFiles, read_array
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
from clhd.sweep.store.zarr_format import encode_chunk, read_chunks
from clhd.systems.protocol import System


def repair_store(path: Path, system: System) -> None:
    """Repair a store, if there is one; raise MetadataError if its metadata cannot be restored.

    This comes before growth, which needs all files.
    """
    if not path.is_dir():
        return
    if has_checksum(path):
        restore_metadata(path)
        _restore_coordinates(path, check_metadata(path, files=False), system)
    else:
        _upgrade(path, system)
    store = Store(path)
    for _, index in store.find_damage():
        store.delete_chunk(index)


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
    layout, files = read_layout(path, metadata), ChunkFiles(path, metadata)
    stage = Stage(layout.experiment, layout.kind, system)
    expected = list_coordinates(path, layout, stage)
    for name in expected.keys() & metadata.arrays.keys():
        document, values = metadata.arrays[name], expected[name]
        counts = chunk_counts(values.shape, read_chunks(document))
        try:
            read_array(files, name)
            is_whole = len(list_chunks(path / name, document)) >= math.prod(counts)
        except Exception:  # codecs raise errors of any type
            is_whole = False
        if not is_whole:
            if metadata.attributes.get("version") != stage.version:  # which may have had other coordinates
                raise MetadataError(f"{path / name}: is damaged or missing, and of another version of clhd; {FRESH}")
            for index in np.ndindex(*counts):
                part = values[chunk_region(index, values.shape, read_chunks(document))]
                files.write_chunk(name, index, encode_chunk(part, document))
    return layout
